//! Standard output: what was asked for, and nothing else.

use std::io::Write;

use anyhow::Context;

use crate::{harmless, yaml};

/// A value as JSON on standard output, harmless to terminals.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&harmless::json(&serde_json::to_string(value)?))
}

/// A value as JSON, one line.
pub(super) fn json_line(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(format!(
        "{}\n",
        harmless::json(&serde_json::to_string(value)?)
    ))
}

/// A value as YAML.
pub(super) fn yaml(value: &impl serde::Serialize) -> anyhow::Result<String> {
    yaml::to_string(value).context("cannot write the answer as YAML")
}

/// Text on standard output, as it is.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// The same of a command whose exit code is its answer, which does not depend on whether anybody reads this.
pub(super) fn write_beside(text: &str) -> anyhow::Result<()> {
    match write(text) {
        Err(error) if is_closed(&error) => Ok(()),
        written => written,
    }
}

/// Text for people on standard error.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stderr().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
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
