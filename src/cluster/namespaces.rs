//! Namespaces: their uids distinguish one cluster from another, and one life of a namespace from the next (docs/facts.md,
//! "A Role can allow reading its own namespace").

use serde::Deserialize;

use super::request::{Request, Resource};
use super::{Cluster, ClusterError};

#[derive(Deserialize)]
struct Raw {
    metadata: RawMetadata,
}

#[derive(Deserialize)]
struct RawMetadata {
    uid: String,
}

impl Cluster {
    /// The uid of a namespace.
    ///
    /// # Errors
    /// [`ClusterError`]; a Role in the namespace itself can give the right.
    pub(crate) async fn namespace_uid(&self, name: &str) -> Result<String, ClusterError> {
        let namespaces = Resource {
            is_namespaced: false,
            ..Resource::core("namespaces")
        };
        // RBAC takes a namespace to be in itself.
        let request = Request::get(namespaces, name, name);
        self.object(&request, |body| match serde_json::from_slice::<Raw>(body) {
            Ok(raw) if !raw.metadata.uid.is_empty() => Ok(raw.metadata.uid),
            Ok(_) => Err("metadata.uid is empty".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }
}
