//! Parses the command line, hands over to a command, and sets the exit code.

use std::process::ExitCode;

use k6sync::cli::Cli;

fn main() -> ExitCode {
    keep_one_heap();
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

/// glibc gives each thread a heap of its own, and what one has freed the others can't use: with one heap for all, a first sync of
/// 10,000 pods takes 55 MB instead of 65, in the same time (docs/cost.md).
#[cfg(target_env = "gnu")]
fn keep_one_heap() {
    #[allow(
        unsafe_code,
        reason = "mallopt is the only way to say so, and there is no other thread yet"
    )]
    // SAFETY: it takes two numbers, and changes a setting of the allocator before a thread is started.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_one_heap() {}
