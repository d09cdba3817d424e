//! An answer that is not what was asked for, and why.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::access::Denied;
use crate::record::NamingError;
use crate::record::log::LogError;
use crate::store::StoreError;

/// Why something is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: StatusCode,
    pub(crate) error: String,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
}

/// An error as JSON.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Error {
    /// What is wrong, and what to do.
    error: String,
}

/// What any request may be answered.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it is described, never made")]
pub(crate) enum Refusals {
    /// A parameter is wrong: which, and what it takes
    #[response(status = 400)]
    Bad(Error),
    /// Nobody is known by what was sent
    #[response(status = 401)]
    Unknown(Error),
    /// Whoever asks may not
    #[response(status = 403)]
    Forbidden(Error),
    /// It can't be read now, or it can't be told who asks: try again after `Retry-After`
    #[response(status = 503)]
    Away(Error),
}

/// What a request that names runs may be answered, too.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it is described, never made")]
pub(crate) enum RunRefusals {
    /// There is no such run, or none that may be seen, or no such part of it
    #[response(status = 404)]
    Missing(Error),
    /// Several runs are named so: which
    #[response(status = 409)]
    Ambiguous(Error),
}

/// What a request for a log may be answered, too.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it is described, never made")]
pub(crate) enum LogRefusals {
    /// The log is damaged in the database
    #[response(status = 500)]
    Damaged(Error),
}

/// It is as it was.
#[derive(utoipa::IntoResponses)]
#[response(
    status = 304,
    description = "it is as it was when it had the ETag of `If-None-Match`"
)]
pub(crate) struct AsItWas;

/// `Retry-After` where something is away or full, seconds.
const AWAY: u64 = 5;

impl Refusal {
    pub(crate) fn new(code: StatusCode, error: impl Into<String>) -> Self {
        Self {
            code,
            error: error.into(),
            retry_after: None,
        }
    }

    pub(crate) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// It may be answered later.
    pub(crate) fn away(error: impl Into<String>) -> Self {
        Self {
            retry_after: Some(AWAY),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self {
            retry_after: denied.retry_after(),
            ..Self::new(denied.code(), denied.to_string())
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::away(error.to_string())
    }
}

impl From<NamingError> for Refusal {
    fn from(error: NamingError) -> Self {
        match error {
            NamingError::NoSuchRun(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            NamingError::Ambiguous { .. } => Self::new(StatusCode::CONFLICT, error.to_string()),
            NamingError::Store(error) => error.into(),
        }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match error {
            // As the command says it, whose options they are. What is not there may come.
            LogError::NoSuch(problem) => Self::new(
                StatusCode::NOT_FOUND,
                problem.to_string().trim_start_matches("--"),
            ),
            LogError::Damaged { .. } | LogError::Missing { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
            LogError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = Error { error: self.error };
        let mut response = (self.code, Json(error)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
