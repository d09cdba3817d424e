//! Holding TestRuns until their logs are recorded, by a finalizer (FACT 18).
//!
//! A hold is on record (`test_run_steps.held`) before the TestRun bears the finalizer, and until it is known to be free
//! of it, so that no kill at any moment leaves one behind that nobody remembers. The cycle calls [`put`] before it reads
//! logs and [`take_off`] at its end; [`release_all`] is for when sync is switched off.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use super::plan::StepPlan;
use super::report::Failure;
use super::{Settings, failure};
use crate::cluster::{Cluster, ClusterError, Hold, TestRun};
use crate::store::model::Step;
use crate::store::{Store, StoreError};

/// Finalizers put on or taken off at a time.
const CONCURRENCY: usize = 8;

/// Whether TestRuns are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Active ones are, until their logs are recorded.
    On,
    /// None is, and those that are held are let go.
    Off,
    /// None is put on hold; what another k6sync holds stays held until its logs are recorded or its time is over.
    NotOurs,
}

/// Whether, and for how long, TestRuns are held.
#[derive(Clone, Copy, Debug)]
struct Rules {
    holding: Holding,
    /// Counted from when the deletion was asked for.
    timeout: SignedDuration,
}

impl Rules {
    fn of(settings: &Settings) -> Self {
        Self {
            holding: settings.hold,
            timeout: SignedDuration::try_from(settings.hold_timeout).unwrap_or(SignedDuration::MAX),
        }
    }

    /// Whether to put the finalizer on the TestRun of a step that `is_over` or not.
    fn wants_hold(self, test_run: &TestRun, is_over: bool) -> bool {
        self.holding == Holding::On
            && !is_over
            && !test_run.is_held()
            && test_run.deletion_timestamp.is_none()
    }

    /// Whether to take it off. `is_recorded`: the step is over and its logs are complete.
    fn frees(self, test_run: &TestRun, is_recorded: bool, now: Timestamp) -> bool {
        self.holding == Holding::Off || is_recorded || self.is_overdue(test_run, now)
    }

    /// Nobody holds a TestRun longer.
    fn is_overdue(self, test_run: &TestRun, now: Timestamp) -> bool {
        test_run
            .deletion_timestamp
            .is_some_and(|asked| now.duration_since(asked) >= self.timeout)
    }
}

/// Holds the TestRuns of steps that are not over; a failure is its step's alone.
pub(super) async fn put(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    plans: &[StepPlan],
    test_runs: &HashMap<&str, &TestRun>,
) -> Result<Vec<Failure>, StoreError> {
    let rules = Rules::of(settings);
    let wanted: Vec<(&Step, &TestRun)> = plans
        .iter()
        .filter_map(|plan| {
            let test_run = test_run(plan, test_runs)?;
            let is_over = plan.record.status.is_final();
            rules
                .wants_hold(test_run, is_over)
                .then_some((&plan.step, test_run))
        })
        .collect();
    if settings.dry_run {
        return Ok(Vec::new());
    }
    let mut step_ids: Vec<i64> = wanted.iter().map(|(step, _)| step.id).collect();
    // Those that bear it and are not on record: syncs met, or the database was restored.
    step_ids.extend(plans.iter().filter_map(|plan| {
        let is_forgotten = !plan.step.held && test_run(plan, test_runs)?.is_held();
        is_forgotten.then_some(plan.step.id)
    }));
    store.set_held(&step_ids, true).await?;
    let wanted = &wanted;
    let outcomes = stream::iter(0..wanted.len()).map(|number| async move {
        let (step, test_run) = wanted[number];
        match cluster.hold(test_run).await {
            Ok(Hold::Held) => None,
            // The end of the cycle takes note of it.
            Ok(Hold::Free) => {
                tracing::info!(
                    k6_test_name = step.k6_test_name,
                    namespace = step.namespace,
                    "too late to hold the TestRun: it is being deleted"
                );
                None
            }
            Err(error) => Some(refused(step, "hold", &error)),
        }
    });
    let failures: Vec<Option<Failure>> = outcomes.buffer_unordered(CONCURRENCY).collect().await;
    // Another sync may have found the TestRun free, and its step over, just before the finalizer came.
    store.set_held(&step_ids, true).await?;
    Ok(failures.into_iter().flatten().collect())
}

/// Frees the TestRuns whose logs are recorded, whose time is over, or that are no longer to be held; and forgets the
/// holds of those that are gone. `claimed`: which step a TestRun belongs to, by uid.
///
/// Returns what went wrong, and how many steps are held now.
pub(super) async fn take_off(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    plans: &[StepPlan],
    test_runs: &HashMap<&str, &TestRun>,
    claimed: &HashMap<String, i64>,
    now: Timestamp,
) -> Result<(Vec<Failure>, usize), StoreError> {
    if settings.dry_run {
        return Ok((Vec::new(), 0));
    }
    let rules = Rules::of(settings);
    let over: Vec<i64> = plans
        .iter()
        .filter(|plan| plan.record.status.is_final())
        .map(|plan| plan.step.id)
        .collect();
    let open = store.with_open_logs(&over).await?;
    let is_recorded =
        |plan: &StepPlan| plan.record.status.is_final() && !open.contains(&plan.step.id);

    let scope = settings.scope();
    let are_held = |test_run: &&TestRun| test_run.is_held();
    let is_of_account = settings.hold == Holding::On
        || plans.iter().any(|plan| plan.step.held)
        || test_runs.values().any(are_held);
    let held: HashSet<i64> = match is_of_account {
        true => store
            .held_steps(&scope)
            .await?
            .iter()
            .map(|step| step.id)
            .collect(),
        false => HashSet::new(),
    };
    let mut to_free: Vec<Bearer<'_>> = Vec::new();
    let mut active = HashSet::new();
    for plan in plans {
        active.insert(plan.step.id);
        let is_held = held.contains(&plan.step.id);
        match test_run(plan, test_runs) {
            Some(test_run) if is_held || test_run.is_held() => {
                if rules.frees(test_run, is_recorded(plan), now) {
                    to_free.push(Bearer::new(Some(&plan.step), test_run));
                } else {
                    warn_of_deletion(plan, test_run, rules);
                }
            }
            // It is gone, most likely; to be free it must be so for certain.
            None if is_held && plan.record.status.is_final() => to_free.push(Bearer {
                step: Some(&plan.step),
                namespace: &plan.step.namespace,
                name: &plan.step.k6_test_name,
                uid: plan.record.k6_uid.as_deref(),
            }),
            _ => {}
        }
    }
    // Of steps at their end: the database was restored, or another one's k6sync died. Of no step: its row was deleted, or
    // a k6sync with another database holds it, and has as much time.
    let left_behind = test_runs.values().filter(|test_run| {
        test_run.is_held()
            && match claimed.get(&test_run.uid) {
                Some(step_id) => !active.contains(step_id),
                None => {
                    let is_planned = plans
                        .iter()
                        .any(|plan| plan.record.k6_uid.as_deref() == Some(&test_run.uid));
                    !is_planned && rules.is_overdue(test_run, now)
                }
            }
    });
    to_free.extend(left_behind.map(|test_run| Bearer::new(None, test_run)));

    let to_free = &to_free;
    let outcomes = stream::iter(0..to_free.len()).map(|number| async move {
        let Bearer {
            step,
            namespace,
            name,
            uid,
        } = to_free[number];
        match cluster.release(namespace, name, uid).await {
            Ok(()) => {
                tracing::debug!(k6_test_name = name, namespace, "the TestRun is free");
                Ok(step.map(|step| step.id))
            }
            Err(error) => Err(step.map(|step| refused(step, "release", &error))),
        }
    });
    let outcomes: Vec<Result<Option<i64>, Option<Failure>>> =
        outcomes.buffer_unordered(CONCURRENCY).collect().await;
    let (mut free, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(step_id) => free.extend(step_id),
            Err(failure) => failures.extend(failure),
        }
    }
    store.set_held(&free, false).await?;
    let still_held = held.iter().filter(|id| !free.contains(id)).count();
    Ok((failures, still_held))
}

/// A TestRun that bears the finalizer, or may.
#[derive(Clone, Copy)]
struct Bearer<'a> {
    step: Option<&'a Step>,
    namespace: &'a str,
    name: &'a str,
    /// `None`: whichever has the name.
    uid: Option<&'a str>,
}

impl<'a> Bearer<'a> {
    fn new(step: Option<&'a Step>, test_run: &'a TestRun) -> Self {
        Self {
            step,
            namespace: &test_run.namespace,
            name: &test_run.name,
            uid: Some(&test_run.uid),
        }
    }
}

/// Frees every TestRun that the database knows to be held, since nothing is synced any more; returns how many.
/// Asks Kubernetes for nothing if there is none.
///
/// # Errors
/// The first that could not be freed; the others are.
pub async fn release_all(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<usize, super::RunError> {
    let mut freed = Vec::new();
    let mut first_error = None;
    for step in store.held_steps(&settings.scope()).await? {
        // A sync that was killed early may have put the finalizer on before it noted the uid.
        let uid = step.k6_uid.as_deref();
        match cluster
            .release(&step.namespace, &step.k6_test_name, uid)
            .await
        {
            Ok(()) => freed.push(step.id),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    store.set_held(&freed, false).await?;
    if !freed.is_empty() {
        tracing::info!(
            test_runs = freed.len(),
            "sync is off: TestRuns that were held are free"
        );
    }
    match first_error {
        Some(error) => Err(error.into()),
        None => Ok(freed.len()),
    }
}

fn test_run<'a>(plan: &StepPlan, test_runs: &HashMap<&str, &'a TestRun>) -> Option<&'a TestRun> {
    test_runs.get(plan.record.k6_uid.as_deref()?).copied()
}

/// Whoever deletes a TestRun to stop its load should know why the load goes on.
fn warn_of_deletion(plan: &StepPlan, test_run: &TestRun, rules: Rules) {
    if let Some(asked) = test_run.deletion_timestamp {
        let until = asked.checked_add(rules.timeout).unwrap_or(Timestamp::MAX);
        tracing::warn!(
            run = plan.step.test_run_id,
            step = plan.step.name,
            namespace = test_run.namespace,
            k6_test_name = test_run.name,
            until = until.to_string(),
            "a deleted TestRun is held until its logs are recorded; `k6sync release {}` lets it go now",
            test_run.name
        );
    }
}

fn refused(step: &Step, what: &str, error: &ClusterError) -> Failure {
    let advice = match error {
        ClusterError::Forbidden { .. } => {
            "; the component manifests/components/hold gives the right, or switch capture.hold off"
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
    use crate::cluster::{FINALIZER, Stage};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_408_790 + second).unwrap()
    }

    fn shop(is_held: bool, deleted: Option<i64>) -> TestRun {
        TestRun {
            namespace: "k6".to_owned(),
            name: "shop".to_owned(),
            uid: "1".to_owned(),
            created_at: at(-100),
            labels: Default::default(),
            parallelism: None,
            stage: Stage::Started,
            cloud_aborted: false,
            resource_version: "7".to_owned(),
            finalizers: is_held.then(|| FINALIZER.to_owned()).into_iter().collect(),
            deletion_timestamp: deleted.map(at),
        }
    }

    fn rules(holding: Holding) -> Rules {
        Rules {
            holding,
            timeout: SignedDuration::from_secs(60),
        }
    }

    #[test]
    fn a_test_run_is_held_while_its_step_is_not_over() {
        for (holding, is_held, deleted, is_over, wanted) in [
            (Holding::On, false, None, false, true),
            (Holding::Off, false, None, false, false),
            (Holding::NotOurs, false, None, false, false),
            (Holding::On, true, None, false, false),
            (Holding::On, false, Some(0), false, false),
            (Holding::On, false, None, true, false),
        ] {
            let test_run = shop(is_held, deleted);
            assert_eq!(
                rules(holding).wants_hold(&test_run, is_over),
                wanted,
                "{holding:?} {is_held} {deleted:?} {is_over}"
            );
        }
    }

    #[test]
    fn it_is_freed_when_recorded_or_when_its_time_is_over_or_hold_is_off() {
        for (holding, deleted, is_recorded, now, frees) in [
            (Holding::On, None, false, 1_000_000, false),
            (Holding::On, None, true, 0, true),
            (Holding::On, Some(0), false, 59, false),
            (Holding::On, Some(0), false, 60, true),
            (Holding::On, Some(0), true, 1, true),
            (Holding::NotOurs, None, false, 0, false),
            (Holding::NotOurs, Some(0), false, 60, true),
            (Holding::NotOurs, None, true, 0, true),
            (Holding::Off, None, false, 0, true),
        ] {
            assert_eq!(
                rules(holding).frees(&shop(true, deleted), is_recorded, at(now)),
                frees,
                "{holding:?} {deleted:?} {is_recorded} {now}"
            );
        }
    }
}
