//! Foreign texts that would forge lines of the log, give orders to a terminal, or fill a disk.

use k6sync_standin::Options;
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, container_status};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program};

on_both_databases!(foreign_texts_are_one_line_of_one_kilobyte_everywhere);

/// Ends a line, begins one that looks like ours, clears the screen, and turns the rest around.
const FORGED: &str =
    "word\n2001-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{9b}2J\u{7}\u{2028}2001\u{202e}";
const LIMIT: usize = 1024;

fn long() -> String {
    format!("{FORGED}{}", "é".repeat(50_000))
}

/// No character but newlines is one that a terminal obeys, and no line is forged.
fn assert_harmless(text: &str) {
    let bad = text.chars().find(|char| {
        (char.is_control() && *char != '\n') || matches!(char, '\u{2028}' | '\u{202e}')
    });
    assert_eq!(bad, None, "{text}");
    let forged = text.lines().find(|line| line.starts_with("2001"));
    assert_eq!(forged, None, "{text}");
}

fn assert_short(value: &Value) {
    match value {
        Value::String(text) => assert!(text.len() <= LIMIT, "{} bytes: {text}", text.len()),
        Value::Array(values) => values.iter().for_each(assert_short),
        Value::Object(values) => values.values().for_each(assert_short),
        _ => {}
    }
}

async fn run(cluster: &Cluster, database: &Database, args: &[&str]) -> Run {
    let run = Program::new(args)
        .args(&["--database-url", database.url()])
        .kubeconfig(cluster.kubeconfig())
        .run()
        .await;
    assert_harmless(&run.stdout);
    assert_harmless(&run.stderr);
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    run
}

async fn foreign_texts_are_one_line_of_one_kilobyte_everywhere(database: Database) {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let migrated = Program::migrate(&database).run().await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    database
        .insert_run(
            "run",
            &[(FORGED, Some(namespace), &format!("ghost{FORGED}"))],
        )
        .await;
    cluster
        .control(json!({"enabled": FORGED, "intervalSeconds": FORGED}))
        .await;
    // The kubelet's words, those of k6, and a field that quotes what it can't be.
    cluster.test_run("stuck", 1, "created").await;
    let stuck = cluster.pod("stuck", "1", State::Waiting("Any")).await;
    let waiting = json!({"waiting": {"reason": long(), "message": long()}});
    let status = json!({"containerStatuses": [container_status("k6", &waiting)]});
    cluster.pod_status(&stuck, status).await;
    cluster.test_run("throws", 1, "finished").await;
    let throws = cluster
        .pod("throws", "1", State::Terminated(107, "Error"))
        .await;
    let error = format!("level=error msg={}", json!(FORGED));
    let log = cluster.log(&throws, "k6");
    log.write_line(crate::support::cluster::line_time(0), error.as_bytes());
    cluster
        .test_run("odd", 1, &format!("stage{}", long()))
        .await;
    cluster.test_run("bad", 1, "started").await;
    let bad = cluster.pod("bad", "1", State::Running).await;
    let standin = cluster.standin_cluster();
    let mut pod = standin.get("pods", namespace, &bad).unwrap();
    pod["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": long()}});
    standin.put(pod);

    let dry = run(&cluster, &database, &["sync-once", "--dry-run"]).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    let text = run(&cluster, &database, &["sync-once"]).await;
    assert_eq!(text.code, 0, "{text:?}");
    assert!(
        text.stdout
            .contains("  failed     word 2001-01-01T00:00:00Z ERROR forged")
    );
    for line in text.stderr.lines().chain(text.stdout.lines()) {
        assert!(line.len() < 6 * LIMIT, "{} bytes: {line}", line.len());
    }
    let named = run(
        &cluster,
        &database,
        &["sync-once", "--log-format", "json", "-o", "json"],
    )
    .await;
    for line in named.stderr.lines().chain(named.stdout.lines()) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert_short(&line);
    }
    for output in ["text", "json"] {
        let status = run(&cluster, &database, &["job", "status", "-o", output]).await;
        assert_eq!(status.code, 0, "{status:?}");
        assert!(status.stdout.contains("forged"));
        let verify = run(&cluster, &database, &["verify", "-o", output]).await;
        assert!(verify.stdout.len() + verify.stderr.len() > 0);
    }

    for column in [
        "step_name FROM sync_errors",
        "k6_test_name FROM sync_errors",
        "error FROM sync_errors",
        "reason FROM test_run_steps",
        "message FROM test_run_steps",
        "stage FROM test_run_steps",
        "reason FROM log_streams",
    ] {
        let (name, table) = column.split_once(' ').unwrap();
        let texts = database
            .texts(&format!("SELECT coalesce({name}, '') {table}"))
            .await;
        for text in texts {
            assert!(text.len() <= LIMIT, "{column}: {} bytes", text.len());
            assert!(!text.contains('\n'), "{column}: {text}");
            assert_harmless(&text);
        }
    }
    let messages = database
        .texts("SELECT message FROM test_run_steps WHERE k6_test_name = 'throws'")
        .await;
    assert!(messages[0].starts_with("word 2001-01-01T00:00:00Z ERROR forged"));
}
