//! What it costs to print a recorded log into a pipe, beside what one would do instead: let the database's own client print the
//! bodies of the chunks, or get the log from Kubernetes while it is there.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use k6sync_standin::{Options, Spec, Stage, Standin};
use kube::client::Body;
use serde::{Deserialize, Serialize};
use wait4::Wait4;

use crate::database::{Database, Kind};
use crate::measure::k6sync;

/// The case's name, for `--only`.
pub(crate) const NAME: &str = "logs of 1 GB";

const BYTES: usize = 1_000_000_000;
/// Of a made-up log, with its newline and without its time.
const LINE_BYTES: usize = 155;
const ROUNDS: usize = 5;
/// Bodies in their order, as the client of a database prints them.
const BODIES: &str = "SELECT body FROM log_chunks JOIN log_streams ON id = stream_id WHERE role = 'runner' ORDER BY stream_id, seq";

/// What a process used, and what it wrote.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Printed {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    peak_rss_mb: f64,
    bytes: u64,
}

/// One container with 1 GB, and 1,000 runners with 1 MB each.
pub(crate) async fn measure(kind: Kind) -> Result<()> {
    for runners in [1, 1_000] {
        measure_run(kind, runners).await?;
    }
    Ok(())
}

async fn measure_run(kind: Kind, runners: usize) -> Result<()> {
    let standin = Standin::start(Options::default()).await?;
    standin.cluster().generate(&Spec {
        namespace: "k6-runs".to_owned(),
        runs: 1,
        runners,
        lines: BYTES / LINE_BYTES / runners,
        stage: Stage::Finished,
        ..Spec::default()
    });
    let folder = tempfile::tempdir_in(crate::FOLDER)?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, standin.kubeconfig("k6-runs"))?;
    let database = Database::create(kind, folder.path()).await?;
    let program = |name: &str| {
        let mut program = Command::new(name);
        program
            .env("KUBECONFIG", &kubeconfig)
            .env("DATABASE_URL", database.url())
            .env("RUST_LOG", "error");
        program
    };
    let k6sync = k6sync().to_string_lossy().into_owned();
    for _ in 0..2 {
        // The second finds that all is complete.
        let mut sync = program(&k6sync);
        sync.args(["sync-once", "--force"]).stdout(Stdio::null());
        let status = tokio::task::spawn_blocking(move || sync.status()).await??;
        ensure!(status.success(), "the sync failed");
    }
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let pods = standin.cluster().list("pods", Some("k6-runs"));
    let runner = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["runner"] == "true")
        .and_then(|pod| pod["metadata"]["name"].as_str())
        .context("there is no runner")?
        .to_owned();
    let file = database.url().trim_start_matches("sqlite://").to_owned();
    let client = match kind {
        Kind::Sqlite => vec!["sqlite3".to_owned(), file, BODIES.to_owned()],
        Kind::Postgres => ["psql", "-Atq", database.url(), "-c", BODIES]
            .map(str::to_owned)
            .to_vec(),
    };
    let logs = |options: &[&str]| {
        let mut command = vec![k6sync.clone(), "logs".to_owned(), "@latest".to_owned()];
        command.extend(["--role", "runner"].map(str::to_owned));
        command.extend(options.iter().map(|option| (*option).to_owned()));
        command
    };
    let path = format!("/api/v1/namespaces/k6-runs/pods/{runner}/log?container=k6");
    let subjects = match runners {
        1 => vec![
            ("k6sync logs", logs(&[])),
            (
                if kind == Kind::Sqlite {
                    "sqlite3"
                } else {
                    "psql"
                },
                client,
            ),
            ("GET of the log", vec![own.clone(), "get".to_owned(), path]),
            ("k6sync logs --timestamps", logs(&["--timestamps"])),
        ],
        _ => vec![("k6sync logs, merged", logs(&[]))],
    };
    let rounds = if runners == 1 { ROUNDS } else { 1 };
    let mut measured: Vec<Vec<Printed>> = vec![Vec::new(); subjects.len()];
    for _ in 0..rounds {
        for ((name, command), measured) in subjects.iter().zip(&mut measured) {
            let mut pipe = program(&own);
            pipe.arg("pipe").args(command);
            let output = tokio::task::spawn_blocking(move || pipe.output()).await??;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("  {name}: not measured: {}", said.trim());
                continue;
            }
            measured.push(serde_json::from_slice(&output.stdout)?);
        }
    }
    for ((name, _), mut rounds) in subjects.iter().zip(measured) {
        rounds.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        let Some(median) = rounds.get(rounds.len() / 2) else {
            continue;
        };
        println!(
            "  {:46} {:7.2} s {:7.2} s CPU {:7.1} MB {:8.0} MB printed",
            format!("{runners}x, {}, {name}", kind.name()),
            median.wall_s,
            median.cpu_s,
            median.peak_rss_mb,
            median.bytes as f64 / 1e6
        );
    }
    database.end().await
}

/// Runs a program, reads what it prints, and says what it used. Apart, since Linux counts the memory of whoever starts a process
/// as its own.
pub(crate) fn pipe(program: &str, args: &[String]) -> Result<()> {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| program.to_owned())?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        match stdout.read(&mut buffer)? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    let ended = child.wait4()?;
    ensure!(ended.status.success(), "{program} failed");
    let cpu = ended.rusage.utime + ended.rusage.stime;
    let printed = Printed {
        wall_s: begun.elapsed().as_secs_f64(),
        cpu_s: cpu.as_secs_f64(),
        peak_rss_mb: ended.rusage.maxrss as f64 / 1_048_576.0,
        bytes,
    };
    println!("{}", serde_json::to_string(&printed)?);
    Ok(())
}

/// Prints what the API server answers, as `kubectl logs` does.
pub(crate) async fn get(path: &str) -> Result<()> {
    let client = kube::Client::try_default().await?;
    let request = http::Request::get(path).body(Body::empty())?;
    let mut body = client.send(request).await?.into_body();
    let mut stdout = std::io::stdout().lock();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            stdout.write_all(&data)?;
        }
    }
    Ok(())
}
