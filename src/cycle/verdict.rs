//! A TestRun's stage and its containers → status, reason, message. And a run's steps → the run's status. Pure.
//!
//! The stage alone never says whether a test passed: `finished` only means that all runner Jobs ended (docs/facts.md,
//! "finished does not mean passed"), and a pod that can't start leaves the stage where it is for ever (docs/facts.md,
//! "A stuck pod leaves the stage as it is"). The truth is in the containers.

use jiff::{SignedDuration, Timestamp};

use crate::cluster::Stage;
use crate::k6;
use crate::store::{Role, RunRecord, Status, StepSummary, StreamKey};

/// A container that is being created for longer than this has a reason that only the pod's events tell.
const CREATING_TOO_LONG: SignedDuration = SignedDuration::from_mins(2);

/// What is known of a TestRun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The step's status until now.
    pub present: Status,
    /// k6-operator's word.
    pub stage: Stage,
    /// Condition `CloudTestRunAborted`.
    pub cloud_aborted: bool,
    /// Runners asked for; `None`: one.
    pub parallelism: Option<i64>,
    /// The newest life of each container of its pods, those of vanished pods too.
    pub containers: Vec<Observed>,
    /// Pods that no node takes: name and the scheduler's words.
    pub unschedulable: Vec<(String, String)>,
}

/// A container as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Which life.
    pub key: StreamKey,
    /// Its pod.
    pub pod_name: String,
    /// Its part; `Other` never decides a verdict.
    pub role: Role,
    /// Its state.
    pub state: ObservedState,
}

/// The state of an observed container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ObservedState {
    /// Not started.
    Waiting {
        /// Such as `ImagePullBackOff`.
        reason: Option<String>,
        /// The kubelet's words.
        message: Option<String>,
        /// Since when its pod exists.
        since: Timestamp,
    },
    /// Running.
    Running,
    /// Ended.
    Terminated {
        /// `None`: its pod is over, but how the container ended was not reported.
        exit_code: Option<i64>,
        /// The pod's reason (`Evicted`), else the container's (`OOMKilled`).
        reason: Option<String>,
        /// Words that go with it.
        message: Option<String>,
    },
    /// Its pod vanished before its end was seen.
    Vanished,
}

/// What to say of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The step's status.
    pub status: Status,
    /// A CamelCase word; `None` while all is well.
    pub reason: Option<String>,
    /// A sentence; `None` while all is well.
    pub message: Option<String>,
    /// Where to look for a better explanation.
    pub clue: Option<Clue>,
}

/// A log that may say better what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clue {
    /// Of the container that is to blame: its last error.
    LastError(StreamKey),
    /// Of an initializer that succeeded: what the script requires, and so whether there were to be too many runners.
    Requirements(StreamKey),
}

/// Something that is wrong with a container.
struct Trouble {
    status: Status,
    reason: String,
    message: String,
    culprit: Option<StreamKey>,
}

/// The kubelet's ordinary words while a container starts.
const ORDINARY_WAITING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// The kubelet's ordinary words for an end that the exit code explains better.
const ORDINARY_ENDS: [&str; 2] = ["Error", "Completed"];

/// Judges a TestRun that exists, at the time `now`.
pub(crate) fn verdict(evidence: &Evidence, now: Timestamp) -> Verdict {
    match &evidence.stage {
        Stage::New | Stage::Initialization | Stage::Initialized | Stage::Created => {
            under_way(Status::Initializing, evidence, now)
        }
        Stage::Started => under_way(Status::Running, evidence, now),
        Stage::Stopped => under_way(Status::Finishing, evidence, now),
        Stage::Finished => finished(evidence),
        Stage::Error => refused(evidence, now),
        Stage::Unknown(word) => Verdict {
            status: match evidence.present {
                Status::Pending => Status::Initializing,
                present => present,
            },
            reason: Some("UnknownStage".to_owned()),
            message: Some(format!(
                "k6-operator reports the stage `{word}`, which this k6sync does not know; upgrade k6sync"
            )),
            clue: None,
        },
    }
}

/// The reason of a step whose TestRun was deleted while its runners still ran; until they are gone, too.
pub(crate) const TEST_RUN_DELETED: &str = "TestRunDeleted";

/// Judges a TestRun that is being deleted: whoever deletes it while its runners run stops them.
pub(crate) fn being_deleted(
    evidence: &Evidence,
    namespace: &str,
    name: &str,
    now: Timestamp,
) -> Verdict {
    if evidence.stage.has_ended() {
        return verdict(evidence, now);
    }
    match have_all_ended(evidence) {
        // k6-operator may look at it no more.
        true => finished(evidence),
        false => deleted(Status::Finishing, namespace, name),
    }
}

/// Judges a TestRun that is gone, and was seen being deleted while its runners still ran: they run on until somebody has
/// told them, or is done with them.
pub(crate) fn stopped(evidence: &Evidence, namespace: &str, name: &str) -> Verdict {
    let runs_on = evidence.containers.iter().any(|container| {
        matches!(container.role, Role::Initializer | Role::Runner)
            && matches!(
                container.state,
                ObservedState::Running | ObservedState::Waiting { .. }
            )
    });
    let status = match runs_on {
        true => Status::Finishing,
        false => Status::Aborted,
    };
    deleted(status, namespace, name)
}

fn deleted(status: Status, namespace: &str, name: &str) -> Verdict {
    Verdict {
        status,
        reason: Some(TEST_RUN_DELETED.to_owned()),
        message: Some(format!(
            "the TestRun {namespace}/{name} was deleted while its runners still ran"
        )),
        clue: None,
    }
}

/// Judges a TestRun that has vanished. If all its runners had been seen to end, that was its end, whoever deleted it
/// (docs/facts.md, "cleanup: post deletes at once"); else it is lost.
pub(crate) fn vanished(evidence: &Evidence, namespace: &str, name: &str) -> Verdict {
    if have_all_ended(evidence) {
        return finished(evidence);
    }
    let initializer_failed = evidence
        .containers
        .iter()
        .filter(|container| container.role == Role::Initializer)
        .find_map(trouble_of_end);
    if let Some(trouble) = initializer_failed {
        return trouble.into_verdict(Status::Errored);
    }
    Verdict {
        status: Status::Lost,
        reason: Some("TestRunVanished".to_owned()),
        message: Some(format!(
            "the TestRun {namespace}/{name} was deleted before its end was seen"
        )),
        clue: None,
    }
}

fn under_way(status: Status, evidence: &Evidence, now: Timestamp) -> Verdict {
    match worst(troubles(evidence, now)) {
        Some(trouble) => trouble.into_verdict(status),
        None => Verdict::plain(status),
    }
}

fn finished(evidence: &Evidence) -> Verdict {
    if evidence.cloud_aborted {
        return cloud_aborted();
    }
    let runners = runners(evidence);
    if runners.iter().any(|runner| {
        matches!(
            runner.state,
            ObservedState::Running | ObservedState::Waiting { .. }
        )
    }) {
        // The kubelet's report of the end is on its way.
        return Verdict::plain(Status::Finishing);
    }
    let trouble = worst(runners.iter().filter_map(|runner| trouble_of_end(runner)));
    if let Some(trouble) = trouble {
        let status = trouble.status;
        return trouble.into_verdict(status);
    }
    let passed = runners
        .iter()
        .filter(|runner| {
            matches!(
                runner.state,
                ObservedState::Terminated {
                    exit_code: Some(0),
                    ..
                }
            )
        })
        .count();
    let expected = expected_runners(evidence);
    if passed >= expected && passed == runners.len() {
        return Verdict::plain(Status::Passed);
    }
    Verdict {
        status: Status::Finished,
        reason: Some("RunnersUnseen".to_owned()),
        message: Some(format!(
            "the test ended, but how is known of {passed} of its {expected} runners only: the other pods were gone before k6sync saw their end"
        )),
        clue: None,
    }
}

/// Stage `error`: invalid arguments, or the initializer failed.
fn refused(evidence: &Evidence, now: Timestamp) -> Verdict {
    if evidence.cloud_aborted {
        return cloud_aborted();
    }
    let initializer = evidence
        .containers
        .iter()
        .filter(|container| container.role == Role::Initializer)
        .find_map(trouble_of_end);
    match initializer.or_else(|| worst(troubles(evidence, now))) {
        Some(trouble) => trouble.into_verdict(Status::Errored),
        None => invalid(evidence),
    }
}

/// Nothing that can be seen went wrong: only k6-operator's own log says why it refused, or what the script requires
/// (docs/facts.md, "Too many runners show only in maxVUs").
fn invalid(evidence: &Evidence) -> Verdict {
    let initialized = evidence.containers.iter().find(|container| {
        let has_passed = matches!(
            container.state,
            ObservedState::Terminated {
                exit_code: Some(0),
                ..
            }
        );
        container.role == Role::Initializer && has_passed
    });
    let message = match initialized {
        Some(_) => format!(
            "k6-operator did not start the TestRun although its initializer succeeded, such as when spec.parallelism ({}) is above the script's maxVUs; see k6-operator's own log",
            evidence.parallelism.unwrap_or(1)
        ),
        None => "k6-operator could not run the TestRun: its spec (such as spec.arguments) is invalid; see k6-operator's own log".to_owned(),
    };
    Verdict {
        status: Status::Errored,
        reason: Some("InvalidTestRun".to_owned()),
        message: Some(message),
        // With runners there were not too many of them.
        clue: initialized
            .filter(|_| runners(evidence).is_empty())
            .map(|initializer| Clue::Requirements(initializer.key.clone())),
    }
}

/// Why k6-operator refuses a TestRun with more runners than its script has VUs, as reason and message; `None`: it
/// does not.
pub(crate) fn too_many_runners(parallelism: Option<i64>, max_vus: u64) -> Option<(String, String)> {
    let parallelism = parallelism.unwrap_or(1);
    let is_too_many = u64::try_from(parallelism).is_ok_and(|runners| runners > max_vus);
    is_too_many.then(|| {
        (
            "TooManyRunners".to_owned(),
            format!(
                "spec.parallelism is {parallelism}, but the script's maxVUs is {max_vus}, and each runner needs a VU: lower spec.parallelism, or give the script more VUs"
            ),
        )
    })
}

fn cloud_aborted() -> Verdict {
    Verdict {
        status: Status::Aborted,
        reason: Some("CloudTestRunAborted".to_owned()),
        message: Some("the cloud test run was aborted".to_owned()),
        clue: None,
    }
}

fn runners(evidence: &Evidence) -> Vec<&Observed> {
    evidence
        .containers
        .iter()
        .filter(|container| container.role == Role::Runner)
        .collect()
}

/// As many runners as were asked for have ended, and none runs.
fn have_all_ended(evidence: &Evidence) -> bool {
    let runners = runners(evidence);
    let ended = runners
        .iter()
        .filter(|runner| matches!(runner.state, ObservedState::Terminated { .. }))
        .count();
    ended > 0 && ended == runners.len() && ended >= expected_runners(evidence)
}

fn expected_runners(evidence: &Evidence) -> usize {
    usize::try_from(evidence.parallelism.unwrap_or(1).max(1)).unwrap_or(usize::MAX)
}

fn troubles(evidence: &Evidence, now: Timestamp) -> impl Iterator<Item = Trouble> {
    let unschedulable = evidence.unschedulable.iter().map(|(pod, message)| Trouble {
        status: Status::Errored,
        reason: "Unschedulable".to_owned(),
        message: format!("no node takes the pod {pod}: {message}"),
        culprit: None,
    });
    let containers = evidence.containers.iter().filter_map(move |container| {
        trouble_of_end(container).or_else(|| trouble_of_waiting(container, now))
    });
    containers.chain(unschedulable)
}

/// The gravest; of equals the first.
fn worst(troubles: impl IntoIterator<Item = Trouble>) -> Option<Trouble> {
    troubles
        .into_iter()
        .min_by_key(|trouble| gravity(trouble.status))
}

/// A container that ended with something else than success. Side containers never count: k6's exit code decides.
fn trouble_of_end(container: &Observed) -> Option<Trouble> {
    let ObservedState::Terminated {
        exit_code,
        reason,
        message,
    } = &container.state
    else {
        return None;
    };
    if container.role == Role::Other || *exit_code == Some(0) {
        return None;
    }
    let Observed { pod_name, key, .. } = container;
    let telling = reason
        .as_deref()
        .filter(|reason| !reason.is_empty() && !ORDINARY_ENDS.contains(reason));
    let words = |plain: String| match message.as_deref().map(str::trim) {
        Some(message) if !message.is_empty() => format!("{plain}: {message}"),
        _ => plain,
    };
    let known = exit_code.and_then(k6::exit_code);
    let (status, reason, message, blames_log) = match (telling, known, *exit_code) {
        (Some("OOMKilled"), ..) => (
            Status::Errored,
            "OOMKilled".to_owned(),
            format!(
                "the container {}/{} used more memory than its limit and was killed",
                pod_name, key.container
            ),
            false,
        ),
        (Some(reason), ..) => (
            Status::Errored,
            reason.to_owned(),
            words(format!(
                "the container {}/{} ended with {reason}",
                pod_name, key.container
            )),
            false,
        ),
        (None, Some(known), _) => (
            status_of(known.outcome),
            known.name.to_owned(),
            format!(
                "{} (k6 exit code {} in {pod_name})",
                known.sentence, known.code
            ),
            true,
        ),
        (None, None, Some(code)) => (
            Status::Errored,
            "NonZeroExitCode".to_owned(),
            words(format!(
                "the container {}/{} ended with exit code {code}",
                pod_name, key.container
            )),
            true,
        ),
        // Its pod is over and nothing says how: `finished` counts it as unseen.
        (None, None, None) => return None,
    };
    Some(Trouble {
        status,
        reason,
        message,
        culprit: blames_log.then(|| key.clone()),
    })
}

const fn status_of(outcome: k6::Outcome) -> Status {
    match outcome {
        k6::Outcome::Failed => Status::Failed,
        k6::Outcome::Aborted => Status::Aborted,
        k6::Outcome::Errored => Status::Errored,
    }
}

fn trouble_of_waiting(container: &Observed, now: Timestamp) -> Option<Trouble> {
    let ObservedState::Waiting {
        reason,
        message,
        since,
    } = &container.state
    else {
        return None;
    };
    let Observed { pod_name, key, .. } = container;
    let reason = reason.as_deref().unwrap_or("ContainerCreating");
    let message = if !ORDINARY_WAITING.contains(&reason) {
        let words = message.as_deref().unwrap_or("the kubelet says no more");
        format!(
            "the container {}/{} can't start: {words}",
            pod_name, key.container
        )
    } else if reason == "ContainerCreating" && now.duration_since(*since) > CREATING_TOO_LONG {
        format!(
            "the container {}/{} has not started for more than {} minutes, as when a volume's ConfigMap or claim is missing; see `kubectl describe pod {pod_name}`",
            pod_name,
            key.container,
            CREATING_TOO_LONG.as_mins()
        )
    } else {
        return None;
    };
    Some(Trouble {
        status: Status::Errored,
        reason: reason.to_owned(),
        message,
        culprit: None,
    })
}

impl Trouble {
    fn into_verdict(self, status: Status) -> Verdict {
        Verdict {
            status,
            reason: Some(self.reason),
            message: Some(self.message),
            clue: self.culprit.map(Clue::LastError),
        }
    }
}

impl Verdict {
    /// Nothing to explain.
    fn plain(status: Status) -> Self {
        Self {
            status,
            reason: None,
            message: None,
            clue: None,
        }
    }
}

/// The order from worst to best, of ends only.
fn gravity(status: Status) -> usize {
    const WORST_FIRST: [Status; 6] = [
        Status::Errored,
        Status::Lost,
        Status::Aborted,
        Status::Failed,
        Status::Finished,
        Status::Passed,
    ];
    WORST_FIRST
        .iter()
        .position(|known| *known == status)
        .unwrap_or(WORST_FIRST.len())
}

/// A run as its steps say: pending before any has begun, running until all have ended, then the worst of them, so that
/// it is `passed` only if all passed. `None`: no steps, nothing to say.
pub(crate) fn roll_up(steps: &[StepSummary]) -> Option<RunRecord> {
    let first = steps.first()?;
    let all_final = steps.iter().all(|step| step.status.is_final());
    let status = if all_final {
        steps
            .iter()
            .map(|step| step.status)
            .min_by_key(|status| gravity(*status))?
    } else if steps.iter().all(|step| step.status == Status::Pending) {
        Status::Pending
    } else {
        Status::Running
    };
    Some(RunRecord {
        id: first.test_run_id,
        status,
        started_at: steps.iter().filter_map(|step| step.started_at).min(),
        finished_at: match all_final {
            true => steps.iter().filter_map(|step| step.finished_at).max(),
            false => None,
        },
    })
}

#[cfg(test)]
mod tests;
