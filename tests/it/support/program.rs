//! The real binary.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Cluster, Database};

/// No run of the binary in a test takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command line of k6sync in an empty environment and an empty folder.
pub struct Program {
    command: Command,
    folder: tempfile::TempDir,
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
    /// The names of what is in its folder after it.
    pub files: Vec<String>,
}

/// A user and a group that own nothing, `nobody` by custom.
const NOBODY: u32 = 65534;

impl Program {
    /// `k6sync` with these arguments.
    pub fn new(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_k6sync"));
        Self {
            command: Self::command_in(folder.path(), binary, args),
            folder,
        }
    }

    /// `k6sync` with these arguments, of a user whom file permissions hold back, as they never do root.
    pub fn unprivileged(args: &[&str]) -> Self {
        let program = Self::new(args);
        let folder = program.folder.path().to_owned();
        if std::fs::metadata(&folder).unwrap().uid() != 0 {
            return program;
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        // The build folder may be closed to others, so that it runs from a copy. Not one of our own making: a file that
        // this process has open for writing when another test forks can't be run for a moment.
        let copy = folder.join("k6sync");
        let copied = std::process::Command::new("install")
            .args(["-m", "755", env!("CARGO_BIN_EXE_k6sync")])
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        let mut command = Self::command_in(&folder, &copy, args);
        command.uid(NOBODY).gid(NOBODY);
        Self { command, ..program }
    }

    fn command_in(folder: &Path, binary: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .args(args)
            .env_clear()
            .env("HOME", folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// `k6sync sync-once -o json` of the cluster's namespace into the database, and more arguments.
    pub fn sync_once(cluster: &Cluster, database: &Database, args: &[&str]) -> Self {
        let program = Self::new(&["sync-once", "-o", "json", "--database-url", database.url()]);
        program.kubeconfig(cluster.kubeconfig()).args(args)
    }

    /// `k6sync migrate` of the database.
    pub fn migrate(database: &Database) -> Self {
        Self::new(&["migrate", "--database-url", database.url()])
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

    /// `--config` with a file of this text.
    pub fn config(self, yaml: &str) -> Self {
        let path = self.folder.path().join("config.yaml");
        std::fs::write(&path, yaml).unwrap();
        self.args(&["--config", path.to_str().unwrap()])
    }

    /// No file that it writes may become longer: what a full disk is like. (`prlimit` is of util-linux.)
    pub fn limit_file_size(self, bytes: u64) -> Self {
        self.limit(&format!("--fsize={bytes}"))
    }

    /// It may have so many files and connections open.
    pub fn limit_open_files(self, files: u64) -> Self {
        self.limit(&format!("--nofile={files}:{files}"))
    }

    fn limit(self, limit: &str) -> Self {
        self.within("prlimit", |command| [vec![limit.into()], command].concat())
    }

    /// It runs on a terminal of its own, and what is shown there is its standard output. (`script` is of util-linux.)
    pub fn on_terminal(self) -> Self {
        self.env("TERM", "xterm").within("script", |command| {
            let quoted = command.iter().map(|word| {
                let word = word.to_str().unwrap().replace('\'', r"'\''");
                format!("'{word}'")
            });
            let line = quoted.collect::<Vec<_>>().join(" ");
            let options = ["--quiet", "--return", "--command", &line, "/dev/null"];
            options.map(OsString::from).to_vec()
        })
    }

    /// Another program of the system runs it; `args` makes that one's arguments of its words.
    fn within(mut self, program: &str, args: impl FnOnce(Vec<OsString>) -> Vec<OsString>) -> Self {
        let command = self.command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let mut outer = Command::new(program);
        outer
            .args(args(words.map(OsString::from).collect()))
            .env_clear()
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                outer.env(name, value);
            }
        }
        outer.env("PATH", "/usr/bin:/bin");
        self.command = outer;
        self
    }

    /// The command, for what is not foreseen here.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it, its standard error to be read; with its folder, which must outlive it. Dropped, it is killed.
    pub fn spawn(mut self) -> (Child, tempfile::TempDir) {
        self.command.stdout(Stdio::null()).stderr(Stdio::piped());
        (self.command.spawn().unwrap(), self.folder)
    }

    /// Runs it to its end.
    pub async fn run(mut self) -> Run {
        let output = timeout(DEADLINE, self.command.output())
            .await
            .expect("k6sync did not end")
            .unwrap();
        Run {
            files: files(self.folder.path()),
            ..Run::from(output)
        }
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
            files: Vec::new(),
        }
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut files: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    files.sort();
    files
}
