//! Who may read and who may act: the organizer role.
//!
//! The API server checks a bearer token: whose it is, and whether they may `get` or `update` the control ConfigMap. Whoever
//! sends the API key, if one is configured, is an organizer. There is no third way in, and nothing secret is ever logged.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::access::{Access, Denied};
use super::api_key::ApiKey;
use super::door::rights::Rights;
use super::review::{Reviewer, Whose};
use super::sight::Sight;
use crate::cluster::Cluster;

pub(super) const API_KEY_HEADER: &str = "x-api-key";

/// Decides who gets in.
pub(crate) struct Authorizer {
    api_key: Option<ApiKey>,
    reviewer: Arc<Reviewer>,
}

impl Authorizer {
    /// A token must be meant for one of `audiences`, or for the API server if there are none. What may be seen is a matter of
    /// `rights`.
    pub(crate) fn new(
        cluster: Cluster,
        rights: Rights,
        api_key: Option<ApiKey>,
        audiences: Vec<String>,
    ) -> Self {
        let reviewer = Reviewer::new(cluster, rights, audiences);
        Self {
            api_key,
            reviewer: Arc::new(reviewer),
        }
    }

    /// Whether an API key would be accepted.
    pub(super) fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// Whether whoever sent `headers` may have `access`.
    ///
    /// # Errors
    /// [`Denied`]
    pub(super) async fn check(&self, headers: &HeaderMap, access: Access) -> Result<(), Denied> {
        if headers.contains_key(API_KEY_HEADER) {
            return self.check_key(headers);
        }
        let token = bearer(headers).ok_or(Denied::Nobody)?;
        let whose = Whose::Token(token.to_owned());
        match self.reviewer.review(whose, access).await?.user {
            Some((_, true)) => Ok(()),
            Some((user, false)) => {
                let (namespace, config_map) = self.reviewer.control().clone();
                Err(Denied::Forbidden {
                    user,
                    verb: access.verb(),
                    namespace,
                    config_map,
                })
            }
            None => Err(Denied::Unknown("token")),
        }
    }

    /// Whether the API key is the right one.
    ///
    /// # Errors
    /// [`Denied::Unknown`]
    pub(super) fn check_key(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let key = headers
            .get(API_KEY_HEADER)
            .map_or(&[][..], |key| key.as_bytes());
        let known = self.api_key.as_ref();
        match known.is_some_and(|known| known.is(key)) {
            true => Ok(()),
            false => Err(Denied::Unknown("API key")),
        }
    }

    /// Who that is, and what they may see.
    ///
    /// # Errors
    /// [`Denied`]
    pub(super) async fn see(&self, whose: Whose) -> Result<(String, Arc<Sight>), Denied> {
        let review = self.reviewer.review(whose, Access::See).await?;
        match (review.user, review.sight) {
            (Some((name, _)), Some(sight)) => Ok((name, sight)),
            _ => Err(Denied::Unknown("token")),
        }
    }

    /// All that is shown here.
    ///
    /// # Errors
    /// [`Denied::Unavailable`]
    pub(super) async fn everything(&self) -> Result<Sight, Denied> {
        Ok(self.reviewer.everything().await?)
    }
}

/// The bearer token that was sent.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
