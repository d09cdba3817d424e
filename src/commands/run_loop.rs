//! `k6sync loop`: the cycle every N seconds, until told to stop.
//!
//! It only puts rooms together: `schedule` says when, `control` whether, `election` who, and `cycle` does the work.
//! Whatever a cycle does, the loop goes on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::signals::{Signals, Stop};
use super::startup;
use crate::cli::Loop;
use crate::cluster::Cluster;
use crate::config::{self, Config};
use crate::control::{Control, ControlMap, Interval};
use crate::cycle::{self, Holding, Report, RunError, Settings};
use crate::election::{Election, Leadership};
use crate::schedule::Schedule;
use crate::server::auth::Authorizer;
use crate::server::job_api::JobApi;
use crate::server::pulse::Pulse;
use crate::server::readiness::Readiness;
use crate::server::tls::Tls;
use crate::server::{self, LoopState};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::sync_loop::hints::{Hint, Hints};
use crate::telemetry::{CycleOutcome, Metrics};

/// Logs that have long been quiet may wait for another cycle where cycles follow each other so fast, seconds: none then waits
/// for longer than a minute and a half.
const RESTING_SECONDS: u64 = 30;
/// The loop says that it is alive at least so often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What is left to do after the last cycle must not hold up the exit.
const FAREWELL: Duration = Duration::from_secs(5);

/// The database is given so long to say that it is what it was, before each cycle.
const TIME_TO_CHECK: Duration = Duration::from_secs(10);
/// TestRuns that are being deleted are let go within this, at the end.
const LAST_RELEASE: Duration = Duration::from_millis(1_500);
/// What people wait for is not to wait for a connection that has died: an attempt that is not answered by then is given up.
const PATIENCE: Duration = Duration::from_millis(400);

type Cycle = JoinHandle<Result<Report, RunError>>;
type CycleEnd = Result<Result<Report, RunError>, JoinError>;

pub(super) async fn run(args: &Loop, mut signals: Signals) -> anyhow::Result<()> {
    let mut config = super::load(&args.common)?;
    config.capture_hold = args.hold.or(config.capture_hold);
    let tls = load_tls(args, &config)?;
    let listen = args.listen.unwrap_or(config.listen);
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; choose another address by --listen")
    })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{}", listener.local_addr()?);
    let cluster = tokio::select! {
        cluster = Cluster::connect(config.context.as_deref(), config.request_timeout) => cluster?,
        stop = signals.next() => return broken_off(stop),
    };
    let swift = cluster.apart(PATIENCE);
    let control_map = super::control_map(&config, &swift);
    let readiness = Arc::new(Readiness::default());
    let mut tasks = Supervisor::default();
    let (leadership, stop_election) = take_part(
        &config,
        &cluster,
        control_map.namespace(),
        &readiness,
        &mut tasks,
    );
    let metrics = Metrics::new(cluster.traffic());
    let pulse = Arc::new(Pulse::default());
    let loop_state = LoopState {
        pulse: Arc::clone(&pulse),
        metrics: Arc::clone(&metrics),
        leadership: leadership.clone(),
        readiness: Arc::clone(&readiness),
    };
    let stop_server = serve(
        listener,
        tls,
        loop_state,
        &config,
        &swift,
        control_map.clone(),
        &mut tasks,
    );

    let starting = async {
        let store = startup::open_store(&config, args.no_migrate, &readiness, &pulse).await;
        (store, read_control(&control_map, &config).await)
    };
    let (store, control) = tokio::select! {
        started = starting => started,
        stop = signals.next() => return broken_off(stop),
        ended = tasks.unexpected_end() => return Err(ended.into()),
    };
    let (control, control_watch) = watch_control(control, control_map, &mut tasks);
    readiness.opened(&store);
    let mut sync_loop = SyncLoop {
        settings: settings(&config, &cluster),
        cluster,
        swift,
        store: Arc::clone(&store),
        metrics,
        pulse,
        readiness,
        control,
        leadership,
        hints: None,
        at_once: JoinSet::new(),
    };
    let mut outcome = tokio::select! {
        running = sync_loop.run(&mut signals) => Ok(running),
        ended = tasks.unexpected_end() => Err(ended),
    };
    if let Ok(Some(running)) = &mut outcome {
        finish(running, config.shutdown_grace, &mut signals).await;
    }
    control_watch.abort();
    let leads = *sync_loop.leadership.borrow() == Leadership::Leader;
    drop((stop_election, stop_server));
    let farewell = async {
        if leads {
            sync_loop.let_go_of_deleted().await;
        }
        // The lease among them: another instance waits for it.
        tasks.all_ended().await;
        store.close().await;
    };
    tokio::select! {
        outcome = timeout(FAREWELL, farewell) => {
            if outcome.is_err() {
                tracing::warn!("connections were still open at the exit");
            }
        }
        signal = signals.next() => exit_at_once(signal),
    }
    outcome?;
    tracing::info!("stopped");
    Ok(())
}

/// Told to stop before there was anything to finish: no lease is held, and a migration that is cut off is undone.
#[expect(clippy::unnecessary_wraps, reason = "it is what the loop returns then")]
fn broken_off(stop: Stop) -> anyhow::Result<()> {
    tracing::info!("{stop}: the start is broken off, and nothing is half-written");
    tracing::info!("stopped");
    Ok(())
}

/// What the control ConfigMap says now, if it can be read.
async fn read_control(map: &ControlMap, config: &Config) -> Control {
    let read = map.until(Instant::now() + config.request_timeout);
    match read.read().await {
        Ok(control) => control,
        Err(error) => {
            tracing::warn!(%error, "the control ConfigMap can't be read; the configuration's own settings hold");
            Control::resolve(None, config.control_defaults).0
        }
    }
}

/// Keeps up with the control ConfigMap, which says `now` at first.
fn watch_control(
    now: Control,
    map: ControlMap,
    tasks: &mut Supervisor,
) -> (watch::Receiver<Control>, AbortHandle) {
    let (sender, receiver) = watch::channel(now);
    let follow = tasks.spawn("the follower of the control ConfigMap", async move {
        map.follow(sender).await;
    });
    (receiver, follow)
}

/// How cycles are to be run; a loop holds what would be gone before the next cycle, unless somebody wants it otherwise.
fn settings(config: &Config, cluster: &Cluster) -> Settings {
    let settings = super::settings(config, cluster, "loop", false);
    Settings {
        hold: match settings.hold {
            Holding::Unsaid => Holding::CleanupIfAllowed,
            said => said,
        },
        ..settings
    }
}

/// Takes part in the election, if there is one; else we are the leader.
fn take_part(
    config: &Config,
    cluster: &Cluster,
    namespace: &str,
    readiness: &Readiness,
    tasks: &mut Supervisor,
) -> (watch::Receiver<Leadership>, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel();
    let Some(lease) = &config.lease else {
        let (sender, mut receiver) = watch::channel(Leadership::Leader);
        receiver.mark_changed();
        let idle = async move {
            let _ = stopped.await;
            drop(sender);
        };
        tasks.spawn("the leadership", idle);
        return (receiver, stop);
    };
    let (sender, receiver) = watch::channel(Leadership::Standby { holder: None });
    let election = Election::new(cluster, namespace, lease, &config.instance);
    tasks.spawn(
        "the election",
        election.run(sender, readiness.fitness(), stopped),
    );
    (receiver, stop)
}

/// The certificate, if there is to be TLS.
fn load_tls(args: &Loop, config: &Config) -> anyhow::Result<Option<Tls>> {
    let cert = args.tls_cert.clone().or_else(|| config.tls_cert.clone());
    let key = args.tls_key.clone().or_else(|| config.tls_key.clone());
    let files = config::tls_files(cert, key)?;
    Ok(files.map(Tls::load).transpose()?)
}

fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    loop_state: LoopState,
    config: &Config,
    cluster: &Cluster,
    control: ControlMap,
    tasks: &mut Supervisor,
) -> oneshot::Sender<()> {
    let authorizer = Authorizer::new(
        cluster.clone(),
        control.namespace(),
        &config.control_config_map,
        config.api_key.clone(),
        config.auth_audiences.clone(),
    );
    let job_api = JobApi::new(control, authorizer);
    let (stop, stopped) = oneshot::channel::<()>();
    tasks.spawn("the HTTP server", async move {
        let stopped = async {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        };
        if let Err(error) = server::serve(listener, tls, loop_state, job_api, stopped).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    stop
}

struct SyncLoop {
    settings: Settings,
    cluster: Cluster,
    /// The same, for what can't wait for a connection that has died.
    swift: Cluster,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
    readiness: Arc<Readiness>,
    control: watch::Receiver<Control>,
    leadership: watch::Receiver<Leadership>,
    /// What the watch of TestRuns tells, while we are the one who syncs.
    hints: Option<Hints>,
    /// What is done about it beside the cycles.
    at_once: JoinSet<()>,
}

impl SyncLoop {
    /// Runs until a signal; returns the cycle that is then running.
    async fn run(&mut self, signals: &mut Signals) -> Option<Cycle> {
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
                    return running.map(|(_, cycle)| cycle);
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
                hints = next_hints(&mut self.hints) => self.act_on(hints, &mut schedule),
                Some(ended) = self.at_once.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a bug in k6sync; the next cycle does what was to be done at once");
                    }
                }
                Ok(()) = self.control.changed() => {
                    let new = self.control.borrow_and_update().clone();
                    schedule.set_interval(new.interval);
                    // What is switched off now lets go at once.
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
                .unwrap_or(Err(StoreError::silent(&store, TIME_TO_CHECK)))?;
            cycle::run(&cluster, &store, &settings).await
        })
    }

    /// Watches TestRuns, or no longer.
    fn watch_test_runs(&mut self, is_active: bool) {
        match (is_active, &self.hints) {
            (true, None) => {
                self.hints = Some(Hints::begin(&self.cluster, &self.settings.namespaces));
            }
            (false, Some(_)) => self.hints = None,
            _ => {}
        }
    }

    /// A cycle takes its time, and the next one may have to wait for its turn: what can't wait is done beside it.
    fn act_on(&mut self, hints: Vec<Hint>, schedule: &mut Schedule) {
        let (mut to_hold, mut to_let_go) = (Vec::new(), Vec::new());
        for hint in hints {
            match hint {
                Hint::Hold(test_run) => to_hold.push(test_run),
                Hint::LetGo(test_run) => to_let_go.push(test_run),
                Hint::Look => schedule.want(),
            }
        }
        let (store, settings) = (&self.store, &self.settings);
        let cluster = self.swift.until(Instant::now() + settings.deadline);
        if !to_hold.is_empty() {
            let (cluster, store, settings) = (cluster.clone(), Arc::clone(store), settings.clone());
            self.at_once.spawn(async move {
                let held = cycle::hold::at_once(&cluster, &store, &settings, &to_hold);
                if let Err(error) = held.await {
                    tracing::warn!(%error, "new TestRuns could not be held; the next cycle tries again");
                }
            });
        }
        if !to_let_go.is_empty() {
            let (store, settings) = (Arc::clone(store), settings.clone());
            self.at_once.spawn(async move {
                let free = cycle::hold::let_go(&cluster, &store, &settings, &to_let_go);
                if let Err(error) = free.await {
                    tracing::warn!(%error, "deleted TestRuns could not be let go; the next cycle tries again");
                }
            });
        }
    }

    /// Nobody may look after them from now on.
    async fn let_go_of_deleted(&self) {
        let cluster = self.swift.until(Instant::now() + LAST_RELEASE);
        let released = cycle::hold::let_go_of_deleted(&cluster, &self.store, &self.settings);
        let problem = match timeout(LAST_RELEASE, released).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "there was no time".to_owned(),
        };
        tracing::warn!(
            problem,
            "deleted TestRuns may still be held; `k6sync release` lets them go"
        );
    }

    /// Sync is off, so that no TestRun is to be held.
    fn release_all(&self) -> JoinHandle<()> {
        let (cluster, settings) = (self.swift.clone(), self.settings.clone());
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let cluster = cluster.until(Instant::now() + settings.deadline);
            let released = async {
                store.check().await?;
                cycle::hold::release_all(&cluster, &store, &settings).await
            };
            let released = timeout(settings.longest(), released).await;
            let problem = match released {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the database does not answer".to_owned(),
            };
            tracing::warn!(
                problem,
                "cannot let go of the TestRuns that are held; the next tick tries again"
            );
        })
    }

    fn cycle_ended(&self, ended: CycleEnd, took: Duration, schedule: &mut Schedule) {
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
            startup::wait_until_fit(&self.store, &self.readiness);
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
        self.metrics.set_control(control);
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

/// The end of what lets go of TestRuns; never, if nothing does. It tells itself how that went.
async fn released(releasing: &mut Option<JoinHandle<()>>) {
    match releasing {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}

/// What the watch of TestRuns tells; never, if there is none.
async fn next_hints(hints: &mut Option<Hints>) -> Vec<Hint> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

/// Lets the last cycle finish what is in flight, for so long as there is time.
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
