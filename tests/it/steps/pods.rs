//! Which pods are a step's, and what they say of it.

use k6sync_standin::{Options, Spec};
use serde_json::json;

use super::{counted, passed, requests, sync, written};
use crate::on_both_databases;
use crate::support::cluster::{State, container_status, owner_job, write_lines};
use crate::support::{Cluster, Database};

on_both_databases!(
    a_stuck_pod_is_the_reason,
    more_runners_than_vus_are_the_reason,
    what_only_k6_operator_knows_is_not_guessed,
    logs_of_all_containers_are_kept_but_only_k6_decides,
    pods_that_no_job_of_the_test_run_controls_are_left_alone,
    runs_whose_names_look_like_each_others_jobs_are_told_apart,
    a_long_name_that_cuts_its_pods_names_is_no_harm,
    a_thousand_runners_cost_pages_and_one_request_a_log,
);

async fn a_stuck_pod_is_the_reason(database: Database) {
    let cluster = Cluster::start().await;
    cluster.test_run("image", 1, "initialization").await;
    let pulling = cluster
        .pod("image", "initializer", State::Waiting("ImagePullBackOff"))
        .await;
    cluster.test_run("full", 1, "created").await;
    let unscheduled = "full-1-abcde";
    let conditions = json!([{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }]);
    cluster
        .pod_with(
            unscheduled,
            "full",
            "1",
            &["k6"],
            &[],
            json!({"phase": "Pending", "conditions": conditions}),
        )
        .await;
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(
        database.statuses().await,
        [
            "full initializing Unschedulable",
            "image initializing ImagePullBackOff",
        ]
    );
    assert_eq!(
        database
            .texts("SELECT message FROM test_run_steps ORDER BY k6_test_name")
            .await,
        [
            format!(
                "no node takes the pod {unscheduled}: 0/3 nodes are available: 3 Insufficient cpu."
            ),
            format!("the container {pulling}/k6 can't start: because of ImagePullBackOff"),
        ]
    );

    // Once the image is there, nothing is wrong any more.
    cluster.container_state(&pulling, State::Running).await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["full initializing Unschedulable", "image initializing -"]
    );
}

/// A TestRun that k6-operator refused after its initializer had succeeded; returns the initializer's pod.
async fn refused(cluster: &Cluster, name: &str, parallelism: i64) -> String {
    cluster.test_run(name, parallelism, "error").await;
    cluster
        .pod(name, "initializer", State::Terminated(0, "Completed"))
        .await
}

fn requirements() -> Vec<u8> {
    let log = "tests/data/recorded/operator/t1/logs/too-many-runners-initializer-5hhbr.k6.log";
    std::fs::read(log).unwrap()
}

async fn messages(database: &Database) -> Vec<String> {
    database
        .texts("SELECT coalesce(message, '-') FROM test_run_steps ORDER BY k6_test_name")
        .await
}

async fn more_runners_than_vus_are_the_reason(database: Database) {
    let cluster = Cluster::start().await;
    let pod = refused(&cluster, "too-many-runners", 4).await;
    cluster.log(&pod, "k6").load_timestamped(&requirements());
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["too-many-runners errored TooManyRunners"]
    );
    assert_eq!(
        messages(&database).await,
        [
            "spec.parallelism is 4, but the script's maxVUs is 2, and each runner needs a VU: lower spec.parallelism, or give the script more VUs"
        ]
    );
    let later = sync(&cluster, &database).await;
    assert_eq!((&later["total"], &later["updated"]), (&0.into(), &0.into()));
}

async fn what_only_k6_operator_knows_is_not_guessed(database: Database) {
    let cluster = Cluster::start().await;
    let enough = refused(&cluster, "enough", 2).await;
    cluster.log(&enough, "k6").load_timestamped(&requirements());
    let cut = refused(&cluster, "log-cut", 4).await;
    let whole = requirements();
    cluster
        .log(&cut, "k6")
        .load_timestamped(&whole[..whole.len() - 60]);
    refused(&cluster, "log-gone", 4).await;
    cluster.test_run("no-initializer", 4, "error").await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["enough", "log-cut", "log-gone", "no-initializer"]
            .map(|name| format!("{name} errored InvalidTestRun"))
    );
    let messages = messages(&database).await;
    assert!(messages[2].contains("spec.parallelism (4)"), "{messages:?}");
    assert!(messages[3].contains("spec.arguments"), "{messages:?}");
}

async fn logs_of_all_containers_are_kept_but_only_k6_decides(database: Database) {
    let cluster = Cluster::start().await;
    cluster.test_run("meshed", 1, "finished").await;
    let pod = "meshed-1-abcde";
    let status = |name: &str, exit_code| {
        container_status(name, &State::Terminated(exit_code, "Completed").json())
    };
    cluster
        .pod_with(
            pod,
            "meshed",
            "1",
            &["k6", "istio-proxy"],
            &["fetch-script"],
            json!({
                "initContainerStatuses": [status("fetch-script", 0)],
                "containerStatuses": [status("k6", 0), status("istio-proxy", 1)],
            }),
        )
        .await;
    let containers = ["fetch-script", "istio-proxy", "k6"];
    for (container, first) in containers.into_iter().zip([0, 10, 20]) {
        write_lines(&cluster.log(pod, container), first..first + 4);
    }
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(database.statuses().await, ["meshed passed -"]);
    assert_eq!(
        database
            .texts(
                "SELECT container || ' ' || role || ' ' || CAST(exit_code AS TEXT) FROM log_streams ORDER BY container"
            )
            .await,
        ["fetch-script other 0", "istio-proxy other 1", "k6 runner 0"]
    );
    for container in containers {
        assert_eq!(
            database.log(pod, container, 0).await.into_bytes(),
            cluster.log(pod, container).written(),
            "{container}"
        );
    }
}

async fn pods_that_no_job_of_the_test_run_controls_are_left_alone(database: Database) {
    let cluster = Cluster::start().await;
    let own = passed(&cluster, "shop").await;
    let mut no_controller = owner_job("shop-1");
    no_controller["controller"] = json!(false);
    let mut other_kind = owner_job("shop-1");
    other_kind["apiVersion"] = json!("apps/v1");
    other_kind["kind"] = json!("ReplicaSet");
    let failed = State::Terminated(99, "Error");
    for (name, owners, state) in [
        ("shop-1-bare", json!([]), failed),
        (
            "shop-initializer-bare",
            json!([]),
            State::Terminated(1, "Error"),
        ),
        ("shop-2-evil", json!([owner_job("evil-1")]), failed),
        ("shop-3-evil", json!([owner_job("shop-1-1")]), failed),
        ("shop-4-evil", json!([no_controller]), failed),
        ("shop-5-evil", json!([other_kind]), failed),
        ("shop-6-evil", json!([]), State::Running),
        ("shop-7-evil", json!([]), State::Waiting("ImagePullBackOff")),
    ] {
        cluster.pod_of(name, "shop", owners, state).await;
        write_lines(&cluster.log(name, "k6"), 0..3);
    }
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(database.statuses().await, ["shop passed -"]);
    assert_eq!(
        database.texts("SELECT pod_name FROM log_streams").await,
        std::slice::from_ref(&own),
        "nor are their logs of this run"
    );
    assert_eq!(database.log(&own, "k6", 0).await, written(&cluster, &own));
    assert_eq!(
        sync(&cluster, &database).await["total"],
        0,
        "and one that runs for ever keeps no step active"
    );

    // Where only foreign pods have ended, nothing is known of the run's own.
    cluster.test_run("empty", 1, "finished").await;
    cluster
        .pod_of(
            "empty-1-evil",
            "empty",
            json!([]),
            State::Terminated(0, "Completed"),
        )
        .await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["empty finished RunnersUnseen", "shop passed -"]
    );
}

async fn runs_whose_names_look_like_each_others_jobs_are_told_apart(database: Database) {
    let cluster = Cluster::start().await;
    for (name, exit_code) in [("x", 0), ("x-1", 99), ("x-initializer", 0)] {
        cluster.test_run(name, 1, "finished").await;
        for job in ["initializer", "starter"] {
            cluster
                .pod(name, job, State::Terminated(0, "Completed"))
                .await;
        }
        let pod = cluster
            .pod(name, "1", State::Terminated(exit_code, "Error"))
            .await;
        write_lines(&cluster.log(&pod, "k6"), 0..3);
    }
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        [
            "x passed -",
            "x-1 failed ThresholdsHaveFailed",
            "x-initializer passed -"
        ]
    );
    assert_eq!(
        database
            .texts("SELECT pod_name || ' ' || role FROM log_streams ORDER BY pod_name")
            .await,
        [
            "x-1-1-abcde runner",
            "x-1-abcde runner",
            "x-1-initializer-abcde initializer",
            "x-1-starter-abcde starter",
            "x-initializer-1-abcde runner",
            "x-initializer-abcde initializer",
            "x-initializer-initializer-abcde initializer",
            "x-initializer-starter-abcde starter",
            "x-starter-abcde starter",
        ]
    );
}

/// A pod's name is its Job's, cut to 58 bytes, and five letters.
async fn a_long_name_that_cuts_its_pods_names_is_no_harm(database: Database) {
    let cluster = Cluster::start().await;
    let name = "n".repeat(51);
    cluster.test_run(&name, 1, "error").await;
    let pod = format!("{}abcde", &format!("{name}-initializer-")[..58]);
    let job = format!("{name}-initializer");
    cluster
        .pod_of(
            &pod,
            &name,
            json!([owner_job(&job)]),
            State::Terminated(104, "Error"),
        )
        .await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        [format!("{name} errored InvalidConfig")]
    );
    assert_eq!(
        database.texts("SELECT role FROM log_streams").await,
        ["initializer"]
    );
}

async fn a_thousand_runners_cost_pages_and_one_request_a_log(database: Database) {
    // Lists are counted by the stand-in only.
    let cluster = Cluster::standin(Options::default()).await;
    let standin = cluster.standin_cluster();
    standin.generate(&Spec {
        namespace: cluster.namespace().to_owned(),
        runs: 10,
        runners: 100,
        lines: 5,
        ..Spec::default()
    });
    standin.reset_requests();
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["total"], &report["errors"], &report["logsUpdated"]),
        (&10.into(), &0.into(), &10.into())
    );
    // 1,000 runners, 10 initializers and 10 starters; 500 a page.
    let with_logs = |namespaces, logs| {
        counted(&[
            ("get configmaps", 1),
            ("get namespaces", namespaces),
            ("get pods/log", logs),
            ("list pods", 3),
            ("list testruns", 1),
        ])
    };
    assert_eq!(
        requests(&cluster),
        with_logs(2, 1040),
        "the ends of 20 logs are confirmed"
    );
    const RUNNER_LINES: &str = "SELECT sum(lines) FROM log_streams WHERE role = 'runner'";
    assert_eq!(database.number(RUNNER_LINES).await, 5_000);

    standin.reset_requests();
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["updated"], &report["logBytes"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        requests(&cluster),
        with_logs(1, 1000),
        "of those that run, and no others"
    );
    assert_eq!(database.number(RUNNER_LINES).await, 5_000);
}
