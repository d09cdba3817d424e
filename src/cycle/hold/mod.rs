//! Holding TestRuns until their logs are recorded, by a finalizer (docs/facts.md, "A finalizer keeps pods and logs").
//!
//! A hold is on record (`test_run_steps.held`) before the TestRun has the finalizer, and until it is known to be free
//! of it, so that no kill at any moment leaves one behind that nobody remembers. The cycle's [`Holder`] holds before logs are
//! read and releases at the end; [`hold_new`] is for what can't wait for a cycle, and [`release_all`] is for when sync is
//! switched off.

mod rules;

use std::collections::{HashMap, HashSet};
use std::sync::Once;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

pub(crate) use self::rules::Holding;
use self::rules::Rules;
use super::adopt;
use super::error::RunError;
use super::identity::identify;
use super::ownership;
use super::plan::StepPlan;
use super::report::Failure;
use super::settings::{Effect, Settings};
use crate::cluster::{Cluster, ClusterError, Finalizer, Hold, Reach, Release, TestRun};
use crate::store::{HeldStep, Step, StepId, Store, StoreError};

/// Finalizers put on or taken off at a time.
const CONCURRENCY: usize = 8;

/// The time to read what runners logged last before they are stopped.
pub(super) const LAST_READ: Duration = Duration::from_millis(2_500);
/// They are stopped after this, whatever became of that.
pub(super) const RELEASE_WITHIN: Duration = Duration::from_secs(4);

/// `None`: a dry run neither holds nor releases.
async fn rules(settings: &Settings, store: &Store) -> Result<Option<Rules>, StoreError> {
    let Effect::Full(holding) = settings.effect else {
        return Ok(None);
    };
    Ok(Some(Rules {
        holding,
        timeout: SignedDuration::try_from(settings.hold_timeout).unwrap_or(SignedDuration::MAX),
        own: own(store).await?,
    }))
}

async fn own(store: &Store) -> Result<Finalizer, StoreError> {
    Ok(Finalizer::of_database(store.database_id().await?))
}

/// Holds and releases the TestRuns of one cycle.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    cluster: &'a Cluster,
    store: &'a Store,
    settings: &'a Settings,
    /// By uid.
    test_runs: &'a HashMap<&'a str, &'a TestRun>,
    /// Which step a TestRun belongs to, by uid.
    claimed: &'a HashMap<String, StepId>,
}

/// What came of releasing.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// What went wrong.
    pub(super) failures: Vec<Failure>,
    /// Steps that are held now.
    pub(super) still_held: usize,
}

impl<'a> Holder<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        store: &'a Store,
        settings: &'a Settings,
        test_runs: &'a HashMap<&'a str, &'a TestRun>,
        claimed: &'a HashMap<String, StepId>,
    ) -> Self {
        Self {
            cluster,
            store,
            settings,
            test_runs,
            claimed,
        }
    }

    /// The same with another limit on the time of requests.
    pub(super) fn with(self, cluster: &'a Cluster) -> Self {
        Self { cluster, ..self }
    }

    /// Holds the TestRuns of steps that are not over; a failure is its step's alone.
    pub(super) async fn hold(&self, plans: &[StepPlan]) -> Result<Vec<Failure>, StoreError> {
        if self.test_runs.is_empty() {
            return Ok(Vec::new());
        }
        let Some(rules) = rules(self.settings, self.store).await? else {
            return Ok(Vec::new());
        };
        let wanted: Vec<(&Step, &TestRun)> = plans
            .iter()
            .filter_map(|plan| {
                let test_run = self.test_run(plan)?;
                let is_over = plan.record.status.is_final();
                rules
                    .wants_hold(test_run, plan.step.held, is_over)
                    .then_some((&plan.step, test_run))
            })
            .collect();
        // Those that have it and are not on record: syncs met, or the database was restored.
        let forgotten = plans.iter().filter_map(|plan| {
            let is_forgotten = !plan.step.held && self.test_run(plan)?.has_finalizer(&rules.own);
            is_forgotten.then_some(plan.step.id)
        });
        self.store
            .set_held(&forgotten.collect::<Vec<StepId>>(), true)
            .await?;
        put_on(self.cluster, self.store, &rules, &wanted).await
    }

    /// Releases the TestRuns whose logs are recorded, whose runners are to stop, whose time is over, or that are no longer
    /// to be held; and forgets the holds of those that are gone.
    pub(super) async fn release(
        &self,
        plans: &[StepPlan],
        now: Timestamp,
    ) -> Result<Released, StoreError> {
        let is_any_held = plans.iter().any(|plan| plan.step.held)
            || self.test_runs.values().any(|test_run| test_run.is_held());
        let may_hold = matches!(
            self.settings.effect,
            Effect::Full(Holding::All | Holding::Cleanup | Holding::CleanupIfAllowed)
        );
        if !may_hold && !is_any_held {
            return Ok(Released::default());
        }
        let Some(rules) = rules(self.settings, self.store).await? else {
            return Ok(Released::default());
        };
        let held: HashSet<StepId> = self
            .store
            .held_steps(&self.settings.scope())
            .await?
            .iter()
            .map(|step| step.id)
            .collect();
        let mut to_free = self.due(plans, &rules, &held, now).await?;
        to_free.extend(self.left_behind(plans, &rules, &to_free, now));
        let (free, failures) = free(self.cluster, &to_free).await;
        self.store.set_held(&free, false).await?;
        Ok(Released {
            failures,
            still_held: held.iter().filter(|id| !free.contains(id)).count(),
        })
    }

    /// The TestRuns of active steps that are to be free.
    async fn due<'b>(
        &'b self,
        plans: &'b [StepPlan],
        rules: &'b Rules,
        held: &HashSet<StepId>,
        now: Timestamp,
    ) -> Result<Vec<Held<'b>>, StoreError> {
        let over: Vec<StepId> = plans
            .iter()
            .filter(|plan| plan.record.status.is_final())
            .map(|plan| plan.step.id)
            .collect();
        let open = self.store.with_open_logs(&over).await?;
        let is_done = |plan: &StepPlan| {
            plan.is_to_stop() || (plan.record.status.is_final() && !open.contains(&plan.step.id))
        };
        let mut to_free = Vec::new();
        for plan in plans {
            let is_held = held.contains(&plan.step.id);
            match self.test_run(plan) {
                Some(test_run) if is_held || test_run.has_finalizer(&rules.own) => {
                    if rules.frees(test_run, is_done(plan), now) {
                        let release = rules.release(is_held, rules.is_overdue(test_run, now));
                        to_free.push(Held::new(Some(&plan.step), test_run, release));
                    } else {
                        warn_of_deletion(plan, test_run, rules);
                    }
                }
                // It is gone, most likely; to be free it must be so for certain.
                None if is_held && plan.record.status.is_final() && !plan.awaits_cluster => to_free
                    .push(Held {
                        step: Some(&plan.step),
                        namespace: &plan.step.namespace,
                        name: &plan.step.k6_test_name,
                        uid: plan.record.k6_uid.as_deref(),
                        release: rules.release(true, false),
                    }),
                _ => {}
            }
        }
        Ok(to_free)
    }

    /// TestRuns that nobody else looks after: of steps at their end (the database was restored, or another one's k6sync
    /// died), or of no step (its row was deleted, or a k6sync with another database holds it, and has as much time).
    fn left_behind<'b>(
        &'b self,
        plans: &[StepPlan],
        rules: &'b Rules,
        to_free: &[Held<'_>],
        now: Timestamp,
    ) -> Vec<Held<'b>> {
        let active: HashSet<StepId> = plans.iter().map(|plan| plan.step.id).collect();
        let is_left_behind = |test_run: &TestRun| {
            let is_over = |step_id: &StepId| !active.contains(step_id);
            test_run.has_finalizer(&rules.own)
                && self.claimed.get(&test_run.uid).is_some_and(is_over)
        };
        let freed: HashSet<&str> = to_free.iter().filter_map(|held| held.uid).collect();
        self.test_runs
            .values()
            .filter(|test_run| !freed.contains(test_run.uid.as_str()))
            .filter_map(|test_run| {
                let is_overdue = test_run.is_held() && rules.is_overdue(test_run, now);
                let release = rules.release(false, is_overdue);
                (is_overdue || is_left_behind(test_run)).then(|| Held::new(None, test_run, release))
            })
            .collect()
    }

    fn test_run(&self, plan: &StepPlan) -> Option<&'a TestRun> {
        self.test_runs.get(plan.record.k6_uid.as_deref()?).copied()
    }
}

/// Holds TestRuns that have just been seen for the first time, before any cycle looks at them. A failure is reported in the
/// log, and the next cycle tries again.
///
/// # Errors
/// [`RunError::Store`]
pub(crate) async fn hold_new(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    test_runs: &[TestRun],
) -> Result<(), RunError> {
    let Some(rules) = rules(settings, store).await? else {
        return Ok(());
    };
    let mut wanted = test_runs.to_vec();
    wanted.retain(|test_run| {
        // One that ended before it was seen is left as it is, unless it is about to go.
        let is_over = test_run.stage.has_ended() && !test_run.cleans_up;
        rules.wants_hold(test_run, false, is_over)
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let identity = identify(cluster, store, settings).await?;
    let settings = settings.in_cluster(identity.as_ref().map(|known| known.id.as_str()));
    let (mut steps, _) = store.active_steps(&settings.scope()).await?;
    // The next cycle reports them.
    drop(ownership::set_aside(&mut steps, identity.as_ref(), &wanted));
    let claimed = ownership::claims(store, &steps, &wanted).await?;
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

/// Takes the finalizers off; returns the steps whose TestRuns are free, and what went wrong.
async fn free(cluster: &Cluster, held: &[Held<'_>]) -> (Vec<StepId>, Vec<Failure>) {
    let outcomes = stream::iter(0..held.len()).map(|number| async move {
        let Held {
            step,
            namespace,
            name,
            uid,
            release,
        } = held[number];
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

/// Releases these TestRuns, whatever is recorded of them.
///
/// # Errors
/// [`RunError::Store`]
pub(super) async fn release_unread(
    cluster: &Cluster,
    store: &Store,
    test_runs: &[TestRun],
) -> Result<(), RunError> {
    let own = own(store).await?;
    let held: Vec<Held<'_>> = test_runs
        .iter()
        .map(|test_run| Held::new(None, test_run, Release::Own(&own)))
        .collect();
    free(cluster, &held).await;
    Ok(())
}

/// Frees the TestRuns that this database holds and whose deletion was asked for: nobody looks after them from now on.
///
/// # Errors
/// [`RunError::Store`]
pub(crate) async fn release_deleted_at_exit(
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
pub(crate) async fn release_all(
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

/// What is held in this cluster.
#[derive(Default)]
struct HeldHere {
    steps: Vec<HeldStep>,
    /// Why it can't be told of some.
    out_of_reach: Option<ClusterError>,
}

/// The steps whose TestRuns are held in this cluster. Those of which it can't be told only if their TestRuns are here: else
/// another cluster's hold would be forgotten.
async fn held_here(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<HeldHere, RunError> {
    if store.held_steps(&settings.scope()).await?.is_empty() {
        return Ok(HeldHere::default());
    }
    let identity = identify(cluster, store, settings).await?;
    let settings = settings.in_cluster(identity.as_ref().map(|known| known.id.as_str()));
    let mut held = store.held_steps(&settings.scope()).await?;
    let mut out_of_reach = None;
    let is_certain = |step: &HeldStep| step.cluster.is_some() == identity.is_some();
    if !held.iter().all(is_certain) {
        let mut reach = Reach::of(&settings.namespaces);
        let test_runs = reach.test_runs(cluster).await?.items;
        let is_hidden = |step: &HeldStep| !is_certain(step) && !reach.has(&step.namespace);
        let hides_some = held.iter().any(is_hidden);
        held.retain(|step| {
            let is_here = |run: &TestRun| match &step.k6_uid {
                Some(uid) => *uid == run.uid,
                None => step.namespace == run.namespace && step.k6_test_name == run.name,
            };
            is_certain(step) || test_runs.iter().any(is_here)
        });
        if hides_some {
            let mut reasons = reach.out_of_reach().into_iter().map(|(_, error)| error);
            out_of_reach = reasons.next();
        }
    }
    Ok(HeldHere {
        steps: held,
        out_of_reach,
    })
}

async fn release_held(
    cluster: &Cluster,
    store: &Store,
    held: HeldHere,
    only_if: impl Fn(&TestRun) -> bool,
) -> Result<usize, RunError> {
    let HeldHere {
        steps: held,
        out_of_reach: mut first_error,
    } = held;
    if held.is_empty() && first_error.is_none() {
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
    let mut freed = Vec::new();
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

/// A TestRun that has the finalizer, or may have it.
#[derive(Clone, Copy)]
struct Held<'a> {
    step: Option<&'a Step>,
    namespace: &'a str,
    name: &'a str,
    /// `None`: whichever has the name.
    uid: Option<&'a str>,
    release: Release<'a>,
}

impl<'a> Held<'a> {
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
    Failure::of_step(
        step,
        format!(
            "cannot {what} the TestRun {}/{}: {error}{advice}",
            step.namespace, step.k6_test_name
        ),
    )
}
