//! The engine of `k6sync loop`: the cycle every N seconds, until told to stop.
//!
//! `schedule` says when, `control` whether, `election` who, `hints` what can't wait, and `cycle` does the work. The command
//! makes a [`SyncLoop`], starts what goes on beside it (the HTTP server), and runs it. Nothing here knows of HTTP.

mod beside;
pub mod control;
pub(crate) mod election;
pub(crate) mod hints;
pub(crate) mod pulse;
pub(crate) mod readiness;
pub(crate) mod schedule;
mod startup;
mod ticks;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::control::{Control, ControlMap, Defaults};
use self::election::{Election, Leadership};
use self::pulse::Pulse;
use self::readiness::Readiness;
use self::ticks::{Cycle, Engine};
use crate::cluster::Cluster;
use crate::cycle::Settings;
use crate::signals::{Signals, Stop};
use crate::store::{Store, StoreError};
use crate::supervisor::{Supervisor, TaskEnded};
use crate::telemetry::Metrics;

/// What is left to do after the last cycle must not hold up the exit.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a loop is to be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How its cycles are to be run.
    pub(crate) settings: Settings,
    /// The control ConfigMap, by a connection that does not wait for one that has died.
    pub(crate) control: ControlMap,
    /// What holds where the control ConfigMap can't be read.
    pub(crate) control_defaults: Defaults,
    /// How long the first read of the control ConfigMap may take.
    pub(crate) request_timeout: Duration,
    /// The name of the lease by which one of several loops is elected; `None`: there is no election.
    pub(crate) lease: Option<String>,
    /// How long a running cycle may go on after the loop was told to stop.
    pub(crate) shutdown_grace: Duration,
}

/// A loop that takes part in the election, and has no database yet.
pub(crate) struct SyncLoop {
    plan: Plan,
    cluster: Cluster,
    /// The same, for what can't wait for a connection that has died.
    swift: Cluster,
    state: LoopState,
    /// What goes on beside the cycles.
    tasks: Supervisor,
    /// Dropped, they tell those tasks to end.
    stops: Vec<oneshot::Sender<()>>,
}

/// What a loop says of itself, for health, readiness and metrics.
#[derive(Clone, Debug)]
pub(crate) struct LoopState {
    /// Whether it is alive.
    pub(crate) pulse: Arc<Pulse>,
    /// Whether it does its work.
    pub(crate) readiness: Arc<Readiness>,
    /// Its figures.
    pub(crate) metrics: Arc<Metrics>,
    /// Who syncs.
    pub(crate) leadership: watch::Receiver<Leadership>,
}

impl SyncLoop {
    /// Takes part in the election, if there is one; else it leads.
    pub(crate) fn new(plan: Plan, cluster: Cluster, swift: Cluster) -> Self {
        let readiness = Arc::new(Readiness::default());
        let mut tasks = Supervisor::default();
        let (stop, stopped) = oneshot::channel();
        let leadership = match &plan.lease {
            Some(lease) => {
                let (sender, receiver) = watch::channel(Leadership::Standby { holder: None });
                let (namespace, instance) = (plan.control.namespace(), &plan.settings.instance);
                let election = Election::new(&cluster, namespace, lease, instance);
                let election = election.run(sender, readiness.fitness(), stopped);
                tasks.spawn("the election", election);
                receiver
            }
            None => {
                let (sender, mut receiver) = watch::channel(Leadership::Leader);
                receiver.mark_changed();
                tasks.spawn("the leadership", async move {
                    let _ = stopped.await;
                    drop(sender);
                });
                receiver
            }
        };
        let state = LoopState {
            pulse: Arc::new(Pulse::default()),
            readiness,
            metrics: Metrics::new(cluster.traffic()),
            leadership,
        };
        Self {
            plan,
            cluster,
            swift,
            state,
            tasks,
            stops: vec![stop],
        }
    }

    /// What it says of itself.
    pub(crate) fn state(&self) -> LoopState {
        self.state.clone()
    }

    /// Runs a task beside the loop, made by `task` from what tells it to end. If it ends before, so does the process.
    pub(crate) fn beside<F>(
        &mut self,
        name: &'static str,
        task: impl FnOnce(oneshot::Receiver<()>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        self.tasks.spawn(name, task(stopped));
        self.stops.push(stop);
    }

    /// Runs until a signal. `open` opens the database, and is called again until that succeeds.
    ///
    /// # Errors
    /// A task that should go on has ended.
    pub(crate) async fn run(
        mut self,
        open: impl AsyncFn() -> Result<Store, StoreError>,
        signals: &mut Signals,
    ) -> Result<(), TaskEnded> {
        let starting = async {
            let store = startup::open(open, &self.state.readiness, &self.state.pulse).await;
            (store, self.plan.read_control().await)
        };
        let (store, control) = tokio::select! {
            started = starting => started,
            stop = signals.next() => {
                broken_off(stop);
                return Ok(());
            }
            ended = self.tasks.unexpected_end() => return Err(ended),
        };
        let (sender, control) = watch::channel(control);
        let map = self.plan.control.clone();
        let follower = self
            .tasks
            .spawn("the follower of the control ConfigMap", async move {
                map.follow(sender).await;
            });
        let mut engine = Engine {
            settings: self.plan.settings.clone(),
            cluster: self.cluster.clone(),
            swift: self.swift.clone(),
            store,
            metrics: Arc::clone(&self.state.metrics),
            pulse: Arc::clone(&self.state.pulse),
            readiness: Arc::clone(&self.state.readiness),
            control,
            leadership: self.state.leadership.clone(),
            hints: None,
            at_once: JoinSet::new(),
            errands: Supervisor::default(),
        };
        let mut outcome = tokio::select! {
            running = engine.run(signals) => running,
            ended = self.tasks.unexpected_end() => Err(ended),
        };
        if let Ok(Some(running)) = &mut outcome {
            finish(running, self.plan.shutdown_grace, signals).await;
        }
        follower.abort();
        self.end(&engine, signals).await;
        outcome?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Leaves everything in good order, as far as there is time.
    async fn end(mut self, engine: &Engine, signals: &mut Signals) {
        let leads = *self.state.leadership.borrow() == Leadership::Leader;
        self.stops.clear();
        let farewell = async {
            if leads {
                engine.release_deleted().await;
            }
            // The lease among them: another instance waits for it.
            self.tasks.all_ended().await;
            engine.store.close().await;
        };
        tokio::select! {
            outcome = timeout(FAREWELL, farewell) => {
                if outcome.is_err() {
                    tracing::warn!("connections were still open at the exit");
                }
            }
            signal = signals.next() => exit_at_once(signal),
        }
    }
}

impl Plan {
    /// What the control ConfigMap says now, if it can be read.
    async fn read_control(&self) -> Control {
        let map = self.control.until(Instant::now() + self.request_timeout);
        match map.read().await {
            Ok(control) => control,
            Err(error) => {
                tracing::warn!(%error, "the control ConfigMap can't be read; the configuration's own settings hold");
                Control::resolve(None, self.control_defaults).0
            }
        }
    }
}

/// Says that the loop was told to stop before there was anything to finish: no lease is held, and a migration that is cut off is
/// undone.
pub(crate) fn broken_off(stop: Stop) {
    tracing::info!("{stop}: the start is broken off, and nothing is half-written");
    tracing::info!("stopped");
}

/// Lets the last cycle finish what is in flight, while there is time.
async fn finish(running: &mut Cycle, grace: Duration, signals: &mut Signals) {
    tracing::info!(
        ?grace,
        "waiting for the running cycle; a second signal ends it at once"
    );
    tokio::select! {
        _ = &mut *running => {}
        () = sleep(grace) => {
            // Whatever it was storing is undone; the next sync reads it again.
            tracing::warn!("the running cycle did not end in time and is cut off");
            running.abort();
        }
        signal = signals.next() => exit_at_once(signal),
    }
}

fn exit_at_once(signal: Stop) -> ! {
    tracing::warn!("{signal} again: exiting at once");
    std::process::exit(signal.exit_code())
}
