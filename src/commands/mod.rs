//! One file a subcommand. Each puts rooms together and prints; none decides anything.

mod compare;
mod doctor;
mod exit;
mod files;
mod job;
mod logs;
mod look;
mod migrate;
mod output;
mod progress;
mod prune;
mod reading;
mod release;
mod remote;
mod report;
mod results;
mod run_loop;
mod runs;
mod setup;
mod shell;
mod show;
mod sync_once;
mod ui;
mod verify;
mod wait;

use std::process::ExitCode;

use crate::cli::reading::Show;
use crate::cli::{Cli, Command};
use crate::config;
use crate::signals::Signals;
use crate::telemetry;

/// Runs what the command line says, and tells how it went by the exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let common = cli.command.common();
    if let Some(remote) = common.remote {
        remote::begin(remote);
    }
    let environment = config::process_environment;
    telemetry::start(
        config::log_format(common),
        config::log_filter(&environment).as_deref(),
        || progress::Log,
    );
    let code = match execute(&cli.command).await {
        Ok(code) => code,
        // Whoever read the answer has seen enough: `k6sync logs RUN | head`. Not so where the exit code is the answer.
        Err(error) if output::is_closed(&error) && !has_verdict(&cli.command) => exit::DONE,
        Err(error) => {
            tracing::error!("{error:#}");
            exit::code(&error)
        }
    };
    remote::end(code);
    ExitCode::from(code)
}

/// Whether its exit code says more than that it was done.
const fn has_verdict(command: &Command) -> bool {
    !matches!(
        command,
        Command::Runs(_)
            | Command::Logs(_)
            | Command::Show(Show {
                exit_status: false,
                ..
            })
            | Command::Completions(_)
            | Command::Man(_)
    )
}

/// Does what the command line says, and returns the exit code.
async fn execute(command: &Command) -> anyhow::Result<u8> {
    let signals = Signals::new()?;
    // The loop ends in good order, and who waits for a run says that it was interrupted; whatever else is at work just ends. Who
    // reads a log knows why.
    match command {
        Command::Loop(args) => return run_loop::run(args, signals).await.map(|()| exit::DONE),
        Command::Wait(args) => return wait::run(args, signals).await,
        Command::Logs(args) => return logs::run(args, signals).await,
        Command::Ui(args) => return ui::run(args, signals).await,
        _ => signals.end_the_process(),
    }
    let done = match command {
        Command::Runs(args) => return runs::run(args).await,
        Command::Show(args) => return show::run(args).await,
        Command::Compare(args) => return compare::run(args).await,
        Command::Doctor(args) => return doctor::run(args).await,
        Command::Loop(_) | Command::Wait(_) | Command::Logs(_) | Command::Ui(_) => Ok(()),
        Command::SyncOnce(args) => sync_once::run(args).await,
        Command::Job(args) => job::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Release(args) => release::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Prune(args) => prune::run(args).await,
        Command::Results(args) => results::run(args).await,
        Command::Report(args) => report::run(args).await,
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args),
    };
    done.map(|()| exit::DONE)
}
