//! The kubelet's own log endpoint, which a real API server can be pointed at (docs/facts.md,
//! "The API server gets logs from the node's kubelet").
//!
//! It knows the log store and no pods: what depends on a pod object is the API server's business. Errors are plain text,
//! which the API server turns into a `Status`.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, Uri};

use crate::cluster::Cluster;
use crate::door;
use crate::logs::Which;
use crate::pod_log::{LogQuery, no_previous, read, respond, waiting_to_start};
use crate::status::bytes_response;
use crate::target::Query;

/// `/containerLogs/{namespace}/{pod}/{container}`.
pub(crate) fn routes() -> Router<Cluster> {
    Router::new().route(
        "/containerLogs/{namespace}/{pod}/{container}",
        get(container_logs),
    )
}

async fn container_logs(
    State(cluster): State<Cluster>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    uri: Uri,
) -> Response {
    let answer = async {
        answer(&cluster, &namespace, &pod, &container, &uri)
            .unwrap_or_else(|text| bytes_response(StatusCode::BAD_REQUEST, "text/plain", text))
    };
    door::pass(&cluster, "get pods/log", None, answer).await
}

fn answer(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
    uri: &Uri,
) -> Result<Response, String> {
    // The API server has cut the time already; a kubelet takes it as it is.
    let asked = LogQuery::of(&Query::of(uri), cluster.kubelet_style())
        .map_err(|failure| failure.message)?;
    let log = cluster.state().logs.find(namespace, pod, container);
    let which = if asked.previous {
        Which::Previous
    } else if log.is_some() {
        Which::Current
    } else {
        return Err(waiting_to_start(container, pod, "ContainerCreating"));
    };
    read(log.as_ref(), which, &asked.options)
        .map(respond)
        .ok_or_else(|| no_previous(container, pod))
}
