//! `kubectl k6sync …`: the commands of k6sync, in the k6sync pod, by `kubectl exec`. So nobody needs the database's address.
//!
//! `kubectl` finds this program in `PATH` by its name. It runs `kubectl exec deployment/k6sync -- k6sync --remote …`, passes the
//! answer on, writes files here that the command line names, and ends with the exit code that k6sync had there.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use k6sync::remote::Message;

const USAGE: &str = "\
Run k6sync's commands in the k6sync pod, so that nobody needs the database's address.

Usage: kubectl k6sync [OPTIONS] COMMAND [ARGUMENTS]

Commands: runs, show, logs, wait, compare, report, doctor, results, job, verify; `kubectl k6sync COMMAND --help` explains each

Options:
      --k6sync-namespace <NS>  Where k6sync is installed [default: k6-runs]
      --k6sync-target <NAME>   What to run it in: a deployment or a pod [default: deployment/k6sync]
      --context, --kubeconfig, --cluster, --user, --as, --as-group, --server, --token, --request-timeout
                               kubectl's own
  -n, --namespace <NS>         Only runs of this namespace
  -A, --all-namespaces         Runs of all namespaces
  -h, --help                   This; after a command, that command's help
      --version                The version of this plugin

It needs the right to `create` on `pods/exec` where k6sync is installed, which lets do much more than read.

Examples:
  kubectl k6sync runs
  kubectl k6sync logs nightly -f
  kubectl k6sync wait nightly --new --for-appearance 5m --junit results.xml";

const COMMANDS: &[&str] = &[
    "runs", "show", "logs", "wait", "compare", "report", "doctor", "results", "job", "verify",
];
/// Of kubectl, with a value.
const OF_KUBECTL: &[&str] = &[
    "--context",
    "--kubeconfig",
    "--cluster",
    "--user",
    "--as",
    "--as-group",
    "--server",
    "--token",
    "--request-timeout",
];
/// Of k6sync, with the name of a file to write.
const FILES: &[&str] = &["--junit", "--markdown", "--html"];

/// The command line is wrong.
const WRONG: u8 = 2;
/// It can't be told.
const UNKNOWN: u8 = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match Plan::of(&arguments) {
        Ok(plan) => plan,
        Err(Stop::Show(text)) => {
            say_out(&text);
            return ExitCode::SUCCESS;
        }
        Err(Stop::Wrong(problem)) => {
            say(&format!("error: {problem}"));
            return ExitCode::from(WRONG);
        }
    };
    ExitCode::from(run(&plan))
}

/// What is to be run.
struct Plan {
    /// For kubectl.
    kubectl: Vec<String>,
    namespace: String,
    target: String,
    /// What k6sync is to do.
    command: String,
    /// Its arguments.
    k6sync: Vec<String>,
    /// Files that may be written here.
    files: HashSet<String>,
}

enum Stop {
    Show(String),
    Wrong(String),
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Self, Stop> {
        let mut plan = Self {
            kubectl: Vec::new(),
            namespace: "k6-runs".to_owned(),
            target: "deployment/k6sync".to_owned(),
            command: String::new(),
            k6sync: Vec::new(),
            files: HashSet::new(),
        };
        let mut command = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let is_known = OF_KUBECTL.contains(&name)
                || FILES.contains(&name)
                || matches!(name, "--k6sync-namespace" | "--k6sync-target");
            if !is_known {
                if command.is_none() && !argument.starts_with('-') {
                    command = Some(argument.clone());
                    continue;
                }
                // Before the command, where only these are known that have a value.
                if command.is_none() && matches!(argument.as_str(), "-n" | "--namespace") {
                    let value = arguments.next().cloned();
                    let value =
                        value.ok_or_else(|| Stop::Wrong(format!("{argument} needs a value")))?;
                    plan.k6sync.extend([argument.clone(), value]);
                    continue;
                }
                match (argument.as_str(), &command) {
                    ("-h" | "--help", None) => return Err(Stop::Show(USAGE.to_owned())),
                    ("--version", None) => {
                        let version = env!("CARGO_PKG_VERSION");
                        return Err(Stop::Show(format!("kubectl-k6sync {version}")));
                    }
                    _ => plan.k6sync.push(argument.clone()),
                }
                continue;
            }
            let value = attached.or_else(|| arguments.next().cloned());
            let value = value.ok_or_else(|| Stop::Wrong(format!("{name} needs a value")))?;
            match name {
                "--k6sync-namespace" => plan.namespace = value,
                "--k6sync-target" => plan.target = value,
                name if FILES.contains(&name) => {
                    if value != "-" {
                        check_file(&value)?;
                        plan.files.insert(value.clone());
                    }
                    plan.k6sync.extend([name.to_owned(), value]);
                }
                name => plan.kubectl.push(format!("{name}={value}")),
            }
        }
        match command {
            None => Err(Stop::Show(USAGE.to_owned())),
            Some(command) if COMMANDS.contains(&command.as_str()) => Ok(Self { command, ..plan }),
            Some(other) => Err(Stop::Wrong(format!(
                "`{}` is none of the commands that this plugin runs: {}",
                other.escape_debug(),
                COMMANDS.join(", ")
            ))),
        }
    }

    /// `kubectl exec … -- k6sync --remote …`
    fn command_line(&self) -> Vec<OsString> {
        let mut line: Vec<String> = self.kubectl.clone();
        line.extend([
            "exec".to_owned(),
            // What it reads tells k6sync there that nobody waits for it any more: it ends when that ends.
            "--stdin".to_owned(),
            format!("--namespace={}", self.namespace),
            "--container=k6sync".to_owned(),
            self.target.clone(),
            "--".to_owned(),
            "/usr/local/bin/k6sync".to_owned(),
            self.command.clone(),
        ]);
        let stdout = std::io::stdout();
        let size = terminal_size::terminal_size().filter(|_| stdout.is_terminal());
        // A terminal of an unknown width is a terminal all the same: what is printed there must be harmless.
        let columns = match stdout.is_terminal() {
            true => size.map_or(80, |(columns, _)| columns.0),
            false => 0,
        };
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        line.push(match stdout.is_terminal() && !is_set("NO_COLOR") {
            true => format!("--remote={columns},color"),
            false => format!("--remote={columns}"),
        });
        line.extend(self.k6sync.iter().cloned());
        line.into_iter().map(OsString::from).collect()
    }
}

/// Half an hour later is too late to find that a file can't be written.
fn check_file(path: &str) -> Result<(), Stop> {
    let folder = Path::new(path)
        .parent()
        .filter(|folder| *folder != Path::new(""));
    match folder {
        Some(folder) if !folder.is_dir() => Err(Stop::Wrong(format!(
            "{path} can't be written: the folder {} does not exist; make it first",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

fn run(plan: &Plan) -> u8 {
    let kubectl = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let child = Command::new(&kubectl)
        .args(plan.command_line())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            say(&format!(
                "error: cannot run {}: {error}; this plugin needs kubectl in PATH",
                kubectl.to_string_lossy()
            ));
            return UNKNOWN;
        }
    };
    // Held open as long as this process lives.
    let stdin = child.stdin.take();
    let mut exit = None;
    let mut is_written = true;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            match Message::of_line(&line) {
                Some(Message::Alive) => {}
                Some(Message::File { path, text, append }) => {
                    is_written &= write(plan, &path, &text, append);
                }
                Some(Message::Exit(code)) => exit = Some(code),
                // kubectl's own words for what the exit code says.
                None if line.starts_with("command terminated with exit code ") => {}
                None => say(&line),
            }
        }
    }
    drop(stdin);
    let status = child.wait();
    match exit {
        Some(0) if !is_written => 1,
        Some(code) => code,
        None => {
            let ended = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            say(&format!(
                "error: kubectl ended ({ended}) before k6sync in {} of namespace {} told how it went: nothing is known. Is k6sync installed there (--k6sync-namespace, --k6sync-target)? The overlay `cronjob` has no loop to run this in: use k6sync with the database's URL",
                plan.target, plan.namespace
            ));
            UNKNOWN
        }
    }
}

/// Writes a file that the command line names; no other, whatever the pod says.
fn write(plan: &Plan, path: &str, text: &str, append: bool) -> bool {
    if !plan.files.contains(path) {
        say("error: k6sync sent a file that the command line does not name; it was not written");
        return false;
    }
    let written = match append {
        true => OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes())),
        false => std::fs::write(path, text),
    };
    if let Err(error) = &written {
        say(&format!("error: cannot write {path}: {error}"));
    }
    written.is_ok()
}

/// A line for people. Whether it can be written or not, the exit code tells.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn say_out(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
