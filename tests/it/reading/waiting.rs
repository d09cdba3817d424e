//! `wait`: until runs have ended and are recorded, and then the verdict as an exit code.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Child;

use super::{ask, expect};
use crate::on_both_databases;
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program, recorded};

on_both_databases!(
    the_exit_code_is_the_verdict,
    a_gap_counts_if_it_is_asked_for,
    it_waits_for_a_run_that_is_still_to_come,
    it_gives_up_in_time,
    a_step_that_is_still_to_come_can_be_waited_for,
    a_database_that_goes_away_and_comes_back_is_waited_for,
    nobody_who_reads_it_changes_no_verdict,
    no_code_is_of_a_run_that_nobody_knows,
    what_is_missing_in_the_record_is_no_complete_record,
    no_file_is_green_where_the_exit_code_is_not,
    the_time_is_a_bound_whatever_hangs,
);

async fn the_exit_code_is_the_verdict(database: Database) {
    let _cluster = recorded(&database).await;
    for (runs, code) in [
        (&["no-initializer"][..], 0),
        (&["slo"], 99),
        (&["nightly-7"], 99),
        (&["no-login"], 107),
        // The initializer failed, k6-operator refused it: no runner of theirs has a code.
        (&["broken-import"], 1),
        (&["bad-arguments"], 1),
        (&["too-many-runners"], 1),
        (&["slo", "nightly-7", "no-initializer"], 99),
        (&["slo", "no-login"], 1),
        (&["slo", "too-many-runners"], 1),
        (&["no-initializer", "no-initializer", "3"], 0),
        (&["slo", "nothing"], 3),
    ] {
        let run = expect(ask(&database, &["wait"]).args(runs), code).await;
        assert_eq!(run.stdout.is_empty(), code == 3, "{run:?}");
        if let [name] = runs {
            let shown = ask(&database, &["show", name, "--exit-status"]);
            expect(shown, code).await;
        }
    }
    // Runners of one step that don't agree; one that was killed; one that nobody saw end.
    for (exit_code, code) in [("107", 1), ("137", 1), ("NULL", 1), ("0", 99)] {
        database
            .execute(&format!(
                "UPDATE log_streams SET exit_code = {exit_code} WHERE pod_name LIKE 'shop-buy-2-%'"
            ))
            .await;
        expect(ask(&database, &["wait", "nightly-7"]), code).await;
    }
    // What nobody knows is no success, and neither is a run whose row says so while a step says otherwise.
    for status in ["lost", "finished", "aborted"] {
        for table in [
            "test_runs WHERE id = 3",
            "test_run_steps WHERE test_run_id = 3",
        ] {
            let (table, which) = table.split_once(' ').unwrap();
            database
                .execute(&format!("UPDATE {table} SET status = '{status}' {which}"))
                .await;
        }
        expect(ask(&database, &["wait", "no-initializer"]), 1).await;
    }
    database
        .execute("UPDATE test_runs SET status = 'passed' WHERE id = 3")
        .await;
    expect(ask(&database, &["wait", "no-initializer"]), 1).await;
}

async fn a_gap_counts_if_it_is_asked_for(database: Database) {
    let _cluster = recorded(&database).await;
    let strict = ["wait", "no-initializer", "--require-complete"];
    expect(ask(&database, &strict), 0).await;
    let stream = "(SELECT id FROM log_streams WHERE pod_name LIKE 'no-initializer-1-%')";
    database
        .execute(&format!(
            "UPDATE log_streams SET gaps = 1 WHERE id = {stream}"
        ))
        .await;
    database
        .execute(&format!(
            "INSERT INTO log_gaps (stream_id, cause, noticed_at) VALUES ({stream}, 'rotated', '2026-11-25T08:10:50.000000Z')"
        ))
        .await;
    expect(ask(&database, &["wait", "no-initializer"]), 0).await;
    let run = expect(ask(&database, &strict), 4).await;
    assert!(
        run.stderr
            .contains("lines may be missing in 1 place of its logs"),
        "{run:?}"
    );
    // A bad verdict goes before.
    let both = ask(&database, &strict).args(&["slo"]);
    expect(both, 99).await;
    // What prune deleted was recorded.
    database
        .execute("UPDATE log_gaps SET cause = 'pruned'")
        .await;
    expect(ask(&database, &strict), 0).await;
}

/// Starts it, to be waited for with [`ended`].
fn start(mut program: Program) -> (Child, Program) {
    let command = program
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (command.spawn().unwrap(), program)
}

async fn ended((child, _program): (Child, Program)) -> Run {
    let output: Output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
        .await
        .expect("it did not end")
        .unwrap();
    Run::from(output)
}

fn interrupt(child: &Child) {
    let pid = child.id().unwrap();
    let sent = std::process::Command::new("sh")
        .args(["-c", &format!("kill -INT {pid}")])
        .status();
    assert!(sent.unwrap().success());
}

async fn it_waits_for_a_run_that_is_still_to_come(database: Database) {
    expect(Program::migrate(&database), 0).await;
    let cluster = Cluster::start().await;
    let absent = expect(ask(&database, &["wait", "slo"]), 3).await;
    assert_eq!(absent.stdout, "");
    let before = start(ask(
        &database,
        &["wait", "slo", "no-initializer", "--for-appearance", "60s"],
    ));
    let in_vain = start(ask(
        &database,
        &["wait", "nothing", "--for-appearance", "1s"],
    ));
    let sync = async |moment| {
        cluster.moment_of("operator", moment).await;
        Program::sync_once(&cluster, &database, &[]).report().await;
    };
    sync("t1").await;
    let during = start(ask(&database, &["wait", "slo", "no-initializer"]));
    let interrupted = start(ask(&database, &["wait", "nightly-7"]));
    sync("t2").await;
    interrupt(&interrupted.0);
    let interrupted = ended(interrupted).await;
    assert_eq!(interrupted.code, 130, "{interrupted:?}");
    assert_eq!(interrupted.stdout, "");
    sync("t3").await;
    for waiting in [before, during] {
        let run = ended(waiting).await;
        // The rows are made with the time of the TestRun's creation, which is days ago in a recording.
        assert!(
            run.code == 99 || run.stderr.contains("that was created after"),
            "{run:?}"
        );
    }
    assert_eq!(ended(in_vain).await.code, 3);
    expect(ask(&database, &["wait", "slo", "no-initializer"]), 99).await;
    // Yesterday's run of this name is not meant: a run is as old as its first TestRun.
    let run = expect(ask(&database, &["wait", "slo", "--new"]), 3).await;
    assert!(run.stderr.contains("that was created after"), "{run:?}");
    expect(
        ask(
            &database,
            &["wait", "slo", "--after", "2026-11-25T00:00:00Z"],
        ),
        99,
    )
    .await;
}

async fn it_gives_up_in_time(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment_of("operator", "t1").await;
    Program::sync_once(&cluster, &database, &[]).report().await;
    let begun = Instant::now();
    let run = expect(ask(&database, &["wait", "slo", "--timeout", "1s"]), 124).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(run.stderr.contains("timed out after 1.0s: run "), "{run:?}");
    // What is not over has not passed.
    expect(ask(&database, &["show", "slo", "--exit-status"]), 1).await;
    let run = expect(ask(&database, &["wait", "slo", "--timeout", "soon"]), 2).await;
    assert!(
        run.stderr.contains("it must be a time such as 30m"),
        "{run:?}"
    );
    // Half an hour later is too late to find that there is no such folder.
    let run = ask(&database, &["wait", "slo", "--junit", "nowhere/out.xml"]);
    let run = expect(run, 2).await;
    assert!(
        run.stderr.contains("the folder nowhere does not exist"),
        "{run:?}"
    );
}

async fn a_step_that_is_still_to_come_can_be_waited_for(database: Database) {
    let _cluster = recorded(&database).await;
    expect(ask(&database, &["wait", "nightly-7", "--steps", "2"]), 99).await;
    let run = ask(
        &database,
        &["wait", "nightly-7", "--steps", "3", "--timeout", "1s"],
    );
    let run = expect(run, 124).await;
    assert!(run.stderr.contains("it has 2 of 3 steps"), "{run:?}");
}

async fn a_database_that_goes_away_and_comes_back_is_waited_for(database: Database) {
    let cluster = Cluster::start().await;
    cluster.moment_of("operator", "t1").await;
    Program::sync_once(&cluster, &database, &[]).report().await;
    let waiting = start(ask(&database, &["wait", "slo"]));
    // Until it has begun to ask; there is nothing to see of that but time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    if database.is_postgres() {
        database.let_in(false).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        database.let_in(true).await;
    }
    for moment in ["t2", "t3"] {
        cluster.moment_of("operator", moment).await;
        Program::sync_once(&cluster, &database, &[]).report().await;
    }
    assert_eq!(ended(waiting).await.code, 99);
}

/// Runs it with a standard output that nobody reads.
async fn unread(mut program: Program) -> i32 {
    let command = program
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
    ended.unwrap().unwrap().code().unwrap()
}

async fn nobody_who_reads_it_changes_no_verdict(database: Database) {
    let _cluster = recorded(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("out.xml");
    let wait = ["wait", "slo", "--junit", junit.to_str().unwrap()];
    assert_eq!(unread(ask(&database, &wait)).await, 99);
    assert!(junit.is_file());
    assert_eq!(
        unread(ask(&database, &["show", "slo", "--exit-status"])).await,
        99
    );
    let compare = ["compare", "no-initializer", "slo", "--fail"];
    assert_eq!(unread(ask(&database, &compare)).await, 1);
    assert_eq!(unread(ask(&database, &["doctor"])).await, 1);
    for quiet in [&["runs"][..], &["show", "slo"], &["logs", "slo"]] {
        assert_eq!(unread(ask(&database, quiet)).await, 0, "{quiet:?}");
    }
}

async fn no_code_is_of_a_run_that_nobody_knows(database: Database) {
    let _cluster = recorded(&database).await;
    let status = async |status: &str, parallelism: i64| {
        for sql in [
            format!("UPDATE test_runs SET status = '{status}' WHERE id = 6"),
            format!(
                "UPDATE test_run_steps SET status = '{status}', parallelism = {parallelism} WHERE test_run_id = 6"
            ),
        ] {
            database.execute(&sql).await;
        }
    };
    for (word, parallelism, code) in [
        ("failed", 1, 99),
        // Three that nobody saw.
        ("failed", 4, 1),
        ("lost", 1, 1),
        // By somebody who deleted it, whatever the runner's code is.
        ("aborted", 1, 1),
        ("errored", 1, 1),
    ] {
        status(word, parallelism).await;
        expect(ask(&database, &["show", "slo", "--exit-status"]), code).await;
    }
    // A run without steps is not over, whatever its row says.
    database
        .execute(
            "INSERT INTO test_runs (name, namespace, status) VALUES ('empty', 'k6-runs', 'passed')",
        )
        .await;
    expect(ask(&database, &["show", "empty", "--exit-status"]), 1).await;
    let run = expect(ask(&database, &["wait", "empty", "--timeout", "1s"]), 124).await;
    assert!(run.stderr.contains("it has no steps"), "{run:?}");
    // Yesterday's run is not the latest since now.
    let run = ask(
        &database,
        &["wait", "@latest", "--after", "2100-01-01T00:00:00Z"],
    );
    expect(run, 3).await;
}

async fn what_is_missing_in_the_record_is_no_complete_record(database: Database) {
    let _cluster = recorded(&database).await;
    let strict = ["wait", "no-initializer", "--require-complete"];
    expect(ask(&database, &strict), 0).await;
    let stream = "(SELECT id FROM log_streams WHERE pod_name LIKE 'no-initializer-1-%')";
    database
        .execute(&format!(
            "DELETE FROM log_chunks WHERE stream_id = {stream}"
        ))
        .await;
    let run = expect(ask(&database, &strict), 4).await;
    assert!(
        run.stderr.contains("are not there any more in 1 log"),
        "{run:?}"
    );
    let logs = ["logs", "no-initializer", "--role", "runner"];
    let run = expect(ask(&database, &logs), 5).await;
    assert!(run.stderr.contains("94 lines of the log of"), "{run:?}");
    // As prune leaves it.
    database
        .execute(&format!(
            "INSERT INTO log_gaps (stream_id, cause, noticed_at) VALUES ({stream}, 'pruned', '2026-11-25T08:10:50.000000Z')"
        ))
        .await;
    database
        .execute(&format!(
            "UPDATE log_streams SET gaps = 1 WHERE id = {stream}"
        ))
        .await;
    expect(ask(&database, &strict), 0).await;
    let run = expect(ask(&database, &logs), 0).await;
    assert!(
        run.stdout.contains("94 lines were deleted by k6sync prune"),
        "{run:?}"
    );
    // Without its runner nothing is known of how it passed.
    database
        .execute(&format!("DELETE FROM log_streams WHERE id = {stream}"))
        .await;
    let run = expect(ask(&database, &strict), 4).await;
    assert!(run.stderr.contains("not all of its runners"), "{run:?}");
}

async fn no_file_is_green_where_the_exit_code_is_not(database: Database) {
    let _cluster = recorded(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (junit, markdown) = (path("out.xml"), path("sum.md"));
    let late = [
        "wait",
        "no-initializer",
        "--steps",
        "2",
        "--timeout",
        "1s",
        "--github",
        "--junit",
        &junit,
        "--markdown",
        &markdown,
    ];
    let run = expect(ask(&database, &late), 124).await;
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("<error"), "{xml}");
    assert!(!std::fs::read_to_string(&markdown).unwrap().contains('✅'));
    assert!(
        run.stdout.contains("::error") && !run.stdout.contains("::notice"),
        "{run:?}"
    );
    // Standard output is for the runner alone.
    assert!(
        run.stdout.lines().all(|line| line.starts_with("::")),
        "{run:?}"
    );

    database
        .execute("UPDATE log_streams SET gaps = 1 WHERE pod_name LIKE 'no-initializer-1-%'")
        .await;
    database
        .execute(
            "INSERT INTO log_gaps (stream_id, cause, noticed_at)
             SELECT id, 'rotated', '2026-11-25T08:10:50.000000Z' FROM log_streams WHERE pod_name LIKE 'no-initializer-1-%'",
        )
        .await;
    let strict = [
        "wait",
        "no-initializer",
        "--require-complete",
        "--junit",
        &junit,
    ];
    expect(ask(&database, &strict), 4).await;
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("IncompleteRecord"), "{xml}");
    // A file of an earlier command is not taken for this one's.
    expect(ask(&database, &["wait", "nothing", "--junit", &junit]), 3).await;
    assert!(!std::path::Path::new(&junit).exists());
    let same = ask(
        &database,
        &["wait", "slo", "--junit", &junit, "--markdown", &junit],
    );
    expect(same, 2).await;
}

async fn the_time_is_a_bound_whatever_hangs(database: Database) {
    let _cluster = recorded(&database).await;
    let run = ask(
        &database,
        &[
            "wait",
            "nothing",
            "--for-appearance",
            "5m",
            "--timeout",
            "1s",
        ],
    );
    let run = expect(run, 124).await;
    assert!(run.stderr.contains("has not appeared"), "{run:?}");
    if !database.is_postgres() {
        return;
    }
    let url = database.url().to_owned();
    let locked = tokio::spawn(async move {
        use sqlx::{Connection, Executor};
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        connection
            .execute("BEGIN; LOCK TABLE test_runs IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)")
            .await
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    expect(ask(&database, &["wait", "slo", "--timeout", "2s"]), 124).await;
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    locked.abort();
}
