//! The log of a run, as JSON lines or text: read while it is sent, no faster than whoever asks takes it.

use std::ops::ControlFlow;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::answer;
use super::parameters::{HowItIsSent, OneRun, WhichLines};
use super::query::Query;
use super::runs::{is_over, named};
use super::state::Api;
use crate::record::When;
use crate::record::log::{Grep, LineId, Log, LogError, LogItem, LogLine, LogWanted, Places};
use crate::report::lines::{LineLook, LineWriter};
use crate::server::connections::Endless;
use crate::server::door::Asking;
use crate::server::refusal::{AsItWas, LogRefusals, Refusal, Refusals, RunRefusals};
use crate::store::Role;

/// What is sent at a time, bytes, and some.
const PIECE: usize = 64 * 1024;
/// What the beginnings of all logs of one answer may take, bytes.
const BUDGET: usize = 4 * 1024 * 1024;
/// Lines of a window.
const MOST: u64 = 10_000;
/// Lines around a match.
const AROUND: usize = 1_000;

/// Which lines.
pub(super) const CHOICE: [&str; 9] = [
    "since",
    "tail",
    "step",
    "runner",
    "role",
    "failed",
    "grep",
    "ignoreCase",
    "around",
];

/// How they look.
struct LogLook {
    is_text: bool,
    line: LineLook,
}

/// What is chosen of a log, but for what may be seen.
pub(super) fn wanted(query: &Query) -> Result<(LogWanted, Option<Grep>), String> {
    let roles = query.all::<String>("role")?;
    let roles = roles.iter().map(|word| {
        Role::parse(word).ok_or_else(|| {
            let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
            format!("role: it must be one of {}", known.join(", "))
        })
    });
    let since = query.one::<When>("since")?;
    let wanted = LogWanted {
        steps: query.each("step"),
        runners: query.all("runner")?,
        roles: roles.collect::<Result<_, _>>()?,
        failed: query.flag("failed")?,
        since: since.map(|when| nanoseconds(when.from(Timestamp::now()))),
        tail: query.one("tail")?,
        timed: true,
        ..LogWanted::default()
    };
    let around = query.one("around")?.unwrap_or(0);
    if around > AROUND {
        return Err(format!("around: it must be from 0 to {AROUND}"));
    }
    let ignore_case = query.flag("ignoreCase")?;
    let grep = query.one::<String>("grep")?;
    let grep = grep.map(|pattern| {
        Grep::new(&pattern, ignore_case, around).map_err(|error| format!("grep: {error}"))
    });
    Ok((wanted, grep.transpose()?))
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(match time < Timestamp::UNIX_EPOCH {
        true => i64::MIN,
        false => i64::MAX,
    })
}

/// Goes on from a line's id, or from where an answer ended.
pub(super) fn go_on(wanted: &mut LogWanted, from: &str) -> Result<(), String> {
    match from.parse::<LineId>() {
        Ok(line) => wanted.from_line = Some(line),
        Err(_) => {
            let places: Places = from.parse().map_err(|_| {
                "from: it must be the id of a line, or the `next` of another answer".to_owned()
            })?;
            wanted.from = Some(places);
        }
    }
    Ok(())
}

/// The log of a run
///
/// All containers, merged by time. JSON lines, or text with `Accept: text/plain` or `format=text`. With `limit` the last JSON line is
/// `{"next": …}`: `from` of the next window, or null at the end.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs", params(OneRun, WhichLines, HowItIsSent), responses(
    (status = 200, description = "lines and gaps, by time", content((String = "application/x-ndjson"), (String = "text/plain"))),
    AsItWas, Refusals, RunRefusals, LogRefusals
))]
pub(super) async fn read(
    State(api): State<Api>,
    asking: Asking,
    path: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Response {
    let answer = async {
        let look = api.house.look(&asking).await?;
        let known = [
            &CHOICE[..],
            &["format", "timestamps", "prefix", "from", "limit"],
        ]
        .concat();
        let query = Query::of(raw.as_deref(), &known).map_err(Refusal::bad)?;
        let (mut wanted, grep) = wanted(&query).map_err(Refusal::bad)?;
        let shown = shown(&query, &asking.headers).map_err(Refusal::bad)?;
        if let Some(from) = query.one::<String>("from").map_err(Refusal::bad)? {
            go_on(&mut wanted, &from).map_err(Refusal::bad)?;
        }
        let limit: Option<u64> = query.one("limit").map_err(Refusal::bad)?;
        if limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
            return Err(Refusal::bad(format!("limit: it must be from 1 to {MOST}")));
        }
        wanted.budget = Some(BUDGET);
        let run = look.run(&named(path)?).await?;
        let wanted = look.log(&run, wanted)?;
        let tag = is_over(&run).then(|| {
            let content = serde_json::to_vec(&run).unwrap_or_default();
            let seen = format!("{:?} {}", wanted.namespaces, shown.is_text);
            let since = format!("{:?}", wanted.since);
            let query = raw.unwrap_or_default();
            answer::tag(&[
                &content,
                query.as_bytes(),
                seen.as_bytes(),
                since.as_bytes(),
            ])
        });
        if let Some(same) = tag
            .as_ref()
            .and_then(|tag| answer::not_modified(&asking.headers, tag))
        {
            return Ok(same);
        }
        let turn = api.logs.clone().try_acquire_owned();
        let turn = turn.map_err(|_| {
            Refusal::away("too many logs are being read; try again in a few seconds")
        })?;
        let log = Log::open(&look.record, run.row.id, wanted).await?;
        let is_text = shown.is_text;
        let body = Reading::new(
            log,
            grep,
            shown,
            limit,
            query.one::<bool>("prefix").map_err(Refusal::bad)?,
            turn,
        )
        .body();
        let kind = match is_text {
            true => "text/plain; charset=utf-8",
            false => "application/x-ndjson",
        };
        let headers = [(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        let mut response = (headers, body).into_response();
        response.extensions_mut().insert(Endless);
        Ok(match tag {
            Some(tag) => answer::kept(response, &tag),
            None => answer::passing(response),
        })
    };
    api.respond(answer.await)
}

fn shown(query: &Query, headers: &HeaderMap) -> Result<LogLook, String> {
    let accepts_text = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.trim_start().starts_with("text/plain"));
    let is_text = match query.one::<String>("format")?.as_deref() {
        None => accepts_text,
        Some("json") => false,
        Some("text") => true,
        Some(_) => return Err("format: it must be json or text".to_owned()),
    };
    Ok(LogLook {
        is_text,
        line: LineLook {
            timestamps: query.flag("timestamps")?,
            ..LineLook::default()
        },
    })
}

/// A log on its way to whoever asked.
struct Reading {
    log: Log,
    grep: Option<Grep>,
    writer: LineWriter,
    is_text: bool,
    /// Lines that may still come.
    left: Option<u64>,
    is_over: bool,
    _turn: OwnedSemaphorePermit,
}

/// The window is full.
struct Full;

impl Reading {
    fn new(
        log: Log,
        grep: Option<Grep>,
        look: LogLook,
        left: Option<u64>,
        prefix: Option<bool>,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        let line = LineLook {
            prefix: prefix.unwrap_or(log.containers().len() > 1),
            ..look.line
        };
        Self {
            log,
            grep,
            writer: LineWriter::new(line),
            is_text: look.is_text,
            left,
            is_over: false,
            _turn: turn,
        }
    }

    fn body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut reading| {
            if reading.is_over {
                return None;
            }
            let piece = reading.piece().await;
            reading.is_over |= piece.is_err();
            // An answer that broke off does not look like a whole one.
            Some((piece.map(Bytes::from), reading))
        }))
    }

    async fn piece(&mut self) -> Result<String, LogError> {
        let mut out = String::with_capacity(PIECE);
        while out.len() < PIECE {
            match self.item(&mut out).await? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(()) => {
                    self.is_over = true;
                    break;
                }
            }
        }
        Ok(out)
    }

    /// What comes next; breaks at the end.
    async fn item(&mut self, out: &mut String) -> Result<ControlFlow<()>, LogError> {
        let Self {
            log,
            writer,
            grep,
            is_text,
            left,
            ..
        } = self;
        // The first line that has no room.
        let mut refused = None;
        writer.know(log.containers());
        let is_full = match log.next().await? {
            None => {
                if left.is_some() && !*is_text {
                    out.push_str("{\"next\":null}\n");
                }
                return Ok(ControlFlow::Break(()));
            }
            Some(LogItem::Gap(gap)) => {
                match is_text {
                    true => writer.gap(out, &gap),
                    false => writer.gap_json(out, &gap),
                }
                out.push('\n');
                false
            }
            Some(LogItem::Lines(lines)) => {
                let mut write = |line: LogLine<'_>, is_apart: bool| {
                    if *left == Some(0) {
                        refused = Some((line.container, line.at));
                        return Err(Full);
                    }
                    if is_apart && *is_text {
                        writer.apart(out);
                        out.push('\n');
                    }
                    match is_text {
                        true => writer.text(out, line),
                        false => writer.json(out, line),
                    }
                    out.push('\n');
                    if let Some(left) = left {
                        *left -= 1;
                    }
                    Ok(())
                };
                let written = match grep {
                    Some(grep) => grep.each(lines, write),
                    None => lines.iter().try_for_each(|line| write(line, false)),
                };
                written.is_err()
            }
        };
        if !is_full {
            return Ok(ControlFlow::Continue(()));
        }
        if !*is_text {
            let mut places = log.places();
            if let Some((container, at)) = refused
                && let Some(container) = log.containers().get(container)
                && let Some(place) = places.0.get_mut(&container.id)
            {
                place.at = at;
            }
            out.push_str(&format!("{{\"next\":\"{places}\"}}\n"));
        }
        Ok(ControlFlow::Break(()))
    }
}
