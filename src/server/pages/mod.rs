//! The pages: runs, a run, its log, a comparison, the job. A file a page: what it asks of the record, the struct that its template
//! gets, the answer.
//!
//! Whoever serves them (the loop, `k6sync ui`) puts a [`Visitor`] into each request: who that is, and what they may see. Nothing
//! beyond it is shown, and a run that may not be seen is as one that is not there. All works without scripts but for what is live,
//! nothing is asked of anybody else, and the policy lets nothing else in.

mod answer;
mod assets;
mod choice;
mod compare;
mod downloads;
mod frame;
mod headers;
mod job;
mod log_lines;
pub(crate) mod login;
mod logs;
mod notice;
mod problem;
mod query;
mod run;
mod runs;
mod source;
mod state;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;

pub(crate) use self::headers::{harden, hardened};
pub(crate) use self::problem::Problem;
pub(crate) use self::source::Source;
pub(crate) use self::state::JobPart;
pub(crate) use self::state::Pages;
pub(crate) use self::visitor::Visitor;

/// All pages, and what belongs to them. Who adds more routes to it adds the visitor for them, too.
pub(crate) fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(runs::page))
        .route("/runs/{id}", get(run::page))
        .route("/runs/{id}/runners/{stream}", get(run::runner))
        .route("/runs/{id}/logs", get(logs::page))
        .route("/runs/{id}/logs/window", get(logs::window))
        .route("/runs/{id}/logs/find", get(logs::find))
        .route("/runs/{id}/logs/line", get(logs::line))
        .route("/runs/{id}/logs.txt", get(downloads::logs))
        .route("/runs/{id}/run.json", get(downloads::json))
        .route("/runs/{id}/junit.xml", get(downloads::junit))
        .route("/runs/{id}/summary.md", get(downloads::markdown))
        .route("/runs/{id}/report.html", get(downloads::html))
        .route("/compare", get(compare::page))
        .route("/notice", get(job::notice))
        .route("/job", get(job::page).post(job::act))
        .with_state(Arc::new(pages))
        .merge(assets())
        .fallback(problem::not_found)
        .layer(map_response(harden))
}

/// Style, script and icons: for everybody, also before they are known.
pub(crate) fn assets() -> Router {
    Router::new()
        .route("/assets/{name}", get(assets::asset))
        .route("/favicon.ico", get(assets::no_icon))
}
