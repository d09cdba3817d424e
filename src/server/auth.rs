//! Who may read and who may act: the organizer role.
//!
//! A bearer token is checked by the API server: whose it is, and whether they may `get` or `update` the control ConfigMap.
//! An API key, if one is configured, is an organizer. There is no third way in, and nothing secret is ever logged.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::job_api::CLUSTER_TIMEOUT;
use crate::cluster::{Cluster, ClusterError};
use crate::config::ApiKey;

/// A review is believed for so long.
const REVIEW_AGE: Duration = Duration::from_secs(10);
/// No more reviews are remembered at a time, whatever tokens people try.
const REVIEWS: usize = 1_000;
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
#[derive(Debug, thiserror::Error)]
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
    Unavailable(#[from] ClusterError),
}

/// Decides on requests.
pub struct Authorizer {
    cluster: Cluster,
    namespace: String,
    config_map: String,
    api_key: Option<ApiKey>,
    /// By the token's hash; a token itself is not kept.
    reviews: Mutex<HashMap<([u8; 32], Access), Review>>,
}

#[derive(Clone)]
struct Review {
    at: Instant,
    /// Who it is, and whether they may; `None`: nobody.
    user: Option<(String, bool)>,
}

impl Authorizer {
    /// For the control ConfigMap of that name.
    pub fn new(
        cluster: Cluster,
        namespace: &str,
        config_map: &str,
        api_key: Option<ApiKey>,
    ) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            config_map: config_map.to_owned(),
            api_key,
            reviews: Mutex::new(HashMap::new()),
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
        match self.review(token, access).await?.user {
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

    async fn review(&self, token: &str, access: Access) -> Result<Review, ClusterError> {
        let key = (Sha256::digest(token.as_bytes()).into(), access);
        let known = self.lock().get(&key).cloned();
        if let Some(review) = known.filter(|review| review.at.elapsed() < REVIEW_AGE) {
            return Ok(review);
        }
        let at = Instant::now();
        let cluster = self.cluster.until(at + CLUSTER_TIMEOUT);
        let user = match cluster.review_token(token).await? {
            Some(user) => {
                let may = cluster
                    .may(&user, access.verb(), &self.namespace, &self.config_map)
                    .await?;
                Some((user.username, may))
            }
            None => None,
        };
        let review = Review { at, user };
        let mut reviews = self.lock();
        reviews.retain(|_, review| review.at.elapsed() < REVIEW_AGE);
        if reviews.len() < REVIEWS {
            reviews.insert(key, review.clone());
        }
        Ok(review)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<([u8; 32], Access), Review>> {
        // What a panicking holder may have left is still a map of reviews.
        self.reviews
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Access {
    const fn verb(self) -> &'static str {
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
