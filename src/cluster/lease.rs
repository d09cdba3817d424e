//! Leases: who of several k6syncs is to sync. What a lease means is the business of `election`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::request::Send;
use super::{Cluster, ClusterError};

/// A Lease, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `metadata.resourceVersion`: an update fails if it is no longer this.
    pub resource_version: String,
    /// What it says.
    pub spec: LeaseSpec,
}

/// `spec` of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Who holds it; empty or absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_identity: Option<String>,
    /// For how long after a renewal, seconds.
    pub lease_duration_seconds: Option<i64>,
    /// Since when.
    #[serde(with = "micro_time", skip_serializing_if = "Option::is_none")]
    pub acquire_time: Option<Timestamp>,
    /// When it was last renewed.
    #[serde(with = "micro_time", skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<Timestamp>,
    /// How often it has changed hands.
    pub lease_transitions: Option<i64>,
}

impl LeaseSpec {
    /// Who holds it, if anybody.
    pub fn holder(&self) -> Option<&str> {
        self.holder_identity
            .as_deref()
            .filter(|holder| !holder.is_empty())
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: RawMetadata,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    resource_version: String,
}

impl Cluster {
    /// The lease of that name; `None` if there is none.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, ClusterError> {
        let call = call("get", namespace, name);
        match self
            .send(&call, Send::get(&path(namespace, Some(name))))
            .await
        {
            Ok(body) => lease(call, &body).map(Some),
            Err(ClusterError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the lease.
    ///
    /// # Errors
    /// [`ClusterError::Rejected`] with code 409 if another was faster.
    pub async fn create_lease(
        &self,
        namespace: &str,
        name: &str,
        spec: &LeaseSpec,
    ) -> Result<Lease, ClusterError> {
        let call = call("create", namespace, name);
        let object = object(namespace, name, None, spec);
        let body = self
            .send(&call, Send::post(&path(namespace, None), &object))
            .await?;
        lease(call, &body)
    }

    /// Replaces what the lease says, if it is still at `resource_version`.
    ///
    /// # Errors
    /// [`ClusterError::Rejected`] with code 409 if another was faster.
    pub async fn update_lease(
        &self,
        namespace: &str,
        name: &str,
        resource_version: &str,
        spec: &LeaseSpec,
    ) -> Result<Lease, ClusterError> {
        let call = call("update", namespace, name);
        let object = object(namespace, name, Some(resource_version), spec);
        let body = self
            .send(&call, Send::put(&path(namespace, Some(name)), &object))
            .await?;
        lease(call, &body)
    }
}

fn object(
    namespace: &str,
    name: &str,
    resource_version: Option<&str>,
    spec: &LeaseSpec,
) -> serde_json::Value {
    let mut metadata = serde_json::json!({"namespace": namespace, "name": name});
    if let Some(version) = resource_version {
        metadata["resourceVersion"] = version.into();
    }
    serde_json::json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
    })
}

fn path(namespace: &str, name: Option<&str>) -> String {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    match name {
        Some(name) => format!("{leases}/{name}"),
        None => leases,
    }
}

fn call(verb: &'static str, namespace: &str, name: &str) -> Call {
    Call {
        verb,
        group: "coordination.k8s.io",
        resource: "leases",
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
    }
}

fn lease(call: Call, body: &[u8]) -> Result<Lease, ClusterError> {
    match serde_json::from_slice::<Raw>(body) {
        Ok(raw) => Ok(Lease {
            resource_version: raw.metadata.resource_version,
            spec: raw.spec,
        }),
        Err(error) => Err(ClusterError::Malformed {
            call: Box::new(call),
            problem: error.to_string(),
        }),
    }
}

/// Kubernetes' MicroTime: always six decimals.
mod micro_time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&format!("{time:.6}")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(deserializer)
    }
}
