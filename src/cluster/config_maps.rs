//! ConfigMaps: one is where people control k6sync.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::call::Call;
use super::request::Send;
use super::{Cluster, ClusterError};

impl Cluster {
    /// The data of a ConfigMap; `None` if there is no such ConfigMap.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, ClusterError> {
        #[derive(Deserialize)]
        struct Raw {
            data: Option<BTreeMap<String, String>>,
        }
        let call = Call {
            verb: "get",
            group: "",
            resource: "configmaps",
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
        };
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let body = match self.send(&call, Send::get(&path)).await {
            Ok(body) => body,
            Err(ClusterError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Raw>(&body) {
            Ok(raw) => Ok(Some(raw.data.unwrap_or_default())),
            Err(error) => Err(ClusterError::Malformed {
                call: Box::new(call),
                problem: error.to_string(),
            }),
        }
    }
}
