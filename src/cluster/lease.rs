//! Leases: which of several k6syncs syncs. `election` knows what a lease means.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::objects::{Object, WritableObject};
use super::request::{Request, Resource};

/// A Lease, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// `metadata.resourceVersion`: an update fails if it is no longer this.
    pub(crate) resource_version: String,
    /// What it says.
    pub(crate) spec: LeaseSpec,
}

/// `spec` of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LeaseSpec {
    /// Who holds it; empty or absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holder_identity: Option<String>,
    /// For how long after a renewal, seconds.
    pub(crate) lease_duration_seconds: Option<i64>,
    /// Since when.
    #[serde(with = "micro_time", skip_serializing_if = "Option::is_none")]
    pub(crate) acquire_time: Option<Timestamp>,
    /// When it was last renewed.
    #[serde(with = "micro_time", skip_serializing_if = "Option::is_none")]
    pub(crate) renew_time: Option<Timestamp>,
    /// How often it has changed hands.
    pub(crate) lease_transitions: Option<i64>,
}

impl LeaseSpec {
    /// Who holds it, if anybody.
    pub(crate) fn holder(&self) -> Option<&str> {
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

impl Object for Lease {
    const RESOURCE: Resource = Resource {
        group: "coordination.k8s.io",
        version: "v1",
        name: "leases",
        is_namespaced: true,
    };

    fn decode(answer: &[u8]) -> Result<Self, String> {
        let Raw { metadata, spec } =
            serde_json::from_slice(answer).map_err(|error| error.to_string())?;
        Ok(Self {
            resource_version: metadata.resource_version,
            spec,
        })
    }
}

impl WritableObject for Lease {
    type Change = LeaseSpec;

    fn write(namespace: &str, name: &str, read: Option<&Self>, spec: &LeaseSpec) -> Request {
        let mut object = serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        });
        match read {
            None => Request::create(Self::RESOURCE, namespace, name, &object),
            Some(read) => {
                object["metadata"]["resourceVersion"] = read.resource_version.as_str().into();
                Request::update(Self::RESOURCE, namespace, name, &object)
            }
        }
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
