//! Namespaces: their uids tell one cluster from another, and one life of a namespace from the next (docs/facts.md,
//! "A Role can allow reading its own namespace").

use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::call::Call;
use super::request::Send;
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
    pub async fn namespace_uid(&self, name: &str) -> Result<String, ClusterError> {
        let call = Call {
            verb: "get",
            group: "",
            resource: "namespaces",
            // What RBAC takes a namespace to be in: itself.
            namespace: Some(name.to_owned()),
            name: Some(name.to_owned()),
        };
        let escaped: String = byte_serialize(name.as_bytes()).collect();
        let path = format!("/api/v1/namespaces/{escaped}");
        let body = self.send(&call, Send::get(&path)).await?;
        match serde_json::from_slice::<Raw>(&body) {
            Ok(raw) if !raw.metadata.uid.is_empty() => Ok(raw.metadata.uid),
            Ok(_) => Err(malformed(call, "metadata.uid is empty".to_owned())),
            Err(error) => Err(malformed(call, error.to_string())),
        }
    }
}

fn malformed(call: Call, problem: String) -> ClusterError {
    ClusterError::Malformed {
        call: Box::new(call),
        problem,
    }
}
