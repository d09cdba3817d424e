//! `k6sync runs`: the list of test runs.

use std::time::Duration;

use jiff::Timestamp;

use super::exit::Unreadable;
use super::reading::Asked;
use super::{exit, look, output};
use crate::cli::reading::{Format, Runs};
use crate::record::{self, RunsWanted};
use crate::report;
use crate::report::view::View;
use crate::store::{RunId, Visible};

/// How often a list that is watched is asked for.
const WATCH: Duration = Duration::from_secs(1);
/// Clears a terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

pub(super) async fn run(args: &Runs) -> anyhow::Result<u8> {
    let asked = Asked::open(&args.common).await?;
    let outcome = match args.watch {
        true => watch(args, &asked).await,
        false => once(args, &asked).await,
    };
    asked.record.close().await;
    outcome
}

async fn once(args: &Runs, asked: &Asked) -> anyhow::Result<u8> {
    let runs = page(args, asked).await?;
    let text = answer(args, &runs, &look::view(args.look.color))?;
    output::write(&text)?;
    if runs.runs.is_empty() {
        tracing::info!("there is no such run");
    }
    for problem in &runs.unreadable {
        tracing::error!("{problem}");
    }
    if let Some(next) = runs.next
        && look::ends_at(args.look.color).0
    {
        tracing::info!("there are older runs: --before {next}, or a greater --limit");
    }
    Ok(match runs.unreadable.is_empty() {
        true => exit::DONE,
        false => exit::UNKNOWN,
    })
}

/// Prints the list whenever it is another one.
async fn watch(args: &Runs, asked: &Asked) -> anyhow::Result<u8> {
    let (is_terminal, _) = look::ends_at(args.look.color);
    let mut last = None;
    loop {
        let runs = page(args, asked).await?;
        let is_first = last.is_none();
        // On a terminal times go on, too.
        if is_terminal || last.as_ref() != Some(&runs) {
            let text = answer(args, &runs, &look::view(args.look.color))?;
            match (is_terminal, is_first) {
                (true, _) => output::write(&format!("{CLEAR}{text}"))?,
                (false, true) => output::write(&text)?,
                (false, false) => output::write(&format!("\n{text}"))?,
            }
            last = Some(runs);
        }
        tokio::time::sleep(WATCH).await;
    }
}

async fn page(args: &Runs, asked: &Asked) -> anyhow::Result<record::Runs> {
    let wanted = RunsWanted {
        namespaces: asked.namespaces.clone(),
        statuses: (!args.status.is_empty()).then(|| args.status.clone()),
        since: args.since.map(|since| since.from(Timestamp::now())),
        name: args.name.clone(),
        before: args.before.map(RunId),
        limit: args.limit,
        visible: Visible::default(),
    };
    let runs = asked.record.runs(&wanted).await;
    Ok(runs.map_err(|error| Unreadable(error.into()))?)
}

fn answer(args: &Runs, runs: &record::Runs, view: &View) -> anyhow::Result<String> {
    Ok(match args.look.output {
        Format::Table => report::runs::runs(&runs.runs, false, view),
        Format::Wide => report::runs::runs(&runs.runs, true, view),
        Format::Json => output::json_line(runs)?,
        Format::Yaml => output::yaml(runs)?,
        Format::Csv => look::harmless(report::runs::as_csv(&runs.runs), args.look.color),
        Format::Name => runs
            .runs
            .iter()
            .map(|run| format!("{}\n", run.id))
            .collect(),
    })
}
