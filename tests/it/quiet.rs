//! Logs that have long been quiet: a loop reads them about once a minute, and misses nothing for it.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use crate::on_both_databases;
use crate::support::cluster::State;
use crate::support::running_loop::{COMPLETED, Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

on_both_databases!(
    a_loop_reads_a_quiet_log_less_often_but_its_end_at_once,
    a_sync_by_hand_reads_every_log,
);

/// What follows from a few 5 s intervals has happened by then.
const IN_A_WHILE: Duration = Duration::from_secs(60);
const QUIET: &str = "SELECT count(*) FROM log_streams WHERE quiet_read_at IS NOT NULL";

async fn completed(running: &RunningLoop, more: f64) {
    let before = running.metric(COMPLETED).await;
    running
        .wait_for_at_least(COMPLETED, before + more, IN_A_WHILE)
        .await;
}

/// One that runs, with lines that are an hour old.
async fn quiet_pod(cluster: &Cluster) -> String {
    let [pod] = <[String; 1]>::try_from(cluster.running("shop", 1).await).unwrap();
    write_old_lines(cluster, &pod, 0..3);
    pod
}

fn write_old_lines(cluster: &Cluster, pod: &str, numbers: Range<i64>) {
    let an_hour_ago = Timestamp::now() - Duration::from_hours(1);
    let log = cluster.log(pod, "k6");
    for number in numbers {
        let ts = i64::try_from(an_hour_ago.as_nanosecond()).unwrap();
        log.write_line(ts + number, format!("line {number}").as_bytes());
    }
}

async fn a_loop_reads_a_quiet_log_less_often_but_its_end_at_once(database: Database) {
    let cluster = Cluster::start().await;
    let pod = quiet_pod(&cluster).await;
    let program = RunningLoop::program(&cluster, &database).config("intervalSeconds: 5");
    let mut running = RunningLoop::spawn(program).await;
    wait_for("a read that had nothing new", IN_A_WHILE, async || {
        database.number(QUIET).await == 1
    })
    .await;

    // The end of the cycle that noted it may still be ahead.
    completed(&running, 1.0).await;
    let before = cluster.log_requests();
    completed(&running, 2.0).await;
    assert_eq!(cluster.log_requests(), before);

    // Once the minute is over; a test has no time for it.
    write_old_lines(&cluster, &pod, 3..4);
    let past = "UPDATE log_streams SET quiet_read_at = '2026-01-01T00:00:00.000000Z'";
    database.execute(past).await;
    wait_for("the new line", IN_A_WHILE, async || {
        database.number("SELECT lines FROM log_streams").await == 4
    })
    .await;
    assert_eq!(database.number(QUIET).await, 0, "it is not quiet any more");

    wait_for("a read that had nothing new", IN_A_WHILE, async || {
        database.number(QUIET).await == 1
    })
    .await;
    write_old_lines(&cluster, &pod, 4..9);
    cluster
        .container_state(&pod, State::Terminated(0, "Completed"))
        .await;
    completed(&running, 2.0).await;
    let complete = "SELECT count(*) FROM log_streams WHERE complete";
    wait_for("the log's end", IN_A_WHILE, async || {
        database.number(complete).await == 1
    })
    .await;
    cluster.assert_as_written(&database, &[pod]).await;
    running.signal(Signal::Terminate);
    assert_eq!(running.exit_code(IN_A_WHILE).await, 0);
}

async fn a_sync_by_hand_reads_every_log(database: Database) {
    let cluster = Cluster::start().await;
    let pod = quiet_pod(&cluster).await;
    for lines in [3, 3, 3, 4] {
        write_old_lines(&cluster, &pod, 3..lines);
        let before = cluster.log_requests();
        Program::sync_once(&cluster, &database, &[]).report().await;
        assert_eq!(cluster.log_requests(), before + 1);
        let stored = database.number("SELECT lines FROM log_streams").await;
        assert_eq!(stored, lines);
    }
    assert_eq!(database.number(QUIET).await, 0);
}
