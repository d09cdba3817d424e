//! One file a subcommand. Each puts rooms together and prints; none decides anything.

mod job;
mod migrate;
mod output;
mod progress;
mod prune;
mod release;
mod results;
mod run_loop;
mod setup;
mod sync_once;
mod verify;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::cluster::ClusterError;
use crate::config::{self, ConfigError};
use crate::server::tls::TlsError;
use crate::signals::Signals;
use crate::telemetry;

/// It could not be completed.
const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const EXIT_WRONG: u8 = 2;

/// Runs what the command line says, and tells how it went by the exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let common = match &cli.command {
        Command::SyncOnce(args) => &args.common,
        Command::Loop(args) => &args.common,
        Command::Job(args) => &args.common,
        Command::Migrate(args) => &args.common,
        Command::Release(args) => &args.common,
        Command::Verify(args) => &args.common,
        Command::Prune(args) => &args.common,
        Command::Results(args) => &args.common,
    };
    let environment = config::process_environment;
    telemetry::start(
        config::log_format(common),
        config::log_filter(&environment).as_deref(),
        || progress::Log,
    );
    match execute(&cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

async fn execute(command: &Command) -> anyhow::Result<()> {
    let signals = Signals::new()?;
    // The loop ends in good order; whatever else is at work just ends.
    if let Command::Loop(args) = command {
        return run_loop::run(args, signals).await;
    }
    signals.end_the_process();
    match command {
        Command::SyncOnce(args) => sync_once::run(args).await,
        Command::Loop(_) => Ok(()),
        Command::Job(args) => job::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Release(args) => release::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Prune(args) => prune::run(args).await,
        Command::Results(args) => results::run(args).await,
    }
}

/// What another try could mend is 1, what only a person can is 2.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_wrong = error.is::<ConfigError>()
        || error.is::<TlsError>()
        || matches!(error.downcast_ref(), Some(ClusterError::Config(_)));
    match is_wrong {
        true => EXIT_WRONG,
        false => EXIT_FAILED,
    }
}
