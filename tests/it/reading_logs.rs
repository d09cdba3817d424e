//! `k6sync logs`: what is stored comes out as it was written, in the order of time, and with -f as it comes.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::on_both_databases;
use crate::support::cluster::{State, line_time, recordings, write_lines};
use crate::support::program::Run;
use crate::support::running_loop::{Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

on_both_databases!(
    each_recorded_log_comes_out_byte_for_byte,
    several_containers_come_in_the_order_of_time,
    options_choose_lines,
    json_has_every_line_and_its_place,
    what_failed_is_shown_from_its_first_error_on,
    gaps_are_in_their_places,
    what_is_not_there_is_told_apart,
    damage_names_the_container,
    an_old_database_is_read_as_it_is,
    a_run_is_followed_from_before_its_first_line_to_its_end,
    nothing_is_lost_or_doubled_when_the_loop_is_killed,
    a_database_that_goes_away_is_waited_for,
    who_follows_is_told_when_nothing_is_synced,
    a_pager_that_stands_still_holds_nothing_up,
);

/// What is stored is on the screen by then, on a busy machine too; otherwise it is within a second.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);
/// A loop that was killed is replaced, and syncs, within this.
const SYNCED_WITHIN: Duration = Duration::from_secs(90);

fn logs(database: &Database, args: &[&str]) -> Program {
    Program::new(&["logs", "--database-url", database.url()]).args(args)
}

async fn printed(database: &Database, args: &[&str]) -> String {
    let run = logs(database, args).run().await;
    assert_eq!(run.code, 0, "{args:?}: {run:?}");
    run.stdout
}

async fn refused(database: &Database, args: &[&str], code: i32) -> String {
    let run = logs(database, args).run().await;
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (code, ""),
        "{args:?}: {run:?}"
    );
    run.stderr
}

async fn sync(cluster: &Cluster, database: &Database) {
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
}

/// A recording at its end, as it was seen at three moments.
async fn recorded(database: &Database, recording: &str) -> Cluster {
    let cluster = Cluster::start().await;
    for moment in ["t1", "t2", "t3"] {
        cluster.moment_of(recording, moment).await;
        Program::sync_once(&cluster, database, &[]).report().await;
    }
    cluster
}

/// A run that has these runners, which are running.
async fn running(database: &Database, runners: i64) -> (Cluster, Vec<String>) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", runners).await;
    sync(&cluster, database).await;
    (cluster, pods)
}

async fn end(cluster: &Cluster, pods: &[String], state: State) {
    for pod in pods {
        cluster.container_state(pod, state).await;
    }
    cluster.stage("shop", "finished").await;
}

/// A log without the times that the kubelet puts before its lines.
fn without_times(log: &[u8]) -> String {
    let log = String::from_utf8(log.to_vec()).unwrap();
    log.split_inclusive('\n')
        .map(|line| line.split_once(' ').unwrap().1)
        .collect()
}

async fn each_recorded_log_comes_out_byte_for_byte(database: Database) {
    for recording in ["operator", "cluster"] {
        let _cluster = recorded(&database, recording).await;
        let streams = database
            .texts(
                "SELECT CAST(test_run_id AS TEXT) || ' ' || k6_test_name || ' ' || role || ' ' || pod_name || ' ' || container
                 FROM log_streams JOIN test_run_steps ON test_run_steps.id = step_id WHERE lines > 0 ORDER BY 1",
            )
            .await;
        assert!(streams.len() > 8, "{streams:?}");
        for stream in streams {
            let [run, step, role, pod, container] =
                <[&str; 5]>::try_from(stream.split(' ').collect::<Vec<_>>()).unwrap();
            let file = format!("{recording}/t3/logs/{pod}.{container}.log");
            let Ok(log) = std::fs::read(recordings().join(file)) else {
                // Gone by then.
                continue;
            };
            let mut args = vec![run, "--step", step, "--role", role];
            let number = pod
                .strip_prefix(&format!("{step}-"))
                .and_then(|rest| rest.split('-').next());
            if role == "runner" {
                args.extend(["--runner", number.unwrap()]);
            }
            let plain = printed(&database, &args).await;
            assert!(plain == without_times(&log), "{stream}");
            args.push("--timestamps");
            let timed = printed(&database, &args).await;
            assert!(timed.as_bytes() == log, "{stream}");
            // One that has ended is not followed for long.
            args.push("-f");
            let followed = printed(&database, &args).await;
            assert!(followed.ends_with(&timed), "{stream}");
        }
        database.drop_tables().await;
    }
}

async fn several_containers_come_in_the_order_of_time(database: Database) {
    let _cluster = recorded(&database, "operator").await;
    let all = printed(&database, &["nightly-7", "--timestamps"]).await;
    let times: Vec<&str> = all
        .lines()
        .map(|line| line.split_once(" | ").unwrap().1.split_once(' ').unwrap().0)
        .collect();
    assert!(times.is_sorted(), "{all}");
    let lines = database
        .number(
            "SELECT sum(lines) FROM log_streams JOIN test_run_steps ON test_run_steps.id = step_id
             JOIN test_runs ON test_runs.id = test_run_id WHERE test_runs.name = 'nightly-7'",
        )
        .await;
    assert_eq!(i64::try_from(times.len()).unwrap(), lines);
    // Each line is of the container before it.
    for (prefix, file) in [
        ("shop-buy-3 ", "shop-buy-3-vzck6.k6.log"),
        (
            "shop-browse-initializer ",
            "shop-browse-initializer-lkldb.k6.log",
        ),
        ("shop-buy-starter ", "shop-buy-starter-j4vch.k6-curl.log"),
    ] {
        let of_it: Vec<&str> = all
            .lines()
            .filter(|line| line.starts_with(prefix))
            .map(|line| line.split_once(" | ").unwrap().1)
            .collect();
        let log = std::fs::read_to_string(recordings().join("operator/t3/logs").join(file));
        assert_eq!(of_it, log.unwrap().lines().collect::<Vec<_>>(), "{prefix}");
    }
}

async fn options_choose_lines(database: Database) {
    let (cluster, pods) = running(&database, 2).await;
    for pod in &pods {
        write_lines(&cluster.log(pod, "k6"), 0..40);
    }
    cluster
        .log(&pods[0], "k6")
        .write_line(line_time(40), b"Status=500 here");
    sync(&cluster, &database).await;

    let counted = async |args: &[&str]| printed(&database, args).await.lines().count();
    assert_eq!(counted(&["shop"]).await, 81);
    assert_eq!(counted(&["@latest", "--runner", "1"]).await, 41);
    assert_eq!(counted(&["shop", "--tail", "3"]).await, 6);
    assert_eq!(counted(&["shop", "--tail", "0"]).await, 0);
    assert_eq!(counted(&["shop", "--tail", "1000"]).await, 81);
    // Lines 30 and 31 are twins.
    let since = jiff::Timestamp::from_nanosecond(i128::from(line_time(30))).unwrap();
    let since = since.to_string();
    assert_eq!(counted(&["shop", "--since", &since]).await, 21);
    assert_eq!(
        counted(&["shop", "--since", &since, "--tail", "4"]).await,
        8
    );
    assert_eq!(
        counted(&["shop", "--since", "1h", "--runner", "1"]).await,
        0
    );
    let tail = printed(&database, &["shop", "--runner", "1", "--tail", "1"]).await;
    assert_eq!(tail, "Status=500 here\n");
    let tail = printed(&database, &["shop", "--tail", "1", "--role", "runner"]).await;
    assert!(tail.ends_with("shop-1 | Status=500 here\n"), "{tail}");
    let never = printed(&database, &["shop", "--tail", "1", "--prefix=never"]).await;
    assert!(never.starts_with("line 39 of a test"), "{never}");
    let always = ["shop", "--tail", "1", "--prefix", "--runner", "1"];
    assert_eq!(
        printed(&database, &always).await,
        "shop-1 | Status=500 here\n"
    );

    let grep = async |args: &[&str]| {
        printed(&database, &[&["shop", "--runner", "1"], args].concat()).await
    };
    assert_eq!(grep(&["--grep", "status=5.."]).await, "");
    assert_eq!(
        grep(&["--grep", "status=5..", "-i"]).await,
        "Status=500 here\n"
    );
    let around = grep(&["--grep", "^line (3|8|39) ", "-C", "1"]).await;
    let numbers: Vec<&str> = around
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap_or(line))
        .collect();
    assert_eq!(
        numbers,
        ["2", "3", "4", "--", "7", "8", "9", "--", "38", "39", "here"]
    );
    // Colours are for whoever asks for them.
    let line = "time=\"x\" level=error msg=\"no\"";
    cluster
        .log(&pods[0], "k6")
        .write_line(line_time(42), line.as_bytes());
    sync(&cluster, &database).await;
    let colored = grep(&["--tail", "1", "--color", "always"]).await;
    assert_eq!(colored, format!("\u{1b}[31m{line}\u{1b}[0m\n"));
    assert_eq!(grep(&["--tail", "1"]).await, format!("{line}\n"));
}

async fn json_has_every_line_and_its_place(database: Database) {
    let _cluster = recorded(&database, "operator").await;
    let args = ["nightly-7", "--step", "2", "--runner", "3", "-o", "json"];
    let lines: Vec<Value> = printed(&database, &args)
        .await
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let log =
        std::fs::read_to_string(recordings().join("operator/t3/logs/shop-buy-3-vzck6.k6.log"));
    let log = log.unwrap();
    assert_eq!(lines.len(), log.lines().count());
    for (line, expected) in lines.iter().zip(log.lines()) {
        let said = format!(
            "{} {}",
            line["timestamp"].as_str().unwrap(),
            line["body"].as_str().unwrap()
        );
        assert_eq!(said, expected);
        assert_eq!(line["labels"]["pod"], "shop-buy-3-vzck6");
    }
    let mut ids: Vec<&Value> = lines.iter().map(|line| &line["id"]).collect();
    ids.dedup();
    assert_eq!(ids.len(), lines.len());
    let warning = lines
        .iter()
        .find(|line| line["level"] == "warning")
        .unwrap();
    let namespace = database.texts("SELECT namespace FROM test_run_steps").await;
    assert_eq!(
        warning["labels"],
        json!({"namespace": namespace[0], "run": "nightly-7", "step": "buy", "testRun": "shop-buy",
            "pod": "shop-buy-3-vzck6", "container": "k6", "role": "runner", "runner": 3})
    );
}

async fn what_failed_is_shown_from_its_first_error_on(database: Database) {
    let (cluster, pods) = running(&database, 3).await;
    for pod in &pods {
        write_lines(&cluster.log(pod, "k6"), 0..30);
    }
    let log = cluster.log(&pods[0], "k6");
    log.write_line(line_time(30), b"time=\"x\" level=error msg=\"first\"");
    log.write_line(line_time(32), b"after it");
    cluster
        .container_state(&pods[0], State::Terminated(107, "Error"))
        .await;
    cluster
        .container_state(&pods[1], State::Terminated(1, "Error"))
        .await;
    cluster
        .container_state(&pods[2], State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
    sync(&cluster, &database).await;
    let failed = printed(&database, &["shop", "--failed", "--prefix=never"]).await;
    let lines: Vec<&str> = failed.lines().map(str::trim_end).collect();
    let of_the_second: Vec<String> = (10..30).map(|n| format!("line {n} of a test")).collect();
    assert_eq!(lines[..20], of_the_second[..]);
    assert_eq!(
        lines[20..],
        ["time=\"x\" level=error msg=\"first\"", "after it"]
    );

    database.drop_tables().await;
    let (cluster, pods) = running(&database, 1).await;
    end(&cluster, &pods, State::Terminated(0, "Completed")).await;
    sync(&cluster, &database).await;
    let said = refused(&database, &["shop", "--failed"], 0).await;
    assert!(
        said.contains("no container of the run shop failed. The run is passed"),
        "{said}"
    );
}

/// Chunks as an older k6sync stored them, without the times of their lines.
async fn gaps_are_in_their_places(database: Database) {
    Program::migrate(&database).run().await;
    database.insert_run("shop", &[("shop", None, "shop")]).await;
    let day = 1_795_408_783_000_000_000_i64;
    let mut statements = Vec::new();
    for (id, pod, recorded, gaps) in [(1, "shop-1-aaaaa", 1_238, 3), (2, "shop-2-bbbbb", 4, 0)] {
        statements.push(format!(
            "INSERT INTO log_streams (id, step_id, pod_name, pod_uid, container, role, restart_count, state, lines, gaps, complete)
             SELECT {id}, max(id), '{pod}', '{pod}', 'k6', 'runner', 0, 'terminated', {recorded}, {gaps}, TRUE FROM test_run_steps"
        ));
        for (seq, first, last, lines, body) in [(7, 0, 20, 3, "a\nb\nc\n"), (8, 30, 30, 1, "d")] {
            statements.push(format!(
                "INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body)
                 VALUES ({id}, {seq}, {}, {}, {lines}, '{body}')",
                day + first * 1_000_000_000 + id,
                day + last * 1_000_000_000 + id,
            ));
        }
    }
    for (cause, after, before) in [
        (
            "deleted",
            format!("{}", day + 30_000_000_001),
            "NULL".to_owned(),
        ),
        (
            "rotated",
            format!("{}", day + 20_000_000_001),
            format!("{}", day + 30_000_000_001),
        ),
        ("pruned", "NULL".to_owned(), "NULL".to_owned()),
    ] {
        statements.push(format!(
            "INSERT INTO log_gaps (stream_id, after_ts, before_ts, cause, noticed_at)
             VALUES (1, {after}, {before}, '{cause}', '2026-11-23T05:00:00.000000Z')"
        ));
    }
    database.try_all(&statements).await.unwrap();

    let pruned = "--- 1,234 lines were deleted by k6sync prune ---";
    let rotated = "--- lines may be missing here: the kubelet rotated the log (between 04:40:03 and 04:40:13) ---";
    let deleted = "--- lines may be missing here: the pod was deleted before its log was read to the end (after 04:40:13) ---";
    let one = printed(&database, &["shop", "--runner", "1"]).await;
    assert_eq!(one, format!("{pruned}\na\nb\nc\n{rotated}\nd\n{deleted}\n"));
    assert_eq!(
        printed(&database, &["shop", "--runner", "2"]).await,
        "a\nb\nc\nd"
    );
    let both = printed(&database, &["shop", "--timestamps"]).await;
    let expected = format!(
        "shop-1 | {pruned}\n\
         shop-1 | ~2026-11-23T04:39:43.000000001Z a\n\
         shop-2 | ~2026-11-23T04:39:43.000000002Z a\n\
         shop-1 | ~2026-11-23T04:39:53.000000001Z b\n\
         shop-2 | ~2026-11-23T04:39:53.000000002Z b\n\
         shop-1 | ~2026-11-23T04:40:03.000000001Z c\n\
         shop-2 | ~2026-11-23T04:40:03.000000002Z c\n\
         shop-1 | {rotated}\n\
         shop-1 | 2026-11-23T04:40:13.000000001Z d\n\
         shop-1 | {deleted}\n\
         shop-2 | 2026-11-23T04:40:13.000000002Z d"
    );
    assert_eq!(both, expected);
    let tail = printed(&database, &["shop", "--runner", "1", "--tail", "2"]).await;
    assert_eq!(tail, format!("c\n{rotated}\nd\n{deleted}\n"));
    let json = printed(&database, &["shop", "--runner", "1", "-o", "json"]).await;
    let gaps: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line.get("gap").is_some())
        .map(|line| line["gap"]["cause"].clone())
        .collect();
    assert_eq!(gaps, ["pruned", "rotated", "deleted"]);
    assert!(
        json.contains("\"approximate\":true") && json.contains("\"lines\":1234"),
        "{json}"
    );
}

async fn what_is_not_there_is_told_apart(database: Database) {
    // Nothing there, and nothing is made.
    let missing = match database.sqlite_file() {
        Some(_) => database.url().to_owned(),
        None => database.url().replace("k6sync_test", "no_such"),
    };
    let run = Program::new(&["logs", "shop", "--database-url", &missing])
        .run()
        .await;
    assert_eq!(run.code, 5, "{run:?}");
    assert!(!database.sqlite_file().is_some_and(|file| file.exists()));

    let (cluster, pods) = running(&database, 2).await;
    let before = database.dump().await;
    for (args, code, says) in [
        (&["nope"][..], 3, "no run has the id"),
        (
            &["shop", "--step", "x"],
            2,
            "no step `x`; there are 1 (shop)",
        ),
        (
            &["shop", "--runner", "7"],
            2,
            "no runner 7; there are 1 to 2",
        ),
        (
            &["shop", "--grep", "status=(5.."],
            2,
            "    status=(5..\n           ^\nerror: unclosed group",
        ),
        (&["shop", "--role", "captain"], 2, "captain"),
        (&["shop", "-C", "3"], 2, "--grep"),
        (&["shop", "--role", "starter"], 0, "has all that"),
    ] {
        let said = refused(&database, args, code).await;
        assert!(said.contains(says), "{args:?}: {said}");
    }
    assert_eq!(database.dump().await, before);
    drop((cluster, pods));
}

async fn damage_names_the_container(database: Database) {
    let (cluster, pods) = running(&database, 2).await;
    write_lines(&cluster.log(&pods[1], "k6"), 0..10);
    sync(&cluster, &database).await;
    let damaged = match database.is_postgres() {
        true => "'\\x80'",
        false => "x'80'",
    };
    database
        .execute(&format!("UPDATE log_chunks SET line_times = {damaged}"))
        .await;
    let said = refused(&database, &["shop"], 5).await;
    assert!(
        said.contains("shop-2-abcde/k6 is damaged: chunk 0 has no right times"),
        "{said}"
    );
    // Without its times it is there.
    let alone = printed(&database, &["shop", "--runner", "2"]).await;
    assert_eq!(alone.lines().count(), 10);
}

async fn an_old_database_is_read_as_it_is(database: Database) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/0.1.0");
    match database.sqlite_file() {
        Some(file) => drop(std::fs::copy(data.join("k6sync.sqlite"), file).unwrap()),
        None => {
            let dump = std::fs::read_to_string(data.join("postgres.sql")).unwrap();
            database.execute(&dump).await;
        }
    }
    let before = database.dump().await;
    let file = database
        .sqlite_file()
        .map(|file| std::fs::read(file).unwrap());
    for (run, step, runner, pod) in [
        (
            "nightly-2026-11-23",
            "checkout-41",
            "1",
            "checkout-41-1-23a79",
        ),
        ("checkout-40", "checkout-40", "1", "checkout-40-1-92766"),
    ] {
        let log = printed(&database, &[run, "--step", step, "--runner", runner]).await;
        assert_eq!(log, database.log(pod, "k6", 0).await, "{pod}");
    }
    let pruned = printed(&database, &["nightly-2026-10-01", "--runner", "1"]).await;
    assert_eq!(pruned, "--- 25 lines were deleted by k6sync prune ---\n");
    let all = printed(
        &database,
        &[
            "nightly-2026-11-23",
            "--timestamps",
            "--since",
            "2026-01-01T00:00:00Z",
        ],
    )
    .await;
    assert_eq!(
        all.matches("--- lines may be missing here: the kubelet rotated the log")
            .count(),
        2
    );
    assert!(
        all.contains("checkout-42-1-eb2ae/proxy (restart 1)"),
        "{all}"
    );
    if let Some(before) = file {
        assert!(std::fs::read(database.sqlite_file().unwrap()).unwrap() == before);
    }
    assert_eq!(database.dump().await, before);
}

#[tokio::test]
async fn a_terminal_does_not_obey_a_log() {
    let database = Database::sqlite();
    let (cluster, pods) = running(&database, 1).await;
    let log = cluster.log(&pods[0], "k6");
    for (number, line) in (0..).zip([
        &b"\x1b[2J\x1b[1;1Hforged"[..],
        b"\x1b]0;title\x07\x9b31m",
        b"\x1b[32mgreen\x1b[0m",
        b"one\rtwo\r",
    ]) {
        log.write_line(line_time(number * 2), line);
    }
    sync(&cluster, &database).await;
    let args = [
        "logs",
        "shop",
        "--runner",
        "1",
        "--database-url",
        database.url(),
    ];
    let shown = Program::new(&args).on_terminal().run().await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let plain = shown.stdout.replace("\r\n", "\n");
    assert_eq!(
        plain,
        "\\u{1b}[2J\\u{1b}[1;1Hforged\n\\u{1b}]0;title\\u{7}\u{fffd}31m\n\u{1b}[32mgreen\u{1b}[0m\u{1b}[0m\none\\u{d}two\n"
    );
    let shown = Program::new(&args)
        .env("NO_COLOR", "1")
        .on_terminal()
        .run()
        .await;
    assert!(!shown.stdout.contains('\u{1b}'), "{shown:?}");
    // Nobody reads any more.
    let mut program = Program::new(&args);
    let mut child = program
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .await
        .unwrap();
    assert_eq!(
        (child.wait().await.unwrap().code(), said.as_str()),
        (Some(0), "")
    );
}

/// `k6sync logs -f`, and what is on its screen.
struct Follower {
    child: Child,
    screen: Arc<Mutex<String>>,
    said: Arc<Mutex<String>>,
    _program: Program,
}

impl Follower {
    fn start(database: &Database, args: &[&str]) -> Self {
        let mut program = logs(database, args).args(&["-f"]);
        let mut child = program
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (screen, said) = (Arc::default(), Arc::default());
        keep(child.stdout.take().unwrap(), &screen);
        keep(child.stderr.take().unwrap(), &said);
        Self {
            child,
            screen,
            said,
            _program: program,
        }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until so many lines are there.
    async fn wait_for_lines(&self, lines: usize, within: Duration) -> Duration {
        let begun = Instant::now();
        wait_for(
            &format!("{lines} lines on the screen"),
            within,
            async || self.screen().lines().count() >= lines,
        )
        .await;
        begun.elapsed()
    }

    async fn end(mut self) -> Run {
        let status = timeout(SYNCED_WITHIN, self.child.wait()).await;
        let status = status.expect("it does not end").unwrap();
        // What it wrote last is on its way.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Run {
            code: status.code().unwrap_or(-1),
            stdout: self.screen(),
            stderr: self.said(),
            files: Vec::new(),
        }
    }
}

fn keep(pipe: impl tokio::io::AsyncRead + Unpin + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut bytes).await {
            // All that is written here is ASCII.
            into.lock()
                .unwrap()
                .push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    });
}

async fn a_run_is_followed_from_before_its_first_line_to_its_end(database: Database) {
    let (cluster, pods) = running(&database, 1).await;
    let log = cluster.log(&pods[0], "k6");
    let from_before = Follower::start(&database, &["shop", "--prefix=never"]);
    write_lines(&log, 0..1_000);
    sync(&cluster, &database).await;
    let took = from_before.wait_for_lines(1_000, SHOWN_WITHIN).await;
    println!("on the screen {took:?} after the sync");
    let from_within = Follower::start(&database, &["shop", "--runner", "1", "--tail", "10"]);
    from_within.wait_for_lines(10, SHOWN_WITHIN).await;
    write_lines(&log, 1_000..1_500);
    // Another container comes along.
    let second = cluster.pod("shop", "2", State::Running).await;
    write_lines(&cluster.log(&second, "k6"), 0..10);
    sync(&cluster, &database).await;
    from_before.wait_for_lines(1_510, SHOWN_WITHIN).await;
    from_within.wait_for_lines(510, SHOWN_WITHIN).await;
    write_lines(&log, 1_500..1_501);
    end(
        &cluster,
        &[pods[0].clone(), second],
        State::Terminated(0, "Completed"),
    )
    .await;
    sync(&cluster, &database).await;

    let written = String::from_utf8(log.written()).unwrap();
    let ended = from_before.end().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout.lines().count(), 1_511);
    let first: Vec<&str> = ended.stdout.lines().take(1_000).collect();
    assert_eq!(first, written.lines().take(1_000).collect::<Vec<_>>());
    let ended = from_within.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines: Vec<&str> = ended
        .stdout
        .lines()
        .map(|line| line.strip_prefix("shop-1 | ").unwrap())
        .collect();
    assert_eq!(lines, written.lines().skip(990).collect::<Vec<_>>());
    let after = printed(&database, &["shop", "--runner", "1", "-f"]).await;
    assert_eq!(after, written);
    // Whoever has enough says so.
    let (cluster, _) = {
        database.drop_tables().await;
        running(&database, 1).await
    };
    let follower = Follower::start(&database, &["shop"]);
    write_lines(&cluster.log(&pods[0], "k6"), 0..1);
    sync(&cluster, &database).await;
    follower.wait_for_lines(1, SHOWN_WITHIN).await;
    let pid = follower.child.id().unwrap();
    let killed = std::process::Command::new("sh")
        .args(["-c", &format!("kill -INT {pid}")])
        .status();
    assert!(killed.unwrap().success());
    let ended = follower.end().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (130, ""));
}

async fn nothing_is_lost_or_doubled_when_the_loop_is_killed(database: Database) {
    let (cluster, pods) = running(&database, 2).await;
    let follower = Follower::start(&database, &["shop"]);
    let start = async || {
        RunningLoop::spawn(
            RunningLoop::program(&cluster, &database).env("K6_SYNC_INTERVAL_SECONDS", "5"),
        )
        .await
    };
    let mut syncing = start().await;
    let mut lines = 0;
    for kill in 0..3_usize {
        for _ in 0..20 {
            for pod in &pods {
                write_lines(&cluster.log(pod, "k6"), lines..lines + 50);
            }
            lines += 50;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // In the middle of a cycle, or between two.
        if kill < 2 {
            follower.wait_for_lines(1 + kill * 500, SYNCED_WITHIN).await;
            syncing.signal(Signal::Kill);
            syncing.exit_code(SHOWN_WITHIN).await;
            syncing = start().await;
        }
    }
    end(&cluster, &pods, State::Terminated(0, "Completed")).await;
    let ended = follower.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for (number, pod) in (1..).zip(&pods) {
        let prefix = format!("shop-{number} | ");
        let shown: String = ended
            .stdout
            .lines()
            .filter_map(|line| Some(format!("{}\n", line.strip_prefix(&prefix)?)))
            .collect();
        let written = String::from_utf8(cluster.log(pod, "k6").written()).unwrap();
        assert!(
            shown == written,
            "{pod}: {} of {} bytes",
            shown.len(),
            written.len()
        );
    }
    drop(syncing);
}

async fn a_database_that_goes_away_is_waited_for(database: Database) {
    let (cluster, pods) = running(&database, 1).await;
    let log = cluster.log(&pods[0], "k6");
    let follower = Follower::start(&database, &["shop", "--prefix=never"]);
    write_lines(&log, 0..10);
    sync(&cluster, &database).await;
    follower.wait_for_lines(10, SHOWN_WITHIN).await;
    let away = database
        .sqlite_file()
        .map(|file| (file.clone(), file.with_extension("away")));
    match &away {
        Some((file, aside)) => std::fs::rename(file, aside).unwrap(),
        None => database.let_in(false).await,
    }
    wait_for("a word about it", Duration::from_secs(60), async || {
        follower.said().contains("as soon as it can be read again")
    })
    .await;
    match &away {
        Some((file, aside)) => std::fs::rename(aside, file).unwrap(),
        None => database.let_in(true).await,
    }
    write_lines(&log, 10..20);
    sync(&cluster, &database).await;
    follower.wait_for_lines(20, SYNCED_WITHIN).await;
    end(&cluster, &pods, State::Terminated(0, "Completed")).await;
    sync(&cluster, &database).await;
    let ended = follower.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout, String::from_utf8(log.written()).unwrap());
    assert_eq!(
        ended
            .stderr
            .matches("as soon as it can be read again")
            .count(),
        1,
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("can be read again\n"),
        "{}",
        ended.stderr
    );
}

async fn who_follows_is_told_when_nothing_is_synced(database: Database) {
    let (_cluster, _pods) = running(&database, 1).await;
    let long_ago = match database.is_postgres() {
        true => "UPDATE sync_cycles SET started_at = started_at - interval '10 minutes'",
        false => "UPDATE sync_cycles SET started_at = '2026-01-01T00:00:00.000000Z'",
    };
    database.execute(long_ago).await;
    let mut follower = Follower::start(&database, &["shop"]);
    wait_for("a word about it", SHOWN_WITHIN, async || {
        follower.said().contains(
            "nothing new comes while nothing is synced: the last cycle was completed at 2026",
        )
    })
    .await;
    follower.child.kill().await.unwrap();
}

async fn a_pager_that_stands_still_holds_nothing_up(database: Database) {
    let (cluster, pods) = running(&database, 2).await;
    for pod in &pods {
        write_lines(&cluster.log(pod, "k6"), 0..20_000);
    }
    sync(&cluster, &database).await;
    for args in [&["shop"][..], &["shop", "--runner", "1"]] {
        let mut program = logs(&database, args);
        let mut child = program.command().stdout(Stdio::piped()).spawn().unwrap();
        // It has begun, and soon nobody takes what it writes.
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 100];
        stdout.read_exact(&mut first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        database
            .execute("UPDATE test_runs SET external_id = 'changed'")
            .await;
        let held_up = match database.is_postgres() {
            true => {
                let open = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND application_name = 'k6sync' AND xact_start IS NOT NULL";
                database.number(open).await
            }
            // Whether the WAL can't be emptied because somebody reads what was before.
            false => {
                let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
                let checkpoint = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)");
                let is_busy: i64 = checkpoint.fetch_one(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                is_busy
            }
        };
        assert_eq!(held_up, 0, "{args:?}");
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.unwrap();
        assert!(child.wait().await.unwrap().success());
        assert!(first.len() + rest.len() >= 2_000_000);
    }
}
