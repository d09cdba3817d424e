//! A run: verdict and reason first, then how it went, and what to do next.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;

use super::answer::{html, unless_known};
use super::frame::Frame;
use super::problem::Problem;
use super::query::Query;
use super::state::Pages;
use super::visitor::Visitor;
use crate::record::{Record, Run, has_failed};
use crate::report::html::{MetricTable, RunView, metrics};
use crate::report::{values, verdict};
use crate::store::{RunId, StreamId};

/// Containers that failed, whose last words are on the page.
const MOST_FAILED: usize = 5;

#[derive(Template)]
#[template(path = "run.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    part: Part,
}

/// What changes while the run is under way, alone.
#[derive(Template)]
#[template(path = "run_part.html", config = "src/server/askama.toml")]
struct PartAlone<'a> {
    part: &'a Part,
}

struct Part {
    run: RunView,
    pages: String,
    /// Its log may be read.
    has_log: bool,
    is_live: bool,
    icon: String,
    next: Vec<Next>,
}

/// What to do next.
struct Next {
    text: &'static str,
    href: Option<String>,
    command: Option<String>,
}

#[derive(Template)]
#[template(path = "runner.html", config = "src/server/askama.toml")]
struct RunnerPage {
    frame: Frame,
    name: String,
    who: String,
    pages: String,
    tables: Tables,
}

#[derive(Template)]
#[template(path = "metrics.html", config = "src/server/askama.toml")]
struct TablesAlone<'a> {
    tables: &'a Tables,
}

struct Tables {
    who: String,
    tables: Vec<MetricTable>,
}

/// The run with this id, if whoever asks may see it.
pub(super) async fn seen(record: &Record, visitor: &Visitor, id: &str) -> Result<Run, Problem> {
    let missing = || Problem::missing(format!("The run {}", values::name(id)));
    let id: i64 = id.parse().map_err(|_| missing())?;
    let run = record.run(RunId(id)).await?;
    run.and_then(|run| visitor.sees(run)).ok_or_else(missing)
}

/// `GET /runs/{id}`
pub(super) async fn page(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = seen(record, &visitor, &id).await?;
    let part = part(record, &visitor, &run).await?;
    if query.get("part").is_some() {
        return unless_known(&PartAlone { part: &part }, &headers);
    }
    let frame = Frame::of(part.run.title.clone(), "runs", &visitor)
        .over(record)
        .await?;
    html(&Page {
        frame: frame.with_icon(verdict::of_run(&run)),
        part,
    })
}

async fn part(record: &Record, visitor: &Visitor, run: &Run) -> Result<Part, Problem> {
    let has_log = run.steps.iter().any(|step| visitor.sight.reads(step));
    let now = Timestamp::now();
    let most_failed = if has_log { MOST_FAILED } else { 0 };
    let details = record.details(run, most_failed, now).await?;
    let pages = format!("/runs/{}", run.row.id);
    let mut view = RunView::of(run, &details, now, Some(&pages));
    for (part, step) in view.steps.iter_mut().zip(&run.steps) {
        if !visitor.sight.reads(step) {
            part.said.clear();
            for row in &mut part.containers {
                row.logs = None;
            }
        }
    }
    let previous = record
        .previous(run.row.id, &visitor.sight.visible())
        .await
        .ok();
    Ok(Part {
        run: view,
        has_log,
        is_live: !run.outcome.ended || !run.complete,
        icon: super::assets::icon(Some(verdict::of_run(run))),
        next: next(run, &pages, has_log, previous),
        pages,
    })
}

/// What people do next with a run like this.
fn next(run: &Run, pages: &str, has_log: bool, previous: Option<RunId>) -> Vec<Next> {
    let id = run.row.id;
    let mut next = Vec::new();
    if !run.outcome.ended {
        if has_log {
            next.push(Next {
                text: "Follow its log",
                href: Some(format!("{pages}/logs?go=end")),
                command: Some(format!("k6sync logs {id} -f")),
            });
        }
        next.push(Next {
            text: "Wait for its end in a pipeline",
            href: None,
            command: Some(format!("k6sync wait {id}")),
        });
    }
    let has_failures = run.containers().any(|(_, container)| has_failed(container));
    if has_log && has_failures {
        next.push(Next {
            text: "Read the log from its first error on",
            href: Some(format!("{pages}/logs?go=error")),
            command: Some(format!("k6sync logs {id} --failed")),
        });
    }
    if let Some(previous) = previous.filter(|_| run.outcome.ended) {
        next.push(Next {
            text: "Compare it with the run before",
            href: Some(format!("/compare?base={previous}&other={id}")),
            command: Some(format!("k6sync compare {previous} {id}")),
        });
    }
    if run.gaps > 0 {
        next.push(Next {
            text: "See why lines are missing",
            href: None,
            command: Some(format!("k6sync verify --run {id}")),
        });
    }
    next
}

/// `GET /runs/{id}/runners/{stream}`: what one runner measured.
pub(super) async fn runner(
    State(pages): State<Arc<Pages>>,
    Path((id, stream)): Path<(String, String)>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = seen(record, &visitor, &id).await?;
    let missing = || Problem::missing("This runner");
    let stream = StreamId(stream.parse().map_err(|_| missing())?);
    let who = run
        .containers()
        .find(|(_, container)| container.row.id == stream)
        .map(|(_, container)| verdict::who(container))
        .ok_or_else(missing)?;
    let tables = Tables {
        who: who.clone(),
        tables: metrics(&record.runner_metrics(stream).await?),
    };
    if query.get("part").is_some() {
        return html(&TablesAlone { tables: &tables });
    }
    let name = values::name(&run.row.name);
    html(&RunnerPage {
        frame: Frame::of(format!("{who} of {name}"), "runs", &visitor)
            .over(record)
            .await?,
        name,
        who,
        pages: format!("/runs/{}", run.row.id),
        tables,
    })
}
