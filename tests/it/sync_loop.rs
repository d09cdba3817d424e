//! `k6sync loop`: when it syncs, what people can tell it while it runs, what it survives, and how it ends.
//!
//! The loop's own clock can't be turned, so that these tests take their time: they use the shortest interval, 5 s, where
//! more than one cycle matters, and the longest, 300 s, where something has to happen long before the next cycle.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::support::cluster::write_lines;
use crate::support::running_loop::{COMPLETED, LEADER, Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

/// An edit of the ConfigMap takes effect within this: the contract.
const EDIT: Duration = Duration::from_secs(2);
/// What needs no waiting has happened by then, on a busy machine too.
const PROMPTLY: Duration = Duration::from_secs(20);
/// What follows from a few 5 s intervals has happened by then.
const IN_A_WHILE: Duration = Duration::from_secs(60);

const FAILED: &str = "k6sync_cycles_total{outcome=\"failed\"}";
const CYCLE_ERRORS: &str = "k6sync_errors_total{kind=\"cycle\"}";
const SKIPPED: &str = "k6sync_cycles_skipped_total";
const ENABLED: &str = "k6sync_enabled";
const INTERVAL: &str = "k6sync_interval_seconds";

const START: &str = "Starting scheduled K6 steps sync";
const END: &str = "K6 steps sync completed";

const API_KEY: &str = "the organizers' own key";
const JOB: &str = "/api/dashboard/load-testing/sync-job";
const RANGE: &str = "it must be a whole number of seconds from 5 to 300";

/// A log of so many lines is stored in more than one chunk.
const LINES: i64 = 6_000;

const UNAVAILABLE: FaultAction = FaultAction::Status {
    code: 503,
    retry_after_seconds: None,
};

fn program(cluster: &Cluster, database: &Database, yaml: &str) -> Program {
    RunningLoop::program(cluster, database)
        .env("K6_SYNC_API_KEY", API_KEY)
        .config(yaml)
}

/// A loop with a configuration file of this text.
async fn start(cluster: &Cluster, database: &Database, yaml: &str) -> RunningLoop {
    RunningLoop::spawn(program(cluster, database, yaml)).await
}

async fn standin() -> Cluster {
    Cluster::standin(Options::default()).await
}

/// What the job-control API says of the job.
async fn job(running: &RunningLoop) -> Value {
    let key = [("X-API-Key", API_KEY)];
    let answer = running.request("GET", JOB, &key, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["job"].clone()
}

/// When this line was logged.
fn logged_at(line: &str) -> Timestamp {
    let (time, _) = line.split_once(' ').unwrap();
    time.parse().unwrap()
}

/// When each recorded cycle started and ended, of SQLite.
async fn cycles(database: &Database) -> Vec<(Timestamp, Timestamp)> {
    let rows = "SELECT started_at || '|' || CAST(duration_ms AS TEXT) FROM sync_cycles ORDER BY id";
    let rows = database.texts(rows).await;
    rows.iter()
        .map(|row| {
            let (started, ms) = row.split_once('|').unwrap();
            let started: Timestamp = started.parse().unwrap();
            (
                started,
                started + Duration::from_millis(ms.parse().unwrap()),
            )
        })
        .collect()
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64()
}

// === when it syncs ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_setting_it_syncs_at_once_and_every_20_seconds() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let running = start(&cluster, &database, "").await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let job = job(&running).await;
    let seen = (
        &job["isRunning"],
        &job["intervalSeconds"],
        &job["intervalMs"],
        &job["nextRunIn"],
        &job["configuredVia"],
    );
    let expected = (
        &json!(true),
        &json!(20),
        &json!(20_000),
        &json!("< 20s"),
        &json!("default (20s)"),
    );
    assert_eq!(seen, expected);
    let on = running.lines_with("K6 steps sync is on, every 20s (by default (20s))");
    assert_eq!(on.len(), 1, "{:?}", running.log());
    assert_eq!(running.metric(INTERVAL).await, 20.0);

    let status = ["job", "--database-url", database.url(), "-o", "json"];
    let status = Program::new(&status)
        .args(&["status"])
        .kubeconfig(cluster.kubeconfig());
    let status = status.report().await;
    assert_eq!(
        (&status["intervalSeconds"], &status["configuredVia"]),
        (&json!(20), &json!("default (20s)"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_config_map_goes_before_the_variable_and_that_before_the_file() {
    let cluster = Cluster::start().await;
    let assert_interval = async |running: &RunningLoop, seconds: u64, via: &str| {
        let job = job(running).await;
        assert_eq!(
            (&job["intervalSeconds"], &job["configuredVia"]),
            (&json!(seconds), &json!(via))
        );
        let line = format!("K6 steps sync is on, every {seconds}s (by {via})");
        running.wait_for_line(&line, EDIT).await;
        assert_eq!(running.metric(INTERVAL).await, seconds as f64);
    };
    let database = Database::sqlite();
    let running = start(&cluster, &database, "intervalSeconds: 7").await;
    assert_interval(&running, 7, "config file").await;

    let database = Database::sqlite();
    let program = program(&cluster, &database, "intervalSeconds: 7");
    let running = RunningLoop::spawn(program.env("K6_SYNC_INTERVAL_SECONDS", "9")).await;
    assert_interval(&running, 9, "K6_SYNC_INTERVAL_SECONDS").await;

    cluster.control(json!({"intervalSeconds": "11"})).await;
    assert_interval(&running, 11, "runtime override").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_makes_no_sense_is_told_and_the_next_source_is_used() {
    const DEFAULT: &str = "default (20s)";
    const ALONE: &str = "leaderElection: {enabled: false}";
    const SEVEN: &str = "leaderElection: {enabled: false}\nintervalSeconds: 7";
    let cluster = &Cluster::start().await;
    let cases = [
        ("abc", ALONE, 20, DEFAULT, true),
        ("4", ALONE, 20, DEFAULT, true),
        ("301", ALONE, 20, DEFAULT, true),
        ("20.5", ALONE, 20, DEFAULT, true),
        ("-5", ALONE, 20, DEFAULT, true),
        ("", ALONE, 20, DEFAULT, true),
        (" ", ALONE, 20, DEFAULT, true),
        (" 15 ", ALONE, 15, "K6_SYNC_INTERVAL_SECONDS", false),
        ("abc", SEVEN, 7, "config file", true),
    ];
    let checks = cases.map(|(value, yaml, seconds, via, is_told)| async move {
        let database = Database::sqlite();
        let program = program(cluster, &database, yaml).env("K6_SYNC_INTERVAL_SECONDS", value);
        let running = RunningLoop::spawn(program).await;
        let job = job(&running).await;
        assert_eq!(
            (&job["intervalSeconds"], &job["configuredVia"]),
            (&json!(seconds), &json!(via)),
            "`{value}`"
        );
        running.wait_for_at_least(COMPLETED, 1.0, IN_A_WHILE).await;
        let warnings = running.lines_with("WARN");
        let words =
            format!("WARN K6_SYNC_INTERVAL_SECONDS is `{value}`: {RANGE}; using {seconds}s");
        let is_as_expected = match is_told {
            true => warnings.len() == 1 && warnings[0].ends_with(&words),
            false => warnings.is_empty(),
        };
        assert!(is_as_expected, "`{value}`: {warnings:?}");
    });
    join_all(checks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cycles_follow_each_other_at_a_fixed_rate_and_follow_the_logs() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    write_lines(&log, 0..3);
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    for cycle in 1..=3 {
        running
            .wait_for_at_least(COMPLETED, cycle as f64, PROMPTLY)
            .await;
        cluster.assert_as_written(&database, &pods).await;
        write_lines(&log, cycle * 3..(cycle + 1) * 3);
    }
    let cycles = cycles(&database).await;
    assert_eq!(cycles.len(), 3, "{cycles:?}");
    for two in cycles.windows(2) {
        let apart = seconds_between(two[0].0, two[1].0);
        assert!((4.0..7.0).contains(&apart), "{cycles:?}");
    }
    // From start to start: what the cycles take does not add up.
    let all = seconds_between(cycles[0].0, cycles[2].0);
    assert!((9.5..11.5).contains(&all), "{cycles:?}");
    let kinds = "SELECT \"trigger\" || ' ' || outcome FROM sync_cycles";
    assert_eq!(database.texts(kinds).await, ["loop completed"; 3]);
    assert_eq!(running.metric(SKIPPED).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_that_outlasts_the_interval_makes_starts_fall_away_and_none_overlap() {
    let cluster = standin().await;
    let database = Database::sqlite();
    stalled_log(&cluster, Duration::from_millis(6_500)).await;
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    wait_for("the second cycle", IN_A_WHILE, async || {
        running.lines_with(START).len() == 2
    })
    .await;
    let starts = running.lines_with(START);
    let ends = running.lines_with(END);
    assert_eq!((starts.len(), ends.len()), (2, 1), "{:?}", running.log());
    assert!(logged_at(&ends[0]) <= logged_at(&starts[1]));
    // The start after 5 s has fallen away, and the one after 10 s keeps to the rhythm.
    let apart = seconds_between(logged_at(&starts[0]), logged_at(&starts[1]));
    assert!((9.5..11.0).contains(&apart), "{starts:?}");
    assert_eq!(running.metric(SKIPPED).await, 1.0);
    let warnings = running.lines_with("the cycle outlasted the interval");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("WARN") && warnings[0].contains("skipped=1"),
        "{warnings:?}"
    );

    running.wait_for_at_least(COMPLETED, 2.0, PROMPTLY).await;
    let cycles = cycles(&database).await;
    assert!(cycles[0].1 <= cycles[1].0, "{cycles:?}");
    assert_eq!(running.metric(SKIPPED).await, 2.0);
}

// === what people tell it while it runs ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_and_on_in_a_cycle_the_next_one_waits_for_its_end_and_no_longer() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let pause = Duration::from_secs(6);
    let (running, _) = in_a_cycle(&cluster, &database, pause, "1s").await;
    for (enabled, metric) in [("false", 0.0), ("true", 1.0)] {
        cluster.control(json!({"enabled": enabled})).await;
        let is_set = |seen| seen == metric;
        running.wait_for_metric(ENABLED, EDIT, is_set).await;
    }
    assert_eq!(running.lines_with(START).len(), 1);
    wait_for("the second cycle", PROMPTLY, async || {
        running.lines_with(START).len() == 2
    })
    .await;
    let starts = running.lines_with(START);
    let ends = running.lines_with(END);
    assert_eq!(ends.len(), 1, "{:?}", running.log());
    let apart = seconds_between(logged_at(&ends[0]), logged_at(&starts[1]));
    assert!((0.0..2.0).contains(&apart), "{:?}", running.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_no_cycle_starts_and_switched_on_one_starts_at_once() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let set = async |running: &RunningLoop, enabled: bool, seconds: u64| {
        let data = json!({"enabled": enabled.to_string(), "intervalSeconds": seconds.to_string()});
        cluster.control(data).await;
        let is_set = |seen| seen == f64::from(u8::from(enabled));
        running.wait_for_metric(ENABLED, EDIT, is_set).await;
    };
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;

    set(&running, false, 5).await;
    assert_eq!(running.lines_with("K6 steps sync is off").len(), 1);
    assert_eq!(job(&running).await["isRunning"], false);
    // A cycle may have started just before.
    sleep(EDIT).await;
    let before = running.metric(COMPLETED).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(running.metric(COMPLETED).await, before, "it is off");

    for cycle in [1.0, 2.0] {
        set(&running, true, 300).await;
        running
            .wait_for_at_least(COMPLETED, before + cycle, EDIT)
            .await;
        set(&running, false, 300).await;
    }
    let rows = "SELECT count(*) FROM sync_cycles";
    assert_eq!(database.number(rows).await, before as i64 + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_by_the_variable_it_is_switched_on_by_the_config_map() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let program = program(&cluster, &database, "").env("K6_AUTO_SYNC_ENABLED", "false");
    let running = RunningLoop::spawn(program).await;
    running
        .wait_for_metric(LEADER, PROMPTLY, |seen| seen == 1.0)
        .await;
    assert_eq!(running.metric(ENABLED).await, 0.0);
    assert!(running.lines_with(START).is_empty());
    cluster.control(json!({"enabled": "true"})).await;
    running.wait_for_at_least(COMPLETED, 1.0, EDIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_takes_effect_in_the_middle_of_a_long_sleep() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    cluster.control(json!({"intervalSeconds": "300"})).await;
    let running = start(&cluster, &database, "").await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    assert_eq!(running.metric(INTERVAL).await, 300.0);

    cluster.control(json!({"intervalSeconds": "5"})).await;
    running
        .wait_for_metric(INTERVAL, EDIT, |seen| seen == 5.0)
        .await;
    // Counted from the last start, so that it is due in 5 s at the latest.
    running
        .wait_for_at_least(COMPLETED, 2.0, EDIT + Duration::from_secs(5))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_config_map_the_defaults_hold_again() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let data = json!({"enabled": "false", "intervalSeconds": "300"});
    cluster.control(data).await;
    let running = start(&cluster, &database, "").await;
    // The server answers before the ConfigMap was read.
    running
        .wait_for_metric(INTERVAL, EDIT, |seen| seen == 300.0)
        .await;
    assert_eq!(running.metric(ENABLED).await, 0.0);

    cluster.remove_control().await;
    running
        .wait_for_metric(ENABLED, EDIT, |seen| seen == 1.0)
        .await;
    assert_eq!(running.metric(INTERVAL).await, 20.0);
    assert_eq!(job(&running).await["configuredVia"], "default (20s)");
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_in_the_config_map_is_told_and_the_next_source_is_used() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let data = json!({"enabled": "maybe", "intervalSeconds": "301"});
    cluster.control(data).await;
    let running = start(&cluster, &database, "intervalSeconds: 7").await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    assert_eq!(running.metric(INTERVAL).await, 7.0);
    assert_eq!(job(&running).await["configuredVia"], "config file");
    let map = format!("ConfigMap {}/k6sync-control", cluster.namespace());
    let enabled = "enabled is `maybe`: it must be \"true\" or \"false\"; using true";
    let interval = format!("intervalSeconds is `301`: {RANGE}; using 7s");
    for words in [enabled, &interval] {
        let warnings = running.lines_with(words);
        let expected = format!("WARN {map}: {words}");
        assert!(!warnings.is_empty(), "{:?}", running.log());
        assert!(warnings[0].ends_with(&expected), "{warnings:?}");
    }

    // While it runs, too.
    cluster.control(json!({"intervalSeconds": "9"})).await;
    running
        .wait_for_metric(INTERVAL, EDIT, |seen| seen == 9.0)
        .await;
    cluster.control(json!({"intervalSeconds": "4"})).await;
    running
        .wait_for_metric(INTERVAL, EDIT, |seen| seen == 7.0)
        .await;
    let interval = format!("WARN {map}: intervalSeconds is `4`: {RANGE}; using 7s");
    assert_eq!(running.lines_with(&interval).len(), 1);
}

// === what it survives ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_that_break_off_in_the_middle_miss_no_edit() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let running = start(&cluster, &database, "intervalSeconds: 300").await;
    let standin = cluster.standin_cluster();
    for seconds in ["5", "6", "7"] {
        let broken = FaultAction::ResetMidBody { after_bytes: 50 };
        standin.fault(Fault::times("get configmaps", 2, broken));
        cluster.control(json!({"intervalSeconds": seconds})).await;
        let expected: f64 = seconds.parse().unwrap();
        running
            .wait_for_metric(INTERVAL, PROMPTLY, |seen| seen == expected)
            .await;
    }
    assert!(standin.faults_injected() >= 6);
}

async fn wait_for_hold(cluster: &Cluster, name: &str) {
    wait_for(&format!("the hold of {name}"), PROMPTLY, async || {
        let test_run = cluster.find_test_run(name).await.unwrap();
        test_run["metadata"]["finalizers"].is_array()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_breaks_off_or_whose_version_has_expired_begins_anew() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let standin = cluster.standin_cluster();
    let yaml = "{intervalSeconds: 300, capture: {hold: all}}";
    let running = start(&cluster, &database, yaml).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    wait_for_requests(&cluster, "watch testruns", 1).await;
    cluster.running("first", 1).await;
    wait_for_hold(&cluster, "first").await;

    // What the watch would have told is forgotten before it can be asked again.
    standin.fault(Fault::always(
        "watch testruns",
        FaultAction::ResetBeforeBody,
    ));
    let before = requests(&cluster, "watch testruns");
    wait_for_requests(&cluster, "watch testruns", before + 1).await;
    cluster.running("second", 1).await;
    standin.compact();
    standin.clear_faults();
    wait_for_hold(&cluster, "second").await;

    let broken = FaultAction::ResetMidBody { after_bytes: 50 };
    standin.fault(Fault::times("watch testruns", 2, broken));
    cluster.running("third", 1).await;
    wait_for_hold(&cluster, "third").await;
    assert_eq!(running.metric(COMPLETED).await, 1.0);
}

/// Cycles fail, are counted and told, and then complete again.
async fn assert_failures_end_nothing(
    cluster: &Cluster,
    database: &Database,
    running: &RunningLoop,
    mend: impl FnOnce(),
    problem: &str,
) {
    running.wait_for_at_least(FAILED, 2.0, IN_A_WHILE).await;
    let failed = running.metric(FAILED).await;
    assert_eq!(running.metric(CYCLE_ERRORS).await, failed);
    assert_eq!(running.metric(COMPLETED).await, 0.0);
    let told = running.lines_with("K6 steps sync failed: ");
    assert!(
        told[0].contains("ERROR") && told[0].contains(problem),
        "{told:?}"
    );
    assert!(told[0].contains("failures_in_a_row=1"), "{told:?}");
    assert!(told[1].contains("failures_in_a_row=2"), "{told:?}");
    assert_eq!(running.get("/healthz").await.status, 200);

    mend();
    running.wait_for_at_least(COMPLETED, 1.0, IN_A_WHILE).await;
    assert_eq!(database.statuses().await, ["shop running -"]);
    let outcomes = "SELECT outcome FROM sync_cycles ORDER BY id LIMIT 2";
    assert_eq!(database.texts(outcomes).await, ["failed"; 2]);
    let errors = "SELECT error FROM sync_errors WHERE step_id IS NULL ORDER BY cycle_id LIMIT 1";
    let errors = database.texts(errors).await;
    assert!(errors[0].contains(problem), "{errors:?}");
    cluster
        .assert_as_written(database, &["shop-1-abcde".to_owned()])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_crd_fails_cycles_and_ends_nothing() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let pods = cluster.running("shop", 1).await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..3);
    let standin = cluster.standin_cluster();
    standin.remove_crd();
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    let mend = || standin.restore_crd();
    let problem = "testruns.k6.io";
    assert_failures_end_nothing(&cluster, &database, &running, mend, problem).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_unavailable_fails_cycles_and_ends_nothing() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let pods = cluster.running("shop", 1).await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..3);
    let standin = cluster.standin_cluster();
    standin.fault(Fault::always("list testruns", UNAVAILABLE));
    let yaml = "{intervalSeconds: 5, kubernetes: {cycleDeadline: 1s}}";
    let running = start(&cluster, &database, yaml).await;
    let mend = || standin.clear_faults();
    let problem = "the API server answered 503";
    assert_failures_end_nothing(&cluster, &database, &running, mend, problem).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_fails_cycles_until_it_is_back() {
    let cluster = Cluster::start().await;
    let database = Database::postgres().await;
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    write_lines(&log, 0..3);
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    assert_eq!(running.get("/readyz").await.status, 200);

    database.let_in(false).await;
    write_lines(&log, 3..6);
    running.wait_for_at_least(FAILED, 1.0, IN_A_WHILE).await;
    let ready = running.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("database"), "{ready:?}");
    assert_eq!(running.get("/healthz").await.status, 200, "it is alive");
    let completed = running.metric(COMPLETED).await;

    database.let_in(true).await;
    running
        .wait_for_at_least(COMPLETED, completed + 1.0, IN_A_WHILE)
        .await;
    assert_eq!(running.get("/readyz").await.status, 200);
    cluster.assert_as_written(&database, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_it_asks_for_nothing_but_the_lease_and_whether_it_still_is() {
    let cluster = standin().await;
    let database = Database::sqlite();
    cluster.running("shop", 1).await;
    cluster.control(json!({"enabled": "false"})).await;
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    running
        .wait_for_metric(LEADER, PROMPTLY, |seen| seen == 1.0)
        .await;
    let standin = cluster.standin_cluster();
    standin.reset_requests();
    sleep(Duration::from_secs(15)).await;
    let requests = standin.requests();
    let kinds: Vec<&str> = requests.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["get configmaps", "get leases", "update leases"]);
    // One look a second.
    let looks = requests["get configmaps"];
    assert!((10..=17).contains(&looks), "{requests:?}");
    // One renewal every 2 s.
    assert!((5..=9).contains(&requests["update leases"]), "{requests:?}");
    assert!((5..=9).contains(&requests["get leases"]), "{requests:?}");
    assert_eq!(running.get("/readyz").await.status, 200);
    assert_eq!(running.get("/healthz").await.status, 200);
    assert_eq!(database.number("SELECT count(*) FROM sync_cycles").await, 0);
}

// === how it ends ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_while_it_sleeps_it_ends_and_gives_the_lease_up() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let cluster = Cluster::start().await;
        let database = Database::sqlite();
        let mut running = start(&cluster, &database, "").await;
        running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
        assert_eq!(running.get("/readyz").await.status, 200);
        assert_ne!(cluster.lease("k6sync").await["holderIdentity"], "");

        running.signal(signal);
        assert_eq!(running.exit_code(Duration::from_secs(3)).await, 0);
        let last = running.log().pop().unwrap_or_default();
        assert!(last.ends_with("stopped"), "{last}");
        // The API server may leave out what is empty.
        let holder = cluster.lease("k6sync").await["holderIdentity"].clone();
        assert!(holder == "" || holder.is_null(), "{holder}");
        assert_eq!(database.number("SELECT count(*) FROM sync_cycles").await, 1);
    }
}

/// A running TestRun with a log whose every answer pauses for so long, after one chunk and a half; returns its pods.
async fn stalled_log(cluster: &Cluster, pause: Duration) -> Vec<String> {
    let pods = cluster.running("shop", 1).await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..LINES);
    let stall = FaultAction::Stall {
        after_bytes: 400_000,
        duration: pause,
    };
    let standin = cluster.standin_cluster();
    standin.fault(Fault::always("get pods/log", stall));
    pods
}

/// A loop in the middle of its first cycle, which pauses for so long.
async fn in_a_cycle(
    cluster: &Cluster,
    database: &Database,
    pause: Duration,
    grace: &str,
) -> (RunningLoop, Vec<String>) {
    let pods = stalled_log(cluster, pause).await;
    let yaml = format!("{{shutdownGrace: {grace}, kubernetes: {{requestTimeout: 60s}}}}");
    let running = start(cluster, database, &yaml).await;
    wait_for_requests(cluster, "get pods/log", 1).await;
    (running, pods)
}

fn requests(cluster: &Cluster, kind: &str) -> u64 {
    let requests = cluster.standin_cluster().requests();
    requests.get(kind).copied().unwrap_or(0)
}

async fn wait_for_requests(cluster: &Cluster, kind: &str, count: u64) {
    wait_for(&format!("{count} × {kind}"), PROMPTLY, async || {
        requests(cluster, kind) >= count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_a_cycle_that_ends_in_time_is_finished() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let pause = Duration::from_secs(3);
    let (mut running, pods) = in_a_cycle(&cluster, &database, pause, "20s").await;
    running.signal(Signal::Terminate);
    assert_eq!(running.exit_code(Duration::from_secs(10)).await, 0);
    assert_eq!(running.lines_with(END).len(), 1);
    let outcomes = "SELECT outcome FROM sync_cycles";
    assert_eq!(database.texts(outcomes).await, ["completed"]);
    assert_eq!(database.statuses().await, ["shop running -"]);
    cluster.assert_as_written(&database, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_a_cycle_that_does_not_end_is_cut_off_and_nothing_is_lost() {
    let cluster = standin().await;
    let database = Database::sqlite();
    let pause = Duration::from_secs(60);
    let (mut running, pods) = in_a_cycle(&cluster, &database, pause, "2s").await;
    let begun = Instant::now();
    running.signal(Signal::Terminate);
    assert_eq!(running.exit_code(Duration::from_secs(6)).await, 0);
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let words = "the running cycle did not end in time and is cut off";
    assert_eq!(running.lines_with(words).len(), 1);
    assert!(running.log().pop().unwrap().ends_with("stopped"));
    assert_eq!(database.number("SELECT count(*) FROM sync_cycles").await, 0);

    cluster.standin_cluster().clear_faults();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
    cluster.assert_as_written(&database, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_ends_at_once() {
    for (first, second, code) in [
        (Signal::Terminate, Signal::Interrupt, 128 + 2),
        (Signal::Interrupt, Signal::Terminate, 128 + 15),
    ] {
        let cluster = standin().await;
        let database = Database::sqlite();
        let pause = Duration::from_secs(60);
        let (mut running, _) = in_a_cycle(&cluster, &database, pause, "60s").await;
        running.signal(first);
        running
            .wait_for_line("waiting for the running cycle", EDIT)
            .await;
        running.signal(second);
        assert_eq!(running.exit_code(EDIT).await, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let run = Program::new(&["loop", "--listen", &address]).run().await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    let words = format!("cannot listen on {address}; choose another address by --listen: ");
    assert!(run.stderr.contains(&words), "{}", run.stderr);
    assert_eq!(run.files, [""; 0], "it did nothing before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_are_counted_by_cause() {
    const GAPS: &str = "k6sync_log_gaps_total{cause=\"rotated\"}";
    let (cluster, database) = (Cluster::start().await, Database::sqlite());
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    write_lines(&log, 0..3);
    let running = start(&cluster, &database, "intervalSeconds: 5").await;
    running
        .wait_for_at_least("k6sync_log_lines_total", 3.0, IN_A_WHILE)
        .await;
    write_lines(&log, 10..13);
    log.rotate();
    write_lines(&log, 20..23);
    running.wait_for_at_least(GAPS, 1.0, IN_A_WHILE).await;
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 1);
}
