//! What somebody may want of the job API, and why they may not have it.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ClusterError;

/// Nobody who asks waits longer for the API server, whether it decides who they are or reads the ConfigMap.
pub(super) const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// `get` of the control ConfigMap.
    Read,
    /// `update` of it.
    Act,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Denied {
    /// Neither of the two headers was sent.
    #[error("authentication is required: send Authorization: Bearer TOKEN, or X-API-Key")]
    Nobody,
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

impl Access {
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Read => "get",
            Self::Act => "update",
        }
    }
}
