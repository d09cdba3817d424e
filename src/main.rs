//! Parses the command line, hands over to a command, and sets the exit code.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    k6sync::commands::run(k6sync::cli::Cli::parse()).await
}
