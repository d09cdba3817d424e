//! `k6sync-standin`: the stand-in as a program, for demos, benchmarks and scripts.
//!
//! Reads the command line, starts a [`Standin`], prints where it listens, and runs until it is told to stop.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people and scripts at a terminal"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use k6sync_standin::{KubeletStyle, Options, Spec, Stage, Standin};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in Kubernetes API (and kubelet) for k6sync's tests, demo and benchmarks.
#[derive(Debug, Parser)]
#[command(name = "k6sync-standin")]
struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Play back a recording: a directory with one directory per moment
    #[arg(long, value_name = "DIR")]
    recording: Option<PathBuf>,
    /// The moment of the recording to start at
    #[arg(long, default_value = "t1", requires = "recording")]
    moment: String,
    /// Make up a cluster of so many TestRuns with so many runners each
    #[arg(long, value_name = "RUNSxRUNNERS", value_parser = runs_and_runners)]
    generate: Option<(usize, usize)>,
    /// What the made-up cluster follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Log lines of each made-up runner
    #[arg(long, default_value_t = 100)]
    lines: usize,
    /// How far the made-up runs have come
    #[arg(long, value_enum, default_value_t = StageName::Started)]
    stage: StageName,
    /// The namespace of the made-up cluster and of the kubeconfig
    #[arg(long, default_value = "k6-runs")]
    namespace: String,
    /// Write a kubeconfig for the stand-in to this file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Serve HTTPS, with a certificate authority of its own that is in the kubeconfig
    #[arg(long)]
    tls: bool,
    /// Serve only a kubelet's log endpoint, over HTTPS, for a real API server
    #[arg(long)]
    kubelet_only: bool,
    /// How log lines over 16 KiB bear their timestamps: as kubelet 1.36 (joined) or 1.20 (repeated)
    #[arg(long, value_enum, default_value_t = StyleName::Joined)]
    kubelet_style: StyleName,
    /// Wait so long before each answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageName {
    Started,
    Finished,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StyleName {
    Joined,
    Repeated,
}

fn runs_and_runners(text: &str) -> Result<(usize, usize), String> {
    text.split_once('x')
        .and_then(|(runs, runners)| Some((runs.parse().ok()?, runners.parse().ok()?)))
        .ok_or_else(|| "expected two numbers, such as 20x5".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("k6sync-standin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let standin = Standin::start(Options {
        listen: arguments.listen,
        tls: arguments.tls,
        kubelet_only: arguments.kubelet_only,
        kubelet: match arguments.kubelet_style {
            StyleName::Joined => KubeletStyle::Joined,
            StyleName::Repeated => KubeletStyle::Repeated,
        },
        ..Options::default()
    })
    .await?;
    let cluster = standin.cluster();
    if let Some(dir) = &arguments.recording {
        cluster.load_recording(dir, &arguments.moment)?;
    }
    if let Some((runs, runners)) = arguments.generate {
        cluster.generate(&Spec {
            seed: arguments.seed,
            namespace: arguments.namespace.clone(),
            runs,
            runners,
            lines: arguments.lines,
            stage: match arguments.stage {
                StageName::Started => Stage::Started,
                StageName::Finished => Stage::Finished,
            },
            ..Spec::default()
        });
    }
    cluster.set_latency(Duration::from_millis(arguments.latency_ms));
    if let Some(file) = &arguments.kubeconfig {
        std::fs::write(file, standin.kubeconfig(&arguments.namespace))
            .with_context(|| format!("cannot write the kubeconfig to {}", file.display()))?;
    }
    // Before the ready line: who reads it may send a signal at once.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    println!("listening on {}", standin.url());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    standin.stop().await;
    Ok(())
}
