//! The read API and the door before it: who sees what, and that what is read and followed is all there is, once.

mod door;
mod logs;
mod requests;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::write_lines;
use crate::support::running_loop::{Answer, wait_for};
use crate::support::{Cluster, Database, RunningLoop};

const KEY: &str = "0123456789abcdef";
const SYNCED_WITHIN: Duration = Duration::from_secs(60);

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
        Self::start_in(Cluster::start().await, database, config).await
    }

    async fn start_in(cluster: Cluster, database: Database, config: &str) -> Self {
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
