//! Counting what we ask of the API server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::request::Request;

/// Requests to Kubernetes by verb, resource and status code; every attempt counts. Clones count together.
pub type Traffic = Family<RequestLabels, Counter>;

/// Labels of a request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// `list`, `get`, …
    pub(crate) verb: &'static str,
    /// `pods`, `pods/log`, …
    pub(crate) resource: &'static str,
    /// HTTP status code; `none` where no answer came.
    pub(crate) code: String,
}

/// Counts an attempt; `code` is `None` where no answer came.
pub(super) fn count(traffic: &Traffic, request: &Request, code: Option<http::StatusCode>) {
    let labels = RequestLabels {
        verb: request.verb.as_str(),
        resource: request.resource.name,
        code: code.map_or_else(|| "none".to_owned(), |code| code.as_str().to_owned()),
    };
    traffic.get_or_create(&labels).inc();
}
