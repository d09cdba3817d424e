//! `k6sync wait`: until test runs have ended and are recorded; then the exit code is the verdict.

mod files;
mod watching;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};

use self::watching::{Waited, Watching, Wish};
use super::exit;
use super::look;
use super::output;
use super::reading::Asked;
use crate::cli::reading::{Format, Wait};
use crate::record::{Outcome, Run, judged};
use crate::report;
use crate::signals::Signals;

/// How long to look once more at what is not over in time.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// And how long to say goodbye to the database.
const CLOSE: Duration = Duration::from_secs(1);

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
    // A query that hangs in the database must not hold up the exit.
    let _ = timeout(CLOSE, asked.record.close()).await;
    outcome
}

async fn wait(args: &Wait, asked: &Asked) -> anyhow::Result<u8> {
    let now = Timestamp::now();
    let after = match args.new {
        // A TestRun's creation is known to the second.
        true => Timestamp::from_second(now.as_second()).ok(),
        false => args.after.map(|after| after.from(now)),
    };
    let until = Instant::now().checked_add(as_std(args.timeout));
    let wish = Wish {
        after,
        for_appearance: args.for_appearance.map(as_std),
        steps: args.steps.map(i64::from),
        complete: args.require_complete,
    };
    let mut watching = Watching::new(asked, wish);
    // Whatever hangs, such as a lock in the database, ends with the time.
    let seen = match until {
        Some(until) => timeout_at(until, watching.all(&args.runs)).await,
        None => Ok(watching.all(&args.runs).await),
    };
    let Ok(seen) = seen else {
        return timed_out(args, watching).await;
    };
    let runs = seen?;
    drop(watching);
    finish(args, runs)
}

/// Says what is known of runs that are not over in time. What can't be told quickly then is left out.
async fn timed_out(args: &Wait, watching: Watching<'_>) -> anyhow::Result<u8> {
    let (asked, found, open) = watching.into_state();
    let waited = report::words::duration(args.timeout.as_secs_f64());
    let read = async {
        let mut runs = Vec::new();
        for id in found {
            runs.push(asked.run_of(id).await?);
        }
        anyhow::Ok(runs)
    };
    let mut runs = match timeout(LAST_LOOK, read).await {
        Ok(Ok(runs)) => runs,
        _ => Vec::new(),
    };
    for run in &mut runs {
        if let Some(why) = open
            .iter()
            .find(|(id, _)| *id == run.row.id)
            .map(|(_, why)| why)
        {
            // No file may say that it passed.
            run.outcome = Outcome {
                ended: false,
                exit_code: None,
            };
            run.reason = Some("TimedOut".to_owned());
            run.message = Some(format!("not waited for any longer after {waited}: {why}"));
        }
    }
    files::write(args, &runs)?;
    print(args, &runs)?;
    let each: Vec<String> = open
        .iter()
        .map(|(id, why)| format!("run {id}: {why}"))
        .collect();
    tracing::error!(
        "timed out after {waited}: {}",
        match each.is_empty() {
            true => "a run that was to be waited for has not appeared".to_owned(),
            false => each.join("; "),
        }
    );
    Ok(exit::TIMED_OUT)
}

/// Says what runs came to that are over.
fn finish(args: &Wait, mut runs: Vec<Waited>) -> anyhow::Result<u8> {
    let code = verdict(args, &mut runs);
    let runs: Vec<Run> = runs.into_iter().map(|waited| waited.run).collect();
    // Files first: what is printed may find nobody who reads it.
    files::write(args, &runs)?;
    print(args, &runs)?;
    Ok(code)
}

fn as_std(time: jiff::SignedDuration) -> Duration {
    time.unsigned_abs()
}

/// What all of them come to. A bad verdict goes before a gap; and with --require-complete no file says that a run passed whose
/// record has gaps.
fn verdict(args: &Wait, runs: &mut [Waited]) -> u8 {
    let code = judged(runs.iter().map(|waited| &waited.run));
    if !args.require_complete {
        return code;
    }
    let mut all_whole = true;
    for Waited { run, missing } in runs {
        let Some(problem) = incomplete(run, missing) else {
            continue;
        };
        all_whole = false;
        tracing::error!(
            "run {}: {problem}; `k6sync logs {}` shows where",
            run.row.id,
            run.row.id
        );
        if run.outcome.exit_code == Some(exit::DONE) {
            run.outcome.exit_code = Some(exit::INCOMPLETE);
            run.reason = Some("IncompleteRecord".to_owned());
            run.message = Some(problem);
        }
    }
    match (code, all_whole) {
        (exit::DONE, false) => exit::INCOMPLETE,
        (code, _) => code,
    }
}

/// What is missing in the record of a run.
fn incomplete(run: &Run, missing: &[String]) -> Option<String> {
    if run.gaps > 0 {
        let places = report::words::things(run.gaps, "place", "places");
        return Some(format!("lines may be missing in {places} of its logs"));
    }
    if let [first, ..] = missing {
        let logs = report::words::things(missing.len() as i64, "log", "logs");
        return Some(format!(
            "lines that were recorded are not there any more in {logs}, such as that of {first}"
        ));
    }
    (!run.complete).then(|| "not all of its runners, or of their logs, are on record".to_owned())
}

fn print(args: &Wait, runs: &[Run]) -> anyhow::Result<()> {
    let view = look::view(args.look.color);
    let rows: Vec<_> = runs.iter().map(|run| run.row.clone()).collect();
    let text = match args.look.output {
        Format::Table => report::run::verdicts(runs, &view),
        Format::Wide => report::runs::runs(&rows, true, &view),
        Format::Json => output::json_line(&runs)?,
        Format::Yaml => output::yaml(&runs)?,
        Format::Csv => look::harmless(report::runs::as_csv(&rows), args.look.color),
        Format::Name => rows.iter().map(|row| format!("{}\n", row.id)).collect(),
    };
    // What runs on GitHub obeys lines of standard output, and much of this was written by others.
    match args.github {
        true => output::say(&text),
        false => output::write_beside(&text),
    }
}
