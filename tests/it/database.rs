//! What becomes of k6sync when its database is full, gone, replaced, newer, down at the start, behind a pooler or behind TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use k6sync::store::Store;
use k6sync_standin::Options;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::on_both_databases;
use crate::support::cluster::write_lines;
use crate::support::postgres_server::{Server, is_root};
use crate::support::running_loop::{Answer, COMPLETED, LEADER, Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop, not_shown};

on_both_databases!(
    a_newer_schema_stops_a_running_loop_until_it_is_gone,
    a_newer_schema_at_the_start_is_waited_out,
    what_takes_the_place_of_the_database_is_not_written_to,
);

/// What needs no waiting has happened by then, on a busy machine too.
const PROMPTLY: Duration = Duration::from_secs(30);
/// What follows from a few 5 s intervals has happened by then.
const IN_A_WHILE: Duration = Duration::from_secs(60);
const FAILED: &str = "k6sync_cycles_total{outcome=\"failed\"}";
const JOB: &str = "/api/dashboard/load-testing/sync-job";
const API_KEY: &str = "the organizers' own key";
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

async fn standin() -> Cluster {
    Cluster::standin(Options::default()).await
}

fn program(cluster: &Cluster, database: &Database, yaml: &str) -> Program {
    RunningLoop::program(cluster, database)
        .env("K6_SYNC_API_KEY", API_KEY)
        .config(yaml)
}

/// Has a cycle started at once, and waits until it has ended; whether it was completed.
async fn cycle(running: &RunningLoop) -> bool {
    let (completed, failed) = (
        running.metric(COMPLETED).await,
        running.metric(FAILED).await,
    );
    let restart = json!({"action": "restart"}).to_string();
    let headers = [("X-API-Key", API_KEY), ("Content-Type", "application/json")];
    let answer = running.request("POST", JOB, &headers, &restart).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut is_completed = false;
    wait_for("the end of a cycle", IN_A_WHILE, async || {
        is_completed = running.metric(COMPLETED).await > completed;
        is_completed || running.metric(FAILED).await > failed
    })
    .await;
    is_completed
}

async fn wait_for_readyz(running: &RunningLoop, is_wanted: impl Fn(&Answer) -> bool) {
    wait_for("readyz", IN_A_WHILE, async || {
        is_wanted(&running.get("/readyz").await)
    })
    .await;
}

// === full and broken disks ===

/// A library to be preloaded, which makes writes fail.
fn failing_writes(folder: &Path) -> PathBuf {
    let library = folder.join("fail_writes.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/record/fail_writes.c");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(built.unwrap().success());
    library
}

/// Writes fail from the first, the second, … on, as on a full or a broken disk. As soon as they succeed again so does the
/// next cycle, in the same process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_full_or_broken_once_is_written_to_again() {
    let (cluster, database) = (standin().await, Database::sqlite());
    let pods = cluster.running("shop", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let library = failing_writes(folder.path());
    let program = program(&cluster, &database, "intervalSeconds: 300")
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("FAIL_CONTROL", control.to_str().unwrap());
    let running = RunningLoop::spawn(program).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let mut line = 0;
    let mut failures = 0;
    for skip in [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 24] {
        for (errno, words) in [
            (ENOSPC, "make room on the disk of"),
            (EIO, "is the disk of"),
        ] {
            for pod in &pods {
                write_lines(&cluster.log(pod, "k6"), line..line + 2_000);
            }
            line += 2_000;
            std::fs::write(folder.path().join("new"), format!("{errno} {skip}")).unwrap();
            std::fs::rename(folder.path().join("new"), &control).unwrap();
            if !cycle(&running).await {
                failures += 1;
                let told = running.lines_with("K6 steps sync failed").pop().unwrap();
                assert!(
                    told.contains("is the disk of") || told.contains(words),
                    "{told}"
                );
                let ready = running.get("/readyz").await;
                assert_eq!(ready.status, 503, "{ready:?}");
                assert!(ready.body.contains("the last cycle failed"), "{ready:?}");
            }
            std::fs::remove_file(&control).unwrap();
            assert!(
                cycle(&running).await,
                "after {skip} writes and errno {errno}: {:?}",
                running.log()
            );
            cluster.assert_as_written(&database, &pods).await;
            assert_eq!(running.get("/readyz").await.status, 200);
        }
    }
    assert!(failures >= 10, "only {failures} cycles failed");
    assert_eq!(running.get("/healthz").await.status, 200);
}

/// A limit on file sizes, as a full disk, that is reached while the loop runs, and lifted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_file_sizes_that_is_lifted_is_felt_no_more() {
    let (cluster, database) = (standin().await, Database::sqlite());
    let pods = cluster.running("shop", 1).await;
    let running = RunningLoop::spawn(program(&cluster, &database, "intervalSeconds: 300")).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let limit = |bytes: &str| {
        let status = std::process::Command::new("prlimit")
            .args([
                "--pid",
                &running.id().to_string(),
                &format!("--fsize={bytes}:unlimited"),
            ])
            .status();
        assert!(status.unwrap().success());
    };
    for round in 0..3 {
        write_lines(
            &cluster.log(&pods[0], "k6"),
            round * 3_000..(round + 1) * 3_000,
        );
        limit("4096");
        assert!(!cycle(&running).await, "{:?}", running.log());
        let told = running.lines_with("K6 steps sync failed").pop().unwrap();
        assert!(told.contains("a limit on file sizes reached?"), "{told}");
        assert!(!cycle(&running).await);
        limit("unlimited");
        assert!(cycle(&running).await, "{:?}", running.log());
        cluster.assert_as_written(&database, &pods).await;
    }
}

// === another schema ===

const NEWER: &str =
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT 999, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
const NOT_NEWER: &str = "DELETE FROM _sqlx_migrations WHERE version = 999";

async fn a_newer_schema_stops_a_running_loop_until_it_is_gone(database: Database) {
    let cluster = standin().await;
    let pods = cluster.running("shop", 1).await;
    let running = RunningLoop::spawn(program(&cluster, &database, "intervalSeconds: 5")).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;

    database.execute(NEWER).await;
    wait_for_readyz(&running, |ready| {
        ready.status == 503 && ready.body.contains("has schema version 999")
    })
    .await;
    assert_eq!(running.get("/healthz").await.status, 200);
    running
        .wait_for_metric(LEADER, PROMPTLY, |seen| seen == 0.0)
        .await;
    wait_for("the lease to be given up", PROMPTLY, async || {
        let holder = cluster.lease("k6sync").await["holderIdentity"].clone();
        holder == "" || holder.is_null()
    })
    .await;
    write_lines(&cluster.log(&pods[0], "k6"), 0..3);
    let before = database.dump().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(database.dump().await, before, "it writes on");

    database.execute(NOT_NEWER).await;
    wait_for_readyz(&running, |ready| ready.status == 200).await;
    running.wait_for_at_least(LEADER, 1.0, PROMPTLY).await;
    let completed = running.metric(COMPLETED).await;
    running
        .wait_for_at_least(COMPLETED, completed + 1.0, PROMPTLY)
        .await;
    let sync = Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(sync["errors"], 0, "{sync}");
    cluster.assert_as_written(&database, &pods).await;
}

async fn a_newer_schema_at_the_start_is_waited_out(database: Database) {
    let cluster = standin().await;
    Program::migrate(&database).run().await;
    database.execute(NEWER).await;
    let run = Program::sync_once(&cluster, &database, &[]).run().await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("has schema version 999"), "{run:?}");
    let running = RunningLoop::spawn_early(program(&cluster, &database, "")).await;
    wait_for_readyz(&running, |ready| {
        ready.status == 503 && ready.body.contains("has schema version 999")
    })
    .await;
    assert_eq!(running.get("/healthz").await.status, 200);
    database.execute(NOT_NEWER).await;
    running.wait_for_at_least(COMPLETED, 1.0, IN_A_WHILE).await;
    assert_eq!(running.get("/readyz").await.status, 200);
}

/// Another database under the same name, made by another k6sync.
async fn what_takes_the_place_of_the_database_is_not_written_to(database: Database) {
    let cluster = standin().await;
    cluster.running("shop", 1).await;
    let running = RunningLoop::spawn(program(&cluster, &database, "intervalSeconds: 5")).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    database.drop_tables().await;
    wait_for_readyz(&running, |ready| ready.status == 503).await;
    Program::migrate(&database).run().await;
    wait_for_readyz(&running, |ready| {
        ready.status == 503 && ready.body.contains("in its place")
    })
    .await;
    assert_eq!(running.get("/healthz").await.status, 200);
    for table in ["test_runs", "sync_cycles"] {
        let rows = format!("SELECT count(*) FROM {table}");
        assert_eq!(database.number(&rows).await, 0, "{table}");
    }
}

// === a file that is not there any more ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_moved_away_and_put_back_is_written_to_again() {
    let (cluster, database) = (standin().await, Database::sqlite());
    let pods = cluster.running("shop", 1).await;
    let mut running = RunningLoop::spawn(program(&cluster, &database, "intervalSeconds: 5")).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let file = database.sqlite_file().unwrap();
    let aside = file.with_extension("aside");
    let copy = file.with_extension("copy");
    for (put_back, is_copy) in [(&aside, false), (&copy, true)] {
        // As a backup is made.
        let _ = std::fs::remove_file(&copy);
        database
            .execute(&format!("VACUUM INTO '{}'", copy.display()))
            .await;
        std::fs::rename(&file, &aside).unwrap();
        wait_for_readyz(&running, |ready| {
            ready.status == 503 && ready.body.contains("deleted or moved away")
        })
        .await;
        assert_eq!(running.get("/healthz").await.status, 200);
        assert!(!file.exists(), "it made another");
        if is_copy {
            // A restore brings no `-wal` of another file.
            for end in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", file.display()));
            }
        }
        std::fs::rename(put_back, &file).unwrap();
        wait_for_readyz(&running, |ready| ready.status == 200).await;
        let completed = running.metric(COMPLETED).await;
        running
            .wait_for_at_least(COMPLETED, completed + 1.0, IN_A_WHILE)
            .await;
    }
    let log = cluster.log(&pods[0], "k6");
    write_lines(&log, 0..3);
    // A log that has long been quiet may wait in the loop.
    let sync = Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(sync["errors"], 0, "{sync}");
    cluster.assert_as_written(&database, &pods).await;
    running.signal(Signal::Terminate);
    assert_eq!(running.exit_code(PROMPTLY).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wal_that_is_deleted_is_saved_from_the_open_connection() {
    let (cluster, database) = (standin().await, Database::sqlite());
    let pods = cluster.running("shop", 1).await;
    let running = RunningLoop::spawn(program(&cluster, &database, "intervalSeconds: 300")).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    for round in 0..3 {
        write_lines(&cluster.log(&pods[0], "k6"), round * 3..(round + 1) * 3);
        assert!(cycle(&running).await);
        let file = database.sqlite_file().unwrap();
        std::fs::remove_file(format!("{}-wal", file.display())).unwrap();
        assert!(cycle(&running).await, "{:?}", running.log());
        assert_eq!(
            running.lines_with("-wal was deleted").len(),
            round as usize + 1
        );
        cluster.assert_as_written(&database, &pods).await;
    }
}

// === down at the start ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_at_the_start_is_waited_for() {
    let cluster = standin().await;
    let pods = cluster.running("shop", 1).await;
    let database = Database::postgres().await;
    database.let_in(false).await;
    let mut stopped = RunningLoop::spawn_early(program(&cluster, &database, "")).await;
    let running = RunningLoop::spawn_early(program(&cluster, &database, "")).await;
    wait_for_readyz(&running, |ready| {
        ready.status == 503 && ready.body.contains("not currently accepting connections")
    })
    .await;
    assert_eq!(running.get("/healthz").await.status, 200);
    assert_eq!(running.get("/metrics").await.status, 200);
    stopped
        .wait_for_line("waiting for the database", PROMPTLY)
        .await;
    stopped.signal(Signal::Terminate);
    assert_eq!(stopped.exit_code(Duration::from_secs(3)).await, 0);
    let run = Program::sync_once(&cluster, &database, &[]).run().await;
    assert_eq!(run.code, 1, "{run:?}");

    database.let_in(true).await;
    running.wait_for_at_least(COMPLETED, 1.0, IN_A_WHILE).await;
    assert_eq!(running.get("/readyz").await.status, 200);
    cluster.assert_as_written(&database, &pods).await;
}

// === sync is switched off ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_forgotten_when_sync_is_switched_off() {
    let cluster = standin().await;
    cluster.running("shop", 1).await;
    let database = Database::postgres().await;
    let running = RunningLoop::spawn(program(&cluster, &database, "intervalSeconds: 300")).await;
    running.wait_for_at_least(COMPLETED, 1.0, PROMPTLY).await;
    let job = async |action: &str| {
        let body = json!({"action": action}).to_string();
        let headers = [("X-API-Key", API_KEY), ("Content-Type", "application/json")];
        let answer = running.request("POST", JOB, &headers, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    database.let_in(false).await;
    assert!(!cycle(&running).await, "{:?}", running.log());
    let ready = running.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("the last cycle failed"), "{ready:?}");

    job("stop").await;
    running
        .wait_for_line("K6 steps sync is off", PROMPTLY)
        .await;
    // What is wrong now is told, and what was wrong in a cycle long ago is not.
    wait_for_readyz(&running, |ready| {
        ready.status == 503 && !ready.body.contains("the last cycle failed")
    })
    .await;
    database.let_in(true).await;
    wait_for_readyz(&running, |ready| ready.status == 200).await;

    let completed = running.metric(COMPLETED).await;
    job("start").await;
    running
        .wait_for_at_least(COMPLETED, completed + 1.0, IN_A_WHILE)
        .await;
    assert_eq!(running.get("/readyz").await.status, 200);
}

// === passwords, files and paths ===

#[tokio::test]
async fn no_part_of_a_password_is_ever_shown() {
    let cluster = standin().await;
    for password in [
        "qxz@jkv",
        "qxz/jkv",
        "qxz?jkv",
        "qxz#jkv",
        "qxz@h/jkv#x",
        "qxz jkv",
        "qxz&jkv=1",
    ] {
        for form in [
            "postgres://user:PASSWORD@127.0.0.1:1/k6",
            "postgres://127.0.0.1:1/k6?user=u&password=PASSWORD",
            "postgres://user:PASSWORD@127.0.0.1:1/k6?paswort=PASSWORD",
        ] {
            let url = form.replace("PASSWORD", password);
            let yaml = json!({"databaseUrl": url}).to_string();
            for program in [
                Program::new(&["migrate", "--database-url", &url]),
                Program::new(&["migrate"]).env("DATABASE_URL", &url),
                Program::new(&["migrate"]).config(&yaml),
                Program::new(&["migrate"]).config(&url),
                Program::new(&["migrate", &url]),
                Program::new(&["migrate", &format!("--databas-url={url}")]),
                Program::new(&["sync-once", "--database-url", &url]),
            ] {
                let program = program
                    .kubeconfig(cluster.kubeconfig())
                    .env("RUST_LOG", "trace");
                let run = program.run().await;
                assert_ne!(run.code, 0, "{run:?}");
                let said = format!("{}{}", run.stdout, run.stderr);
                for piece in ["qxz", "jkv"] {
                    assert!(!said.contains(piece), "{url}: {said}");
                }
            }
        }
    }
    let url = "postgres://user:qxz@jkv@127.0.0.1:1/k6";
    let run = Program::new(&["migrate", "--database-url", url])
        .run()
        .await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("percent-encode"), "{run:?}");
}

#[tokio::test]
async fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = format!("sqlite://{}/k6.db", folder.path().display());
    let named = file("url", &format!("{url}\n"));
    let run = Program::new(&["migrate"])
        .env("DATABASE_URL_FILE", &named)
        .run()
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(folder.path().join("k6.db").exists());

    let missing = folder.path().join("missing").display().to_string();
    let short = file("short", "short\n");
    let empty = file("empty", "\n");
    for (variables, words) in [
        (
            vec![("DATABASE_URL_FILE", &*missing)],
            vec!["DATABASE_URL_FILE names", &*missing],
        ),
        (
            vec![("DATABASE_URL_FILE", &*empty)],
            vec!["DATABASE_URL_FILE names", "empty"],
        ),
        (
            vec![("DATABASE_URL_FILE", &*named), ("DATABASE_URL", &*url)],
            vec!["DATABASE_URL_FILE and DATABASE_URL are both set"],
        ),
        (
            vec![("DATABASE_URL", &*url), ("K6_SYNC_API_KEY_FILE", &*short)],
            vec!["K6_SYNC_API_KEY", "at least 16 characters"],
        ),
        (
            vec![("DATABASE_URL", &*url), ("K6_SYNC_API_KEY_FILE", &*missing)],
            vec!["K6_SYNC_API_KEY_FILE names", &*missing],
        ),
    ] {
        let program = variables
            .iter()
            .fold(Program::new(&["migrate"]), |program, (name, value)| {
                program.env(name, value)
            });
        let run = program.run().await;
        assert_eq!(run.code, 2, "{run:?}");
        for word in words {
            assert!(run.stderr.contains(word), "{word}: {run:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_percent_encoded_path_is_the_same_file_for_every_command() {
    let cluster = standin().await;
    cluster.running("shop", 1).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/a%20b%3Fc%25.db", folder.path().display());
    let run = async |args: &[&str]| {
        let program = Program::new(args).kubeconfig(cluster.kubeconfig());
        let run = program.args(&["--database-url", &url]).run().await;
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    };
    run(&["sync-once"]).await;
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["a b?c%.db"]);
    // A dry run that took the file for missing would adopt what is adopted.
    let dry = run(&["sync-once", "--dry-run"]).await;
    assert!(!dry.contains("adopt"), "{dry}");
    run(&["prune", "--older-than", "1h"]).await;
    run(&["verify"]).await;
    let status = run(&["job", "status"]).await;
    assert!(!status.contains("none yet"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_for_reading_only_is_not_written_to() {
    let (cluster, database) = (standin().await, Database::sqlite());
    Program::migrate(&database).run().await;
    let url = format!("{}?mode=ro", database.url());
    let sync = |args: &[&str]| {
        Program::new(&["sync-once", "--database-url", &url])
            .kubeconfig(cluster.kubeconfig())
            .args(args)
    };
    let run = sync(&[]).run().await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("its URL says mode=ro"), "{run:?}");
    let run = sync(&["--dry-run"]).run().await;
    assert_eq!(run.code, 0, "{run:?}");
}

// === what is between us and PostgreSQL ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_in_transaction_mode_makes_no_difference() {
    let Some(pooler) = PgBouncer::start().await else {
        not_shown("there is no pgbouncer here (apt-get install pgbouncer)");
        return;
    };
    let cluster = standin().await;
    let pods = cluster.running("shop", 3).await;
    let through = Database::at(&pooler.url);
    let run = Program::migrate(&through).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("there is a pooler"), "{run:?}");
    let running = RunningLoop::spawn(program(&cluster, &through, "intervalSeconds: 5")).await;
    for round in 0..4 {
        for pod in &pods {
            write_lines(&cluster.log(pod, "k6"), round * 500..(round + 1) * 500);
        }
        // Others, through the same two connections of the server, at the same time.
        let syncs = (0..3).map(|_| Program::sync_once(&cluster, &through, &[]).report());
        for report in futures_util::future::join_all(syncs).await {
            assert_eq!(report["errors"], 0, "{report}");
        }
        assert!(cycle(&running).await, "{:?}", running.log());
        cluster.assert_as_written(&pooler.behind, &pods).await;
    }
    assert_eq!(running.get("/readyz").await.status, 200);
    assert_eq!(running.metric(FAILED).await, 0.0);
    let verified = Program::new(&["verify", "--database-url", &pooler.url])
        .kubeconfig(cluster.kubeconfig())
        .run()
        .await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let store = Store::open(&pooler.url.parse().unwrap(), false)
        .await
        .unwrap();
    let reads = (0..9).map(async |_| store.reader().unwrap().last_cycles(5).await);
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.unwrap().len(), 5);
    }
    store.close().await;
    let pruned = Program::new(&["prune", "--older-than", "1h", "--database-url", &pooler.url]);
    assert_eq!(pruned.run().await.code, 0);
}

/// A PgBouncer with two connections to a database of the tests' server.
struct PgBouncer {
    behind: Database,
    url: String,
    _child: tokio::process::Child,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    async fn start() -> Option<Self> {
        let program = [
            "/usr/sbin/pgbouncer",
            "/usr/bin/pgbouncer",
            "/usr/local/bin/pgbouncer",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
        let behind = Database::postgres().await;
        let server = url::Url::parse(behind.url()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nbounced = host={} port={} dbname={} user={} password={} pool_size=2\n\
             [pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nauth_type=any\npool_mode=transaction\n\
             unix_socket_dir=\n",
            server.host_str().unwrap(),
            server.port().unwrap_or(5432),
            server.path().trim_start_matches('/'),
            server.username(),
            server.password().unwrap_or_default(),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = tokio::process::Command::new(program);
        if is_root() {
            // It refuses to run as root.
            use std::os::unix::fs::PermissionsExt;
            let open = |mode| std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path(), open(0o755)).unwrap();
            command.uid(65534).gid(65534);
        }
        let child = command
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        wait_for("pgbouncer", PROMPTLY, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        Some(Self {
            behind,
            url: format!("postgres://anybody@127.0.0.1:{port}/bounced"),
            _child: child,
            _folder: folder,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_postgresql_is_verified() {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    };
    let (issuer, ca) = authority("the right one");
    let (_, other_ca) = authority("another one");
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap().pem();
    let settings = [
        "ssl=on",
        "ssl_cert_file=FOLDER/cert.pem",
        "ssl_key_file=FOLDER/key.pem",
    ];
    let files = [
        ("cert.pem", &*certificate),
        ("key.pem", &key.serialize_pem()),
    ];
    let Some(server) = Server::start_with_files(&settings, &files) else {
        not_shown("there are no PostgreSQL programs here to start a server with");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, pem) in [("ca.pem", &ca), ("other.pem", &other_ca)] {
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    let migrate = async |host: &str, parameters: &str| {
        let url = format!(
            "postgres://postgres@{host}:{}/postgres?{parameters}",
            server.port
        );
        let url = url.replace("FOLDER", &folder.path().display().to_string());
        Program::new(&["migrate", "--database-url", &url])
            .run()
            .await
    };
    for (host, parameters, words) in [
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=FOLDER/ca.pem",
            None,
        ),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=FOLDER/ca.pem",
            None,
        ),
        ("127.0.0.1", "sslmode=require", None),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=FOLDER/ca.pem",
            Some("the certificate is another host's than 127.0.0.1"),
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=FOLDER/other.pem",
            Some("is not signed by a certificate authority that is trusted here"),
        ),
        (
            "localhost",
            "sslmode=verify-full",
            Some("is not signed by a certificate authority that is trusted here"),
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=FOLDER/missing.pem",
            Some("sslrootcert"),
        ),
    ] {
        let run = migrate(host, parameters).await;
        match words {
            None => assert_eq!(run.code, 0, "{parameters}: {run:?}"),
            Some(words) => {
                assert_eq!(run.code, 1, "{parameters}: {run:?}");
                assert!(run.stderr.contains(words), "{parameters}: {run:?}");
            }
        }
    }
    server.stop();
    let _ = std::fs::remove_dir_all(&server.folder);
}
