//! A run to take away: its log as text, and the files that `k6sync report` writes.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;

use super::frame::VERSION;
use super::problem::Problem;
use super::query::Query;
use super::run::seen;
use super::state::Pages;
use super::visitor::Visitor;
use crate::record::Run;
use crate::record::log::{Log, LogItem, LogWanted};
use crate::report;
use crate::report::lines::{LineLook, LineWriter};
use crate::store::StreamId;

/// Containers that failed, whose last words are in the report.
const MOST_FAILED: usize = 20;
/// How much of a log is sent at a time.
const PIECE: usize = 64 * 1024;

/// A file to be kept, never shown: whatever is in it, it is not of this page.
fn file(run: &Run, end: &str, kind: &'static str, body: impl IntoResponse) -> Response {
    let plain = |char: char| match char.is_ascii_alphanumeric() || "-_.".contains(char) {
        true => char,
        false => '_',
    };
    let name: String = run.row.name.chars().take(80).map(plain).collect();
    let disposition = format!("attachment; filename=\"{name}-{}.{end}\"", run.row.id);
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // It has none but those letters.
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

async fn run_of(pages: &Pages, visitor: &Visitor, id: &str) -> Result<Run, Problem> {
    seen(&pages.source.record().await?, visitor, id).await
}

/// `GET /runs/{id}/run.json`
pub(super) async fn json(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let run = run_of(&pages, &visitor, &id).await?;
    Ok(file(&run, "json", "application/json", Json(&run)))
}

/// `GET /runs/{id}/junit.xml`
pub(super) async fn junit(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let run = [run_of(&pages, &visitor, &id).await?];
    let xml = report::junit::junit(&run);
    Ok(file(&run[0], "xml", "application/xml", xml))
}

/// `GET /runs/{id}/summary.md`
pub(super) async fn markdown(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let run = [run_of(&pages, &visitor, &id).await?];
    let text = report::markdown::markdown(&run);
    Ok(file(&run[0], "md", "text/markdown; charset=utf-8", text))
}

/// `GET /runs/{id}/report.html`
pub(super) async fn html(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let run = run_of(&pages, &visitor, &id).await?;
    let record = &pages.source.record().await?;
    let most_failed = match run.steps.iter().all(|step| visitor.sight.reads(step)) {
        true => MOST_FAILED,
        false => 0,
    };
    let now = Timestamp::now();
    let details = record.details(&run, most_failed, now).await?;
    let page = report::html::page(&run, &details, VERSION, now);
    let page = page.map_err(|error| Problem::Internal {
        problem: error.to_string(),
    })?;
    Ok(file(&run, "html", "text/html; charset=utf-8", page))
}

/// `GET /runs/{id}/logs.txt`: as `k6sync logs --timestamps` prints it, sent as it is read.
pub(super) async fn logs(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = seen(record, &visitor, &id).await?;
    let those = run
        .containers()
        .filter(|(step, _)| visitor.sight.reads(step))
        .map(|(_, container)| container.row.id);
    let wanted: Option<StreamId> = query
        .get("container")
        .and_then(|id| id.parse().ok())
        .map(StreamId);
    let containers: Vec<StreamId> = those
        .filter(|id| wanted.is_none_or(|wanted| *id == wanted))
        .collect();
    if containers.is_empty() {
        return Err(Problem::missing("This log"));
    }
    let wanted = LogWanted {
        containers,
        timed: true,
        ..LogWanted::default()
    };
    let log = Log::open(record, run.row.id, wanted).await?;
    let mut writer = LineWriter::new(LineLook {
        timestamps: true,
        prefix: log.containers().len() > 1,
        ..LineLook::default()
    });
    writer.know(log.containers());
    let body = Body::from_stream(stream::try_unfold(
        (log, writer, VecDeque::<Bytes>::new()),
        |(mut log, mut writer, mut ready)| async move {
            while ready.is_empty() {
                let Some(item) = log.next().await? else {
                    return Ok::<_, crate::record::log::LogError>(None);
                };
                let mut text = String::new();
                match item {
                    LogItem::Gap(gap) => {
                        writer.gap(&mut text, &gap);
                        text.push('\n');
                    }
                    LogItem::Lines(lines) => {
                        for line in lines.iter() {
                            writer.text(&mut text, line);
                            text.push('\n');
                            if text.len() >= PIECE {
                                ready.push_back(std::mem::take(&mut text).into());
                            }
                        }
                    }
                }
                if !text.is_empty() {
                    ready.push_back(text.into());
                }
            }
            let piece = ready.pop_front();
            Ok(piece.map(|piece| (piece, (log, writer, ready))))
        },
    ));
    Ok(file(&run, "log", "text/plain; charset=utf-8", body))
}
