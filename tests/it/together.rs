//! Any number of syncs at once: nothing is lost, nothing is doubled.

use std::time::Duration;

use futures_util::future::join_all;
use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::Value;

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    eight_that_begin_with_an_empty_database_do_the_work_of_one,
    four_at_once_follow_logs_that_grow,
    a_test_run_that_another_sync_adopts_after_the_list_is_not_lost,
);

/// The list of one sync is on its way while the TestRun is made, and another sync adopts it.
async fn a_test_run_that_another_sync_adopts_after_the_list_is_not_lost(database: Database) {
    let cluster = Cluster::standin(Options::default()).await;
    cluster.running("cart", 1).await;
    Program::migrate(&database).run().await;
    cluster.standin_cluster().fault(Fault {
        kinds: vec!["list testruns".to_owned()],
        probability: 1.0,
        times: Some(1),
        action: FaultAction::Stall {
            after_bytes: 10,
            duration: Duration::from_secs(4),
        },
    });
    let slow = Program::sync_once(&cluster, &database, &[]).run();
    let quick = async {
        let is_listed = async || cluster.standin_cluster().faults_injected() == 1;
        wait_for("the list", Duration::from_secs(10), is_listed).await;
        cluster.running("shop", 1).await;
        Program::sync_once(&cluster, &database, &[]).report().await
    };
    let (slow, _) = tokio::join!(slow, quick);
    assert_eq!(slow.code, 0, "{slow:?}");
    let mut statuses = database.statuses().await;
    statuses.sort();
    assert_eq!(statuses, ["cart running -", "shop running -"]);
}

const RUNNERS: i64 = 3;

/// `sync-once`, so many at a time; all of them must complete.
async fn sync_together(cluster: &Cluster, database: &Database, count: usize) -> Vec<Value> {
    let programs = (0..count).map(|_| Program::sync_once(cluster, database, &[]));
    let runs = join_all(programs.map(Program::run)).await;
    runs.into_iter()
        .map(|run| {
            assert_eq!(run.code, 0, "{run:?}");
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!(report["errors"], 0, "{report}");
            report
        })
        .collect()
}

async fn eight_that_begin_with_an_empty_database_do_the_work_of_one(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment("t1").await;
    let pods = cluster.running("large", RUNNERS).await;
    for pod in &pods {
        // More than one chunk.
        write_lines(&cluster.log(pod, "k6"), 0..6_000);
    }
    let alone = Database::sqlite();
    let expected = sync_together(&cluster, &alone, 1).await.remove(0);

    let reports = sync_together(&cluster, &database, 8).await;
    // Whoever came later found less to do; nothing was done twice.
    let sum = |key: &str| -> i64 {
        let numbers = reports.iter().map(|report| report[key].as_i64().unwrap());
        numbers.sum()
    };
    assert_eq!(sum("logBytes"), expected["logBytes"].as_i64().unwrap());
    let outcomes = database.texts("SELECT outcome FROM sync_cycles").await;
    assert_eq!(outcomes, ["completed"; 8]);

    for rows in [
        "SELECT name || ' ' || status FROM test_runs ORDER BY name",
        "SELECT k6_uid || ' ' || status || ' ' || coalesce(message, '-') FROM test_run_steps ORDER BY k6_uid",
        "SELECT pod_uid || container || CAST(lines AS TEXT) || ' ' || CAST(bytes AS TEXT) FROM log_streams
         ORDER BY pod_uid",
        "SELECT name || logs FROM step_logs JOIN test_run_steps ON id = step_id ORDER BY name",
    ] {
        let (together, alone) = (database.texts(rows).await, alone.texts(rows).await);
        assert!(!alone.is_empty());
        assert!(together == alone, "{rows}");
    }
    cluster.assert_as_written(&database, &pods).await;
}

async fn four_at_once_follow_logs_that_grow(database: Database) {
    const ROUNDS: i64 = 6;
    const LINES: i64 = 501;
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", RUNNERS).await;
    for round in 0..ROUNDS {
        for pod in &pods {
            // An odd number: each round's last line has a twin of the same time in the next.
            write_lines(&cluster.log(pod, "k6"), round * LINES..(round + 1) * LINES);
        }
        sync_together(&cluster, &database, 4).await;
    }
    cluster.assert_as_written(&database, &pods).await;

    for pod in &pods {
        cluster
            .container_state(pod, State::Terminated(0, "Completed"))
            .await;
        let log = cluster.log(pod, "k6");
        write_lines(&log, ROUNDS * LINES..ROUNDS * LINES + 10);
    }
    cluster.stage("shop", "finished").await;
    sync_together(&cluster, &database, 4).await;
    cluster.assert_as_written(&database, &pods).await;
    assert_eq!(database.statuses().await, ["shop passed -"]);
    let complete = "SELECT count(*) FROM log_streams WHERE complete";
    assert_eq!(database.number(complete).await, RUNNERS);
}
