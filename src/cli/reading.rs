//! The command lines of what only reads the record.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::common::{Common, OutputFormat, positive_age};
use crate::record::compare::tolerance;
use crate::record::{RunName, When};
use crate::store::{Role, Status};

/// How an answer looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people, as many as fit
    #[default]
    Table,
    /// All columns
    Wide,
    /// JSON, in the API's words
    Json,
    /// The same as YAML
    Yaml,
    /// The columns of `wide`, comma-separated
    Csv,
    /// Ids alone, a line each
    Name,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What all of them can look like.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Look {
    /// Form of the answer on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// `k6sync runs`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k6sync runs
  k6sync runs --status failed,errored --since 7d -o wide
  k6sync runs --name 'nightly*' --limit 100 -o csv > nightly.csv")]
pub struct Runs {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// How it looks.
    #[command(flatten)]
    pub look: Look,
    /// Only runs with one of these statuses, comma-separated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status())]
    pub(crate) status: Vec<Status>,
    /// Only runs that began within this time (7d, 12h), or at this moment (2026-11-23T04:00:00Z) or later
    #[arg(long, value_name = "WHEN", value_parser = When::from_str)]
    pub(crate) since: Option<When>,
    /// Only runs with this name; `*` stands for any characters
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Only runs that are older than the one with this id: the next page
    #[arg(long, value_name = "ID")]
    pub before: Option<i64>,
    /// Show the list again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// `k6sync show`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k6sync show nightly
  k6sync show @latest --exit-status -o json")]
pub struct Show {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// How it looks.
    #[command(flatten)]
    pub look: Look,
    /// The test run: its id, name (the newest of that name), external_id, TestRun uid, or @latest
    #[arg(value_name = "RUN")]
    pub(crate) run: RunName,
    /// End with the exit code that `wait` would have; 1 also while it has not ended
    #[arg(long)]
    pub exit_status: bool,
}

/// `k6sync logs`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k6sync logs nightly -f
  k6sync logs nightly --failed
  k6sync logs 42 --role runner --grep 'status=5..' -C 3 --timestamps")]
pub struct Logs {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// The test run: its id, name (the newest of that name), external_id, TestRun uid, or @latest
    #[arg(value_name = "RUN")]
    pub(crate) run: RunName,
    /// Go on with new lines as they are recorded, until the run has ended and its logs are complete
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines that were written within this time (10m), or at this moment (2026-11-23T04:00:00Z) or later
    #[arg(long, value_name = "WHEN", value_parser = When::from_str)]
    pub(crate) since: Option<When>,
    /// Only the last N lines of each container
    #[arg(long, value_name = "N")]
    pub tail: Option<u64>,
    /// When each line was written, as the kubelet says, before it
    #[arg(long)]
    pub timestamps: bool,
    /// The container before each line: where there are several, always or never
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub prefix: Prefix,
    /// Only this step, by name, TestRun name or position; repeatable
    #[arg(long, value_name = "STEP")]
    pub step: Vec<String>,
    /// Only the runner with this number; repeatable
    #[arg(long, value_name = "N")]
    pub runner: Vec<u32>,
    /// Only containers with this role; repeatable
    #[arg(long, value_name = "ROLE", value_parser = role())]
    pub(crate) role: Vec<Role>,
    /// Only containers that failed, from their first error on
    #[arg(long)]
    pub failed: bool,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Small letters in --grep match large ones too
    #[arg(short, long, requires = "grep")]
    pub ignore_case: bool,
    /// With --grep, show N lines of the same container before and after each match, up to 1000
    #[arg(
        short = 'C',
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "grep",
        value_parser = clap::value_parser!(u16).range(..=1_000)
    )]
    pub around: u16,
    /// Form of each line: text, or json with timestamp, body, level, id and labels
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// When lines have the name of their container before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Prefix {
    /// Where there are several containers
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `k6sync wait`
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 passed; 99 thresholds failed, and other codes of k6's (97 to 110) where all runners that failed agree; 1 failed in
another way, killed, mixed or lost; 2 the command line is wrong; 3 no such run; 4 passed, but the record has gaps (with
--require-complete); 5 it can't be told, since the database can't be read; 124 timeout; 130 interrupted. Of several runs it is
the code of those that did not pass, if they agree on it, else 1.

Examples:
  k6sync wait \"$(kubectl apply -f testrun.yaml -o jsonpath='{.metadata.uid}')\" --for-appearance 5m --junit results.xml
  k6sync wait 41 42 --timeout 30m --require-complete")]
pub struct Wait {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Test runs: ids, names (the newest of that name), external_ids, TestRun uids, or @latest
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<RunName>,
    /// Give up after this time, with exit code 124
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = positive_age)]
    pub timeout: SignedDuration,
    /// Wait up to this time for a run that does not exist yet
    #[arg(long, value_name = "TIME", value_parser = positive_age)]
    pub for_appearance: Option<SignedDuration>,
    /// Refuse runs whose TestRun was created earlier: yesterday's run of the same name
    #[arg(long, value_name = "WHEN", value_parser = When::from_str)]
    pub(crate) after: Option<When>,
    /// Refuse runs whose TestRun was created before this command began: start it first, then the TestRun
    #[arg(long, conflicts_with = "after")]
    pub new: bool,
    /// Wait until each run has this many steps, and all of them have ended
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Exit code 4 where a run passed, but lines may be missing in its logs
    #[arg(long)]
    pub require_complete: bool,
    /// Write JUnit XML there: a suite a run, a test case a threshold, check and runner
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Append Markdown there, such as to $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Print annotations for GitHub Actions
    #[arg(long)]
    pub github: bool,
    /// How it looks.
    #[command(flatten)]
    pub look: Look,
}

/// `k6sync compare`
#[derive(Debug, Args)]
#[command(after_help = "\
Values over all runners are intervals, and only where two of them don't overlap is there a difference. More errors and longer times
are worse; more requests are neither. What can't be told is `not comparable`, with the reason.

Exit codes: 0 compared; 1 with --fail: something is worse; 2 the command line is wrong; 3 no such run; 5 the database can't be
read, or with --fail: nothing is seen to be worse, but a step could not be compared.

Examples:
  k6sync compare @previous nightly
  k6sync compare release-41 release-42 --tolerance 10% --fail")]
pub struct Compare {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// How it looks.
    #[command(flatten)]
    pub look: Look,
    /// The run to compare with, by id, name (the newest of that name), external_id or TestRun uid; or @previous: the one before
    /// the first OTHER, of the same name
    #[arg(value_name = "BASE")]
    pub(crate) base: RunName,
    /// The runs to compare with it, one to four
    #[arg(value_name = "OTHER", required = true, num_args = 1..=4, value_parser = another)]
    pub(crate) others: Vec<RunName>,
    /// Changes up to this part of the base's value are no difference
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = tolerance)]
    pub tolerance: f64,
    /// Exit code 1 if anything is certainly worse, 5 if a step can't be compared
    #[arg(long)]
    pub fail: bool,
    /// Only what is worse, better or changed
    #[arg(long)]
    pub changed: bool,
}

/// `k6sync report`
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("files").required(true).multiple(true),
    after_help = "\
Examples:
  k6sync report nightly --html nightly.html
  k6sync report @latest --junit - --markdown summary.md"
)]
pub struct Report {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// The test run: its id, name (the newest of that name), external_id, TestRun uid, or @latest
    #[arg(value_name = "RUN")]
    pub(crate) run: RunName,
    /// Write one self-contained HTML page; - is standard output
    #[arg(long, value_name = "FILE", group = "files")]
    pub html: Option<PathBuf>,
    /// Write JUnit XML; - is standard output
    #[arg(long, value_name = "FILE", group = "files")]
    pub junit: Option<PathBuf>,
    /// Write Markdown; - is standard output
    #[arg(long, value_name = "FILE", group = "files")]
    pub markdown: Option<PathBuf>,
}

/// `k6sync ui`
#[derive(Debug, Args)]
#[command(after_help = "\
The address that is printed has a token that is good for one browser, once. Nothing can be changed there. It ends with Ctrl-C.

Exit codes: 130 interrupted; 2 the command line is wrong; 5 the database can't be read.

Examples:
  k6sync ui
  k6sync ui --database-url postgres://reader@db.example/k6sync --port 8081 --no-open")]
pub struct Ui {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// The port on 127.0.0.1 where the pages are [default: any that is free]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Only print the address; else it is opened where there are a terminal and a screen
    #[arg(long)]
    pub no_open: bool,
}

/// `k6sync doctor`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k6sync doctor
  k6sync doctor --namespace k6-runs -o json")]
pub struct Doctor {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Form of the answer on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// `k6sync completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k6sync completions bash > /etc/bash_completion.d/k6sync
  k6sync completions zsh > ~/.zfunc/_k6sync")]
pub struct Completions {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `k6sync man`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  k6sync man | man -l -
  k6sync man /usr/local/share/man/man1")]
pub struct Man {
    /// Settings that commands share.
    #[command(flatten)]
    pub common: Common,
    /// Write a page for each command into this folder [default: the page of k6sync to standard output]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// A run that others can't be meant by.
fn another(text: &str) -> Result<RunName, String> {
    match text.parse()? {
        RunName::Previous => {
            Err("@previous is the run before another one: it can only be BASE".to_owned())
        }
        name => Ok(name),
    }
}

/// The words of the database contract as values of an option.
fn status() -> impl TypedValueParser<Value = Status> {
    let words = Status::ALL
        .iter()
        .map(|status| PossibleValue::new(status.as_str()));
    PossibleValuesParser::new(words)
        .try_map(|word| Status::parse(&word).ok_or("it is no status of a run"))
}

fn role() -> impl TypedValueParser<Value = Role> {
    let words = Role::ALL
        .iter()
        .map(|role| PossibleValue::new(role.as_str()));
    PossibleValuesParser::new(words)
        .try_map(|word| Role::parse(&word).ok_or("it is no role of a container"))
}
