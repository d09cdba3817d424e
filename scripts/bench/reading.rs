//! What answers cost: the list of runs over a history of 1,000,000 steps, a run of 1,000 runners, and starting up at all.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use k6sync_standin::{Options, Spec, Stage, Standin};

use crate::database::{Database, Kind};
use crate::logs::Printed;
use crate::measure::k6sync;

/// The case's name, for `--only`.
pub(crate) const NAME: &str = "answers";

const HISTORY: usize = 1_000_000;
const RUNNERS: usize = 1_000;
const ROUNDS: usize = 9;

/// Name, arguments, and how many milliseconds are wanted at most (of processor time, for starting up).
const QUESTIONS: [(&str, &[&str], f64, bool); 7] = [
    ("k6sync --version", &["--version"], 20.0, true),
    ("k6sync runs, its processor time", &["runs"], 20.0, true),
    ("k6sync runs", &["runs"], 100.0, false),
    (
        "k6sync runs --name shop-1",
        &["runs", "--name", "shop-1"],
        100.0,
        false,
    ),
    (
        "k6sync runs --status failed",
        &["runs", "--status", "failed"],
        100.0,
        false,
    ),
    (
        "k6sync show, 1,000 runners",
        &["show", "@latest"],
        200.0,
        false,
    ),
    (
        "k6sync show -o json, 1,000 runners",
        &["show", "@latest", "-o", "json"],
        200.0,
        false,
    ),
];

pub(crate) async fn measure(kind: Kind) -> Result<()> {
    let standin = Standin::start(Options::default()).await?;
    standin.cluster().generate(&Spec {
        namespace: "k6-runs".to_owned(),
        runs: 1,
        runners: RUNNERS,
        lines: 20,
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
            .env("RUST_LOG", "error")
            .stdout(Stdio::null());
        program
    };
    let k6sync = k6sync().to_string_lossy().into_owned();
    ensure!(program(&k6sync).arg("migrate").status()?.success());
    database.fill(HISTORY).await?;
    for _ in 0..2 {
        let mut sync = program(&k6sync);
        sync.args(["sync-once", "--force"]);
        let status = tokio::task::spawn_blocking(move || sync.status()).await??;
        ensure!(status.success(), "the sync failed");
    }
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    for (name, args, wanted, is_cpu) in QUESTIONS {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let mut pipe = program(&own);
            pipe.arg("pipe")
                .arg(&k6sync)
                .args(args)
                .stdout(Stdio::piped());
            let output = tokio::task::spawn_blocking(move || pipe.output()).await??;
            ensure!(
                output.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let printed: Printed = serde_json::from_slice(&output.stdout)?;
            times.push(
                1_000.0
                    * if is_cpu {
                        printed.cpu_s
                    } else {
                        printed.wall_s
                    },
            );
        }
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        println!(
            "  {:56} {median:7.1} ms {} (wanted: at most {wanted:.0}{})",
            format!("{}, {name}", kind.name()),
            if is_cpu { "CPU" } else { "   " },
            if median <= wanted { "" } else { "; MISSED" },
        );
    }
    database.end().await
}
