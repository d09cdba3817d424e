//! Parses the command line, hands over to a command, and sets the exit code.

use std::process::ExitCode;

use k6sync::cli::{Cli, Command};

fn main() -> ExitCode {
    keep_one_heap();
    let cli = Cli::from_command_line();
    if let Command::Logs(_) = cli.command {
        keep_what_is_freed();
    }
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
    set_allocator(libc::M_ARENA_MAX, 1);
}

/// Chunks of a log come and go. Where each is given back to the kernel and asked for again, 1 GB of log costs 60,000 page faults
/// instead of 9,000, and twice the time.
#[cfg(target_env = "gnu")]
fn keep_what_is_freed() {
    set_allocator(libc::M_MMAP_THRESHOLD, 8 * 1024 * 1024);
    set_allocator(libc::M_TRIM_THRESHOLD, 32 * 1024 * 1024);
}

#[cfg(target_env = "gnu")]
fn set_allocator(setting: libc::c_int, value: libc::c_int) {
    #[allow(
        unsafe_code,
        reason = "mallopt is the only way to say so, and there is no other thread yet"
    )]
    // SAFETY: it takes two numbers, and changes a setting of the allocator before a thread is started.
    unsafe {
        libc::mallopt(setting, value);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_one_heap() {}

#[cfg(not(target_env = "gnu"))]
fn keep_what_is_freed() {}
