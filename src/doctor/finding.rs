//! What a check finds. Pure.

use serde::Serialize;

use crate::harmless;

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
