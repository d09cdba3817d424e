//! Token and subject access reviews: who is it, and what may they do?

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::chain;
use super::request::{Request, Resource};
use super::send::OBJECT;
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

    /// Whether `user` has this right.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub(crate) async fn may(&self, user: &User, right: &Right) -> Result<bool, ClusterError> {
        let mut spec = json!(user);
        spec["resourceAttributes"] = right.attributes();
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

/// A right, in the words of RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    /// API group; empty: the core one.
    pub(crate) group: &'static str,
    /// `pods`, `pods/log`, …
    pub(crate) resource: &'static str,
    pub(crate) verb: &'static str,
    /// `None`: in all namespaces.
    pub(crate) namespace: Option<String>,
    /// One object; `None`: all.
    pub(crate) name: Option<String>,
}

impl Right {
    /// As an access review asks for it.
    fn attributes(&self) -> serde_json::Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        json!({
            "namespace": self.namespace, "verb": self.verb, "group": self.group, "resource": resource,
            "subresource": subresource, "name": self.name,
        })
    }

    /// The RBAC rule that gives it, as YAML on one line.
    pub(crate) fn rule(&self) -> String {
        let names = match &self.name {
            Some(name) => format!(", resourceNames: [\"{name}\"]"),
            None => String::new(),
        };
        format!(
            "{{apiGroups: [\"{}\"], resources: [\"{}\"]{names}, verbs: [\"{}\"]}}",
            self.group, self.resource, self.verb
        )
    }
}

impl Cluster {
    /// Whether we have this right ourselves, and the API server's time if it tells.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub(crate) async fn has_right(
        &self,
        right: &Right,
    ) -> Result<(bool, Option<Timestamp>), ClusterError> {
        let object = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": right.attributes()},
        });
        let resource = review("authorization.k8s.io", "selfsubjectaccessreviews");
        let request = Request::review(resource, &object);
        let (AccessReview { status }, time) = self
            .send_and_read(&request, OBJECT, |body| serde_json::from_slice(body))
            .await?;
        Ok((status.allowed, time))
    }

    /// The version of the API server, such as `v1.36.0`.
    ///
    /// # Errors
    /// Why it is not known.
    pub(crate) async fn server_version(&self) -> Result<String, String> {
        let info = self.client.apiserver_version().await;
        info.map(|info| info.git_version)
            .map_err(|error| chain(&error))
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
