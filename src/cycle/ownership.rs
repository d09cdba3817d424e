//! Which steps are this cluster's to judge, and which TestRuns belong to which steps.

use std::collections::{HashMap, HashSet};

use super::identity::Identity;
use super::report::Failure;
use crate::cluster::{Cluster, ClusterError, Listed, Malformed, Reach, TestRun};
use crate::store::{BadStep, Step, StepId, Store, StoreError};

/// Takes out the steps that are not this cluster's to judge. Of an unknown cluster only what can be seen is judged, since
/// what can't may be in another one. A step that names a cluster that nobody knows is reported.
pub(super) fn set_aside(
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
pub(super) fn is_unclaimed(step: &Step) -> bool {
    step.record.cluster.is_none() && step.record.k6_uid.is_some()
}

/// Adds the TestRuns of steps that are not in the list yet: one that appeared after it may have been adopted by another
/// sync before the steps were read. Only a list after them says whether it is gone.
pub(super) async fn add_overtaken(
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

/// Leaves only these TestRuns and their steps.
pub(super) fn retain(uids: &HashSet<&str>, steps: &mut Vec<Step>, test_runs: &mut Listed<TestRun>) {
    test_runs
        .items
        .retain(|run| uids.contains(run.uid.as_str()));
    test_runs.malformed.clear();
    steps.retain(|step| is_of(step, &test_runs.items));
}

/// Whether it is the step of one of these TestRuns, or waits for one of its name.
fn is_of(step: &Step, test_runs: &[TestRun]) -> bool {
    test_runs.iter().any(|run| match &step.record.k6_uid {
        Some(uid) => *uid == run.uid,
        None => step.namespace == run.namespace && step.k6_test_name == run.name,
    })
}

/// Which steps, active or not, the TestRuns belong to, by uid.
pub(super) async fn claims(
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

/// TestRuns that can't be read and are no step's. The plan reports the others.
pub(super) fn unreadable(malformed: &[Malformed], steps: &[Step]) -> Vec<Failure> {
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
