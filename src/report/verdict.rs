//! What became of a run, a step and a container, in words. Pure.

use std::collections::HashSet;

use super::values::{message, name};
use crate::k6;
use crate::record::{Container, Run, Step};
use crate::store::{Role, Status, StreamState};

/// How well something went: what decides its colour and symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// It failed.
    Bad,
    /// Nobody knows.
    Unknown,
    /// It is not over.
    Open,
}

impl Tone {
    /// A symbol that tells it without colour.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Unknown => "?",
            Self::Open => "…",
        }
    }

    /// A word for stylesheets.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
            Self::Open => "open",
        }
    }
}

/// The tone of a status.
pub(crate) const fn tone(status: Status) -> Tone {
    match status {
        Status::Passed => Tone::Good,
        Status::Failed | Status::Errored | Status::Aborted => Tone::Bad,
        Status::Lost | Status::Finished => Tone::Unknown,
        Status::Pending | Status::Initializing | Status::Running | Status::Finishing => Tone::Open,
    }
}

/// The tone of a run: one between two steps has a status that ends it, and is not over.
pub(crate) fn of_run(run: &Run) -> Tone {
    match (run.outcome.ended, run.outcome.exit_code) {
        (false, _) => Tone::Open,
        (true, Some(0)) => Tone::Good,
        (true, _) => match tone(run.row.status) {
            Tone::Unknown => Tone::Unknown,
            _ => Tone::Bad,
        },
    }
}

/// The status in a word, and that it is not over.
pub(crate) fn status(run: &Run) -> String {
    let word = run.row.status.as_str();
    match (run.outcome.ended, run.row.status.is_final()) {
        (false, true) => format!("{word} so far, not over"),
        (false, false) => format!("{word}, not over"),
        (true, _) => word.to_owned(),
    }
}

/// `ThresholdsHaveFailed: http_req_duration …`: why it has its status; `None`: nothing more is known.
pub(crate) fn why(run: &Run) -> Option<String> {
    let reason = run.reason.as_deref().map(name);
    let message = run.message.as_deref().map(message);
    match (reason, message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (reason, message) => reason.or(message),
    }
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With exit code 0.
    Well,
    /// With another.
    Badly(i64),
    /// It is gone, and nobody saw how.
    Unseen,
    /// It has not ended.
    NotYet,
}

impl End {
    pub(crate) const fn of(step: &Step, container: &Container) -> Self {
        match (container.row.exit_code, container.row.state) {
            (Some(0), _) => Self::Well,
            (Some(code), _) => Self::Badly(code),
            (None, StreamState::Terminated) => Self::Unseen,
            (None, _) if step.row.status.is_final() => Self::Unseen,
            (None, _) => Self::NotYet,
        }
    }

    pub(crate) const fn tone(self) -> Tone {
        match self {
            Self::Well => Tone::Good,
            Self::Badly(_) => Tone::Bad,
            Self::Unseen => Tone::Unknown,
            Self::NotYet => Tone::Open,
        }
    }
}

/// `exit code 99 (one or more thresholds were crossed)`, `exit code 137 (OOMKilled)`
pub(crate) fn end(step: &Step, container: &Container) -> String {
    let reason = container.row.reason.as_deref().map(name);
    match End::of(step, container) {
        End::Well => "exit code 0".to_owned(),
        End::Badly(code) => match (k6::exit_code(code), reason.as_deref()) {
            // The kubelet's ordinary word says less than the code.
            (Some(known), None | Some("Error")) if container.row.role == Role::Runner => {
                format!("exit code {code} ({})", known.sentence)
            }
            (_, Some(reason)) => format!("exit code {code} ({reason})"),
            (_, None) => format!("exit code {code}"),
        },
        End::Unseen => match reason {
            Some(reason) => format!("gone, nobody saw how it ended ({reason})"),
            None => "gone, nobody saw how it ended".to_owned(),
        },
        End::NotYet => match (container.row.state, reason) {
            (StreamState::Running, _) => "running".to_owned(),
            (_, Some(reason)) => format!("waiting ({reason})"),
            (_, None) => "waiting".to_owned(),
        },
    }
}

/// `runner 3`, `initializer`
pub(crate) fn who(container: &Container) -> String {
    match (container.row.role, container.runner) {
        (Role::Runner, Some(number)) => format!("runner {number}"),
        (Role::Other, _) => format!("container {}", name(&container.row.container)),
        (role, _) => role.to_string(),
    }
}

/// The last life of each runner of a step, in their order.
pub(crate) fn runners(step: &Step) -> Vec<&Container> {
    let mut seen = HashSet::new();
    let mut runners: Vec<&Container> = step
        .containers
        .iter()
        .rev()
        .filter(|container| container.row.role == Role::Runner)
        .filter(|container| seen.insert((&container.row.pod_name, &container.row.container)))
        .collect();
    runners.reverse();
    runners
}

/// The groups and the name of a check: `cart › pay › paid`.
pub(crate) fn check(check: &crate::record::CheckResult) -> String {
    match &check.path {
        Some(path) => {
            let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
            name(&parts.join(" › "))
        }
        None => name(&check.name),
    }
}

/// `3 of 120 failed`, or `3 failed` where not every runner tells how many there were.
pub(crate) fn fails(check: &crate::record::CheckResult) -> String {
    use super::values::number;
    match check.passes {
        Some(passes) => format!(
            "{} of {} failed",
            number(check.fails),
            number(passes.saturating_add(check.fails))
        ),
        None => format!("{} failed", number(check.fails)),
    }
}
