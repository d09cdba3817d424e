//! Holding TestRuns until their logs are recorded, by a finalizer (docs/facts.md, "A finalizer keeps pods and logs").
//!
//! A hold is on record (`test_run_steps.held`) before the TestRun bears the finalizer, and until it is known to be free
//! of it, so that no kill at any moment leaves one behind that nobody remembers. The cycle calls [`put`] before it reads
//! logs and [`take_off`] at its end; [`at_once`] and [`let_go`] are for what can't wait for a cycle, and [`release_all`]
//! is for when sync is switched off.

use std::collections::{HashMap, HashSet};
use std::sync::Once;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::adopt;
use super::plan::StepPlan;
use super::report::Failure;
use super::{Begun, RunError, Settings, failure};
use crate::cluster::{Cluster, ClusterError, Finalizer, Hold, Namespaces, Release, TestRun};
use crate::store::{HeldStep, Step, StepId, Store, StoreError};

/// Finalizers put on or taken off at a time.
const CONCURRENCY: usize = 8;

/// What runners logged last is read within so long before they are stopped.
const LAST_READ: Duration = Duration::from_millis(2_500);
/// And they are stopped after so long, whatever became of that.
const LET_GO_WITHIN: Duration = Duration::from_secs(4);

/// Which TestRuns are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// All active ones are, until their logs are recorded.
    All,
    /// Those are that k6-operator deletes when they have ended (`spec.cleanup: post`).
    Cleanup,
    /// The same, since nobody said anything; where the right is missing, one warning says so and that is all.
    CleanupIfAllowed,
    /// None is, and those that this database holds are let go.
    Nothing,
    /// None is put on hold; what this database holds stays held until its logs are recorded or its time is over.
    Unsaid,
}

/// Whether, and for how long, TestRuns are held, and by which finalizer.
#[derive(Clone, Debug)]
struct Rules {
    holding: Holding,
    /// Counted from when the deletion was asked for.
    timeout: SignedDuration,
    own: Finalizer,
}

impl Rules {
    async fn of(settings: &Settings, store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            holding: settings.hold,
            timeout: SignedDuration::try_from(settings.hold_timeout).unwrap_or(SignedDuration::MAX),
            own: own(store).await?,
        })
    }

    /// Whether our database holds it; 0.1.0's finalizer does not say whose it is, but the step does.
    fn is_ours(&self, test_run: &TestRun, is_on_record: bool) -> bool {
        test_run.bears(&self.own) || (is_on_record && test_run.bears_old())
    }

    /// Whether to put the finalizer on the TestRun of a step that `is_over` or not.
    fn wants_hold(&self, test_run: &TestRun, is_on_record: bool, is_over: bool) -> bool {
        let is_meant = match self.holding {
            Holding::All => true,
            Holding::Cleanup | Holding::CleanupIfAllowed => test_run.cleans_up,
            Holding::Nothing | Holding::Unsaid => false,
        };
        is_meant
            && !is_over
            && !self.is_ours(test_run, is_on_record)
            && test_run.deletion_timestamp.is_none()
    }

    /// Whether to take it off. `is_done`: the step is over and its logs are complete, or its runners are to stop.
    fn frees(&self, test_run: &TestRun, is_done: bool, now: Timestamp) -> bool {
        self.holding == Holding::Nothing || is_done || self.is_overdue(test_run, now)
    }

    /// Nobody holds a TestRun longer, nor lets anybody else.
    fn is_overdue(&self, test_run: &TestRun, now: Timestamp) -> bool {
        test_run
            .deletion_timestamp
            .is_some_and(|asked| now.duration_since(asked) >= self.timeout)
    }

    /// Which finalizers to take off a TestRun that is to be free.
    fn release(&self, is_on_record: bool, is_overdue: bool) -> Release<'_> {
        match (is_overdue, is_on_record) {
            (true, _) => Release::All,
            (false, true) => Release::OwnAndOld(&self.own),
            (false, false) => Release::Own(&self.own),
        }
    }
}

async fn own(store: &Store) -> Result<Finalizer, StoreError> {
    Ok(Finalizer::of_database(store.database_id().await?))
}

/// Holds the TestRuns of steps that are not over; a failure is its step's alone.
pub(super) async fn put(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    plans: &[StepPlan],
    test_runs: &HashMap<&str, &TestRun>,
) -> Result<Vec<Failure>, StoreError> {
    if settings.dry_run || test_runs.is_empty() {
        return Ok(Vec::new());
    }
    let rules = Rules::of(settings, store).await?;
    let wanted: Vec<(&Step, &TestRun)> = plans
        .iter()
        .filter_map(|plan| {
            let test_run = test_run(plan, test_runs)?;
            let is_over = plan.record.status.is_final();
            rules
                .wants_hold(test_run, plan.step.held, is_over)
                .then_some((&plan.step, test_run))
        })
        .collect();
    // Those that bear it and are not on record: syncs met, or the database was restored.
    let forgotten = plans.iter().filter_map(|plan| {
        let is_forgotten = !plan.step.held && test_run(plan, test_runs)?.bears(&rules.own);
        is_forgotten.then_some(plan.step.id)
    });
    store
        .set_held(&forgotten.collect::<Vec<StepId>>(), true)
        .await?;
    put_on(cluster, store, &rules, &wanted).await
}

/// Holds TestRuns that have just been seen for the first time, before any cycle looks at them. A failure is told in the
/// log, and the next cycle tries again.
///
/// # Errors
/// [`RunError::Store`]
pub async fn at_once(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    test_runs: &[TestRun],
) -> Result<(), RunError> {
    let rules = Rules::of(settings, store).await?;
    let mut wanted = test_runs.to_vec();
    wanted.retain(|test_run| {
        // One that ended before it was seen is left as it is, unless it is about to go.
        let is_over = test_run.stage.has_ended() && !test_run.cleans_up;
        rules.wants_hold(test_run, false, is_over)
    });
    if wanted.is_empty() || settings.dry_run {
        return Ok(());
    }
    let (settings, identity) = super::identified(cluster, store, settings).await?;
    let (mut steps, _) = store.active_steps(&settings.scope()).await?;
    // What is told of them is the next cycle's business.
    drop(super::set_aside(&mut steps, identity.as_ref(), &wanted));
    let claimed = super::claims(store, &steps, &wanted).await?;
    let cluster_id = settings.cluster.as_deref();
    let new = adopt::unclaimed(&wanted, &claimed, &steps, settings.discovery, cluster_id);
    steps.extend(store.adopt(&new).await?);
    let with_steps: Vec<(&Step, &TestRun)> = wanted
        .iter()
        .filter_map(|test_run| {
            let step = step_of(test_run, &steps)?;
            let is_over = step.record.status.is_final();
            rules
                .wants_hold(test_run, step.held, is_over)
                .then_some((step, test_run))
        })
        .collect();
    for failure in put_on(cluster, store, &rules, &with_steps).await? {
        tracing::warn!(
            k6_test_name = failure.k6_test_name,
            namespace = failure.namespace,
            error = failure.error,
            "a new TestRun could not be held"
        );
    }
    Ok(())
}

/// The step that has this TestRun, or waits for one of its name.
fn step_of<'a>(test_run: &TestRun, steps: &'a [Step]) -> Option<&'a Step> {
    let has = |step: &&Step| step.record.k6_uid.as_deref() == Some(&test_run.uid);
    let awaits = |step: &&Step| {
        step.record.k6_uid.is_none()
            && step.namespace == test_run.namespace
            && step.k6_test_name == test_run.name
    };
    steps.iter().find(has).or_else(|| steps.iter().find(awaits))
}

/// Puts the finalizer on these, on record first.
async fn put_on(
    cluster: &Cluster,
    store: &Store,
    rules: &Rules,
    wanted: &[(&Step, &TestRun)],
) -> Result<Vec<Failure>, StoreError> {
    let mut step_ids: Vec<StepId> = wanted.iter().map(|(step, _)| step.id).collect();
    store.set_held(&step_ids, true).await?;
    let outcomes = stream::iter(0..wanted.len()).map(|number| async move {
        let (step, test_run) = wanted[number];
        (step, cluster.hold(test_run, &rules.own).await)
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(CONCURRENCY).collect().await;
    let (mut failures, mut not_allowed) = (Vec::new(), Vec::new());
    for (step, outcome) in outcomes {
        match outcome {
            Ok(Hold::Held) => {}
            // The end of the cycle takes note of it.
            Ok(Hold::Free) => tracing::info!(
                k6_test_name = step.k6_test_name,
                namespace = step.namespace,
                "too late to hold the TestRun: it is being deleted"
            ),
            Err(error) => {
                let is_forbidden = matches!(error, ClusterError::Forbidden { .. });
                if is_forbidden && !step.held {
                    not_allowed.push(step.id);
                }
                match is_forbidden && rules.holding == Holding::CleanupIfAllowed {
                    true => warn_once_of_right(&error),
                    false => failures.push(refused(step, "hold", &error)),
                }
            }
        }
    }
    // What could not be put on need not be taken off.
    step_ids.retain(|id| !not_allowed.contains(id));
    store.set_held(&not_allowed, false).await?;
    // Another sync may have found the TestRun free, and its step over, just before the finalizer came.
    store.set_held(&step_ids, true).await?;
    Ok(failures)
}

/// Frees the TestRuns whose logs are recorded, whose runners are to stop, whose time is over, or that are no longer to be
/// held; and forgets the holds of those that are gone. `claimed`: which step a TestRun belongs to, by uid.
///
/// Returns what went wrong, and how many steps are held now.
pub(super) async fn take_off(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    plans: &[StepPlan],
    test_runs: &HashMap<&str, &TestRun>,
    claimed: &HashMap<String, StepId>,
    now: Timestamp,
) -> Result<(Vec<Failure>, usize), StoreError> {
    let are_held = |test_run: &&TestRun| test_run.is_held();
    let is_of_account = matches!(
        settings.hold,
        Holding::All | Holding::Cleanup | Holding::CleanupIfAllowed
    ) || plans.iter().any(|plan| plan.step.held)
        || test_runs.values().any(are_held);
    if settings.dry_run || !is_of_account {
        return Ok((Vec::new(), 0));
    }
    let rules = Rules::of(settings, store).await?;
    let over: Vec<StepId> = plans
        .iter()
        .filter(|plan| plan.record.status.is_final())
        .map(|plan| plan.step.id)
        .collect();
    let open = store.with_open_logs(&over).await?;
    let is_done = |plan: &StepPlan| {
        plan.is_to_stop() || (plan.record.status.is_final() && !open.contains(&plan.step.id))
    };
    let held: HashSet<StepId> = store
        .held_steps(&settings.scope())
        .await?
        .iter()
        .map(|step| step.id)
        .collect();
    let mut to_free: Vec<Bearer<'_>> = Vec::new();
    let mut active = HashSet::new();
    for plan in plans {
        active.insert(plan.step.id);
        let is_held = held.contains(&plan.step.id);
        match test_run(plan, test_runs) {
            Some(test_run) if is_held || test_run.bears(&rules.own) => {
                if rules.frees(test_run, is_done(plan), now) {
                    let release = rules.release(is_held, rules.is_overdue(test_run, now));
                    to_free.push(Bearer::new(Some(&plan.step), test_run, release));
                } else {
                    warn_of_deletion(plan, test_run, &rules);
                }
            }
            // It is gone, most likely; to be free it must be so for certain.
            None if is_held && plan.record.status.is_final() && !plan.awaits_cluster => to_free
                .push(Bearer {
                    step: Some(&plan.step),
                    namespace: &plan.step.namespace,
                    name: &plan.step.k6_test_name,
                    uid: plan.record.k6_uid.as_deref(),
                    release: rules.release(true, false),
                }),
            _ => {}
        }
    }
    // Of steps at their end: the database was restored, or another one's k6sync died.
    let is_left_behind = |test_run: &TestRun| {
        let is_over = |step_id: &StepId| !active.contains(step_id);
        test_run.bears(&rules.own) && claimed.get(&test_run.uid).is_some_and(is_over)
    };
    let freed: HashSet<&str> = to_free.iter().filter_map(|bearer| bearer.uid).collect();
    to_free.extend(
        test_runs
            .values()
            .filter(|test_run| !freed.contains(test_run.uid.as_str()))
            .filter_map(|test_run| {
                // Of no step: its row was deleted, or a k6sync with another database holds it, and has as much time.
                let is_overdue = test_run.is_held() && rules.is_overdue(test_run, now);
                let release = rules.release(false, is_overdue);
                (is_overdue || is_left_behind(test_run))
                    .then(|| Bearer::new(None, test_run, release))
            }),
    );

    let (free, failures) = free(cluster, &to_free).await;
    store.set_held(&free, false).await?;
    let still_held = held.iter().filter(|id| !free.contains(id)).count();
    Ok((failures, still_held))
}

/// Takes the finalizers off; returns the steps whose TestRuns are free, and what went wrong.
async fn free(cluster: &Cluster, bearers: &[Bearer<'_>]) -> (Vec<StepId>, Vec<Failure>) {
    let outcomes = stream::iter(0..bearers.len()).map(|number| async move {
        let Bearer {
            step,
            namespace,
            name,
            uid,
            release,
        } = bearers[number];
        match cluster.release(namespace, name, uid, release).await {
            Ok(()) => {
                tracing::debug!(k6_test_name = name, namespace, "the TestRun is free");
                Ok(step.map(|step| step.id))
            }
            Err(error) => Err(step.map(|step| refused(step, "release", &error))),
        }
    });
    let outcomes: Vec<Result<Option<StepId>, Option<Failure>>> =
        outcomes.buffer_unordered(CONCURRENCY).collect().await;
    let (mut free, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(step_id) => free.extend(step_id),
            Err(failure) => failures.extend(failure),
        }
    }
    (free, failures)
}

/// Lets go of TestRuns whose deletion was just seen while their runners still run, so that the load stops: their logs are
/// read once more before, for as long as there is time. Does not wait for a cycle that is running.
///
/// # Errors
/// [`RunError::Store`]: they are held as before, and the next cycle tries again.
pub async fn let_go(
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
        deadline: LAST_READ,
        ..settings.clone()
    };
    let only: HashSet<&str> = test_runs.iter().map(|run| run.uid.as_str()).collect();
    let begun = Begun::now();
    let read = super::reconcile(cluster, store, &settings, Some(&only), &begun);
    let problem = match timeout(LET_GO_WITHIN, read).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error @ RunError::Store(_))) => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "there was no time".to_owned(),
    };
    tracing::warn!(
        problem,
        "what the runners of deleted TestRuns logged last could not be read before they are stopped"
    );
    let own = own(store).await?;
    let bearers: Vec<Bearer<'_>> = test_runs
        .iter()
        .map(|test_run| Bearer::new(None, test_run, Release::Own(&own)))
        .collect();
    free(cluster, &bearers).await;
    Ok(())
}

/// Frees the TestRuns that this database holds and whose deletion was asked for: nobody looks after them from now on.
///
/// # Errors
/// [`RunError::Store`]
pub async fn let_go_of_deleted(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<(), RunError> {
    let held = held_here(cluster, store, settings).await?;
    release_held(cluster, store, held, |test_run| {
        test_run.deletion_timestamp.is_some()
    })
    .await
    .map(|_| ())
}

/// Frees every TestRun that this database holds, since nothing is synced any more; returns how many.
/// Asks Kubernetes for nothing if there is none.
///
/// # Errors
/// The first that could not be freed; the others are.
pub async fn release_all(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<usize, RunError> {
    let held = held_here(cluster, store, settings).await?;
    let freed = release_held(cluster, store, held, |_| true).await?;
    if freed > 0 {
        tracing::info!(
            test_runs = freed,
            "sync is off: TestRuns that were held are free"
        );
    }
    Ok(freed)
}

/// The steps whose TestRuns are held in this cluster. Those of which it can't be told only if their TestRuns are here: else
/// another cluster's hold would be forgotten.
async fn held_here(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<Vec<HeldStep>, RunError> {
    if store.held_steps(&settings.scope()).await?.is_empty() {
        return Ok(Vec::new());
    }
    let (settings, identity) = super::identified(cluster, store, settings).await?;
    let mut held = store.held_steps(&settings.scope()).await?;
    let is_certain = |step: &HeldStep| step.cluster.is_some() == identity.is_some();
    if !held.iter().all(is_certain) {
        let test_runs = cluster.test_runs(&settings.namespaces).await?.items;
        held.retain(|step| {
            let is_here = |run: &TestRun| match &step.k6_uid {
                Some(uid) => *uid == run.uid,
                None => step.namespace == run.namespace && step.k6_test_name == run.name,
            };
            is_certain(step) || test_runs.iter().any(is_here)
        });
    }
    Ok(held)
}

async fn release_held(
    cluster: &Cluster,
    store: &Store,
    held: Vec<HeldStep>,
    only_if: impl Fn(&TestRun) -> bool,
) -> Result<usize, RunError> {
    if held.is_empty() {
        return Ok(0);
    }
    let own = &own(store).await?;
    let (held, only_if) = (&held, &only_if);
    let outcomes = stream::iter(0..held.len()).map(|number| async move {
        let step = &held[number];
        // A sync that was killed early may have put the finalizer on before it noted the uid.
        let uid = step.k6_uid.as_deref();
        let (namespace, name) = (&step.namespace, &step.k6_test_name);
        let release = Release::OwnAndOld(own);
        let outcome = cluster
            .release_if(namespace, name, uid, release, only_if)
            .await;
        outcome.map(|hold| (hold == Hold::Free).then_some(step.id))
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(CONCURRENCY).collect().await;
    let (mut freed, mut first_error) = (Vec::new(), None);
    for outcome in outcomes {
        match outcome {
            Ok(step_id) => freed.extend(step_id),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    store.set_held(&freed, false).await?;
    match first_error {
        Some(error) => Err(error.into()),
        None => Ok(freed.len()),
    }
}

/// A TestRun that bears the finalizer, or may.
#[derive(Clone, Copy)]
struct Bearer<'a> {
    step: Option<&'a Step>,
    namespace: &'a str,
    name: &'a str,
    /// `None`: whichever has the name.
    uid: Option<&'a str>,
    release: Release<'a>,
}

impl<'a> Bearer<'a> {
    fn new(step: Option<&'a Step>, test_run: &'a TestRun, release: Release<'a>) -> Self {
        Self {
            step,
            namespace: &test_run.namespace,
            name: &test_run.name,
            uid: Some(&test_run.uid),
            release,
        }
    }
}

fn test_run<'a>(plan: &StepPlan, test_runs: &HashMap<&str, &'a TestRun>) -> Option<&'a TestRun> {
    test_runs.get(plan.record.k6_uid.as_deref()?).copied()
}

/// Whoever deletes a TestRun should know why it stays.
fn warn_of_deletion(plan: &StepPlan, test_run: &TestRun, rules: &Rules) {
    if let Some(asked) = test_run.deletion_timestamp {
        let until = asked.checked_add(rules.timeout).unwrap_or(Timestamp::MAX);
        tracing::warn!(
            run = plan.step.test_run_id.0,
            step = plan.step.name,
            namespace = test_run.namespace,
            k6_test_name = test_run.name,
            until = until.to_string(),
            "a deleted TestRun is held until its logs are recorded; `k6sync release {}` lets it go now",
            test_run.name
        );
    }
}

/// It is said once, not in each cycle.
fn warn_once_of_right(error: &ClusterError) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "TestRuns with `cleanup: post` can't be held until their logs are recorded, so that the end of their logs may be lost: {error}; manifests/base gives the right, and `capture.hold: none` does without"
        );
    });
}

fn refused(step: &Step, what: &str, error: &ClusterError) -> Failure {
    let advice = match error {
        ClusterError::Forbidden { .. } => {
            "; manifests/base gives the right, or set capture.hold to none"
        }
        _ => "; the next cycle tries again",
    };
    failure(
        step,
        format!(
            "cannot {what} the TestRun {}/{}: {error}{advice}",
            step.namespace, step.k6_test_name
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{OLD_FINALIZER, Stage};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_408_790 + second).unwrap()
    }

    fn shop(finalizer: Option<&str>, deleted: Option<i64>, cleans_up: bool) -> TestRun {
        TestRun {
            namespace: "k6".to_owned(),
            name: "shop".to_owned(),
            uid: "1".to_owned(),
            created_at: at(-100),
            labels: Default::default(),
            parallelism: None,
            cleans_up,
            stage: Stage::Started,
            cloud_aborted: false,
            resource_version: "7".to_owned(),
            finalizers: finalizer.map(str::to_owned).into_iter().collect(),
            deletion_timestamp: deleted.map(at),
        }
    }

    fn rules(holding: Holding) -> Rules {
        Rules {
            holding,
            timeout: SignedDuration::from_secs(60),
            own: Finalizer::of_database("1f"),
        }
    }

    const OWN: Option<&str> = Some("k6sync.dev/capture-1f");
    const OTHERS: Option<&str> = Some("k6sync.dev/capture-2e");
    const OLD: Option<&str> = Some(OLD_FINALIZER);

    #[test]
    fn a_test_run_is_held_while_its_step_is_not_over() {
        use Holding::{All, Cleanup, CleanupIfAllowed, Nothing, Unsaid};
        for (holding, finalizer, is_on_record, cleans_up, deleted, is_over, wanted) in [
            (All, None, false, false, None, false, true),
            (All, OWN, false, false, None, false, false),
            (All, OTHERS, false, false, None, false, true),
            (All, OTHERS, true, false, None, false, true),
            (All, OLD, false, false, None, false, true),
            (All, OLD, true, false, None, false, false),
            (All, None, true, false, None, false, true),
            (All, None, false, false, Some(0), false, false),
            (All, None, false, false, None, true, false),
            (Cleanup, None, false, false, None, false, false),
            (Cleanup, None, false, true, None, false, true),
            (CleanupIfAllowed, None, false, false, None, false, false),
            (CleanupIfAllowed, None, false, true, None, false, true),
            (CleanupIfAllowed, None, false, true, Some(0), false, false),
            (Nothing, None, false, true, None, false, false),
            (Unsaid, None, false, true, None, false, false),
        ] {
            let test_run = shop(finalizer, deleted, cleans_up);
            assert_eq!(
                rules(holding).wants_hold(&test_run, is_on_record, is_over),
                wanted,
                "{holding:?} {finalizer:?} {is_on_record} {cleans_up} {deleted:?} {is_over}"
            );
        }
    }

    #[test]
    fn it_is_freed_when_done_or_when_its_time_is_over_or_nothing_is_held() {
        for (holding, deleted, is_done, now, frees) in [
            (Holding::All, None, false, 1_000_000, false),
            (Holding::All, None, true, 0, true),
            (Holding::Cleanup, Some(0), false, 59, false),
            (Holding::Cleanup, Some(0), false, 60, true),
            (Holding::All, Some(0), true, 1, true),
            (Holding::Unsaid, None, false, 0, false),
            (Holding::Unsaid, Some(0), false, 60, true),
            (Holding::Unsaid, None, true, 0, true),
            (Holding::Nothing, None, false, 0, true),
        ] {
            assert_eq!(
                rules(holding).frees(&shop(OWN, deleted, false), is_done, at(now)),
                frees,
                "{holding:?} {deleted:?} {is_done} {now}"
            );
        }
    }
}
