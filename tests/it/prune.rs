//! `k6sync prune`: old logs and cycles go, their marks and everything else stay.

use std::time::Duration;

use futures_util::future::join;
use serde_json::Value;

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    old_logs_and_cycles_are_deleted_and_marked,
    the_newest_runs_are_kept_if_asked_for,
    a_dry_run_deletes_nothing,
    a_run_that_goes_on_is_left_alone,
    times_are_compared_as_times,
    times_of_cycles_are_compared_as_times,
    the_newest_completed_cycle_is_kept,
    a_run_with_an_active_step_is_left_alone,
    what_is_left_is_still_proven,
    a_sync_goes_on_beside_it,
    killed_at_any_moment_the_next_one_completes,
);

async fn prune(database: &Database, args: &[&str]) -> Run {
    let program = Program::new(&["prune", "--database-url", database.url()]);
    let run = program.args(args).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    run
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_made() {
    for args in [
        &["--older-than", "30d"][..],
        &["--older-than", "30d", "--dry-run"],
    ] {
        let run = Program::new(&["prune"]).args(args).run().await;
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stderr
                .contains("there is no database sqlite://k6sync.db"),
            "{run:?}"
        );
        assert!(run.files.is_empty(), "{run:?}");
    }
}

#[tokio::test]
async fn an_age_that_is_none_is_refused() {
    for age in ["5x", "30", "-3d", "5s", ""] {
        let run = Program::new(&["prune", "--older-than", age]).run().await;
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("--older-than"), "{run:?}");
    }
}

/// Runs that ended a year ago, one runner each, recorded.
async fn ended(cluster: &Cluster, database: &Database, names: &[&str]) {
    for name in names {
        let pods = cluster.running(name, 1).await;
        write_lines(&cluster.log(&pods[0], "k6"), 0..30);
        cluster
            .container_state(&pods[0], State::Terminated(0, "Completed"))
            .await;
        cluster.stage(name, "finished").await;
        Program::sync_once(cluster, database, &[]).report().await;
    }
    // As they will be in a year, whatever the clocks say now.
    for table in ["test_runs", "test_run_steps"] {
        database
            .execute(&format!(
                "UPDATE {table} SET finished_at = '2025-11-23T04:39:43.000000Z' WHERE finished_at IS NOT NULL"
            ))
            .await;
    }
}

/// Names of the runs that have logs.
async fn with_logs(database: &Database) -> Vec<String> {
    let steps = "SELECT DISTINCT k6_test_name FROM test_run_steps s
        JOIN log_streams ON step_id = s.id JOIN log_chunks ON stream_id = log_streams.id ORDER BY k6_test_name";
    database.texts(steps).await
}

async fn old_logs_and_cycles_are_deleted_and_marked(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["shop", "cart"]).await;
    database
        .execute("UPDATE sync_cycles SET started_at = '2025-11-23T04:39:43.000000Z' WHERE id = 1")
        .await;
    let run = prune(&database, &["--older-than", "30d"]).await;
    assert!(
        run.stdout.starts_with("deleted 2 container logs (")
            && run.stdout.contains(", and 1 cycles"),
        "{run:?}"
    );
    assert!(with_logs(&database).await.is_empty());
    let marks = "SELECT cause FROM log_gaps JOIN log_streams ON id = stream_id WHERE gaps = 1 AND lines = 30";
    assert_eq!(database.texts(marks).await, ["pruned", "pruned"]);
    let mut statuses = database.statuses().await;
    statuses.sort();
    assert_eq!(statuses, ["cart passed -", "shop passed -"]);
    let run = prune(&database, &["--older-than", "30d"]).await;
    assert!(
        run.stdout.starts_with("deleted 0 container logs (0 bytes)"),
        "{run:?}"
    );
    assert_eq!(database.texts(marks).await.len(), 2, "marked once");
}

async fn the_newest_runs_are_kept_if_asked_for(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["one", "two", "three"]).await;
    prune(&database, &["--older-than", "30d", "--keep-last", "2"]).await;
    assert_eq!(with_logs(&database).await, ["three", "two"]);
}

async fn a_dry_run_deletes_nothing(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["shop"]).await;
    let before = database.dump().await;
    let run = prune(&database, &["--older-than", "30d", "--dry-run"]).await;
    assert!(
        run.stdout.starts_with("would delete 1 container logs ("),
        "{run:?}"
    );
    assert_eq!(database.dump().await, before);
}

async fn a_run_that_goes_on_is_left_alone(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["shop"]).await;
    let pods = cluster.running("cart", 1).await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..5);
    Program::sync_once(&cluster, &database, &[]).report().await;
    prune(&database, &["--older-than", "30d"]).await;
    assert_eq!(with_logs(&database).await, ["cart"]);
}

async fn times_are_compared_as_times(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["shop", "cart", "new"]).await;
    // As dashboards write them. A day ago is not before 30 hours, however it is written.
    let ago = |hours: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    let text = |time: jiff::Timestamp| format!("{time:.0}").replace('T', " ").replace('Z', "");
    for (name, time) in [
        ("shop", text(ago(31))),
        // An hour later than it looks where it is written.
        ("cart", format!("{}-02:00", text(ago(31)))),
        ("new", text(ago(29))),
    ] {
        database
            .execute(&format!(
                "UPDATE test_runs SET finished_at = '{time}' WHERE name = '{name}'"
            ))
            .await;
    }
    prune(&database, &["--older-than", "30h"]).await;
    assert_eq!(with_logs(&database).await, ["cart", "new"]);
}

/// As dashboards write them: a `T` sorts after a space, and -02:00 is two hours later than it looks.
async fn times_of_cycles_are_compared_as_times(database: Database) {
    let cluster = Cluster::start().await;
    for _ in 0..4 {
        Program::sync_once(&cluster, &database, &[]).report().await;
    }
    let ago = |hours: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    let text = |time: jiff::Timestamp| format!("{time:.0}").replace('T', " ").replace('Z', "");
    for (id, time) in [
        (1, text(ago(29))),
        (2, format!("{}-02:00", text(ago(31)))),
        (3, format!("{:.0}", ago(31))),
    ] {
        let sql = format!("UPDATE sync_cycles SET started_at = '{time}' WHERE id = {id}");
        database.execute(&sql).await;
    }
    let run = prune(&database, &["--older-than", "30h", "--dry-run"]).await;
    assert!(run.stdout.contains(", and 1 cycles"), "{run:?}");
    let run = prune(&database, &["--older-than", "30h"]).await;
    assert!(run.stdout.contains(", and 1 cycles"), "{run:?}");
    assert_eq!(cycles(&database).await, ["1", "2", "4"]);
}

/// `verify` tells by it which containers are older than the last sync.
async fn the_newest_completed_cycle_is_kept(database: Database) {
    let cluster = Cluster::start().await;
    for _ in 0..4 {
        Program::sync_once(&cluster, &database, &[]).report().await;
    }
    for (id, outcome) in [
        (1, "completed"),
        (2, "completed"),
        (3, "completed"),
        (4, "failed"),
    ] {
        // The order of the rows says nothing.
        let hour = [4, 6, 5, 7][id - 1];
        database
            .execute(&format!(
                "UPDATE sync_cycles SET started_at = '2025-11-23T0{hour}:39:43.000000Z', outcome = '{outcome}' WHERE id = {id}"
            ))
            .await;
    }
    let run = prune(&database, &["--older-than", "30d", "--dry-run"]).await;
    assert!(run.stdout.contains(", and 3 cycles"), "{run:?}");
    let run = prune(&database, &["--older-than", "30d"]).await;
    assert!(run.stdout.contains(", and 3 cycles"), "{run:?}");
    assert_eq!(cycles(&database).await, ["2"]);

    // Without a completed one, all may go.
    database
        .execute("UPDATE sync_cycles SET outcome = 'failed'")
        .await;
    prune(&database, &["--older-than", "30d"]).await;
    assert!(cycles(&database).await.is_empty());
}

/// The ids of the cycles that are there.
async fn cycles(database: &Database) -> Vec<String> {
    database
        .texts("SELECT CAST(id AS TEXT) FROM sync_cycles ORDER BY id")
        .await
}

async fn a_run_with_an_active_step_is_left_alone(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["shop"]).await;
    database
        .execute(
            "INSERT INTO test_run_steps (test_run_id, position, name, namespace, k6_test_name)
             SELECT id, 2, 'more', namespace, 'more' FROM test_runs",
        )
        .await;
    prune(&database, &["--older-than", "30d"]).await;
    assert_eq!(with_logs(&database).await, ["shop"]);
}

async fn what_is_left_is_still_proven(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    for number in 0..3 {
        write_lines(&cluster.log(&pods[0], "k6"), number * 10..number * 10 + 10);
        Program::sync_once(&cluster, &database, &[]).report().await;
    }
    cluster
        .container_state(&pods[0], State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
    Program::sync_once(&cluster, &database, &[]).report().await;
    database
        .execute("UPDATE test_runs SET finished_at = '2025-11-23T04:39:43.000000Z'")
        .await;
    prune(&database, &["--older-than", "30d"]).await;
    let offline = || Program::new(&["verify", "--offline", "--database-url", database.url()]).run();
    let run = offline().await;
    assert_eq!(run.code, 0, "{run:?}");
    database.execute("DELETE FROM log_gaps").await;
    let run = offline().await;
    assert_eq!(run.code, 1, "{run:?}");
}

async fn a_sync_goes_on_beside_it(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["shop", "cart"]).await;
    let pods = cluster.running("new", 2).await;
    for pod in &pods {
        write_lines(&cluster.log(pod, "k6"), 0..500);
    }
    let sync = Program::sync_once(&cluster, &database, &[]).report();
    let (report, _): (Value, Run) = join(sync, prune(&database, &["--older-than", "30d"])).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(with_logs(&database).await, ["new"]);
    for pod in &pods {
        let stored = database.log(pod, "k6", 0).await;
        assert_eq!(stored.into_bytes(), cluster.log(pod, "k6").written());
    }
}

async fn killed_at_any_moment_the_next_one_completes(database: Database) {
    let cluster = Cluster::start().await;
    ended(&cluster, &database, &["one", "two", "three", "four"]).await;
    for milliseconds in [5, 10, 15, 20, 30, 45] {
        let program = Program::new(&[
            "prune",
            "--older-than",
            "30d",
            "--database-url",
            database.url(),
        ]);
        let (mut child, _folder) = program.spawn();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        child.kill().await.unwrap();
        let torn = "SELECT count(*) FROM log_streams s WHERE lines > 0 AND gaps = 0
            AND lines <> (SELECT coalesce(sum(c.lines), 0) FROM log_chunks c WHERE c.stream_id = s.id)";
        assert_eq!(database.number(torn).await, 0, "what is gone is marked");
    }
    prune(&database, &["--older-than", "30d"]).await;
    assert!(with_logs(&database).await.is_empty());
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 4);
}
