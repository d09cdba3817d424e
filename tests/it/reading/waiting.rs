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
            run.code == 99 || run.stderr.contains("that was seen after"),
            "{run:?}"
        );
    }
    assert_eq!(ended(in_vain).await.code, 3);
    expect(ask(&database, &["wait", "slo", "no-initializer"]), 99).await;
    // Yesterday's run of this name is not meant: a run is as old as its first TestRun.
    let run = expect(ask(&database, &["wait", "slo", "--new"]), 3).await;
    assert!(run.stderr.contains("that was seen after"), "{run:?}");
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
    assert!(
        run.stderr.contains("not all steps have been seen"),
        "{run:?}"
    );
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
