//! The recording of a real cluster: what each moment must say in the database.

use serde_json::Value;

use crate::on_both_databases;
use crate::support::cluster::{recorded_log, recording};
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    statuses_and_verdicts_follow_the_moments,
    every_log_is_stored_byte_for_byte,
    a_later_moment_only_appends,
    a_second_sync_at_the_same_moment_changes_nothing,
    what_is_final_is_never_read_again,
);

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    Program::sync_once(cluster, database, &[]).report().await
}

async fn statuses_and_verdicts_follow_the_moments(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment("t1").await;
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["total"], &report["updated"], &report["errors"]),
        (&4.into(), &4.into(), &0.into())
    );
    let ended = [
        "team-bad errored ScriptException",
        "team-threshold failed ThresholdsHaveFailed",
        "team-throws errored ScriptException",
    ];
    assert_eq!(
        database.statuses().await,
        [ended[0], "team-scenario-pass running -", ended[1], ended[2]]
    );
    let messages = database
        .texts("SELECT coalesce(message, '-') FROM test_run_steps ORDER BY k6_test_name")
        .await;
    assert!(
        messages[0].contains("The moduleSpecifier \"./missing.js\" couldn't be found"),
        "{messages:?}"
    );
    assert_eq!(messages[1], "-");
    assert_eq!(
        messages[2],
        "checks rate>1.1: 100 %, failed on 1 of 1 runner"
    );
    assert!(
        messages[3].starts_with("Error: setup exploded: cannot reach auth service at setup"),
        "{messages:?}"
    );
    assert_eq!(
        database
            .texts("SELECT name || ' ' || status FROM test_runs ORDER BY name")
            .await,
        [
            "team-bad errored",
            "team-scenario-pass running",
            "team-threshold failed",
            "team-throws errored"
        ]
    );

    cluster.moment("t3").await;
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (&report["total"], &report["updated"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        database.statuses().await,
        [ended[0], "team-scenario-pass passed -", ended[1], ended[2]]
    );
    assert_eq!(
        database
            .texts("SELECT status FROM test_runs WHERE name = 'team-scenario-pass'")
            .await,
        ["passed"]
    );
    let times =
        "SELECT CAST(started_at AS TEXT) || ' ' || CAST(finished_at AS TEXT) FROM test_run_steps
                 WHERE k6_test_name = 'team-scenario-pass'";
    let times = database.texts(times).await;
    assert!(
        times[0].contains("04:39:49") && times[0].contains("04:40:07"),
        "{times:?}"
    );
}

/// The recorded answer without its times: what the container wrote.
fn written(moment: &str, pod: &str) -> String {
    let answer = String::from_utf8(recorded_log(moment, pod)).unwrap();
    answer
        .split_inclusive('\n')
        .map(|line| line.split_once(' ').unwrap().1)
        .collect()
}

fn recorded_pods(moment: &str) -> Vec<String> {
    let mut pods: Vec<String> = std::fs::read_dir(recording().join(moment).join("logs"))
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".k6.log").unwrap().to_owned()
        })
        .collect();
    pods.sort();
    pods
}

async fn every_log_is_stored_byte_for_byte(database: Database) {
    let cluster = Cluster::start().await;
    for moment in ["t1", "t2", "t3"] {
        cluster.moment(moment).await;
        sync(&cluster, &database).await;
        let pods = recorded_pods(moment);
        assert_eq!(pods.len(), 11);
        for pod in pods {
            assert!(
                database.log(&pod, "k6", 0).await == written(moment, &pod),
                "{pod} at {moment}"
            );
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE NOT complete")
            .await,
        0
    );

    let logs = database
        .texts("SELECT logs FROM step_logs JOIN test_run_steps ON id = step_id WHERE k6_test_name = 'team-scenario-pass'")
        .await;
    let headers: Vec<&str> = logs[0]
        .lines()
        .filter(|line| line.starts_with("==>"))
        .collect();
    assert_eq!(
        headers,
        [
            "==> initializer team-scenario-pass-initializer-hbbbj/k6 <==",
            "==> starter team-scenario-pass-starter-tjq6c/k6 <==",
            "==> runner team-scenario-pass-1-f29tb/k6 <==",
            "==> runner team-scenario-pass-2-28kwh/k6 <==",
        ]
    );
    assert!(logs[0].contains(&written("t3", "team-scenario-pass-2-28kwh")));
}

const CHUNKS: &str =
    "SELECT CAST(stream_id AS TEXT) || '/' || CAST(seq AS TEXT) || ': ' || body FROM log_chunks
                      ORDER BY stream_id, seq";

async fn a_later_moment_only_appends(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment("t1").await;
    sync(&cluster, &database).await;
    let before = database.texts(CHUNKS).await;

    cluster.moment("t2").await;
    let report = sync(&cluster, &database).await;
    assert_eq!(report["logsUpdated"], 1);
    let after = database.texts(CHUNKS).await;
    let new: Vec<&String> = after
        .iter()
        .filter(|chunk| !before.contains(chunk))
        .collect();
    assert_eq!(
        new.len(),
        2,
        "one chunk for each of the two running runners"
    );
    assert_eq!(
        after.len(),
        before.len() + 2,
        "and those of t1 as they were"
    );
    for pod in ["team-scenario-pass-1-f29tb", "team-scenario-pass-2-28kwh"] {
        let (old, all) = (written("t1", pod), written("t2", pod));
        let appended = all.strip_prefix(&old).unwrap();
        assert!(
            new.iter()
                .any(|chunk| chunk.ends_with(&format!("/1: {appended}")))
        );
    }
}

async fn a_second_sync_at_the_same_moment_changes_nothing(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment("t1").await;
    sync(&cluster, &database).await;
    let chunks = database.texts(CHUNKS).await;
    let report = sync(&cluster, &database).await;
    assert_eq!(
        (
            &report["updated"],
            &report["logsUpdated"],
            &report["logBytes"]
        ),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!(database.texts(CHUNKS).await, chunks);
}

async fn what_is_final_is_never_read_again(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment("t3").await;
    sync(&cluster, &database).await;
    let requests = cluster.log_requests();
    // 11 containers have ended, and an end is believed when two reads have found it.
    assert_eq!(requests, 22);
    let report = sync(&cluster, &database).await;
    assert_eq!(report["total"], 0);
    assert_eq!(cluster.log_requests(), requests, "no log is asked for");
}
