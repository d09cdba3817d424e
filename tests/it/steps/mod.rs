//! Steps: asked for by a dashboard or adopted, grouped into runs, missing, vanished, stuck, and a thousand at once.

mod adopted;
mod asked_for;
mod pods;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::cluster::{State, container_status, write_lines};
use crate::support::{Cluster, Database, Program};

const DISCOVERY_OFF: &str = "discovery: off";

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    Program::sync_once(cluster, database, &[]).report().await
}

/// The database with its tables and a run of these steps: (name, namespace, TestRun's name).
async fn ask_for(database: &Database, steps: &[(&str, Option<&str>, &str)]) {
    let run = Program::migrate(database).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    database.insert_run("asked for", steps).await;
}

/// A TestRun with one runner in this state and a log of three lines; returns the runner's pod.
async fn test_run(cluster: &Cluster, name: &str, stage: &str, runner: State) -> String {
    cluster.test_run(name, 1, stage).await;
    let pod = cluster.pod(name, "1", runner).await;
    write_lines(&cluster.log(&pod, "k6"), 0..3);
    pod
}

async fn passed(cluster: &Cluster, name: &str) -> String {
    test_run(cluster, name, "finished", State::Terminated(0, "Completed")).await
}

async fn running(cluster: &Cluster, name: &str) -> String {
    test_run(cluster, name, "started", State::Running).await
}

fn written(cluster: &Cluster, pod: &str) -> String {
    String::from_utf8(cluster.log(pod, "k6").written()).unwrap()
}

/// `run name/position step name status` of each step.
async fn places(database: &Database) -> Vec<String> {
    database
        .texts(
            "SELECT r.name || '/' || CAST(s.position AS TEXT) || ' ' || s.name || ' ' || s.status
             FROM test_run_steps s JOIN test_runs r ON r.id = s.test_run_id ORDER BY r.id, s.position",
        )
        .await
}

/// `name status` of each run.
async fn runs(database: &Database) -> Vec<String> {
    database
        .texts("SELECT name || ' ' || status FROM test_runs ORDER BY id")
        .await
}

/// `step k6TestName: error` of the last cycle.
async fn recorded_errors(database: &Database) -> Vec<String> {
    database
        .texts(
            "SELECT step_name || ' ' || k6_test_name || ': ' || error FROM sync_errors
             WHERE cycle_id = (SELECT max(id) FROM sync_cycles) ORDER BY step_name",
        )
        .await
}

/// What the clusters' requests since the last reset were.
fn requests(cluster: &Cluster) -> BTreeMap<String, u64> {
    cluster.standin_cluster().requests()
}

fn counted(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let owned = counts
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count));
    owned.collect()
}

/// The state of a container that ended with this exit code, between these minutes and seconds past four.
fn ended(exit_code: i64, started: &str, finished: &str) -> Value {
    json!({"terminated": {
        "exitCode": exit_code, "reason": "Completed",
        "startedAt": format!("2026-11-23T04:{started}Z"), "finishedAt": format!("2026-11-23T04:{finished}Z"),
    }})
}

async fn runner_ended(cluster: &Cluster, test_run: &str, pod: &str, state: &Value) {
    let statuses = json!([container_status("k6", state)]);
    cluster
        .pod_status(pod, json!({"containerStatuses": statuses}))
        .await;
    cluster.stage(test_run, "finished").await;
}
