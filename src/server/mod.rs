//! The loop's HTTP server: health, readiness, metrics, and the job-control API with its authorization. And the pages, which
//! `k6sync ui` serves too, by a door of its own (`local`).
//!
//! It never decides what a cycle does: it shows what the loop says about itself, and writes actions into the control ConfigMap.

mod access;
pub(crate) mod api_key;
pub(crate) mod auth;
mod connections;
pub(crate) mod job_api;
pub mod job_request;
pub(crate) mod local;
#[allow(dead_code, reason = "the loop serves them next")]
pub(crate) mod pages;
mod refusals;
mod review;
#[allow(dead_code, reason = "the API and the pages come next")]
pub(crate) mod sight;
pub(crate) mod tls;
mod write_timeout;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutLayer;

use self::job_api::JobApi;
use self::tls::Tls;
use crate::sync_loop::LoopState;

/// The limit on a request, body and answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `stop` is done; over TLS if there is a certificate.
///
/// # Errors
/// When the socket fails.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    loop_state: LoopState,
    job_api: JobApi,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    connections::serve(listener, tls, router(loop_state, job_api), stop).await
}

fn router(loop_state: LoopState, job_api: JobApi) -> Router {
    let health = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(loop_state));
    let job = get(job_api::read)
        .post(job_api::act)
        .fallback(job_api::other_method);
    Router::new()
        .route(job_api::PATH, job)
        .with_state(Arc::new(job_api))
        .merge(health)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
}

/// The loop is alive: no cycle or sleep is overdue.
async fn healthz(State(loop_state): State<Arc<LoopState>>) -> Response {
    verdict(loop_state.pulse.check())
}

/// The loop can do its work.
async fn readyz(State(loop_state): State<Arc<LoopState>>) -> Response {
    let leadership = loop_state.leadership.borrow().clone();
    verdict(loop_state.readiness.check(leadership).await)
}

async fn metrics(State(loop_state): State<Arc<LoopState>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, OPEN_METRICS)], loop_state.metrics.text()).into_response()
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}
