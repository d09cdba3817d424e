//! What k6 measured, from the ends of runners' logs into rows: in the cycle that completes them, or later.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k6sync_standin::Log;
use serde_json::Value;

use crate::on_both_databases;
use crate::support::cluster::{FIRST_LINE, State, recordings};
use crate::support::{Cluster, Database, Program, RunningLoop, recorded};

on_both_databases!(
    what_all_runners_measured_is_stored_when_their_logs_are_complete,
    what_was_not_derived_is_derived_by_the_next_cycle,
    a_verdict_does_not_wait_for_results_that_cannot_be_stored,
    results_are_made_again_from_the_stored_logs,
    a_runner_without_a_summary_is_seen,
    a_dry_run_says_what_was_reported_and_stores_nothing,
    a_long_log_is_read_from_its_end,
    the_sql_of_the_docs_can_be_copied,
);

/// The tables of results, but for their seals.
async fn results(database: &Database) -> Vec<String> {
    let mut rows = Vec::new();
    for sql in [
        "SELECT k6_test_name || ' ' || metric || ' ' || kind || ' ' || unit || ' ' || stat || ' ' || CAST(low AS TEXT) || ' ' \
         || CAST(high AS TEXT) FROM step_metrics JOIN test_run_steps ON id = step_id ORDER BY 1",
        "SELECT k6_test_name || ' ' || coalesce(path, '-') || ' ' || step_checks.name || ' ' || coalesce(CAST(passes AS TEXT), '-') \
         || ' ' || CAST(fails AS TEXT) FROM step_checks JOIN test_run_steps ON id = step_id ORDER BY 1",
        "SELECT k6_test_name || ' ' || metric || ' ' || coalesce(expression, '-') || ' ' || CAST(failed AS TEXT) || '/' || \
         CAST(runners AS TEXT) || ' ' || coalesce(CAST(observed_low AS TEXT), '-') || ' ' || unit \
         FROM step_thresholds JOIN test_run_steps ON id = step_id ORDER BY 1",
        "SELECT pod_name || ' ' || source || ' ' || coalesce(problem, '-') || ' ' || coalesce(CAST(document AS TEXT), '-') \
         FROM runner_summaries JOIN log_streams ON id = stream_id ORDER BY 1",
        "SELECT k6_test_name || ' ' || CAST(runners_reported AS TEXT) || ' ' || coalesce(message, '-') FROM test_run_steps ORDER BY 1",
    ] {
        rows.extend(database.texts(sql).await);
    }
    rows
}

/// Writes these lines, a microsecond apart, from line number `from` on.
fn write(log: &Log, from: usize, text: &[u8]) {
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let at = FIRST_LINE + 1_000 * i64::try_from(from + number).unwrap();
        log.write_line(at, line);
    }
}

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    Program::sync_once(cluster, database, &[]).report().await
}

/// The exports that k6 printed on `stderr` in these runners' logs: the lines from the one that is `{` to the one that is `}`.
fn exports(runners: &[&str]) -> Vec<Value> {
    let read = |runner: &&str| {
        let file = recordings()
            .join("operator/t3/logs")
            .join(format!("{runner}.k6.log"));
        let log = std::fs::read_to_string(file).unwrap();
        let lines = log
            .lines()
            .map(|line| line.split_once(' ').map_or("", |(_, text)| text));
        let mut json = String::new();
        for line in lines.skip_while(|line| *line != "{") {
            // Lines of the text stand between.
            let is_json = line.starts_with(['{', '}', ' ', '\t'])
                && (line.trim_start().starts_with(['"', '{', '}', '[', ']']));
            if is_json {
                json.push_str(line);
            }
            if line == "}" {
                break;
            }
        }
        let mut values = serde_json::Deserializer::from_str(&json).into_iter();
        let first = values.next().unwrap();
        first.unwrap_or_else(|error| panic!("{runner}: {error}\n{json}"))
    };
    runners.iter().map(read).collect()
}

async fn what_all_runners_measured_is_stored_when_their_logs_are_complete(database: Database) {
    let _cluster = recorded(&database).await;
    let runners = database
        .texts(
            "SELECT k6_test_name || ' ' || CAST(runners_reported AS TEXT) || '/' || CAST(coalesce(parallelism, 0) AS TEXT)
             FROM test_run_steps ORDER BY k6_test_name",
        )
        .await;
    assert_eq!(
        runners,
        [
            "bad-arguments 0/1",
            "broken-import 0/1",
            "no-initializer 1/1",
            "no-login 1/1",
            "shop-browse 2/2",
            "shop-buy 3/3",
            "slo 1/1",
            "summary-json 1/1",
            "too-many-runners 0/4"
        ]
    );
    let sources = database
        .texts("SELECT DISTINCT k6_test_name || ' ' || source FROM runner_summaries JOIN log_streams ON log_streams.id = stream_id
                JOIN test_run_steps ON test_run_steps.id = step_id ORDER BY 1")
        .await;
    assert_eq!(
        sources,
        [
            "no-initializer text",
            "no-login text",
            "shop-browse text",
            "shop-buy json",
            "slo text",
            "summary-json json"
        ]
    );

    // Sums over the three exports.
    let exports = exports(&["shop-buy-1-w6jv5", "shop-buy-2-2nb4p", "shop-buy-3-vzck6"]);
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for export in &exports {
        for (name, metric) in export["metrics"].as_object().unwrap() {
            if let (Some(count), Some(_)) = (metric["count"].as_f64(), metric["rate"].as_f64()) {
                *sums.entry(name.clone()).or_default() += count;
            }
        }
    }
    assert!(sums.contains_key("http_reqs"), "{sums:?}");
    for (name, sum) in sums {
        let stored = database
            .texts(&format!(
                "SELECT CAST(low AS TEXT) FROM step_metrics JOIN test_run_steps ON id = step_id
                 WHERE k6_test_name = 'shop-buy' AND metric = '{name}' AND stat = 'count' AND low = high"
            ))
            .await;
        // What one runner does not have is left out of its sum alone.
        let stored: Vec<f64> = stored.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(stored, [sum], "{name}");
    }

    // The third runner has no orders, and says so in no number.
    let lacking = database
        .number(
            "SELECT count(DISTINCT metric) FROM step_metrics JOIN test_run_steps ON id = step_id
             WHERE k6_test_name = 'shop-buy' AND runners = 2",
        )
        .await;
    assert!(lacking > 0);

    let messages = database
        .texts("SELECT k6_test_name || ': ' || message FROM test_run_steps WHERE status = 'failed' ORDER BY 1")
        .await;
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(
        messages[0].contains(" failed on 3 of 3 runners"),
        "{messages:?}"
    );
    assert!(
        messages[1].starts_with("slo: checks rate>1.1: 100 %,")
            && messages[1].contains(" failed on 1 of 1 runner"),
        "{messages:?}"
    );

    // The run of two steps: what dashboards read.
    let run = database
        .texts(
            "SELECT verdict || ' ' || CAST(steps AS TEXT) || ' ' || CAST(runners AS TEXT) || ' ' || CAST(runners_reported AS TEXT) ||
                 ' ' || CAST(thresholds_failed AS TEXT) FROM runs_v WHERE name = 'nightly-7'",
        )
        .await;
    assert_eq!(run.len(), 1, "{run:?}");
    assert!(run[0].starts_with("failed 2 5 5 "), "{run:?}");
    let verified = Program::new(&["verify", "--offline", "--database-url", database.url()])
        .run()
        .await;
    assert_eq!(verified.code, 0, "{verified:?}");
}

async fn what_was_not_derived_is_derived_by_the_next_cycle(database: Database) {
    let cluster = recorded(&database).await;
    let before = results(&database).await;
    // As a crash leaves it after a log was completed and before anything was derived: also of a step with its verdict.
    for sql in [
        "DELETE FROM runner_summaries",
        "DELETE FROM step_metrics",
        "DELETE FROM step_checks",
        "DELETE FROM step_thresholds",
        "UPDATE test_run_steps SET runners_reported = 0, results_seal = NULL",
        "UPDATE log_streams SET summary_due = TRUE WHERE role = 'runner'",
    ] {
        database.execute(sql).await;
    }
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(report["summaries"]["text"], 5, "{report}");
    assert_eq!(results(&database).await, before);
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE summary_due")
            .await,
        0
    );
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["total"], &report["summaries"]),
        (&0.into(), &Value::Null)
    );
}

async fn a_verdict_does_not_wait_for_results_that_cannot_be_stored(database: Database) {
    let cluster = Cluster::start().await;
    Program::migrate(&database).run().await;
    database
        .execute("ALTER TABLE step_thresholds RENAME TO step_thresholds_away")
        .await;
    cluster.moment_of("operator", "t3").await;
    let report = sync(&cluster, &database).await;
    assert!(report["errors"].as_i64() >= Some(5), "{report}");
    assert!(
        report["failures"].to_string().contains("step_thresholds"),
        "{report}"
    );
    let verdicts = database.statuses().await;
    assert!(
        verdicts.contains(&"slo failed ThresholdsHaveFailed".to_owned()),
        "{verdicts:?}"
    );
    database
        .execute("ALTER TABLE step_thresholds_away RENAME TO step_thresholds")
        .await;
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(database.statuses().await, verdicts);
    let message = database
        .texts("SELECT message FROM test_run_steps WHERE k6_test_name = 'slo'")
        .await;
    assert!(
        message[0].starts_with("checks rate>1.1: 100 %, failed on"),
        "{message:?}"
    );
}

async fn results_are_made_again_from_the_stored_logs(database: Database) {
    let _cluster = recorded(&database).await;
    let before = results(&database).await;
    let rebuild = async |args: &[&str]| {
        let mut all = vec!["results", "rebuild", "--database-url", database.url()];
        all.extend(args);
        Program::new(&all).run().await
    };
    let nothing = rebuild(&[]).await;
    assert!(nothing.stdout.contains("no log was read"), "{nothing:?}");

    // As an older parser has left it, and a history that none has read.
    database
        .execute("UPDATE runner_summaries SET parser = 0, document = NULL, source = 'none'")
        .await;
    database.execute("DELETE FROM step_metrics").await;
    database
        .execute("DELETE FROM runner_summaries WHERE stream_id IN (SELECT id FROM log_streams WHERE pod_name LIKE 'slo-%')")
        .await;
    let migrated = Program::migrate(&database).run().await;
    assert!(
        migrated
            .stdout
            .contains("9 recorded logs of runners were not read for what k6 measured: `k6sync results rebuild` does"),
        "{migrated:?}"
    );
    let rebuilt = rebuild(&[]).await;
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    assert!(
        rebuilt
            .stdout
            .contains("read 9 runners' logs for results: 4 json, 5 text"),
        "{rebuilt:?}"
    );
    assert_eq!(results(&database).await, before);

    // One run alone, read before or not. What a newer parser has read, and what was pruned, stays.
    database
        .execute("UPDATE runner_summaries SET parser = 1000 WHERE stream_id IN (SELECT id FROM log_streams WHERE pod_name LIKE 'shop-buy-1-%')")
        .await;
    database
        .execute("INSERT INTO log_gaps (stream_id, cause, noticed_at) SELECT id, 'pruned', '2026-11-25T00:00:00.000000Z' \
                  FROM log_streams WHERE pod_name LIKE 'shop-buy-2-%'")
        .await;
    let one = rebuild(&["--run", "nightly-7"]).await;
    assert!(
        one.stdout
            .contains("read 3 runners' logs for results: 1 json, 2 text"),
        "{one:?}"
    );
    let all = rebuild(&["--all"]).await;
    assert!(all.stdout.contains("read 7 runners' logs"), "{all:?}");
    assert_eq!(results(&database).await, before);

    let unknown = rebuild(&["--run", "no-such-run"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(
        unknown
            .stderr
            .contains("no test run has the id, the external_id or the name `no-such-run`"),
        "{unknown:?}"
    );
    let both = rebuild(&["--run", "nightly-7", "--all"]).await;
    assert_eq!(both.code, 2, "{both:?}");
}

async fn a_runner_without_a_summary_is_seen(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 2).await;
    let summary =
        std::fs::read(recordings().join("k6/summaries/http-plain.compact/log.txt")).unwrap();
    write(&cluster.log(&pods[0], "k6"), 0, &summary);
    write(
        &cluster.log(&pods[1], "k6"),
        0,
        &summary[..summary.len() / 2],
    );
    for (pod, code, reason) in [(&pods[0], 0, "Completed"), (&pods[1], 137, "OOMKilled")] {
        cluster
            .container_state(pod, State::Terminated(code, reason))
            .await;
    }
    cluster.stage("shop", "finished").await;
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 0, "{report}");
    let seen = database
        .texts("SELECT CAST(runners AS TEXT) || ' ' || CAST(runners_reported AS TEXT) FROM runs_v")
        .await;
    assert_eq!(seen, ["2 1"]);
    let reasons = database
        .texts("SELECT source FROM runner_summaries ORDER BY source")
        .await;
    assert_eq!(reasons, ["text", "unreadable"]);
}

async fn a_dry_run_says_what_was_reported_and_stores_nothing(database: Database) {
    let cluster = recorded(&database).await;
    database
        .execute("UPDATE log_streams SET summary_due = TRUE WHERE pod_name LIKE 'slo-1-%'")
        .await;
    let before = database.dump().await;
    let report = Program::sync_once(&cluster, &database, &["--dry-run"])
        .report()
        .await;
    assert_eq!(report["summaries"]["text"], 1, "{report}");
    assert!(
        report["dryRun"]
            .to_string()
            .contains("store the results of 1 runner"),
        "{report}"
    );
    assert_eq!(database.dump().await, before);
}

/// Only the end is read, and as much of it as it takes.
async fn a_long_log_is_read_from_its_end(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    let summary =
        std::fs::read(recordings().join("k6/summaries/http-plain.compact/log.txt")).unwrap();
    let first = &summary[..summary.len() / 2];
    let end = first.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    write(
        &log,
        0,
        "a line before\n".repeat(200_000).trim_end().as_bytes(),
    );
    write(&log, 300_000, &first[..end - 1]);
    // Its summary is in two chunks, and thousands of chunks could be before it.
    sync(&cluster, &database).await;
    write(&log, 400_000, summary[end..].strip_suffix(b"\n").unwrap());
    write(
        &log,
        500_000,
        "time=\"2026-11-25T07:36:12Z\" level=info msg=after\n"
            .repeat(2_000)
            .trim_end()
            .as_bytes(),
    );
    cluster
        .container_state(&pods[0], State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
    let report = sync(&cluster, &database).await;
    assert_eq!(report["summaries"]["text"], 1, "{report}");
    assert_eq!(
        database
            .number("SELECT runners_reported FROM test_run_steps")
            .await,
        1
    );
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

async fn the_sql_of_the_docs_can_be_copied(database: Database) {
    let _cluster = recorded(&database).await;
    // As the docs name them.
    for (is, docs) in [("nightly-7", "nightly")] {
        database
            .execute(&format!(
                "UPDATE test_runs SET name = '{docs}' WHERE name = '{is}'"
            ))
            .await;
    }
    let id = database
        .number("SELECT id FROM test_runs WHERE name = 'nightly'")
        .await;
    let page = read("docs/results.md");
    let queries: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(queries.len(), 5);
    for query in queries {
        let query = query.trim().trim_end_matches(';');
        let of_run = query.replace("= 7", &format!("= {id}"));
        let rows = database
            .number(&format!("SELECT count(*) FROM ({of_run}) found"))
            .await;
        // There is no second nightly run to compare with.
        assert_eq!(
            rows > 0,
            !query.contains("previous"),
            "{rows} rows: {query}"
        );
    }
}

/// The dashboard for Grafana: each query is sent to a real PostgreSQL, with what Grafana puts in place of its macros.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queries_of_the_dashboard_yield_what_its_panels_show() {
    let database = Database::postgres().await;
    let _cluster = recorded(&database).await;
    let dashboard: Value = serde_json::from_str(&read("docs/grafana-results.json")).unwrap();
    let with_macros = |sql: &str| {
        sql.replace("$__timeFrom()", "'2020-01-01T00:00:00Z'")
            .replace("$__timeTo()", "'2100-01-01T00:00:00Z'")
            .replace("${name}", "SELECT name FROM test_runs")
    };
    let panels = dashboard["panels"].as_array().unwrap();
    assert_eq!(panels.len(), 9);
    for panel in panels {
        let sql = with_macros(panel["targets"][0]["rawSql"].as_str().unwrap());
        assert!(!sql.contains('$'), "{sql}");
        let rows = database
            .texts(&format!(
                "SELECT row_to_json(found)::text FROM ({sql}) found"
            ))
            .await;
        assert!(!rows.is_empty(), "{}: {sql}", panel["title"]);
        let row: Value = serde_json::from_str(&rows[0]).unwrap();
        let columns = row.as_object().unwrap();
        assert!(columns.values().any(|value| !value.is_null()), "{row}");
        // What a field is called, and how it is shown, must be there.
        for of_field in panel["fieldConfig"]["overrides"].as_array().unwrap() {
            let name = of_field["matcher"]["options"].as_str().unwrap();
            assert!(
                columns.contains_key(name),
                "{}: no {name}: {row}",
                panel["title"]
            );
        }
        if panel["title"] == "Runs" {
            assert_eq!(
                row["runs"],
                database
                    .number("SELECT count(*) FROM test_runs WHERE started_at IS NOT NULL")
                    .await
            );
        }
    }
    let variable = &dashboard["templating"]["list"][0]["query"];
    assert!(!database.texts(variable.as_str().unwrap()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_counts_summaries_by_source() {
    let (cluster, database) = (Cluster::start().await, Database::sqlite());
    cluster.moment_of("operator", "t3").await;
    let running = RunningLoop::spawn(RunningLoop::program(&cluster, &database)).await;
    for (source, count) in [("json", 4.0), ("text", 5.0)] {
        let name = format!("k6sync_summaries_total{{source=\"{source}\"}}");
        running
            .wait_for_at_least(&name, count, Duration::from_secs(20))
            .await;
        assert_eq!(running.metric(&name).await, count);
    }
    for source in ["none", "unreadable"] {
        let name = format!("k6sync_summaries_total{{source=\"{source}\"}}");
        assert_eq!(running.metric(&name).await, 0.0);
    }
}
