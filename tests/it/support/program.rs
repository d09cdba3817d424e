//! The real binary.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Cluster, Database};

/// No run of the binary in a test takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command line of k6sync in an empty environment and an empty folder.
pub struct Program {
    command: Command,
    _folder: tempfile::TempDir,
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Program {
    /// `k6sync` with these arguments.
    pub fn new(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_k6sync"));
        command
            .args(args)
            .env_clear()
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self {
            command,
            _folder: folder,
        }
    }

    /// `k6sync sync-once -o json` of the cluster's namespace into the database, and more arguments.
    pub fn sync_once(cluster: &Cluster, database: &Database, args: &[&str]) -> Self {
        let program = Self::new(&["sync-once", "-o", "json", "--database-url", database.url()]);
        program.kubeconfig(cluster.kubeconfig()).args(args)
    }

    /// More arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets `KUBECONFIG`.
    pub fn kubeconfig(self, path: &Path) -> Self {
        let path = path.to_str().unwrap().to_owned();
        self.env("KUBECONFIG", &path)
    }

    /// The command, for what is not foreseen here.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end.
    pub async fn run(mut self) -> Run {
        let output = timeout(DEADLINE, self.command.output())
            .await
            .expect("k6sync did not end")
            .unwrap();
        Run::from(output)
    }

    /// Runs it to its end, which must be a completed cycle, and returns its JSON report.
    pub async fn report(self) -> Value {
        let run = self.run().await;
        assert_eq!(run.code, 0, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
