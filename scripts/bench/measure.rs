//! One subject at work on a cluster and a database of its own, as a process of its own, and what it used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k6sync_standin::{Cluster, Options, Spec, Stage, Standin};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wait4::Wait4;

use crate::case::{Case, Group, NEW_LINES, Phase};
use crate::database::{Database, Kind};

/// From one cycle to the next, by the times of the lines: nobody waits for it.
const INTERVAL_SECONDS: i64 = 20;
/// 2026-01-10T00:00:00Z, after all lines that were made up at first.
const START: i64 = 1_768_003_200;
/// The first namespace; the next ones are numbered.
const NAMESPACE: &str = "k6-runs";

/// What k6 printed.
const SUMMARY: &str = "tests/data/recorded/k6/summaries/scenarios-groups.export-stderr/log.txt";

/// A line of the results: medians of the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) database: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_rss_mb: f64,
    /// To Kubernetes.
    pub(crate) requests: u64,
    /// From Kubernetes, as they go over the wire.
    pub(crate) bytes_read: u64,
    /// To the database, but for BEGIN and COMMIT.
    pub(crate) statements: usize,
    /// SQLite: to its files; PostgreSQL: to its write-ahead log.
    pub(crate) bytes_written: u64,
    /// The slowest round by the fastest: how noisy the machine was.
    pub(crate) noise: f64,
}

/// What a process used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Used {
    wall_s: f64,
    cpu_s: f64,
    peak_rss_mb: f64,
    bytes_written: u64,
}

/// What a round came to.
struct Round {
    used: Used,
    requests: u64,
    bytes_read: u64,
}

/// All members of a group on one kind of database, in turns, so that what slows the machine down slows down all of them.
pub(crate) async fn measure(group: &Group, kind: Kind) -> Result<Vec<Row>> {
    let mut benches = Vec::new();
    for (case, subject) in &group.members {
        benches.push(Bench::start(*case, kind, subject).await?);
    }
    let mut rounds: Vec<Vec<Round>> = benches.iter().map(|_| Vec::new()).collect();
    for round in 0..group.rounds {
        for (bench, rounds) in benches.iter_mut().zip(&mut rounds) {
            // The obvious way does the same each time, and takes long.
            if bench.subject != "naive" || round == 0 {
                bench.prepare(round).await?;
                rounds.push(bench.run().await?);
            }
        }
    }
    let mut rows = Vec::new();
    for (mut bench, rounds) in benches.into_iter().zip(rounds) {
        bench.prepare(group.rounds).await?;
        let statements = match bench.subject {
            // An UPDATE a step, after the table was made.
            "naive" => bench.case.runs + 1,
            _ => bench.count_statements().await?,
        };
        rows.push(bench.row(rounds, statements));
        bench.end().await?;
    }
    Ok(rows)
}

/// A cluster, a database, and who works on them.
struct Bench {
    case: Case,
    subject: &'static str,
    standin: Standin,
    database: Database,
    folder: tempfile::TempDir,
    /// Where the floor begins to read; `None`: at the beginning.
    since: Option<i64>,
    /// The time of the latest lines, seconds since 1970.
    now: i64,
}

impl Bench {
    async fn start(case: Case, kind: Kind, subject: &'static str) -> Result<Self> {
        let standin = Standin::start(Options::default()).await?;
        let cluster = standin.cluster();
        for (namespace, seed) in namespaces(case).into_iter().zip(1..) {
            cluster.generate(&Spec {
                seed,
                namespace,
                runs: case.runs / case.namespaces,
                runners: case.runners,
                lines: case.lines,
                stage: match case.phase.is_over() {
                    true => Stage::Finished,
                    false => Stage::Started,
                },
                ..Spec::default()
            });
        }
        // Where the target folder is, since /tmp may be no disk.
        let folder = tempfile::tempdir_in(crate::FOLDER)?;
        std::fs::write(
            folder.path().join("kubeconfig"),
            standin.kubeconfig(NAMESPACE),
        )?;
        let pods = cluster.list("pods", Some(NAMESPACE));
        if case.phase == Phase::Reported {
            report(&cluster, &pods)?;
        }
        let names = pods.iter().filter_map(|pod| {
            // The starter's and the initializer's logs are read once, at the first sync.
            let is_live = pod["status"]["phase"] == "Running" || case.phase.is_first();
            let container = pod["spec"]["containers"][0]["name"].as_str()?;
            let name = pod["metadata"]["name"].as_str()?;
            is_live.then(|| format!("{name} {container}\n"))
        });
        std::fs::write(folder.path().join("pods"), names.collect::<String>())?;
        let database = Database::create(kind, folder.path()).await?;
        let bench = Self {
            case,
            subject,
            standin,
            database,
            folder,
            since: None,
            now: START,
        };
        if case.history > 0 {
            let mut migrate = bench.program(&k6sync());
            migrate.arg("migrate");
            bench.succeed(migrate).await?;
            bench.database.fill(case.history).await?;
        }
        if !case.phase.is_first() && subject != "naive" {
            bench.run().await?;
        }
        bench
            .standin
            .cluster()
            .set_latency(Duration::from_millis(case.latency_ms));
        Ok(bench)
    }

    /// Before each round: makes new what is to be new in it.
    async fn prepare(&mut self, round: usize) -> Result<()> {
        match self.case.phase {
            phase if phase.is_first() && round > 0 => {
                self.database.empty(self.folder.path()).await?
            }
            Phase::Steady => {
                self.now += INTERVAL_SECONDS;
                self.since = Some(self.now);
                let step = Duration::from_secs(INTERVAL_SECONDS as u64) / NEW_LINES as u32;
                let first_ts = self.now * 1_000_000_000;
                for namespace in namespaces(self.case) {
                    let cluster = self.standin.cluster();
                    cluster.append_lines(&namespace, NEW_LINES, first_ts, step);
                }
            }
            Phase::Quiet => self.since = Some(self.now),
            Phase::First | Phase::Ended | Phase::Reported | Phase::Finished => {}
        }
        Ok(())
    }

    async fn run(&self) -> Result<Round> {
        let own = std::env::current_exe()?;
        let work = self.work()?;
        let mut command = Command::new(&own);
        command
            .arg("spawn")
            .arg(work.get_program())
            .args(work.get_args());
        for (name, value) in work.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("RUST_LOG", "error");
        let cluster = self.standin.cluster();
        cluster.reset_requests();
        let written_before = self.database.bytes_written().await?;
        let stdout = self.succeed(command).await?.stdout;
        let mut used: Used = serde_json::from_slice(&stdout)?;
        if let (Some(before), Some(after)) = (written_before, self.database.bytes_written().await?)
        {
            used.bytes_written = after - before;
        }
        Ok(Round {
            used,
            requests: cluster.requests().values().sum(),
            bytes_read: cluster.sent_bytes(),
        })
    }

    /// Apart from the rounds, since telling of each takes time.
    async fn count_statements(&self) -> Result<usize> {
        let mut command = self.work()?;
        command.env("RUST_LOG", "sqlx::query=debug");
        let stderr = self.succeed(command).await?.stderr;
        let stderr = String::from_utf8_lossy(&stderr);
        Ok(stderr.matches("rows_affected").count())
    }

    fn work(&self) -> Result<Command> {
        if self.subject == "ours" && self.case.syncs == 1 {
            let mut command = self.program(&k6sync());
            command.arg("sync-once");
            for namespace in namespaces(self.case) {
                command.args(["-n", &namespace]);
            }
            return Ok(command);
        }
        let mut command = self.program(&std::env::current_exe()?);
        if self.subject == "ours" {
            command.arg("syncs").args(namespaces(self.case));
            return Ok(command);
        }
        command.args([self.subject, self.database.url()]);
        if self.subject == "floor" {
            let since = match (self.case.phase, self.since) {
                (Phase::Finished, _) => "none".to_owned(),
                (_, Some(second)) => second.to_string(),
                (_, None) => "0".to_owned(),
            };
            command.arg(self.folder.path().join("pods")).arg(since);
        }
        Ok(command)
    }

    /// A program that finds this cluster and this database.
    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("DATABASE_URL", self.database.url());
        command
    }

    async fn succeed(&self, mut command: Command) -> Result<std::process::Output> {
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(
            output.status.success(),
            "{} failed: {}: {}",
            self.subject,
            self.case.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    fn row(&self, mut rounds: Vec<Round>, statements: usize) -> Row {
        rounds.sort_by(|a, b| a.used.wall_s.total_cmp(&b.used.wall_s));
        let median = &rounds[rounds.len() / 2];
        let noise = rounds[rounds.len() - 1].used.wall_s / rounds[0].used.wall_s;
        Row {
            case: self.case.name(),
            database: self.database.kind().name(),
            subject: self.subject,
            wall_s: median.used.wall_s,
            cpu_s: median.used.cpu_s,
            peak_rss_mb: median.used.peak_rss_mb,
            requests: median.requests,
            bytes_read: median.bytes_read,
            statements,
            bytes_written: median.used.bytes_written,
            noise,
        }
    }

    async fn end(self) -> Result<()> {
        self.database.end().await
    }
}

/// Each runner ends its log with what k6 printed for a script with scenarios, groups and thresholds, as text and as JSON.
fn report(cluster: &Cluster, pods: &[Value]) -> Result<()> {
    let summary = std::fs::read(SUMMARY).with_context(|| SUMMARY.to_owned())?;
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if pod["metadata"]["labels"]["runner"] != "true" {
            continue;
        }
        let log = cluster.log(NAMESPACE, name, "k6");
        for (number, line) in (0..).zip(summary.split(|byte| *byte == b'\n')) {
            log.write_line((START + 1) * 1_000_000_000 + number, line);
        }
    }
    Ok(())
}

fn namespaces(case: Case) -> Vec<String> {
    let numbered = (2..=case.namespaces).map(|number| format!("{NAMESPACE}-{number}"));
    std::iter::once(NAMESPACE.to_owned())
        .chain(numbered)
        .collect()
}

/// A sync of each of these namespaces, all at once; what they use counts for this process too.
pub(crate) fn syncs(namespaces: &[String]) -> Result<()> {
    let started: Vec<_> = namespaces
        .iter()
        .map(|namespace| {
            Command::new(k6sync())
                .args(["sync-once", "-n", namespace])
                .stdout(Stdio::null())
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    for mut sync in started {
        ensure!(sync.wait()?.success(), "a sync failed");
    }
    Ok(())
}

/// Beside this program, in `target/release`.
pub(crate) fn k6sync() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .join("k6sync")
}

/// Runs a program and prints what it used. Apart, since Linux counts the memory of whoever starts a process as its own.
pub(crate) fn spawn(program: &str, args: &[String]) -> Result<()> {
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
        bytes_written: own_bytes_written()?,
    };
    println!("{}", serde_json::to_string(&used)?);
    Ok(())
}

/// To files, with those of the processes that were started and have ended (proc(5)).
fn own_bytes_written() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .context("no write_bytes in /proc/self/io")
}
