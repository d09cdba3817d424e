//! `k6sync compare`: runs held against a base, from a real recording and from rows that were made for it.

use serde_json::Value;

use crate::on_both_databases;
use crate::support::{Cluster, Database, Program, program::Run};

on_both_databases!(
    a_recorded_run_is_the_same_as_itself,
    a_slower_run_is_worse_and_fails_a_pipeline,
    what_could_not_be_compared_is_not_green,
    names_and_wrong_command_lines,
);

/// The recording of the real k6-operator at its end.
async fn recorded(database: &Database) -> Cluster {
    let cluster = Cluster::start().await;
    for moment in ["t1", "t2", "t3"] {
        cluster.moment_of("operator", moment).await;
        let report = Program::sync_once(&cluster, database, &[]).report().await;
        assert_eq!(report["errors"], 0, "{moment}: {report}");
    }
    cluster
}

async fn compare(database: &Database, args: &[&str]) -> Run {
    let mut all = vec!["compare", "--database-url", database.url()];
    all.extend(args);
    Program::new(&all).run().await
}

async fn json(database: &Database, args: &[&str]) -> Value {
    let run = compare(database, &[args, &["-o", "json"]].concat()).await;
    assert_eq!(run.code, 0, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

/// A run with one step of two runners that both reported; metric, kind, unit, stat, low and high of each value.
async fn made(
    database: &Database,
    name: &str,
    reported: i64,
    values: &[(&str, &str, &str, &str, f64, f64)],
) {
    database
        .execute(&format!(
            "INSERT INTO test_runs (name, namespace, status) VALUES ('{name}', 'k6', 'passed')"
        ))
        .await;
    database
        .execute(&format!(
            "INSERT INTO test_run_steps (test_run_id, name, namespace, k6_test_name, status, parallelism, runners_reported)
             SELECT max(id), 'load', 'k6', 'load', 'passed', 2, {reported} FROM test_runs"
        ))
        .await;
    for (metric, kind, unit, stat, low, high) in values {
        database
            .execute(&format!(
                "INSERT INTO step_metrics (step_id, metric, kind, unit, stat, runners, low, high)
                 SELECT max(id), '{metric}', '{kind}', '{unit}', '{stat}', 2, {low}, {high} FROM test_run_steps"
            ))
            .await;
    }
}

/// One that takes this long, with a threshold that failed in so many runners, and a check that failed so often of 100.
async fn nightly(database: &Database, p95: (f64, f64), failed: i64, fails: i64) {
    let values = [
        ("http_req_duration", "trend", "ms", "p(95)", p95.0, p95.1),
        (
            "http_reqs",
            "counter",
            "none",
            "count",
            100.0 * p95.0,
            100.0 * p95.0,
        ),
        ("http_req_failed", "rate", "none", "rate", 0.0, 0.0),
    ];
    made(database, "nightly", 2, &values).await;
    for sql in [
        format!(
            "INSERT INTO step_thresholds (step_id, metric, expression, runners, failed, kind, unit)
             SELECT max(id), 'http_req_duration', 'p(95)<500', 2, {failed}, 'trend', 'ms' FROM test_run_steps"
        ),
        format!(
            "INSERT INTO step_checks (step_id, path, name, passes, fails)
             SELECT max(id), '::buy::paid', 'paid', {}, {fails} FROM test_run_steps",
            100 - fails
        ),
    ] {
        database.execute(&sql).await;
    }
}

async fn a_recorded_run_is_the_same_as_itself(database: Database) {
    let _cluster = recorded(&database).await;
    let comparison = json(&database, &["nightly-7", "nightly-7"]).await;
    let tally = &comparison["others"][0]["tally"];
    assert_eq!(
        (
            &tally["worse"],
            &tally["better"],
            &tally["changed"],
            &tally["notComparable"]
        ),
        (&0.into(), &0.into(), &0.into(), &0.into()),
        "{tally}"
    );
    assert!(tally["same"].as_i64() > Some(50), "{tally}");
    let steps: Vec<&str> = (comparison["steps"].as_array().unwrap().iter())
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    let text = compare(&database, &["nightly-7", "nightly-7", "--fail"]).await;
    assert_eq!(text.code, 0, "{text:?}");
    assert!(text.stderr.contains("is compared with itself"), "{text:?}");
    assert!(text.stdout.trim_end().ends_with(" same"), "{text:?}");
    // Two runs of one step each, with other names, other runners and nothing in common but k6's own metrics.
    let other = json(&database, &["slo", "summary-json"]).await;
    assert_eq!(other["steps"].as_array().unwrap().len(), 1, "{other}");
    let run = compare(&database, &["slo", "summary-json", "no-login"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    // What never ran can't be compared.
    let none = compare(&database, &["slo", "broken-import", "--fail"]).await;
    assert_eq!(none.code, 5, "{none:?}");
    assert!(none.stderr.contains("no runner of run"), "{none:?}");
}

async fn a_slower_run_is_worse_and_fails_a_pipeline(database: Database) {
    Program::migrate(&database).run().await;
    nightly(&database, (400.0, 450.0), 0, 1).await;
    nightly(&database, (612.0, 840.0), 1, 1).await;
    let comparison = json(&database, &["@previous", "nightly"]).await;
    assert_eq!(comparison["base"]["id"], 1);
    let tally = &comparison["others"][0]["tally"];
    assert_eq!(
        (&tally["worse"], &tally["changed"]),
        (&2.into(), &1.into()),
        "{tally}"
    );
    let metric = &comparison["steps"][0]["metrics"][0];
    assert_eq!(metric["metric"], "http_req_duration");
    assert_eq!(metric["direction"], "lowerIsBetter");
    assert_eq!(metric["others"][0]["verdict"], "worse");
    let change = metric["others"][0]["changePercent"]["low"]
        .as_f64()
        .unwrap();
    assert!((change - 36.0).abs() < 0.1, "{change}");
    for (args, code) in [
        (&["@previous", "nightly"][..], 0),
        (&["@previous", "nightly", "--fail"][..], 1),
        (&["2", "1", "--fail"][..], 0),
        // The threshold is worse whatever is tolerated.
        (&["1", "2", "--fail", "--tolerance", "90%"][..], 1),
    ] {
        let run = compare(&database, args).await;
        assert_eq!(run.code, code, "{args:?}: {run:?}");
    }
    let text = compare(&database, &["1", "2"]).await.stdout;
    for part in [
        "http_req_duration p(95)<500  held  failed in 1 of 2  ✗ worse",
        "buy › paid     1 %, 1 of 100  1 %, 1 of 100  = same",
        "  http_req_duration\n    p(95)  400–450 ms  612–840 ms  ▲ worse    +36 to +110 %",
        "2 against 1: 2 worse, 1 changed, 2 same",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let changed = compare(&database, &["1", "2", "--changed", "-o", "csv"]).await;
    let lines: Vec<&str> = changed.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{changed:?}");
    assert!(lines[0].starts_with("step,what,name,stat,kind,unit,base,"));
    let names = compare(&database, &["1", "2", "-o", "name"]).await;
    assert_eq!(
        names.stdout,
        "http_req_duration p(95)<500\nhttp_req_duration\nhttp_reqs\n"
    );
    let yaml = compare(&database, &["1", "2", "-o", "yaml"]).await;
    assert!(yaml.stdout.contains("verdict: worse"), "{yaml:?}");
    let yaml: Value = serde_yaml::from_str(&yaml.stdout).unwrap();
    assert_eq!(yaml, comparison);

    // Several at once, narrow and with colour.
    nightly(&database, (100.0, 100.0), 0, 0).await;
    let several = [
        "compare",
        "1",
        "2",
        "3",
        "--color",
        "always",
        "--database-url",
        database.url(),
    ];
    let run = Program::new(&several).env("COLUMNS", "80").run().await;
    assert!(run.stdout.contains("\u{1b}[31m▲ worse"), "{run:?}");
    assert!(run.stdout.contains("▼ better"), "{run:?}");
    let plain = Program::new(&several[..4])
        .args(&["--database-url", database.url()])
        .env("COLUMNS", "80")
        .run()
        .await;
    for line in plain.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

async fn what_could_not_be_compared_is_not_green(database: Database) {
    Program::migrate(&database).run().await;
    let p95 = ("http_req_duration", "trend", "ms", "p(95)", 5.0, 5.0);
    made(&database, "whole", 2, &[p95]).await;
    made(&database, "part", 1, &[p95]).await;
    made(
        &database,
        "other",
        2,
        &[("orders", "counter", "none", "count", 5.0, 5.0)],
    )
    .await;
    made(&database, "running", 2, &[p95]).await;
    database
        .execute("UPDATE test_runs SET status = 'running' WHERE name = 'running'")
        .await;
    database
        .execute("UPDATE test_run_steps SET status = 'running' WHERE test_run_id = 4")
        .await;
    for (other, why) in [
        (
            "part",
            "only 1 of 2 runners of run 2 reported what they measured",
        ),
        ("other", "nothing of run 3 could be compared with run 1"),
        ("running", "the step has not ended in run 4"),
    ] {
        let run = compare(&database, &["whole", other, "--fail"]).await;
        assert_eq!(run.code, 5, "{run:?}");
        assert!(run.stderr.contains(why), "{run:?}");
        let run = compare(&database, &["whole", other]).await;
        assert_eq!(run.code, 0, "{run:?}");
        assert!(run.stdout.contains("not comparable"), "{run:?}");
    }
}

async fn names_and_wrong_command_lines(database: Database) {
    let run = compare(&database, &["1", "2"]).await;
    assert_eq!(run.code, 5, "{run:?}");
    Program::migrate(&database).run().await;
    nightly(&database, (1.0, 1.0), 0, 0).await;
    for (args, code, said) in [
        (&["1"][..], 2, "OTHER"),
        (&["1", "@previous"][..], 2, "can only be BASE"),
        (
            &["1", "1", "1", "1", "1", "1"][..],
            2,
            "no more were expected",
        ),
        (&["1", "1", "--tolerance=-5%"][..], 2, "from 0% to 1000%"),
        (
            &["1", "1", "--tolerance", "lots"][..],
            2,
            "from 0% to 1000%",
        ),
        (&["1", "no-such-run"][..], 3, "no-such-run"),
        (&["@previous", "nightly"][..], 3, "no run before 1"),
    ] {
        let run = compare(&database, args).await;
        assert_eq!(run.code, code, "{args:?}: {run:?}");
        assert!(run.stderr.contains(said), "{args:?}: {run:?}");
    }
}
