//! What a check finds, and how one is made: with a deadline, and so that a panic in it is only its own.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::harmless;
use crate::isolate::isolated_future;

/// Who waits at a terminal waits no longer for one thing.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// As it should be.
    Ok,
    /// It works, and something will be missing or slow.
    Warning,
    /// It does not work.
    Error,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    pub status: Health,
    /// How it is.
    pub message: String,
    /// What to do, in one sentence; `None`: nothing.
    pub todo: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Health::Ok, message.into(), None)
    }

    pub(crate) fn warning(
        check: &'static str,
        message: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self::new(check, Health::Warning, message.into(), Some(todo.into()))
    }

    pub(crate) fn error(
        check: &'static str,
        message: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self::new(check, Health::Error, message.into(), Some(todo.into()))
    }

    /// Much of it was written by others.
    fn new(check: &'static str, status: Health, message: String, todo: Option<String>) -> Self {
        Self {
            check,
            status,
            message: harmless::line(message),
            todo: todo.map(harmless::line),
        }
    }
}

/// Makes one check, which may find several things. It is given up on after a while, and a panic in it is only its own.
pub(super) async fn check(
    name: &'static str,
    work: impl Future<Output = Result<Vec<Finding>, Finding>>,
) -> Vec<Finding> {
    match timeout(PATIENCE, isolated_future(work)).await {
        Ok(Ok(Ok(findings))) => findings,
        Ok(Ok(Err(finding))) => vec![finding],
        Ok(Err(bug)) => vec![Finding::error(
            name,
            bug.to_string(),
            "report it with what k6sync printed",
        )],
        Err(_) => vec![Finding::error(
            name,
            format!("no answer within {PATIENCE:?}"),
            "see whether what is asked is reachable from here, and not overloaded",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_is_a_finding() {
        let broken = check("clocks", async { panic!("no hands") }).await;
        assert_eq!(
            (broken[0].status, broken[0].check),
            (Health::Error, "clocks")
        );
        assert!(broken[0].message.contains("no hands"), "{broken:?}");
    }

    #[test]
    fn what_others_wrote_is_harmless() {
        let finding = Finding::warning("x", "a\u{1b}[2J\nb", "c\nd");
        assert_eq!(finding.message, "a\\u{1b}[2J b");
        assert_eq!(finding.todo.as_deref(), Some("c d"));
    }
}
