//! What `wait` leaves for others to read: JUnit XML, Markdown, annotations.

use crate::cli::reading::Wait;
use crate::commands::{files, output};
use crate::record::Run;
use crate::report;

/// Half an hour later is too late to find that a file can't be written.
pub(super) fn check(args: &Wait) -> anyhow::Result<()> {
    for path in [&args.junit, &args.markdown].into_iter().flatten() {
        files::check(path)?;
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
