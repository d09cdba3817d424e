//! The read API: `/api/v1` (**contract**: docs/api.md). What the commands that read say by `-o json`, for programs that have no
//! database, and for the pages.

mod answer;
mod follow;
mod follows;
mod logs;
mod openapi;
mod parameters;
mod query;
mod runs;
mod state;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::StatusCode;
use http::header::ALLOW;

pub(super) use self::state::Api;
use super::door::Asking;
use super::refusal::Refusal;

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/runs", get(runs::list).fallback(other_method))
        .route("/api/v1/runs/{run}", get(runs::one).fallback(other_method))
        .route(
            "/api/v1/runs/{run}/results",
            get(runs::results).fallback(other_method),
        )
        .route(
            "/api/v1/runs/{run}/logs",
            get(logs::read).fallback(other_method),
        )
        .route(
            "/api/v1/runs/{run}/logs/follow",
            get(follow::follow).fallback(other_method),
        )
        .route("/api/v1/compare", get(runs::compare).fallback(other_method))
        .route(
            "/api/v1/openapi.json",
            get(openapi::document).fallback(other_method),
        )
        .route("/api/v1/{*path}", any(nothing))
        .with_state(api)
}

/// Any other method.
async fn other_method(State(api): State<Api>) -> Response {
    let error = "this path takes GET and HEAD";
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error);
    ([(ALLOW, "GET, HEAD")], api.respond(Err(refusal))).into_response()
}

/// Any other path. Strangers don't hear which there are.
async fn nothing(State(api): State<Api>, asking: Asking) -> Response {
    let answer = async {
        api.house.door.visitor(&asking).await?;
        let error = "there is no such path; /api/v1/openapi.json has all";
        Err(Refusal::new(StatusCode::NOT_FOUND, error))
    };
    api.respond(answer.await)
}
