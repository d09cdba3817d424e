//! Counting what we ask of the API server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::call::Call;

/// Requests to Kubernetes by verb, resource and status code; every attempt counts. Clones count together.
pub type Traffic = Family<RequestLabels, Counter>;

/// Labels of a request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// `list`, `get`, …
    pub verb: &'static str,
    /// `pods`, `pods/log`, …
    pub resource: &'static str,
    /// HTTP status code; `none` where no answer came.
    pub code: String,
}

/// Counts an attempt; `code` is `None` where no answer came.
pub(super) fn count(traffic: &Traffic, call: &Call, code: Option<http::StatusCode>) {
    let labels = RequestLabels {
        verb: call.verb,
        resource: call.resource,
        code: code.map_or_else(|| "none".to_owned(), |code| code.as_str().to_owned()),
    };
    traffic.get_or_create(&labels).inc();
}
