//! What a cycle costs, beside what it must cost at least (`floor`) and what the obvious way costs (`naive`), all measured in
//! the same run against the same stand-in cluster. For `scripts/bench.sh`.
//!
//! - `floor` fetches the bytes that a cycle must move, many at a time, and inserts them in the fastest way that the database
//!   has (PostgreSQL `COPY`, SQLite one transaction). It keeps no cursor and decides nothing.
//! - `naive` goes step by step: one GET for the TestRun, one for its pods, each whole log, and an UPDATE of the whole text.
//! - `ours` is `k6sync sync-once`, the release binary.
//!
//! Each is a process of its own, so that its processor time and memory are its own.

#![allow(clippy::print_stdout, reason = "printing is all it does")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use k6sync_standin::{Options, Spec, Stage, Standin};
use kube::client::Body;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use wait4::Wait4;

const NAMESPACE: &str = "k6-runs";
/// Of each measurement; the median counts.
const ROUNDS: usize = 5;
/// What a container writes between two cycles.
const NEW_LINES: usize = 20;
/// Requests at a time of the floor: with more it is no faster here.
const PARALLEL: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything is new.
    First,
    /// Each container has written some lines since the last cycle.
    Steady,
    /// Nothing is new.
    Quiet,
    /// All runs are over and recorded.
    Finished,
}

#[derive(Clone, Copy)]
struct Case {
    runs: usize,
    runners: usize,
    phase: Phase,
    latency_ms: u64,
}

#[derive(Clone, Serialize)]
struct Row {
    case: String,
    database: &'static str,
    subject: &'static str,
    wall_s: f64,
    cpu_s: f64,
    peak_rss_mb: f64,
    /// Requests to Kubernetes.
    requests: u64,
    /// The slowest round by the fastest: how noisy the machine was.
    noise: f64,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => runtime.block_on(compare(false)),
        ["--quick"] => runtime.block_on(compare(true)),
        ["floor", url, pods, since] => runtime.block_on(floor(url, pods, since)),
        ["naive", url] => runtime.block_on(naive(url)),
        ["spawn", program, ..] => spawn(program, &args[2..]),
        _ => bail!("usage: bench [--quick]"),
    }
}

// === The measurement ===

async fn compare(quick: bool) -> Result<()> {
    let mut rows = Vec::new();
    println!(
        "{:28} {:10} {:6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "case", "database", "", "wall s", "x floor", "cpu s", "rss MB", "requests", "noise"
    );
    for case in cases(quick) {
        for database in databases() {
            let mut floor_s = f64::NAN;
            for subject in ["floor", "naive", "ours"] {
                // The obvious way takes minutes where the others take seconds.
                if subject == "naive" && case.runs * case.runners > 1_000 {
                    continue;
                }
                let row = measure(case, database, subject).await?;
                if subject == "floor" {
                    floor_s = row.wall_s;
                }
                println!(
                    "{:28} {database:10} {subject:6} {:8.3} {:8.2} {:8.3} {:8.1} {:8} {:6.2}",
                    row.case,
                    row.wall_s,
                    row.wall_s / floor_s,
                    row.cpu_s,
                    row.peak_rss_mb,
                    row.requests,
                    row.noise
                );
                rows.push(row);
            }
        }
    }
    let folder = Path::new("target/bench");
    std::fs::create_dir_all(folder)?;
    let file = folder.join("results.json");
    std::fs::write(&file, serde_json::to_string_pretty(&rows)?)?;
    println!("\n{}", file.display());
    Ok(())
}

/// PostgreSQL too, if there is a server to measure on.
fn databases() -> Vec<&'static str> {
    let mut databases = vec!["SQLite"];
    databases.extend(std::env::var_os("K6SYNC_TEST_POSTGRES_URL").map(|_| "PostgreSQL"));
    databases
}

fn cases(quick: bool) -> Vec<Case> {
    let case = |runs, runners, phase, latency_ms| Case {
        runs,
        runners,
        phase,
        latency_ms,
    };
    let phases = [Phase::First, Phase::Steady, Phase::Quiet, Phase::Finished];
    let mut cases: Vec<Case> = phases.map(|phase| case(10, 100, phase, 5)).to_vec();
    if !quick {
        for (runs, runners) in [(1, 10), (1, 100), (1, 1_000), (1_000, 1), (10, 1_000)] {
            cases.extend(phases.map(|phase| case(runs, runners, phase, 5)));
        }
        for latency_ms in [0, 50] {
            cases.extend(phases.map(|phase| case(10, 100, phase, latency_ms)));
        }
    }
    cases
}

impl Case {
    fn name(self) -> String {
        let phase = match self.phase {
            Phase::First => "first",
            Phase::Steady => "steady",
            Phase::Quiet => "quiet",
            Phase::Finished => "finished",
        };
        format!(
            "{}x{} {phase} {} ms",
            self.runs, self.runners, self.latency_ms
        )
    }
}

/// What one round took.
struct Round {
    used: Used,
    requests: u64,
}

/// What a process used.
#[derive(Serialize, Deserialize)]
struct Used {
    wall_s: f64,
    cpu_s: f64,
    peak_rss_mb: f64,
}

/// Runs a program and prints what it used. Apart, since Linux counts the memory of whoever starts a process as its own.
fn spawn(program: &str, args: &[String]) -> Result<()> {
    let begun = Instant::now();
    let ended = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .spawn()?
        .wait4()?;
    let wall = begun.elapsed();
    ensure!(ended.status.success(), "{program} failed");
    let cpu = ended.rusage.utime + ended.rusage.stime;
    let used = Used {
        wall_s: wall.as_secs_f64(),
        cpu_s: cpu.as_secs_f64(),
        peak_rss_mb: ended.rusage.maxrss as f64 / 1_048_576.0,
    };
    println!("{}", serde_json::to_string(&used)?);
    Ok(())
}

async fn measure(case: Case, database: &'static str, subject: &'static str) -> Result<Row> {
    let mut rounds = Vec::new();
    let mut bench = Bench::start(case, database).await?;
    // The obvious way does the same each time, and takes long.
    let (count, needs_first) = match subject {
        "naive" => (1, false),
        _ => (ROUNDS, case.phase != Phase::First),
    };
    if needs_first {
        bench.run(subject).await?;
    }
    for round in 0..count {
        match case.phase {
            Phase::First if round > 0 => bench = Bench::start(case, database).await?,
            Phase::Steady => bench.grow(),
            Phase::Quiet => bench.since = Some(jiff::Timestamp::now().as_second() + 1),
            Phase::First | Phase::Finished => {}
        }
        rounds.push(bench.run(subject).await?);
    }
    rounds.sort_by(|a, b| a.used.wall_s.total_cmp(&b.used.wall_s));
    let median = &rounds[count / 2];
    let noise = rounds[count - 1].used.wall_s / rounds[0].used.wall_s;
    Ok(Row {
        case: case.name(),
        database,
        subject,
        wall_s: median.used.wall_s,
        cpu_s: median.used.cpu_s,
        peak_rss_mb: median.used.peak_rss_mb,
        requests: median.requests,
        noise,
    })
}

/// A cluster and a database.
struct Bench {
    standin: Standin,
    case: Case,
    folder: tempfile::TempDir,
    url: String,
    /// Where the floor begins to read; `None`: at the beginning.
    since: Option<i64>,
}

impl Bench {
    async fn start(case: Case, database: &str) -> Result<Self> {
        let standin = Standin::start(Options::default()).await?;
        let cluster = standin.cluster();
        cluster.generate(&Spec {
            runs: case.runs,
            runners: case.runners,
            stage: match case.phase {
                Phase::Finished => Stage::Finished,
                _ => Stage::Started,
            },
            ..Spec::default()
        });
        cluster.set_latency(Duration::from_millis(case.latency_ms));
        let folder = tempfile::tempdir()?;
        std::fs::write(
            folder.path().join("kubeconfig"),
            standin.kubeconfig(NAMESPACE),
        )?;
        let pods = cluster.list("pods", Some(NAMESPACE));
        let names = pods.iter().filter_map(|pod| {
            // The starter's and the initializer's logs are read once, at the first sync.
            let is_live = pod["status"]["phase"] == "Running" || case.phase == Phase::First;
            let container = pod["spec"]["containers"][0]["name"].as_str()?;
            let name = pod["metadata"]["name"].as_str()?;
            is_live.then(|| format!("{name} {container}\n"))
        });
        std::fs::write(folder.path().join("pods"), names.collect::<String>())?;
        let url = match database {
            "SQLite" => format!("sqlite://{}/k6sync.db", folder.path().display()),
            _ => empty_postgres().await?,
        };
        Ok(Self {
            standin,
            case,
            folder,
            url,
            since: None,
        })
    }

    fn grow(&mut self) {
        self.since = Some(jiff::Timestamp::now().as_second());
        self.standin.cluster().append_lines(NAMESPACE, NEW_LINES);
    }

    async fn run(&self, subject: &str) -> Result<Round> {
        let path = |name: &str| self.folder.path().join(name);
        let own = std::env::current_exe()?;
        let mut command = Command::new(&own);
        match subject {
            "ours" => command
                .arg("spawn")
                .arg(k6sync())
                .args(["sync-once", "-o", "json"]),
            _ => command.arg("spawn").arg(&own).args([subject, &self.url]),
        };
        if subject == "floor" {
            let since = match (self.case.phase, self.since) {
                (Phase::Finished, _) => "none".to_owned(),
                (_, Some(second)) => second.to_string(),
                (_, None) => "0".to_owned(),
            };
            command.arg(path("pods")).arg(since);
        }
        command
            .env("KUBECONFIG", path("kubeconfig"))
            .env("DATABASE_URL", &self.url)
            .env("RUST_LOG", "error");
        self.standin.cluster().reset_requests();
        let run = move || command.stderr(Stdio::inherit()).output();
        let output = tokio::task::spawn_blocking(run).await??;
        ensure!(
            output.status.success(),
            "{subject} failed: {}",
            self.case.name()
        );
        Ok(Round {
            used: serde_json::from_slice(&output.stdout)?,
            requests: self.standin.cluster().requests().values().sum(),
        })
    }
}

/// Beside this program, in `target/release`.
fn k6sync() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .join("k6sync")
}

async fn empty_postgres() -> Result<String> {
    let server =
        std::env::var("K6SYNC_TEST_POSTGRES_URL").context("K6SYNC_TEST_POSTGRES_URL is not set")?;
    let mut connection = PgConnection::connect(&server).await?;
    for statement in [
        "DROP DATABASE IF EXISTS k6sync_bench WITH (FORCE)",
        "CREATE DATABASE k6sync_bench",
    ] {
        connection.execute(statement).await?;
    }
    let mut url = url::Url::parse(&server)?;
    url.set_path("k6sync_bench");
    Ok(url.into())
}

// === What ours is compared with ===

async fn get(client: &kube::Client, path: &str) -> Result<Vec<u8>> {
    let request = http::Request::get(path).body(Body::empty())?;
    let response = client.send(request).await?;
    ensure!(
        response.status().is_success(),
        "{path}: {}",
        response.status()
    );
    Ok(response.into_body().collect().await?.to_bytes().to_vec())
}

/// All pages of a list, as bytes.
async fn list(client: &kube::Client, path: &str) -> Result<Vec<Vec<u8>>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let body = get(client, &format!("{path}{sign}limit=500&continue={token}")).await?;
        // The token is at the page's end or its beginning, in its metadata.
        let text = String::from_utf8_lossy(&body);
        token = text
            .split("\"continue\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned();
        pages.push(body);
        if token.is_empty() {
            return Ok(pages);
        }
    }
}

async fn floor(url: &str, pods: &str, since: &str) -> Result<()> {
    let client = kube::Client::try_default().await?;
    let lists = [
        "/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns",
        "/api/v1/namespaces/k6-runs/pods?labelSelector=k6_cr",
    ];
    list(&client, lists[0]).await?;
    if since == "none" {
        return Ok(());
    }
    list(&client, lists[1]).await?;
    let since = jiff::Timestamp::from_second(since.parse()?)?;
    let names = std::fs::read_to_string(pods)?;
    let (client, since) = (&client, &since);
    let logs: Vec<Result<(String, String)>> = stream::iter(names.lines())
        .map(|name| async move {
            let (pod, container) = name.split_once(' ').context("no container")?;
            let log = get(
                client,
                &format!("/api/v1/namespaces/k6-runs/pods/{pod}/log?container={container}&timestamps=true&sinceTime={since}"),
            )
            .await?;
            Ok((pod.to_owned(), String::from_utf8(log)?))
        })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    let logs: Vec<(String, String)> = logs.into_iter().collect::<Result<_>>()?;
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS floor (pod TEXT, body TEXT)";
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await?;
        connection.execute("PRAGMA journal_mode = WAL").await?;
        connection.execute("PRAGMA synchronous = NORMAL").await?;
        connection.execute(TABLE).await?;
        let mut transaction = connection.begin().await?;
        for (pod, body) in logs.iter().filter(|(_, body)| !body.is_empty()) {
            sqlx::query("INSERT INTO floor VALUES ($1, $2)")
                .bind(pod)
                .bind(body)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(TABLE).await?;
        let mut copy = connection.copy_in_raw("COPY floor FROM STDIN").await?;
        let mut rows = String::new();
        for (pod, body) in logs.iter().filter(|(_, body)| !body.is_empty()) {
            let body = body
                .replace('\\', "\\\\")
                .replace('\n', "\\n")
                .replace('\t', "\\t")
                .replace('\r', "\\r");
            rows.push_str(&format!("{pod}\t{body}\n"));
        }
        copy.send(rows.as_bytes()).await?;
        copy.finish().await?;
    }
    Ok(())
}

async fn naive(url: &str) -> Result<()> {
    let client = kube::Client::try_default().await?;
    let url = match url.starts_with("sqlite") {
        true => format!("{url}?mode=rwc"),
        false => url.to_owned(),
    };
    let runs = get(&client, "/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns").await?;
    let runs: Value = serde_json::from_slice(&runs)?;
    let database = Naive::open(&url).await?;
    for run in runs["items"].as_array().context("no list")? {
        let name = run["metadata"]["name"].as_str().context("no name")?;
        get(
            &client,
            &format!("/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns/{name}"),
        )
        .await?;
        let pods = get(
            &client,
            &format!("/api/v1/namespaces/k6-runs/pods?labelSelector=k6_cr%3D{name}"),
        )
        .await?;
        let pods: Value = serde_json::from_slice(&pods)?;
        let mut text = String::new();
        for pod in pods["items"].as_array().context("no list")? {
            let (pod, container) = (
                &pod["metadata"]["name"],
                &pod["spec"]["containers"][0]["name"],
            );
            let (pod, container) = (
                pod.as_str().context("no name")?,
                container.as_str().context("no name")?,
            );
            let log = get(&client, &format!("/api/v1/namespaces/k6-runs/pods/{pod}/log?container={container}&timestamps=true")).await?;
            text.push_str(&String::from_utf8_lossy(&log));
        }
        database.update(name, &text).await?;
    }
    Ok(())
}

/// One row a step.
enum Naive {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Naive {
    async fn open(url: &str) -> Result<Self> {
        const TABLE: &str = "CREATE TABLE IF NOT EXISTS naive (step TEXT PRIMARY KEY, log TEXT)";
        if url.starts_with("sqlite") {
            let pool = sqlx::SqlitePool::connect(url).await?;
            pool.execute(TABLE).await?;
            return Ok(Self::Sqlite(pool));
        }
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        pool.execute(TABLE).await?;
        Ok(Self::Postgres(pool))
    }

    async fn update(&self, step: &str, log: &str) -> Result<()> {
        const UPSERT: &str =
            "INSERT INTO naive VALUES ($1, $2) ON CONFLICT (step) DO UPDATE SET log = excluded.log";
        match self {
            Self::Sqlite(pool) => {
                let upsert = sqlx::query(UPSERT).bind(step).bind(log);
                upsert.execute(pool).await?;
            }
            Self::Postgres(pool) => {
                let upsert = sqlx::query(UPSERT).bind(step).bind(log);
                upsert.execute(pool).await?;
            }
        }
        Ok(())
    }
}
