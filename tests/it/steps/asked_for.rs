//! Steps that a dashboard asked for: pinned to the TestRun of their name, and lost with it.

use serde_json::json;

use super::{DISCOVERY_OFF, ask_for, passed, places, recorded_errors, runs, sync, written};
use crate::on_both_databases;
use crate::support::cluster::{State, container_status, line_time, write_lines};
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    a_step_that_was_asked_for_is_synced_as_an_adopted_one,
    a_step_without_a_namespace_is_of_the_default_one,
    a_step_without_a_test_run_is_an_error_of_its_own,
    a_step_whose_test_run_never_appears_is_lost,
    a_step_whose_test_run_was_deleted_is_lost_at_once,
    a_deleted_test_run_whose_runners_were_seen_to_end_has_its_verdict,
    a_name_that_is_used_again_is_another_step,
);

async fn a_step_that_was_asked_for_is_synced_as_an_adopted_one(database: Database) {
    const STEPS: &str =
        "SELECT k6_test_name || ' ' || k6_uid || ' ' || CAST(parallelism AS TEXT) || ' ' || stage || ' ' || status
             || ' ' || coalesce(reason, '-') || ' ' || coalesce(message, '-') || ' ' || logs
         FROM test_run_steps JOIN step_logs ON step_id = id ORDER BY k6_test_name";
    let cluster = Cluster::start().await;
    cluster.moment("t3").await;
    let adopted = Database::sqlite();
    assert_eq!(sync(&cluster, &adopted).await["total"], 4);

    let names = [
        "team-bad",
        "team-scenario-pass",
        "team-threshold",
        "team-throws",
    ];
    let steps = names.map(|name| ("by hand", Some(cluster.namespace()), name));
    ask_for(&database, &steps).await;
    assert_eq!(
        database.statuses().await,
        names.map(|name| format!("{name} pending -"))
    );
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["total"], &report["updated"], &report["errors"]),
        (&4.into(), &4.into(), &0.into())
    );
    assert_eq!(database.texts(STEPS).await, adopted.texts(STEPS).await);
    assert_eq!(
        places(&database).await,
        [
            "asked for/1 by hand errored",
            "asked for/2 by hand passed",
            "asked for/3 by hand failed",
            "asked for/4 by hand errored",
        ],
        "and nothing was adopted"
    );
    assert_eq!(sync(&cluster, &database).await["total"], 0);
    assert_eq!(places(&database).await.len(), 4);
}

async fn a_step_without_a_namespace_is_of_the_default_one(database: Database) {
    let cluster = Cluster::start().await;
    let pod = passed(&cluster, "wanted").await;
    passed(&cluster, "not-wanted").await;
    ask_for(&database, &[("step", None, "wanted")]).await;
    let report = Program::sync_once(&cluster, &database, &[])
        .config(DISCOVERY_OFF)
        .report()
        .await;
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&1.into(), &0.into())
    );
    assert_eq!(database.statuses().await, ["wanted passed -"]);
    assert_eq!(database.log(&pod, "k6", 0).await, written(&cluster, &pod));
    assert_eq!(
        database.texts("SELECT namespace FROM test_run_steps").await,
        [cluster.namespace()],
        "another sync may have another default"
    );
}

async fn a_step_without_a_test_run_is_an_error_of_its_own(database: Database) {
    let cluster = Cluster::start().await;
    let pod = passed(&cluster, "there").await;
    let namespace = cluster.namespace();
    ask_for(
        &database,
        &[
            ("absent step", Some(namespace), "ghost"),
            ("present step", Some(namespace), "there"),
        ],
    )
    .await;
    let report = sync(&cluster, &database).await;
    let error = format!(
        "Failed to get K6 test status - 404 not found: there is no TestRun {namespace}/ghost"
    );
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        report["failures"],
        json!([{
            "step": "absent step", "k6TestName": "ghost", "namespace": namespace, "error": error,
        }])
    );
    assert_eq!(
        database.statuses().await,
        ["ghost pending -", "there passed -"]
    );
    assert_eq!(database.log(&pod, "k6", 0).await, written(&cluster, &pod));
    assert_eq!(
        recorded_errors(&database).await,
        [format!("absent step ghost: {error}")]
    );
    let of_step = "SELECT count(*) FROM sync_errors JOIN test_run_steps ON id = step_id WHERE test_run_steps.k6_test_name = 'ghost'";
    assert_eq!(database.number(of_step).await, 1);
}

async fn a_step_whose_test_run_never_appears_is_lost(database: Database) {
    let cluster = Cluster::start().await;
    ask_for(&database, &[("step", Some(cluster.namespace()), "ghost")]).await;
    let patient = sync(&cluster, &database).await;
    assert_eq!(patient["errors"], 1);
    assert_eq!(database.statuses().await, ["ghost pending -"]);

    let impatient = Program::sync_once(&cluster, &database, &[])
        .config("missingAfter: 0s")
        .report()
        .await;
    assert_eq!(impatient["errors"], 1);
    assert_eq!(database.statuses().await, ["ghost lost TestRunNotFound"]);
    assert_eq!(runs(&database).await, ["asked for lost"]);
    let messages = database.texts("SELECT message FROM test_run_steps").await;
    let expected = format!("no TestRun {}/ghost has appeared", cluster.namespace());
    assert!(messages[0].starts_with(&expected), "{messages:?}");

    let later = sync(&cluster, &database).await;
    assert_eq!(
        (&later["total"], &later["errors"]),
        (&0.into(), &0.into()),
        "what is lost is not looked for again"
    );
}

async fn a_step_whose_test_run_was_deleted_is_lost_at_once(database: Database) {
    let cluster = Cluster::start().await;
    cluster.test_run("cut", 2, "started").await;
    let read = cluster.pod("cut", "1", State::Running).await;
    write_lines(&cluster.log(&read, "k6"), 0..3);
    let never_begun = State::Waiting("ContainerCreating");
    let unread = cluster.pod("cut", "2", never_begun).await;
    assert_eq!(sync(&cluster, &database).await["errors"], 0);
    let stored = written(&cluster, &read);

    write_lines(&cluster.log(&read, "k6"), 3..6);
    cluster.delete_test_run_and_pods("cut").await;
    let report = sync(&cluster, &database).await;
    let error = format!(
        "Failed to get K6 test status - 404 not found: there is no TestRun {}/cut any more",
        cluster.namespace()
    );
    assert_eq!(report["failures"][0]["error"], error);
    assert_eq!(report["errors"], 1);
    assert_eq!(
        recorded_errors(&database).await,
        [format!("cut cut: {error}")]
    );
    assert_eq!(database.statuses().await, ["cut lost TestRunVanished"]);
    assert_eq!(runs(&database).await, ["cut lost"]);

    assert_eq!(database.log(&read, "k6", 0).await, stored);
    let gaps = database
        .texts(
            "SELECT pod_name || ' ' || cause || ' ' || coalesce(CAST(after_ts AS TEXT), '-')
                 || ' ' || coalesce(CAST(before_ts AS TEXT), '-')
             FROM log_gaps JOIN log_streams ON id = stream_id ORDER BY pod_name",
        )
        .await;
    assert_eq!(
        gaps,
        [
            format!("{read} deleted {} -", line_time(2)),
            format!("{unread} deleted - -"),
        ]
    );
    let closed = "SELECT count(*) FROM log_streams WHERE complete AND gaps = 1";
    assert_eq!(database.number(closed).await, 2);
    assert_eq!(sync(&cluster, &database).await["total"], 0);
}

async fn a_deleted_test_run_whose_runners_were_seen_to_end_has_its_verdict(database: Database) {
    let cluster = Cluster::start().await;
    let ends = [
        ("fine", State::Terminated(0, "Completed")),
        ("bad", State::Terminated(99, "Error")),
    ];
    for (name, second) in ends {
        cluster.test_run(name, 2, "started").await;
        for (job, end) in [("1", ends[0].1), ("2", second)] {
            let pod = cluster.pod(name, job, end).await;
            write_lines(&cluster.log(&pod, "k6"), 0..3);
        }
    }
    sync(&cluster, &database).await;
    assert_eq!(
        database.statuses().await,
        ["bad running ThresholdsHaveFailed", "fine running -"]
    );
    for (name, _) in ends {
        cluster.delete_test_run_and_pods(name).await;
    }
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["updated"], &report["errors"]),
        (&2.into(), &0.into())
    );
    assert_eq!(
        database.statuses().await,
        ["bad failed ThresholdsHaveFailed", "fine passed -"]
    );
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
}

async fn a_name_that_is_used_again_is_another_step(database: Database) {
    let cluster = Cluster::start().await;
    let old_uid = cluster.test_run("again", 1, "started").await["metadata"]["uid"].clone();
    let old_pod = cluster.pod("again", "1", State::Running).await;
    write_lines(&cluster.log(&old_pod, "k6"), 0..3);
    sync(&cluster, &database).await;
    let old_text = written(&cluster, &old_pod);

    cluster.delete_test_run_and_pods("again").await;
    let new_uid = cluster.test_run("again", 1, "finished").await["metadata"]["uid"].clone();
    assert_ne!(old_uid, new_uid);
    let new_pod = "again-1-vwxyz";
    let status = json!([container_status(
        "k6",
        &State::Terminated(0, "Completed").json()
    )]);
    cluster
        .pod_with(
            new_pod,
            "again",
            "1",
            &["k6"],
            &[],
            json!({"containerStatuses": status}),
        )
        .await;
    write_lines(&cluster.log(new_pod, "k6"), 5..9);
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["total"], &report["errors"]),
        (&2.into(), &1.into())
    );
    let error = report["failures"][0]["error"].as_str().unwrap();
    assert!(
        error.ends_with("with the uid that this step had; it was made anew"),
        "{error}"
    );

    assert_eq!(
        database.statuses().await,
        ["again lost TestRunVanished", "again passed -"]
    );
    assert_eq!(runs(&database).await, ["again lost", "again passed"]);
    let uids = database
        .texts("SELECT k6_uid FROM test_run_steps ORDER BY id")
        .await;
    assert_eq!(json!(uids), json!([old_uid, new_uid]));
    let logs = database
        .texts("SELECT logs FROM step_logs ORDER BY step_id")
        .await;
    let new_text = written(&cluster, new_pod);
    assert_eq!(
        logs,
        [
            format!("==> runner {old_pod}/k6 (gaps: 1) <==\n{old_text}"),
            format!("==> runner {new_pod}/k6 <==\n{new_text}"),
        ]
    );
}
