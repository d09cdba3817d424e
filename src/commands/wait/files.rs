//! What `wait` leaves for others to read: JUnit XML, Markdown, annotations.

use std::path::PathBuf;

use crate::cli::reading::Wait;
use crate::commands::exit::Wrong;
use crate::commands::{files, output};
use crate::record::Run;
use crate::report;

/// Half an hour later is too late to find that a file can't be written. And whatever becomes of this command, a JUnit file of an
/// earlier one must not be taken for its own.
pub(super) fn check(args: &Wait) -> anyhow::Result<()> {
    let named: Vec<&PathBuf> = [&args.junit, &args.markdown]
        .into_iter()
        .flatten()
        .collect();
    if let [one, other] = named[..]
        && one == other
    {
        return Err(
            Wrong("JUnit and Markdown can't be in one file; name another one".to_owned()).into(),
        );
    }
    for path in named {
        files::check(path)?;
    }
    if let Some(path) = &args.junit {
        files::forget(path)?;
    }
    Ok(())
}

pub(super) fn write(args: &Wait, runs: &[Run]) -> anyhow::Result<()> {
    if let Some(path) = &args.junit {
        files::replace(path, &report::junit::junit(runs))?;
    }
    if let Some(path) = &args.markdown {
        files::append(path, &report::markdown::markdown(runs))?;
    }
    if args.github {
        output::write(&report::github::annotations(runs))?;
    }
    Ok(())
}
