//! ConfigMaps: one is where people control k6sync.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::Call;
use super::request::Send;
use super::{Cluster, ClusterError};

/// A ConfigMap, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// `data`
    pub data: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// `metadata.resourceVersion`: a patch fails if it is no longer this.
    pub resource_version: String,
}

impl ConfigMap {
    /// The ConfigMap in the answer to a GET.
    ///
    /// # Errors
    /// Says which field is not what it should be.
    pub fn of_json(answer: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: RawMetadata,
            data: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RawMetadata {
            annotations: Option<BTreeMap<String, String>>,
            resource_version: String,
        }
        let raw: Raw = serde_json::from_slice(answer)?;
        Ok(Self {
            data: raw.data.unwrap_or_default(),
            annotations: raw.metadata.annotations.unwrap_or_default(),
            resource_version: raw.metadata.resource_version,
        })
    }
}

/// What to change in a ConfigMap; `None` removes a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigMapChange {
    /// `data`
    pub data: BTreeMap<&'static str, Option<String>>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<&'static str, Option<String>>,
}

impl Cluster {
    /// A ConfigMap; `None` if there is no such ConfigMap.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, ClusterError> {
        let call = call("get", namespace, name);
        match self
            .send(&call, Send::get(&path(namespace, Some(name))))
            .await
        {
            Ok(body) => decode(call, &body).map(Some),
            Err(ClusterError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes a ConfigMap, if it is still at `resource_version`; returns it as it then is.
    ///
    /// # Errors
    /// [`ClusterError::Rejected`] with code 409 if another was faster.
    pub async fn patch_config_map(
        &self,
        namespace: &str,
        name: &str,
        resource_version: &str,
        change: &ConfigMapChange,
    ) -> Result<ConfigMap, ClusterError> {
        let call = call("patch", namespace, name);
        let patch = json!({
            "metadata": {"resourceVersion": resource_version, "annotations": change.annotations},
            "data": change.data,
        });
        let body = self
            .send(&call, Send::merge(&path(namespace, Some(name)), &patch))
            .await?;
        decode(call, &body)
    }

    /// Makes a ConfigMap of what `change` sets.
    ///
    /// # Errors
    /// [`ClusterError::Rejected`] with code 409 if another was faster.
    pub async fn create_config_map(
        &self,
        namespace: &str,
        name: &str,
        change: &ConfigMapChange,
    ) -> Result<ConfigMap, ClusterError> {
        let call = call("create", namespace, name);
        let set = |values: &BTreeMap<&'static str, Option<String>>| -> BTreeMap<String, String> {
            let set =
                |(key, value): (&&str, &Option<String>)| Some(((*key).to_owned(), value.clone()?));
            values.iter().filter_map(set).collect()
        };
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": name, "annotations": set(&change.annotations)},
            "data": set(&change.data),
        });
        let body = self
            .send(&call, Send::post(&path(namespace, None), &object))
            .await?;
        decode(call, &body)
    }
}

fn path(namespace: &str, name: Option<&str>) -> String {
    let config_maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    match name {
        Some(name) => format!("{config_maps}/{name}"),
        None => config_maps,
    }
}

fn call(verb: &'static str, namespace: &str, name: &str) -> Call {
    Call {
        verb,
        group: "",
        resource: "configmaps",
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
    }
}

fn decode(call: Call, body: &[u8]) -> Result<ConfigMap, ClusterError> {
    ConfigMap::of_json(body).map_err(|error| ClusterError::Malformed {
        call: Box::new(call),
        problem: error.to_string(),
    })
}
