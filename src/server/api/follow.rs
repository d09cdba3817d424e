//! The log of a run as it comes: server-sent events, each a batch of lines, whose id is the place behind them. Whoever comes back with
//! that id loses and doubles nothing.
//!
//! A follower that does not read is dropped by its
//! connection (`write_timeout`); until then nothing more is read for it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::follows::{Sighted, Turn};
use super::logs::{CHOICE, go_on, wanted};
use super::parameters::{BehindWhat, OneRun, WhichLines};
use super::query::Query;
use super::runs::named;
use super::state::Api;
use crate::record::log::{Grep, Log, LogError, LogItem, LogLine, Seen};
use crate::record::{Run, StepMeasured};
use crate::report::lines::{LineLook, LineWriter};
use crate::server::connections::Endless;
use crate::server::door::Asking;
use crate::server::refusal::{LogRefusals, Refusal, Refusals, RunRefusals};

/// What says that the connection lives, where nothing else does.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked again whether somebody may follow.
const REVIEW: Duration = Duration::from_secs(30);
/// When to come back after the connection broke.
const COME_BACK: Duration = Duration::from_secs(2);
/// What an event has, bytes, and some.
const EVENT: usize = 16 * 1024;
/// What the beginnings of all logs of one follower may take, bytes; so few that nothing is fetched ahead.
const BUDGET: usize = 256 * 1024;
const LAST_EVENT_ID: &str = "last-event-id";

/// The log of a run as it comes
///
/// Server-sent events: the data of each is a list of lines and gaps as in the JSON lines of the log; its id goes into `Last-Event-ID` (or
/// `from`) to go on behind it. An event `end` comes when the run is over and its logs are complete.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs/follow", params(OneRun, WhichLines, BehindWhat), responses(
    (status = 200, description = "lines and gaps as they come", content_type = "text/event-stream", body = String),
    Refusals, RunRefusals, LogRefusals
))]
pub(super) async fn follow(
    State(api): State<Api>,
    asking: Asking,
    path: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Response {
    let answer = async {
        let look = api.house.look(&asking).await?;
        let known = [&CHOICE[..], &["from"]].concat();
        let query = Query::of(raw.as_deref(), &known).map_err(Refusal::bad)?;
        let (mut wanted, grep) = wanted(&query).map_err(Refusal::bad)?;
        let from = query.one::<String>("from").map_err(Refusal::bad)?;
        let last = last_event_id(&asking.headers).or(from);
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            go_on(&mut wanted, &last).map_err(Refusal::bad)?;
            // Whoever comes later is shown from the beginning, as before.
            wanted.tail = None;
            wanted.since = None;
        }
        wanted.budget = Some(BUDGET);
        wanted.follow = true;
        let name = named(path)?;
        let place = api.follows.place()?;
        // All runners of a run take memory, too.
        let turn = api.follows.turn().await;
        let mut run = look.run(&name).await?;
        let wanted = look.log(&run, wanted)?;
        // Only whose it is is asked again.
        for step in &mut run.steps {
            step.containers = Vec::new();
            step.measured = StepMeasured::default();
        }
        let states = api.follows.watch(run.row.id);
        let log = Log::open(&look.record, run.row.id, wanted).await?;
        let mut writer = LineWriter::new(LineLook::default());
        writer.know(log.containers());
        let follower = Follower {
            api: api.clone(),
            asking: asking.clone(),
            run,
            log,
            grep,
            writer,
            states,
            seen: Seen {
                is_gone: false,
                has_ended: false,
                is_active: true,
            },
            is_drained: false,
            turn,
            reviewed: Instant::now(),
            is_greeted: false,
            is_over: false,
            _place: place,
        };
        let mut response = Sse::new(stream::unfold(follower, async |mut follower| {
            let event = follower.event().await?;
            Some((Ok::<_, Infallible>(event), follower))
        }))
        .into_response();
        response.extensions_mut().insert(Endless);
        Ok(answer::passing(response))
    };
    api.respond(answer.await)
}

fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(LAST_EVENT_ID)?.to_str().ok()?;
    Some(id.to_owned())
}

/// Somebody who follows.
struct Follower {
    api: Api,
    asking: Asking,
    run: Run,
    log: Log,
    grep: Option<Grep>,
    writer: LineWriter,
    states: watch::Receiver<Sighted>,
    seen: Seen,
    /// All that there was has been read.
    is_drained: bool,
    /// While there is more.
    turn: Option<Turn>,
    reviewed: Instant,
    is_greeted: bool,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// What to send next; `None`: the connection ends.
    async fn event(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        if !std::mem::replace(&mut self.is_greeted, true) {
            return Some(Event::default().retry(COME_BACK));
        }
        let until = Instant::now() + HEARTBEAT;
        loop {
            if self.reviewed.elapsed() >= REVIEW && !self.may_go_on().await {
                return None;
            }
            if !self.is_drained {
                match self.batch().await {
                    Ok(Some(event)) => return Some(event),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a followed log ends, and may be followed again");
                        return None;
                    }
                }
            }
            if self.seen.has_ended {
                self.is_over = true;
                let status = match *self.states.borrow() {
                    Sighted::There(state) => Some(state.status),
                    Sighted::Unknown | Sighted::Gone => None,
                };
                let end = json!({"status": status}).to_string();
                return Some(Event::default().event("end").data(end));
            }
            match timeout_at(until, self.states.changed()).await {
                // What is there now is looked at first.
                Ok(Ok(())) => self.see().await?,
                // Nobody looks any more: the record can't be read.
                Ok(Err(_)) => return None,
                Err(_) => return Some(Event::default().comment("")),
            }
        }
    }

    /// Learns how far the run is. That takes memory as reading does.
    async fn see(&mut self) -> Option<()> {
        self.take_turn().await;
        let state = match *self.states.borrow_and_update() {
            Sighted::Unknown => return Some(()),
            Sighted::There(state) => Some(state),
            Sighted::Gone => None,
        };
        self.seen = self.log.see(state).await.ok()?;
        self.is_drained = false;
        Some(())
    }

    /// Whether they may still see this.
    async fn may_go_on(&mut self) -> bool {
        self.reviewed = Instant::now();
        match self.api.house.door.visitor(&self.asking).await {
            Ok(visitor) => {
                let sight = &visitor.sight;
                let steps = &self.run.steps;
                sight.of(self.run.clone()).is_some()
                    && (steps.is_empty() || steps.iter().any(|step| sight.reads(step)))
            }
            Err(_) => false,
        }
    }

    /// Waits for a turn. What was read stays in memory until all of it is sent, but no longer than a turn.
    async fn take_turn(&mut self) {
        if self.turn.take_if(|turn| turn.is_over()).is_some() {
            self.log.rest();
        }
        if self.turn.is_none() {
            self.turn = self.api.follows.turn().await;
        }
    }

    /// The lines that are there, as many as go into one event; `None`: there are none.
    async fn batch(&mut self) -> Result<Option<Event>, LogError> {
        self.take_turn().await;
        let mut out = String::from("[");
        while out.len() < EVENT {
            self.writer.know(self.log.containers());
            let Self {
                log, writer, grep, ..
            } = self;
            match log.next().await? {
                None => {
                    self.is_drained = true;
                    self.turn = None;
                    break;
                }
                Some(LogItem::Gap(gap)) => {
                    part(&mut out);
                    writer.gap_json(&mut out, &gap);
                }
                Some(LogItem::Lines(lines)) => {
                    let mut write = |line: LogLine<'_>| {
                        part(&mut out);
                        writer.json(&mut out, line);
                        Ok::<_, Infallible>(())
                    };
                    let Ok(()) = match grep {
                        Some(grep) => grep.each(lines, |line, _| write(line)),
                        None => lines.iter().try_for_each(write),
                    };
                }
            }
        }
        if out.len() == 1 {
            return Ok(None);
        }
        out.push(']');
        let id = self.log.places().to_string();
        Ok(Some(Event::default().id(id).data(out)))
    }
}

fn part(out: &mut String) {
    if out.len() > 1 {
        out.push(',');
    }
}
