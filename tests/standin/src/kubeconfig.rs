//! The kubeconfig that leads a client to the stand-in.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// A kubeconfig as YAML text.
pub(crate) fn text(url: &str, ca_pem: Option<&str>, token: &str, namespace: &str) -> String {
    let authority = ca_pem.map_or(String::new(), |pem| {
        let data = BASE64_STANDARD.encode(pem);
        format!("    certificate-authority-data: {data}\n")
    });
    // A JSON string is a YAML string, whatever is in it.
    let (token, namespace) = (Value::from(token), Value::from(namespace));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: standin
  cluster:
    server: {url}
{authority}users:
- name: standin
  user:
    token: {token}
contexts:
- name: standin
  context:
    cluster: standin
    user: standin
    namespace: {namespace}
current-context: standin
"
    )
}
