//! `kubectl k6sync …`: the commands of k6sync, in the k6sync pod, by `kubectl exec`. So nobody needs the database's address.
//!
//! `kubectl` finds this program in `PATH` by its name. It runs `kubectl exec deployment/k6sync -- k6sync --remote …`, passes the
//! answer on, writes files here that the command line names, and ends with the exit code that k6sync had there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use k6sync::remote::Message;
use k6sync::{files, harmless};

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
  kubectl k6sync wait \"$(kubectl apply -f testrun.yaml -o jsonpath='{.metadata.uid}')\" --for-appearance 5m --junit results.xml";

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

/// What is added to the file instead of replacing it.
const APPENDED: &str = "--markdown";
/// Where k6sync writes with the same option a file that it replaces.
const REPLACES_ALL: &str = "report";
/// More than any report; a line without end is no reason to fill the memory.
const LINE_BYTES: u64 = 256 * 1024 * 1024;
/// The same number on every Unix.
const SIGPIPE: i32 = 13;

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
    /// Files that are to be written here, and by which option.
    files: HashMap<String, String>,
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
            files: HashMap::new(),
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
                        plan.add_file(name, &value)?;
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

    /// Half an hour later is too late to find that a file can't be written. And whatever becomes of this command, a file of an earlier
    /// one must not be taken for its own.
    fn add_file(&mut self, option: &str, file: &str) -> Result<(), Stop> {
        let path = Path::new(file);
        files::check(path)
            .map_err(|problem| Stop::Wrong(format!("{file} can't be written: {problem}")))?;
        if self
            .files
            .insert(file.to_owned(), option.to_owned())
            .is_some()
        {
            return Err(Stop::Wrong(format!(
                "{file} is named twice; name another file"
            )));
        }
        match option {
            APPENDED => Ok(()),
            _ => files::forget(path)
                .map_err(|error| Stop::Wrong(format!("cannot remove the old {file}: {error}"))),
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
    let mut missing = plan.files.clone();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        while lines
            .by_ref()
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            match Message::of_line(text) {
                Some(Message::Alive) => {}
                Some(Message::File { path, text }) => {
                    if write(plan, &path, &text) {
                        missing.remove(&path);
                    }
                }
                Some(Message::Exit(code)) => exit = Some(code),
                // kubectl's own words for what the exit code says.
                None if text.starts_with("command terminated with exit code ") => {}
                // Others wrote that, or the pod did.
                None => say(&harmless::lines(text)),
            }
            line.clear();
        }
    }
    drop(stdin);
    let status = child.wait();
    match exit {
        Some(code) => {
            for file in missing.keys() {
                say(&format!("error: {file} was not written"));
            }
            // What was asked for is not there: that is no success.
            match (code, missing.is_empty()) {
                (0, false) => UNKNOWN,
                (code, _) => code,
            }
        }
        None => ended_without_a_word(plan, status),
    }
}

fn ended_without_a_word(plan: &Plan, status: std::io::Result<ExitStatus>) -> u8 {
    let is_closed = status
        .as_ref()
        .is_ok_and(|status| status.signal() == Some(SIGPIPE));
    // Whoever read the answer has seen enough: `kubectl k6sync logs RUN | head`.
    if is_closed && matches!(plan.command.as_str(), "runs" | "show" | "logs") {
        return 0;
    }
    let ended = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    say(&format!(
        "error: kubectl ended ({ended}) before k6sync in {} of namespace {} told how it went: nothing is known. Is k6sync installed there (--k6sync-namespace, --k6sync-target)? The overlay `cronjob` has no loop to run this in: use k6sync with the database's URL",
        plan.target, plan.namespace
    ));
    UNKNOWN
}

/// Writes a file that the command line names; no other, whatever the pod says.
fn write(plan: &Plan, path: &str, text: &str) -> bool {
    let Some(option) = plan.files.get(path) else {
        say("error: k6sync sent a file that the command line does not name; it was not written");
        return false;
    };
    let file = Path::new(path);
    let written = match option == APPENDED && plan.command != REPLACES_ALL {
        true => files::append(file, text),
        false => files::replace(file, text),
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
