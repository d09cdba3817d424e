//! TestRuns that are found: of which namespaces, with which labels, and how they make runs.

use k6sync_standin::Options;
use serde_json::{Value, json};

use super::{
    DISCOVERY_OFF, ask_for, counted, ended, passed, places, requests, runner_ended, running, runs,
    sync,
};
use crate::on_both_databases;
use crate::support::cluster::State;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    labels_group_test_runs_as_steps_of_one_run,
    discovery_labelled_adopts_only_those_with_both_labels,
    without_discovery_and_steps_only_the_config_map_is_read,
    when_all_is_final_only_test_runs_are_listed,
    a_run_is_rolled_up_from_its_steps,
    steps_of_other_namespaces_are_left_alone,
    several_namespaces_can_be_named,
    all_namespaces_are_synced_if_asked_for,
);

fn labels(run: &str, step: &str) -> Value {
    json!({"k6sync.dev/run": run, "k6sync.dev/step": step})
}

async fn labels_group_test_runs_as_steps_of_one_run(database: Database) {
    let cluster = Cluster::start().await;
    cluster
        .labelled_test_run("shop-browse", 1, "finished", labels("nightly", "browse"))
        .await;
    cluster
        .pod("shop-browse", "1", State::Terminated(0, "Completed"))
        .await;
    running(&cluster, "alone").await;
    sync(&cluster, &database).await;
    // The second comes later, and joins the run that there is.
    cluster
        .labelled_test_run("shop-buy", 1, "started", labels("nightly", "buy"))
        .await;
    let buying = cluster.pod("shop-buy", "1", State::Running).await;
    let run = Program::sync_once(&cluster, &database, &[]).run().await;
    let told = "the run nightly had ended and is running again";
    assert!(run.code == 0 && run.stderr.contains(told), "{run:?}");
    assert_eq!(
        places(&database).await,
        [
            "alone/1 alone running",
            "nightly/1 browse passed",
            "nightly/2 buy running",
        ]
    );
    assert_eq!(runs(&database).await, ["alone running", "nightly running"]);

    cluster
        .container_state(&buying, State::Terminated(99, "Error"))
        .await;
    cluster.stage("shop-buy", "finished").await;
    sync(&cluster, &database).await;
    assert_eq!(runs(&database).await, ["alone running", "nightly failed"]);
}

async fn discovery_labelled_adopts_only_those_with_both_labels(database: Database) {
    let cluster = Cluster::start().await;
    running(&cluster, "plain").await;
    cluster
        .labelled_test_run("half", 1, "started", json!({"k6sync.dev/run": "nightly"}))
        .await;
    cluster
        .labelled_test_run("whole", 1, "started", labels("nightly", "browse"))
        .await;
    let report = Program::sync_once(&cluster, &database, &[])
        .config("discovery: labelled")
        .report()
        .await;
    assert_eq!(report["total"], 1);
    assert_eq!(places(&database).await, ["nightly/1 browse running"]);
    assert_eq!(database.statuses().await, ["whole running -"]);
}

async fn without_discovery_and_steps_only_the_config_map_is_read(database: Database) {
    // Lists are counted by the stand-in only.
    let cluster = Cluster::standin(Options::default()).await;
    running(&cluster, "ignored").await;
    cluster.standin_cluster().reset_requests();
    let report = Program::sync_once(&cluster, &database, &[])
        .config(DISCOVERY_OFF)
        .report()
        .await;
    assert_eq!(
        (&report["outcome"], &report["total"]),
        (&"completed".into(), &0.into())
    );
    assert_eq!(
        requests(&cluster),
        counted(&[("get configmaps", 1), ("get namespaces", 2)])
    );
    assert!(places(&database).await.is_empty());
}

async fn when_all_is_final_only_test_runs_are_listed(database: Database) {
    // Lists are counted by the stand-in only.
    let cluster = Cluster::standin(Options::default()).await;
    passed(&cluster, "over").await;
    sync(&cluster, &database).await;
    assert_eq!(database.statuses().await, ["over passed -"]);
    cluster.standin_cluster().reset_requests();
    assert_eq!(sync(&cluster, &database).await["total"], 0);
    assert_eq!(
        requests(&cluster),
        counted(&[
            ("get configmaps", 1),
            ("get namespaces", 1),
            ("list testruns", 1)
        ])
    );
}

async fn a_run_is_rolled_up_from_its_steps(database: Database) {
    const RUN: &str = "SELECT status || ' ' || coalesce(CAST(started_at AS TEXT), 'no start')
                           || ' ' || coalesce(CAST(finished_at AS TEXT), 'no end') FROM test_runs";
    let cluster = Cluster::start().await;
    let first = running(&cluster, "first").await;
    let second = running(&cluster, "second").await;
    let namespace = Some(cluster.namespace());
    ask_for(
        &database,
        &[("one", namespace, "first"), ("two", namespace, "second")],
    )
    .await;
    assert_eq!(database.texts(RUN).await, ["pending no start no end"]);
    runner_ended(&cluster, "first", &first, &ended(0, "10:01", "20:02")).await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["first passed -", "second running -"]
    );
    let run = database.texts(RUN).await.remove(0);
    assert!(
        run.starts_with("running ") && run.contains("04:10:01") && run.ends_with("no end"),
        "{run}"
    );

    runner_ended(&cluster, "second", &second, &ended(99, "05:03", "30:04")).await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["first passed -", "second failed ThresholdsHaveFailed"]
    );
    let run = database.texts(RUN).await.remove(0);
    let times: Vec<_> = ["04:05:03", "04:30:04"].map(|time| run.find(time)).into();
    assert!(
        run.starts_with("failed ") && times[0].is_some() && times[0] < times[1],
        "from the first start to the last end: {run}"
    );
}

async fn steps_of_other_namespaces_are_left_alone(database: Database) {
    let own = Cluster::start().await;
    let other = own.another_namespace().await;
    passed(&own, "mine").await;
    passed(&other, "theirs").await;
    ask_for(
        &database,
        &[
            ("my step", Some(own.namespace()), "mine"),
            ("their step", Some(other.namespace()), "theirs"),
            ("their ghost", Some(other.namespace()), "ghost"),
        ],
    )
    .await;
    let report = sync(&own, &database).await;
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        database.statuses().await,
        ["ghost pending -", "mine passed -", "theirs pending -"]
    );
    let untouched = "SELECT count(*) FROM test_run_steps WHERE synced_at IS NULL AND version = 0";
    assert_eq!(database.number(untouched).await, 2);
}

async fn several_namespaces_can_be_named(database: Database) {
    let first = Cluster::start().await;
    let second = first.another_namespace().await;
    let third = first.another_namespace().await;
    let mut pods = Vec::new();
    for cluster in [&first, &second, &third] {
        // The same name in each: a TestRun is known by its namespace too.
        pods.push(passed(cluster, "twin").await);
    }
    let args = ["-n", second.namespace(), "--namespace", third.namespace()];
    let report = Program::sync_once(&first, &database, &args).report().await;
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&2.into(), &0.into())
    );
    let mut namespaces = database
        .texts("SELECT namespace || ' ' || status FROM test_run_steps")
        .await;
    namespaces.sort();
    let mut expected = [&second, &third].map(|cluster| format!("{} passed", cluster.namespace()));
    expected.sort();
    assert_eq!(namespaces, expected);
    assert_eq!(
        database.number("SELECT sum(lines) FROM log_streams").await,
        6
    );
}

async fn all_namespaces_are_synced_if_asked_for(database: Database) {
    // Other tests' namespaces are in a real API server too, and must not feel us.
    let first = Cluster::standin(Options::default()).await;
    let second = first.another_namespace().await;
    passed(&first, "here").await;
    running(&second, "there").await;
    ask_for(&database, &[("ghost", Some("nowhere"), "ghost")]).await;
    first.standin_cluster().reset_requests();
    let report = Program::sync_once(&first, &database, &["--all-namespaces"])
        .report()
        .await;
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&3.into(), &1.into())
    );
    assert_eq!(report["failures"][0]["namespace"], "nowhere");
    assert_eq!(
        database.statuses().await,
        ["ghost pending -", "here passed -", "there running -"]
    );
    assert_eq!(
        requests(&first),
        counted(&[
            ("get configmaps", 1),
            ("get namespaces", 1),
            // Twice the one that has ended, once the one that runs.
            ("get pods/log", 3),
            ("list pods", 1),
            ("list testruns", 1),
        ])
    );
}
