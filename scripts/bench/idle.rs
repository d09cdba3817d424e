//! What a loop costs while nothing happens.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use k6sync_standin::{Options, Standin};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::database::{Database, Kind};
use crate::measure::k6sync;

/// Cycles until the loop is as it will stay.
const CYCLES: usize = 4;

/// Prints the resident memory of a loop over a cluster in which all has ended.
pub(crate) async fn measure(kind: Kind) -> Result<()> {
    if kind == Kind::Sqlite {
        let size = std::fs::metadata(k6sync())?.len() as f64 / 1_048_576.0;
        println!(
            "  {:46} {size:8.1} MB (limit 20)",
            "release binary, stripped"
        );
    }
    let standin = Standin::start(Options::default()).await?;
    standin
        .cluster()
        .load_recording(Path::new("tests/data/recorded/cluster"), "t3")?;
    let folder = tempfile::tempdir_in(crate::FOLDER)?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, standin.kubeconfig("k6-runs"))?;
    let database = Database::create(kind, folder.path()).await?;
    let mut program = Command::new(k6sync())
        .args(["loop", "--listen", "127.0.0.1:0"])
        .env("KUBECONFIG", kubeconfig)
        .env("DATABASE_URL", database.url())
        .env("K6_SYNC_INTERVAL_SECONDS", "5")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stderr = program.stderr.take().context("no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    let pid = program.id().context("the loop has ended")?;
    let mut cycles = async |count: usize| {
        let mut completed = 0;
        while completed < count {
            let line = lines.next_line().await?.context("the loop has ended")?;
            completed += usize::from(line.contains("K6 steps sync completed"));
        }
        anyhow::Ok(())
    };
    let limit = Duration::from_secs(60);
    let late = "the loop does not complete its cycles";
    timeout(limit, cycles(CYCLES)).await.context(late)??;
    let before = cpu_time(pid)?;
    timeout(limit, cycles(CYCLES)).await.context(late)??;
    let cpu = (cpu_time(pid)? - before) / CYCLES as u32;
    let what = format!("resident memory, idle, {}", kind.name());
    println!("  {what:46} {:8.1} MB (limit 25)", memory_mb(pid)?);
    let what = format!("CPU of a cycle, all finished, {}", kind.name());
    println!(
        "  {what:46} {:8.1} ms (limit 10)",
        cpu.as_secs_f64() * 1_000.0
    );
    program.kill().await?;
    database.end().await
}

/// Resident memory of a process now.
pub(crate) fn memory_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmRSS:")
}

/// The most that it ever had.
pub(crate) fn peak_memory_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmHWM:")
}

fn status_mb(pid: u32, field: &'static str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kb: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"))
        .context(field)?
        .parse()?;
    Ok(kb / 1024.0)
}

/// Of all threads.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // Its first number: nanoseconds on a processor.
        let schedstat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos = schedstat.split(' ').next().context("no schedstat")?;
        sum += Duration::from_nanos(nanos.parse()?);
    }
    Ok(sum)
}
