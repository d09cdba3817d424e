//! `k6sync verify`: logs against their record.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use jiff::SignedDuration;
use k6sync_standin::Options;
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::program::Run;
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    what_was_recorded_is_equal,
    odd_lines_are_equal_as_they_are_recorded,
    what_was_written_since_the_last_sync_is_behind,
    what_is_changed_in_the_record_differs,
    lines_of_a_gap_are_covered,
    a_log_that_was_rotated_is_compared_from_where_it_begins,
    lives_are_compared_each_with_its_own_log,
    a_run_is_found_by_id_external_id_and_name,
    nothing_is_written,
    nothing_compared_is_an_error,
    a_record_of_another_cluster_is_told_apart,
    a_container_that_is_not_on_record_is_told,
    a_container_that_is_younger_than_the_last_sync_is_not_yet_there,
    clock_steps_and_a_rotation_are_no_difference,
    containers_are_compared_with_cycles_by_the_clusters_clock,
    what_was_deleted_shows_when_no_cycle_is_left,
    a_chunk_with_the_last_number_stops_neither_verify_nor_sync,
    what_was_changed_before_the_next_sync_is_found_after_it,
    records_older_than_hashes_are_read_and_hashed_from_their_next_chunk_on,
);

/// 2026-11-23T04:39:50Z
const BASE: i64 = 1_795_408_790_000_000_000;
const SECOND: i64 = 1_000_000_000;
const PROMPTLY: Duration = Duration::from_secs(30);

async fn sync(cluster: &Cluster, database: &Database) {
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
}

async fn verify(cluster: &Cluster, database: &Database, args: &[&str]) -> Run {
    Program::new(&["verify", "--database-url", database.url()])
        .kubeconfig(cluster.kubeconfig())
        .args(args)
        .run()
        .await
}

/// The exit code and the containers of the JSON answer.
async fn verified(cluster: &Cluster, database: &Database) -> (i32, Vec<Value>) {
    let run = verify(cluster, database, &["-o", "json"]).await;
    let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let outcome = if run.code == 0 { "equal" } else { "differs" };
    assert_eq!(answer["outcome"], outcome, "{answer}");
    (run.code, answer["containers"].as_array().unwrap().clone())
}

async fn end(cluster: &Cluster, pod: &str) {
    cluster
        .container_state(pod, State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
}

/// One runner with these many lines, ended or not, and synced.
async fn recorded(database: &Database, lines: i64, ended: bool) -> (Cluster, String) {
    let cluster = Cluster::start().await;
    let pod = cluster.running("shop", 1).await.remove(0);
    write_lines(&cluster.log(&pod, "k6"), 0..lines);
    if ended {
        end(&cluster, &pod).await;
    }
    sync(&cluster, database).await;
    (cluster, pod)
}

async fn what_was_recorded_is_equal(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment("t3").await;
    sync(&cluster, &database).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!((code, containers.len()), (0, 11));
    for container in &containers {
        assert_eq!(container["verdict"], "equal", "{container}");
        assert_eq!(container["lines"], container["equal"], "{container}");
    }
    let stored = database.number("SELECT sum(bytes) FROM log_streams").await;
    let bytes = containers.iter().map(|c| c["bytes"].as_i64().unwrap());
    assert_eq!(bytes.sum::<i64>(), stored);
    let text = verify(&cluster, &database, &[]).await;
    assert!(
        text.stdout.ends_with("all 11 containers are as recorded\n"),
        "{text:?}"
    );
}

async fn odd_lines_are_equal_as_they_are_recorded(database: Database) {
    let (cluster, pod) = recorded(&database, 3, false).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE + 60 * SECOND, b"nul\0byte \xff\xfe bad utf8");
    log.write_line(BASE + 61 * SECOND, b"");
    log.write_line(BASE + 61 * SECOND, b"");
    log.write_line(BASE + 62 * SECOND, "x".repeat(1_000_000).as_bytes());
    log.write_line(BASE + 62 * SECOND, "y".repeat(40_000).as_bytes());
    log.write_unterminated(BASE + 63 * SECOND, b"no newline at the end");
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!((code, &containers[0]["equal"]), (0, &9.into()));
}

async fn what_was_written_since_the_last_sync_is_behind(database: Database) {
    let (cluster, pod) = recorded(&database, 10, false).await;
    write_lines(&cluster.log(&pod, "k6"), 10..14);
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!(code, 0);
    assert_eq!(containers[0]["verdict"], "behind");
    assert_eq!(
        (&containers[0]["equal"], &containers[0]["behind"]),
        (&10.into(), &4.into())
    );
}

async fn what_is_changed_in_the_record_differs(database: Database) {
    let (cluster, _) = recorded(&database, 10, true).await;
    let body = database.texts("SELECT body FROM log_chunks").await.concat();
    let line = |number: usize| body.split_inclusive('\n').nth(number).unwrap().to_owned();
    // (what the record is made to say, missing, extra, first difference)
    let cases = [
        (body.replacen(&line(4), "", 1), 1, 0, 5),
        (body.replacen(&line(4), &line(4).repeat(2), 1), 0, 1, 6),
        (line(9) + &body, 0, 1, 1),
        (body.replacen(&line(2), "changed\n", 1), 1, 1, 3),
    ];
    for (changed, missing, extra, first) in cases {
        let lines = changed.lines().count();
        database
            .execute(&format!("UPDATE log_chunks SET body = '{changed}'"))
            .await;
        database
            .execute(&format!("UPDATE log_streams SET lines = {lines}"))
            .await;
        let (code, containers) = verified(&cluster, &database).await;
        assert_eq!(code, 1);
        let container = &containers[0];
        assert_eq!(
            (&container["missing"], &container["extra"]),
            (&missing.into(), &extra.into()),
            "{container}"
        );
        assert_eq!(container["verdict"], "differs");
        assert_eq!(container["firstDifference"], first, "{container}");
    }
    let text = verify(&cluster, &database, &[]).await;
    for words in [
        "1 missing, 1 extra, first at line 3",
        "1 of 1 containers differ",
    ] {
        assert!(text.stdout.contains(words), "{text:?}");
    }
    assert!(text.stderr.contains("the record is not what the logs say"));
}

async fn lines_of_a_gap_are_covered(database: Database) {
    let (cluster, pod) = recorded(&database, 1, false).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE + 100 * SECOND, b"before the step");
    sync(&cluster, &database).await;
    // The clock steps back, and nobody looks until it has caught up.
    log.write_line(BASE + 30 * SECOND, b"hidden");
    log.write_line(BASE + 130 * SECOND, b"much later");
    sync(&cluster, &database).await;
    let (code, _) = verified(&cluster, &database).await;
    assert_eq!(code, 1, "nothing says so yet");
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!((code, &containers[0]["verdict"]), (0, &"covered".into()));
    assert_eq!(containers[0]["covered"], 1);
}

async fn a_log_that_was_rotated_is_compared_from_where_it_begins(database: Database) {
    let (cluster, pod) = recorded(&database, 50, false).await;
    let log = cluster.log(&pod, "k6");
    log.rotate();
    write_lines(&log, 50..60);
    sync(&cluster, &database).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!((code, &containers[0]["verdict"]), (0, &"equal".into()));
    assert_eq!(
        (&containers[0]["rotatedAway"], &containers[0]["equal"]),
        (&50.into(), &10.into())
    );
}

async fn lives_are_compared_each_with_its_own_log(database: Database) {
    let (cluster, pod) = recorded(&database, 5, false).await;
    let log = cluster.log(&pod, "k6");
    log.restart();
    write_lines(&log, 5..12);
    let status = json!({"containerStatuses": [{
        "name": "k6", "image": "k6", "imageID": "", "ready": true, "restartCount": 1,
        "state": State::Running.json(), "lastState": State::Terminated(1, "Error").json(),
    }]});
    cluster.pod_status(&pod, status).await;
    sync(&cluster, &database).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!(code, 0);
    let lives: Vec<_> = containers
        .iter()
        .map(|c| (c["restartCount"].as_i64(), c["equal"].as_i64()))
        .collect();
    assert_eq!(lives, [(Some(0), Some(5)), (Some(1), Some(7))]);
}

async fn a_run_is_found_by_id_external_id_and_name(database: Database) {
    let (cluster, pod) = recorded(&database, 5, false).await;
    database
        .execute("UPDATE test_runs SET external_id = 'dash-7'")
        .await;
    for run in ["1", "dash-7", "shop"] {
        let found = verify(&cluster, &database, &["--run", run]).await;
        assert_eq!(found.code, 0, "{found:?}");
        assert!(found.stdout.contains(&format!("{pod}/k6")), "{found:?}");
    }
    let unknown = verify(&cluster, &database, &["--run", "shoes"]).await;
    assert_eq!(unknown.code, 1);
    assert!(
        unknown
            .stderr
            .contains("no test run has the id, the external_id or the name `shoes`"),
        "{unknown:?}"
    );
    cluster.delete_pod(&pod).await;
    let gone = verify(&cluster, &database, &["--run", "shop"]).await;
    assert_eq!(gone.code, 0, "{gone:?}");
    for words in [
        "1 containers were compared with nothing but their hashes",
        "intact",
    ] {
        assert!(gone.stdout.contains(words), "{gone:?}");
    }
}

async fn nothing_is_written(database: Database) {
    let (cluster, pod) = recorded(&database, 5, false).await;
    write_lines(&cluster.log(&pod, "k6"), 5..9);
    let before = database.dump().await;
    verify(&cluster, &database, &[]).await;
    assert_eq!(database.dump().await, before);
}

async fn offline(database: &Database) -> Run {
    Program::new(&["verify", "--offline", "--database-url", database.url()])
        .run()
        .await
}

#[tokio::test]
async fn a_database_that_is_not_there_is_an_error() {
    for args in [
        &["verify", "--offline"][..],
        &["verify", "--offline", "-o", "json"],
    ] {
        let run = Program::new(args).run().await;
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stderr
                .contains("there is no database sqlite://k6sync.db"),
            "{run:?}"
        );
        assert!(run.files.is_empty(), "{run:?}");
    }
}

async fn nothing_compared_is_an_error(database: Database) {
    let cluster = Cluster::start().await;
    // No tables, or a file that is no database yet.
    if database.is_postgres() {
        assert_eq!(offline(&database).await.code, 1);
    }
    Program::migrate(&database).run().await;
    for run in [
        offline(&database).await,
        verify(&cluster, &database, &[]).await,
    ] {
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("nothing was verified"), "{run:?}");
    }
    // A record of another cluster.
    let (elsewhere, _) = recorded(&database, 5, true).await;
    assert_eq!(verify(&elsewhere, &database, &[]).await.code, 0);
    assert_eq!(offline(&database).await.code, 0);
    let run = verify(&cluster, &database, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("nothing was verified"), "{run:?}");
}

async fn a_record_of_another_cluster_is_told_apart(database: Database) {
    // A real API server is one cluster.
    let [first, second] = [
        Cluster::standin(Options::default()).await,
        Cluster::standin(Options::default()).await,
    ];
    first.running("shop", 1).await;
    sync(&first, &database).await;
    let run = verify(&second, &database, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    for words in [
        "nothing was verified",
        "knows only other clusters",
        first.namespace(),
    ] {
        assert!(run.stderr.contains(words), "{words}: {run:?}");
    }
}

async fn a_container_that_is_not_on_record_is_told(database: Database) {
    let (cluster, pod) = recorded(&database, 5, false).await;
    database.execute("DELETE FROM log_streams").await;
    let run = verify(&cluster, &database, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    for words in [&format!("{pod}/k6"), "UNRECORDED"] {
        assert!(run.stdout.contains(words), "{run:?}");
    }
    let run = offline(&database).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stdout
            .contains("1 log streams were made for it, 0 are there"),
        "{run:?}"
    );
}

async fn a_container_that_is_younger_than_the_last_sync_is_not_yet_there(database: Database) {
    let (cluster, _) = recorded(&database, 5, false).await;
    cluster.running("cart", 1).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!(code, 0);
    let mut verdicts: Vec<_> = containers
        .iter()
        .map(|c| c["verdict"].as_str().unwrap())
        .collect();
    verdicts.sort_unstable();
    assert_eq!(verdicts, ["equal", "notYet"]);
}

/// A sync whose clock is ahead of the API server's has looked earlier than it thinks, and one that is behind later.
async fn containers_are_compared_with_cycles_by_the_clusters_clock(database: Database) {
    for hours in [-1, 1] {
        let cluster = Cluster::standin(Options::default()).await;
        cluster
            .standin_cluster()
            .set_clock_offset(SignedDuration::from_hours(hours));
        Program::new(&["migrate", "--new-cluster", "--database-url", database.url()])
            .kubeconfig(cluster.kubeconfig())
            .run()
            .await;
        let pod = cluster.running("shop", 1).await.remove(0);
        write_lines(&cluster.log(&pod, "k6"), 0..5);
        sync(&cluster, &database).await;
        cluster.running("cart", 1).await;
        let (code, containers) = verified(&cluster, &database).await;
        assert_eq!(code, 0, "{hours}: {containers:?}");
        let is_not_yet = |container: &&Value| container["verdict"] == "notYet";
        assert_eq!(containers.iter().filter(is_not_yet).count(), 1, "{hours}");
    }
}

async fn what_was_deleted_shows_when_no_cycle_is_left(database: Database) {
    let (cluster, pod) = recorded(&database, 5, true).await;
    let other = cluster.running("cart", 1).await.remove(0);
    write_lines(&cluster.log(&other, "k6"), 0..5);
    for deletion in [
        &["DELETE FROM test_runs WHERE name = 'shop'"][..],
        &[
            "DELETE FROM log_chunks WHERE stream_id IN (SELECT id FROM log_streams WHERE exit_code = 0)",
            "DELETE FROM log_streams WHERE exit_code = 0",
            "UPDATE test_run_steps SET streams = 0 WHERE k6_test_name = 'shop'",
        ],
    ] {
        // Objects are stamped in whole seconds: a container of the last sync's second may be younger than it.
        wait_for("the missing container", PROMPTLY, async || {
            sync(&cluster, &database).await;
            let saved = database.save().await;
            for sql in deletion.iter().chain(&["DELETE FROM sync_cycles"]) {
                database.execute(sql).await;
            }
            let run = verify(&cluster, &database, &[]).await;
            database.restore(&saved).await;
            let words = [&format!("{pod}/k6"), "UNRECORDED"];
            run.code == 1 && words.iter().all(|words| run.stdout.contains(*words))
        })
        .await;
    }
}

async fn a_chunk_with_the_last_number_stops_neither_verify_nor_sync(database: Database) {
    let (cluster, pod) = recorded(&database, 5, false).await;
    database
        .execute(&format!(
            "INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body)
             SELECT stream_id, {}, first_ts, last_ts, lines, body FROM log_chunks",
            i64::MAX
        ))
        .await;
    write_lines(&cluster.log(&pod, "k6"), 5..8);
    sync(&cluster, &database).await;
    assert_eq!(database.number("SELECT lines FROM log_streams").await, 8);
    for run in [
        verify(&cluster, &database, &[]).await,
        offline(&database).await,
    ] {
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stdout.contains(&format!("{pod}/k6")), "{run:?}");
    }
}

/// The disk, not somebody: nothing is said to be altered, and what can be read is verified.
#[tokio::test]
async fn a_damaged_page_is_no_change_of_the_record() {
    // The end of a log that is complete is read for results too.
    for ended in [false, true] {
        damage(ended).await;
    }
}

async fn damage(ended: bool) {
    let database = Database::sqlite();
    let (_cluster, pod) = recorded(&database, 5, ended).await;
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let sizes = "SELECT (rootpage - 1) * page_size FROM sqlite_master, pragma_page_size WHERE name = 'log_chunks'";
    let page = u64::try_from(database.number(sizes).await).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(database.sqlite_file().unwrap())
        .unwrap();
    file.write_all_at(&[0xff; 4096], page).unwrap();
    let run = Program::new(&["verify", "--offline", "--run", "shop"])
        .args(&["--database-url", database.url()])
        .run()
        .await;
    assert_eq!(run.code, 1, "{run:?}");
    for words in [&format!("{pod}/k6"), "ERROR", "is damaged"] {
        assert!(run.stdout.contains(words), "{run:?}");
    }
    assert!(!run.stdout.contains("ALTERED"), "{run:?}");
}

async fn clock_steps_and_a_rotation_are_no_difference(database: Database) {
    let (cluster, pod) = recorded(&database, 1, false).await;
    let log = cluster.log(&pod, "k6");
    // Each stamped earlier than the one before, then on again.
    for second in [100, 90, 30, 31, 32] {
        log.write_line(BASE + second * SECOND, format!("at {second}").as_bytes());
    }
    sync(&cluster, &database).await;
    let (code, _) = verified(&cluster, &database).await;
    assert_eq!(code, 0);
    log.rotate();
    for second in [33, 34, 20, 21] {
        log.write_line(BASE + second * SECOND, format!("after {second}").as_bytes());
    }
    sync(&cluster, &database).await;
    let run = verify(&cluster, &database, &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(offline(&database).await.code, 0);
}

async fn what_was_changed_before_the_next_sync_is_found_after_it(database: Database) {
    for change in [
        "UPDATE log_streams SET replaced = replaced + 1",
        "UPDATE log_chunks SET first_ts = first_ts + 1",
        "UPDATE test_run_steps SET parallelism = 9, message = 'all is well'",
    ] {
        let (cluster, pod) = recorded(&database, 5, false).await;
        database.execute(change).await;
        write_lines(&cluster.log(&pod, "k6"), 5..9);
        end(&cluster, &pod).await;
        sync(&cluster, &database).await;
        let run = verify(&cluster, &database, &[]).await;
        assert_eq!(run.code, 1, "{change}: {run:?}");
        assert!(
            run.stdout.contains(&format!("{pod}/k6")),
            "{change}: {run:?}"
        );
        assert_eq!(offline(&database).await.code, 1, "{change}");
        database.drop_tables().await;
    }
}

async fn records_older_than_hashes_are_read_and_hashed_from_their_next_chunk_on(
    database: Database,
) {
    let (cluster, pod) = recorded(&database, 5, false).await;
    // As the migration leaves them.
    database
        .execute(
            "UPDATE log_streams SET next_seq = NULL, hash_from = NULL, hash = 'unsealed', hash_base = 'unsealed',
             gaps_hash = 'unsealed', seal = 'unsealed', facts_seal = 'unsealed'",
        )
        .await;
    database
        .execute("UPDATE test_run_steps SET seal = 'unsealed'")
        .await;
    database
        .execute("UPDATE database_identity SET unsealed_steps = 1, unsealed_streams = 1")
        .await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!((code, &containers[0]["unproven"]), (0, &5.into()));
    write_lines(&cluster.log(&pod, "k6"), 5..9);
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    let (code, containers) = verified(&cluster, &database).await;
    assert_eq!((code, &containers[0]["unproven"]), (0, &5.into()));
    assert_eq!(
        database.number("SELECT hash_from FROM log_streams").await,
        1
    );
    cluster.delete_pod(&pod).await;
    assert_eq!(offline(&database).await.code, 0);
    database
        .execute("UPDATE log_chunks SET body = replace(body, 'line 7', 'line 8') WHERE seq = 1")
        .await;
    let run = offline(&database).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("a chunk was changed"), "{run:?}");
}
