//! `/standin/…`: the handles that the binary's users turn with curl. No token, but from this machine only.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::cluster::Cluster;
use crate::logs::now_nanoseconds;
use crate::status::{bytes_response, json_response};

/// The stand-in's own paths.
pub(crate) fn routes() -> Router<Cluster> {
    Router::new()
        .route("/standin/recording/{moment}", post(load_recording))
        .route("/standin/requests", get(requests).delete(reset_requests))
        .route("/standin/latency/{ms}", post(set_latency))
        .route("/standin/compact", post(compact))
        .route(
            "/standin/log/{namespace}/{pod}/{container}",
            post(append_log),
        )
        .layer(middleware::from_fn(from_here_only))
}

async fn from_here_only(
    Extension(peer): Extension<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        next.run(request).await
    } else {
        text(StatusCode::FORBIDDEN, "only from the machine itself\n")
    }
}

fn text(code: StatusCode, text: impl Into<String>) -> Response {
    bytes_response(code, "text/plain; charset=utf-8", text.into())
}

async fn load_recording(State(cluster): State<Cluster>, Path(moment): Path<String>) -> Response {
    let Some(dir) = cluster.recording_dir() else {
        return text(
            StatusCode::CONFLICT,
            "no recording is known: start with --recording DIR\n",
        );
    };
    match cluster.load_recording(&dir, &moment) {
        Ok(()) => text(StatusCode::OK, format!("the cluster is as at {moment}\n")),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error:#}\n")),
    }
}

async fn requests(State(cluster): State<Cluster>) -> Response {
    json_response(StatusCode::OK, &json!(cluster.requests()))
}

async fn reset_requests(State(cluster): State<Cluster>) -> Response {
    cluster.reset_requests();
    text(StatusCode::OK, "counting from zero\n")
}

async fn set_latency(State(cluster): State<Cluster>, Path(ms): Path<u64>) -> Response {
    cluster.set_latency(Duration::from_millis(ms));
    text(StatusCode::OK, format!("each answer waits {ms} ms\n"))
}

async fn compact(State(cluster): State<Cluster>) -> Response {
    cluster.compact();
    text(StatusCode::OK, "compacted\n")
}

async fn append_log(
    State(cluster): State<Cluster>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    body: Bytes,
) -> Response {
    let log = cluster.log(&namespace, &pod, &container);
    let lines = body.strip_suffix(b"\n").unwrap_or(&body);
    if !body.is_empty() {
        log.write_line(now_nanoseconds(), lines);
    }
    text(StatusCode::OK, "written\n")
}
