//! Connections to the API server that die without a word: no byte, no reset. People must not wait for their end.

use std::time::{Duration, Instant};

use k6sync_standin::Options;
use serde_json::json;

use crate::support::running_loop::{COMPLETED, LEADER, Signal, wait_for};
use crate::support::{Cluster, Database, Door, RunningLoop};

const EDIT: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(20);

async fn start(cluster: &Cluster, database: &Database) -> (RunningLoop, Door) {
    let door = Door::before(cluster).await;
    let program = RunningLoop::program(cluster, database)
        .kubeconfig(&door.kubeconfig)
        .args(&["--hold"]);
    let running = RunningLoop::spawn(program).await;
    running.wait_for_at_least(COMPLETED, 1.0, SOON).await;
    (running, door)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_in_force_within_2_seconds_all_the_same() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let (running, door) = start(&cluster, &database).await;
    for seconds in 6..12_u32 {
        door.kill_all();
        let data = json!({"intervalSeconds": seconds.to_string()});
        cluster.control(data).await;
        let is_set = |seen| seen == f64::from(seconds);
        running
            .wait_for_metric("k6sync_interval_seconds", EDIT, is_set)
            .await;
        // At different moments of a second.
        tokio::time::sleep(Duration::from_millis(u64::from(seconds) * 130)).await;
    }
    assert_eq!(running.metric(LEADER).await, 1.0);
    assert!(
        running
            .lines_with("the lease could not be looked after")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_takes_2_seconds_all_the_same() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let (mut running, door) = start(&cluster, &database).await;
    door.kill_all();
    let begun = Instant::now();
    running.signal(Signal::Terminate);
    assert_eq!(running.exit_code(Duration::from_secs(10)).await, 0);
    let took = begun.elapsed();
    assert!(took < EDIT, "{took:?}: {:?}", running.log());
    let holder = cluster.lease("k6sync").await["holderIdentity"].clone();
    assert!(holder == "" || holder.is_null(), "{holder}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_test_run_is_held_within_seconds_all_the_same() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    cluster.control(json!({"intervalSeconds": "300"})).await;
    let (_running, door) = start(&cluster, &database).await;
    door.kill_all();
    cluster.running("shop", 1).await;
    wait_for("the hold", Duration::from_secs(12), async || {
        let shop = cluster.find_test_run("shop").await.unwrap();
        shop["metadata"]["finalizers"].is_array()
    })
    .await;
}
