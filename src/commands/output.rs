//! Standard output: what was asked for, and nothing else.

use std::io::Write;

use anyhow::Context;

use crate::harmless;

/// A value as JSON on standard output, harmless to terminals.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&harmless::json(&serde_json::to_string(value)?))
}

/// Text on standard output, as it is.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// One line, or several, on standard output.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write the report to standard output")
}

/// Whether nobody reads standard output any more, which is no error of ours.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
