//! Waiting for runs: that they appear, and that they end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::exit::Unreadable;
use super::super::reading::Asked;
use crate::record::naming::Among;
use crate::record::{NamingError, RunName, RunState};
use crate::report::words;
use crate::store::{RunId, StoreError};

/// How often the record is asked.
const POLL: Duration = Duration::from_millis(500);
/// A database that can't be read for so long is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Results are derived in the cycle that completes a log, or in the next one; a verdict does not wait for them for ever.
const RESULTS: Duration = Duration::from_secs(60);
/// Without a cycle for so long nothing is to be expected.
const STALLED: SignedDuration = SignedDuration::from_mins(5);
/// The first cycle is on record only when it has ended.
const FIRST_CYCLE: Duration = Duration::from_secs(30);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Runs that were first seen before are not meant.
    pub(super) after: Option<Timestamp>,
    /// How long a run that does not exist is waited for.
    pub(super) for_appearance: Option<Duration>,
    /// How many steps each run must have.
    pub(super) steps: Option<i64>,
    /// When to give up; `None`: never.
    pub(super) until: Option<Instant>,
}

/// A wait that is under way.
pub(super) struct Watching<'a> {
    asked: &'a Asked,
    wish: Wish,
    line: ProgressBar,
    /// Since when the database can't be read.
    unreadable_since: Option<Instant>,
    has_warned: bool,
    asked_for_cycles: Option<Instant>,
}

impl<'a> Watching<'a> {
    pub(super) fn new(asked: &'a Asked, wish: Wish) -> Self {
        let target = match std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let line = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        let line = match style {
            Ok(style) => line.with_style(style),
            Err(_) => line,
        };
        if !line.is_hidden() {
            line.enable_steady_tick(Duration::from_millis(250));
        }
        Self {
            asked,
            wish,
            line,
            unreadable_since: None,
            has_warned: false,
            asked_for_cycles: None,
        }
    }

    /// The run that is named so, when it is there.
    pub(super) async fn appearance(&mut self, name: &RunName) -> anyhow::Result<RunId> {
        let among = Among {
            after: self.wish.after,
            ..self.asked.among()
        };
        let for_appearance = self.wish.for_appearance.unwrap_or_default();
        let until = Instant::now() + for_appearance;
        loop {
            match self.asked.record.find(name, &among).await {
                Ok(id) => return Ok(id),
                Err(NamingError::Store(error)) => self.bear(error)?,
                Err(error) if error.is_absence() && Instant::now() < until && !self.is_late() => {
                    self.unreadable_since = None;
                    self.line
                        .set_message(format!("waiting for {name} to appear"));
                }
                Err(error) => return Err(error.into()),
            }
            self.pause().await;
        }
    }

    /// Returns when all of them have ended and are recorded (true), or when it took too long (false).
    pub(super) async fn end(&mut self, ids: &[RunId]) -> anyhow::Result<bool> {
        let mut complete_since = None;
        loop {
            match self.asked.record.states(ids).await {
                Ok(states) => {
                    self.unreadable_since = None;
                    tracing::debug!(?states, "asked how far the runs are");
                    if let Some(gone) = ids.iter().find(|id| !states.iter().any(|s| s.id == **id)) {
                        let gone = format!("the run {gone} was deleted from the database");
                        return Err(NamingError::NoSuchRun(gone).into());
                    }
                    let all_complete = states.iter().all(|state| self.is_recorded(state));
                    if !all_complete {
                        complete_since = None;
                    } else {
                        let since = *complete_since.get_or_insert_with(Instant::now);
                        let has_results = states.iter().all(|state| state.summaries_due == 0);
                        if has_results || since.elapsed() > RESULTS {
                            return Ok(true);
                        }
                    }
                    self.line.set_message(in_words(&states));
                }
                Err(error) => self.bear(error)?,
            }
            if self.is_late() {
                return Ok(false);
            }
            self.warn_of_a_stall().await;
            self.pause().await;
        }
    }

    fn is_recorded(&self, state: &RunState) -> bool {
        state.status.is_final()
            && state.steps >= self.wish.steps.unwrap_or(1)
            && state.steps_ended == state.steps
            && state.logs_complete == state.logs
    }

    fn is_late(&self) -> bool {
        self.wish.until.is_some_and(|until| Instant::now() >= until)
    }

    async fn pause(&self) {
        match self.wish.until {
            Some(until) => sleep_until(until.min(Instant::now() + POLL)).await,
            None => sleep(POLL).await,
        }
    }

    /// A database that goes away may come back.
    fn bear(&mut self, error: StoreError) -> Result<(), Unreadable> {
        let since = match self.unreadable_since {
            Some(since) => since,
            None => {
                self.line.suspend(|| {
                    tracing::warn!("{error}; trying again for {}s", PATIENCE.as_secs());
                });
                *self.unreadable_since.insert(Instant::now())
            }
        };
        match since.elapsed() < PATIENCE {
            true => Ok(()),
            false => Err(Unreadable(error.into())),
        }
    }

    /// Without a loop a wait would only time out, in silence.
    async fn warn_of_a_stall(&mut self) {
        let since = *self.asked_for_cycles.get_or_insert_with(Instant::now);
        if self.has_warned || since.elapsed() < FIRST_CYCLE {
            return;
        }
        self.asked_for_cycles = Some(Instant::now());
        let Ok(last) = self.asked.record.last_completed_cycle().await else {
            return;
        };
        let now = Timestamp::now();
        let stalled = match last {
            Some(at) => (now.duration_since(at) > STALLED)
                .then(|| format!("the last cycle was completed {}", words::when(at, now))),
            None => Some("no cycle was ever completed".to_owned()),
        };
        if let Some(stalled) = stalled {
            self.has_warned = true;
            self.line.suspend(|| {
                tracing::warn!("{stalled}; is `k6sync loop` running? `k6sync doctor` tells");
            });
        }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

fn in_words(states: &[RunState]) -> String {
    let each = states.iter().map(|state| {
        format!(
            "run {}: {}, {} of {} logs complete, {} lines",
            state.id,
            state.status,
            state.logs_complete,
            state.logs,
            words::count(state.lines)
        )
    });
    each.collect::<Vec<_>>().join(" · ")
}
