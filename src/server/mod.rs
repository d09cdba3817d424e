//! The loop's HTTP server: health, readiness, metrics, and the job-control API with its authorization. And the pages, which
//! `k6sync ui` serves too, by a door of its own (`local`).
//!
//! It never decides what a cycle does: it shows what the loop says about itself, and writes actions into the control ConfigMap.

mod access;
pub(crate) mod api;
pub(crate) mod api_key;
pub(crate) mod auth;
mod body;
mod connections;
pub(crate) mod door;
pub(crate) mod job_api;
pub mod job_request;
pub(crate) mod local;
pub(crate) mod look;
mod page_door;
pub(crate) mod pages;
pub(crate) mod refusal;
pub(crate) mod refusals;
mod review;
pub(crate) mod sight;
pub(crate) mod source;
pub(crate) mod tls;
mod write_timeout;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutLayer;

use self::api::Api;
use self::door::login::{self, Entrance};
use self::job_api::JobApi;
use self::look::House;
use self::pages::{JobPart, Pages};
use self::refusals::Refusals;
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
    services: Services,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    connections::serve(listener, tls, router(loop_state, services), stop).await
}

/// What is served beside health and metrics.
pub(crate) struct Services {
    pub(crate) job_api: JobApi,
    pub(crate) house: House,
    /// How many may follow logs at a time.
    pub(crate) followers: usize,
    /// What the page of the job shows and does.
    pub(crate) job: JobPart,
}

/// The record as an API, and the way in to it. `namespace`: where service accounts are that may look.
fn record_router(house: House, followers: usize, namespace: &str) -> Router {
    let refusals = Refusals::default();
    let entrance = Entrance {
        door: Arc::clone(&house.door),
        refusals: refusals.clone(),
        namespace: namespace.to_owned(),
    };
    Router::new()
        .route(login::LOGIN, get(login::form).post(login::sign_in))
        .route(login::LOGOUT, post(login::sign_out))
        .with_state(entrance)
        .merge(api::router(Api::new(house, refusals, followers)))
}

fn router(loop_state: LoopState, services: Services) -> Router {
    let health = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(loop_state));
    let job = get(job_api::read)
        .post(job_api::act)
        .fallback(job_api::other_method);
    let namespace = services.job.control.namespace().to_owned();
    let pages = Pages {
        source: pages::Source::of(Arc::clone(&services.house.source)),
        job: Some(services.job),
        follow: true,
    };
    // What is not there is not behind the door.
    let pages = pages::router(pages).route_layer(from_fn_with_state(
        services.house.clone(),
        page_door::let_in,
    ));
    Router::new()
        .route(job_api::PATH, job)
        .with_state(Arc::new(services.job_api))
        .merge(health)
        .merge(record_router(
            services.house,
            services.followers,
            &namespace,
        ))
        .merge(pages)
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
