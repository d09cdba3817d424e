//! What requests may ask, and that answers are what the description of the API says.

use std::path::Path;

use k6sync_standin::Options;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{KEY, SYNCED_WITHIN, World};
use crate::support::cluster::State;
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, Program, RunningLoop, not_shown};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_read_with_care() {
    let world = World::start(Database::sqlite(), "{auth: {apiKeyMayRead: true}}").await;
    let caller = [("X-API-Key", KEY)];
    let wrong = [
        ("/api/v1/runs?stauts=passed", "did you mean `status`?"),
        (
            "/api/v1/runs?status=good",
            "status: it must be one of pending",
        ),
        ("/api/v1/runs?limit=0", "from 1 to 1000"),
        ("/api/v1/runs?limit=1001", "from 1 to 1000"),
        ("/api/v1/runs?limit=-1", "limit is `-1`"),
        ("/api/v1/runs?limit=1&limit=2", "twice"),
        ("/api/v1/runs?since=yesterday", "since is `yesterday`"),
        ("/api/v1/runs?name=%00", "NUL"),
        ("/api/v1/runs/mine?x=1", "`x` is unknown"),
        ("/api/v1/runs/%FF", "can't be read"),
        ("/api/v1/runs/mine/logs?grep=(", "grep: "),
        (
            "/api/v1/runs/mine/logs?role=boss",
            "role: it must be one of",
        ),
        ("/api/v1/runs/mine/logs?from=!", "from: it must be"),
        ("/api/v1/runs/mine/logs?failed", "true or false"),
        ("/api/v1/runs/mine/logs?limit=10001", "from 1 to 10000"),
        ("/api/v1/runs/mine/logs?format=xml", "json or text"),
        ("/api/v1/compare?base=mine", "other must be there"),
        ("/api/v1/compare?other=mine", "base and other are needed"),
        (
            "/api/v1/compare?base=mine&other=mine&tolerance=x",
            "tolerance: it must be",
        ),
    ]
    .map(|(path, words)| (path, words, 400));
    // What may come yet.
    let missing = [
        ("/api/v1/runs/mine/logs?runner=9", "there is no runner 9"),
        ("/api/v1/runs/mine/logs?step=x", "has no step `x`"),
        (
            "/api/v1/runs/mine/logs?from=1.2.999999",
            "from: there is no line",
        ),
    ]
    .map(|(path, words)| (path, words, 404));
    for (path, words, expected) in wrong.into_iter().chain(missing) {
        let answer = world.get(&caller, path).await;
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{path}: {error}");
    }
    for path in [
        "/api/v1/runs/%00",
        "/api/v1/runs/a%2Fb",
        "/api/v1/runs/99999999999999999999",
        "/api/v1/runs/-1",
    ] {
        assert_eq!(world.status(&caller, path).await, 404, "{path}");
    }
    for path in [
        "/api/v1/runs",
        "/api/v1/runs/mine/logs/follow",
        "/api/v1/compare",
    ] {
        let answer = world.running.request("DELETE", path, &caller, "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }

    // What changes is not kept; what is over is.
    let answer = world.get(&caller, "/api/v1/runs/mine").await;
    assert_eq!(
        (answer.header("etag"), answer.header("cache-control")),
        (None, Some("no-store"))
    );
    for pod in &world.pods {
        world
            .cluster
            .container_state(pod, State::Terminated(0, "Completed"))
            .await;
    }
    world.cluster.stage("mine", "finished").await;
    wait_for("the run is over", SYNCED_WITHIN, async || {
        let run = world.get(&caller, "/api/v1/runs/mine").await.json();
        run["ended"] == true && run["complete"] == true
    })
    .await;
    for path in [
        "/api/v1/runs/mine",
        "/api/v1/runs/mine/results",
        "/api/v1/runs/mine/logs",
        "/api/v1/openapi.json",
    ] {
        let answer = world.get(&caller, path).await;
        assert_eq!(
            answer.header("cache-control"),
            Some("private, no-cache"),
            "{path}"
        );
        let tag = answer.header("etag").unwrap().to_owned();
        let again = world
            .get(&[("X-API-Key", KEY), ("If-None-Match", &tag)], path)
            .await;
        assert_eq!((again.status, &*again.body), (304, ""), "{path}");
        assert_eq!(again.header("etag"), Some(&*tag));
        let other = world
            .get(&[("X-API-Key", KEY), ("If-None-Match", "\"x\"")], path)
            .await;
        assert_eq!((other.status, &other.body), (200, &answer.body), "{path}");
        let head = world.running.request("HEAD", path, &caller, "").await;
        assert_eq!(
            (head.status, &*head.body, head.header("etag")),
            (200, "", Some(&*tag))
        );
        // Who may not see it does not hear whether it has changed.
        let stranger = world.get(&[("If-None-Match", &tag)], path).await;
        assert_eq!(stranger.status, 401);
    }
    // The same words as on the command line.
    let shown = Program::new(&[
        "show",
        "mine",
        "-o",
        "json",
        "--database-url",
        world.database.url(),
    ])
    .run()
    .await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(world.get(&caller, "/api/v1/runs/mine").await.json(), shown);
    let printed = Program::new(&[
        "logs",
        "mine",
        "-o",
        "json",
        "--database-url",
        world.database.url(),
    ])
    .run()
    .await;
    assert!(world.get(&caller, "/api/v1/runs/mine/logs").await.body == printed.stdout);
    let printed = Program::new(&["logs", "mine", "--database-url", world.database.url()])
        .run()
        .await;
    let text = [("X-API-Key", KEY), ("Accept", "text/plain")];
    assert!(world.get(&text, "/api/v1/runs/mine/logs").await.body == printed.stdout);

    // The description names what there is.
    let document = world.get(&caller, "/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 7, "{paths:?}");
    for path in paths.keys() {
        let path = match path.as_str() {
            "/api/v1/compare" => "/api/v1/compare?base=mine&other=mine".to_owned(),
            path => path.replace("{run}", "mine"),
        };
        assert_eq!(world.status(&caller, &path).await, 200, "{path}");
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
    for (path, query) in [
        ("/api/v1/runs", ""),
        ("/api/v1/runs/{run}", ""),
        ("/api/v1/runs/{run}/results", ""),
        ("/api/v1/compare", "?base=mine&other=mine"),
    ] {
        let answer = &document["paths"][path]["get"]["responses"]["200"];
        let schema = &answer["content"]["application/json"]["schema"];
        let path = format!("{}{query}", path.replace("{run}", "mine"));
        let value = world.get(&caller, &path).await.json();
        assert!(
            is_described(&value, schema, &document),
            "{path}: {value} is no {schema}"
        );
    }
}

/// Asks whatever the description allows and some that it does not, and holds the answers against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_as_its_description_says() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/schemathesis/bin");
    if !tools.join("schemathesis").exists() {
        not_shown("schemathesis is not installed; scripts/test.sh does it");
        return;
    }
    let database = Database::sqlite();
    let cluster = Cluster::standin(Options::default()).await;
    cluster.moment_of("operator", "t3").await;
    let program = RunningLoop::program(&cluster, &database)
        .env("K6_SYNC_API_KEY", KEY)
        .config("{auth: {apiKeyMayRead: true}}");
    let running = RunningLoop::spawn(program).await;
    let caller = [("X-API-Key", KEY)];
    wait_for("the run is over", SYNCED_WITHIN, async || {
        let run = running
            .request("GET", "/api/v1/runs/slo", &caller, "")
            .await;
        run.status == 200 && run.json()["complete"] == true
    })
    .await;
    let lines = running
        .request("GET", "/api/v1/runs/slo/logs?limit=1", &caller, "")
        .await;
    let line: Value = serde_json::from_str(lines.body.lines().next().unwrap()).unwrap();
    let document = running
        .request("GET", "/api/v1/openapi.json", &caller, "")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("openapi.json"), &document.body).unwrap();
    let settings = format!(
        "[auth.openapi.key]
api_key = {KEY:?}

# No parameter can have a NUL character, which a schema can't say.
[generation]
allow-x00 = false

# The id of a line must be one of a run that is there.
[[operations]]
include-path = \"/api/v1/runs/{{run}}/logs\"
parameters = {{ \"path.run\" = \"slo\", \"query.from\" = {} }}
",
        line["id"]
    );
    std::fs::write(path("schemathesis.toml"), settings).unwrap();
    let valid = Command::new(tools.join("openapi-spec-validator"))
        .arg(path("openapi.json"))
        .output()
        .await
        .unwrap();
    assert!(valid.status.success(), "{valid:?}");
    // What is followed has no end.
    let asked = Command::new(tools.join("schemathesis"))
        .arg("--config-file")
        .arg(path("schemathesis.toml"))
        .arg("run")
        .arg(path("openapi.json"))
        .args(["--url", &format!("http://{}", running.address())])
        .args([
            "--exclude-path-regex",
            "follow",
            "--max-time",
            "40",
            "--request-timeout",
            "20",
        ])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(folder.path())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{said}");
    // It did ask.
    let count = said.split(" generated, ").next().unwrap();
    let count = count.rsplit(char::is_whitespace).next().unwrap();
    assert!(count.parse::<u32>().unwrap() > 500, "{said}");
}

/// Whether the value has nothing that the schema does not have, and all that it must have.
fn is_described(value: &Value, schema: &Value, document: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return is_described(value, document.pointer(pointer).unwrap(), document);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        return any
            .iter()
            .any(|schema| is_described(value, schema, document));
    }
    match value {
        Value::Object(fields) => {
            let mut known = Vec::new();
            properties(schema, document, &mut known);
            let every = &schema["additionalProperties"];
            fields.iter().all(|(name, value)| {
                let own = known.iter().find(|(known, _)| known == name);
                let schema = own.map_or(every, |(_, schema)| schema);
                schema.is_object() && is_described(value, schema, document)
            })
        }
        Value::Array(items) => items
            .iter()
            .all(|item| is_described(item, &schema["items"], document)),
        Value::Null => has_type(schema, "null"),
        Value::String(text) => {
            let words = schema["enum"].as_array();
            has_type(schema, "string") && words.is_none_or(|words| words.contains(&json!(text)))
        }
        Value::Number(_) => has_type(schema, "number") || has_type(schema, "integer"),
        Value::Bool(_) => has_type(schema, "boolean"),
    }
}

fn has_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::Array(types) => types.contains(&json!(name)),
        one => one == name,
    }
}

/// The properties of an object, with those of its parts.
fn properties(schema: &Value, document: &Value, known: &mut Vec<(String, Value)>) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return properties(document.pointer(pointer).unwrap(), document, known);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        properties(part, document, known);
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        known.push((name.clone(), schema.clone()));
    }
}
