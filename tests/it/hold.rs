//! TestRuns that are held until their logs are recorded, and are never left behind.

use std::time::Duration;

use k6sync_standin::{Fault, FaultAction, Log, Options};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::running_loop::{RunningLoop, wait_for};
use crate::support::{Cluster, Database, Program, unique};

on_both_databases!(
    a_test_run_is_held_until_its_logs_are_recorded,
    a_deleted_test_run_is_let_go_when_its_time_is_over,
    other_finalizers_are_left_alone,
    without_the_right_the_cycle_goes_on_and_says_what_is_missing,
    switched_off_in_the_configuration_every_hold_is_released,
    switched_off_by_the_config_map_sync_once_releases,
    a_hold_of_a_step_without_a_uid_is_released,
    a_hold_that_the_database_forgot_is_noted_again,
    a_test_run_whose_step_was_deleted_is_let_go_when_its_time_is_over,
    a_test_run_that_ended_long_ago_is_not_held,
    one_that_is_made_anew_is_held_anew,
    killed_at_any_moment_nothing_is_left_behind,
    a_dry_run_holds_nothing,
);

const FINALIZER: &str = "k6sync.dev/capture";
const OTHERS: [&str; 2] = ["example.com/first", "example.com/second"];

fn sync_once(cluster: &Cluster, database: &Database) -> Program {
    Program::sync_once(cluster, database, &["--hold"])
}

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    let report = sync_once(cluster, database).report().await;
    assert_eq!(report["errors"], 0, "{report}");
    report
}

/// The TestRun's finalizers; `None`: it is gone.
async fn finalizers(cluster: &Cluster, name: &str) -> Option<Vec<String>> {
    let test_run = cluster.find_test_run(name).await?;
    let finalizers = test_run["metadata"]["finalizers"].as_array().cloned();
    let text = |value: Value| value.as_str().unwrap().to_owned();
    Some(
        finalizers
            .unwrap_or_default()
            .into_iter()
            .map(text)
            .collect(),
    )
}

async fn held(database: &Database) -> i64 {
    database
        .number("SELECT count(*) FROM test_run_steps WHERE held")
        .await
}

/// All runners have ended, and k6-operator cleans up at once (`cleanup: post`).
async fn end_and_clean_up(cluster: &Cluster, pods: &[String]) {
    for pod in pods {
        cluster
            .container_state(pod, State::Terminated(0, "Completed"))
            .await;
    }
    cluster.stage("shop", "finished").await;
    cluster.delete_test_run("shop").await;
}

async fn a_test_run_is_held_until_its_logs_are_recorded(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 2).await;
    sync(&cluster, &database).await;
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [FINALIZER]);
    assert_eq!(held(&database).await, 1);

    let logs: Vec<Log> = pods.iter().map(|pod| cluster.log(pod, "k6")).collect();
    for log in &logs {
        write_lines(log, 0..50);
    }
    end_and_clean_up(&cluster, &pods).await;
    assert!(
        finalizers(&cluster, "shop").await.is_some(),
        "the operator's deletion waits"
    );
    sync(&cluster, &database).await;
    assert_eq!(
        finalizers(&cluster, "shop").await,
        None,
        "in the same cycle"
    );
    assert_eq!(held(&database).await, 0);
    for (pod, log) in pods.iter().zip(logs) {
        let stored = database.log(pod, "k6", 0).await;
        assert_eq!(stored.into_bytes(), log.written());
    }
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
    assert_eq!(database.statuses().await, ["shop passed -"]);
    let later = sync(&cluster, &database).await;
    assert_eq!(later["total"], 0);
}

async fn a_deleted_test_run_is_let_go_when_its_time_is_over(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    cluster.delete_test_run("shop").await;
    let run = sync_once(&cluster, &database).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stderr.contains("`k6sync release shop` lets it go now"),
        "{run:?}"
    );
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [FINALIZER]);

    wait_for("the hold's end", Duration::from_secs(20), async || {
        sync_once(&cluster, &database)
            .config("capture: {holdTimeout: 1s}")
            .report()
            .await;
        finalizers(&cluster, "shop").await.is_none()
    })
    .await;
    assert_eq!(held(&database).await, 0);
}

async fn other_finalizers_are_left_alone(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    let others = json!({"metadata": {"finalizers": OTHERS}});
    cluster.patch_test_run("shop", &others).await;
    sync(&cluster, &database).await;
    let all = [OTHERS[0], OTHERS[1], FINALIZER];
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), all);
    end_and_clean_up(&cluster, &pods).await;
    sync(&cluster, &database).await;
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), OTHERS);
    assert_eq!(held(&database).await, 0);
    let nobodys = json!({"metadata": {"finalizers": null}});
    cluster.patch_test_run("shop", &nobodys).await;
}

async fn without_the_right_the_cycle_goes_on_and_says_what_is_missing(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..5);
    let user = unique("user");
    let mut rules = json!([
        {"apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/log", "configmaps"], "verbs": ["get"]},
    ]);
    cluster.allow(&user, rules.clone()).await;
    let report = sync_once(&cluster, &database)
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .report()
        .await;
    assert_eq!(report["errors"], 1, "{report}");
    let error = report["failures"][0]["error"].as_str().unwrap();
    for words in [
        "cannot hold the TestRun",
        "patch",
        "manifests/components/hold",
    ] {
        assert!(error.contains(words), "{error}");
    }
    cluster.assert_as_written(&database, &pods).await;

    // What manifests/components/hold gives is enough.
    let role = include_str!("../../manifests/components/hold/role.yaml");
    let role: Value = serde_yaml::from_str(role).unwrap();
    let more = role["rules"].as_array().unwrap().clone();
    rules.as_array_mut().unwrap().extend(more);
    let user = unique("user");
    cluster.allow(&user, rules).await;
    let kubeconfig = cluster.kubeconfig_as(&user);
    sync_once(&cluster, &database)
        .kubeconfig(&kubeconfig)
        .report()
        .await;
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [FINALIZER]);
    end_and_clean_up(&cluster, &pods).await;
    let report = sync_once(&cluster, &database)
        .kubeconfig(&kubeconfig)
        .report()
        .await;
    assert_eq!(report["errors"], 0, "{report}");
    assert_eq!(finalizers(&cluster, "shop").await, None);
}

async fn switched_off_in_the_configuration_every_hold_is_released(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    cluster.running("cart", 1).await;
    sync(&cluster, &database).await;
    assert_eq!(held(&database).await, 2);
    // By hand, with no word about it: a loop may hold them.
    Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(held(&database).await, 2);
    Program::sync_once(&cluster, &database, &[])
        .config("capture: {hold: false}")
        .report()
        .await;
    for name in ["shop", "cart"] {
        assert!(finalizers(&cluster, name).await.unwrap().is_empty());
    }
    assert_eq!(held(&database).await, 0);
}

async fn switched_off_by_the_config_map_sync_once_releases(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    cluster.control(json!({"enabled": "false"})).await;
    let report = sync_once(&cluster, &database).report().await;
    assert_eq!(report["outcome"], "disabled");
    assert!(finalizers(&cluster, "shop").await.unwrap().is_empty());
    assert_eq!(held(&database).await, 0);
}

/// Killed after the finalizer was put on and before the TestRun's uid was noted.
async fn a_hold_of_a_step_without_a_uid_is_released(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    database
        .execute("UPDATE test_run_steps SET k6_uid = NULL, status = 'pending'")
        .await;
    cluster.control(json!({"enabled": "false"})).await;
    sync_once(&cluster, &database).report().await;
    assert!(finalizers(&cluster, "shop").await.unwrap().is_empty());
    assert_eq!(held(&database).await, 0);
}

async fn a_hold_that_the_database_forgot_is_noted_again(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    database
        .execute("UPDATE test_run_steps SET held = (1 = 0)")
        .await;
    sync(&cluster, &database).await;
    assert_eq!(held(&database).await, 1);
}

async fn a_test_run_whose_step_was_deleted_is_let_go_when_its_time_is_over(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    database.execute("DELETE FROM test_runs").await;
    cluster.delete_test_run("shop").await;
    wait_for("the hold's end", Duration::from_secs(20), async || {
        sync_once(&cluster, &database)
            .config("{discovery: labelled, capture: {holdTimeout: 1s}}")
            .report()
            .await;
        finalizers(&cluster, "shop").await.is_none()
    })
    .await;
}

async fn a_test_run_that_ended_long_ago_is_not_held(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    cluster
        .container_state(&pods[0], State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
    let before = cluster.find_test_run("shop").await;
    sync(&cluster, &database).await;
    assert_eq!(cluster.find_test_run("shop").await, before, "untouched");
}

async fn one_that_is_made_anew_is_held_anew(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    end_and_clean_up(&cluster, &pods).await;
    sync(&cluster, &database).await;
    cluster.collect_garbage(&pods).await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [FINALIZER]);
    assert_eq!(held(&database).await, 1);
    // And deleted at once, behind our back: what is gone is forgotten.
    let nobodys = json!({"metadata": {"finalizers": null}});
    cluster.patch_test_run("shop", &nobodys).await;
    cluster.delete_test_run_and_pods("shop").await;
    sync_once(&cluster, &database).report().await;
    assert_eq!(held(&database).await, 0);
}

async fn killed_at_any_moment_nothing_is_left_behind(database: Database) {
    let cluster = Cluster::start().await;
    Program::migrate(&database).run().await;
    for round in 0..12_u64 {
        let pods = cluster.running("shop", 1).await;
        for kill in 0..2 {
            if kill == 1 {
                end_and_clean_up(&cluster, &pods).await;
            }
            let (mut child, _folder) = sync_once(&cluster, &database).spawn();
            tokio::time::sleep(Duration::from_millis(15 + round * 6)).await;
            child.kill().await.unwrap();
        }
        // Discovery is off, so that only the database can remind it.
        let quiet = || sync_once(&cluster, &database).config("discovery: off");
        quiet().report().await;
        let known = database.number("SELECT count(*) FROM test_run_steps").await;
        if known > 0 {
            assert_eq!(finalizers(&cluster, "shop").await, None, "round {round}");
            assert_eq!(held(&database).await, 0, "round {round}");
        }
        sync_once(&cluster, &database).report().await;
        assert_eq!(finalizers(&cluster, "shop").await, None, "round {round}");
        cluster.collect_garbage(&pods).await;
    }
}

async fn a_dry_run_holds_nothing(database: Database) {
    let cluster = Cluster::start().await;
    Program::migrate(&database).run().await;
    cluster.running("shop", 1).await;
    let before = cluster.find_test_run("shop").await;
    Program::sync_once(&cluster, &database, &["--hold", "--dry-run"])
        .report()
        .await;
    assert_eq!(cluster.find_test_run("shop").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_is_switched_off_releases_at_once() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    cluster.running("shop", 1).await;
    let program = RunningLoop::program(&cluster, &database).args(&["--hold"]);
    let running = RunningLoop::spawn(program).await;
    const SOON: Duration = Duration::from_secs(20);
    running
        .wait_for_metric("k6sync_holds", SOON, |holds| holds == 1.0)
        .await;
    cluster.control(json!({"enabled": "false"})).await;
    wait_for("the release", Duration::from_secs(10), async || {
        finalizers(&cluster, "shop").await.unwrap().is_empty()
    })
    .await;
    wait_for("the record of it", SOON, async || {
        held(&database).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_who_change_the_test_run_do_not_prevent_a_hold() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    cluster.running("shop", 1).await;
    let conflict = FaultAction::Status {
        code: 409,
        retry_after_seconds: None,
    };
    let standin = cluster.standin_cluster();
    standin.fault(Fault::times("patch testruns", 2, conflict));
    sync(&cluster, &database).await;
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [FINALIZER]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_hand_test_runs_are_released_without_a_database() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for name in ["shop", "cart", "free"] {
        cluster.running(name, 1).await;
    }
    sync(&cluster, &database).await;
    let nobodys = json!({"metadata": {"finalizers": null}});
    cluster.patch_test_run("free", &nobodys).await;
    let release = |names: &[&str]| {
        Program::new(&["release"])
            .args(names)
            .kubeconfig(cluster.kubeconfig())
            .run()
    };
    let namespace = cluster.namespace();
    let named = release(&["shop"]).await;
    assert_eq!(
        (named.code, named.stdout.as_str()),
        (0, format!("released {namespace}/shop\n").as_str())
    );
    let unknown = release(&["shoes"]).await;
    assert_eq!(unknown.code, 1);
    assert!(
        unknown
            .stderr
            .contains(&format!("there is no TestRun shoes in {namespace}")),
        "{unknown:?}"
    );
    let all = release(&[]).await;
    assert_eq!(all.stdout, format!("released {namespace}/cart\n"));
    let none = release(&[]).await;
    assert_eq!(none.stdout, format!("no TestRun is held in {namespace}\n"));
    assert_eq!(none.files, [""; 0], "no database was made");
}
