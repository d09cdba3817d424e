//! A record belongs to its cluster: several clusters share a database without touching each other's steps.

use k6sync_standin::Options;
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program, unique};

on_both_databases!(
    another_cluster_is_refused_before_anything_is_written,
    clusters_that_share_a_database_leave_each_others_steps_alone,
    steps_that_a_dashboard_asks_for_are_whose_test_run_appears,
    a_cluster_that_was_built_anew_goes_on_with_its_steps,
    a_right_that_is_granted_later_changes_nothing,
    without_the_right_only_what_can_be_seen_is_judged,
    a_label_joins_no_run_of_another_cluster,
    steps_from_before_are_claimed_by_the_cluster_that_has_their_test_run,
    a_cluster_that_nobody_knows_is_told_of,
);

const NEW_CLUSTER: &[&str] = &["--new-cluster"];
const STATUSES: &str = "SELECT status FROM test_run_steps ORDER BY id";

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    Program::sync_once(cluster, database, &[]).report().await
}

async fn migrate(cluster: &Cluster, database: &Database, args: &[&str]) -> Run {
    Program::migrate(database)
        .kubeconfig(cluster.kubeconfig())
        .args(args)
        .run()
        .await
}

/// Two clusters, and a running TestRun of the same name in each. Both are stand-ins: a real API server is one cluster.
async fn two_clusters() -> (Cluster, Cluster) {
    let first = Cluster::standin(Options::default()).await;
    let second = Cluster::standin(Options::default()).await;
    for cluster in [&first, &second] {
        let pods = cluster.running("shop", 1).await;
        write_lines(&cluster.log(&pods[0], "k6"), 0..5);
    }
    (first, second)
}

/// Somebody who may do all that the Role gives, or all of it but to see the namespace.
async fn account(cluster: &Cluster, may_see: bool) -> std::path::PathBuf {
    let role = include_str!("../../manifests/base/role.yaml");
    let role: Value = serde_yaml::from_str(role).unwrap();
    let mut rules = role["rules"].as_array().unwrap().clone();
    rules.retain(|rule| may_see || rule["resources"][0] != "namespaces");
    let user = unique("user");
    cluster.allow(&user, Value::Array(rules)).await;
    cluster.kubeconfig_as(&user)
}

async fn another_cluster_is_refused_before_anything_is_written(database: Database) {
    let (first, second) = two_clusters().await;
    sync(&first, &database).await;
    let before = database.dump().await;
    for args in [&[][..], &["--dry-run"]] {
        let run = Program::sync_once(&second, &database, args).run().await;
        assert_eq!(run.code, 1, "{run:?}");
        for words in [
            "knows only other clusters",
            "nothing was written",
            second.namespace(),
            first.namespace(),
            "--context",
            "k6sync migrate --new-cluster",
            "k6sync migrate --same-cluster",
        ] {
            assert!(run.stderr.contains(words), "{words}: {run:?}");
        }
        assert_eq!(database.dump().await, before);
    }
}

async fn clusters_that_share_a_database_leave_each_others_steps_alone(database: Database) {
    let (first, second) = two_clusters().await;
    sync(&first, &database).await;
    let run = migrate(&second, &database, NEW_CLUSTER).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("and knows the cluster at"), "{run:?}");
    for cluster in [&second, &first, &second] {
        assert_eq!(sync(cluster, &database).await["errors"], 0);
    }
    assert_eq!(database.texts(STATUSES).await, ["running", "running"]);
    assert_eq!(
        database
            .number("SELECT count(DISTINCT cluster) FROM test_run_steps")
            .await,
        2
    );
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE complete")
            .await,
        0
    );

    // One ends; the other goes on, and nobody's log is cut off.
    let pods = ["shop-1-abcde".to_owned()];
    first
        .container_state(&pods[0], State::Terminated(0, "Completed"))
        .await;
    first.stage("shop", "finished").await;
    write_lines(&second.log(&pods[0], "k6"), 5..9);
    for cluster in [&second, &first, &second] {
        assert_eq!(sync(cluster, &database).await["errors"], 0);
    }
    assert_eq!(database.texts(STATUSES).await, ["passed", "running"]);
    assert_eq!(
        database
            .texts("SELECT CAST(lines AS TEXT) FROM log_streams ORDER BY step_id")
            .await,
        ["5", "9"]
    );
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
}

async fn steps_that_a_dashboard_asks_for_are_whose_test_run_appears(database: Database) {
    let (first, second) = two_clusters().await;
    sync(&first, &database).await;
    migrate(&second, &database, NEW_CLUSTER).await;
    sync(&second, &database).await;
    let cluster_of = "SELECT cluster FROM test_run_steps WHERE k6_test_name =";
    database
        .insert_run(
            "asked",
            &[
                ("anywhere", Some(second.namespace()), "cart"),
                ("in the first", Some(second.namespace()), "till"),
            ],
        )
        .await;
    database
        .execute(&format!(
            "UPDATE test_run_steps SET cluster = (SELECT uid FROM cluster_uids WHERE namespace = '{}')
             WHERE k6_test_name = 'till'",
            first.namespace()
        ))
        .await;
    for name in ["cart", "till"] {
        second.running(name, 1).await;
    }
    sync(&second, &database).await;
    let owner = database.texts(&format!("{cluster_of} 'cart'")).await;
    let seconds = database
        .texts(&format!(
            "SELECT cluster FROM cluster_uids WHERE namespace = '{}'",
            second.namespace()
        ))
        .await;
    assert_eq!(owner, seconds);
    // Another's `till` is a run of its own, and the one that was asked for waits for its cluster.
    assert_eq!(
        database
            .texts("SELECT name || ' ' || status FROM test_run_steps WHERE k6_test_name = 'till' ORDER BY id")
            .await,
        ["in the first pending", "till running"]
    );
}

async fn a_cluster_that_was_built_anew_goes_on_with_its_steps(database: Database) {
    let (first, second) = two_clusters().await;
    sync(&first, &database).await;
    let run = migrate(&second, &database, &["--same-cluster=nonsense"]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("knows no cluster nonsense"), "{run:?}");
    let run = migrate(&second, &database, &["--same-cluster"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    // What was running then is known to be gone.
    database
        .execute(&format!(
            "UPDATE test_run_steps SET namespace = '{}'",
            second.namespace()
        ))
        .await;
    sync(&second, &database).await;
    assert_eq!(database.texts(STATUSES).await, ["lost", "running"]);
    assert_eq!(database.number("SELECT count(*) FROM clusters").await, 1);
}

async fn a_right_that_is_granted_later_changes_nothing(database: Database) {
    let (first, second) = two_clusters().await;
    let namespaced = account(&first, true).await;
    let as_namespaced = || Program::sync_once(&first, &database, &[]).kubeconfig(&namespaced);
    let run = as_namespaced().run().await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stderr.contains("WARN"), "{run:?}");
    let known = "SELECT namespace FROM cluster_uids ORDER BY namespace";
    assert_eq!(database.texts(known).await, [first.namespace()]);
    // Who may see kube-system too is the same cluster, and so is then another namespace of it.
    sync(&first, &database).await;
    assert_eq!(
        database.number("SELECT count(*) FROM cluster_uids").await,
        2
    );
    let neighbour = first.another_namespace().await;
    neighbour.running("cart", 1).await;
    assert_eq!(sync(&neighbour, &database).await["errors"], 0);
    assert_eq!(database.number("SELECT count(*) FROM clusters").await, 1);
    assert_eq!(
        Program::sync_once(&second, &database, &[]).run().await.code,
        1
    );
}

async fn without_the_right_only_what_can_be_seen_is_judged(database: Database) {
    let (first, second) = two_clusters().await;
    sync(&first, &database).await;
    let blind = account(&second, false).await;
    let run = Program::sync_once(&second, &database, &[])
        .kubeconfig(&blind)
        .run()
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.stderr
            .matches("it can't be told which cluster this is")
            .count(),
        1,
        "{run:?}"
    );
    // All works as ever for steps that no cluster is known to own.
    second.delete_test_run_and_pods("shop").await;
    Program::sync_once(&second, &database, &[])
        .kubeconfig(&blind)
        .run()
        .await;
    assert_eq!(database.texts(STATUSES).await, ["running", "lost"]);
    // And those that another cluster owns are left alone, though their namespace is ours too.
    database
        .execute(&format!(
            "UPDATE test_run_steps SET namespace = '{}' WHERE cluster IS NOT NULL",
            second.namespace()
        ))
        .await;
    let run = Program::sync_once(&second, &database, &[])
        .kubeconfig(&blind)
        .run()
        .await;
    assert!(run.stderr.contains("steps are left alone"), "{run:?}");
    assert_eq!(database.texts(STATUSES).await, ["running", "lost"]);
}

async fn a_label_joins_no_run_of_another_cluster(database: Database) {
    let first = Cluster::standin(Options::default()).await;
    let second = Cluster::standin(Options::default()).await;
    // The namespaces of two clusters have one name, as is usual.
    let labels = |step: &str| json!({"k6sync.dev/run": "nightly", "k6sync.dev/step": step});
    first
        .labelled_test_run("browse", 1, "started", labels("browse"))
        .await;
    second
        .labelled_test_run("buy", 1, "started", labels("buy"))
        .await;
    sync(&first, &database).await;
    migrate(&second, &database, NEW_CLUSTER).await;
    database
        .execute(&format!(
            "UPDATE test_runs SET namespace = '{}'",
            second.namespace()
        ))
        .await;
    sync(&second, &database).await;
    assert_eq!(database.number("SELECT count(*) FROM test_runs").await, 2);
}

/// As after the migration of a database that an older k6sync has filled.
async fn forget_clusters(database: &Database) {
    for statement in [
        "UPDATE test_run_steps SET cluster = NULL",
        "DELETE FROM cluster_uids",
        "DELETE FROM clusters",
    ] {
        database.execute(statement).await;
    }
}

async fn steps_from_before_are_claimed_by_the_cluster_that_has_their_test_run(database: Database) {
    let (first, second) = two_clusters().await;
    sync(&first, &database).await;
    forget_clusters(&database).await;
    // The wrong one comes first, and syncs a namespace of the same name.
    database
        .execute(&format!(
            "UPDATE test_run_steps SET namespace = '{}'",
            second.namespace()
        ))
        .await;
    let report = sync(&second, &database).await;
    assert_eq!(report["errors"], 1, "{report}");
    assert_eq!(database.texts(STATUSES).await, ["running", "running"]);
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE complete")
            .await,
        0,
        "no log was cut off"
    );
    database
        .execute(&format!(
            "UPDATE test_run_steps SET namespace = '{}' WHERE cluster IS NULL",
            first.namespace()
        ))
        .await;
    // The right one shared the database before: it joins on its own.
    assert_eq!(sync(&first, &database).await["errors"], 0);
    assert_eq!(
        database
            .number("SELECT count(DISTINCT cluster) FROM test_run_steps")
            .await,
        2
    );
}

async fn a_cluster_that_nobody_knows_is_told_of(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    database
        .insert_run("asked", &[("odd", Some(cluster.namespace()), "cart")])
        .await;
    database
        .execute("UPDATE test_run_steps SET cluster = 'production' WHERE name = 'odd'")
        .await;
    let report = sync(&cluster, &database).await;
    assert_eq!(report["errors"], 1, "{report}");
    let error = report["failures"][0]["error"].as_str().unwrap();
    assert!(error.contains("names the cluster `production`"), "{error}");
}
