//! The commands that only read the record: what they print, and the exit codes that a pipeline gates on.

mod looks;
mod naming;
mod shells;
mod waiting;

use crate::support::program::Run;
use crate::support::{Database, Program};

/// `k6sync` with these arguments on the database alone: no cluster is needed.
fn ask(database: &Database, args: &[&str]) -> Program {
    Program::new(args).args(&["--database-url", database.url()])
}

/// Runs it; it must end with this code.
async fn expect(program: Program, code: i32) -> Run {
    let run = program.run().await;
    assert_eq!(run.code, code, "{run:?}");
    run
}
