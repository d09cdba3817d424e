//! Clusters that can't be found or reached, refuse, or lack k6-operator.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k6sync_standin::{Certificate, Fault, FaultAction, Options, Standin};
use serde_json::{Value, json};

use super::{AT_ONCE, CLOSED, assert_refused, file, kubeconfig_of, running};
use crate::support::program::Run;
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, Program, unique};

#[tokio::test]
async fn without_a_cluster_it_says_where_it_looked() {
    let run = Program::new(&["sync-once"]).run().await;
    let words = [
        "no access to a Kubernetes cluster",
        ".kube/config",
        "set KUBECONFIG",
    ];
    assert_refused(&run, 2, &words);

    let missing = PathBuf::from("missing-kubeconfig");
    let run = Program::new(&["sync-once"])
        .kubeconfig(&missing)
        .run()
        .await;
    let words = [
        "no access to a Kubernetes cluster",
        "missing-kubeconfig",
        "set KUBECONFIG",
    ];
    assert_refused(&run, 2, &words);
}

#[tokio::test]
async fn a_context_that_there_is_not_is_refused() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &["--context", "prod"])
        .run()
        .await;
    assert_refused(&run, 2, &["context `prod`", "kubectl config get-contexts"]);
    assert!(!database.sqlite_file().unwrap().exists());
}

#[tokio::test]
async fn a_broken_kubeconfig_is_refused() {
    let url = kubeconfig_of("http://127.0.0.1:1");
    for (text, words) in [
        ("clusters: [".to_owned(), "failed to parse kubeconfig YAML"),
        ("clusters: 5".to_owned(), "failed to parse kubeconfig YAML"),
        (String::new(), "failed to determine current context"),
        (
            url.replace("current-context: test", "current-context: prod"),
            "failed to load current context: prod",
        ),
        (
            url.replace("cluster: test,", "cluster: gone,"),
            "failed to load the cluster of context: gone",
        ),
        (
            url.replace("http://127.0.0.1:1", "no url at all"),
            "failed to parse cluster url",
        ),
    ] {
        let (_folder, path) = file(&text);
        let run = Program::new(&["sync-once"]).kubeconfig(&path).run().await;
        let access = "no access to a Kubernetes cluster";
        let advice = "set KUBECONFIG to a good kubeconfig file";
        assert_refused(&run, 2, &[access, words, advice]);
    }
}

#[tokio::test]
async fn an_api_server_that_cannot_be_reached_is_named() {
    let (_folder, kubeconfig) = file(&kubeconfig_of(&format!("http://{CLOSED}")));
    let begun = Instant::now();
    let run = Program::new(&["sync-once"])
        .kubeconfig(&kubeconfig)
        .config("kubernetes: {cycleDeadline: 1s}")
        .run()
        .await;
    assert!(begun.elapsed() < AT_ONCE, "it may go on for a second only");
    let words = [
        "cannot get configmaps k6sync-control in namespace k6",
        "cannot reach the API server http://127.0.0.1:1",
        "onnection refused",
    ];
    assert_refused(&run, 1, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_good_is_told_at_once() {
    let with = |certificate| Options {
        tls: true,
        certificate,
        ..Options::default()
    };
    let expired = Standin::start(with(Certificate::Expired)).await.unwrap();
    let unknown = Standin::start(with(Certificate::Good)).await.unwrap();
    let untold = unknown.kubeconfig("k6");
    let untold: Vec<&str> = untold
        .lines()
        .filter(|line| !line.contains("certificate-authority-data"))
        .collect();
    for (url, kubeconfig, problem) in [
        (expired.url(), expired.kubeconfig("k6"), "expired"),
        (unknown.url(), untold.join("\n"), "UnknownIssuer"),
    ] {
        let (_folder, kubeconfig) = file(&kubeconfig);
        let begun = Instant::now();
        let run = Program::new(&["sync-once"])
            .kubeconfig(&kubeconfig)
            .run()
            .await;
        assert!(begun.elapsed() < AT_ONCE, "no use in trying again");
        let server = format!("cannot reach the API server {url}");
        assert_refused(&run, 1, &[&server, "certificate", problem]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_accepted_is_told() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[])
        .kubeconfig(&cluster.kubeconfig_with_wrong_token())
        .run()
        .await;
    let words = [
        "does not accept our credentials (401 Unauthorized)",
        "has expired or is wrong; log in again, or check the kubeconfig or service account",
    ];
    assert_refused(&run, 1, &words);
    assert!(!database.sqlite_file().unwrap().exists());
}

const CONFIG_MAPS: (&str, &str, &str) = ("", "configmaps", "get");
const TEST_RUNS: (&str, &str, &str) = ("k6.io", "testruns", "list");

const PODS: (&str, &str, &str) = ("", "pods", "list");

/// Syncs as a user who may do only this: API group, resource, verb.
async fn sync_as_one_who_may(
    cluster: &Cluster,
    database: &Database,
    rights: &[(&str, &str, &str)],
) -> Run {
    let user = unique("user");
    let rules: Vec<Value> = rights
        .iter()
        .map(|(group, resource, verb)| {
            json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
        })
        .collect();
    cluster.allow(&user, rules.into()).await;
    Program::sync_once(cluster, database, &[])
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .run()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named_with_the_rule_that_gives_it() {
    let cluster = Cluster::start().await;
    let namespace = cluster.namespace();
    let pod = running(&cluster, "shop").await;
    let database = Database::sqlite();

    let run = sync_as_one_who_may(&cluster, &database, &[]).await;
    let words = [
        "(--force does not ask)",
        &format!("not allowed to get configmaps k6sync-control in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: [""], resources: ["configmaps"], resourceNames: ["k6sync-control"], verbs: ["get"]} to a Role"#,
        &format!("check with: kubectl auth can-i get configmaps -n {namespace}"),
    ];
    assert_refused(&run, 1, &words);
    assert!(!database.sqlite_file().unwrap().exists());

    let run = sync_as_one_who_may(&cluster, &database, &[CONFIG_MAPS]).await;
    let words = [
        &format!("not allowed to list testruns.k6.io in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: ["k6.io"], resources: ["testruns"], verbs: ["list"]} to a Role"#,
        &format!("check with: kubectl auth can-i list testruns.k6.io -n {namespace}"),
    ];
    assert_refused(&run, 1, &words);
    assert_nothing_synced(&database, "not allowed to list testruns.k6.io").await;

    let run = sync_as_one_who_may(&cluster, &database, &[CONFIG_MAPS, TEST_RUNS]).await;
    let words = [
        &format!("not allowed to list pods in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: [""], resources: ["pods"], verbs: ["list"]} to a Role"#,
        &format!("check with: kubectl auth can-i list pods -n {namespace}"),
    ];
    assert_refused(&run, 1, &words);
    // It has become a step, of which nothing is known yet.
    assert_eq!(database.statuses().await, ["shop pending -"]);

    // Without its logs, the step is synced all the same.
    let rights = [CONFIG_MAPS, TEST_RUNS, PODS];
    let run = sync_as_one_who_may(&cluster, &database, &rights).await;
    assert_eq!(run.code, 0, "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let error = report["failures"][0]["error"].as_str().unwrap();
    for words in [
        &format!("not allowed to get pods/log {pod}/k6 in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: [""], resources: ["pods/log"], verbs: ["get"]} to a Role"#,
        &format!("check with: kubectl auth can-i get pods --subresource=log -n {namespace}"),
    ] {
        assert!(error.contains(words), "no `{words}` in {error}");
    }
    assert_eq!(database.statuses().await, ["shop running -"]);

    // With all rights, everything comes in that was missed.
    let rights = [CONFIG_MAPS, TEST_RUNS, PODS, ("", "pods/log", "get")];
    let run = sync_as_one_who_may(&cluster, &database, &rights).await;
    assert_eq!(run.code, 0, "{run:?}");
    let written = String::from_utf8(cluster.log(&pod, "k6").written()).unwrap();
    assert_eq!(database.log(&pod, "k6", 0).await, written);
    assert_eq!(database.statuses().await, ["shop running -"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_in_all_namespaces_takes_a_cluster_role() {
    let cluster = Cluster::start().await;
    let user = unique("user");
    let rule = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    cluster.allow(&user, rule).await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &["-A"])
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .run()
        .await;
    let words = [
        "not allowed to list testruns.k6.io in all namespaces (403 ",
        r#"{apiGroups: ["k6.io"], resources: ["testruns"], verbs: ["list"]} to a ClusterRole"#,
        "check with: kubectl auth can-i list testruns.k6.io --all-namespaces",
    ];
    assert_refused(&run, 1, &words);
}

/// The tables are there and empty, but for one failed cycle that says why.
async fn assert_nothing_synced(database: &Database, error: &str) {
    for table in ["test_runs", "test_run_steps", "log_streams", "log_chunks"] {
        let rows = database
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert_eq!(rows, 0, "{table}");
    }
    let cycles =
        "SELECT outcome || ': ' || error FROM sync_cycles JOIN sync_errors ON id = cycle_id";
    let cycles = database.texts(cycles).await;
    assert_eq!(cycles.len(), 1, "{cycles:?}");
    assert!(
        cycles[0].starts_with("failed: ") && cycles[0].contains(error),
        "{cycles:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_k6_operator_is_told() {
    let cluster = Cluster::standin(Options::default()).await;
    cluster.standin_cluster().remove_crd();
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[]).run().await;
    let words = [
        "cannot list testruns.k6.io in namespace",
        "is k6-operator installed?",
        "kubectl get crd testruns.k6.io",
    ];
    assert_refused(&run, 1, &words);
    assert_nothing_synced(&database, "is k6-operator installed?").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_ends_it_at_once_even_while_the_cluster_does_not_answer() {
    let cluster = Cluster::standin(Options::default()).await;
    running(&cluster, "shop").await;
    let standin = cluster.standin_cluster();
    standin.reset_requests();
    let stall = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(60),
    };
    standin.fault(Fault::always("list testruns", stall));
    let database = Database::sqlite();
    let mut program =
        Program::sync_once(&cluster, &database, &[]).config("kubernetes: {requestTimeout: 60s}");
    let child = program
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the request for TestRuns", 3 * AT_ONCE, async || {
        standin.requests().contains_key("list testruns")
    })
    .await;
    let pid = child.id().unwrap().to_string();
    let interrupted = Instant::now();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(kill.unwrap().success());
    let output = tokio::time::timeout(AT_ONCE, child.wait_with_output()).await;
    let output = output.expect("it goes on for all that").unwrap();
    assert!(!output.status.success());
    assert!(interrupted.elapsed() < Duration::from_secs(5));
    for table in ["test_run_steps", "log_streams"] {
        assert_eq!(
            database
                .number(&format!("SELECT count(*) FROM {table}"))
                .await,
            0
        );
    }

    // And the next sync is as if it had not been.
    standin.clear_faults();
    Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(database.statuses().await, ["shop running -"]);
}
