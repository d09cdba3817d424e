//! `k6sync wait`: until test runs have ended and are recorded; then the exit code is the verdict.

mod files;
mod watching;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use self::watching::{Watching, Wish};
use super::exit;
use super::look;
use super::output;
use super::reading::Asked;
use crate::cli::reading::{Format, Wait};
use crate::record::{Run, judged};
use crate::report;
use crate::signals::Signals;
use crate::store::RunId;

pub(super) async fn run(args: &Wait, mut signals: Signals) -> anyhow::Result<u8> {
    files::check(args)?;
    let asked = tokio::select! {
        asked = Asked::open(&args.common) => asked?,
        stop = signals.next() => return Ok(exit::stopped(stop)),
    };
    let outcome = tokio::select! {
        outcome = wait(args, &asked) => outcome,
        stop = signals.next() => {
            tracing::warn!("{stop}: not waited to the end; nothing is known of the verdict");
            Ok(exit::stopped(stop))
        }
    };
    asked.record.close().await;
    outcome
}

async fn wait(args: &Wait, asked: &Asked) -> anyhow::Result<u8> {
    let now = Timestamp::now();
    let started = Instant::now();
    let after = match args.new {
        true => Some(now),
        false => args.after.map(|after| after.from(now)),
    };
    let wish = Wish {
        after,
        for_appearance: args.for_appearance.map(as_std),
        steps: args.steps.map(i64::from),
        until: started.checked_add(as_std(args.timeout)),
    };
    let mut watching = Watching::new(asked, wish);
    let mut ids: Vec<RunId> = Vec::new();
    for name in &args.runs {
        let id = watching.appearance(name).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let ended = watching.end(&ids).await?;
    drop(watching);
    let mut runs = Vec::new();
    for id in ids {
        runs.push(asked.run_of(id).await?);
    }
    print(args, &runs)?;
    files::write(args, &runs)?;
    Ok(match ended {
        true => verdict(args, &runs),
        false => {
            tracing::error!(
                "timed out after {}: {}",
                report::words::duration(args.timeout.as_secs_f64()),
                unended(&runs)
            );
            exit::TIMED_OUT
        }
    })
}

fn as_std(time: jiff::SignedDuration) -> Duration {
    time.unsigned_abs()
}

/// Which runs are not over, and in what state they are.
fn unended(runs: &[Run]) -> String {
    let each = runs
        .iter()
        .filter(|run| !run.outcome.ended || !run.complete);
    let each: Vec<String> = each
        .map(|run| match run.outcome.ended {
            false => format!("run {} is {}", run.row.id, run.row.status),
            true => format!("the logs of run {} are not complete", run.row.id),
        })
        .collect();
    match each.is_empty() {
        true => "not all steps have been seen, or not all results read".to_owned(),
        false => each.join(", "),
    }
}

/// What all of them come to. A bad verdict goes before a gap.
fn verdict(args: &Wait, runs: &[Run]) -> u8 {
    let code = judged(runs);
    let is_whole = |run: &Run| run.complete && run.gaps == 0;
    match (code, args.require_complete) {
        (exit::DONE, true) if !runs.iter().all(is_whole) => {
            for run in runs.iter().filter(|run| !is_whole(run)) {
                tracing::error!(
                    "run {} passed, but lines may be missing in {} of its logs; `k6sync logs {}` shows where",
                    run.row.id,
                    report::words::things(run.gaps, "place", "places"),
                    run.row.id
                );
            }
            exit::INCOMPLETE
        }
        (code, _) => code,
    }
}

fn print(args: &Wait, runs: &[Run]) -> anyhow::Result<()> {
    let view = look::view(args.look.color);
    let rows: Vec<_> = runs.iter().map(|run| run.row.clone()).collect();
    output::write(&match args.look.output {
        Format::Table => report::run::verdicts(runs, &view),
        Format::Wide => report::runs::runs(&rows, true, &view),
        Format::Json => output::json_line(&runs)?,
        Format::Yaml => output::yaml(&runs)?,
        Format::Csv => report::runs::as_csv(&rows),
        Format::Name => rows.iter().map(|row| format!("{}\n", row.id)).collect(),
    })
}
