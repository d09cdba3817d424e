//! The reconciliation cycle: reads what the cluster shows, and makes the database say so.
//!
//! `sync-once` and `loop` call [`run`]. It keeps nothing between calls: all state is in the database, so that any number
//! of cycles may run at once, anywhere, and be killed at any moment.
//!
//! [`reconcile`] is the story. Each file beside this one is one of its parts; `plan`, `verdict`, `cursor`, `compare` and
//! `adopt` are pure.

pub(crate) mod adopt;
pub(crate) mod audit;
pub(crate) mod capture;
mod clock;
pub(crate) mod compare;
pub mod cursor;
mod error;
mod explain;
pub(crate) mod hold;
pub(crate) mod identity;
mod logs;
mod ownership;
pub(crate) mod plan;
mod recorder;
pub(crate) mod report;
pub(crate) mod results;
mod settings;
mod streams;
mod timestamp;
pub(crate) mod verdict;

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

pub(crate) use self::adopt::Discovery;
use self::clock::{cluster_time, listed_at, shifted};
pub(crate) use self::error::RunError;
use self::explain::explain;
use self::hold::Holder;
pub(crate) use self::hold::Holding;
use self::identity::identify;
use self::logs::bring_up_to_date;
use self::plan::{Sight, StepPlan, plan};
pub(crate) use self::report::Report;
use self::report::{Begun, cycle_row, failures_of_namespaces, failures_of_rows, failures_of_steps};
pub(crate) use self::settings::{Effect, Settings};
use self::settings::{TIME_TO_RECORD, TIME_TO_RELEASE, TIME_TO_STORE};
use self::streams::Streams;
use crate::cluster::{Cluster, Listed, Namespaces, Reach, TestRun};
use crate::store::{RunId, StepId, StepUpdate, Store};

/// Steps of a k6sync from before clusters were told apart wait this long for the cluster that has their TestRun.
const UNCLAIMED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Performs one full cycle.
///
/// # Errors
/// When the cycle could not be completed: the database or the API server failed as a whole. What was stored until then
/// is right, and the failure is on record if the database still takes it. Single steps fail alone, in the report.
pub(crate) async fn run(
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
    let row = cycle_row(&outcome, settings, &begun);
    let recorded = timeout(TIME_TO_RECORD, store.record_cycle(&row)).await;
    // What made the cycle itself fail comes first.
    let report = outcome?;
    match recorded {
        Ok(recorded) => recorded?,
        Err(_) => return Err(RunError::Overdue(limit + TIME_TO_RECORD)),
    }
    report.log();
    Ok(report)
}

/// Releases TestRuns whose deletion was just seen while their runners still run, so that the load stops. Their logs are
/// read once more before, as far as there is time. Does not wait for a cycle that is running.
///
/// # Errors
/// [`RunError::Store`]
pub(crate) async fn release_deleted(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    test_runs: &[TestRun],
) -> Result<(), RunError> {
    let mut namespaces: Vec<String> = test_runs.iter().map(|run| run.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    let settings = Settings {
        namespaces: Namespaces::Only(namespaces),
        deadline: hold::LAST_READ,
        ..settings.clone()
    };
    let only: HashSet<&str> = test_runs.iter().map(|run| run.uid.as_str()).collect();
    let begun = Begun::now();
    let read = reconcile(cluster, store, &settings, Some(&only), &begun);
    let problem = match timeout(hold::RELEASE_WITHIN, read).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error @ RunError::Store(_))) => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "there was no time".to_owned(),
    };
    tracing::warn!(
        problem,
        "what the runners of deleted TestRuns logged last could not be read before they are stopped"
    );
    hold::release_unread(cluster, store, test_runs).await
}

/// One cycle, from what the cluster shows to what the database says. The order of its parts matters: the comments say why.
///
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
    let mut reach = Reach::of(&settings.namespaces);

    // Which cluster is this, and which TestRuns does it show? They are listed before steps are read: a dashboard that
    // inserts its step before it creates the TestRun is never overtaken.
    let listed = async {
        match settings.discovery {
            Discovery::Off => Ok(Listed::default()),
            Discovery::All | Discovery::Labelled => reach.test_runs(cluster).await,
        }
    };
    let (identity, listed) = tokio::join!(identify(cluster, store, settings), listed);
    let identity = identity?;
    let settings = &settings.in_cluster(identity.as_ref().map(|known| known.id.as_str()));
    let mut test_runs = listed?;

    // Which steps are to be looked at?
    let (mut steps, bad_rows) = store.active_steps(&settings.scope()).await?;
    match settings.discovery {
        Discovery::Off if !steps.is_empty() => test_runs = reach.test_runs(cluster).await?,
        _ => ownership::add_overtaken(cluster, &mut reach, &steps, &mut test_runs).await?,
    }
    let mut failures = failures_of_rows(bad_rows);
    let others = ownership::set_aside(&mut steps, identity.as_ref(), &test_runs.items);
    failures.extend(failures_of_rows(others));
    if let Some(uids) = only {
        ownership::retain(uids, &mut steps, &mut test_runs);
    }

    // Adopt the TestRuns that no step claims.
    let claimed = ownership::claims(store, &steps, &test_runs.items).await?;
    let new = adopt::unclaimed(
        &test_runs.items,
        &claimed,
        &steps,
        settings.discovery,
        settings.cluster.as_deref(),
    );
    steps.extend(store.adopt(&new).await?);
    failures.extend(ownership::unreadable(&test_runs.malformed, &steps));

    // Streams before pods: one that is known and has no pod is then really gone, and not another sync's discovery.
    let step_ids: Vec<StepId> = steps.iter().map(|step| step.id).collect();
    let known_streams = store.streams(&step_ids).await?;
    let mut pods = Listed::default();
    if !steps.is_empty() {
        pods = reach.pods(cluster).await?;
    }
    steps.retain(|step| reach.has(&step.namespace));
    test_runs.items.retain(|run| reach.has(&run.namespace));
    failures.extend(failures_of_namespaces(reach));

    // Decide what is to be said of each step, and done with each log.
    let now = cluster_time(pods.time.or(test_runs.time), Timestamp::now());
    let looked_at = listed_at(test_runs.time.or(pods.time), begun.at);
    let unclaimed_until = match steps.iter().any(ownership::is_unclaimed) {
        true => shifted(store.migrated_at().await?, UNCLAIMED_FOR),
        false => Timestamp::MIN,
    };
    let mut plans = plan(
        steps,
        &Sight {
            test_runs: &test_runs.items,
            bad_test_runs: &test_runs.malformed,
            pods: &pods.items,
            bad_pods: &pods.malformed,
            claimed: &claimed,
            streams: &known_streams,
            now,
            cluster: settings.cluster.as_deref(),
            unclaimed_until,
            missing_after: settings.missing_after,
            may_rest: settings.may_rest,
        },
    );
    // What they showed is in the plans; thousands of them would only take room while logs are read.
    drop(pods);

    // Hold TestRuns before their logs are read, so that they stay until the end of this cycle.
    let test_runs: HashMap<&str, &TestRun> = test_runs
        .items
        .iter()
        .map(|test_run| (test_run.uid.as_str(), test_run))
        .collect();
    let holder = Holder::new(cluster, store, settings, &test_runs, &claimed);
    failures.extend(holder.hold(&plans).await?);

    // Read the logs and store what is new of them.
    let streams = Streams::note(store, &plans, &step_ids, known_streams).await?;
    let captures =
        bring_up_to_date(cluster, store, settings, &plans, &streams, deadline, now).await?;
    explain(store, &mut plans, &streams).await?;
    let derived = results::derive(store, &mut plans, &streams).await?;

    // Commit what is to be said of the steps, and of their runs.
    let updates: Vec<StepUpdate> = plans.iter().filter_map(StepPlan::update).collect();
    let seen: Vec<(StepId, RunId)> = plans
        .iter()
        .filter(|plan| !plan.awaits_cluster)
        .map(|plan| (plan.step.id, plan.step.test_run_id))
        .collect();
    let updated = store
        .commit_steps(&updates, &seen, looked_at, verdict::roll_up)
        .await?;
    derived
        .note(store, &settings.scope(), &updates, &updated)
        .await?;

    // Only now may a TestRun go. A cycle that ran out of time releases all the same.
    let cluster = &cluster.until(deadline + TIME_TO_RELEASE);
    let released = holder.with(cluster).release(&plans, now).await?;

    if identity.is_none() {
        identity::warn_of_no_identity(settings);
    }
    failures.extend(failures_of_steps(&plans, &captures));
    failures.extend(released.failures);
    let mut report = Report::new(begun, &plans, &captures, updated.len(), failures);
    report.dry_run = settings
        .is_dry_run()
        .then(|| report::changes(&plans, &captures, &derived.sources));
    report.summaries = derived.sources;
    report.details.held = released.still_held;
    report.details.looked_at = Some(looked_at);
    report.details.cluster.clone_from(&settings.cluster);
    Ok(report)
}
