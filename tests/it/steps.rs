//! Steps: asked for by a dashboard or adopted, grouped into runs, missing, vanished, stuck, and a thousand at once.

use std::collections::BTreeMap;

use k6sync_standin::{Options, Spec};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, container_status, line_time, owner_job, write_lines};
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    a_step_that_was_asked_for_is_synced_as_an_adopted_one,
    a_step_without_a_namespace_is_of_the_default_one,
    a_step_without_a_test_run_is_an_error_of_its_own,
    a_step_whose_test_run_never_appears_is_lost,
    a_step_whose_test_run_was_deleted_is_lost_at_once,
    a_deleted_test_run_whose_runners_were_seen_to_end_has_its_verdict,
    a_name_that_is_used_again_is_another_step,
    labels_group_test_runs_as_steps_of_one_run,
    discovery_labelled_adopts_only_those_with_both_labels,
    without_discovery_and_steps_only_the_config_map_is_read,
    when_all_is_final_only_test_runs_are_listed,
    a_run_is_rolled_up_from_its_steps,
    steps_of_other_namespaces_are_left_alone,
    several_namespaces_can_be_named,
    all_namespaces_are_synced_if_asked_for,
    a_stuck_pod_is_the_reason,
    more_runners_than_vus_are_the_reason,
    what_only_k6_operator_knows_is_not_guessed,
    logs_of_all_containers_are_kept_but_only_k6_decides,
    pods_that_no_job_of_the_test_run_controls_are_left_alone,
    runs_whose_names_look_like_each_others_jobs_are_told_apart,
    a_long_name_that_cuts_its_pods_names_is_no_harm,
    a_thousand_runners_cost_pages_and_one_request_a_log,
);

const DISCOVERY_OFF: &str = "discovery: off";

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    Program::sync_once(cluster, database, &[]).report().await
}

/// The database with its tables and a run of these steps: (name, namespace, TestRun's name).
async fn ask_for(database: &Database, steps: &[(&str, Option<&str>, &str)]) {
    let run = Program::migrate(database).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    database.insert_run("asked for", steps).await;
}

/// A TestRun with one runner in this state and a log of three lines; returns the runner's pod.
async fn test_run(cluster: &Cluster, name: &str, stage: &str, runner: State) -> String {
    cluster.test_run(name, 1, stage).await;
    let pod = cluster.pod(name, "1", runner).await;
    write_lines(&cluster.log(&pod, "k6"), 0..3);
    pod
}

async fn passed(cluster: &Cluster, name: &str) -> String {
    test_run(cluster, name, "finished", State::Terminated(0, "Completed")).await
}

async fn running(cluster: &Cluster, name: &str) -> String {
    test_run(cluster, name, "started", State::Running).await
}

fn written(cluster: &Cluster, pod: &str) -> String {
    String::from_utf8(cluster.log(pod, "k6").written()).unwrap()
}

/// `run name/position step name status` of each step.
async fn places(database: &Database) -> Vec<String> {
    database
        .texts(
            "SELECT r.name || '/' || CAST(s.position AS TEXT) || ' ' || s.name || ' ' || s.status
             FROM test_run_steps s JOIN test_runs r ON r.id = s.test_run_id ORDER BY r.id, s.position",
        )
        .await
}

/// `name status` of each run.
async fn runs(database: &Database) -> Vec<String> {
    database
        .texts("SELECT name || ' ' || status FROM test_runs ORDER BY id")
        .await
}

/// `step k6TestName: error` of the last cycle.
async fn recorded_errors(database: &Database) -> Vec<String> {
    database
        .texts(
            "SELECT step_name || ' ' || k6_test_name || ': ' || error FROM sync_errors
             WHERE cycle_id = (SELECT max(id) FROM sync_cycles) ORDER BY step_name",
        )
        .await
}

/// What the clusters' requests since the last reset were.
fn requests(cluster: &Cluster) -> BTreeMap<String, u64> {
    cluster.standin_cluster().requests()
}

fn counted(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let owned = counts
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count));
    owned.collect()
}

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

/// The state of a container that ended with this exit code, between these minutes and seconds past four.
fn ended(exit_code: i64, started: &str, finished: &str) -> Value {
    json!({"terminated": {
        "exitCode": exit_code, "reason": "Completed",
        "startedAt": format!("2026-11-23T04:{started}Z"), "finishedAt": format!("2026-11-23T04:{finished}Z"),
    }})
}

async fn runner_ended(cluster: &Cluster, test_run: &str, pod: &str, state: &Value) {
    let statuses = json!([container_status("k6", state)]);
    cluster
        .pod_status(pod, json!({"containerStatuses": statuses}))
        .await;
    cluster.stage(test_run, "finished").await;
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
