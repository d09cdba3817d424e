//! Parses the command line, hands over to a command, and sets the exit code.

use std::process::ExitCode;

use k6sync::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            // There is no log yet.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("cannot start threads: {error}\n"),
            );
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(k6sync::commands::run(cli));
    // A name that is still being looked up must not hold up the exit.
    runtime.shutdown_background();
    code
}
