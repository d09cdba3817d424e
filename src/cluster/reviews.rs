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
    pub async fn review_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<User>, ClusterError> {
        let call = call("authentication.k8s.io", "tokenreviews");
        let mut object = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        if !audiences.is_empty() {
            object["spec"]["audiences"] = json!(audiences);
        }
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let body = self.send(&call, Send::post(path, &object)).await?;
        let review: TokenReview = decode(call, &body)?;
        let status = review.status;
        // An authenticator that knows nothing of audiences says that the token is good, and names none.
        let is_for_us = audiences.is_empty()
            || (status.audiences.iter()).any(|audience| audiences.contains(audience));
        Ok((status.authenticated && is_for_us).then_some(status.user))
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
