//! Token and subject access reviews: who is it, and what may they do?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::request::{Request, Resource};
use super::{Cluster, ClusterError};

/// A user, as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    /// `username`; `user` in an access review.
    #[serde(rename(serialize = "user"))]
    pub(crate) username: String,
    /// `uid`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenReview {
    status: TokenReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenReviewStatus {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AccessReview {
    status: AccessReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AccessReviewStatus {
    allowed: bool,
}

impl Cluster {
    /// Whose token it is; `None`: nobody's. The token is never part of an error. With `audiences`, it must be meant for one of
    /// them; without, for the API server.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub(crate) async fn review_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<User>, ClusterError> {
        let mut object = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        if !audiences.is_empty() {
            object["spec"]["audiences"] = json!(audiences);
        }
        let request = Request::review(review("authentication.k8s.io", "tokenreviews"), &object);
        let TokenReview { status } = self
            .object(&request, |body| serde_json::from_slice(body))
            .await?;
        // An authenticator without support for audiences calls the token good, and names none.
        let is_for_us = audiences.is_empty()
            || (status.audiences.iter()).any(|audience| audiences.contains(audience));
        Ok((status.authenticated && is_for_us).then_some(status.user))
    }

    /// Whether `user` may `verb` the ConfigMap.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub(crate) async fn may(
        &self,
        user: &User,
        verb: &str,
        namespace: &str,
        config_map: &str,
    ) -> Result<bool, ClusterError> {
        let mut spec = json!(user);
        spec["resourceAttributes"] = json!({
            "namespace": namespace, "verb": verb, "group": "", "resource": "configmaps", "name": config_map,
        });
        let object = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec,
        });
        let resource = review("authorization.k8s.io", "subjectaccessreviews");
        let request = Request::review(resource, &object);
        let AccessReview { status } = self
            .object(&request, |body| serde_json::from_slice(body))
            .await?;
        Ok(status.allowed)
    }
}

const fn review(group: &'static str, name: &'static str) -> Resource {
    Resource {
        group,
        version: "v1",
        name,
        is_namespaced: false,
    }
}
