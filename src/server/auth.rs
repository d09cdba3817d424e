//! Who may read and who may act: the organizer role.
//!
//! The API server checks a bearer token: whose it is, and whether they may `get` or `update` the control ConfigMap. Whoever
//! sends the API key, if one is configured, is an organizer. There is no third way in, and nothing secret is ever logged.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::access::{Access, Denied};
use super::api_key::ApiKey;
use super::review::Reviewer;
use crate::cluster::Cluster;

const API_KEY_HEADER: &str = "x-api-key";

/// Decides who gets in.
pub(crate) struct Authorizer {
    namespace: String,
    config_map: String,
    api_key: Option<ApiKey>,
    reviewer: Arc<Reviewer>,
}

impl Authorizer {
    /// A token must be meant for one of `audiences`, or for the API server if there are none.
    pub(crate) fn new(
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
    pub(super) fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// Whether whoever sent `headers` may have `access`.
    ///
    /// # Errors
    /// [`Denied`]
    pub(super) async fn check(&self, headers: &HeaderMap, access: Access) -> Result<(), Denied> {
        if let Some(key) = headers.get(API_KEY_HEADER) {
            let known = self.api_key.as_ref();
            return match known.is_some_and(|known| known.is(key.as_bytes())) {
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
