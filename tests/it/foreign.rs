//! Nothing foreign panics, starves or floods: absurd times and numbers, bodies without an end, nodes that are dead, and
//! namespaces that are closed.
//!
//! Only the stand-in can be made to do these things.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k6sync_standin::{Fault, FaultAction, Options, Spec};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, container_status, write_lines};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program, unique};

on_both_databases!(
    absurd_times_and_numbers_are_recorded_and_hurt_nobody,
    dead_nodes_take_nothing_from_the_others,
    what_is_no_text_is_no_log,
    a_closed_namespace_is_the_trouble_of_its_own_steps_alone,
    a_closed_namespace_is_told_by_verify_and_the_others_are_verified,
    a_closed_namespace_keeps_no_hold_elsewhere_when_sync_is_off,
    a_closed_namespace_keeps_no_cluster_from_its_record,
);

/// The memory that this is all to need, in kilobytes.
const MEMORY_KB: u64 = 64 * 1024;

async fn standin() -> Cluster {
    Cluster::standin(Options::default()).await
}

/// A TestRun that has passed, with some lines of log; returns its runner's pod.
async fn passed(cluster: &Cluster, name: &str) -> String {
    cluster.test_run(name, 1, "finished").await;
    let pod = cluster
        .pod(name, "1", State::Terminated(0, "Completed"))
        .await;
    write_lines(&cluster.log(&pod, "k6"), 0..3);
    pod
}

async fn sync(cluster: &Cluster, database: &Database, config: &str) -> Value {
    Program::sync_once(cluster, database, &[])
        .config(config)
        .report()
        .await
}

/// A cycle that can't be completed, and says so without a panic.
async fn fail(cluster: &Cluster, database: &Database, deadline: &str) -> Run {
    let run = Program::sync_once(cluster, database, &[])
        .config(&format!("kubernetes: {{cycleDeadline: {deadline}}}"))
        .run()
        .await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    run
}

fn requests(cluster: &Cluster, kind: &str) -> u64 {
    let requests = cluster.standin_cluster().requests();
    requests.get(kind).copied().unwrap_or(0)
}

/// The most memory that the program had at a time, in kilobytes, with what the cycle came to.
async fn peak_memory(mut program: Program) -> (u64, Value) {
    let output = tempfile::NamedTempFile::new().unwrap();
    let stdout = output.reopen().unwrap();
    let mut child = program.command().stdout(stdout).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(now.unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = std::fs::read(output.path()).unwrap();
    (peak, serde_json::from_slice(&report).unwrap_or_default())
}

async fn absurd_times_and_numbers_are_recorded_and_hurt_nobody(database: Database) {
    let times = [
        "9999-12-31T23:59:59Z",
        "9999-12-30T22:00:00Z",
        "0001-01-01T00:00:00Z",
        "1677-01-01T00:00:00Z",
        "2262-04-12T00:00:00Z",
    ];
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
    let cluster = standin().await;
    let standin = cluster.standin_cluster();
    let mut names = Vec::new();
    for (index, (time, number)) in times.iter().zip(numbers).enumerate() {
        let name = format!("absurd-{index}");
        cluster.test_run(&name, number, "finished").await;
        let terminated = json!({"terminated": {
            "exitCode": number, "reason": "Error", "startedAt": time, "finishedAt": time,
        }});
        let mut status = container_status("k6", &terminated);
        status["restartCount"] = json!(number);
        status["lastState"] = terminated;
        let pod = format!("{name}-1-abcde");
        let statuses = json!({"containerStatuses": [status]});
        cluster
            .pod_with(&pod, &name, "1", &["k6"], &[], statuses)
            .await;
        // One whose lines alone are absurd: they are no lines of a container.
        cluster
            .log(&pod, "k6")
            .write_line(if index % 2 == 0 { i64::MAX } else { 0 }, b"a line");
        names.push(name);
    }
    let fine = passed(&cluster, "fine").await;
    for date in [
        "Thu, 30 Dec 9999 22:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "yesterday",
        "",
    ] {
        standin.clear_faults();
        standin.fault(Fault::always(
            "*",
            FaultAction::Header {
                name: "date",
                value: date.to_owned(),
            },
        ));
        let run = Program::sync_once(&cluster, &database, &[]).run().await;
        assert_eq!(run.code, 0, "{date}: {run:?}");
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        let statuses = database.statuses().await;
        assert!(
            statuses.contains(&"fine passed -".to_owned()),
            "{date}: {statuses:?}"
        );
        assert_eq!(statuses.len(), names.len() + 1, "{date}: {statuses:?}");
        let lost = statuses.iter().any(|status| status.contains(" lost"));
        assert!(!lost, "{date}: {statuses:?}");
    }
    assert_eq!(database.log(&fine, "k6", 0).await.lines().count(), 3);
}

/// However long an API server wants us to wait: a cycle has its deadline, and never hurries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_any_size_is_taken_for_what_it_is() {
    let cluster = standin().await;
    passed(&cluster, "shop").await;
    let standin = cluster.standin_cluster();
    for (value, most_requests) in [
        ("18446744073709551615", 1),
        ("99999999999999999999999", 1),
        ("Thu, 30 Dec 9999 22:00:00 GMT", 1),
        ("86400", 1),
        // Our own pauses within two seconds, 200 ms and more.
        ("0", 12),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 12),
        ("-1", 12),
        ("soon", 12),
    ] {
        let database = Database::sqlite();
        standin.clear_faults();
        standin.reset_requests();
        let action = FaultAction::RetryAfter {
            code: 429,
            value: value.to_owned(),
        };
        standin.fault(Fault::always("list testruns", action));
        let begun = Instant::now();
        let run = fail(&cluster, &database, "2s").await;
        assert!(run.stderr.contains("answered 429"), "{}", run.stderr);
        let made = requests(&cluster, "list testruns");
        assert!(made <= most_requests, "{value}: {made} requests");
        assert_eq!(made > 1, most_requests > 1, "{value}: {made} requests");
        assert!(begun.elapsed() < Duration::from_secs(20), "{value}");
    }
}

/// 40 logs that never come, first in the order of reading, beside 480: those are read in every cycle, however few are
/// read at a time.
async fn dead_nodes_take_nothing_from_the_others(database: Database) {
    const HEALTHY: i64 = 480;
    /// 2026-11-23T04:39:50Z
    const LATER: i64 = 1_795_408_790;
    let cluster = standin().await;
    let standin = cluster.standin_cluster();
    standin.generate(&Spec {
        namespace: cluster.namespace().to_owned(),
        runs: 13,
        runners: 40,
        lines: 3,
        ..Spec::default()
    });
    assert_eq!(sync(&cluster, &database, "").await["errors"], 0);
    let silence = FaultAction::Silence {
        duration: Duration::from_secs(3_600),
    };
    let stall = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(3_600),
    };
    for (cycle, action) in [silence.clone(), silence, stall].into_iter().enumerate() {
        standin.clear_faults();
        standin.fault(Fault::always("get pods/log run-0001-*", action));
        let second = LATER + 60 * i64::try_from(cycle).unwrap();
        let step = Duration::from_millis(100);
        standin.append_lines(cluster.namespace(), 2, second * 1_000_000_000, step);
        let concurrency = [128, 2, 16][cycle];
        let begun = Instant::now();
        let report = sync(
            &cluster,
            &database,
            &format!(
                "kubernetes: {{requestTimeout: 2s, cycleDeadline: 40s}}\ncapture: {{concurrency: {concurrency}}}"
            ),
        )
        .await;
        let took = begun.elapsed();
        let mut failed = BTreeMap::new();
        for failure in report["failures"].as_array().unwrap() {
            let error = failure["error"].as_str().unwrap();
            let is_of_dead = error.starts_with("cannot get pods/log run-0001-");
            assert!(is_of_dead && error.contains("no answer"), "{error}");
            *failed.entry(error.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(failed.len(), 40, "cycle {cycle}, {took:?}: {failed:?}");
        assert!(took < Duration::from_secs(35), "cycle {cycle}: {took:?}");
        let read = format!(
            "SELECT count(*) FROM log_streams WHERE role = 'runner' AND cursor_ts >= {second}000000000"
        );
        let read = database.number(&read).await;
        assert_eq!(read, HEALTHY, "cycle {cycle}");
    }
}

async fn what_is_no_text_is_no_log(database: Database) {
    let cluster = standin().await;
    let pod = passed(&cluster, "shop").await;
    let standin = cluster.standin_cluster();
    let typed = |kind: &str| FaultAction::Header {
        name: "content-type",
        value: kind.to_owned(),
    };
    for kind in ["application/json", "text/html; charset=utf-8"] {
        standin.clear_faults();
        standin.fault(Fault::always("get pods/log", typed(kind)));
        let report = sync(&cluster, &database, "kubernetes: {cycleDeadline: 2s}").await;
        let error = report["failures"][0]["error"].as_str().unwrap_or_default();
        let essence = kind.split(';').next().unwrap();
        assert_eq!(report["errors"], 1, "{report}");
        assert!(
            error.contains(&pod) && error.contains(&format!("content type is {essence}")),
            "{report}"
        );
        let streams = "SELECT count(*) FROM log_streams WHERE complete OR lines > 0";
        assert_eq!(database.number(streams).await, 0);
    }
    standin.clear_faults();
    standin.fault(Fault::always(
        "get pods/log",
        typed("Text/Plain;charset=UTF-8"),
    ));
    assert_eq!(sync(&cluster, &database, "").await["errors"], 0);
    assert_eq!(database.log(&pod, "k6", 0).await.lines().count(), 3);
}

/// Each kind of answer has a limit, and the error says of which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_an_end_are_not_read_to_it() {
    let cluster = standin().await;
    passed(&cluster, "shop").await;
    let standin = cluster.standin_cluster();
    for (kind, code, words) in [
        ("list testruns", 200, "cannot list testruns.k6.io"),
        ("list pods", 200, "cannot list pods"),
        ("get configmaps", 200, "cannot get configmaps"),
        ("list testruns", 403, "not allowed to list testruns.k6.io"),
    ] {
        let database = Database::sqlite();
        standin.clear_faults();
        standin.fault(Fault::always(kind, FaultAction::Endless { code }));
        let run = fail(&cluster, &database, "20s").await;
        assert!(run.stderr.contains(words), "{kind}: {}", run.stderr);
        let is_named = run.stderr.contains("the answer is longer than");
        assert_eq!(is_named, code == 200, "{kind}: {}", run.stderr);
        let (peak, _) = peak_memory(
            Program::sync_once(&cluster, &database, &[]).config("kubernetes: {cycleDeadline: 20s}"),
        )
        .await;
        assert!(peak < MEMORY_KB, "{kind}: {peak} KB");
    }
}

/// 120 TestRuns as large as etcd takes them: fewer are asked for at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_objects_need_no_more_memory_than_some() {
    let cluster = standin().await;
    let path = format!(
        "/apis/k6.io/v1alpha1/namespaces/{}/testruns",
        cluster.namespace()
    );
    let long = "x".repeat(700_000);
    let labels: BTreeMap<String, String> = (0..20_000)
        .map(|number| {
            (
                format!("label-{number:05}"),
                "a value of some length".to_owned(),
            )
        })
        .collect();
    for number in 0..120 {
        let object = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
            "metadata": {"name": format!("large-{number:03}"), "namespace": cluster.namespace(), "labels": labels},
            "spec": {"parallelism": 1, "arguments": long},
        });
        cluster.request("POST", &path, &object).await;
    }
    let database = Database::sqlite();
    let program = Program::sync_once(&cluster, &database, &[])
        .config("kubernetes: {requestTimeout: 60s, cycleDeadline: 300s}");
    let (peak, report) = peak_memory(program).await;
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&json!(120), &json!(0))
    );
    assert!(peak < MEMORY_KB, "{peak} KB");
}

/// Lines of 2 MiB of bytes that are no UTF-8, in many logs at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lines_of_many_logs_need_no_more_memory_than_some() {
    let cluster = standin().await;
    cluster.test_run("shop", 24, "started").await;
    let line: Vec<u8> = (0..2 * 1024 * 1024 - 100)
        .map(|index| if index % 4 == 0 { 0xff } else { b'x' })
        .collect();
    for number in 0..24 {
        let pod = cluster
            .pod("shop", &(number + 1).to_string(), State::Running)
            .await;
        cluster
            .log(&pod, "k6")
            .write_line(1_795_408_790_000_000_000, &line);
    }
    let database = Database::sqlite();
    let (peak, report) = peak_memory(Program::sync_once(&cluster, &database, &[])).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(
        database.number("SELECT sum(lines) FROM log_streams").await,
        24
    );
    assert!(peak < MEMORY_KB, "{peak} KB");
}

async fn a_closed_namespace_is_the_trouble_of_its_own_steps_alone(database: Database) {
    let open = standin().await;
    let closed = open.another_namespace().await;
    for cluster in [&open, &closed] {
        cluster.test_run("shop", 1, "started").await;
        cluster.pod("shop", "1", State::Running).await;
    }
    let both = ["-n", open.namespace(), "-n", closed.namespace()];
    let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
    let testruns = rule("k6.io", "testruns", "list");
    let pods = rule("", "pods", "list");
    let logs = rule("", "pods/log", "get");
    let maps = rule("", "configmaps", "get");
    let user = unique("user");
    open.allow(&user, json!([testruns, pods, logs, maps])).await;
    closed.allow(&user, json!([testruns, pods, logs])).await;
    let run = async |cluster: &Cluster| {
        Program::sync_once(&open, &database, &both)
            .kubeconfig(&cluster.kubeconfig_as(&user))
            .run()
            .await
    };
    let steps = |cluster: &Cluster| {
        format!(
            "SELECT status FROM test_run_steps WHERE namespace = '{}'",
            cluster.namespace()
        )
    };
    assert_eq!(run(&open).await.code, 0);

    for (granted, refused) in [
        (json!([pods, logs]), "list testruns.k6.io"),
        (json!([testruns, logs]), "list pods"),
    ] {
        closed.disallow(&user).await;
        closed.allow_again(&user, granted).await;
        for cluster in [&open, &closed] {
            let pod = "shop-1-abcde";
            write_lines(&cluster.log(pod, "k6"), 0..3);
        }
        let outcome = run(&open).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let error = report["failures"][0]["error"].as_str().unwrap_or_default();
        assert_eq!(
            (&report["errors"], &report["total"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(report["failures"][0]["namespace"], closed.namespace());
        for words in [&format!("not allowed to {refused}"), "add the rule {"] {
            assert!(error.contains(words), "{words}: {error}");
        }
        for cluster in [&open, &closed] {
            assert_eq!(database.texts(&steps(cluster)).await, ["running"]);
        }
    }
    // None is left: that is the cycle's own failure.
    open.disallow(&user).await;
    let outcome = run(&open).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("not allowed to "), "{outcome:?}");
}

/// An RBAC rule.
fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

/// All that commands ask for in a namespace, but for the namespace itself.
fn rules() -> Value {
    json!([
        rule("k6.io", "testruns", &["list", "get", "patch"]),
        rule("", "pods", &["list"]),
        rule("", "pods/log", &["get"]),
        rule("", "configmaps", &["get"]),
    ])
}

/// Two namespaces of a cluster with a running TestRun each.
async fn two_namespaces() -> (Cluster, Cluster) {
    let open = standin().await;
    let closed = open.another_namespace().await;
    for cluster in [&open, &closed] {
        let pods = cluster.running("shop", 1).await;
        write_lines(&cluster.log(&pods[0], "k6"), 0..3);
    }
    (open, closed)
}

/// This command line for both namespaces, as somebody who may do what is needed in the first of them alone.
async fn in_both(user: &str, open: &Cluster, closed: &Cluster, args: &[&str]) -> Run {
    Program::new(args)
        .args(&["-n", open.namespace(), "-n", closed.namespace()])
        .kubeconfig(&open.kubeconfig_as(user))
        .run()
        .await
}

async fn finalizers(cluster: &Cluster) -> Vec<Value> {
    let test_run = cluster.find_test_run("shop").await.unwrap();
    let finalizers = test_run["metadata"]["finalizers"].as_array();
    finalizers.cloned().unwrap_or_default()
}

async fn a_closed_namespace_is_told_by_verify_and_the_others_are_verified(database: Database) {
    let (open, closed) = two_namespaces().await;
    for cluster in [&open, &closed] {
        assert_eq!(sync(cluster, &database, "").await["errors"], 0);
    }
    let user = unique("user");
    open.allow(&user, rules()).await;
    closed.allow(&user, rules()).await;
    let args = ["verify", "--database-url", database.url(), "-o", "json"];
    for (granted, refused) in [
        (rule("", "pods", &["list"]), "list testruns.k6.io"),
        (rule("k6.io", "testruns", &["list"]), "list pods"),
    ] {
        closed.disallow(&user).await;
        closed.allow_again(&user, json!([granted])).await;
        let run = in_both(&user, &open, &closed, &args).await;
        assert_eq!(run.code, 1, "{run:?}");
        let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        let containers = answer["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1, "{answer}");
        assert_eq!(containers[0]["verdict"], "equal", "{answer}");
        let problems = answer["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{answer}");
        let problem = problems[0]["problem"].as_str().unwrap();
        for words in [closed.namespace(), &format!("not allowed to {refused}")] {
            assert!(problem.contains(words), "{words}: {problem}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_namespace_is_told_by_release_and_the_others_are_released() {
    let (open, closed) = two_namespaces().await;
    let held = json!({"metadata": {"finalizers": ["k6sync.dev/capture-0a"]}});
    let user = unique("user");
    open.allow(&user, rules()).await;
    for names in [&["release"][..], &["release", "shop"]] {
        for cluster in [&open, &closed] {
            cluster.patch_test_run("shop", &held).await;
        }
        let run = in_both(&user, &open, &closed, names).await;
        assert_eq!(run.code, 1, "{run:?}");
        assert_eq!(run.stdout, format!("released {}/shop\n", open.namespace()));
        for words in [
            &format!(
                "nothing is released in the namespace {}",
                closed.namespace()
            ),
            "not allowed to list testruns.k6.io",
            &format!("TestRuns in {} may still be held", closed.namespace()),
        ] {
            assert!(run.stderr.contains(words), "{words}: {run:?}");
        }
        assert_eq!(finalizers(&open).await, [""; 0]);
        assert_eq!(finalizers(&closed).await.len(), 1);
    }
    // One that may be in the closed one only.
    let run = in_both(&user, &open, &closed, &["release", "shoes"]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("may still be held"), "{run:?}");
}

/// The steps' cluster is known, and the user can't tell which one this is: only by the TestRuns.
async fn a_closed_namespace_keeps_no_hold_elsewhere_when_sync_is_off(database: Database) {
    let (open, closed) = two_namespaces().await;
    for cluster in [&open, &closed] {
        let report = Program::sync_once(cluster, &database, &["--hold"])
            .report()
            .await;
        assert_eq!(report["errors"], 0, "{report}");
    }
    open.control(json!({"enabled": "false"})).await;
    let user = unique("user");
    open.allow(&user, rules()).await;
    let args = ["sync-once", "--database-url", database.url()];
    let run = in_both(&user, &open, &closed, &args).await;
    assert_eq!(run.code, 1, "{run:?}");
    for words in ["not allowed to list testruns.k6.io", closed.namespace()] {
        assert!(run.stderr.contains(words), "{words}: {run:?}");
    }
    assert_eq!(finalizers(&open).await, [""; 0]);
    assert_eq!(finalizers(&closed).await.len(), 1);
    let held = "SELECT namespace FROM test_run_steps WHERE held";
    assert_eq!(database.texts(held).await, [closed.namespace()]);
    // Once it is open, nothing was forgotten.
    closed.allow(&user, rules()).await;
    let run = in_both(&user, &open, &closed, &args).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(finalizers(&closed).await, [""; 0]);
    assert!(database.texts(held).await.is_empty());
}

/// Its steps are from before clusters were told apart, and another cluster was faster to be known.
async fn a_closed_namespace_keeps_no_cluster_from_its_record(database: Database) {
    let (open, closed) = two_namespaces().await;
    assert_eq!(sync(&open, &database, "").await["errors"], 0);
    for statement in [
        "UPDATE test_run_steps SET cluster = NULL",
        "UPDATE cluster_uids SET uid = 'of-another-' || namespace",
    ] {
        database.execute(statement).await;
    }
    let user = unique("user");
    let mut rules = rules().as_array().unwrap().clone();
    rules.push(rule("", "namespaces", &["get"]));
    open.allow(&user, Value::Array(rules)).await;
    let args = ["sync-once", "-o", "json", "--database-url", database.url()];
    let run = in_both(&user, &open, &closed, &args).await;
    assert_eq!(run.code, 0, "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&report["errors"], &report["total"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["failures"][0]["namespace"], closed.namespace());
}
