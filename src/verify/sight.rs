//! What the cluster shows that should be on record: the containers' lives, and which of them may not have been seen yet.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::cluster::{Finalizer, Namespaces, Pod, TestRun};
use crate::cycle::Discovery;
use crate::cycle::adopt::unclaimed;
use crate::cycle::plan::shown;
use crate::store::{Overview, RunId, StepRow, StreamFacts, StreamKey};

/// API servers stamp objects with clocks of their own: a pod may look this much older than its TestRun.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);
/// Objects are stamped in whole seconds.
const STAMP: SignedDuration = SignedDuration::from_secs(1);

/// Where and what the sync whose record is verified looks at.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// That of steps whose row names none.
    pub default_namespace: String,
    /// Which TestRuns it adopts.
    pub discovery: Discovery,
}

/// A container life that has no stream.
pub(super) struct Unseen<'a> {
    pub(super) pod: &'a Pod,
    pub(super) facts: StreamFacts,
    /// The step that it should be of.
    pub(super) step: Option<&'a Claim>,
    /// A sync has been there since it began.
    pub(super) is_overdue: bool,
}

/// A step that a TestRun of the cluster may belong to.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) run: RunId,
    pub(super) step: String,
    k6_uid: Option<String>,
    created_at: Timestamp,
    is_final: bool,
    synced_at: Option<Timestamp>,
    /// Streams of it are gone.
    is_short: bool,
}

/// The cluster, and what of the record belongs to it.
pub(super) struct Sight {
    scope: Scope,
    pub(super) pods: Vec<Pod>,
    pub(super) test_runs: Vec<TestRun>,
    pod_uids: HashSet<String>,
    /// Only steps of this run are of interest.
    only_claimed: bool,
    claims: HashMap<(String, String), Vec<Claim>>,
    streams: HashSet<StreamKey>,
}

impl Sight {
    pub(super) fn new(
        scope: Scope,
        pods: Vec<Pod>,
        test_runs: Vec<TestRun>,
        only_claimed: bool,
    ) -> Self {
        Self {
            scope,
            pod_uids: pods.iter().map(|pod| pod.uid.clone()).collect(),
            pods,
            test_runs,
            only_claimed,
            claims: HashMap::new(),
            streams: HashSet::new(),
        }
    }

    pub(super) fn has_pod(&self, uid: &str) -> bool {
        self.pod_uids.contains(uid)
    }

    pub(super) fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.uid == uid)
    }

    /// Notes a step, if the cluster has pods of its name.
    pub(super) fn note_step(&mut self, step: &StepRow, is_short: bool) {
        let place = self.place(step);
        let is_here = |pod: &Pod| pod.namespace == place.0 && pod.test_run == place.1;
        if self.pods.iter().any(is_here) {
            self.claims.entry(place).or_default().push(Claim {
                run: step.test_run_id,
                step: step.name.clone(),
                k6_uid: step.record.k6_uid.clone(),
                created_at: step.created_at,
                is_final: step.record.status.is_final(),
                synced_at: step.synced_at,
                is_short,
            });
        }
    }

    pub(super) fn note_stream(&mut self, key: &StreamKey) {
        if self.has_pod(&key.pod_uid) {
            self.streams.insert(key.clone());
        }
    }

    fn place(&self, step: &StepRow) -> (String, String) {
        let namespace = step.namespace.as_ref();
        (
            namespace.unwrap_or(&self.scope.default_namespace).clone(),
            step.k6_test_name.clone(),
        )
    }

    /// The containers of the TestRun that a step names, for messages.
    pub(super) fn containers_of(&self, step: &StepRow) -> Vec<String> {
        let place = self.place(step);
        self.pods
            .iter()
            .filter(|pod| pod.namespace == place.0 && pod.test_run == place.1)
            .flat_map(|pod| {
                let names = pod.containers.iter();
                names.map(|container| format!("{}/{}", pod.name, container.name))
            })
            .collect()
    }

    pub(super) const fn namespaces(&self) -> &Namespaces {
        &self.scope.namespaces
    }

    /// Whether the TestRun of a step has our finalizer, and the step does not say so. (That a step says so before its
    /// TestRun has it, and for as long as it can't be put on, is as it should be.)
    pub(super) fn is_held_unsaid(&self, step: &StepRow, database_id: Option<&str>) -> bool {
        Self::bears_unsaid(&self.test_runs, step, database_id)
    }

    pub(super) fn bears_unsaid(
        test_runs: &[TestRun],
        step: &StepRow,
        database_id: Option<&str>,
    ) -> bool {
        let own = database_id.map(Finalizer::of_database);
        let is_ours = |run: &TestRun| own.as_ref().is_some_and(|own| run.has_finalizer(own));
        !step.held
            && test_runs
                .iter()
                .any(|run| Some(&run.uid) == step.record.k6_uid.as_ref() && is_ours(run))
    }

    /// The lives that the record should have and has not.
    pub(super) fn unseen(&self, overview: &Overview) -> Vec<Unseen<'_>> {
        let mut unseen = Vec::new();
        for pod in &self.pods {
            let missing: Vec<StreamFacts> = shown(pod)
                .into_iter()
                .filter(|facts| !self.streams.contains(&facts.key))
                .collect();
            if missing.is_empty() {
                continue;
            }
            let Some((step, since)) = self.wanted(pod) else {
                continue;
            };
            for facts in missing {
                let begun = [since, facts.started_at.unwrap_or(since), pod.created_at];
                let begun = begun.into_iter().max().unwrap_or(since);
                unseen.push(Unseen {
                    pod,
                    facts,
                    step,
                    is_overdue: is_overdue(begun, step, overview),
                });
            }
        }
        unseen
    }

    /// Whether a pod is to be recorded: for which step, and since when its TestRun is there.
    fn wanted(&self, pod: &Pod) -> Option<(Option<&Claim>, Timestamp)> {
        let is_its = |run: &&TestRun| {
            run.namespace == pod.namespace
                && run.name == pod.test_run
                && pod
                    .created_at
                    .saturating_add(CLOCK_SKEW)
                    .is_ok_and(|at| at >= run.created_at)
        };
        let place = (pod.namespace.clone(), pod.test_run.clone());
        let claims = self.claims.get(&place).map_or(&[][..], Vec::as_slice);
        let Some(test_run) = self.test_runs.iter().find(is_its) else {
            // Of a TestRun that is gone, or of one before the present one of that name.
            let is_older = |claim: &&Claim| {
                claim.k6_uid.as_ref().is_some_and(|uid| {
                    !self.test_runs.iter().any(|run| run.uid == *uid)
                        && pod
                            .created_at
                            .saturating_add(CLOCK_SKEW)
                            .is_ok_and(|at| at >= claim.created_at)
                })
            };
            return claims
                .iter()
                .rfind(is_older)
                .map(|claim| (Some(claim), pod.created_at));
        };
        let is_claimed = |claim: &&Claim| claim.k6_uid.as_ref() == Some(&test_run.uid);
        let awaits = |claim: &&Claim| claim.k6_uid.is_none() && !claim.is_final;
        let claim = claims
            .iter()
            .find(is_claimed)
            .or_else(|| claims.iter().find(awaits));
        let is_adopted = || {
            let test_run = std::slice::from_ref(test_run);
            !self.only_claimed
                && !unclaimed(test_run, &HashMap::new(), &[], self.scope.discovery, None).is_empty()
        };
        (claim.is_some() || is_adopted()).then_some((claim, test_run.created_at))
    }
}

/// Whether a sync has looked since `begun`, which Kubernetes gives in whole seconds. Within that second it is believed only if
/// something is known to be gone.
fn is_overdue(begun: Timestamp, step: Option<&Claim>, overview: &Overview) -> bool {
    let looked = match step {
        Some(step) if !step.is_final => step.synced_at.or(overview.looked_at),
        _ => overview.looked_at,
    };
    let Some(looked) = looked else {
        // Somebody has recorded something, and what says when is gone.
        return overview.streams > 0;
    };
    let is_certain = begun
        .saturating_add(STAMP)
        .is_ok_and(|begun| begun <= looked);
    let is_gone = step.map_or(overview.lost_steps > 0, |step| step.is_short);
    is_certain || (begun <= looked && is_gone)
}
