//! Logs as they really are: odd bytes, long lines, restarts, rotations, vanished pods, and 300 MB of them.

use std::process::Stdio;
use std::time::Duration;

use k6sync_standin::{Fault, FaultAction, KubeletStyle, Options, generated_text};
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::State;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    odd_bytes_become_text,
    a_line_of_40_kb_is_one_line_whatever_the_kubelet,
    an_unterminated_line_waits_for_its_end,
    lines_of_one_time_are_neither_lost_nor_doubled,
    a_rotation_between_reads_leaves_a_gap,
    an_emptied_log_of_an_ended_container_is_believed_only_later,
    a_restarted_container_has_two_lives,
    a_life_that_was_missed_leaves_a_gap,
    a_pod_that_is_gone_before_its_last_read_leaves_a_gap,
    lines_that_were_stamped_before_their_neighbours_are_neither_lost_nor_doubled,
    a_log_that_its_node_no_longer_has_is_given_up,
    a_message_with_a_nul_is_stored_without_it,
    a_line_of_1_mb_is_one_line_and_of_5_mb_the_beginning_is_kept,
    a_clock_that_steps_back_hides_nothing_that_is_read_in_time,
    lines_that_a_clock_hid_for_good_leave_a_gap,
    a_restart_between_the_list_and_the_read_mixes_no_lives,
    another_life_before_the_read_is_not_taken_for_the_one_before,
    an_answer_that_is_cut_off_at_its_beginning_is_not_a_log_s_end,
    a_log_of_300_mb_is_stored_in_bounded_memory,
);

/// 2026-11-23T04:39:50Z
const BASE: i64 = 1_795_408_790_000_000_000;
const SECOND: i64 = 1_000_000_000;

async fn sync(cluster: &Cluster, database: &Database) -> Value {
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
    report
}

/// A running TestRun with one runner; returns its pod.
async fn runner(cluster: &Cluster) -> String {
    cluster.test_run("shop", 1, "started").await;
    cluster.pod("shop", "1", State::Running).await
}

async fn end(cluster: &Cluster, pod: &str) {
    cluster
        .container_state(pod, State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
}

/// `cause after before` of each gap, times in seconds since `BASE`.
async fn gaps(database: &Database) -> Vec<String> {
    database
        .texts(&format!(
            "SELECT cause || ' ' || coalesce(CAST((after_ts - {BASE}) / {SECOND} AS TEXT), '-')
                 || ' ' || coalesce(CAST((before_ts - {BASE}) / {SECOND} AS TEXT), '-')
             FROM log_gaps ORDER BY after_ts, before_ts"
        ))
        .await
}

async fn odd_bytes_become_text(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE, b"nul\0byte \xff\xfe bad utf8");
    log.write_line(BASE + 1, "caf\u{e9} \u{2713}".as_bytes());
    log.write_line(BASE + 2, b"");
    log.write_line(BASE + 2, &[0xff; 1 << 20]);
    log.write_unterminated(BASE + 3, b"no newline at end");
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.log(&pod, "k6", 0).await,
        "nul\u{fffd}byte \u{fffd} bad utf8\ncaf\u{e9} \u{2713}\n\n\u{fffd}\nno newline at end"
    );
    let counts = "SELECT CAST(lines AS TEXT) || ' ' || CAST(replaced AS TEXT) FROM log_streams";
    assert_eq!(database.texts(counts).await, ["5 3"]);
    assert_eq!(database.statuses().await, ["shop passed -"]);
}

async fn a_line_of_40_kb_is_one_line_whatever_the_kubelet(database: Database) {
    let long = "x".repeat(40_000);
    let mut pods = Vec::new();
    for style in [KubeletStyle::Joined, KubeletStyle::Repeated] {
        let cluster = Cluster::with_style(style).await;
        let shared = Program::migrate(&database)
            .kubeconfig(cluster.kubeconfig())
            .args(&["--new-cluster"])
            .run()
            .await;
        assert_eq!(shared.code, 0, "{shared:?}");
        let pod = runner(&cluster).await;
        let log = cluster.log(&pod, "k6");
        log.write_line(BASE, b"start");
        // Its last part is of the next second, in which a resumed answer begins (docs/facts.md,
        // "Long lines come in parts").
        let parts: Vec<&[u8]> = long.as_bytes().chunks(16_384).collect();
        let times = [BASE + 1, BASE + 2, BASE + SECOND];
        let parts: Vec<(i64, &[u8])> = times.into_iter().zip(parts).collect();
        log.write_parts(&parts, true);
        log.write_line(BASE + SECOND + 1, b"after");
        sync(&cluster, &database).await;
        log.write_line(BASE + SECOND + 2, b"later");
        end(&cluster, &pod).await;
        sync(&cluster, &database).await;
        pods.push((cluster.namespace().to_owned(), pod));
    }
    for (namespace, _) in pods {
        let text = database
            .texts(&format!(
                "SELECT body FROM log_chunks JOIN log_streams s ON s.id = stream_id
                 JOIN test_run_steps t ON t.id = step_id WHERE t.namespace = '{namespace}' ORDER BY seq"
            ))
            .await
            .concat();
        assert!(
            text == format!("start\n{long}\nafter\nlater\n"),
            "{namespace}: {} bytes",
            text.len()
        );
    }
    assert!(gaps(&database).await.is_empty());
}

async fn an_unterminated_line_waits_for_its_end(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE, b"whole");
    log.write_unterminated(BASE + 1, b"first half");
    sync(&cluster, &database).await;
    assert_eq!(database.log(&pod, "k6", 0).await, "whole\n");
    log.write_line(BASE + 2, b", second half");
    sync(&cluster, &database).await;
    assert_eq!(
        database.log(&pod, "k6", 0).await,
        "whole\nfirst half, second half\n"
    );
    assert!(gaps(&database).await.is_empty());
}

async fn lines_of_one_time_are_neither_lost_nor_doubled(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    for round in 0..4 {
        // The last time of a round is the first of the next, so that the cursor always stands among twins.
        for line in 0..3 {
            log.write_line(
                BASE + round,
                format!("{round}/{line} at the old time").as_bytes(),
            );
        }
        for line in 0..2 {
            log.write_line(
                BASE + round + 1,
                format!("{round}/{line} at the new time").as_bytes(),
            );
        }
        sync(&cluster, &database).await;
    }
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.log(&pod, "k6", 0).await.into_bytes(),
        log.written()
    );
    assert!(gaps(&database).await.is_empty());
}

/// The runtime stamps stdout and stderr apart, before it writes them: neighbours may be swapped, across reads too.
async fn lines_that_were_stamped_before_their_neighbours_are_neither_lost_nor_doubled(
    database: Database,
) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    let mut times = Vec::new();
    for round in 0..5 {
        let at = BASE + round * SECOND;
        times.extend([at + 2, at + 1, at - 1]);
        log.write_line(at + 2, format!("{round}: stdout").as_bytes());
        log.write_line(at + 1, format!("{round}: stderr").as_bytes());
        sync(&cluster, &database).await;
        // Just before the second began, and written after the line that was last stored.
        log.write_line(at - 1, format!("{round}: late").as_bytes());
        sync(&cluster, &database).await;
        sync(&cluster, &database).await;
    }
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    let stored = database.log(&pod, "k6", 0).await;
    assert_eq!(stored, String::from_utf8(log.written()).unwrap());
    assert_eq!(database.line_times(&pod, "k6").await, times);
    assert!(gaps(&database).await.is_empty());
}

async fn a_log_that_its_node_no_longer_has_is_given_up(database: Database) {
    let cluster = Cluster::standin(Options::default()).await;
    let pod = runner(&cluster).await;
    cluster.log(&pod, "k6").write_line(BASE, b"stored");
    sync(&cluster, &database).await;
    // It ended long ago, and the kubelet has no such log.
    end(&cluster, &pod).await;
    let refusal = FaultAction::Status {
        code: 400,
        retry_after_seconds: None,
    };
    cluster
        .standin_cluster()
        .fault(Fault::always("get pods/log", refusal));
    // All answers of one cycle may be wrong, as just after the node's start.
    let sync_refused = async || {
        let report = Program::sync_once(&cluster, &database, &[]).report().await;
        assert_eq!(
            gaps(&database).await.len(),
            usize::from(report["errors"] == 0)
        );
    };
    sync_refused().await;
    assert!(gaps(&database).await.is_empty());
    sync_refused().await;
    assert_eq!(gaps(&database).await, ["unavailable 0 -"]);
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE NOT complete")
            .await,
        0
    );
}

async fn a_message_with_a_nul_is_stored_without_it(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let line =
        br#"time="2026-11-23T04:39:41Z" level=error msg="a \x00 in a message" source=stacktrace"#;
    cluster.log(&pod, "k6").write_line(BASE, line);
    cluster
        .container_state(&pod, State::Terminated(107, "Error"))
        .await;
    cluster.stage("shop", "finished").await;
    sync(&cluster, &database).await;
    let messages = database.texts("SELECT message FROM test_run_steps").await;
    assert_eq!(messages, ["a \u{fffd} in a message"]);
}

async fn a_rotation_between_reads_leaves_a_gap(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE, b"stored");
    sync(&cluster, &database).await;
    log.write_line(BASE + 5 * SECOND, b"rotated away");
    log.rotate();
    log.write_line(BASE + 9 * SECOND, b"after the rotation");
    let run = Program::sync_once(&cluster, &database, &[]).run().await;
    let mut lines = run.stderr.lines();
    let warning = lines.find(|line| line.contains("log lines may be missing"));
    let warning = warning.unwrap_or_else(|| panic!("{run:?}"));
    for told in [
        "WARN",
        "run=1",
        "step=\"shop\"",
        &format!("namespace=\"{}\"", cluster.namespace()),
        &format!("pod=\"{pod}\""),
        "container=\"k6\"",
        "cause=\"rotated\"",
        "after=\"2026-11-23T04:39:50Z\"",
        "before=\"2026-11-23T04:39:59Z\"",
    ] {
        assert!(warning.contains(told), "{told}: {warning}");
    }
    assert_eq!(
        database.log(&pod, "k6", 0).await,
        "stored\nafter the rotation\n"
    );
    assert_eq!(gaps(&database).await, ["rotated 0 9"]);
    // It is told once.
    sync(&cluster, &database).await;
    assert_eq!(gaps(&database).await, ["rotated 0 9"]);
    assert_eq!(database.number("SELECT gaps FROM log_streams").await, 1);
}

async fn an_emptied_log_of_an_ended_container_is_believed_only_later(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE, b"stored");
    sync(&cluster, &database).await;
    log.rotate();

    // It ended just now: the answer may be empty only for a moment (docs/facts.md,
    // "Only the current log file is served").
    let now = jiff::Timestamp::now();
    let ended_at = |time: jiff::Timestamp| {
        json!({"containerStatuses": [{
            "name": "k6", "image": "k6", "imageID": "", "ready": false, "restartCount": 0, "lastState": {},
            "state": {"terminated": {
                "exitCode": 0, "reason": "Completed",
                "startedAt": "2026-11-23T04:39:49Z", "finishedAt": format!("{time:.0}"),
            }},
        }]})
    };
    cluster.pod_status(&pod, ended_at(now)).await;
    cluster.stage("shop", "finished").await;
    sync(&cluster, &database).await;
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE complete")
            .await,
        0
    );
    assert!(gaps(&database).await.is_empty());

    // Two minutes later it is the truth.
    let earlier = now - jiff::SignedDuration::from_mins(2);
    let earlier = format!("{earlier:.6}");
    database
        .execute(&format!("UPDATE log_streams SET finished_at = '{earlier}'"))
        .await;
    sync(&cluster, &database).await;
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE complete")
            .await,
        1
    );
    assert_eq!(gaps(&database).await, ["rotated 0 -"]);
}

/// `containerStatuses` of a container in its life number `count`; the one before it ended with exit code 1.
fn restarted(count: i64) -> Value {
    json!({"containerStatuses": [{
        "name": "k6", "image": "k6", "imageID": "", "ready": true, "restartCount": count,
        "state": State::Running.json(), "lastState": State::Terminated(1, "Error").json(),
    }]})
}

async fn a_restarted_container_has_two_lives(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE, b"first life");
    sync(&cluster, &database).await;
    log.write_line(BASE + SECOND, b"its end");
    log.restart();
    log.write_line(BASE + 2 * SECOND, b"second life");
    cluster.pod_status(&pod, restarted(1)).await;
    sync(&cluster, &database).await;
    assert_eq!(database.log(&pod, "k6", 0).await, "first life\nits end\n");
    assert_eq!(database.log(&pod, "k6", 1).await, "second life\n");
    assert!(gaps(&database).await.is_empty());
    let states = "SELECT state || ' ' || coalesce(CAST(exit_code AS TEXT), '-') FROM log_streams ORDER BY restart_count";
    assert_eq!(database.texts(states).await, ["terminated 1", "running -"]);
    let requests = cluster.log_requests();
    sync(&cluster, &database).await;
    assert_eq!(
        cluster.log_requests(),
        requests + 1,
        "the ended life is not read again"
    );
}

async fn a_life_that_was_missed_leaves_a_gap(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE, b"first life");
    sync(&cluster, &database).await;
    log.restart();
    log.write_line(BASE + SECOND, b"second life");
    log.restart();
    log.write_line(BASE + 2 * SECOND, b"third life");
    cluster.pod_status(&pod, restarted(2)).await;
    sync(&cluster, &database).await;
    assert_eq!(database.log(&pod, "k6", 1).await, "second life\n");
    assert_eq!(database.log(&pod, "k6", 2).await, "third life\n");
    assert_eq!(
        gaps(&database).await,
        ["restarted 0 -"],
        "the end of the first life was never read"
    );
}

async fn a_pod_that_is_gone_before_its_last_read_leaves_a_gap(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    cluster
        .log(&pod, "k6")
        .write_line(BASE + 3 * SECOND, b"stored");
    sync(&cluster, &database).await;
    cluster.delete_pod(&pod).await;
    sync(&cluster, &database).await;
    assert_eq!(gaps(&database).await, ["deleted 3 -"]);
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE NOT complete")
            .await,
        0
    );
    assert_eq!(
        database.statuses().await,
        ["shop running -"],
        "the TestRun goes on"
    );
}

async fn a_line_of_1_mb_is_one_line_and_of_5_mb_the_beginning_is_kept(database: Database) {
    const MIB: usize = 1024 * 1024;
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    let (long, too_long) = ("x".repeat(MIB), "y".repeat(5 * MIB));
    log.write_line(BASE, long.as_bytes());
    log.write_line(BASE + SECOND, too_long.as_bytes());
    log.write_line(BASE + 2 * SECOND, b"after");
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    let stored = database.log(&pod, "k6", 0).await;
    let kept = &too_long[..2 * MIB];
    assert!(
        stored == format!("{long}\n{kept}\nafter\n"),
        "{} bytes",
        stored.len()
    );
    assert_eq!(gaps(&database).await, ["truncated 1 1"]);
}

/// The end of a test whose node's clock was set back half a minute before it: a request by time shows nothing of it.
async fn a_clock_that_steps_back_hides_nothing_that_is_read_in_time(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE + 60 * SECOND, b"before the step");
    sync(&cluster, &database).await;
    for second in 30..35 {
        log.write_line(BASE + second * SECOND, b"hidden, and the same each time");
        sync(&cluster, &database).await;
    }
    assert_eq!(
        database.log(&pod, "k6", 0).await,
        "before the step\n",
        "by time nothing is new"
    );
    // One line in the second before the time that was stored last, and the step shows; from then on nothing is hidden.
    log.write_line(BASE + 59 * SECOND, b"nearly there");
    log.write_line(BASE + 20 * SECOND, b"another step back");
    sync(&cluster, &database).await;
    log.write_line(BASE + 21 * SECOND, b"and on");
    sync(&cluster, &database).await;
    assert_eq!(
        database.log(&pod, "k6", 0).await.into_bytes(),
        log.written(),
        "nothing waits for the clock to catch up"
    );
    log.write_line(BASE + 22 * SECOND, b"the summary");
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    assert_eq!(
        database.log(&pod, "k6", 0).await.into_bytes(),
        log.written()
    );
    assert!(gaps(&database).await.is_empty());
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE complete")
            .await,
        1
    );
}

async fn lines_that_a_clock_hid_for_good_leave_a_gap(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    log.write_line(BASE + 60 * SECOND, b"before the step");
    sync(&cluster, &database).await;
    log.write_line(BASE + 30 * SECOND, b"hidden");
    log.write_line(BASE + 90 * SECOND, b"much later");
    sync(&cluster, &database).await;
    let stored = "before the step\nmuch later\n";
    assert_eq!(database.log(&pod, "k6", 0).await, stored);
    end(&cluster, &pod).await;
    sync(&cluster, &database).await;
    sync(&cluster, &database).await;
    assert_eq!(database.log(&pod, "k6", 0).await, stored);
    assert_eq!(gaps(&database).await, ["clock 60 90"]);
}

/// The log is asked for by name: what answers may already be the next life.
async fn a_restart_between_the_list_and_the_read_mixes_no_lives(database: Database) {
    let cluster = Cluster::start().await;
    cluster.test_run("shop", 1, "started").await;
    let pod = cluster.restartable_pod("shop", "1").await;
    let pod = pod.as_str();
    let log = cluster.log(pod, "k6");
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
    log.write_line(now - 60 * SECOND, b"first life");
    sync(&cluster, &database).await;
    assert_eq!(database.log(pod, "k6", 0).await, "first life\n");

    // The kubelet has restarted it, and the list does not show it yet.
    log.write_line(now - 50 * SECOND, b"its end");
    log.restart();
    log.write_line(now - SECOND, b"second life");
    sync(&cluster, &database).await;
    assert_eq!(database.log(pod, "k6", 0).await, "first life\n");

    let restarted = || {
        let mut status = restarted(1);
        let ended = jiff::Timestamp::from_nanosecond((now - 49 * SECOND).into()).unwrap();
        status["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"] =
            ended.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        status
    };
    cluster.pod_status(pod, restarted()).await;
    sync(&cluster, &database).await;
    assert_eq!(database.log(pod, "k6", 0).await, "first life\nits end\n");
    assert_eq!(database.log(pod, "k6", 1).await, "", "too young");
    // Nothing restarts in a pod that is over.
    let mut over = restarted();
    over["phase"] = "Succeeded".into();
    over["containerStatuses"][0]["state"] = State::Terminated(0, "Completed").json();
    cluster.pod_status(pod, over).await;
    cluster.stage("shop", "finished").await;
    sync(&cluster, &database).await;
    assert_eq!(database.log(pod, "k6", 1).await, "second life\n");
    assert!(gaps(&database).await.is_empty());
}

/// `previous` is the life before the present one, whichever that is by then.
async fn another_life_before_the_read_is_not_taken_for_the_one_before(database: Database) {
    let cluster = Cluster::start().await;
    cluster.test_run("shop", 1, "started").await;
    let pod = cluster.restartable_pod("shop", "1").await;
    let pod = pod.as_str();
    let log = cluster.log(pod, "k6");
    log.write_line(BASE, b"first life");
    log.restart();
    cluster.pod_status(pod, restarted(1)).await;
    // The list says that the second life runs; then that has ended, too.
    log.write_line(BASE + 60 * SECOND, b"second life");
    log.restart();
    sync(&cluster, &database).await;
    assert_eq!(database.log(pod, "k6", 0).await, "");
    cluster.pod_status(pod, restarted(2)).await;
    sync(&cluster, &database).await;
    assert_eq!(database.log(pod, "k6", 0).await, "");
    assert_eq!(gaps(&database).await, ["restarted - -"]);
}

/// No answer says whether it is whole, and one that is empty could be the log's after a rotation.
async fn an_answer_that_is_cut_off_at_its_beginning_is_not_a_log_s_end(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    let log = cluster.log(&pod, "k6");
    for line in 0..50 {
        log.write_line(BASE + line, format!("line {line}").as_bytes());
    }
    end(&cluster, &pod).await;
    for after_bytes in [1_000_000, 0] {
        cluster.standin_cluster().fault(Fault {
            kinds: vec!["get pods/log".to_owned()],
            probability: 1.0,
            times: Some(1),
            action: FaultAction::CleanCut { after_bytes },
        });
    }
    sync(&cluster, &database).await;
    assert_eq!(cluster.standin_cluster().faults_injected(), 2);
    assert_eq!(
        database.log(&pod, "k6", 0).await.into_bytes(),
        log.written()
    );
    assert!(gaps(&database).await.is_empty());
}

const BIG: u64 = 300_000_000;
const BIG_STEP: i64 = 100_000;

async fn a_log_of_300_mb_is_stored_in_bounded_memory(database: Database) {
    let cluster = Cluster::start().await;
    let pod = runner(&cluster).await;
    cluster.log(&pod, "k6").generate(7, BIG, BASE, BIG_STEP);
    end(&cluster, &pod).await;

    let mut program = Program::sync_once(&cluster, &database, &[]);
    let mut child = program
        .command()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut peak_kb = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait().unwrap() {
            break exit;
        }
        peak_kb = peak_kb.max(peak_memory_kb(&status).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(exit.success());
    println!("peak memory of k6sync for a log of {BIG} bytes: {peak_kb} kB");
    assert!((1..64 * 1024).contains(&peak_kb), "{peak_kb} kB");

    let stored = database.number("SELECT bytes FROM log_streams").await;
    let times = database
        .number("SELECT sum(length(line_times)) FROM log_chunks")
        .await;
    let lines = database.number("SELECT lines FROM log_streams").await;
    println!("{times} bytes of times for {lines} lines");
    assert!(times <= 3 * lines, "{times}");
    let mut expected = generated_text(7, BIG, BASE, BIG_STEP);
    let chunks = database.number("SELECT count(*) FROM log_chunks").await;
    let mut compared = 0;
    for first in (0..chunks).step_by(50) {
        let bodies = database
            .texts(&format!(
                "SELECT body FROM log_chunks WHERE seq >= {first} AND seq < {first} + 50 ORDER BY seq"
            ))
            .await;
        for line in bodies.concat().split_inclusive('\n') {
            let wanted = expected.next().unwrap();
            assert!(line.as_bytes() == wanted, "a line near byte {compared}");
            compared += line.len();
        }
    }
    assert!(expected.next().is_none());
    assert_eq!(compared as i64, stored);
}

/// `VmHWM`: the most memory that a process has ever had in use.
fn peak_memory_kb(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
