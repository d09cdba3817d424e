//! Several loops on one database: one syncs, the others stand by, and whatever happens to the one, no line is lost.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use k6sync_standin::{Fault, FaultAction, Log, Options};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::cluster::write_lines;
use crate::support::running_loop::{COMPLETED, LEADER, Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

/// What needs no waiting has happened by then, on a busy machine too.
const PROMPTLY: Duration = Duration::from_secs(20);
/// A killed leader is replaced within this.
const TAKEOVER: Duration = Duration::from_secs(15);
/// A lease that is not renewed for so long is free.
const LEASE: Duration = Duration::from_secs(10);

const LEASE_NAME: &str = "k6sync";
const RUNNERS: i64 = 3;
/// A log of so many lines is stored in more than one chunk.
const LINES: i64 = 6_000;

async fn start(cluster: &Cluster, database: &Database, yaml: &str) -> RunningLoop {
    RunningLoop::spawn(RunningLoop::program(cluster, database).config(yaml)).await
}

/// A loop that leads, and one that stands by and knows it.
async fn leader_and_standby(
    cluster: &Cluster,
    database: &Database,
    yaml: &str,
) -> (RunningLoop, RunningLoop) {
    let leader = start(cluster, database, yaml).await;
    lead(&leader, PROMPTLY).await;
    let standby = start(cluster, database, yaml).await;
    wait_for("a standby that knows who leads", PROMPTLY, async || {
        standby.get("/readyz").await.status == 200
    })
    .await;
    assert_eq!(standby.metric(LEADER).await, 0.0);
    (leader, standby)
}

async fn lead(running: &RunningLoop, within: Duration) {
    running.wait_for_at_least(LEADER, 1.0, within).await;
}

async fn holder(cluster: &Cluster) -> String {
    let lease = cluster.lease(LEASE_NAME).await;
    lease["holderIdentity"].as_str().unwrap().to_owned()
}

/// Who ran the recorded cycles, in their order.
async fn instances(database: &Database) -> Vec<String> {
    let rows = "SELECT instance FROM sync_cycles ORDER BY id";
    database.texts(rows).await
}

/// Logs with `LINES` lines that go on growing until the task is aborted.
fn keep_writing(cluster: &Cluster, pods: &[String]) -> JoinHandle<()> {
    let logs: Vec<Log> = pods.iter().map(|pod| cluster.log(pod, "k6")).collect();
    for log in &logs {
        write_lines(log, 0..LINES);
    }
    tokio::spawn(async move {
        for number in LINES.. {
            for log in &logs {
                write_lines(log, number..number + 1);
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
}

/// After one last sync with nobody writing, every log is as it was written.
async fn assert_nothing_lost(
    cluster: &Cluster,
    database: &Database,
    pods: &[String],
    writer: JoinHandle<()>,
) {
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
    cluster.assert_as_written(database, pods).await;
    assert_eq!(database.statuses().await, ["shop running -"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_loops_one_leads_and_the_other_stands_by() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    cluster.running("shop", 1).await;
    let yaml = "intervalSeconds: 5";
    let (leader, standby) = leader_and_standby(&cluster, &database, yaml).await;
    let held = cluster.lease(LEASE_NAME).await;
    assert_eq!(held["leaseDurationSeconds"], LEASE.as_secs());
    // A real API server leaves out a zero.
    assert_eq!(held["leaseTransitions"].as_i64().unwrap_or(0), 0);
    assert!(held["acquireTime"].as_str() <= held["renewTime"].as_str());

    leader.wait_for_at_least(COMPLETED, 2.0, PROMPTLY).await;
    let holder = holder(&cluster).await;
    let instances = instances(&database).await;
    assert!(instances.iter().all(|instance| *instance == holder));
    let words = format!("standing by: {holder} holds the lease");
    assert_eq!(standby.lines_with(&words).len(), 1, "{:?}", standby.log());
    assert_eq!(standby.metric(COMPLETED).await, 0.0);
    assert_eq!(standby.metric(LEADER).await, 0.0);
    assert_eq!(standby.get("/readyz").await.status, 200);
    let lists = "verb=\"list\",resource=\"testruns\"";
    assert!(!standby.get("/metrics").await.body.contains(lists));
    assert!(leader.get("/metrics").await.body.contains(lists));

    let renewed = cluster.lease(LEASE_NAME).await;
    let time = |lease: &Value, key: &str| -> Timestamp {
        let text = lease[key].as_str().unwrap();
        // MicroTime has six decimals always.
        assert_eq!(text.len(), "2026-11-23T04:39:50.123456Z".len(), "{text}");
        text.parse().unwrap()
    };
    assert_eq!(time(&renewed, "acquireTime"), time(&held, "acquireTime"));
    assert!(time(&renewed, "renewTime") > time(&held, "renewTime"));
    assert_eq!(renewed["holderIdentity"], held["holderIdentity"]);
    assert_eq!(renewed["leaseTransitions"], held["leaseTransitions"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_in_a_cycle_is_replaced_and_nothing_is_lost() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    let pods = cluster.running("shop", RUNNERS).await;
    let writer = keep_writing(&cluster, &pods);
    // The first answer of each log pauses after a chunk and a half.
    let stall = FaultAction::Stall {
        after_bytes: 400_000,
        duration: Duration::from_secs(120),
    };
    let logs = RUNNERS.unsigned_abs();
    let standin = cluster.standin_cluster();
    standin.fault(Fault::times("get pods/log", logs, stall));
    let yaml = "{intervalSeconds: 5, kubernetes: {requestTimeout: 100s}}";
    let (mut leader, standby) = leader_and_standby(&cluster, &database, yaml).await;
    wait_for("a chunk of each log is stored", PROMPTLY, async || {
        database.number("SELECT count(*) FROM log_chunks").await >= RUNNERS
    })
    .await;
    assert_eq!(cluster.log_requests(), logs);
    let killed = holder(&cluster).await;
    let transitions = cluster.lease(LEASE_NAME).await["leaseTransitions"].clone();

    leader.signal(Signal::Kill);
    lead(&standby, TAKEOVER).await;
    assert_eq!(leader.exit_code(PROMPTLY).await, -9);
    let taken = cluster.lease(LEASE_NAME).await;
    let transitions = transitions.as_i64().unwrap_or(0);
    assert_eq!(taken["leaseTransitions"], transitions + 1);
    let successor = holder(&cluster).await;
    assert_ne!(successor, killed);

    standby.wait_for_at_least(COMPLETED, 2.0, PROMPTLY).await;
    let instances = instances(&database).await;
    assert!(instances.iter().all(|instance| *instance == successor));
    let mut standby = standby;
    standby.signal(Signal::Terminate);
    assert_eq!(standby.exit_code(PROMPTLY).await, 0);
    assert_nothing_lost(&cluster, &database, &pods, writer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_stop_is_replaced_at_once() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    let yaml = "intervalSeconds: 300";
    let (mut leader, standby) = leader_and_standby(&cluster, &database, yaml).await;
    leader.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let first = holder(&cluster).await;

    leader.signal(Signal::Terminate);
    assert_eq!(leader.exit_code(Duration::from_secs(3)).await, 0);
    lead(&standby, Duration::from_millis(2_500)).await;
    // It does not wait for the 300 s to be over.
    standby.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let second = holder(&cluster).await;
    assert_ne!(first, second);
    assert_eq!(instances(&database).await, [first, second]);
    assert_eq!(cluster.lease(LEASE_NAME).await["leaseTransitions"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_ends_leaves_the_lease_alone() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    let yaml = "intervalSeconds: 300";
    let (leader, mut standby) = leader_and_standby(&cluster, &database, yaml).await;
    let before = holder(&cluster).await;
    standby.signal(Signal::Terminate);
    assert_eq!(standby.exit_code(Duration::from_secs(3)).await, 0);
    assert_eq!(holder(&cluster).await, before);
    assert_eq!(leader.metric(LEADER).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_with_leases_of_different_names_both_lead() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    let one = start(&cluster, &database, "").await;
    let other = start(&cluster, &database, "leaderElection: {lease: night-shift}").await;
    for running in [&one, &other] {
        lead(running, PROMPTLY).await;
        running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    }
    let mut holders = Vec::new();
    for name in [LEASE_NAME, "night-shift"] {
        let lease = cluster.lease(name).await;
        holders.push(lease["holderIdentity"].as_str().unwrap().to_owned());
    }
    let mut instances = instances(&database).await;
    instances.sort();
    instances.dedup();
    holders.sort();
    assert_ne!(holders[0], holders[1]);
    assert_eq!(instances, holders);
    let words = "this instance holds the lease and syncs lease=\"night-shift\"";
    assert_eq!(other.lines_with(words).len(), 1, "{:?}", other.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_election_all_sync_at_once_and_nothing_is_lost_or_doubled() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    let pods = cluster.running("shop", RUNNERS).await;
    let writer = keep_writing(&cluster, &pods);
    let yaml = "{intervalSeconds: 5, leaderElection: {enabled: false}}";
    let mut loops = [
        start(&cluster, &database, yaml).await,
        start(&cluster, &database, yaml).await,
    ];
    for _ in 0..4 {
        let by_hand = (0..3).map(|_| Program::sync_once(&cluster, &database, &[]).report());
        for report in join_all(by_hand).await {
            assert_eq!(report["errors"], 0, "{report}");
        }
    }
    for running in &mut loops {
        running.wait_for_at_least(COMPLETED, 3.0, PROMPTLY).await;
        assert_eq!(running.metric(LEADER).await, 1.0);
        let metrics = running.get("/metrics").await.body;
        assert!(!metrics.contains("leases"), "there is no lease");
        running.signal(Signal::Terminate);
        assert_eq!(running.exit_code(PROMPTLY).await, 0);
    }
    let failed = "SELECT count(*) FROM sync_cycles WHERE outcome <> 'completed' OR errors > 0";
    assert_eq!(database.number(failed).await, 0);
    let by_loops = "SELECT count(DISTINCT instance) FROM sync_cycles WHERE \"trigger\" = 'loop'";
    assert_eq!(database.number(by_loops).await, 2);
    assert_nothing_lost(&cluster, &database, &pods, writer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_stands_down_before_its_lease_is_free() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    lead(&running, PROMPTLY).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;

    // Refused at once for most of the time, and then not answered at all.
    let refused = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    let stalled = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(60),
    };
    let standin = cluster.standin_cluster();
    standin.fault(Fault::times("get leases", 3, refused));
    standin.fault(Fault::always("get leases", stalled));
    let begun = Instant::now();
    let is_down = |leads| leads == 0.0;
    running.wait_for_metric(LEADER, LEASE, is_down).await;
    // Not at the first trouble, either.
    let after = begun.elapsed();
    assert!(after >= Duration::from_secs(4), "{after:?}");
    let ready = running.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("the lease can't be read"), "{ready:?}");
    assert_eq!(running.get("/healthz").await.status, 200);
    let cycles = running.metric(COMPLETED).await;

    standin.clear_faults();
    lead(&running, PROMPTLY).await;
    assert_eq!(running.get("/readyz").await.status, 200);
    running
        .wait_for_at_least(COMPLETED, cycles + 1.0, PROMPTLY)
        .await;
    // Nobody else had it in between.
    assert_eq!(cluster.lease(LEASE_NAME).await["leaseTransitions"], 0);
}
