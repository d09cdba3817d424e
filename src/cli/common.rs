//! What several command lines have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::telemetry::LogFormat;

/// A duration in words such as `30d`, with days of 24 hours; `None`: it is none.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// More than no time.
pub(super) fn positive_age(text: &str) -> Result<SignedDuration, String> {
    duration(text)
        .filter(|time| time.is_positive())
        .ok_or_else(|| "it must be a time such as 30m or 2h".to_owned())
}

/// Settings that commands share.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Configuration file; config.example.yaml has all keys
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Database: sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE [env: DATABASE_URL] [default:
    /// sqlite://k6sync.db]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Namespace to sync, or to read; repeatable [default: the kubeconfig's or the pod's own; to read: those of the
    /// configuration, else all]
    #[arg(short, long, global = true, value_name = "NS")]
    pub namespace: Vec<String>,
    /// Sync, or read, all namespaces
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Kubeconfig context [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Form of the log on standard error [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Run for `kubectl k6sync`, which is elsewhere
    #[arg(long, global = true, hide = true, value_name = "COLUMNS[,color]", value_parser = remote)]
    pub remote: Option<Remote>,
}

/// What the terminal is like of whoever runs this from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `None`: there is none.
    pub columns: Option<usize>,
    /// It shows colours.
    pub color: bool,
}

fn remote(text: &str) -> Result<Remote, String> {
    let (columns, color) = match text.strip_suffix(",color") {
        Some(columns) => (columns, true),
        None => (text, false),
    };
    let columns: usize = columns
        .parse()
        .map_err(|_| "it must be a number of columns")?;
    Ok(Remote {
        columns: Some(columns).filter(|columns| *columns > 0),
        color,
    })
}

/// Form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Which TestRuns are held until their logs are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HoldMode {
    /// Those that k6-operator deletes when they have ended (`spec.cleanup: post`).
    Cleanup,
    /// All.
    All,
    /// None, and those that are held are released.
    None,
}
