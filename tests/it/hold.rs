//! TestRuns that are held until their logs are recorded, and are never left behind.

use std::time::Duration;

use jiff::Timestamp;
use k6sync_standin::{Fault, FaultAction, Log, Options};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, container_status, write_lines};
use crate::support::running_loop::{COMPLETED, RunningLoop, wait_for};
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
    deleted_while_it_runs_it_is_read_once_more_and_let_go,
    two_databases_leave_each_others_holds_alone,
    a_copy_with_a_new_identity_leaves_the_holds_of_the_original_alone,
    what_is_overdue_anybody_frees,
    what_the_first_version_holds_is_let_go_by_whoever_has_its_record,
    cleanup_holds_only_what_is_cleaned_up,
);

/// What 0.1.0 put on, whatever its database.
const OLD_FINALIZER: &str = "k6sync.dev/capture";
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

/// The database's own finalizer.
async fn own(database: &Database) -> String {
    let ids = database.texts("SELECT id FROM database_identity").await;
    assert_eq!(ids.len(), 1, "{ids:?}");
    format!("k6sync.dev/capture-{}", ids[0])
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
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [own(&database).await]
    );
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

/// It has ended, but its log can't be read to the end: an empty one is believed only after a while.
async fn a_deleted_test_run_is_let_go_when_its_time_is_over(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    let now = Timestamp::now().to_string();
    let ended = json!({"terminated": {
        "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now,
    }});
    let statuses = json!([container_status("k6", &ended)]);
    let status = json!({"containerStatuses": statuses});
    cluster.pod_status(&pods[0], status).await;
    cluster.stage("shop", "finished").await;
    cluster.delete_test_run("shop").await;
    let run = sync_once(&cluster, &database).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stderr.contains("`k6sync release shop` lets it go now"),
        "{run:?}"
    );
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [own(&database).await]
    );

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

/// Without a loop's watch, it is the next sync that stops the load.
async fn deleted_while_it_runs_it_is_read_once_more_and_let_go(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 2).await;
    sync(&cluster, &database).await;
    let logs: Vec<Log> = pods.iter().map(|pod| cluster.log(pod, "k6")).collect();
    for log in &logs {
        write_lines(log, 0..50);
    }
    cluster.delete_test_run("shop").await;
    sync(&cluster, &database).await;
    assert_eq!(finalizers(&cluster, "shop").await, None);
    assert_eq!(held(&database).await, 0);
    for (pod, log) in pods.iter().zip(logs) {
        let stored = database.log(pod, "k6", 0).await;
        assert_eq!(stored.into_bytes(), log.written());
    }
    cluster.collect_garbage(&pods).await;
    sync(&cluster, &database).await;
    assert_eq!(database.statuses().await, ["shop aborted TestRunDeleted"]);
    let later = sync(&cluster, &database).await;
    assert_eq!(later["total"], 0, "{later}");
}

async fn two_databases_leave_each_others_holds_alone(database: Database) {
    let cluster = Cluster::start().await;
    let other = Database::sqlite();
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    write_lines(&log, 0..5);
    sync(&cluster, &database).await;
    sync(&cluster, &other).await;
    let both = [own(&database).await, own(&other).await];
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), both);

    // Whatever one of them is told, the other's stays.
    Program::sync_once(&cluster, &database, &["--hold=none"])
        .report()
        .await;
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [both[1].clone()]
    );
    sync(&cluster, &database).await;
    end_and_clean_up(&cluster, &pods).await;
    sync(&cluster, &database).await;
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [both[1].clone()]
    );
    assert_eq!(held(&database).await, 0);
    sync(&cluster, &other).await;
    assert_eq!(finalizers(&cluster, "shop").await, None);
    assert_eq!(
        other.log(&pods[0], "k6", 0).await.into_bytes(),
        log.written()
    );
}

/// A backup that is restored beside the database that it was made of.
async fn a_copy_with_a_new_identity_leaves_the_holds_of_the_original_alone(database: Database) {
    let cluster = Cluster::start().await;
    for name in ["shop", "cart"] {
        let pods = cluster.running(name, 1).await;
        write_lines(&cluster.log(&pods[0], "k6"), 0..5);
    }
    sync(&cluster, &database).await;
    let copy = database.copy().await;
    assert_eq!(own(&copy).await, own(&database).await);

    let renew = || Program::migrate(&copy).args(&["--new-identity"]).run();
    let run = renew().await;
    assert_eq!(run.code, 0, "{run:?}");
    let (first, second) = (own(&database).await, own(&copy).await);
    assert_ne!(first, second);
    let id = second.rsplit_once('-').unwrap().1;
    assert_eq!(id.len(), 12, "{id}");
    for words in [&format!("its id is {id}"), "2 steps are marked as not held"] {
        assert!(run.stdout.contains(words), "{words}: {run:?}");
    }
    assert_eq!((held(&database).await, held(&copy).await), (2, 0));

    // What the copy is told concerns the original no more.
    let let_go = || Program::sync_once(&cluster, &copy, &["--hold=none"]).report();
    assert_eq!(let_go().await["errors"], 0);
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        std::slice::from_ref(&first)
    );
    sync(&cluster, &copy).await;
    let both = [first.clone(), second];
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), both);
    assert_eq!(let_go().await["errors"], 0);
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [first]);
    assert_eq!(held(&database).await, 2);
    let verified = Program::new(&["verify", "--offline", "--database-url", copy.url()]);
    let verified = verified.run().await;
    assert_eq!(verified.code, 0, "{verified:?}");
    // And once more, for a copy of the copy.
    let run = renew().await;
    assert!(run.stdout.contains("0 steps are marked"), "{run:?}");
}

#[tokio::test]
async fn a_new_identity_is_for_a_database_that_is_there() {
    for other in ["--new-cluster", "--same-cluster"] {
        let run = Program::new(&["migrate", "--new-identity", other])
            .run()
            .await;
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("cannot be used with"), "{run:?}");
        assert!(run.files.is_empty(), "{run:?}");
    }
    let run = Program::new(&["migrate", "--new-identity"]).run().await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("there is no database"), "{run:?}");
    assert!(run.files.is_empty(), "{run:?}");
}

async fn what_is_overdue_anybody_frees(database: Database) {
    let cluster = Cluster::start().await;
    let other = Database::sqlite();
    cluster.running("shop", 1).await;
    sync(&cluster, &other).await;
    let foreign = json!({"metadata": {"finalizers": [own(&other).await, OLD_FINALIZER]}});
    cluster.patch_test_run("shop", &foreign).await;
    cluster.delete_test_run("shop").await;
    let sync = async |timeout: &str| {
        Program::sync_once(&cluster, &database, &[])
            .config(&format!("capture: {{holdTimeout: {timeout}}}"))
            .report()
            .await
    };
    sync("10m").await;
    let all = [own(&other).await, OLD_FINALIZER.to_owned()];
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), all);
    wait_for("the hold's end", Duration::from_secs(20), async || {
        sync("1s").await;
        finalizers(&cluster, "shop").await.is_none()
    })
    .await;
}

/// 0.1.0's finalizer does not say whose it is: it is that database's whose step says so.
async fn what_the_first_version_holds_is_let_go_by_whoever_has_its_record(database: Database) {
    let cluster = Cluster::start().await;
    let other = Database::sqlite();
    let pods = cluster.running("shop", 1).await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..5);
    for database in [&database, &other] {
        Program::sync_once(&cluster, database, &[]).report().await;
    }
    database
        .execute("UPDATE test_run_steps SET held = (1 = 1)")
        .await;
    let old = json!({"metadata": {"finalizers": [OLD_FINALIZER]}});
    cluster.patch_test_run("shop", &old).await;
    sync(&cluster, &database).await;
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [OLD_FINALIZER],
        "it is held already"
    );
    end_and_clean_up(&cluster, &pods).await;
    sync(&cluster, &other).await;
    assert_eq!(finalizers(&cluster, "shop").await.unwrap(), [OLD_FINALIZER]);
    sync(&cluster, &database).await;
    assert_eq!(finalizers(&cluster, "shop").await, None);
    assert_eq!(held(&database).await, 0);
}

async fn cleanup_holds_only_what_is_cleaned_up(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    cluster.running("cart", 1).await;
    let post = json!({"spec": {"cleanup": "post"}});
    cluster.patch_test_run("shop", &post).await;
    for args in [&["--hold=cleanup"][..], &[]] {
        Program::sync_once(&cluster, &database, args)
            .config("capture: {hold: cleanup}")
            .report()
            .await;
        let expected = [own(&database).await];
        assert_eq!(finalizers(&cluster, "shop").await.unwrap(), expected);
        assert!(finalizers(&cluster, "cart").await.unwrap().is_empty());
    }
}

async fn other_finalizers_are_left_alone(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    let others = json!({"metadata": {"finalizers": OTHERS}});
    cluster.patch_test_run("shop", &others).await;
    sync(&cluster, &database).await;
    let own = own(&database).await;
    let all = [OTHERS[0], OTHERS[1], &own];
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
    for words in ["cannot hold the TestRun", "patch", "manifests/base"] {
        assert!(error.contains(words), "{error}");
    }
    cluster.assert_as_written(&database, &pods).await;

    // Nothing is left on record of what could not be done.
    assert_eq!(held(&database).await, 0);

    rules[0]["verbs"] = json!(["list", "get", "patch"]);
    let user = unique("user");
    cluster.allow(&user, rules).await;
    let kubeconfig = cluster.kubeconfig_as(&user);
    sync_once(&cluster, &database)
        .kubeconfig(&kubeconfig)
        .report()
        .await;
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [own(&database).await]
    );
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

/// Whatever the configuration says of holding.
async fn switched_off_by_the_config_map_sync_once_releases(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    for hold in ["all", "none", "cleanup", "true", "false", "null"] {
        cluster.control(json!({"enabled": "true"})).await;
        sync(&cluster, &database).await;
        assert_eq!(held(&database).await, 1);
        cluster.control(json!({"enabled": "false"})).await;
        let report = Program::sync_once(&cluster, &database, &[])
            .config(&format!("capture: {{hold: {hold}}}"))
            .report()
            .await;
        assert_eq!(report["outcome"], "disabled");
        assert!(finalizers(&cluster, "shop").await.unwrap().is_empty());
        assert_eq!(held(&database).await, 0, "{hold}");
    }
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
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [own(&database).await]
    );
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
    sync(&cluster, &database).await;
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

/// What it would do while it is on does not keep it from letting go while it is off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_is_to_hold_nothing_and_is_switched_off_lets_go() {
    const SOON: Duration = Duration::from_secs(30);
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    let foreign = json!({"metadata": {"finalizers": [own(&database).await, OTHERS[0]]}});
    cluster.patch_test_run("shop", &foreign).await;
    cluster.control(json!({"enabled": "false"})).await;
    let program = RunningLoop::program(&cluster, &database).args(&["--hold=none"]);
    let running = RunningLoop::spawn(program).await;
    let is_free = async |name: &str, left: &[&str]| {
        wait_for("the release", SOON, async || {
            finalizers(&cluster, name).await.unwrap() == left
        })
        .await;
        wait_for("the record of it", SOON, async || {
            held(&database).await == 0
        })
        .await;
    };
    is_free("shop", &OTHERS[..1]).await;
    assert_eq!(running.metric(COMPLETED).await, 0.0, "it syncs nothing");

    // By hand, against the switch: the loop finds it at its next tick.
    cluster.running("cart", 1).await;
    let run = sync_once(&cluster, &database).args(&["--force"]).run();
    assert_eq!(run.await.code, 0);
    is_free("cart", &[]).await;
    let nobodys = json!({"metadata": {"finalizers": null}});
    cluster.patch_test_run("shop", &nobodys).await;
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
    assert_eq!(
        finalizers(&cluster, "shop").await.unwrap(),
        [own(&database).await]
    );
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
    // Whoever holds it, it is released.
    let foreign = json!({"metadata": {"finalizers": [OLD_FINALIZER, "k6sync.dev/capture-0a"]}});
    cluster.patch_test_run("cart", &foreign).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_release_an_installation_can_be_deleted_with_its_namespace() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let foreign = json!({"metadata": {"finalizers": [OLD_FINALIZER, "k6sync.dev/capture-0a"]}});
    for name in ["shop", "cart"] {
        cluster.running(name, 1).await;
    }
    cluster.patch_test_run("cart", &foreign).await;
    let program = RunningLoop::program(&cluster, &database)
        .args(&["--hold"])
        .config("intervalSeconds: 5");
    let running = RunningLoop::spawn(program).await;
    let soon = Duration::from_secs(20);
    running
        .wait_for_metric("k6sync_holds", soon, |holds| holds == 2.0)
        .await;

    let released = Program::new(&["release", "--stop"])
        .kubeconfig(cluster.kubeconfig())
        .run()
        .await;
    assert_eq!(released.code, 0, "{released:?}");
    assert!(
        released.stderr.contains("can be uninstalled"),
        "{released:?}"
    );
    // A cycle and more.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for name in ["shop", "cart"] {
        let left = finalizers(&cluster, name).await.unwrap();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    cluster.delete_namespace().await;
    wait_for("the namespace's end", soon, async || {
        !cluster.has_namespace().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_hand_many_are_released_at_a_time_until_a_deadline_and_each_failure_is_named() {
    let cluster = Cluster::standin(Options::default()).await;
    let held = json!({"metadata": {"finalizers": ["k6sync.dev/capture-0a"]}});
    for number in 0..32 {
        let name = format!("shop-{number}");
        cluster.test_run(&name, 1, "started").await;
        cluster.patch_test_run(&name, &held).await;
    }
    let standin = cluster.standin_cluster();
    standin.set_latency(Duration::from_millis(400));
    let forbidden = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    standin.fault(Fault::times("patch testruns", 1, forbidden));
    let release = || Program::new(&["release"]).kubeconfig(cluster.kubeconfig());
    let begun = std::time::Instant::now();
    let run = release().run().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "one by one? {took:?}");
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.stdout.lines().count(), 31, "{run:?}");
    let failure = format!("cannot release the TestRun {}/shop-", cluster.namespace());
    assert!(run.stderr.contains(&failure), "{run:?}");
    assert!(
        run.stderr
            .contains("1 of 32 TestRuns could not be released"),
        "{run:?}"
    );

    standin.set_latency(Duration::ZERO);
    let stall = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(60),
    };
    standin.fault(Fault::always("get testruns", stall));
    let begun = std::time::Instant::now();
    let run = release()
        .config("kubernetes: {cycleDeadline: 2s}")
        .run()
        .await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("it was not done within 2s"), "{run:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// With the default nobody asked for holds: where the right is missing, a word is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_rights_the_default_goes_on_with_one_warning_each() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for name in ["shop", "cart"] {
        cluster.running(name, 1).await;
        let post = json!({"spec": {"cleanup": "post"}});
        cluster.patch_test_run(name, &post).await;
    }
    let user = unique("user");
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
        {"apiGroups": [""], "resources": ["pods/log", "configmaps"], "verbs": ["get"]},
        {"apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list"]},
    ]);
    cluster.allow(&user, rules).await;
    let program = RunningLoop::program(&cluster, &database)
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .config("intervalSeconds: 5");
    let running = RunningLoop::spawn(program).await;
    let in_a_while = Duration::from_secs(60);
    running.wait_for_at_least(COMPLETED, 3.0, in_a_while).await;
    for words in ["can't be held until", "TestRuns can't be watched"] {
        let told = running.lines_with(words);
        assert_eq!(told.len(), 1, "{words}: {:?}", running.log());
        assert!(told[0].contains("WARN"), "{told:?}");
    }
    let errors = "SELECT count(*) FROM sync_errors";
    assert_eq!(database.number(errors).await, 0);
    assert_eq!(held(&database).await, 0);
    let mut statuses = database.statuses().await;
    statuses.sort();
    assert_eq!(statuses, ["cart running -", "shop running -"]);
}
