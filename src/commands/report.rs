//! `k6sync report`

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::exit::{Unreadable, Wrong};
use super::files;
use super::reading::Asked;
use crate::cli::reading::Report;
use crate::record::{Record, Run};
use crate::report;

/// By which version a page was made.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Containers that failed, whose last words are in the page.
const MOST_FAILED: usize = 20;

pub(super) async fn run(args: &Report) -> anyhow::Result<()> {
    let files = [&args.html, &args.junit, &args.markdown];
    check(files.into_iter().flatten())?;
    let asked = Asked::open(&args.common).await?;
    let written = write(&asked, args).await;
    asked.record.close().await;
    written
}

/// Before anything is read: what the command line asks for can be done.
fn check<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<(), Wrong> {
    let mut seen = HashSet::new();
    for file in files {
        if !seen.insert(file) {
            return Err(Wrong(match file == Path::new("-") {
                true => "two reports can't both go to standard output; name a file for one of them"
                    .to_owned(),
                false => "two reports can't be in one file; name another one".to_owned(),
            }));
        }
        files::check(file)?;
    }
    Ok(())
}

async fn write(asked: &Asked, args: &Report) -> anyhow::Result<()> {
    let run = asked.run(&args.run).await?;
    if !run.outcome.ended {
        tracing::warn!(
            "run {} ({}) is not over: the report says what is known so far; `k6sync wait {}` waits for its end",
            run.row.id,
            run.row.name,
            run.row.id
        );
    }
    if let Some(file) = &args.html {
        files::replace(file, &page(&asked.record, &run).await?)?;
    }
    let run = [run];
    if let Some(file) = &args.junit {
        files::replace(file, &report::junit::junit(&run))?;
    }
    if let Some(file) = &args.markdown {
        files::replace(file, &report::markdown::markdown(&run))?;
    }
    Ok(())
}

async fn page(record: &Record, run: &Run) -> anyhow::Result<String> {
    let now = Timestamp::now();
    let details = record
        .details(run, MOST_FAILED, now)
        .await
        .map_err(|error| Unreadable(error.into()))?;
    Ok(report::html::page(run, &details, VERSION, now)?)
}
