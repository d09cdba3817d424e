//! TestRuns and pods that make no sense: theirs is an error, the others are synced.

use k6sync_standin::Options;
use serde_json::{Value, json};

use super::running;
use crate::support::cluster::{State, owner_job, write_lines};
use crate::support::{Cluster, Database, Program};

/// The report's errors by the TestRun's name.
fn errors(report: &Value) -> Vec<(&str, &str)> {
    let failures = report["failures"].as_array().unwrap();
    let mut errors: Vec<(&str, &str)> = failures
        .iter()
        .map(|failure| {
            let text = |key: &str| failure[key].as_str().unwrap();
            (text("k6TestName"), text("error"))
        })
        .collect();
    errors.sort_unstable();
    assert_eq!(report["errors"], errors.len());
    errors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_run_that_makes_no_sense_is_told_by_its_field_and_the_others_are_synced() {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let pod = running(&cluster, "good").await;
    let put = |name: &str, field: &str, value: Value| {
        let mut object = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
            "metadata": {"name": name, "namespace": namespace, "labels": {}},
            "spec": {"parallelism": 1}, "status": {"stage": "started"},
        });
        *object.pointer_mut(field).unwrap() = value;
        cluster.standin_cluster().put(object);
    };
    put("bad-labels", "/metadata/labels", json!({"app": 5}));
    put("bad-parallelism", "/spec/parallelism", json!("two"));
    put("bad-spec", "/spec", json!("none"));
    put("bad-stage", "/status/stage", json!(5));
    let database = Database::sqlite();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    let expected = [
        (
            "bad-labels",
            "metadata.labels.app: invalid type: integer `5`, expected a string",
        ),
        (
            "bad-parallelism",
            "spec.parallelism: invalid type: string \"two\", expected i64",
        ),
        ("bad-spec", "spec: invalid type: string \"none\", expected "),
        (
            "bad-stage",
            "status.stage: invalid type: integer `5`, expected a string",
        ),
    ];
    let errors = errors(&report);
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for ((name, error), (expected_name, problem)) in errors.into_iter().zip(expected) {
        assert_eq!(name, expected_name);
        let problem = format!("the TestRun {namespace}/{name} can't be read: {problem}");
        assert!(error.starts_with(&problem), "{error}");
    }
    assert_eq!(database.statuses().await, ["good running -"]);
    let written = String::from_utf8(cluster.log(&pod, "k6").written()).unwrap();
    assert_eq!(database.log(&pod, "k6", 0).await, written);

    // Once it makes sense, it is synced as any other.
    put("bad-stage", "/status/stage", json!("created"));
    Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(
        database.statuses().await,
        ["bad-stage initializing -", "good running -"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_run_that_makes_no_sense_any_more_stays_what_it_was() {
    let cluster = Cluster::standin(Options::default()).await;
    let pod = running(&cluster, "shop").await;
    let database = Database::sqlite();
    Program::sync_once(&cluster, &database, &[]).report().await;
    let standin = cluster.standin_cluster();
    let mut object = standin
        .get("testruns", cluster.namespace(), "shop")
        .unwrap();
    object["status"]["stage"] = json!({});
    standin.put(object);
    write_lines(&cluster.log(&pod, "k6"), 3..6);
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(errors(&report).len(), 1);
    assert_eq!(report["failures"][0]["step"], "shop");
    assert_eq!(database.statuses().await, ["shop running -"]);
    let written = String::from_utf8(cluster.log(&pod, "k6").written()).unwrap();
    assert_eq!(
        database.log(&pod, "k6", 0).await,
        written,
        "its log goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_makes_no_sense_is_told_by_its_field_and_the_others_are_synced() {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let pods = [
        running(&cluster, "shop").await,
        cluster.pod("shop", "2", State::Running).await,
    ];
    write_lines(&cluster.log(&pods[1], "k6"), 0..5);
    let standin = cluster.standin_cluster();
    let good = standin.get("pods", namespace, &pods[0]).unwrap();
    let mut bad = good.clone();
    bad["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": "boom"}});
    standin.put(bad);
    let database = Database::sqlite();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    let problem = format!(
        "the pod {namespace}/{} can't be read: status.containerStatuses[0].state.terminated.exitCode: \
         invalid type: string \"boom\", expected i64",
        pods[0]
    );
    assert_eq!(errors(&report), [("shop", problem.as_str())]);
    assert_eq!(database.statuses().await, ["shop running -"]);
    let written = |pod: &str| String::from_utf8(cluster.log(pod, "k6").written()).unwrap();
    assert_eq!(database.log(&pods[0], "k6", 0).await, "");
    assert_eq!(database.log(&pods[1], "k6", 0).await, written(&pods[1]));

    standin.put(good);
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert!(errors(&report).is_empty());
    assert_eq!(database.log(&pods[0], "k6", 0).await, written(&pods[0]));
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_say_little_are_no_error() {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let standin = cluster.standin_cluster();
    let test_run = |name: &str| json!({"apiVersion": "k6.io/v1alpha1", "kind": "TestRun", "metadata": {"name": name, "namespace": namespace}});
    standin.put(test_run("bare"));
    let mut nulls = test_run("nulls");
    nulls["metadata"]["labels"] = Value::Null;
    nulls["spec"] = json!({"parallelism": null});
    nulls["status"] = json!({"stage": null, "conditions": null});
    standin.put(nulls);
    running(&cluster, "shop").await;
    let metadata = |job: &str| {
        json!({
            "name": job, "namespace": namespace, "labels": {"k6_cr": "shop"}, "ownerReferences": [owner_job(job)],
        })
    };
    for (name, status) in [
        ("shop-2", json!({})),
        ("shop-3", json!({"phase": "Pending"})),
        (
            "shop-4",
            json!({"phase": "Running", "containerStatuses": []}),
        ),
        (
            "shop-5",
            json!({"phase": "Running", "containerStatuses": null, "conditions": null}),
        ),
        (
            "shop-6",
            json!({"phase": "Pending", "containerStatuses": [{"name": "k6"}]}),
        ),
    ] {
        standin.put(json!({
            "apiVersion": "v1", "kind": "Pod", "status": status,
            "metadata": metadata(name),
        }));
    }
    let mut no_status = json!({"apiVersion": "v1", "kind": "Pod"});
    no_status["metadata"] = metadata("shop-7");
    standin.put(no_status);
    let database = Database::sqlite();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert!(errors(&report).is_empty(), "{report}");
    assert_eq!(
        database.statuses().await,
        [
            "bare initializing -",
            "nulls initializing -",
            "shop running -"
        ]
    );
}
