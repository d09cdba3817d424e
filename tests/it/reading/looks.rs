//! How answers look, at two widths, with colour and without, and for programs.

use k6sync_standin::Options;
use serde_json::Value;

use super::{ask, expect};
use crate::on_both_databases;
use crate::support::golden::assert_golden;
use crate::support::{Cluster, Database, recorded, sync_recorded};

on_both_databases!(
    answers_look_as_they_did,
    answers_for_programs_say_the_same,
    the_json_is_as_documented,
    pages_and_filters_lead_through_all_runs,
    foreign_names_are_harmless_everywhere,
    one_odd_row_hides_no_other,
);

/// What a person types after the demo.
const COMMANDS: &[(&str, &[&str])] = &[
    ("runs", &["runs"]),
    ("runs-wide", &["runs", "-o", "wide"]),
    ("show-failed", &["show", "nightly-7"]),
    ("show-errored", &["show", "too-many-runners"]),
    ("show-passed", &["show", "no-initializer", "-o", "wide"]),
    ("wait", &["wait", "slo", "no-initializer"]),
    ("logs-failed", &["logs", "slo", "--failed"]),
    ("logs-merged", &["logs", "no-login", "--timestamps"]),
    (
        "compare",
        &["compare", "no-initializer", "slo", "--changed"],
    ),
];

async fn answers_look_as_they_did(database: Database) {
    // In a namespace whose name takes the same room in each run.
    let cluster = Cluster::standin_in("k6-runs", Options::default()).await;
    sync_recorded(&cluster, &database).await;
    for (name, command) in COMMANDS {
        for width in ["80", "160"] {
            for color in ["never", "always"] {
                let run = ask(&database, command)
                    .args(&["--color", color])
                    .env("COLUMNS", width)
                    .run()
                    .await;
                let file = format!("{name}.{width}.{color}.txt");
                assert_golden(&file, &run.stdout);
                // What is asked for whole is not cut, and neither is a log.
                let is_whole = command.contains(&"wide") || name.starts_with("logs");
                if color == "never" && !is_whole {
                    let widest = run.stdout.lines().map(|line| line.chars().count()).max();
                    assert!(widest.unwrap() <= width.parse().unwrap(), "{}", run.stdout);
                }
            }
        }
    }
    // Into a pipe nothing is cut, and there is no colour.
    let piped = expect(ask(&database, &["runs"]), 0).await.stdout;
    assert!(!piped.contains('…') && !piped.contains('\u{1b}'), "{piped}");
    assert!(
        piped.contains("too-many-runners") && piped.contains("P95"),
        "{piped}"
    );
    // On a terminal there is, unless somebody does not want it.
    let on_terminal = ask(&database, &["runs"]).on_terminal();
    assert!(expect(on_terminal, 0).await.stdout.contains("\u{1b}[31m"));
    let without = ask(&database, &["runs"]).env("NO_COLOR", "1").on_terminal();
    assert!(!expect(without, 0).await.stdout.contains('\u{1b}'));
}

async fn answers_for_programs_say_the_same(database: Database) {
    let _cluster = recorded(&database).await;
    let json = expect(ask(&database, &["runs", "-o", "json"]), 0)
        .await
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    assert_eq!(json["next"], Value::Null);
    let nightly = runs.iter().find(|run| run["name"] == "nightly-7").unwrap();
    for (key, expected) in [
        ("status", Value::from("failed")),
        ("namespace", nightly["namespace"].clone()),
        ("startedAt", Value::from("2026-11-25T08:10:33Z")),
        ("durationSeconds", Value::from(20.0)),
        ("stepCount", Value::from(2)),
        ("runners", Value::from(5)),
        ("runnersReported", Value::from(5)),
        ("thresholds", Value::from(8)),
        ("thresholdsFailed", Value::from(1)),
    ] {
        assert_eq!(nightly[key], expected, "{key}: {nightly}");
    }
    let names = expect(ask(&database, &["runs", "-o", "name"]), 0)
        .await
        .stdout;
    let ids: Vec<String> = runs.iter().map(|run| run["id"].to_string()).collect();
    assert_eq!(names.lines().collect::<Vec<_>>(), ids);
    let csv = expect(ask(&database, &["runs", "-o", "csv"]), 0)
        .await
        .stdout;
    assert_eq!(csv.lines().count(), 9);
    assert!(
        csv.starts_with("id,external_id,name,namespace,status,"),
        "{csv}"
    );
    let yaml = expect(ask(&database, &["runs", "-o", "yaml"]), 0)
        .await
        .stdout;
    assert!(yaml.starts_with("runs:\n- id: 8\n"), "{yaml}");

    let show = expect(ask(&database, &["show", "nightly-7", "-o", "json"]), 0).await;
    let run: Value = serde_json::from_str(&show.stdout).unwrap();
    assert_eq!(run["exitCode"], 99);
    assert_eq!(run["ended"], true);
    assert_eq!(run["reason"], "ThresholdsHaveFailed");
    assert_eq!(run["complete"], true);
    let buy = &run["steps"][1];
    assert_eq!(buy["k6TestName"], "shop-buy");
    let runners: Vec<&Value> = buy["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|container| container["role"] == "runner")
        .collect();
    assert_eq!(runners.len(), 3);
    for (at, runner) in runners.iter().enumerate() {
        assert_eq!(runner["runner"], at + 1, "{runner}");
        assert_eq!(runner["exitCode"], 99, "{runner}");
        assert_eq!(runner["summary"], "json", "{runner}");
    }
    assert_eq!(buy["thresholds"][0]["expression"], "count>15");
    assert_eq!(buy["thresholds"][0]["failed"], 3);
    assert_eq!(
        buy["thresholds"][0]["observed"],
        serde_json::json!({"low": 0.0, "high": 10.0})
    );
    let metrics = buy["metrics"].as_array().unwrap();
    let duration = metrics
        .iter()
        .find(|metric| metric["metric"] == "http_req_duration")
        .unwrap();
    assert!(
        duration["stats"]["p(95)"]["low"].as_f64().unwrap() > 2.0,
        "{duration}"
    );
}

async fn pages_and_filters_lead_through_all_runs(database: Database) {
    let _cluster = recorded(&database).await;
    let list = async |args: &[&str]| -> Vec<String> {
        let run = ask(&database, &["runs", "-o", "name"]).args(args);
        let stdout = expect(run, 0).await.stdout;
        stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(list(&["--limit", "3"]).await, ["8", "7", "6"]);
    let page = expect(ask(&database, &["runs", "-o", "json", "--limit", "3"]), 0).await;
    let page: Value = serde_json::from_str(&page.stdout).unwrap();
    assert_eq!(page["next"], 6);
    assert_eq!(
        list(&["--limit", "3", "--before", "6"]).await,
        ["5", "4", "3"]
    );
    assert_eq!(list(&["--before", "3"]).await, ["2", "1"]);
    assert_eq!(list(&["--status", "passed"]).await, ["3"]);
    assert_eq!(
        list(&["--status", "passed,failed"]).await,
        ["7", "6", "5", "3"]
    );
    assert_eq!(list(&["--name", "slo"]).await, ["6"]);
    assert_eq!(list(&["--name", "no-*"]).await, ["4", "3"]);
    assert_eq!(list(&["--name", "NO-*"]).await, Vec::<String>::new());
    assert_eq!(list(&["--name", "*_*"]).await, Vec::<String>::new());
    // What never started counts from when it was first seen.
    let since = expect(ask(&database, &["runs", "-o", "json"]), 0)
        .await
        .stdout;
    let since: Value = serde_json::from_str(&since).unwrap();
    let expected: Vec<String> = since["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| {
            let began = run["startedAt"].as_str().or(run["createdAt"].as_str());
            began.unwrap() >= "2026-11-25T08:10:34Z"
        })
        .map(|run| run["id"].to_string())
        .collect();
    assert!(expected.contains(&"6".to_owned()) && !expected.contains(&"5".to_owned()));
    assert_eq!(list(&["--since", "2026-11-25T08:10:34Z"]).await, expected);
    assert_eq!(list(&["-n", "elsewhere"]).await, Vec::<String>::new());
    assert_eq!(list(&["-A"]).await.len(), 8);
    // A dashboard writes times in another way.
    database
        .execute("UPDATE test_runs SET started_at = '2026-11-25 08:10:40' WHERE id = 3")
        .await;
    let late = list(&["--since", "2026-11-25T08:10:40Z"]).await;
    assert!(late.contains(&"3".to_owned()) && !late.contains(&"6".to_owned()));

    for (args, problem) in [
        (&["--status", "green"][..], "possible values: pending"),
        (&["--since", "soon"], "it must be an age such as 7d"),
        (&["--limit", "0"], "0 is not in 1..=100000"),
    ] {
        let run = expect(ask(&database, &["runs"]).args(args), 2).await;
        assert!(run.stderr.contains(problem), "{run:?}");
    }
}

async fn foreign_names_are_harmless_everywhere(database: Database) {
    let _cluster = recorded(&database).await;
    let hostile = "a\u{1b}[2J\u{202e}b\u{9b}31m\u{7}";
    database
        .execute(&format!(
            "UPDATE test_runs SET name = '{hostile}', external_id = '{hostile}' WHERE id = 6"
        ))
        .await;
    database
        .execute(&format!(
            "UPDATE test_run_steps SET name = '{hostile}', reason = '{hostile}', message = '{hostile}' WHERE test_run_id = 6"
        ))
        .await;
    for format in ["table", "wide", "json", "yaml"] {
        for command in [&["runs"][..], &["show", "6"], &["wait", "6"]] {
            let run = ask(&database, command).args(&["-o", format]).run().await;
            let text = run.stdout + &run.stderr;
            let is_harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(is_harmful), "{command:?} {format}: {text:?}");
        }
    }
}

/// What of a value is a contract: keys, and whether there are numbers, texts, lists or objects. Null may be anything.
fn same_shape(documented: &Value, found: &Value, path: &str) {
    match (documented, found) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(documented), Value::Object(found)) => {
            // Names of stats are data.
            if path.ends_with(".stats") {
                return;
            }
            let keys = |map: &serde_json::Map<String, Value>| -> Vec<String> {
                let mut keys: Vec<String> = map.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(documented), keys(found), "{path}");
            for (key, value) in documented {
                same_shape(value, &found[key], &format!("{path}.{key}"));
            }
        }
        (Value::Array(documented), Value::Array(found)) => {
            for value in found {
                if let Some(first) = documented.first() {
                    same_shape(first, value, &format!("{path}[]"));
                }
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(documented),
            std::mem::discriminant(found),
            "{path}: {documented}, {found}"
        ),
    }
}

async fn the_json_is_as_documented(database: Database) {
    let _cluster = recorded(&database).await;
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for (name, args) in [
        ("runs", &["runs"][..]),
        ("show", &["show", "nightly-7"]),
        ("show", &["show", "bad-arguments"]),
        (
            "compare",
            &["compare", "slo", "no-initializer", "nightly-7"],
        ),
        ("doctor", &["doctor"]),
    ] {
        let (_, block) = docs.split_once(&format!("```json {name}\n")).unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let documented: Value = serde_json::from_str(block).unwrap();
        let found = ask(&database, args)
            .args(&["-o", "json"])
            .run()
            .await
            .stdout;
        let found: Value = serde_json::from_str(&found).unwrap();
        same_shape(&documented, &found, name);
    }
}

async fn one_odd_row_hides_no_other(database: Database) {
    let _cluster = recorded(&database).await;
    let infinite = match database.is_postgres() {
        true => "'Infinity'::float8",
        false => "9e999",
    };
    database
        .execute(&format!("UPDATE step_metrics SET high = {infinite} WHERE metric = 'http_req_duration' AND stat = 'p(95)'"))
        .await;
    let run = expect(ask(&database, &["runs", "-o", "name"]), 0).await;
    assert_eq!(run.stdout.lines().count(), 8);
    if database.is_postgres() {
        return;
    }
    // What a dashboard may write where columns have no types.
    database
        .execute(
            "UPDATE test_runs SET created_at = 'yesterday', started_at = 'yesterday' WHERE id = 3",
        )
        .await;
    for format in ["table", "json", "csv", "name"] {
        expect(ask(&database, &["runs", "-o", format]), 0).await;
    }
    expect(ask(&database, &["show", "3"]), 0).await;
    database
        .execute("UPDATE test_run_steps SET parallelism = 'many' WHERE test_run_id = 3")
        .await;
    database
        .execute("PRAGMA ignore_check_constraints = 1; UPDATE test_runs SET status = 'green' WHERE id = 4")
        .await;
    let run = ask(&database, &["runs", "-o", "name"]).run().await;
    assert_eq!(run.stdout.lines().count(), 6, "{run:?}");
    assert_eq!(run.code, 5, "{run:?}");
    assert!(
        run.stderr
            .contains("run 4 can't be read: `green` is none of"),
        "{run:?}"
    );
}
