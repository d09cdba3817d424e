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

mod case;
mod database;
mod idle;
mod logs;
mod measure;
mod plot;
mod reading;
mod serving;
mod subjects;
mod table;

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::database::Kind;

/// Where results go, and what is needed on the way.
const FOLDER: &str = "target/bench";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Statements are counted by what sqlx says of them.
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => runtime.block_on(all(false, "")),
        ["--quick"] => runtime.block_on(all(true, "")),
        ["--only", text] => runtime.block_on(all(false, text)),
        ["floor", url, pods, since] => runtime.block_on(subjects::floor(url, pods, since)),
        ["naive", url] => runtime.block_on(subjects::naive(url)),
        ["get", path] => runtime.block_on(logs::get(path)),
        ["pipe", program, ..] => logs::pipe(program, &args[2..]),
        ["syncs", ..] => measure::syncs(&args[1..]),
        ["spawn", program, ..] => measure::spawn(program, &args[2..]),
        _ => bail!("usage: bench [--quick | --only TEXT]"),
    }
}

async fn all(quick: bool, only: &str) -> Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    let outcome = tokio::select! {
        outcome = compare(quick, only) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    database::drop_all().await?;
    outcome
}

async fn compare(quick: bool, only: &str) -> Result<()> {
    let groups = case::groups(quick, only);
    let has_logs = !quick && logs::NAME.contains(only);
    let has_answers = !quick && reading::NAME.contains(only);
    let has_pages = !quick && serving::PAGES.contains(only);
    let has_followers = !quick && serving::FOLLOWERS.contains(only);
    ensure!(
        !groups.is_empty() || has_logs || has_answers || has_pages || has_followers,
        "no case has `{only}` in its name; names are such as `{}`",
        case::Case::USUAL.name()
    );
    if only.is_empty() {
        println!("An idle loop\n");
        for kind in Kind::all() {
            idle::measure(kind).await?;
        }
    }
    if has_logs {
        println!("\nPrinting {}: into a pipe, medians\n", logs::NAME);
        for kind in Kind::all() {
            logs::measure(kind).await?;
        }
    }
    if has_answers {
        println!("\nAnswers, with 1,000,000 steps in the database: medians\n");
        for kind in Kind::all() {
            reading::measure(kind).await?;
        }
    }
    if has_pages {
        println!("\nThe loop's pages, with 1,000,000 steps in the database: medians\n");
        for kind in Kind::all() {
            serving::pages(kind).await?;
        }
    }
    if has_followers {
        println!("\nA loop that is watched: medians of its cycles, in turns\n");
        for kind in Kind::all() {
            serving::followers(kind).await?;
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    println!(
        "\nA cycle: RUNSxRUNNERS, what is new, latency of a request; medians, and the slowest round by the fastest\n"
    );
    table::head();
    let mut rows = Vec::new();
    for group in groups {
        for kind in Kind::all() {
            let measured = measure::measure(&group, kind).await?;
            table::print(&measured);
            rows.extend(measured);
        }
    }
    table::promises(&rows);
    let folder = Path::new(FOLDER);
    let (results, plot) = (folder.join("results.json"), folder.join("results.svg"));
    std::fs::write(&results, serde_json::to_string_pretty(&rows)?)?;
    plot::draw(&rows, &plot)?;
    println!("\n{}\n{}", results.display(), plot.display());
    Ok(())
}
