//! One file a subcommand. Each puts rooms together and prints; none decides anything.

mod migrate;
mod sync_once;

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{Cli, Command, Common};
use crate::cluster::ClusterError;
use crate::config::{self, Config, ConfigError};
use crate::telemetry;

/// It could not be completed.
const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const EXIT_WRONG: u8 = 2;

/// Runs what the command line says, and tells how it went by the exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let common = match &cli.command {
        Command::SyncOnce(args) => &args.common,
        Command::Migrate(args) => &args.common,
    };
    let environment = config::process_environment;
    telemetry::start(
        config::log_format(common),
        config::log_filter(&environment).as_deref(),
    );
    let outcome = match &cli.command {
        Command::SyncOnce(args) => sync_once::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn load(common: &Common) -> Result<Config, ConfigError> {
    Config::load(common, &config::process_environment)
}

/// What another try could mend is 1, what only a person can is 2.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_wrong =
        error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(ClusterError::Config(_)));
    match is_wrong {
        true => EXIT_WRONG,
        false => EXIT_FAILED,
    }
}

/// One line, or several, on standard output.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}").context("cannot write the report to standard output")
}
