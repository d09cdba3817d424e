//! Waiting for runs: that they appear, and that they end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::super::exit::Unreadable;
use super::super::reading::Asked;
use crate::record::naming::Among;
use crate::record::{NamingError, Run, RunName, RunState};
use crate::report::words;
use crate::store::{RunId, StoreError};

/// How often the record is asked.
const POLL: Duration = Duration::from_millis(500);
/// A database that can't be read for so long is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Results are derived in the cycle that completes a log, or in the next one; a verdict does not wait for them for ever.
const RESULTS: Duration = Duration::from_secs(60);
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
    /// Whether each recorded line must still be there.
    pub(super) complete: bool,
}

/// A run that is over and recorded.
#[derive(Debug)]
pub(super) struct Waited {
    pub(super) run: Run,
    /// Pods whose recorded lines are not all there any more.
    pub(super) missing: Vec<String>,
}

/// A wait that is under way.
pub(super) struct Watching<'a> {
    asked: &'a Asked,
    wish: Wish,
    line: ProgressBar,
    /// The runs that were found so far.
    found: Vec<RunId>,
    /// Those that are not over, and why.
    open: Vec<(RunId, String)>,
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
            found: Vec::new(),
            open: Vec::new(),
            unreadable_since: None,
            has_warned: false,
            asked_for_cycles: None,
        }
    }

    /// The runs with these names, when all of them are over and recorded.
    pub(super) async fn all(&mut self, names: &[RunName]) -> anyhow::Result<Vec<Waited>> {
        for name in names {
            let id = self.appearance(name).await?;
            if !self.found.contains(&id) {
                self.found.push(id);
            }
        }
        loop {
            self.end().await?;
            if let Some(runs) = self.read().await? {
                return Ok(runs);
            }
            // A step has come meanwhile: the run goes on.
            self.pause().await;
        }
    }

    /// Where it stood: what is asked, which runs were found, and which of them are not over, and why.
    pub(super) fn into_state(mut self) -> (&'a Asked, Vec<RunId>, Vec<(RunId, String)>) {
        (
            self.asked,
            std::mem::take(&mut self.found),
            std::mem::take(&mut self.open),
        )
    }

    /// The run that is named so, when it is there.
    async fn appearance(&mut self, name: &RunName) -> anyhow::Result<RunId> {
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
                Err(error) if error.is_absence() && Instant::now() < until => {
                    self.unreadable_since = None;
                    self.line
                        .set_message(format!("waiting for {name} to appear"));
                }
                Err(error) => return Err(error.into()),
            }
            self.pause().await;
        }
    }

    /// Returns when all of them have ended and are recorded.
    async fn end(&mut self) -> anyhow::Result<()> {
        let mut complete_since = None;
        loop {
            match self.asked.record.states(&self.found).await {
                Ok(states) => {
                    self.unreadable_since = None;
                    tracing::debug!(?states, "asked how far the runs are");
                    let gone = self
                        .found
                        .iter()
                        .find(|id| !states.iter().any(|state| state.id == **id));
                    if let Some(gone) = gone {
                        let gone = format!("the run {gone} was deleted from the database");
                        return Err(NamingError::NoSuchRun(gone).into());
                    }
                    self.open = states
                        .iter()
                        .filter_map(|state| Some((state.id, self.why_open(state)?)))
                        .collect();
                    if !self.open.is_empty() {
                        complete_since = None;
                    } else {
                        let since = *complete_since.get_or_insert_with(Instant::now);
                        let has_results = states.iter().all(|state| state.summaries_due == 0);
                        if has_results || since.elapsed() > RESULTS {
                            return Ok(());
                        }
                    }
                    self.line.set_message(in_words(&states));
                }
                Err(error) => self.bear(error)?,
            }
            self.warn_of_a_stall().await;
            self.pause().await;
        }
    }

    /// The runs, whole; `None`: one of them goes on.
    async fn read(&mut self) -> anyhow::Result<Option<Vec<Waited>>> {
        let mut runs = Vec::new();
        for id in self.found.clone() {
            let run = self.asked.run_of(id).await?;
            if !run.outcome.ended {
                return Ok(None);
            }
            let missing = match self.wish.complete {
                true => self.asked.record.missing_lines(id).await,
                false => Ok(Vec::new()),
            };
            let missing = missing.map_err(|error| Unreadable(error.into()))?;
            runs.push(Waited { run, missing });
        }
        Ok(Some(runs))
    }

    /// What a run still lacks; `None`: nothing.
    fn why_open(&self, state: &RunState) -> Option<String> {
        let wanted = self.wish.steps.unwrap_or(1);
        if state.steps < wanted {
            return Some(match state.steps {
                0 => "it has no steps".to_owned(),
                steps => format!("it has {steps} of {wanted} steps"),
            });
        }
        if !state.status.is_final() || state.steps_ended < state.steps {
            return Some(format!("it is {}", state.status));
        }
        (state.logs_complete < state.logs).then(|| {
            format!(
                "{} of {} logs are not complete",
                state.logs - state.logs_complete,
                state.logs
            )
        })
    }

    async fn pause(&self) {
        sleep(POLL).await;
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
        if let Ok(Some(stall)) = self.asked.record.stall(Timestamp::now()).await {
            self.has_warned = true;
            self.line.suspend(|| {
                tracing::warn!("{stall}; is `k6sync loop` running? `k6sync doctor` tells");
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
