//! ConfigMaps: people control k6sync through one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::objects::{Object, WritableObject};
use super::request::{Request, Resource};

/// A ConfigMap, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    pub(crate) data: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub(crate) annotations: BTreeMap<String, String>,
    /// `metadata.resourceVersion`: a patch fails if it is no longer this.
    pub(crate) resource_version: String,
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
pub(crate) struct ConfigMapChange {
    pub(crate) data: BTreeMap<&'static str, Option<String>>,
    /// `metadata.annotations`
    pub(crate) annotations: BTreeMap<&'static str, Option<String>>,
}

impl Object for ConfigMap {
    const RESOURCE: Resource = Resource::core("configmaps");

    fn decode(answer: &[u8]) -> Result<Self, String> {
        Self::of_json(answer).map_err(|error| error.to_string())
    }
}

impl WritableObject for ConfigMap {
    type Change = ConfigMapChange;

    fn write(
        namespace: &str,
        name: &str,
        read: Option<&Self>,
        change: &ConfigMapChange,
    ) -> Request {
        let Some(read) = read else {
            return create(namespace, name, change);
        };
        let patch = json!({
            "metadata": {"resourceVersion": read.resource_version, "annotations": change.annotations},
            "data": change.data,
        });
        Request::patch(Self::RESOURCE, namespace, name, &patch)
    }
}

fn create(namespace: &str, name: &str, change: &ConfigMapChange) -> Request {
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
    Request::create(ConfigMap::RESOURCE, namespace, name, &object)
}
