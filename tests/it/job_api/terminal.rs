//! `k6sync job`: the same from a terminal.

use jiff::Timestamp;
use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::{Value, json};

use super::{ANSWERED_WITHIN, AT_ONCE, Job, rules};
use crate::support::program::Run;
use crate::support::running_loop::Signal;
use crate::support::{Cluster, Database, Program};

/// `k6sync job …` for a cluster and a database.
fn job_command(cluster: &Cluster, database: &Database, args: &[&str]) -> Program {
    Program::new(&["job"])
        .args(args)
        .args(&["--database-url", database.url()])
        .kubeconfig(cluster.kubeconfig())
}

async fn done(program: Program) -> String {
    let run = program.run().await;
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout
}

async fn status(cluster: &Cluster, database: &Database) -> Value {
    let text = done(job_command(cluster, database, &["status", "-o", "json"])).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_does_what_the_api_does() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for (args, answer, data) in [
        (
            &["stop"][..],
            "Sync job stopped\n",
            json!({"enabled": "false"}),
        ),
        (
            &["start", "--interval", "5"],
            "Sync job started with an interval of 5 seconds\n",
            json!({"enabled": "true", "intervalSeconds": "5"}),
        ),
        (
            &["start"],
            "Sync job started with an interval of 5 seconds\n",
            json!({"enabled": "true", "intervalSeconds": "5"}),
        ),
        (
            &["restart", "--interval", "300", "-o", "json"],
            "{\"configuredVia\":\"runtime override\",\"intervalSeconds\":300,\"isRunning\":true}\n",
            json!({"enabled": "true", "intervalSeconds": "300"}),
        ),
        (
            &["restart"],
            "Sync job restarted with an interval of 20 seconds\n",
            json!({"enabled": "true"}),
        ),
        (
            &["stop", "-o", "json"],
            "{\"configuredVia\":\"default (20s)\",\"intervalSeconds\":20,\"isRunning\":false}\n",
            json!({"enabled": "false"}),
        ),
    ] {
        assert_eq!(done(job_command(&cluster, &database, args)).await, answer);
        let map = cluster.control_map().await.unwrap();
        assert_eq!(map["data"], data, "{args:?}");
    }
    assert!(!database.sqlite_file().unwrap().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_means_the_job_of_the_namespace_that_it_is_told() {
    let cluster = Cluster::start().await;
    let other = cluster.another_namespace().await;
    let database = Database::sqlite();
    let namespace = ["stop", "-n", other.namespace()];
    done(job_command(&cluster, &database, &namespace)).await;
    let map = other.control_map().await.unwrap();
    assert_eq!(map["data"], json!({"enabled": "false"}));
    assert!(cluster.control_map().await.is_none());
    assert_eq!(status(&cluster, &database).await["isRunning"], true);
    assert_eq!(status(&other, &database).await["isRunning"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_starts_cycles_of_a_running_loop() {
    let cluster = Cluster::start().await;
    cluster.control(json!({"intervalSeconds": "300"})).await;
    let job = Job::start(cluster).await;
    job.wait_for_cycle_after(0, ANSWERED_WITHIN).await;
    let cycles = job.cycles().await;
    done(job_command(&job.cluster, &job.database, &["restart"])).await;
    job.wait_for_cycle_after(cycles, AT_ONCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_refuses_intervals_out_of_range() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for action in ["start", "restart"] {
        for interval in ["4", "301", "-5", "20.5", "abc", ""] {
            let interval = format!("--interval={interval}");
            let run = job_command(&cluster, &database, &[action, &interval])
                .run()
                .await;
            assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
            assert!(run.stderr.contains("from 5 to 300"), "{run:?}");
        }
    }
    let run = job_command(&cluster, &database, &["stop", "--interval", "5"])
        .run()
        .await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(cluster.control_map().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_who_holds_the_lease_and_the_last_cycles() {
    let cluster = Cluster::start().await;
    cluster.control(json!({"intervalSeconds": "300"})).await;
    let mut job = Job::spawn(cluster, |program| program.env("HOSTNAME", "pod-a")).await;
    job.wait_for_cycle_after(0, ANSWERED_WITHIN).await;
    let (cluster, database) = (&job.cluster, &job.database);
    let shown = status(cluster, database).await;
    let holder = shown["leaseHolder"].as_str().unwrap().to_owned();
    assert!(holder.starts_with("pod-a/"), "{holder}");
    assert_eq!(cluster.lease("k6sync").await["holderIdentity"], holder);
    assert_eq!(shown["lastCycles"][0]["instance"], holder);
    assert_eq!(shown["lastCycles"][0]["trigger"], "loop");
    let text = done(job_command(cluster, database, &["status"])).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "sync       on",
            "interval   300s, by runtime override",
            &format!("lease      held by {holder}"),
            "cycles"
        ]
    );
    assert!(
        lines[4].ends_with(&format!(
            " ms  0 active, 0 updated, 0 with new lines (0 bytes), 0 errors, by {holder} (loop)"
        )),
        "{text}"
    );
    assert_eq!(lines[5..], ["errors", "  none in these cycles"]);

    job.running.signal(Signal::Terminate);
    job.running.exit_code(ANSWERED_WITHIN).await;
    let shown = status(&job.cluster, &job.database).await;
    assert_eq!(shown["leaseHolder"], Value::Null);
    let text = done(job_command(&job.cluster, &job.database, &["status"])).await;
    assert!(text.contains("lease      held by nobody\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_what_cycles_did_and_what_went_wrong() {
    // A real API server can't be made to refuse one log.
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    cluster.running("shop", 1).await;
    let forbidden = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    let fault = Fault::times("get pods/log", 1, forbidden);
    cluster.standin_cluster().fault(fault);
    let mut reports = Vec::new();
    for _ in 0..6 {
        reports.push(Program::sync_once(&cluster, &database, &[]).report().await);
        let shown = status(&cluster, &database).await;
        let cycles = shown["lastCycles"].as_array().unwrap();
        assert_eq!(cycles.len(), reports.len().min(5));
        for (cycle, report) in cycles.iter().zip(reports.iter().rev()) {
            for figure in ["outcome", "total", "updated", "logsUpdated", "logBytes"] {
                assert_eq!(cycle[figure], report[figure], "{figure}");
            }
            let errors = cycle["errors"].as_array().unwrap();
            assert_eq!(report["errors"], errors.len());
        }
    }
    assert_eq!(reports[0]["errors"], 1, "{}", reports[0]);

    // Of seven cycles five are shown: the failing one is among them only if it is young enough.
    let text = done(job_command(&cluster, &database, &["status"])).await;
    assert!(
        text.ends_with("\nerrors\n  none in these cycles\n"),
        "{text}"
    );
    let forbidden = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    let fault = Fault::times("get pods/log", 1, forbidden);
    cluster.standin_cluster().fault(fault);
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    let failure = &report["failures"][0];
    let shown = status(&cluster, &database).await;
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "configuredVia",
            "intervalSeconds",
            "isRunning",
            "lastCycles",
            "leaseHolder"
        ]
    );
    let last = &shown["lastCycles"][0];
    assert_eq!(
        last["errors"],
        json!([{"step": "shop", "k6TestName": "shop", "error": failure["error"]}])
    );
    let keys: Vec<&String> = last.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "durationMs",
            "errors",
            "instance",
            "logBytes",
            "logsUpdated",
            "outcome",
            "startedAt",
            "total",
            "trigger",
            "updated"
        ]
    );
    let started: Timestamp = last["startedAt"].as_str().unwrap().parse().unwrap();
    let text = done(job_command(&cluster, &database, &["status"])).await;
    let error = failure["error"].as_str().unwrap();
    assert!(
        text.ends_with(&format!("\nerrors\n  {started:.0}  shop: {error}\n")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_database_that_does_not_exist_makes_none() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let text = done(job_command(&cluster, &database, &["status"])).await;
    assert_eq!(
        text,
        "sync       on\ninterval   20s, by default (20s)\nlease      held by nobody\ncycles     none yet\n"
    );
    assert_eq!(
        status(&cluster, &database).await,
        json!({
            "isRunning": true, "intervalSeconds": 20, "configuredVia": "default (20s)", "leaseHolder": null,
            "lastCycles": [],
        })
    );
    let folder = database.sqlite_file().unwrap();
    let folder = folder.parent().unwrap();
    assert_eq!(folder.read_dir().unwrap().count(), 0);

    // Nor where nobody says which database.
    let program = Program::new(&["job", "status"]).kubeconfig(cluster.kubeconfig());
    let run = program.run().await;
    assert_eq!((run.code, run.files), (0, Vec::new()));
    assert!(cluster.control_map().await.is_none());
}

/// The status of somebody who sees not everything, as text and as JSON; it is a success.
async fn partial_status(program: impl Fn(&[&str]) -> Program) -> (String, Value) {
    let text = done(program(&["status"])).await;
    let json = done(program(&["status", "-o", "json"])).await;
    (text, serde_json::from_str(&json).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_what_it_cannot_tell() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    Program::sync_once(&cluster, &database, &[]).report().await;
    cluster.allow("reader", rules(&["get"])).await;
    let reader = cluster.kubeconfig_as("reader");
    let (text, json) =
        partial_status(|args| job_command(&cluster, &database, args).kubeconfig(&reader)).await;
    let problem = json["leaseError"].as_str().unwrap();
    assert!(problem.starts_with("not allowed to get leases"), "{json}");
    assert!(json.get("leaseHolder").is_none(), "{json}");
    assert_eq!(json["lastCycles"].as_array().unwrap().len(), 1);
    assert!(
        text.contains(&format!("\nlease      not known: {problem}\ncycles\n")),
        "{text}"
    );

    let file = database.sqlite_file().unwrap();
    std::fs::write(
        &file,
        "this is no database, and long enough to be read as one",
    )
    .unwrap();
    let (text, json) = partial_status(|args| job_command(&cluster, &database, args)).await;
    let problem = json["lastCyclesError"].as_str().unwrap();
    assert!(problem.contains("not a database"), "{json}");
    assert!(json.get("lastCycles").is_none(), "{json}");
    assert!(
        text.ends_with(&format!("\ncycles     not known: {problem}\n")),
        "{text}"
    );
}

fn assert_failed(run: &Run, words: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.contains(words), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_the_terminal_fails() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let stranger = cluster.kubeconfig_as("stranger");
    for (args, words) in [
        (&["status"][..], "not allowed to get configmaps"),
        (&["stop"], "not allowed to get configmaps"),
    ] {
        let program = job_command(&cluster, &database, args).kubeconfig(&stranger);
        assert_failed(&program.run().await, words);
    }
    cluster.allow("reader", rules(&["get"])).await;
    let reader = cluster.kubeconfig_as("reader");
    let stop = || job_command(&cluster, &database, &["stop"]).kubeconfig(&reader);
    assert_failed(&stop().run().await, "not allowed to create configmaps");
    cluster.control(json!({"enabled": "true"})).await;
    assert_failed(&stop().run().await, "not allowed to patch configmaps");
    let map = cluster.control_map().await.unwrap();
    assert_eq!(map["data"], json!({"enabled": "true"}));
}
