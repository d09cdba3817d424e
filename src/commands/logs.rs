//! `k6sync logs`: prints the log of a run, and follows it.
//!
//! What was read is written before more is asked for, and nothing is open in the database meanwhile: a pager that stands still holds
//! nobody up. Writing blocks this thread alone; the next chunk is fetched on others.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use jiff::Timestamp;

use super::exit::{self, Unreadable, Wrong};
use super::reading::Asked;
use super::{look, remote};
use crate::cli::reading::{Logs, Prefix};
use crate::cli::{Cli, OutputFormat};
use crate::record::log::{
    Grep, Log, LogError, LogGap, LogItem, LogLine, LogLines, LogWanted, Seen,
};
use crate::record::{NamingError, Record};
use crate::report::lines::{LineLook, LineWriter};
use crate::signals::Signals;
use crate::store::RunId;

/// How often a run that is followed is looked at: with this new lines are seen well within a second.
const LOOK: Duration = Duration::from_millis(300);
/// How often it is checked whether somebody syncs.
const CHECK_CYCLES: Duration = Duration::from_secs(20);
/// What an unprivileged process may ask for: both sides take fewer turns than with the usual 64 KiB.
#[cfg(target_os = "linux")]
const PIPE: usize = 1024 * 1024;
/// As large as a pipe usually is.
const BUFFER: usize = 64 * 1024;
/// How long to wait before writing again, where somebody made standard output refuse instead of wait.
const REFUSED: Duration = Duration::from_millis(5);

pub(super) async fn run(args: &Logs, signals: Signals) -> anyhow::Result<u8> {
    signals.end_the_process_quietly();
    let grep = args.grep.as_deref().map(|pattern| {
        Grep::new(pattern, args.ignore_case, usize::from(args.around))
            .unwrap_or_else(|error| wrong(&format!("--grep: {error}")))
    });
    let asked = Asked::open(&args.common).await?;
    let printed = print(args, &asked, grep).await;
    asked.record.close().await;
    printed.map(|()| exit::DONE)
}

/// As for any other wrong command line: several lines, which show where.
fn wrong(problem: &str) -> ! {
    let mut cli = Cli::command();
    cli.build();
    let command = match cli.find_subcommand_mut("logs") {
        Some(logs) => logs,
        None => &mut cli,
    };
    remote::end(exit::WRONG);
    command.error(ErrorKind::ValueValidation, problem).exit()
}

async fn print(args: &Logs, asked: &Asked, grep: Option<Grep>) -> anyhow::Result<()> {
    let run = asked.find(&args.run).await?;
    let mut log = Log::open(&asked.record, run, wanted(args))
        .await
        .map_err(told)?;
    let mut seen = Seen {
        has_ended: !args.follow,
        is_active: false,
        is_gone: false,
    };
    if args.follow {
        seen = log.look().await.map_err(told)?;
    }
    if log.containers().is_empty() && !seen.is_active {
        return say_why_nothing(args, asked, run).await;
    }
    let look = line_look(args, log.containers().len() > 1 || seen.is_active);
    let mut page = Page::new(look, args.output, grep)?;
    let mut watch = Watch::default();
    loop {
        match show(&mut log, &mut page).await {
            Ok(()) if seen.has_ended && log.containers().is_empty() => {
                return say_why_nothing(args, asked, run).await;
            }
            Ok(()) if seen.is_gone => {
                let gone = format!("the run {run} was deleted from the database");
                return Err(NamingError::NoSuchRun(gone).into());
            }
            Ok(()) if seen.has_ended => return end(&mut log, &mut page).await,
            Ok(()) => {}
            Err(error) => watch.say_away(error, args.follow)?,
        }
        tokio::time::sleep(LOOK).await;
        match log.look().await {
            Ok(now) => {
                watch.say_back();
                seen = now;
                watch.check(&asked.record, seen).await;
            }
            Err(error) => watch.say_away(error.into(), args.follow)?,
        }
    }
}

/// Everything was printed that is there. Was it all?
async fn end(log: &mut Log, page: &mut Page) -> anyhow::Result<()> {
    for gap in log.ended().await.map_err(told)? {
        page.gap(&gap)?;
    }
    page.flush()
}

fn wanted(args: &Logs) -> LogWanted {
    let nanoseconds = |time: Timestamp| {
        i64::try_from(time.as_nanosecond()).unwrap_or(match time < Timestamp::UNIX_EPOCH {
            true => i64::MIN,
            false => i64::MAX,
        })
    };
    LogWanted {
        steps: args.step.clone(),
        runners: args.runner.clone(),
        roles: args.role.clone(),
        failed: args.failed,
        since: args
            .since
            .map(|when| nanoseconds(when.from(Timestamp::now()))),
        tail: args.tail,
        is_tail: false,
        timed: args.timestamps || args.output == OutputFormat::Json,
        follow: args.follow,
        ..LogWanted::default()
    }
}

fn line_look(args: &Logs, are_several: bool) -> LineLook {
    let (terminal, color) = look::ends_at(args.color);
    LineLook {
        color,
        terminal,
        timestamps: args.timestamps,
        prefix: match args.prefix {
            Prefix::Auto => are_several,
            Prefix::Always => true,
            Prefix::Never => false,
        },
    }
}

/// What a person asked that the record does not have is told apart from a record that can't be read.
fn told(error: LogError) -> anyhow::Error {
    match error {
        LogError::NoSuch(problem) => Wrong(problem.to_string()).into(),
        error => Unreadable(error.into()).into(),
    }
}

/// There is no container to show.
async fn say_why_nothing(args: &Logs, asked: &Asked, run: RunId) -> anyhow::Result<()> {
    let run = asked.run_of(run).await?;
    let (name, status) = (&run.row.name, run.row.status);
    let why = match (&run.reason, &run.message) {
        (Some(reason), Some(message)) => format!("{status}, {reason}: {message}"),
        (Some(reason), None) => format!("{status}, {reason}"),
        _ => status.to_string(),
    };
    if run.containers().next().is_none() {
        tracing::warn!("no log of the run {name} is recorded. The run is {why}");
    } else if args.failed {
        tracing::info!("no container of the run {name} failed. The run is {why}");
    } else {
        tracing::warn!(
            "no container of the run {name} has all that --step, --runner and --role say; `k6sync show {}` lists them",
            run.row.id
        );
    }
    Ok(())
}

/// Writes all that there is to read now.
async fn show(log: &mut Log, page: &mut Page) -> anyhow::Result<()> {
    loop {
        page.writer.know(log.containers());
        match log.next().await.map_err(anyhow::Error::new)? {
            Some(LogItem::Lines(lines)) => page.lines(lines),
            Some(LogItem::Gap(gap)) => page.gap(&gap),
            None => return page.flush(),
        }?;
    }
}

/// Standard output, and what lines look like on it.
struct Page {
    out: BufWriter<Patient>,
    writer: LineWriter,
    grep: Option<Grep>,
    is_json: bool,
    is_plain: bool,
    is_terminal: bool,
    /// The last line has no end.
    is_open: bool,
    line: String,
}

impl Page {
    fn new(look: LineLook, output: OutputFormat, grep: Option<Grep>) -> anyhow::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        #[cfg(target_os = "linux")]
        if let Ok(stdout) = &stdout {
            // Of a pipe alone. Where it may not be, the pipe stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(stdout, PIPE);
        }
        Ok(Self {
            out: BufWriter::with_capacity(BUFFER, Patient(stdout.context(CANNOT)?.into())),
            writer: LineWriter::new(look),
            grep,
            is_json: output == OutputFormat::Json,
            is_plain: output == OutputFormat::Text && look.is_plain(),
            is_terminal: look.terminal,
            is_open: false,
            line: String::new(),
        })
    }

    fn lines(&mut self, lines: LogLines<'_>) -> anyhow::Result<()> {
        if let Some(mut grep) = self.grep.take() {
            let written = grep.each(lines, |line, is_apart| {
                if is_apart && !self.is_json {
                    self.line.clear();
                    self.writer.apart(&mut self.line);
                    self.write(true)?;
                }
                self.line(line)
            });
            self.grep = Some(grep);
            return written;
        }
        if !self.is_plain {
            return lines.iter().try_for_each(|line| self.line(line));
        }
        // Nobody looks at its lines.
        self.end_line()?;
        self.is_open = !lines.text.ends_with('\n');
        self.out.write_all(lines.text.as_bytes()).context(CANNOT)
    }

    fn line(&mut self, line: LogLine<'_>) -> anyhow::Result<()> {
        self.line.clear();
        match self.is_json {
            true => self.writer.json(&mut self.line, line),
            false => self.writer.text(&mut self.line, line),
        }
        self.write(line.ends || self.is_json)
    }

    fn gap(&mut self, gap: &LogGap) -> anyhow::Result<()> {
        self.line.clear();
        match self.is_json {
            true => self.writer.gap_json(&mut self.line, gap),
            false => self.writer.gap(&mut self.line, gap),
        }
        self.write(true)
    }

    /// Writes `self.line`.
    fn write(&mut self, ends: bool) -> anyhow::Result<()> {
        self.end_line()?;
        self.is_open = !ends;
        if ends {
            self.line.push('\n');
        }
        self.out.write_all(self.line.as_bytes()).context(CANNOT)
    }

    /// What follows a line without an end does not run into it.
    fn end_line(&mut self) -> anyhow::Result<()> {
        match std::mem::take(&mut self.is_open) {
            true => self.out.write_all(b"\n").context(CANNOT),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.is_terminal {
            self.end_line()?;
        }
        self.out.flush().context(CANNOT)
    }
}

const CANNOT: &str = "cannot write the log to standard output";

/// Standard output that is waited for, also where whoever shares it made it refuse.
struct Patient(std::fs::File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(REFUSED);
                }
                written_or_failed => return written_or_failed,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What is said while a run is followed: each thing once, until it has passed.
#[derive(Default)]
struct Watch {
    is_away: bool,
    checked: Option<Instant>,
    is_stalled: bool,
}

impl Watch {
    /// An error that may pass is said, and waited for while a run is followed; any other ends the command.
    fn say_away(&mut self, error: anyhow::Error, follow: bool) -> anyhow::Result<()> {
        match error.downcast::<LogError>() {
            Ok(error) if follow && error.may_pass() => {
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!("{error}; the log goes on as soon as it can be read again");
                }
                Ok(())
            }
            Ok(error) => Err(told(error)),
            Err(error) => Err(error),
        }
    }

    fn say_back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            tracing::info!("the database can be read again");
        }
    }

    /// Says so if nobody syncs what is followed.
    async fn check(&mut self, record: &Record, seen: Seen) {
        let is_due = self
            .checked
            .is_none_or(|checked| checked.elapsed() >= CHECK_CYCLES);
        if !seen.is_active || !is_due {
            return;
        }
        self.checked = Some(Instant::now());
        // If it can't be read, the next look says so.
        let Ok(stall) = record.stall(Timestamp::now()).await else {
            return;
        };
        if let Some(stall) = stall
            && !self.is_stalled
        {
            tracing::warn!(
                "nothing new comes while nothing is synced: {stall}; is the loop running? `k6sync job status` and `k6sync doctor` say more"
            );
        }
        self.is_stalled = stall.is_some();
    }
}
