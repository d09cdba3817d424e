//! Sets up tracing, and has the metrics. The log goes to standard error: standard output is for reports alone.

mod log;
mod metrics;

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

pub(crate) use self::metrics::CycleOutcome;
pub use self::metrics::Metrics;

/// What libraries log is in our errors already, with what was being done.
const DEFAULT_FILTER: &str = "warn,k6sync=info,kube_client=off,tower=off,sqlx=error";

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Starts the log, which `writer` takes to standard error. `filter` is in the form of `RUST_LOG`; one that can't be read is
/// ignored with a warning.
pub(crate) fn start<W: Write>(
    format: LogFormat,
    filter: Option<&str>,
    writer: impl Fn() -> W + Send + Sync + 'static,
) {
    let (filter, problem) = match filter.map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(problem)) => (EnvFilter::new(DEFAULT_FILTER), Some(problem)),
        None => (EnvFilter::new(DEFAULT_FILTER), None),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .fmt_fields(log::text_fields());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.event_format(log::JsonLines).init(),
    }
    // A panic's message may be foreign text too: it goes through the log, which makes it harmless.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("a bug in k6sync: {panic}")
    }));
    if let Some(problem) = problem {
        tracing::warn!("RUST_LOG can't be read: {problem}; using {DEFAULT_FILTER}");
    }
}
