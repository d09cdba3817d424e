//! Who is it, and may they? Token and subject access reviews.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::Call;
use super::request::Send;
use super::{Cluster, ClusterError};

/// A user, as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// `username`; `user` in an access review.
    #[serde(rename(serialize = "user"))]
    pub username: String,
    /// `uid`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `groups`
    pub groups: Vec<String>,
    /// `extra`
    pub extra: BTreeMap<String, Vec<String>>,
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
    /// Whose token it is; `None`: nobody's. The token is never part of an error.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn review_token(&self, token: &str) -> Result<Option<User>, ClusterError> {
        let call = call("authentication.k8s.io", "tokenreviews");
        let object = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let body = self.send(&call, Send::post(path, &object)).await?;
        let review: TokenReview = decode(call, &body)?;
        Ok(review.status.authenticated.then_some(review.status.user))
    }

    /// Whether `user` may `verb` the ConfigMap.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn may(
        &self,
        user: &User,
        verb: &str,
        namespace: &str,
        config_map: &str,
    ) -> Result<bool, ClusterError> {
        let call = call("authorization.k8s.io", "subjectaccessreviews");
        let mut spec = json!(user);
        spec["resourceAttributes"] = json!({
            "namespace": namespace, "verb": verb, "group": "", "resource": "configmaps", "name": config_map,
        });
        let object = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec,
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let body = self.send(&call, Send::post(path, &object)).await?;
        let review: AccessReview = decode(call, &body)?;
        Ok(review.status.allowed)
    }
}

fn call(group: &'static str, resource: &'static str) -> Call {
    Call {
        verb: "create",
        group,
        resource,
        namespace: None,
        name: None,
    }
}

fn decode<T: for<'de> Deserialize<'de>>(call: Call, body: &[u8]) -> Result<T, ClusterError> {
    serde_json::from_slice(body).map_err(|error| ClusterError::Malformed {
        call: Box::new(call),
        problem: error.to_string(),
    })
}
