//! The command line, nothing else. Defaults and checks are in `config`.

mod common;
pub mod reading;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use self::common::duration;
pub use self::common::{Common, HoldMode, OutputFormat, Remote};
use self::reading::{Compare, Completions, Doctor, Logs, Man, Report, Runs, Show, Ui, Wait};
use crate::discreet;
use crate::sync_loop::control::Interval;

/// Keeps a load-testing dashboard's database true: copies the status and the logs of k6-operator TestRuns from
/// Kubernetes into SQL.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 it could not be completed, 2 the command line or configuration is wrong."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line. A wrong one is an error that ends the process; what may be a secret in it is not shown.
    pub fn from_command_line() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            let said = error.render().to_string();
            let arguments =
                std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
            let shown = without_secrets(&said, arguments.skip(1));
            let is_remote =
                |argument: std::ffi::OsString| argument.to_string_lossy().starts_with("--remote");
            if std::env::args_os().any(is_remote) {
                let code = u8::try_from(error.exit_code()).unwrap_or(u8::MAX);
                let message = crate::remote::Message::Exit(code).to_line();
                let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
            }
            if shown == said {
                error.exit();
            }
            // Whether or not it can be written, the exit code tells.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), shown.as_bytes());
            std::process::exit(error.exit_code())
        })
    }
}

/// The text without those of the arguments, and of the values in them, that may be secrets.
fn without_secrets(text: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut secrets: Vec<String> = arguments
        .flat_map(|argument| {
            let attached = argument
                .strip_prefix('-')
                .filter(|rest| !rest.starts_with('-'))
                .map(|rest| rest.chars().skip(1).collect::<String>());
            let value = argument.split_once('=').map(|(_, value)| value.to_owned());
            [Some(argument), value, attached]
        })
        .flatten()
        .filter(|piece| piece.len() > 2 && discreet::word(piece) == discreet::HIDDEN)
        .collect();
    // The whole before its parts.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret, discreet::HIDDEN)
    })
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Perform one full reconciliation cycle and exit
    SyncOnce(SyncOnce),
    /// Perform that cycle every N seconds, until told to stop
    Loop(Loop),
    /// Show or change what the loop does, by the control ConfigMap
    Job(Job),
    /// Bring the database to the schema of this k6sync and exit
    Migrate(Migrate),
    /// Compare the record with the cluster's containers and logs, and with its own hashes
    Verify(Verify),
    /// Release TestRuns that are held (capture.hold), whatever is recorded; needs no database
    Release(Release),
    /// Delete old logs and cycles; steps, runs and their status stay
    Prune(Prune),
    /// What k6 measured, over all runners
    Results(Results),
    /// List test runs, newest first
    Runs(Runs),
    /// Show a test run: verdict and reason, steps, runners, thresholds, checks, metrics
    Show(Show),
    /// Print the logs of a test run, merged by time
    Logs(Logs),
    /// Wait until test runs have ended and are recorded; the exit code is the verdict
    Wait(Wait),
    /// Compare what k6 measured in test runs
    Compare(Compare),
    /// Write a test run as HTML, JUnit XML or Markdown
    Report(Report),
    /// Look at runs, results and logs in a browser, from the database alone
    Ui(Ui),
    /// Check database, cluster, rights, control and loop, and say what to do
    Doctor(Doctor),
    /// Print what a shell needs to complete k6sync's command lines
    Completions(Completions),
    /// Print the man page
    Man(Man),
}

impl Command {
    /// The settings that all of them share.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::SyncOnce(args) => &args.common,
            Self::Loop(args) => &args.common,
            Self::Job(args) => &args.common,
            Self::Migrate(args) => &args.common,
            Self::Release(args) => &args.common,
            Self::Verify(args) => &args.common,
            Self::Prune(args) => &args.common,
            Self::Results(args) => &args.common,
            Self::Runs(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Logs(args) => &args.common,
            Self::Wait(args) => &args.common,
            Self::Compare(args) => &args.common,
            Self::Report(args) => &args.common,
            Self::Ui(args) => &args.common,
            Self::Doctor(args) => &args.common,
            Self::Completions(args) => &args.common,
            Self::Man(args) => &args.common,
        }
    }
}

/// `k6sync sync-once`
#[derive(Debug, Args)]
pub struct SyncOnce {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Sync even if it is switched off
    #[arg(long)]
    pub force: bool,
    /// Read everything, write nothing, and print what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Form of the report on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Do not migrate the database; fail if it needs to be
    #[arg(long)]
    pub no_migrate: bool,
    /// Hold TestRuns, by a finalizer, until their logs are recorded: those with `cleanup: post`, all, or none [default:
    /// capture.hold, then only to release what is recorded; without a value: all]
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "all", hide_possible_values = true)]
    pub hold: Option<HoldMode>,
}

/// `k6sync loop`
#[derive(Debug, Args)]
pub struct Loop {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Where the HTTP server listens [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Serve HTTPS with this certificate, PEM; read again when it changes [default: tls.cert, or plain HTTP]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// And this private key, PEM [default: tls.key]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Do not migrate the database; fail if it needs to be
    #[arg(long)]
    pub no_migrate: bool,
    /// Hold TestRuns, by a finalizer, until their logs are recorded: those with `cleanup: post`, all, or none [default:
    /// capture.hold, then cleanup; without a value: all]
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "all", hide_possible_values = true)]
    pub hold: Option<HoldMode>,
}

/// `k6sync job`
#[derive(Debug, Args)]
pub struct Job {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub action: JobAction,
    /// Form of the answer on standard output
    #[arg(
        short,
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        global = true
    )]
    pub output: OutputFormat,
}

/// What to do with the job.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum JobAction {
    /// Show what holds, who syncs, and what the last cycles did
    Status,
    /// Switch sync on
    Start {
        /// Seconds between the starts of two cycles, 5 to 300 [default: as it is]
        #[arg(long, value_name = "SECONDS", value_parser = interval)]
        interval: Option<Interval>,
    },
    /// Switch sync off
    Stop,
    /// Switch sync on, go back to the default interval, and start a cycle at once
    Restart {
        /// Seconds between the starts of two cycles, 5 to 300 [default: the default]
        #[arg(long, value_name = "SECONDS", value_parser = interval)]
        interval: Option<Interval>,
    },
}

fn interval(text: &str) -> Result<Interval, String> {
    text.parse()
}

/// `k6sync migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Let this cluster share the database with those that it knows
    #[arg(long, conflicts_with = "same_cluster")]
    pub new_cluster: bool,
    /// This is the cluster that the database knows, built or its namespace made anew; with several, its ID in `clusters`
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub same_cluster: Option<String>,
    /// This database is a copy of another one that stays in use: it gets an id of its own, and leaves the holds on TestRuns
    /// to the other
    #[arg(long, conflicts_with_all = ["new_cluster", "same_cluster"])]
    pub new_identity: bool,
}

/// `k6sync verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// The test run, by id, external_id or name [default: all whose pods are there]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Verify the record by its hashes alone, without a cluster: all of it, or one run
    #[arg(long)]
    pub offline: bool,
    /// Form of the result on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// `k6sync release`
#[derive(Debug, Args)]
pub struct Release {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// TestRuns to release [default: all that are held]
    #[arg(value_name = "TESTRUN")]
    pub names: Vec<String>,
    /// Switch sync off first, so that no loop holds them again: what to run before k6sync is uninstalled
    #[arg(long, conflicts_with = "names")]
    pub stop: bool,
}

/// `k6sync prune`
#[derive(Debug, Args)]
pub struct Prune {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Logs of runs that finished longer ago, and cycles that began longer ago, such as 30d or 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: SignedDuration,
    /// Keep the logs of the newest N runs, however old they are
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32))]
    pub keep_last: u32,
    /// Delete nothing, and print what would be deleted
    #[arg(long)]
    pub dry_run: bool,
}

/// `k6sync results`
#[derive(Debug, Args)]
pub struct Results {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub action: ResultsAction,
}

/// What to do with results.
#[derive(Debug, Subcommand)]
pub enum ResultsAction {
    /// Read the stored logs again, and store what k6 measured: of those that an older k6sync, or none, has read
    ///
    /// Logs that were pruned keep their results, and so do those that a newer k6sync has read. Stop no loop for it.
    #[command(after_help = "\
Examples:
  k6sync results rebuild
  k6sync results rebuild --run nightly")]
    Rebuild {
        /// One test run, by id, external_id or name [default: all]
        #[arg(long, value_name = "RUN", conflicts_with = "all")]
        run: Option<String>,
        /// All logs that are there, also those that this version has read before
        #[arg(long)]
        all: bool,
    },
}

/// At least a minute, so that a typo does not cost everything.
fn age(text: &str) -> Result<SignedDuration, String> {
    let age = duration(text).ok_or("it must be an age such as 30d or 12h")?;
    match age >= SignedDuration::from_mins(1) {
        true => Ok(age),
        false => Err("it must be at least 1m".to_owned()),
    }
}
