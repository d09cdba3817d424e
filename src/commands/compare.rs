//! `k6sync compare`: runs held against a base.

use super::reading::Asked;
use super::{exit, look, output};
use crate::cli::reading::{Compare, Format};
use crate::record::RunName;
use crate::record::compare::{Comparison, compare};
use crate::report;
use crate::store::Visible;

pub(super) async fn run(args: &Compare) -> anyhow::Result<u8> {
    let asked = Asked::open(&args.common).await?;
    let comparison = compared(args, &asked).await;
    asked.record.close().await;
    let comparison = comparison?;
    output::write_beside(&answer(args, &comparison)?)?;
    for note in &comparison.notes {
        tracing::warn!("{note}");
    }
    Ok(match args.fail {
        true => judged(&comparison),
        false => exit::DONE,
    })
}

async fn compared(args: &Compare, asked: &Asked) -> anyhow::Result<Comparison> {
    let mut ids = Vec::new();
    for other in &args.others {
        ids.push(asked.find(other).await?);
    }
    let base = match (&args.base, ids.first()) {
        (RunName::Previous, Some(first)) => {
            let anything = Visible::default();
            asked.record.previous(*first, &anything).await?
        }
        (base, _) => asked.find(base).await?,
    };
    let base = asked.run_of(base).await?;
    let mut others = Vec::new();
    for id in ids {
        others.push(asked.run_of(id).await?);
    }
    Ok(compare(&base, &others, args.tolerance))
}

/// A comparison that could not be made is no good news.
fn judged(comparison: &Comparison) -> u8 {
    if comparison.is_any_worse() {
        return exit::FAILED;
    }
    let doubts = comparison.doubts();
    for doubt in &doubts {
        tracing::error!("it can't be told whether anything is worse: {doubt}");
    }
    match doubts.is_empty() {
        true => exit::DONE,
        false => exit::UNKNOWN,
    }
}

fn answer(args: &Compare, comparison: &Comparison) -> anyhow::Result<String> {
    let shown = match args.changed {
        true => comparison.only_changes(),
        false => comparison.clone(),
    };
    let mut view = look::view(args.look.color);
    Ok(match args.look.output {
        Format::Table => report::compare::text(&shown, &view),
        Format::Wide => {
            view.width = None;
            report::compare::text(&shown, &view)
        }
        Format::Json => output::json_line(&shown)?,
        Format::Yaml => output::yaml(&shown)?,
        Format::Csv => report::compare::as_csv(&shown),
        Format::Name => report::compare::names(comparison),
    })
}
