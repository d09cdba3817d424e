//! What somebody may want of the server, and why they may not have it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;

use super::door::rights::NoSight;
use super::door::session::NoSession;
use crate::cluster::ClusterError;

/// Nobody who asks waits longer for the API server, whether it decides who they are or reads the ConfigMap.
pub(super) const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);

/// `Retry-After` while too many tokens are under review, seconds.
pub(super) const BUSY_SECONDS: u64 = 2;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// `get` of the control ConfigMap.
    Read,
    /// `update` of it.
    Act,
    /// Whatever may be seen of the record.
    See,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Denied {
    /// Neither of the two headers was sent.
    #[error("authentication is required: send Authorization: Bearer TOKEN, or X-API-Key")]
    Nobody,
    /// The key opens only the job API.
    #[error(
        "the API key opens only the job API; with `auth.apiKeyMayRead: true` in the configuration file it opens reading, too"
    )]
    KeyMayNotRead,
    /// What a proxy says of somebody is not to be believed.
    #[error("it can't be told who you are: {0}")]
    NoUser(&'static str),
    /// The request may be another site's.
    #[error("the request is refused, since {0}")]
    CrossSite(&'static str),
    /// There can't be a session.
    #[error("{0}")]
    NoSession(NoSession),
    /// The token or key is nobody's.
    #[error("the {0} is not accepted")]
    Unknown(&'static str),
    /// It is known who, and they may not.
    #[error("{user} may not {verb} the ConfigMap {namespace}/{config_map}, which this needs")]
    Forbidden {
        user: String,
        verb: &'static str,
        namespace: String,
        config_map: String,
    },
    /// The API server does not answer.
    #[error("it cannot be told who you are and what you may: {0}")]
    Unavailable(Arc<ClusterError>),
    /// The record, which knows clusters and namespaces, can't be read.
    #[error("it cannot be told what you may see: {0}")]
    NoRecord(String),
    /// Too many tokens are under review to ask the API server for one more.
    #[error(
        "it cannot be told who you are and what you may: too many tokens are being reviewed; try again in a few seconds"
    )]
    Busy,
}

impl From<ClusterError> for Denied {
    fn from(error: ClusterError) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

impl From<NoSight> for Denied {
    fn from(problem: NoSight) -> Self {
        match problem {
            NoSight::Cluster(error) => error.into(),
            NoSight::Record(problem) => Self::NoRecord(problem),
        }
    }
}

impl Access {
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Read | Self::See => "get",
            Self::Act => "update",
        }
    }
}

impl Denied {
    pub(super) fn code(&self) -> StatusCode {
        match self {
            Self::Nobody | Self::Unknown(_) | Self::NoUser(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::KeyMayNotRead | Self::CrossSite(_) => {
                StatusCode::FORBIDDEN
            }
            Self::NoSession(_) => StatusCode::BAD_REQUEST,
            Self::Unavailable(error) => cluster_code(error),
            Self::NoRecord(_) | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds.
    pub(super) fn retry_after(&self) -> Option<u64> {
        matches!(self, Self::Busy | Self::NoRecord(_)).then_some(BUSY_SECONDS)
    }
}

/// Where k6sync itself lacks a right, trying again does not help: the error names the missing rule.
pub(super) fn cluster_code(error: &ClusterError) -> StatusCode {
    match error {
        ClusterError::Forbidden { .. } => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
