//! The ticks: when a cycle starts, and what is done about how it ended.
//!
//! [`Engine::run`] waits for one thing after another: a signal, the end of a cycle, an edit of the control ConfigMap, the
//! election, the watch of TestRuns, and the time of the next cycle. Whatever a cycle does, the loop goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::control::{Control, Interval};
use super::election::Leadership;
use super::hints::{Hint, Hints};
use super::pulse::Pulse;
use super::readiness::Readiness;
use super::schedule::Schedule;
use super::startup;
use crate::cluster::Cluster;
use crate::cycle::{self, Report, RunError, Settings};
use crate::signals::Signals;
use crate::store::{Store, StoreError};
use crate::supervisor::{Supervisor, TaskEnded};
use crate::telemetry::{CycleOutcome, Metrics};

/// Logs that have long been quiet may wait for another cycle where cycles follow each other this fast, seconds: none then waits
/// for longer than a minute and a half.
const RESTING_SECONDS: u64 = 30;
/// The loop says that it is alive at least this often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long the database may take to say that it is what it was, before each cycle.
const TIME_TO_CHECK: Duration = Duration::from_secs(10);

pub(super) type Cycle = JoinHandle<Result<Report, RunError>>;
type CycleEnd = Result<Result<Report, RunError>, JoinError>;

/// A loop whose database is open.
pub(super) struct Engine {
    pub(super) settings: Settings,
    pub(super) cluster: Cluster,
    /// The same, for what can't wait for a connection that has died.
    pub(super) swift: Cluster,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) control: watch::Receiver<Control>,
    pub(super) leadership: watch::Receiver<Leadership>,
    /// What the watch of TestRuns says, while we are the one who syncs.
    pub(super) hints: Option<Hints>,
    /// What is done about it beside the cycles.
    pub(super) at_once: JoinSet<()>,
    /// What the loop waits for without looking.
    pub(super) errands: Supervisor,
}

impl Engine {
    /// Runs until a signal; returns the cycle that is then running.
    ///
    /// # Errors
    /// A task that should go on has ended.
    pub(super) async fn run(&mut self, signals: &mut Signals) -> Result<Option<Cycle>, TaskEnded> {
        let mut control = self.control.borrow_and_update().clone();
        let mut is_leader = false;
        let mut schedule = Schedule::new(control.interval);
        let mut running: Option<(Instant, Cycle)> = None;
        let mut releasing: Option<JoinHandle<()>> = None;
        let mut next_release = Instant::now();
        let mut unfit = self.readiness.fitness();
        self.announce(&control);
        loop {
            let now = Instant::now();
            let may_write = unfit.borrow().is_none();
            let is_active = control.enabled && is_leader && may_write;
            self.watch_test_runs(is_active);
            if running.is_none() && !(control.enabled && is_leader) {
                self.readiness.rests();
            }
            let next = schedule.next_start(now);
            let is_idle = running.is_none() && releasing.is_none();
            if is_idle && is_active && next <= now {
                schedule.started(now);
                running = Some((now, self.start_cycle(control.interval)));
            }
            if is_idle && is_leader && may_write && !control.enabled && next_release <= now {
                releasing = Some(self.release_all());
                next_release = now + HEARTBEAT;
            }
            let wake = match &running {
                Some((started, _)) => {
                    self.pulse
                        .beat("a cycle", *started + self.settings.longest());
                    now + HEARTBEAT
                }
                None => {
                    self.pulse.beat("a sleep", now + HEARTBEAT);
                    match is_active && releasing.is_none() {
                        true => next.min(now + HEARTBEAT),
                        false => now + HEARTBEAT,
                    }
                }
            };
            tokio::select! {
                signal = signals.next() => {
                    tracing::info!("{signal}: no new cycle starts");
                    return Ok(running.map(|(_, cycle)| cycle));
                }
                ended = join(&mut running) => {
                    let took = running.take().map(|(started, _)| started.elapsed());
                    self.cycle_ended(ended, took.unwrap_or_default(), &mut schedule);
                }
                () = released(&mut releasing) => releasing = None,
                Ok(()) = unfit.changed() => {
                    if unfit.borrow_and_update().is_none() {
                        schedule.restart();
                    }
                }
                hints = next_hints(&mut self.hints) => self.act_on(hints?, &mut schedule),
                ended = self.errands.unexpected_end() => return Err(ended),
                Some(ended) = self.at_once.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a bug in k6sync; the next cycle does what was to be done at once");
                    }
                }
                Ok(()) = self.control.changed() => {
                    let new = self.control.borrow_and_update().clone();
                    schedule.set_interval(new.interval);
                    // What is switched off now releases at once.
                    next_release = Instant::now();
                    let is_restarted = new.restarted_at != control.restarted_at;
                    if is_restarted || (new.enabled && !control.enabled) {
                        schedule.restart();
                    }
                    control = new;
                    self.announce(&control);
                }
                Ok(()) = self.leadership.changed() => {
                    let leads = *self.leadership.borrow_and_update() == Leadership::Leader;
                    if leads && !is_leader {
                        schedule.restart();
                    }
                    is_leader = leads;
                    self.metrics.set_leader(leads);
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn start_cycle(&self, interval: Interval) -> Cycle {
        let cluster = self.cluster.clone();
        let settings = Settings {
            may_rest: interval.seconds() <= RESTING_SECONDS,
            ..self.settings.clone()
        };
        let store = Arc::clone(&self.store);
        // A task of its own: a panic in it is its own end, not the loop's.
        tokio::spawn(async move {
            timeout(TIME_TO_CHECK, store.check())
                .await
                .unwrap_or(Err(StoreError::silent(store.url(), TIME_TO_CHECK)))?;
            cycle::run(&cluster, &store, &settings).await
        })
    }

    fn cycle_ended(&mut self, ended: CycleEnd, took: Duration, schedule: &mut Schedule) {
        let failed_store = match &ended {
            Ok(Err(RunError::Store(error))) => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = failed_store
            .as_ref()
            .filter(|error| error.forbids_writing())
        {
            tracing::error!(
                "no cycle starts, and the lease is given up, until this is mended: {error}"
            );
            self.readiness.unfit(error.to_string());
            let wait =
                startup::wait_until_fit(Arc::clone(&self.store), Arc::clone(&self.readiness));
            self.errands.errand("the wait for the database", wait);
        }
        let (outcome, report, problem) = outcome(ended);
        self.metrics.cycle_ended(outcome, took, report.as_ref());
        let now = Instant::now();
        let ended = schedule.ended(now, outcome == CycleOutcome::Completed);
        if outcome == CycleOutcome::Completed {
            self.readiness.completed();
        } else {
            self.readiness
                .failed(ended.failures, &problem, failed_store.is_some());
            let next = schedule.next_start(now).saturating_duration_since(now);
            tracing::error!(
                failures_in_a_row = ended.failures,
                next_attempt_in = ?next,
                "K6 steps sync failed: {problem}"
            );
        }
        if ended.skipped > 0 {
            self.metrics.skipped(ended.skipped);
            tracing::warn!(
                ?took,
                skipped = ended.skipped,
                "the cycle outlasted the interval; the starts that it covered fall away"
            );
        }
    }

    fn announce(&self, control: &Control) {
        self.metrics
            .set_control(control.enabled, control.interval.seconds());
        let via = control.configured_via();
        match control.enabled {
            true => tracing::info!("K6 steps sync is on, every {} (by {via})", control.interval),
            false => tracing::info!("K6 steps sync is off"),
        }
    }
}

/// How a cycle ended: the report of one that was completed, else what went wrong.
fn outcome(ended: CycleEnd) -> (CycleOutcome, Option<Report>, String) {
    match ended {
        Ok(Ok(report)) => (CycleOutcome::Completed, Some(report), String::new()),
        Ok(Err(error)) => (CycleOutcome::Failed, None, error.to_string()),
        Err(error) => (
            CycleOutcome::Panicked,
            None,
            format!("a bug in k6sync: {error}"),
        ),
    }
}

/// The end of the running cycle; never, if none is running.
async fn join(running: &mut Option<(Instant, Cycle)>) -> CycleEnd {
    match running {
        Some((_, cycle)) => cycle.await,
        None => std::future::pending().await,
    }
}

/// The end of the task that releases TestRuns; never, if there is none. The task reports how that went, but for a panic.
async fn released(releasing: &mut Option<JoinHandle<()>>) {
    match releasing {
        Some(task) => {
            if let Err(error) = task.await {
                tracing::error!(%error, "a bug in k6sync; the next tick tries again to release TestRuns");
            }
        }
        None => std::future::pending().await,
    }
}

/// What the watch of TestRuns tells; never, if there is none.
async fn next_hints(hints: &mut Option<Hints>) -> Result<Vec<Hint>, TaskEnded> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_cycle_is_an_outcome_like_others() {
        let cycle: Cycle = tokio::spawn(async { panic!("out of range") });
        let mut running = Some((Instant::now(), cycle));
        let (outcome, report, problem) = outcome(join(&mut running).await);
        assert_eq!((outcome, report), (CycleOutcome::Panicked, None));
        assert!(
            problem.contains("a bug in k6sync") && problem.contains("out of range"),
            "{problem}"
        );
    }
}
