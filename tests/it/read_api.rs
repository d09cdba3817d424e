//! The read API and the door before it: who sees what, and that what is read and followed is all there is, once.

use std::time::Duration;

use k6sync_standin::{Options, User};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::running_loop::{Answer, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

on_both_databases!(
    everybody_sees_what_kubernetes_lets_them_see,
    windows_have_every_line_once,
    a_log_is_followed_through_broken_connections,
);

const KEY: &str = "0123456789abcdef";
const SYNCED_WITHIN: Duration = Duration::from_secs(60);
/// What is recorded comes within a second; the machine may be busy.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// A loop that syncs two namespaces, with a run in each.
struct World {
    running: RunningLoop,
    database: Database,
    cluster: Cluster,
    elsewhere: Cluster,
    pods: Vec<String>,
}

impl World {
    async fn start(database: Database, config: &str) -> Self {
        let cluster = Cluster::standin(Options::default()).await;
        let elsewhere = cluster.another_namespace().await;
        let pods = cluster.running("mine", 3).await;
        for pod in &pods {
            write_lines(&cluster.log(pod, "k6"), 0..50);
        }
        elsewhere.running("theirs", 1).await;
        let program = RunningLoop::program(&cluster, &database)
            .args(&["--namespace", cluster.namespace()])
            .args(&["--namespace", elsewhere.namespace()])
            .env("K6_SYNC_API_KEY", KEY)
            .env("K6_SYNC_INTERVAL_SECONDS", "5")
            .config(config);
        let world = Self {
            running: RunningLoop::spawn(program).await,
            database,
            cluster,
            elsewhere,
            pods,
        };
        wait_for("both runs are recorded", SYNCED_WITHIN, async || {
            let streams = "SELECT count(*) FROM log_streams WHERE role = 'runner'";
            world.database.number(streams).await == 4
                && world
                    .database
                    .number("SELECT sum(lines) FROM log_streams")
                    .await
                    == 150
        })
        .await;
        world
    }

    async fn get(&self, caller: &[(&str, &str)], path: &str) -> Answer {
        self.running.request("GET", path, caller, "").await
    }

    /// Follows are asked for by their heads alone: their bodies have no end.
    async fn status(&self, caller: &[(&str, &str)], path: &str) -> u16 {
        let method = if path.ends_with("/follow") {
            "HEAD"
        } else {
            "GET"
        };
        self.running.request(method, path, caller, "").await.status
    }

    async fn id(&self, name: &str) -> String {
        let sql = format!("SELECT CAST(id AS TEXT) FROM test_runs WHERE name = '{name}'");
        self.database.texts(&sql).await.remove(0)
    }
}

fn runs_rule() -> Value {
    json!({"apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list"]})
}

fn logs_rule() -> Value {
    json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]})
}

fn names(list: &Answer) -> Vec<String> {
    assert_eq!(list.status, 200, "{list:?}");
    let list = list.json();
    let runs = list["runs"].as_array().unwrap().iter();
    let mut names: Vec<String> = runs
        .map(|run| run["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

const OF_A_RUN: [&str; 4] = ["", "/results", "/logs", "/logs/follow"];

async fn everybody_sees_what_kubernetes_lets_them_see(database: Database) {
    let world = World::start(database, "enabled: true").await;
    let (here, there) = (&world.cluster, &world.elsewhere);
    world
        .database
        .insert_run(
            "both",
            &[
                ("a", Some(here.namespace()), "a"),
                ("b", Some(there.namespace()), "b"),
            ],
        )
        .await;
    let blind = here.service_account("blind", json!([])).await;
    let reader = here.service_account("reader", json!([runs_rule()])).await;
    let logs = here
        .service_account("logs", json!([logs_rule(), runs_rule()]))
        .await;
    // Who may read logs, and may not see that there are runs, sees nothing.
    let only_logs = here
        .service_account("only-logs", json!([logs_rule()]))
        .await;
    let theirs = there
        .service_account("theirs", json!([runs_rule(), logs_rule()]))
        .await;
    here.standin_cluster()
        .user("token-of-an-admin", User::all("an-admin"));

    for (token, listed, seen, hidden, log) in [
        (
            &*blind,
            &[][..],
            &[][..],
            &["mine", "theirs", "both"][..],
            404,
        ),
        (&only_logs, &[], &[], &["mine", "theirs", "both"], 404),
        (&reader, &["mine"], &["mine"], &["theirs", "both"], 403),
        (&logs, &["mine"], &["mine"], &["theirs", "both"], 200),
        (&theirs, &["theirs"], &["theirs"], &["mine", "both"], 200),
        (
            "token-of-an-admin",
            &["both", "mine", "theirs"],
            &["mine", "theirs", "both"],
            &[],
            200,
        ),
    ] {
        let bearer = format!("Bearer {token}");
        let caller = [("Authorization", &*bearer)];
        assert_eq!(
            names(&world.get(&caller, "/api/v1/runs").await),
            listed,
            "{token}"
        );
        // Full pages, though others' runs are between.
        let page = world.get(&caller, "/api/v1/runs?limit=1").await;
        assert_eq!(
            page.json()["runs"].as_array().unwrap().len(),
            listed.len().min(1)
        );
        for name in seen {
            let run = world.get(&caller, &format!("/api/v1/runs/{name}")).await;
            assert_eq!(run.json()["name"], *name);
            for part in OF_A_RUN {
                let expected = if part.starts_with("/logs") { log } else { 200 };
                let path = format!("/api/v1/runs/{name}{part}");
                assert_eq!(
                    world.status(&caller, &path).await,
                    expected,
                    "{token} {path}"
                );
            }
            let path = format!("/api/v1/compare?base={name}&other={name}");
            assert_eq!(world.status(&caller, &path).await, 200);
        }
        for name in hidden {
            // Neither by its name nor by its id, and in the same words as what is not there.
            for name in [(*name).to_owned(), world.id(name).await] {
                for part in OF_A_RUN {
                    let path = format!("/api/v1/runs/{name}{part}");
                    assert_eq!(world.status(&caller, &path).await, 404, "{token} {path}");
                }
                let answer = world.get(&caller, &format!("/api/v1/runs/{name}")).await;
                let nothing = world.get(&caller, "/api/v1/runs/987654321").await;
                assert_eq!(answer.body, nothing.body.replace("987654321", &name));
                let path = format!("/api/v1/compare?base={name}&other={name}");
                assert_eq!(world.status(&caller, &path).await, 404);
            }
        }
        assert_eq!(world.status(&caller, "/api/v1/openapi.json").await, 200);
        assert_eq!(world.status(&caller, "/api/v1/nothing").await, 404);
    }
    let latest = world
        .get(
            &[("Authorization", &format!("Bearer {reader}"))],
            "/api/v1/runs/@latest",
        )
        .await;
    assert_eq!(latest.json()["name"], "mine", "the newest that may be seen");

    let strangers = [
        (&[][..], 401),
        (&[("Authorization", "Bearer nobodys")], 401),
        (&[("Authorization", "Bearer {}")], 401),
        (&[("Authorization", "Basic eDp5")], 401),
        (&[("X-API-Key", "0123456789abcdeX")], 401),
        (&[("Cookie", "k6sync=abc")], 401),
        // Nobody said that proxies are to be believed.
        (&[("X-Forwarded-User", "an-admin")], 401),
        // The key opens the job API.
        (&[("X-API-Key", KEY)], 403),
    ];
    for (caller, expected) in strangers {
        for path in [
            "/api/v1/runs",
            "/api/v1/runs/mine",
            "/api/v1/runs/mine/results",
            "/api/v1/runs/mine/logs",
            "/api/v1/runs/mine/logs/follow",
            "/api/v1/compare?base=a&other=b",
            "/api/v1/openapi.json",
            "/api/v1/nothing",
            "/api/v1/runs?junk=1",
            "/api/v1/runs/nobodys",
        ] {
            let answer = world.get(caller, path).await;
            assert_eq!(answer.status, expected, "{caller:?} {path}: {answer:?}");
            assert!(answer.json()["error"].is_string());
            let is_asked = answer.header("www-authenticate") == Some("Bearer");
            assert_eq!(is_asked, expected == 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_proxy_open_what_the_configuration_says() {
    let config = "{auth: {apiKeyMayRead: true, proxy: {trustedAddresses: [127.0.0.0/8], groupsHeader: X-Groups}}}";
    let world = World::start(Database::sqlite(), config).await;
    world.cluster.allow("ann", json!([runs_rule()])).await;
    world
        .cluster
        .standin_cluster()
        .user("token", User::all("an-admin"));
    for (caller, listed) in [
        (&[("X-API-Key", KEY)][..], &["mine", "theirs"][..]),
        (&[("X-Forwarded-User", "ann")], &["mine"]),
        (&[("X-Forwarded-User", "bob")], &[]),
        (
            &[("X-Forwarded-User", "bob"), ("X-Groups", "system:masters")],
            &[],
        ),
        // The proxy has its say before what somebody sends through it.
        (
            &[
                ("X-Forwarded-User", "ann"),
                ("Authorization", "Bearer token"),
            ],
            &["mine"],
        ),
        (&[("Authorization", "Bearer token")], &["mine", "theirs"]),
    ] {
        assert_eq!(
            names(&world.get(caller, "/api/v1/runs").await),
            listed,
            "{caller:?}"
        );
    }
    for user in ["", "system:admin"] {
        let answer = world
            .get(&[("X-Forwarded-User", user)], "/api/v1/runs")
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // From elsewhere nobody is believed.
    let config = "{auth: {proxy: {trustedAddresses: [10.0.0.1]}}}";
    let world = World::start(Database::sqlite(), config).await;
    let answer = world
        .get(&[("X-Forwarded-User", "ann")], "/api/v1/runs")
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_a_cookie_that_nobody_else_can_use() {
    let world = World::start(Database::sqlite(), "enabled: true").await;
    let token = world
        .cluster
        .service_account("ann", json!([runs_rule()]))
        .await;
    let host = world.running.address().to_string();
    let origin = format!("http://{host}");
    let own = [
        ("Origin", &*origin),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let form = format!("token=+{token}%0A&next=%2Fruns%2F7");
    let sign_in = async |headers: &[(&str, &str)], form: &str| {
        world.running.request("POST", "/login", headers, form).await
    };

    let page = world.get(&[], "/login?next=%2Fruns%2F7").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("value=\"/runs/7\""), "{page:?}");
    let page = world.get(&[], "/login?next=%22%3E%3Cscript%3E").await;
    assert!(!page.body.contains("\"><script>"), "{page:?}");

    let answer = sign_in(&own, &form).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/runs/7")),
        "{answer:?}"
    );
    let cookie = answer.header("set-cookie").unwrap();
    for flag in [
        "; Path=/;",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Max-Age=28800",
    ] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure") && !cookie.contains(&token),
        "{cookie}"
    );
    let cookie = cookie.split_once(';').unwrap().0;
    assert_eq!(
        names(&world.get(&[("Cookie", cookie)], "/api/v1/runs").await),
        ["mine"]
    );
    let mut tampered = cookie.to_owned();
    let last = if tampered.pop() == Some('A') {
        'B'
    } else {
        'A'
    };
    tampered.insert(tampered.len() - 4, last);
    assert_eq!(
        world.status(&[("Cookie", &tampered)], "/api/v1/runs").await,
        401
    );

    // Not by another site's form, nor to another site.
    for headers in [
        &[("Origin", "http://evil.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", &origin)],
        &[],
    ] {
        let answer = sign_in(headers, &form).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (403, None),
            "{headers:?}"
        );
    }
    let answer = sign_in(&own, &format!("token={token}&next=%2F%2Fevil.example")).await;
    assert_eq!(answer.header("location"), Some("/"));
    for wrong in ["token=nobodys", "token=", "", "token=%00", "next=%2F"] {
        let answer = sign_in(&own, wrong).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (401, None),
            "{wrong}"
        );
    }
    assert_eq!(sign_in(&own, &"x".repeat(100_000)).await.status, 400);

    let leave = [("Origin", &*origin), ("Cookie", cookie)];
    for form in ["", "csrf=wrong"] {
        let answer = world.running.request("POST", "/logout", &leave, form).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    }
    // Who has no session may leave, too.
    let answer = world.running.request("POST", "/logout", &own, "").await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_a_process_with_the_same_key_alone() {
    let cluster = Cluster::standin(Options::default()).await;
    let token = cluster.service_account("ann", json!([runs_rule()])).await;
    let spawn = async |key: Option<&str>| {
        let database = Database::sqlite();
        let mut program = RunningLoop::program(&cluster, &database)
            .config("{auth: {cookie: {secure: true}}, leaderElection: {enabled: false}}");
        if let Some(key) = key {
            program = program.env("K6_SYNC_COOKIE_KEY", key);
        }
        (RunningLoop::spawn(program).await, database)
    };
    let key = "x".repeat(32);
    let (first, _one) = spawn(Some(&key)).await;
    assert!(first.lines_with("K6_SYNC_COOKIE_KEY").is_empty());
    let own = [("Sec-Fetch-Site", "same-origin")];
    let answer = first
        .request("POST", "/login", &own, &format!("token={token}"))
        .await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-k6sync=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let cookie = [("Cookie", cookie.split_once(';').unwrap().0)];
    let (second, _two) = spawn(Some(&key)).await;
    assert_eq!(
        second
            .request("GET", "/api/v1/runs", &cookie, "")
            .await
            .status,
        200
    );
    let (stranger, _three) = spawn(None).await;
    assert_eq!(
        stranger.lines_with("K6_SYNC_COOKIE_KEY is not set").len(),
        1
    );
    assert_eq!(
        stranger
            .request("GET", "/api/v1/runs", &cookie, "")
            .await
            .status,
        401
    );

    let database = Database::sqlite();
    let short = RunningLoop::program(&cluster, &database).env("K6_SYNC_COOKIE_KEY", "too-short");
    let run = short.run().await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("at least 32 bytes") && !run.stderr.contains("too-short"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_read_with_care() {
    let world = World::start(Database::sqlite(), "{auth: {apiKeyMayRead: true}}").await;
    let caller = [("X-API-Key", KEY)];
    for (path, words) in [
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
        ("/api/v1/runs/mine/logs?runner=9", "there is no runner 9"),
        ("/api/v1/runs/mine/logs?step=x", "has no step `x`"),
        ("/api/v1/runs/mine/logs?from=!", "from: it must be"),
        (
            "/api/v1/runs/mine/logs?from=1.2.999999",
            "from: there is no line",
        ),
        ("/api/v1/runs/mine/logs?limit=10001", "from 1 to 10000"),
        ("/api/v1/runs/mine/logs?format=xml", "json or text"),
        ("/api/v1/compare?base=mine", "other must be there"),
        ("/api/v1/compare?other=mine", "base and other are needed"),
        (
            "/api/v1/compare?base=mine&other=mine&tolerance=x",
            "tolerance: it must be",
        ),
    ] {
        let answer = world.get(&caller, path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
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

/// Lines of a log as JSON: those that are lines.
fn ids(body: &str) -> Vec<String> {
    let lines = body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| Some(line["id"].as_str()?.to_owned()))
        .collect()
}

async fn windows_have_every_line_once(database: Database) {
    let world = World::start(database, "{auth: {apiKeyMayRead: true}}").await;
    let caller = [("X-API-Key", KEY)];
    let all = ids(&world.get(&caller, "/api/v1/runs/mine/logs").await.body);
    assert_eq!(all.len(), 150);
    for (query, limit) in [
        ("", 7),
        ("", 50),
        ("", 1_000),
        ("&runner=2", 7),
        ("&grep=7", 3),
    ] {
        let whole = world
            .get(
                &caller,
                &format!("/api/v1/runs/mine/logs?failed=false{query}"),
            )
            .await;
        let whole = ids(&whole.body);
        let mut found = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/api/v1/runs/mine/logs?limit={limit}{query}{from}");
            let answer = world.get(&caller, &path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let window = ids(&answer.body);
            assert!(window.len() <= limit);
            found.extend(window);
            let last: Value = serde_json::from_str(answer.body.lines().last().unwrap()).unwrap();
            match last["next"].as_str() {
                Some(next) => from = format!("&from={next}"),
                None => break,
            }
        }
        assert_eq!(found, whole, "{query} {limit}");
    }
    // From any line on.
    for index in [0, 70, 149] {
        let path = format!("/api/v1/runs/mine/logs?from={}", all[index]);
        let rest = ids(&world.get(&caller, &path).await.body);
        // Other containers' lines of the same time may come before it; of its own none does.
        let own = all[index].split_once('.').unwrap().0;
        let first = rest.iter().find(|id| id.split_once('.').unwrap().0 == own);
        assert_eq!(first, Some(&all[index]));
        let missing: Vec<_> = all[index..]
            .iter()
            .filter(|id| !rest.contains(id))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

/// What a follower hears, until it is cut off.
struct Follower(BufReader<TcpStream>);

/// An event: its name, id and data.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: String,
}

impl Follower {
    async fn start(world: &World, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(world.running.address()).await.unwrap();
        let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        // By HTTP/1.0 without chunks.
        let request =
            format!("GET /api/v1/runs/mine/logs/follow HTTP/1.0\r\nX-API-Key: {KEY}\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut follower = Self(BufReader::new(stream));
        let head = follower.until_empty().await.join("\n");
        assert!(
            head.contains(" 200 ") && head.contains("text/event-stream"),
            "{head}"
        );
        follower
    }

    async fn until_empty(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = timeout(TOLD_WITHIN, self.0.read_line(&mut line)).await;
            assert!(
                read.expect("it says nothing").unwrap() > 0,
                "it ended after {lines:?}"
            );
            match line.trim_end() {
                "" => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// The next event that has data.
    async fn event(&mut self) -> Event {
        loop {
            let mut event = Event::default();
            for line in self.until_empty().await {
                match line.split_once(": ") {
                    Some(("event", name)) => event.name = name.to_owned(),
                    Some(("id", id)) => event.id = id.to_owned(),
                    Some(("data", data)) => event.data += data,
                    _ => {}
                }
            }
            if !event.data.is_empty() {
                return event;
            }
        }
    }
}

async fn a_log_is_followed_through_broken_connections(database: Database) {
    const LINES: i64 = 400;
    let world = World::start(database, "{auth: {apiKeyMayRead: true}}").await;
    let mut follower = Follower::start(&world, None).await;
    let mut heard: Vec<String> = Vec::new();
    let mut last = String::new();
    let mut written = 50;
    let mut is_ended = false;
    let mut ended_told = false;
    while !ended_told {
        let event = follower.event().await;
        match &*event.name {
            "end" => {
                let end: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(end["status"], "passed");
                ended_told = true;
                continue;
            }
            _ => {
                last = event.id;
                let lines: Vec<Value> = serde_json::from_str(&event.data).unwrap();
                heard.extend(
                    lines
                        .iter()
                        .filter_map(|line| Some(line["id"].as_str()?.to_owned())),
                );
            }
        }
        if written < LINES {
            for pod in &world.pods {
                write_lines(&world.cluster.log(pod, "k6"), written..written + 70);
            }
            written += 70;
            // The connection breaks; lines come meanwhile or not.
            drop(follower);
            follower = Follower::start(&world, Some(&last)).await;
        } else if !is_ended {
            for pod in &world.pods {
                world
                    .cluster
                    .container_state(pod, State::Terminated(0, "Completed"))
                    .await;
            }
            world.cluster.stage("mine", "finished").await;
            is_ended = true;
        }
    }
    // Nothing follows.
    let mut rest = String::new();
    follower.0.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest.trim(), "");
    let caller = [("X-API-Key", KEY)];
    let mut all = ids(&world.get(&caller, "/api/v1/runs/mine/logs").await.body);
    assert_eq!(all.len() as i64, 3 * written);
    let once = heard.len();
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), once, "lines came twice");
    all.sort();
    assert!(heard == all, "{} of {}", heard.len(), all.len());
    // Whoever comes back once more hears the end at once.
    let event = Follower::start(&world, Some(&last)).await.event().await;
    assert_eq!(event.name, "end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_are_few_and_end_with_the_loop() {
    let config = "{auth: {apiKeyMayRead: true}, api: {maxFollowers: 1}}";
    let mut world = World::start(Database::sqlite(), config).await;
    let mut follower = Follower::start(&world, None).await;
    follower.event().await;
    let caller = [("X-API-Key", KEY)];
    let answer = world.get(&caller, "/api/v1/runs/mine/logs/follow").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5")),
        "{answer:?}"
    );
    world
        .running
        .signal(crate::support::running_loop::Signal::Terminate);
    assert_eq!(world.running.exit_code(Duration::from_secs(20)).await, 0);
    let open = world.running.lines_with("connections were still open");
    assert!(open.is_empty(), "{open:?}");
}
