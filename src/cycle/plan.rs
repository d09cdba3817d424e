//! Steps in the database × what the cluster shows → what to do. Pure: no I/O, and the time is an argument.

mod lives;
mod streams;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

pub(crate) use self::lives::shown;
use self::lives::{Life, blank_facts, lives, over_unreported, role};
use self::streams::plan_streams;
pub(crate) use self::streams::{StreamPlan, Todo, is_quiet};
use super::verdict::{self, Clue, Evidence, Observed, ObservedState, Verdict};
use crate::cluster::{ContainerKind, Malformed, Pod, Stage, TestRun};
use crate::harmless;
use crate::isolate::isolated;
use crate::store::{
    Role, Status, Step, StepId, StepRecord, StepUpdate, Stream, StreamFacts, StreamState,
};

/// API servers stamp objects with clocks of their own: a pod may look this much older than its TestRun.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// What the cluster and the database show, all of it taken before anything is decided.
#[derive(Debug)]
pub(crate) struct Sight<'a> {
    /// The TestRuns.
    pub test_runs: &'a [TestRun],
    /// Those that can't be read.
    pub(crate) bad_test_runs: &'a [Malformed],
    /// The pods of TestRuns.
    pub pods: &'a [Pod],
    /// Those that can't be read.
    pub(crate) bad_pods: &'a [Malformed],
    /// Which steps TestRuns belong to, by uid.
    pub claimed: &'a HashMap<String, StepId>,
    /// The log streams of the steps.
    pub streams: &'a [Stream],
    /// The time by the API server's clock, by which the objects are stamped too; not after the pods were listed.
    pub now: Timestamp,
    /// The cluster's id in the database, if it is known.
    pub cluster: Option<&'a str>,
    /// A step of which nobody knows in what cluster its TestRun was waits until then for the one that shows it.
    pub unclaimed_until: Timestamp,
    /// A step whose TestRun has not appeared after this is lost.
    pub missing_after: SignedDuration,
    /// Logs that have long been quiet need not be read in this cycle, since others follow.
    pub may_rest: bool,
}

/// What to do about one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPlan {
    /// The step as it is in the database.
    pub step: Step,
    /// What it is to say.
    pub record: StepRecord,
    /// The log that may explain the status better than the record's message.
    pub clue: Option<Clue>,
    /// What is wrong with the step.
    pub errors: Vec<String>,
    /// Its container lives.
    pub streams: Vec<StreamPlan>,
    /// Another cluster may show its TestRun: nothing is done about it here.
    pub awaits_cluster: bool,
}

impl StepPlan {
    /// What is to be stored of the step, if anything changed.
    pub(super) fn update(&self) -> Option<StepUpdate> {
        (self.record != self.step.record).then(|| StepUpdate {
            id: self.step.id,
            test_run_id: self.step.test_run_id,
            namespace: self.step.namespace.clone(),
            version: self.step.version,
            record: self.record.clone(),
        })
    }

    /// Its TestRun is being deleted, or was, while runners still run: they are to stop.
    pub(crate) fn is_to_stop(&self) -> bool {
        !self.record.status.is_final()
            && self.record.reason.as_deref() == Some(verdict::TEST_RUN_DELETED)
    }
}

/// Plans every step.
pub(crate) fn plan(steps: Vec<Step>, sight: &Sight<'_>) -> Vec<StepPlan> {
    let index = Index::new(&steps, sight);
    plan_each(steps, |step| plan_step(step, sight, &index))
}

/// A step whose plan panics stays as it is, and says so.
fn plan_each(steps: Vec<Step>, plan: impl Fn(&Step) -> StepPlan) -> Vec<StepPlan> {
    steps
        .into_iter()
        .map(|step| {
            isolated(|| plan(&step)).unwrap_or_else(|bug| StepPlan {
                record: step.record.clone(),
                clue: None,
                errors: vec![format!("the step was left as it is: {bug}")],
                streams: Vec::new(),
                awaits_cluster: false,
                step,
            })
        })
        .collect()
}

/// Look-ups, made once for all steps.
struct Index<'a> {
    by_uid: HashMap<&'a str, &'a TestRun>,
    by_name: HashMap<(&'a str, &'a str), &'a TestRun>,
    pods: HashMap<(&'a str, &'a str), Vec<&'a Pod>>,
    /// Which step a pod's streams belong to.
    pod_owner: HashMap<&'a str, StepId>,
    streams: HashMap<StepId, Vec<&'a Stream>>,
    /// The step that an unpinned TestRun goes to: of several that name it, the oldest.
    claimant: HashMap<(String, String), StepId>,
    /// The step that pods go to when their TestRun is gone: of several that named it, the youngest.
    heir: HashMap<(String, String), StepId>,
}

impl<'a> Index<'a> {
    fn new(steps: &[Step], sight: &Sight<'a>) -> Self {
        let mut pods: HashMap<_, Vec<&Pod>> = HashMap::new();
        for pod in sight.pods {
            let key = (pod.namespace.as_str(), pod.test_run.as_str());
            pods.entry(key).or_default().push(pod);
        }
        let mut streams: HashMap<_, Vec<&Stream>> = HashMap::new();
        let mut pod_owner = HashMap::new();
        for stream in sight.streams {
            let facts = &stream.facts;
            streams.entry(facts.step_id).or_default().push(stream);
            pod_owner.insert(facts.key.pod_uid.as_str(), facts.step_id);
        }
        let by_uid: HashMap<&str, &TestRun> = sight
            .test_runs
            .iter()
            .map(|run| (run.uid.as_str(), run))
            .collect();
        let mut claimant = HashMap::new();
        let mut heir = HashMap::new();
        for step in steps {
            let name = (step.namespace.clone(), step.k6_test_name.clone());
            match &step.record.k6_uid {
                None => {
                    claimant.entry(name).or_insert(step.id);
                }
                Some(uid) if !by_uid.contains_key(uid.as_str()) => {
                    heir.insert(name, step.id);
                }
                Some(_) => {}
            }
        }
        Self {
            by_uid,
            by_name: sight
                .test_runs
                .iter()
                .map(|run| ((run.namespace.as_str(), run.name.as_str()), run))
                .collect(),
            pods,
            pod_owner,
            streams,
            claimant,
            heir,
        }
    }

    fn named(&self, step: &Step) -> Option<&'a TestRun> {
        self.by_name
            .get(&(step.namespace.as_str(), step.k6_test_name.as_str()))
            .copied()
    }

    /// The step's own TestRun.
    fn test_run(&self, step: &Step, claimed: &HashMap<String, StepId>) -> Option<&'a TestRun> {
        if let Some(uid) = &step.record.k6_uid {
            return self.by_uid.get(uid.as_str()).copied();
        }
        let name = (step.namespace.clone(), step.k6_test_name.clone());
        self.named(step).filter(|run| {
            !claimed.contains_key(&run.uid) && self.claimant.get(&name) == Some(&step.id)
        })
    }

    /// The step's own pods: those that it is known to have, and those of its TestRun that are as young as it.
    /// An older TestRun of the same name may have left pods behind (docs/facts.md, "Names recur, uids do not").
    fn pods(&self, step: &Step, test_run: Option<&TestRun>) -> Vec<&'a Pod> {
        let named = self.named(step);
        let name = (step.namespace.clone(), step.k6_test_name.clone());
        let is_heir = self.heir.get(&name) == Some(&step.id);
        let is_own = |pod: &Pod| match self.pod_owner.get(pod.uid.as_str()) {
            Some(owner) => *owner == step.id,
            None => match (test_run, named) {
                (Some(test_run), _) => !is_older(pod, test_run),
                (None, Some(successor)) => is_heir && is_older(pod, successor),
                (None, None) => is_heir,
            },
        };
        self.pods
            .get(&(step.namespace.as_str(), step.k6_test_name.as_str()))
            .into_iter()
            .flatten()
            .copied()
            .filter(|pod| is_own(pod))
            .collect()
    }
}

/// The pod is older than the TestRun, and not only by the clocks of API servers.
fn is_older(pod: &Pod, test_run: &TestRun) -> bool {
    test_run.created_at.duration_since(pod.created_at) > CLOCK_SKEW
}

fn plan_step(step: &Step, sight: &Sight<'_>, index: &Index<'_>) -> StepPlan {
    let test_run = index.test_run(step, sight.claimed);
    if awaits_its_cluster(step, test_run, sight, index) {
        return waiting_step(step, sight.unclaimed_until);
    }
    let pods = index.pods(step, test_run);
    let known = index.streams.get(&step.id).map_or(&[][..], Vec::as_slice);
    let is_of_step =
        |bad: &&Malformed| bad.namespace == step.namespace && bad.test_run == step.k6_test_name;
    let bad_test_run = sight
        .bad_test_runs
        .iter()
        .filter(is_of_step)
        .find(|_| test_run.is_none());
    let bad_pods: Vec<&Malformed> = sight.bad_pods.iter().filter(is_of_step).collect();

    let mut errors: Vec<String> = bad_pods
        .iter()
        .map(|bad| {
            format!(
                "the pod {}/{} can't be read: {}",
                bad.namespace, bad.name, bad.problem
            )
        })
        .collect();
    let lives: Vec<Life> = pods.iter().flat_map(|pod| lives(pod, step.id)).collect();
    let is_deleting = test_run.is_none_or(|run| run.deletion_timestamp.is_some());
    let may_rest = sight.may_rest && !is_deleting;
    let streams = plan_streams(&lives, known, &bad_pods, sight.now, may_rest);
    let evidence = evidence(step, test_run, &pods, &lives, known);

    let verdict = if let Some(bad) = bad_test_run {
        errors.push(format!(
            "the TestRun {}/{} can't be read: {}",
            bad.namespace, bad.name, bad.problem
        ));
        None
    } else if let Some(test_run) = test_run {
        Some(match test_run.deletion_timestamp {
            None => verdict::verdict(&evidence, sight.now),
            Some(_) => {
                let TestRun {
                    namespace, name, ..
                } = test_run;
                verdict::being_deleted(&evidence, namespace, name, sight.now)
            }
        })
    } else if step.record.status.is_final() {
        None
    } else {
        let (verdict, error) = missing(step, &evidence, index, sight);
        errors.extend(error);
        verdict
    };
    // A pod that can't be read may be the very runner whose end is not known.
    let verdict =
        verdict.filter(|verdict| bad_pods.is_empty() || verdict.status != Status::Finished);
    let clue = verdict.as_ref().and_then(|verdict| verdict.clue.clone());
    let mut record = record(step, test_run, verdict, &streams, sight.now);
    if record.cluster.is_none() && (test_run.is_some() || !pods.is_empty()) {
        record.cluster = sight.cluster.map(str::to_owned);
    }
    StepPlan {
        record,
        step: step.clone(),
        clue,
        errors,
        streams,
        awaits_cluster: false,
    }
}

/// A step that was seen before clusters were told apart, of which neither the TestRun nor a pod is here: another cluster may
/// show them.
fn awaits_its_cluster(
    step: &Step,
    test_run: Option<&TestRun>,
    sight: &Sight<'_>,
    index: &Index<'_>,
) -> bool {
    let is_unclaimed = step.record.cluster.is_none() && step.record.k6_uid.is_some();
    let is_seen = || {
        test_run.is_some()
            || sight
                .pods
                .iter()
                .any(|pod| index.pod_owner.get(pod.uid.as_str()) == Some(&step.id))
    };
    sight.cluster.is_some() && is_unclaimed && sight.now < sight.unclaimed_until && !is_seen()
}

fn waiting_step(step: &Step, until: Timestamp) -> StepPlan {
    let error = format!(
        "there is no TestRun {}/{} with the uid that this step had, and nobody knows in which cluster that was: the step waits for the cluster that shows it until {until:.0}, and is lost then",
        step.namespace, step.k6_test_name
    );
    StepPlan {
        record: step.record.clone(),
        step: step.clone(),
        clue: None,
        errors: vec![error],
        streams: Vec::new(),
        awaits_cluster: true,
    }
}

/// A step without a TestRun: what is wrong, and whether that is its end.
fn missing(
    step: &Step,
    evidence: &Evidence,
    index: &Index<'_>,
    sight: &Sight<'_>,
) -> (Option<Verdict>, Option<String>) {
    let (namespace, name) = (&step.namespace, &step.k6_test_name);
    let not_found = format!(
        "Failed to get K6 test status - 404 not found: there is no TestRun {namespace}/{name}"
    );
    if step.record.k6_uid.is_some()
        && step.record.reason.as_deref() == Some(verdict::TEST_RUN_DELETED)
    {
        return (Some(verdict::stopped(evidence, namespace, name)), None);
    }
    if step.record.k6_uid.is_some() {
        let verdict = verdict::vanished(evidence, namespace, name);
        let error = (verdict.status == Status::Lost).then(|| match index.named(step) {
            Some(_) => format!("{not_found} with the uid that this step had; it was made anew"),
            None => format!("{not_found} any more"),
        });
        return (Some(verdict), error);
    }
    let error = match index
        .named(step)
        .and_then(|run| sight.claimed.get(&run.uid))
    {
        Some(other) => {
            format!("{not_found} for this step: the one of that name belongs to step {other}")
        }
        None => not_found,
    };
    let lost = sight.now.duration_since(step.created_at) >= sight.missing_after;
    let verdict = lost.then(|| Verdict {
        status: Status::Lost,
        reason: Some("TestRunNotFound".to_owned()),
        message: Some(format!(
            "no TestRun {namespace}/{name} has appeared within {:#}",
            sight.missing_after
        )),
        clue: None,
    });
    (verdict, Some(error))
}

/// The step's new record. A status that is final stays, whatever is seen later; its explanation may improve.
fn record(
    step: &Step,
    test_run: Option<&TestRun>,
    verdict: Option<Verdict>,
    streams: &[StreamPlan],
    now: Timestamp,
) -> StepRecord {
    let mut record = step.record.clone();
    if let Some(test_run) = test_run {
        record.k6_uid = Some(test_run.uid.clone());
        record.parallelism = test_run.parallelism.or(record.parallelism);
        record.stage = Some(harmless::line(test_run.stage.as_str()));
    }
    let was_final = record.status.is_final();
    if let Some(verdict) = verdict
        && (!was_final || record.status == verdict.status)
    {
        record.status = verdict.status;
        record.reason = verdict.reason.map(harmless::line);
        record.message = verdict.message.map(harmless::line);
    }
    let (started_at, finished_at) = span(streams);
    record.started_at = started_at.or(record.started_at);
    if record.status.is_final() {
        record.finished_at = record.finished_at.or(finished_at).or(Some(now));
        record.started_at = record.started_at.or_else(|| span_of(streams, |_| true).0);
    }
    record
}

/// From the first runner's start to the last runner's end.
fn span(streams: &[StreamPlan]) -> (Option<Timestamp>, Option<Timestamp>) {
    match streams
        .iter()
        .any(|stream| stream.facts.role == Role::Runner)
    {
        true => span_of(streams, |role| role == Role::Runner),
        false => (None, span_of(streams, |_| true).1),
    }
}

fn span_of(
    streams: &[StreamPlan],
    counts: impl Fn(Role) -> bool,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let facts = || {
        streams
            .iter()
            .map(|stream| &stream.facts)
            .filter(|facts| counts(facts.role))
    };
    (
        facts().filter_map(|facts| facts.started_at).min(),
        facts().filter_map(|facts| facts.finished_at).max(),
    )
}

/// All that speaks for a verdict: what the pods show, and of pods that are gone what the database remembers.
fn evidence(
    step: &Step,
    test_run: Option<&TestRun>,
    pods: &[&Pod],
    lives: &[Life],
    known: &[&Stream],
) -> Evidence {
    let mut newest: HashMap<(&str, &str), Observed> = HashMap::new();
    for stream in known {
        let facts = &stream.facts;
        let state = match facts.state {
            StreamState::Terminated => ObservedState::Terminated {
                exit_code: facts.exit_code,
                reason: facts.reason.clone(),
                message: None,
            },
            StreamState::Running | StreamState::Waiting => ObservedState::Vanished,
        };
        keep_newest(&mut newest, facts, state);
    }
    for life in lives {
        keep_newest(&mut newest, &life.facts, life.observed.clone());
    }
    let mut containers: Vec<Observed> = newest.into_values().collect();
    // Pods that were refused by their node are over without a word on their containers.
    let refused = pods
        .iter()
        .filter(|pod| pod.ended && pod.containers.is_empty());
    containers.extend(refused.map(|pod| Observed {
        key: blank_facts(pod, "k6", ContainerKind::Main, step.id, 0).key,
        pod_name: pod.name.clone(),
        role: role(pod.job, ContainerKind::Main),
        state: over_unreported(pod),
    }));
    containers.sort_by(|a, b| (&a.pod_name, &a.key).cmp(&(&b.pod_name, &b.key)));
    Evidence {
        present: step.record.status,
        stage: test_run.map_or(Stage::New, |run| run.stage.clone()),
        cloud_aborted: test_run.is_some_and(|run| run.cloud_aborted),
        parallelism: test_run
            .and_then(|run| run.parallelism)
            .or(step.record.parallelism),
        containers,
        unschedulable: pods
            .iter()
            .filter_map(|pod| Some((pod.name.clone(), pod.unschedulable.clone()?)))
            .collect(),
    }
}

fn keep_newest<'a>(
    newest: &mut HashMap<(&'a str, &'a str), Observed>,
    facts: &'a StreamFacts,
    state: ObservedState,
) {
    let place = (facts.key.pod_uid.as_str(), facts.key.container.as_str());
    let is_older = newest
        .get(&place)
        .is_some_and(|known| known.key.restart_count > facts.key.restart_count);
    if !is_older {
        newest.insert(
            place,
            Observed {
                key: facts.key.clone(),
                pod_name: facts.pod_name.clone(),
                role: facts.role,
                state,
            },
        );
    }
}

#[cfg(test)]
mod tests;
