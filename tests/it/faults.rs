//! A Kubernetes API that fails: what is tried again, what is told, and that no line is lost or doubled by it.
//!
//! Only the stand-in can be made to fail.

use std::time::{Duration, Instant};

use k6sync_standin::{Fault, FaultAction, Options, Spec, Stage};
use serde_json::Value;

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::program::Run;
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    a_pause_that_the_server_asks_for_is_made,
    a_request_that_fails_once_is_tried_again,
    garbage_that_persists_is_told,
    a_log_that_is_reset_in_the_middle_goes_on_where_it_broke_off,
    a_log_that_is_shorter_than_promised_is_asked_for_again,
    a_log_that_stalls_goes_on_where_it_stalled,
    a_server_that_stays_unavailable_ends_the_cycle_in_time,
    a_log_that_always_fails_is_the_trouble_of_its_step_alone,
    a_list_whose_snapshot_expires_between_pages_goes_on,
);

const LINES: i64 = 4_000;
/// Of a line of `write_lines` in an answer: the line, its time with nine decimals, `Z` and a space.
const LINE_BYTES: u64 = 100 + 31;

/// Long enough for every answer to begin, on a busy machine too, and much shorter than a stall.
const SHORT_TIMEOUT: &str = "kubernetes: {requestTimeout: 2s}";

const UNAVAILABLE: FaultAction = FaultAction::Status {
    code: 503,
    retry_after_seconds: None,
};

async fn standin() -> Cluster {
    Cluster::standin(Options::default()).await
}

/// A TestRun that has passed, with so many lines of log; returns its runner's pod.
async fn passed(cluster: &Cluster, name: &str, lines: i64) -> String {
    cluster.test_run(name, 1, "finished").await;
    let pod = cluster
        .pod(name, "1", State::Terminated(0, "Completed"))
        .await;
    write_lines(&cluster.log(&pod, "k6"), 0..lines);
    pod
}

/// A cycle that completes although something goes wrong or not.
async fn sync(cluster: &Cluster, database: &Database, config: &str) -> Value {
    Program::sync_once(cluster, database, &[])
        .config(config)
        .report()
        .await
}

/// A cycle that can't be completed within two seconds; returns the run.
async fn fail(cluster: &Cluster, database: &Database) -> Run {
    let begun = Instant::now();
    let run = Program::sync_once(cluster, database, &[])
        .config("kubernetes: {cycleDeadline: 2s}")
        .run()
        .await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    // Much less than the 30 s for which requests are tried again without a deadline.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    run
}

fn requests(cluster: &Cluster, kind: &str) -> u64 {
    let requests = cluster.standin_cluster().requests();
    requests.get(kind).copied().unwrap_or(0)
}

/// The whole log is stored, once, and known to be whole.
async fn assert_complete(cluster: &Cluster, database: &Database, pod: &str) {
    let written = String::from_utf8(cluster.log(pod, "k6").written()).unwrap();
    let stored = database.log(pod, "k6", 0).await;
    assert!(
        stored == written,
        "{pod}: {} bytes are stored, {} were written",
        stored.len(),
        written.len()
    );
    let stream =
        "SELECT CAST(lines AS TEXT) || ' ' || CAST(bytes AS TEXT) || ' ' || CAST(gaps AS TEXT)
                  FROM log_streams WHERE complete AND pod_name = ";
    let counts = format!("{} {} 0", written.lines().count(), written.len());
    assert_eq!(
        database.texts(&format!("{stream}'{pod}'")).await,
        [counts],
        "{pod}"
    );
}

async fn a_pause_that_the_server_asks_for_is_made(database: Database) {
    let cluster = standin().await;
    let pod = passed(&cluster, "shop", 3).await;
    let wait = FaultAction::Status {
        code: 429,
        retry_after_seconds: Some(1),
    };
    let standin = cluster.standin_cluster();
    standin.fault(Fault::times("list pods", 2, wait));
    let begun = Instant::now();
    let report = sync(&cluster, &database, "").await;
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(requests(&cluster, "list pods"), 3);
    assert_complete(&cluster, &database, &pod).await;
}

async fn a_request_that_fails_once_is_tried_again(database: Database) {
    let cluster = standin().await;
    let internal = FaultAction::Status {
        code: 500,
        retry_after_seconds: None,
    };
    let faults = [
        ("unavailable", UNAVAILABLE),
        ("internal", internal),
        ("reset", FaultAction::ResetBeforeBody),
        ("garbage", FaultAction::Garbage),
    ];
    for (name, action) in faults {
        let pod = passed(&cluster, name, 3).await;
        let standin = cluster.standin_cluster();
        standin.reset_requests();
        let kinds = [
            "get configmaps",
            "list testruns",
            "list pods",
            "get pods/log",
        ];
        for kind in kinds {
            standin.fault(Fault::times(kind, 1, action.clone()));
        }
        let report = sync(&cluster, &database, "").await;
        assert_eq!(
            (&report["outcome"], &report["total"], &report["errors"]),
            (&"completed".into(), &1.into(), &0.into()),
            "{name}: {report}"
        );
        for kind in kinds {
            // The end of a log is confirmed by a second read.
            let confirming = u64::from(kind == "get pods/log");
            assert_eq!(requests(&cluster, kind), 2 + confirming, "{name}: {kind}");
        }
        assert_complete(&cluster, &database, &pod).await;
    }
}

async fn garbage_that_persists_is_told(database: Database) {
    let cluster = standin().await;
    passed(&cluster, "shop", 3).await;
    let standin = cluster.standin_cluster();
    standin.fault(Fault::always("list pods", FaultAction::Garbage));
    let run = fail(&cluster, &database).await;
    let expected = format!(
        "cannot list pods in namespace {}: the answer can't be read: ",
        cluster.namespace()
    );
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
    assert!(requests(&cluster, "list pods") > 1, "it tried again");
    assert_eq!(failed_cycles(&database).await.len(), 1);
}

/// Syncs a log of `LINES` lines whose answer is spoilt once by `action` after so many whole lines, and once more.
async fn spoil_a_log(database: &Database, action: FaultAction, whole_lines: usize, problem: &str) {
    let cluster = standin().await;
    let pod = passed(&cluster, "shop", LINES).await;
    let standin = cluster.standin_cluster();
    standin.fault(Fault::times("get pods/log", 1, action));
    let report = sync(&cluster, database, SHORT_TIMEOUT).await;
    let error = report["failures"][0]["error"].as_str().unwrap_or_default();
    let call = format!(
        "cannot get pods/log {pod}/k6 in namespace {}: {problem}",
        cluster.namespace()
    );
    assert!(error.starts_with(&call), "{report}");
    assert_eq!(report["errors"], 1, "{report}");

    let written = cluster.log(&pod, "k6").written();
    let stored = database.log(&pod, "k6", 0).await;
    assert!(
        stored.as_bytes() == &written[..whole_lines * 100],
        "{} bytes are stored, {whole_lines} lines came whole",
        stored.len()
    );
    assert_eq!(report["logBytes"], stored.len());
    let incomplete = "SELECT count(*) FROM log_streams WHERE NOT complete";
    assert_eq!(database.number(incomplete).await, 1);

    let report = sync(&cluster, database, "").await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_complete(&cluster, database, &pod).await;
}

async fn a_log_that_is_reset_in_the_middle_goes_on_where_it_broke_off(database: Database) {
    // In the middle of the text of a line, beyond the first chunk.
    let action = FaultAction::ResetMidBody {
        after_bytes: 3_500 * LINE_BYTES + 50,
    };
    spoil_a_log(&database, action, 3_500, "the answer broke off: ").await;
}

async fn a_log_that_is_shorter_than_promised_is_asked_for_again(database: Database) {
    let lines = usize::try_from(LINES).unwrap();
    let problem = "the answer broke off: ";
    spoil_a_log(&database, FaultAction::ShortBody, lines, problem).await;
}

async fn a_log_that_stalls_goes_on_where_it_stalled(database: Database) {
    // In the middle of the time of a line, within the first chunk.
    let action = FaultAction::Stall {
        after_bytes: 1_000 * LINE_BYTES + 20,
        duration: Duration::from_secs(20),
    };
    spoil_a_log(&database, action, 1_000, "no answer from http://").await;
}

/// `errors: error` of each cycle that failed.
async fn failed_cycles(database: &Database) -> Vec<String> {
    database
        .texts(
            "SELECT CAST(errors AS TEXT) || ': ' || error FROM sync_cycles JOIN sync_errors ON cycle_id = id
             WHERE outcome = 'failed' AND step_id IS NULL ORDER BY id",
        )
        .await
}

async fn a_server_that_stays_unavailable_ends_the_cycle_in_time(database: Database) {
    let cluster = standin().await;
    passed(&cluster, "shop", 3).await;
    let standin = cluster.standin_cluster();
    standin.fault(Fault::always("list testruns", UNAVAILABLE));
    let run = fail(&cluster, &database).await;
    let expected = format!(
        "cannot list testruns.k6.io in namespace {}: the API server answered 503 ",
        cluster.namespace()
    );
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
    assert!(requests(&cluster, "list testruns") > 1, "it tried again");
    let failed = failed_cycles(&database).await;
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].starts_with(&format!("1: {expected}")),
        "{failed:?}"
    );

    standin.clear_faults();
    assert_eq!(sync(&cluster, &database, "").await["errors"], 0);
    assert_eq!(database.statuses().await, ["shop passed -"]);
}

async fn a_log_that_always_fails_is_the_trouble_of_its_step_alone(database: Database) {
    const ONE_BY_ONE: &str = "capture: {concurrency: 1}";
    let cluster = standin().await;
    let mut pods = Vec::new();
    for name in ["a-broken", "b-fine", "c-fine"] {
        pods.push(passed(&cluster, name, 3).await);
    }
    // Logs are read in the order of steps, and one that is told to come back in an hour is not asked for again in this
    // cycle: so it is the first log alone that fails.
    let fails = FaultAction::Status {
        code: 500,
        retry_after_seconds: Some(3600),
    };
    let standin = cluster.standin_cluster();
    for (cycle, total) in [(1, 3), (2, 1), (3, 1)] {
        standin.fault(Fault::times("get pods/log", 1, fails.clone()));
        let report = sync(&cluster, &database, ONE_BY_ONE).await;
        assert_eq!(
            (&report["total"], &report["errors"]),
            (&total.into(), &1.into()),
            "cycle {cycle}: {report}"
        );
        let failure = &report["failures"][0];
        let error = failure["error"].as_str().unwrap();
        let expected = format!(
            "cannot get pods/log {}/k6 in namespace {}: the API server answered 500 ",
            pods[0],
            cluster.namespace()
        );
        assert_eq!(failure["k6TestName"], "a-broken");
        assert!(error.starts_with(&expected), "{error}");
        for pod in &pods[1..] {
            assert_complete(&cluster, &database, pod).await;
        }
        assert_eq!(
            database.statuses().await,
            ["a-broken passed -", "b-fine passed -", "c-fine passed -"]
        );
        assert_eq!(database.log(&pods[0], "k6", 0).await, "");
    }
    assert_eq!(sync(&cluster, &database, ONE_BY_ONE).await["errors"], 0);
    assert_complete(&cluster, &database, &pods[0]).await;
    assert_eq!(sync(&cluster, &database, "").await["total"], 0);
}

async fn a_list_whose_snapshot_expires_between_pages_goes_on(database: Database) {
    let cluster = standin().await;
    let standin = cluster.standin_cluster();
    standin.generate(&Spec {
        namespace: cluster.namespace().to_owned(),
        runs: 1,
        runners: 598,
        lines: 1,
        stage: Stage::Finished,
        ..Spec::default()
    });
    // While the answer to the request for the second page is on its way, that page's token expires.
    standin.set_latency(Duration::from_secs(1));
    let expire = async {
        let asked = "the request for the second page";
        wait_for(asked, Duration::from_secs(60), async || {
            requests(&cluster, "list pods") >= 2
        })
        .await;
        standin.compact();
        standin.set_latency(Duration::ZERO);
    };
    let (report, ()) = tokio::join!(sync(&cluster, &database, ""), expire);
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(
        requests(&cluster, "list pods"),
        3,
        "the first page, the one that has expired, and the rest by a new token"
    );
    assert_eq!(database.statuses().await, ["run-0001 passed -"]);
    let streams = "SELECT count(*) FROM log_streams WHERE complete";
    assert_eq!(database.number(streams).await, 600);
}
