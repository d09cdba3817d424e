//! The pages: runs, a run, its log, a comparison, the job. A file a page: what it asks of the record, the struct that its template
//! gets, the answer.
//!
//! Whoever serves them (the loop, `k6sync ui`) puts a [`Visitor`] into each request: who that is, and what they may see. Nothing
//! beyond it is shown, and a run that may not be seen is as one that is not there. All works without scripts but for what is live,
//! nothing is asked of anybody else, and the policy lets nothing else in.

mod assets;
mod compare;
mod downloads;
mod headers;
mod job;
mod log_lines;
pub(crate) mod login;
mod logs;
mod problem;
mod query;
mod run;
mod runs;
mod source;
mod visitor;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub(crate) use self::headers::harden;
pub(crate) use self::job::JobPart;
pub(crate) use self::problem::Problem;
pub(crate) use self::source::Source;
pub(crate) use self::visitor::Visitor;
use crate::report::verdict::Tone;

/// What the pages share.
pub(crate) struct Pages {
    /// Where the record is.
    pub source: Source,
    /// The job, where there is a loop.
    pub job: Option<JobPart>,
    /// New lines of logs are told at `/api/v1/runs/{id}/logs/follow`; else they are asked for every second.
    pub follow: bool,
}

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

/// What all pages have around them.
pub(crate) struct Frame {
    title: String,
    /// Of the status that the icon tells.
    icon: String,
    style: &'static str,
    script: &'static str,
    /// Which part of the pages it is: `runs`, `job`.
    part: &'static str,
    /// Whether there is somebody who can sign out, and as whom.
    name: Option<String>,
    csrf: String,
    version: &'static str,
}

/// The version that made the page.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Frame {
    fn of(title: impl Into<String>, part: &'static str, visitor: &Visitor) -> Self {
        Self {
            title: title.into(),
            icon: assets::icon(None),
            style: assets::style(),
            script: assets::script(),
            part,
            name: visitor.name.clone(),
            csrf: visitor.csrf.clone().unwrap_or_default(),
            version: VERSION,
        }
    }

    /// Its icon tells how something is.
    fn with_icon(self, tone: Tone) -> Self {
        Self {
            icon: assets::icon(Some(tone)),
            ..self
        }
    }
}

/// The page that the template makes. It is never kept by anybody: it is what somebody may see.
fn html(template: &impl Template) -> Result<Response, Problem> {
    let text = template.render().map_err(|error| Problem::Internal {
        problem: error.to_string(),
    })?;
    const HTML: &str = "text/html; charset=utf-8";
    let headers = [(CONTENT_TYPE, HTML), (CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, text).into_response())
}
