//! What a run comes to, as the exit code that a pipeline gates on. Pure.
//!
//! 0 only for a run that is known to have passed. k6's own code (97–110) where every step that did not pass says the same one, and
//! in each of those all runners that failed agree on it; 1 for every other end.

use std::collections::HashSet;

use super::run::{Container, Outcome, Run, Step};
use crate::k6;
use crate::store::{Role, RunRow, Status, StreamState};

/// It ended, and not well, in a way that no code of k6's says.
const OTHERWISE: u8 = 1;

/// The run with what its steps say of it.
pub(crate) fn whole(row: RunRow, steps: Vec<Step>) -> Run {
    let containers = || steps.iter().flat_map(|step| &step.containers);
    let telling = steps
        .iter()
        .find(|step| step.row.status == row.status && step.row.reason.is_some())
        .or_else(|| steps.iter().find(|step| step.row.reason.is_some()));
    Run {
        outcome: outcome(row.status, &steps),
        reason: telling.and_then(|step| step.row.reason.clone()),
        message: telling.and_then(|step| step.row.message.clone()),
        complete: row.status.is_final()
            && containers().all(|container| container.row.complete)
            && steps
                .iter()
                .all(|step| !had_runners(step.row.status) || has_all_runners(step)),
        gaps: containers().map(|container| container.row.gaps).sum(),
        row,
        steps,
    }
}

/// What a run of this status with these steps comes to.
fn outcome(status: Status, steps: &[Step]) -> Outcome {
    let ended = status.is_final()
        && !steps.is_empty()
        && steps.iter().all(|step| step.row.status.is_final());
    Outcome {
        ended,
        exit_code: ended.then(|| exit_code(status, steps)),
    }
}

fn exit_code(status: Status, steps: &[Step]) -> u8 {
    let bad: Vec<&Step> = steps
        .iter()
        .filter(|step| step.row.status != Status::Passed)
        .collect();
    if status == Status::Passed && bad.is_empty() && !steps.is_empty() {
        return 0;
    }
    agreed(bad.into_iter().map(k6_code)).unwrap_or(OTHERWISE)
}

/// The code of k6's that all runners of the step that failed ended with. `None` also if not all runners were seen, or if the step
/// ended in another way than the code says: it is lost, or was deleted.
fn k6_code(step: &Step) -> Option<u8> {
    if !has_all_runners(step) {
        return None;
    }
    let failed = runners(&step.containers).filter(|runner| runner.row.exit_code != Some(0));
    agreed(failed.map(|runner| {
        let known = k6::exit_code(runner.row.exit_code?)?;
        let status = match known.outcome {
            k6::Outcome::Failed => Status::Failed,
            k6::Outcome::Aborted => Status::Aborted,
            k6::Outcome::Errored => Status::Errored,
        };
        u8::try_from(known.code)
            .ok()
            .filter(|_| step.row.status == status)
    }))
}

/// Whether as many runners are on record as were asked for.
fn has_all_runners(step: &Step) -> bool {
    let seen: HashSet<&str> = step
        .containers
        .iter()
        .filter(|container| container.row.role == Role::Runner)
        .map(|container| container.row.pod_name.as_str())
        .collect();
    let wanted = step.row.parallelism.unwrap_or(1);
    i64::try_from(seen.len()).is_ok_and(|seen| seen >= wanted)
}

/// Whether its runners should be on record: it ended by them.
const fn had_runners(status: Status) -> bool {
    matches!(status, Status::Passed | Status::Failed | Status::Finished)
}

/// The last life of each runner. One that never ended has no exit code, which is a failure that nobody can name.
fn runners(containers: &[Container]) -> impl Iterator<Item = &Container> {
    let mut seen = HashSet::new();
    containers
        .iter()
        .rev()
        .filter(|container| container.row.role == Role::Runner)
        .filter(move |container| seen.insert((&container.row.pod_name, &container.row.container)))
}

/// What several runs that are over come to: 0 if all passed, the code of those that did not if they agree, else 1. One that is
/// not over has not passed.
pub(crate) fn judged<'a>(runs: impl Iterator<Item = &'a Run>) -> u8 {
    let codes: Vec<u8> = runs
        .map(|run| run.outcome.exit_code.unwrap_or(OTHERWISE))
        .collect();
    let bad: Vec<u8> = codes.iter().copied().filter(|code| *code != 0).collect();
    match (codes.is_empty(), bad.is_empty()) {
        (true, _) => OTHERWISE,
        (false, true) => 0,
        (false, false) => agreed(bad.into_iter().map(Some)).unwrap_or(OTHERWISE),
    }
}

/// What all of them say; `None`: there are none, or they don't agree.
fn agreed(mut codes: impl Iterator<Item = Option<u8>>) -> Option<u8> {
    let first = codes.next()??;
    codes.all(|code| code == Some(first)).then_some(first)
}

/// Whether the container ended badly, or is gone without a word.
pub(crate) fn has_failed(container: &Container) -> bool {
    match container.row.exit_code {
        Some(code) => code != 0,
        None => container.row.state == StreamState::Terminated,
    }
}
