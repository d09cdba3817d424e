//! Who may read and who may act: the organizer role.
//!
//! A bearer token is checked by the API server: whose it is, and whether they may `get` or `update` the control ConfigMap.
//! An API key, if one is configured, is an organizer. There is no third way in, and nothing secret is ever logged.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::review::Reviewer;
use crate::cluster::{Cluster, ClusterError};
use crate::config::ApiKey;

const API_KEY_HEADER: &str = "x-api-key";

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `get` of the control ConfigMap.
    Read,
    /// `update` of it.
    Act,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Denied {
    /// Neither of the two headers.
    #[error("authentication is required: send Authorization: Bearer TOKEN, or X-API-Key")]
    Nobody,
    /// A token or key that is not good.
    #[error("the {0} is not accepted")]
    Unknown(&'static str),
    /// Somebody who may not.
    #[error("{user} may not {verb} the ConfigMap {namespace}/{config_map}, which this needs")]
    Forbidden {
        /// Who.
        user: String,
        /// What.
        verb: &'static str,
        /// Where.
        namespace: String,
        /// Which.
        config_map: String,
    },
    /// It can't be told.
    #[error("it cannot be told who you are and what you may: {0}")]
    Unavailable(Arc<ClusterError>),
    /// Others are asked about, more than the API server should be asked for.
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

/// Decides on requests.
pub struct Authorizer {
    namespace: String,
    config_map: String,
    api_key: Option<ApiKey>,
    reviewer: Arc<Reviewer>,
}

impl Authorizer {
    /// For the control ConfigMap of that name. With `audiences`, a token must be meant for one of them; without, for the
    /// API server.
    pub fn new(
        cluster: Cluster,
        namespace: &str,
        config_map: &str,
        api_key: Option<ApiKey>,
        audiences: Vec<String>,
    ) -> Self {
        let (namespace, config_map) = (namespace.to_owned(), config_map.to_owned());
        let reviewer = Reviewer::new(cluster, namespace.clone(), config_map.clone(), audiences);
        Self {
            namespace,
            config_map,
            api_key,
            reviewer: Arc::new(reviewer),
        }
    }

    /// Whether an API key would be accepted.
    pub fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// Whether whoever sent `headers` may have `access`.
    ///
    /// # Errors
    /// [`Denied`]
    pub async fn check(&self, headers: &HeaderMap, access: Access) -> Result<(), Denied> {
        if let Some(key) = headers.get(API_KEY_HEADER) {
            let known = self.api_key.as_ref();
            return match known.is_some_and(|known| is_equal(known.reveal(), key.as_bytes())) {
                true => Ok(()),
                false => Err(Denied::Unknown("API key")),
            };
        }
        let header = headers.get(AUTHORIZATION).ok_or(Denied::Nobody)?;
        let token = header
            .to_str()
            .ok()
            .and_then(|value| {
                let (scheme, token) = value.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then_some(token.trim())
            })
            .filter(|token| !token.is_empty())
            .ok_or(Denied::Nobody)?;
        match self.reviewer.review(token, access).await?.user {
            Some((_, true)) => Ok(()),
            Some((user, false)) => Err(Denied::Forbidden {
                user,
                verb: access.verb(),
                namespace: self.namespace.clone(),
                config_map: self.config_map.clone(),
            }),
            None => Err(Denied::Unknown("token")),
        }
    }
}

impl Access {
    /// As RBAC calls it.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Read => "get",
            Self::Act => "update",
        }
    }
}

/// In constant time but for the lengths.
fn is_equal(known: &[u8], given: &[u8]) -> bool {
    known.ct_eq(given).into()
}
