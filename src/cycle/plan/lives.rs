//! The lives of a pod's containers.

use super::super::verdict::ObservedState;
use crate::cluster::{Container, ContainerKind, ContainerState, Job, Pod, Terminated};
use crate::store::{Role, StepId, StreamFacts, StreamKey, StreamState};

/// One life of a container that a pod shows.
pub(super) struct Life {
    pub(super) facts: StreamFacts,
    pub(super) observed: ObservedState,
    /// Its log is asked for with `previous`.
    pub(super) previous: bool,
    /// It never ran and never will: its pod is over.
    pub(super) stillborn: bool,
    /// It may have been followed by another life since the pods were listed.
    pub(super) replaceable: bool,
    /// Its pod may be gone by the next cycle, and its end never be seen.
    pub(super) doomed: bool,
}

/// What there is to record of a pod: its containers' lives whose logs can be asked for.
pub(crate) fn shown(pod: &Pod) -> Vec<StreamFacts> {
    let lives = lives(pod, StepId::default()).into_iter();
    lives.map(|life| life.facts).collect()
}

/// The lives of a pod's containers whose logs can be asked for: the present one, and the one before it.
pub(super) fn lives(pod: &Pod, step_id: StepId) -> Vec<Life> {
    let mut lives = Vec::new();
    for container in &pod.containers {
        let life = |restart_count: i64, state: &ContainerState, previous: bool| {
            life(pod, container, step_id, restart_count, state, previous)
        };
        let count = container.restart_count;
        match (&container.state, &container.last) {
            // Between two lives (CrashLoopBackOff): the count and the log are still those of the life that ended.
            (ContainerState::Waiting { .. }, Some(last)) => {
                lives.push(life(
                    count,
                    &ContainerState::Terminated(last.clone()),
                    false,
                ));
            }
            (state, Some(last)) if count > 0 => {
                lives.push(life(
                    count - 1,
                    &ContainerState::Terminated(last.clone()),
                    true,
                ));
                lives.push(life(count, state, false));
            }
            (state, _) => lives.push(life(count, state, false)),
        }
    }
    lives
}

fn life(
    pod: &Pod,
    container: &Container,
    step_id: StepId,
    restart_count: i64,
    state: &ContainerState,
    previous: bool,
) -> Life {
    let mut facts = blank_facts(pod, &container.name, container.kind, step_id, restart_count);
    let mut stillborn = false;
    let observed = match state {
        ContainerState::Waiting { reason, .. } if pod.ended => {
            facts.reason = pod.reason.clone().or_else(|| reason.clone());
            stillborn = true;
            over_unreported(pod)
        }
        ContainerState::Waiting { reason, message } => {
            facts.reason.clone_from(reason);
            ObservedState::Waiting {
                reason: reason.clone(),
                message: message.clone(),
                since: pod.created_at,
            }
        }
        ContainerState::Running { started_at } => {
            facts.started_at = *started_at;
            facts.state = StreamState::Running;
            match pod.ended {
                // Its log may go on while it is being ended, and is complete when its end is reported.
                true => over_unreported(pod),
                false => ObservedState::Running,
            }
        }
        ContainerState::Terminated(terminated) => {
            let Terminated {
                exit_code,
                reason,
                message,
                started_at,
                finished_at,
            } = terminated;
            facts.state = StreamState::Terminated;
            facts.exit_code = Some(*exit_code);
            facts.started_at = *started_at;
            facts.finished_at = *finished_at;
            // Why the pod was ended says more than how the container took it.
            facts.reason = pod.reason.clone().or_else(|| reason.clone());
            ObservedState::Terminated {
                exit_code: Some(*exit_code),
                reason: facts.reason.clone(),
                message: pod.message.clone().or_else(|| message.clone()),
            }
        }
    };
    Life {
        facts,
        observed,
        previous,
        stillborn,
        replaceable: container.restartable && !pod.ended && !previous,
        doomed: pod.ended || pod.deleting,
    }
}

pub(super) fn blank_facts(
    pod: &Pod,
    container: &str,
    kind: ContainerKind,
    step_id: StepId,
    restart_count: i64,
) -> StreamFacts {
    StreamFacts {
        key: StreamKey {
            pod_uid: pod.uid.clone(),
            container: container.to_owned(),
            restart_count,
        },
        step_id,
        pod_name: pod.name.clone(),
        role: role(pod.job, kind),
        state: StreamState::Waiting,
        exit_code: None,
        reason: None,
        started_at: None,
        finished_at: None,
    }
}

/// A container of a pod that is over, of which nobody said how it ended: the node is gone, the pod was evicted, or an
/// init container failed before it could start.
pub(super) fn over_unreported(pod: &Pod) -> ObservedState {
    let failed_before = pod
        .containers
        .iter()
        .find_map(|container| match &container.state {
            ContainerState::Terminated(end) if end.exit_code != 0 => {
                Some((&container.name, end.exit_code))
            }
            _ => None,
        });
    let (reason, message) = match (&pod.reason, failed_before) {
        (None, Some((name, exit_code))) => (
            Some("InitContainerFailed".to_owned()),
            Some(format!(
                "the container {name} had ended with exit code {exit_code}"
            )),
        ),
        (reason, _) => (reason.clone(), pod.message.clone()),
    };
    ObservedState::Terminated {
        exit_code: None,
        reason,
        message,
    }
}

pub(super) fn role(job: Job, kind: ContainerKind) -> Role {
    match (kind, job) {
        (ContainerKind::Other, _) => Role::Other,
        (ContainerKind::Main, Job::Initializer) => Role::Initializer,
        (ContainerKind::Main, Job::Starter) => Role::Starter,
        (ContainerKind::Main, Job::Runner) => Role::Runner,
    }
}
