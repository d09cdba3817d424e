//! The reconciliation cycle: reads what the cluster shows, and makes the database say so.
//!
//! `sync-once` and `loop` call [`run`]. It keeps nothing between calls: all state is in the database, so that any number
//! of cycles may run at once, anywhere, and be killed at any moment.

pub mod adopt;
pub mod audit;
pub mod capture;
mod clock;
pub mod compare;
pub mod cursor;
pub mod hold;
pub mod identity;
pub mod k6_log;
pub mod plan;
mod reach;
mod recorder;
pub mod report;
mod streams;
mod timestamp;
pub mod verdict;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};

pub use self::adopt::{Discovery, RUN_LABEL, STEP_LABEL};
use self::capture::{Captured, Task, capture};
use self::clock::{cluster_time, listed_at, shifted};
pub use self::hold::Holding;
use self::identity::Identity;
use self::plan::{Sight, StepPlan, Todo, plan};
use self::reach::Reach;
use self::recorder::recorder;
pub use self::report::{Details, Failure, Outcome, Report};
use self::streams::Streams;
use self::verdict::Clue;
use crate::cluster::{
    Cluster, ClusterError, Listed, Malformed, Namespaces, Pod, TestRun, UNANSWERED,
};
use crate::harmless;
use crate::isolate::isolated;
use crate::store::{
    BadStep, CycleError, CycleRecord, RunId, Step, StepId, StepScope, StepUpdate, Store,
    StoreError, Stream, StreamId,
};

/// The end of a log that is searched for the last error, in chunks.
const TAIL_CHUNKS: i64 = 4;

/// Captures under way for each log request that is allowed at a time: some ask for logs while others are being stored. To
/// these come those whose logs do not come.
const CAPTURES_A_REQUEST: usize = 2;

/// Steps of a k6sync from before clusters were told apart wait so long for the cluster that has their TestRun.
const UNCLAIMED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How cycles are to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where TestRuns are looked for; steps of other namespaces are somebody else's.
    pub namespaces: Namespaces,
    /// Of steps whose row names none.
    pub default_namespace: String,
    /// Which TestRuns are adopted.
    pub discovery: Discovery,
    /// A step whose TestRun has not appeared after this is lost.
    pub missing_after: SignedDuration,
    /// A cycle stops after this; the next one goes on.
    pub deadline: Duration,
    /// Logs read at a time, at most.
    pub concurrency: usize,
    /// Whether logs that have long been quiet may wait for one of the next cycles, about a minute.
    pub may_rest: bool,
    /// Which TestRuns are held until their logs are recorded.
    pub hold: Holding,
    /// No TestRun is held longer than this after its deletion was asked for.
    pub hold_timeout: Duration,
    /// Reads everything, writes nothing.
    pub dry_run: bool,
    /// The cluster's id in the database; a cycle finds it out itself.
    pub cluster: Option<String>,
    /// `sync-once` or `loop`, for the record.
    pub trigger: &'static str,
    /// Who runs it, for the record.
    pub instance: String,
}

/// And so much for the cycle's own row.
const TIME_TO_RECORD: Duration = Duration::from_secs(20);

impl Settings {
    /// No cycle takes longer, whatever the API server and the database do.
    pub fn longest(&self) -> Duration {
        self.deadline + TIME_TO_STORE + TIME_TO_RECORD
    }

    fn scope(&self) -> StepScope<'_> {
        StepScope {
            namespaces: match &self.namespaces {
                Namespaces::All => None,
                Namespaces::Only(names) => Some(names),
            },
            default_namespace: &self.default_namespace,
            cluster: self.cluster.as_deref(),
        }
    }
}

/// Why a cycle could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is another cluster's.
    #[error(
        "the database {database} knows only other clusters than the one at {cluster} (here: {seen}; known: {known}), and nothing was written: is --context or --database-url wrong? If this cluster is to share the database with them, say so once with `k6sync migrate --new-cluster`; if it is the one that the database knows, built or its namespace made anew, with `k6sync migrate --same-cluster`"
    )]
    OtherCluster {
        /// Which database.
        database: String,
        /// The API server.
        cluster: String,
        /// Namespaces and uids of this cluster.
        seen: String,
        /// Those that the database knows.
        known: String,
    },
    /// The database did not answer, long after the deadline.
    #[error(
        "the cycle did not end within {0:?}, though its deadline for Kubernetes was over: the database does not answer; what was stored is right, and the next cycle goes on"
    )]
    Overdue(Duration),
}

/// TestRuns are let go until so long after the deadline.
const TIME_TO_LET_GO: Duration = Duration::from_secs(20);

/// Other requests to Kubernetes end at the deadline; the database is given so much longer to store what they brought.
const TIME_TO_STORE: Duration = Duration::from_secs(60);

/// Performs one full cycle.
///
/// # Errors
/// When the cycle could not be completed: the database or the API server failed as a whole. What was stored until then
/// is right, and the failure is on record if the database still takes it. Single steps fail alone, in the report.
pub async fn run(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<Report, RunError> {
    let begun = Begun::now();
    tracing::info!(
        trigger = settings.trigger,
        "Starting scheduled K6 steps sync"
    );
    let limit = settings.deadline + TIME_TO_STORE;
    // Whatever is cut off here was a transaction that is then undone.
    let outcome = timeout(limit, reconcile(cluster, store, settings, None, &begun))
        .await
        .unwrap_or(Err(RunError::Overdue(limit)));
    if let Err(error @ RunError::OtherCluster { .. }) = outcome {
        return Err(error);
    }
    let row = record(&outcome, settings, &begun);
    let recorded = timeout(TIME_TO_RECORD, store.record_cycle(&row)).await;
    // What made the cycle itself fail is told first.
    let report = outcome?;
    match recorded {
        Ok(recorded) => recorded?,
        Err(_) => return Err(RunError::Overdue(limit + TIME_TO_RECORD)),
    }
    tracing::info!(
        total = report.total,
        updated = report.updated,
        errors = report.errors,
        logs_updated = report.logs_updated,
        log_bytes = report.log_bytes,
        duration_ms = report.duration_ms,
        "K6 steps sync completed"
    );
    Ok(report)
}

/// When a cycle began, on both clocks.
struct Begun {
    at: Timestamp,
    instant: Instant,
}

impl Begun {
    fn now() -> Self {
        Self {
            at: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

/// `only`: the TestRuns with these uids, and no others.
async fn reconcile(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    only: Option<&HashSet<&str>>,
    begun: &Begun,
) -> Result<Report, RunError> {
    let deadline = begun.instant + settings.deadline;
    let cluster = &cluster.until(deadline);
    // TestRuns before steps: a dashboard that inserts its step before it creates the TestRun is never overtaken.
    let mut reach = Reach::of(&settings.namespaces);
    let listed = async {
        match settings.discovery {
            Discovery::Off => Ok(Listed::default()),
            Discovery::All | Discovery::Labelled => reach.test_runs(cluster).await,
        }
    };
    let (identified, listed) = tokio::join!(identified(cluster, store, settings), listed);
    let (settings, identity) = &identified?;
    let mut test_runs = listed?;
    let (mut steps, mut bad_steps) = store.active_steps(&settings.scope()).await?;
    if settings.discovery == Discovery::Off && !steps.is_empty() {
        test_runs = reach.test_runs(cluster).await?;
    } else {
        add_overtaken(cluster, &mut reach, &steps, &mut test_runs).await?;
    }
    bad_steps.extend(set_aside(&mut steps, identity.as_ref(), &test_runs.items));
    if let Some(uids) = only {
        test_runs
            .items
            .retain(|run| uids.contains(run.uid.as_str()));
        test_runs.malformed.clear();
        steps.retain(|step| is_of(step, &test_runs.items));
    }
    let mut failures: Vec<Failure> = bad_steps
        .into_iter()
        .map(|bad| Failure {
            step: bad.name.unwrap_or_default(),
            k6_test_name: bad.k6_test_name.unwrap_or_default(),
            namespace: String::new(),
            error: bad.error,
            step_id: bad.id,
        })
        .collect();

    let claimed = claims(store, &steps, &test_runs.items).await?;
    let cluster_id = settings.cluster.as_deref();
    let new = adopt::unclaimed(
        &test_runs.items,
        &claimed,
        &steps,
        settings.discovery,
        cluster_id,
    );
    steps.extend(store.adopt(&new).await?);
    failures.extend(unreadable(&test_runs.malformed, &steps));

    // Streams before pods: one that is known and has no pod is then really gone, and not another sync's discovery.
    let step_ids: Vec<StepId> = steps.iter().map(|step| step.id).collect();
    let streams = store.streams(&step_ids).await?;
    let mut pods = Listed::default();
    if !steps.is_empty() {
        pods = reach.pods(cluster).await?;
    }
    steps.retain(|step| reach.has(&step.namespace));
    test_runs.items.retain(|run| reach.has(&run.namespace));
    failures.extend(reach.failures());
    let now = cluster_time(pods.time.or(test_runs.time), Timestamp::now());
    let looked_at = listed_at(test_runs.time.or(pods.time), begun.at);
    let unclaimed_until = match steps.iter().any(is_unclaimed) {
        true => shifted(store.migrated_at().await?, UNCLAIMED_FOR),
        false => Timestamp::MIN,
    };
    let sight = Sight {
        unclaimed_until,
        ..sight(&test_runs, &pods, &claimed, &streams, settings, now)
    };
    let mut plans = plan(steps, &sight);
    // What they showed is in the plans; thousands of them would only take room while logs are read.
    drop(pods);

    let by_uid: HashMap<&str, &TestRun> = test_runs
        .items
        .iter()
        .map(|test_run| (test_run.uid.as_str(), test_run))
        .collect();
    failures.extend(hold::put(cluster, store, settings, &plans, &by_uid).await?);
    let streams = note_streams(store, &plans, &step_ids, streams).await?;
    let captured = capture_logs(cluster, store, settings, &plans, &streams, deadline, now).await;
    if let Some(error) = captured
        .iter()
        .find_map(|(_, captured)| captured.database_failure())
    {
        return Err(error.into());
    }
    let quiet: Vec<StreamId> = captured
        .iter()
        .filter_map(|(_, captured)| captured.quiet_stream)
        .collect();
    if settings.may_rest {
        store.note_quiet(&quiet, now).await?;
    }
    for plan in &mut plans {
        explain(store, plan, &streams).await?;
    }

    let updates: Vec<StepUpdate> = plans.iter().filter_map(update).collect();
    let seen: Vec<(StepId, RunId)> = plans
        .iter()
        .filter(|plan| !plan.awaits_cluster)
        .map(|plan| (plan.step.id, plan.step.test_run_id))
        .collect();
    let updated = store
        .commit_steps(&updates, &seen, looked_at, verdict::roll_up)
        .await?;

    // A cycle that ran out of time lets go all the same.
    let cluster = &cluster.until(deadline + TIME_TO_LET_GO);
    let (not_freed, held) =
        hold::take_off(cluster, store, settings, &plans, &by_uid, &claimed, now).await?;

    if identity.is_none() {
        identity::warn_of_no_identity(settings);
    }
    failures.extend(step_failures(&plans, &captured));
    failures.extend(not_freed);
    let mut report = report(settings, begun, &plans, &captured, updated.len(), failures);
    report.details.held = held;
    report.details.looked_at = Some(looked_at);
    report.details.cluster.clone_from(&settings.cluster);
    Ok(report)
}

/// The settings of a cycle in this cluster, and which one it is, if that can be told.
async fn identified(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<(Settings, Option<Identity>), RunError> {
    let identity = identity::identify(cluster, store, settings).await?;
    let settings = Settings {
        cluster: identity.as_ref().map(|identity| identity.id.clone()),
        ..settings.clone()
    };
    Ok((settings, identity))
}

/// Takes out the steps that are not this cluster's to judge. Of an unknown cluster only what can be seen is judged, since
/// what can't may be in another one; and a step that names a cluster that nobody knows is told of.
fn set_aside(
    steps: &mut Vec<Step>,
    identity: Option<&Identity>,
    test_runs: &[TestRun],
) -> Vec<BadStep> {
    let visible: HashSet<&str> = test_runs.iter().map(|run| run.uid.as_str()).collect();
    let is_ours = |step: &mut Step| match (&step.record.cluster, identity) {
        (None, _) => true,
        (Some(cluster), Some(identity)) => identity.uids.contains(cluster),
        (Some(_), None) => {
            let uid = step.record.k6_uid.as_deref();
            uid.is_some_and(|uid| visible.contains(uid))
        }
    };
    let others: Vec<Step> = steps.extract_if(.., |step| !is_ours(step)).collect();
    if identity.is_none() {
        if !others.is_empty() {
            tracing::warn!(
                steps = others.len(),
                "steps are left alone: they are of a known cluster, and it can't be told whether it is this one"
            );
        }
        return Vec::new();
    }
    others
        .into_iter()
        .map(|step| BadStep {
            id: Some(step.id),
            error: format!(
                "row {} of test_run_steps names the cluster `{}`, which the database does not know: cluster must be null, or the uid of a namespace in cluster_uids",
                step.id,
                step.record.cluster.unwrap_or_default()
            ),
            name: Some(step.name),
            k6_test_name: Some(step.k6_test_name),
        })
        .collect()
}

/// Whether nobody knows in what cluster the step's TestRun was.
fn is_unclaimed(step: &Step) -> bool {
    step.record.cluster.is_none() && step.record.k6_uid.is_some()
}

/// A TestRun that appeared after the list may have been adopted by another sync before the steps were read: only a list
/// after them tells whether it is gone.
async fn add_overtaken(
    cluster: &Cluster,
    reach: &mut Reach,
    steps: &[Step],
    test_runs: &mut Listed<TestRun>,
) -> Result<(), ClusterError> {
    let listed: HashSet<&str> = test_runs.items.iter().map(|run| run.uid.as_str()).collect();
    let missing: HashSet<&str> = steps
        .iter()
        .filter(|step| !step.record.status.is_final() && reach.has(&step.namespace))
        .filter_map(|step| step.record.k6_uid.as_deref())
        .filter(|uid| !listed.contains(uid))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut later = reach.test_runs(cluster).await?.items;
    later.retain(|run| missing.contains(run.uid.as_str()));
    test_runs.items.extend(later);
    Ok(())
}

/// Whether it is the step of one of these TestRuns, or waits for one of its name.
fn is_of(step: &Step, test_runs: &[TestRun]) -> bool {
    test_runs.iter().any(|run| match &step.record.k6_uid {
        Some(uid) => *uid == run.uid,
        None => step.namespace == run.namespace && step.k6_test_name == run.name,
    })
}

/// What went wrong with single steps.
fn step_failures(plans: &[StepPlan], captured: &[(StepId, Captured)]) -> Vec<Failure> {
    let mut failures = Vec::new();
    for plan in plans {
        let errors = plan.errors.iter().cloned();
        failures.extend(errors.map(|error| failure(&plan.step, error)));
    }
    let steps: HashMap<StepId, &Step> = plans.iter().map(|p| (p.step.id, &p.step)).collect();
    for (step_id, captured) in captured {
        if let (Some(error), Some(step)) = (&captured.error, steps.get(step_id)) {
            failures.push(failure(step, error.to_string()));
        }
    }
    failures
}

/// What went wrong, in words that do no harm wherever they are shown.
fn harmless(failure: Failure) -> Failure {
    let Failure {
        step,
        k6_test_name,
        namespace,
        error,
        step_id,
    } = failure;
    Failure {
        step: harmless::line(step),
        k6_test_name: harmless::line(k6_test_name),
        namespace: harmless::line(namespace),
        error: harmless::line(error),
        step_id,
    }
}

/// The cycle's report; its failures are told in the log too.
fn report(
    settings: &Settings,
    begun: &Begun,
    plans: &[StepPlan],
    captured: &[(StepId, Captured)],
    updated: usize,
    failures: Vec<Failure>,
) -> Report {
    let failures: Vec<Failure> = failures.into_iter().map(harmless).collect();
    for failure in &failures {
        tracing::warn!(
            step = failure.step,
            k6_test_name = failure.k6_test_name,
            namespace = failure.namespace,
            error = failure.error,
            "{} could not be synced",
            if failure.is_of_namespace() {
                "a namespace"
            } else {
                "a step"
            }
        );
    }
    let with_new_lines: HashSet<StepId> = captured
        .iter()
        .filter(|(_, captured)| captured.lines > 0)
        .map(|(step_id, _)| *step_id)
        .collect();
    Report {
        outcome: Outcome::Completed,
        total: plans.len(),
        updated,
        errors: failures.len(),
        logs_updated: with_new_lines.len(),
        log_bytes: captured.iter().map(|(_, captured)| captured.bytes).sum(),
        duration_ms: begun.instant.elapsed().as_millis(),
        failures,
        dry_run: settings.dry_run.then(|| changes(plans, captured)),
        details: details(plans, captured),
    }
}

fn sight<'a>(
    test_runs: &'a Listed<TestRun>,
    pods: &'a Listed<Pod>,
    claimed: &'a HashMap<String, StepId>,
    streams: &'a [Stream],
    settings: &'a Settings,
    now: Timestamp,
) -> Sight<'a> {
    Sight {
        test_runs: &test_runs.items,
        bad_test_runs: &test_runs.malformed,
        pods: &pods.items,
        bad_pods: &pods.malformed,
        claimed,
        streams,
        now,
        cluster: settings.cluster.as_deref(),
        unclaimed_until: Timestamp::MIN,
        missing_after: settings.missing_after,
        may_rest: settings.may_rest,
    }
}

/// Which steps, active or not, the TestRuns belong to.
async fn claims(
    store: &Store,
    steps: &[Step],
    test_runs: &[TestRun],
) -> Result<HashMap<String, StepId>, StoreError> {
    let mut claimed: HashMap<String, StepId> = steps
        .iter()
        .filter_map(|step| Some((step.record.k6_uid.clone()?, step.id)))
        .collect();
    let others: Vec<&str> = test_runs
        .iter()
        .map(|run| run.uid.as_str())
        .filter(|uid| !claimed.contains_key(*uid))
        .collect();
    claimed.extend(store.claimed(&others).await?);
    Ok(claimed)
}

/// TestRuns that can't be read and are no step's: of the others the plan tells.
fn unreadable(malformed: &[Malformed], steps: &[Step]) -> Vec<Failure> {
    malformed
        .iter()
        .filter(|bad| {
            !steps
                .iter()
                .any(|step| step.namespace == bad.namespace && step.k6_test_name == bad.name)
        })
        .map(|bad| Failure {
            step: bad.name.clone(),
            k6_test_name: bad.name.clone(),
            namespace: bad.namespace.clone(),
            error: format!(
                "the TestRun {}/{} can't be read: {}",
                bad.namespace, bad.name, bad.problem
            ),
            step_id: None,
        })
        .collect()
}

/// Notes what is new of the containers, and returns all streams of the steps by their keys.
async fn note_streams(
    store: &Store,
    plans: &[StepPlan],
    step_ids: &[StepId],
    known: Vec<Stream>,
) -> Result<Streams, StoreError> {
    let news: Vec<_> = plans
        .iter()
        .flat_map(|plan| &plan.streams)
        .filter(|stream| stream.is_news)
        .map(|stream| &stream.facts)
        .collect();
    store.put_streams(&news).await?;
    let known = match news.is_empty() {
        true => known,
        false => store.streams(step_ids).await?,
    };
    Ok(Streams::new(known, &news))
}

/// Brings all logs up to date, as many at a time as the settings say; (step id, what came of it).
async fn capture_logs(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    plans: &[StepPlan],
    streams: &Streams,
    deadline: Instant,
    now: Timestamp,
) -> Vec<(StepId, Captured)> {
    let mut tasks = Vec::new();
    for plan in plans {
        for planned in plan
            .streams
            .iter()
            .filter(|planned| planned.todo != Todo::Nothing)
        {
            if let Some(stream) = streams.get(&planned.facts.key) {
                tasks.push(Task {
                    step: &plan.step,
                    stream,
                    todo: planned.todo,
                });
            }
        }
    }
    let tasks = &tasks;
    let cluster = &cluster.paced(settings.concurrency);
    let (recorder, appends) = recorder(settings.concurrency * CAPTURES_A_REQUEST);
    let captured = async move {
        let recorder = &recorder;
        stream::iter(0..tasks.len())
            .map(|number| async move {
                let task = tasks[number];
                let captured = capture(cluster, store, recorder, task, deadline, now).await;
                (task.step.id, captured)
            })
            .buffer_unordered(settings.concurrency * CAPTURES_A_REQUEST + UNANSWERED)
            .collect()
            .await
    };
    let (captured, ()) = tokio::join!(captured, appends.store(store));
    captured
}

/// Explains better what went wrong with a step, if a log says more than could be seen.
async fn explain(store: &Store, plan: &mut StepPlan, streams: &Streams) -> Result<(), StoreError> {
    let Some(clue) = &plan.clue else {
        return Ok(());
    };
    let (Clue::LastError(key) | Clue::Requirements(key)) = clue;
    let Some(stream) = streams.get(key) else {
        return Ok(());
    };
    let tail = store.log_tail(stream.id, TAIL_CHUNKS).await?;
    let record = &mut plan.record;
    match isolated(|| explanation(clue, &tail, record.parallelism)) {
        Ok(None) => {}
        Ok(Some((None, message))) => record.message = Some(message),
        // What is in a log so far may not be its last word; a step with open logs is looked at again.
        Ok(Some((reason, message))) => {
            if store.with_open_logs(&[plan.step.id]).await?.is_empty() {
                record.reason = reason;
                record.message = Some(message);
            }
        }
        Err(bug) => plan
            .errors
            .push(format!("its log was not understood: {bug}")),
    }
    Ok(())
}

/// What a log says better than what could be seen: a message, and a reason if that was wrong too.
fn explanation(
    clue: &Clue,
    log: &str,
    parallelism: Option<i64>,
) -> Option<(Option<String>, String)> {
    match clue {
        Clue::LastError(_) => k6_log::last_error(log).map(|message| (None, message)),
        Clue::Requirements(_) => {
            let max_vus = k6_log::max_vus(log)?;
            let (reason, message) = verdict::too_many_runners(parallelism, max_vus)?;
            Some((Some(reason), message))
        }
    }
}

fn update(plan: &StepPlan) -> Option<StepUpdate> {
    (plan.record != plan.step.record).then(|| StepUpdate {
        id: plan.step.id,
        test_run_id: plan.step.test_run_id,
        namespace: plan.step.namespace.clone(),
        version: plan.step.version,
        record: plan.record.clone(),
    })
}

fn details(plans: &[StepPlan], captured: &[(StepId, Captured)]) -> Details {
    let mut details = Details::default();
    for plan in plans {
        *details.statuses.entry(plan.record.status).or_default() += 1;
    }
    for (_, captured) in captured {
        details.lines += u64::try_from(captured.lines).unwrap_or(0);
        for cause in &captured.gaps {
            *details.gaps.entry(*cause).or_default() += 1;
        }
    }
    details
}

fn failure(step: &Step, error: String) -> Failure {
    Failure {
        step: step.name.clone(),
        k6_test_name: step.k6_test_name.clone(),
        namespace: step.namespace.clone(),
        error,
        step_id: (!step.id.is_imagined()).then_some(step.id),
    }
}

/// What a dry run would have done, a line each.
fn changes(plans: &[StepPlan], captured: &[(StepId, Captured)]) -> Vec<String> {
    let mut lines: HashMap<StepId, (i64, usize)> = HashMap::new();
    for (step_id, captured) in captured {
        let sum = lines.entry(*step_id).or_default();
        sum.0 += captured.lines;
        sum.1 += captured.gaps.len();
    }
    let mut changes = Vec::new();
    for plan in plans {
        let step = &plan.step;
        let name = format!("{} ({}/{})", step.name, step.namespace, step.k6_test_name);
        if step.id.is_imagined() {
            changes.push(format!("adopt {name}"));
        }
        if plan.record.status != step.record.status {
            changes.push(format!(
                "set {name} from {} to {}",
                step.record.status, plan.record.status
            ));
        } else if plan.record != step.record {
            changes.push(format!("update {name}"));
        }
        match lines.get(&step.id) {
            Some((0, 0)) | None => {}
            Some((lines, 0)) => changes.push(format!("append {lines} log lines to {name}")),
            Some((lines, gaps)) => {
                changes.push(format!(
                    "append {lines} log lines and {gaps} gaps to {name}"
                ));
            }
        }
    }
    changes.iter().map(harmless::line).collect()
}

fn record(outcome: &Result<Report, RunError>, settings: &Settings, begun: &Begun) -> CycleRecord {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let blank = CycleRecord {
        started_at: begun.at,
        duration_ms: i64::try_from(begun.instant.elapsed().as_millis()).unwrap_or(i64::MAX),
        trigger: settings.trigger.to_owned(),
        instance: settings.instance.clone(),
        outcome: String::new(),
        total: 0,
        updated: 0,
        logs_updated: 0,
        log_bytes: 0,
        looked_at: None,
        cluster: None,
        errors: Vec::new(),
    };
    match outcome {
        Ok(report) => CycleRecord {
            outcome: "completed".to_owned(),
            total: count(report.total),
            updated: count(report.updated),
            logs_updated: count(report.logs_updated),
            log_bytes: report.log_bytes,
            looked_at: report.details.looked_at,
            cluster: report.details.cluster.clone(),
            errors: report.failures.iter().map(step_error).collect(),
            ..blank
        },
        Err(error) => CycleRecord {
            outcome: "failed".to_owned(),
            errors: vec![CycleError {
                step_id: None,
                step_name: None,
                k6_test_name: None,
                error: harmless::line(error),
            }],
            ..blank
        },
    }
}

fn step_error(failure: &Failure) -> CycleError {
    CycleError {
        step_id: failure.step_id,
        step_name: Some(failure.step.clone()),
        k6_test_name: Some(failure.k6_test_name.clone()),
        error: failure.error.clone(),
    }
}
