//! SIGTERM and SIGINT end every command at once, whatever it is waiting for, and also where they were ignored before.

use std::process::Stdio;
use std::time::{Duration, Instant};

use k6sync_standin::{Fault, FaultAction, Options};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::time::timeout;

use crate::support::running_loop::{Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

const PROMPTLY: Duration = Duration::from_secs(30);
/// Ended at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
const SIGNALS: [(&str, i32); 2] = [("TERM", 143), ("INT", 130)];

/// The same command, from a shell that has both signals ignored, as its background jobs have SIGINT.
fn ignoring(mut program: Program) -> Program {
    let command = program.command().as_std();
    let mut shell = tokio::process::Command::new("sh");
    shell
        .args(["-c", "trap '' INT TERM; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    *program.command() = shell;
    program
}

fn kill(child: &Child, signal: &str) {
    let pid = child.id().expect("it has ended");
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status();
    assert!(status.unwrap().success());
}

/// Starts it, waits until `is_waiting`, sends the signal, and expects the end and its words.
async fn assert_ends(program: Program, signal: (&str, i32), is_waiting: impl AsyncFnMut() -> bool) {
    let (mut child, _folder) = ignoring(program).spawn();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for("it to be at work", PROMPTLY, is_waiting).await;
    let sent = Instant::now();
    kill(&child, signal.0);
    let status = timeout(AT_ONCE, child.wait())
        .await
        .expect("it goes on")
        .unwrap();
    assert!(sent.elapsed() < AT_ONCE);
    let mut said = String::new();
    stderr.read_to_string(&mut said).await.unwrap();
    assert_eq!(status.code(), Some(signal.1), "{said}");
    let words = format!("SIG{}: stopped; what was stored is right", signal.0);
    assert!(said.contains(&words), "{said}");
}

/// A server that takes connections and says nothing.
async fn silent_server() -> (String, tokio::sync::watch::Receiver<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "postgres://k6sync:secret@{}/k6",
        listener.local_addr().unwrap()
    );
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            open.push(connection);
            count.send_modify(|count| *count += 1);
        }
    });
    (url, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_connecting_to_a_database_that_does_not_answer() {
    let cluster = Cluster::standin(Options::default()).await;
    for signal in SIGNALS {
        for args in [
            &["sync-once", "--force"][..],
            &["migrate"],
            &["verify"],
            &["prune", "--older-than", "1h"],
        ] {
            let (url, counted) = silent_server().await;
            let program = Program::new(args)
                .args(&["--database-url", &url])
                .kubeconfig(cluster.kubeconfig());
            assert_ends(program, signal, async || *counted.borrow() > 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_does_not_answer() {
    let cluster = Cluster::standin(Options::default()).await;
    let standin = cluster.standin_cluster();
    let stall = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(60),
    };
    standin.fault(Fault::always("list testruns", stall.clone()));
    standin.fault(Fault::always("get configmaps", stall.clone()));
    standin.fault(Fault::always("list pods", stall));
    for signal in SIGNALS {
        for (args, request) in [
            (&["sync-once", "--force"][..], "list testruns"),
            (&["verify"], "list testruns"),
            (&["release"], "list testruns"),
            (&["job", "status"], "get configmaps"),
        ] {
            standin.reset_requests();
            let database = Database::sqlite();
            Program::migrate(&database).run().await;
            let program = Program::new(args)
                .args(&["--database-url", database.url()])
                .config("kubernetes: {requestTimeout: 60s}")
                .kubeconfig(cluster.kubeconfig());
            assert_ends(program, signal, async || {
                standin.requests().contains_key(request)
            })
            .await;
        }
    }
}

/// SQLite waits for a lock in a thread of its own, which does not hold up the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_holds_the_lock() {
    let cluster = Cluster::standin(Options::default()).await;
    cluster.running("shop", 1).await;
    for signal in SIGNALS {
        for args in [&["sync-once", "--force"][..], &["migrate"]] {
            let database = Database::sqlite();
            let mut begin = "BEGIN IMMEDIATE";
            if args[0] == "migrate" {
                begin = "BEGIN EXCLUSIVE";
            } else {
                Program::migrate(&database).run().await;
            }
            let options: SqliteConnectOptions = database.url().parse().unwrap();
            let mut other = options.create_if_missing(true).connect().await.unwrap();
            other.execute(begin).await.unwrap();
            let program = Program::new(args)
                .args(&["--database-url", database.url()])
                .kubeconfig(cluster.kubeconfig());
            let begun = Instant::now();
            assert_ends(program, signal, async || {
                begun.elapsed() > Duration::from_secs(3)
            })
            .await;
            other.execute("ROLLBACK").await.unwrap();
            other.close().await.unwrap();
        }
    }
}

/// As it is in a container.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_the_first_process() {
    let (url, counted) = silent_server().await;
    let mut program = Program::new(&["migrate", "--database-url", &url]);
    let command = program.command().as_std();
    let mut alone = tokio::process::Command::new("unshare");
    alone
        .args(["--pid", "--fork", "--kill-child"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    *program.command() = alone;
    let (mut child, _folder) = program.spawn();
    let outer = child.id().unwrap();
    let connected = timeout(Duration::from_secs(5), async {
        while *counted.borrow() == 0 {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    });
    if !connected.await.unwrap_or(false) {
        println!("not shown: no process namespace can be made here");
        return;
    }
    let children = format!("/proc/{outer}/task/{outer}/children");
    let inner = std::fs::read_to_string(children).unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", inner.trim())])
        .status();
    assert!(status.unwrap().success());
    let status = timeout(AT_ONCE, child.wait())
        .await
        .expect("it goes on")
        .unwrap();
    assert_eq!(status.code(), Some(143));
}

/// The loop ends in good order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_while_it_connects() {
    let cluster = Cluster::standin(Options::default()).await;
    for signal in ["TERM", "INT"] {
        let (url, counted) = silent_server().await;
        let program = RunningLoop::program(&cluster, &Database::at(&url));
        let (mut child, _folder) = ignoring(program).spawn();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        wait_for("a connection", PROMPTLY, async || *counted.borrow() > 0).await;
        kill(&child, signal);
        let status = timeout(AT_ONCE, child.wait())
            .await
            .expect("it goes on")
            .unwrap();
        assert_eq!(status.code(), Some(0));
        let mut last = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            last = line;
        }
        assert!(last.ends_with("stopped"), "{last}");
    }
}

/// A migration that waits for others, or takes long, is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_while_it_migrates() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::postgres().await;
    let mut other = sqlx::PgConnection::connect(database.url()).await.unwrap();
    // What migrations take before anything else.
    other
        .execute("SELECT pg_advisory_lock(7304871659124)")
        .await
        .unwrap();
    let program = RunningLoop::program(&cluster, &database);
    let mut running = RunningLoop::spawn_early(program).await;
    wait_for("a migration that waits", PROMPTLY, async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        database.number(waiting).await > 0
    })
    .await;
    assert_eq!(running.get("/healthz").await.status, 200);
    assert_eq!(running.get("/readyz").await.status, 503);
    running.signal(Signal::Terminate);
    assert_eq!(running.exit_code(AT_ONCE).await, 0);
    other.close().await.unwrap();
    assert!(database.tables().await.is_empty());
}
