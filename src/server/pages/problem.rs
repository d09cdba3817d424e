//! Why there is no page, and what to do: a page too.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{Html, IntoResponse, Response};

use super::frame::Frame;
use super::visitor::Visitor;
use crate::record::NamingError;
use crate::record::log::LogError;
use crate::store::StoreError;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// It is not there, or whoever asks may not see it: nobody can tell which.
    #[error("{what} is not here, or you may not see it.")]
    Missing { what: String },
    /// What is asked for makes no sense.
    #[error("{problem}")]
    Wrong { problem: String },
    /// They may not do that.
    #[error("{problem}")]
    Forbidden { problem: String },
    /// The record or the cluster can't be asked now.
    #[error("It can't be told now: {problem}")]
    Unavailable { problem: String },
    /// Of our own making.
    #[error("This page could not be made: {problem}")]
    Internal { problem: String },
}

#[derive(Template)]
#[template(path = "problem.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    head: &'static str,
    problem: String,
    todo: &'static str,
}

impl Problem {
    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    pub(super) fn wrong(problem: impl Into<String>) -> Self {
        Self::Wrong {
            problem: problem.into(),
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Missing { .. } => StatusCode::NOT_FOUND,
            Self::Wrong { .. } => StatusCode::BAD_REQUEST,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Missing { .. } => (
                "Not found",
                "Look for it in the list of runs; a run's address has its id.",
            ),
            Self::Wrong { .. } => ("That can't be shown", "Go back, and choose something else."),
            Self::Forbidden { .. } => ("Not allowed", "Ask whoever gives rights in this cluster."),
            Self::Unavailable { .. } => (
                "Not available",
                "Try again in a few seconds. `k6sync doctor` says what is wrong.",
            ),
            Self::Internal { .. } => (
                "Something went wrong",
                "Try again, and report it if it stays.",
            ),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Unavailable {
            problem: error.to_string(),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NoSuch(error) => Self::wrong(error.to_string()),
            error => Self::Unavailable {
                problem: error.to_string(),
            },
        }
    }
}

impl From<NamingError> for Problem {
    fn from(error: NamingError) -> Self {
        match error {
            NamingError::Store(error) => error.into(),
            error => Self::wrong(error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (head, todo) = self.words();
        let page = Page {
            frame: Frame::of(head, "", &Visitor::default()),
            head,
            problem: crate::report::values::message(&self.to_string()),
            todo,
        };
        let status = self.status();
        let mut response = match page.render() {
            Ok(text) => Html(text).into_response(),
            // It has no words of its own left.
            Err(_) => self.to_string().into_response(),
        };
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, 5.into());
        }
        response
    }
}

/// An address that there is no page for.
pub(super) async fn not_found() -> Problem {
    Problem::missing("This page")
}
