//! One run as it is answered: its steps, their containers, and what k6 measured. Pure.

use serde::Serialize;

use super::results::StepMeasured;
use crate::store::{Reads, Role, RunContainer, RunGap, RunRow, RunStep, StepId, StreamId};

/// A run, whole.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    #[serde(flatten)]
    pub row: RunRow,
    /// What became of it, in one word and a number for pipelines.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Of the step that says most about the run: the first that did not pass.
    pub reason: Option<String>,
    pub message: Option<String>,
    /// All logs are recorded to their end.
    pub complete: bool,
    /// Places where lines may be missing.
    pub gaps: i64,
    /// In their order.
    pub steps: Vec<Step>,
}

/// Whether a run has ended, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// Run and steps have ended.
    pub ended: bool,
    /// 0 passed, 97–110 as k6 says, 1 anything else; `None`: it has not ended.
    pub exit_code: Option<u8>,
}

/// A step with its containers and results.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    #[serde(flatten)]
    pub row: RunStep,
    /// In the order initializer, starter, runners by number, others.
    pub containers: Vec<Container>,
    #[serde(flatten)]
    pub measured: StepMeasured,
}

/// One life of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    #[serde(flatten)]
    pub row: RunContainer,
    /// Of a runner: its number, from 1 on; `None`: its pod's name does not say it.
    pub runner: Option<u32>,
}

impl Run {
    /// Each container with its step.
    pub(crate) fn containers(&self) -> impl Iterator<Item = (&Step, &Container)> {
        self.steps.iter().flat_map(|step| {
            step.containers
                .iter()
                .map(move |container| (step, container))
        })
    }
}

/// What a container that failed said at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorLines {
    pub step_id: StepId,
    pub stream_id: StreamId,
    /// The first of them is one of level error or worse; else they are the last of the log.
    pub from_an_error: bool,
    /// As they are in the log, cut where they are very long.
    pub lines: Vec<String>,
    /// So many lines of the log are behind them.
    pub more: usize,
}

/// What a report tells of a run besides the run itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// Where lines may be missing in its logs.
    pub gaps: Vec<RunGap>,
    /// The last words of containers that failed.
    pub said: Vec<ErrorLines>,
    /// When k6sync read while it ran, by time.
    pub reads: Vec<Reads>,
}

/// The containers of a step, runners in the order of their numbers.
pub(super) fn containers_of(step: &RunStep, rows: Vec<RunContainer>) -> Vec<Container> {
    rows.into_iter()
        .map(|row| Container {
            runner: match row.role {
                Role::Runner => runner_number(&step.k6_test_name, &row.pod_name),
                _ => None,
            },
            row,
        })
        .collect()
}

/// The number in `<TestRun>-<number>-<five characters>` (docs/facts.md, "Names and labels of pods").
fn runner_number(test_run: &str, pod: &str) -> Option<u32> {
    let rest = pod.strip_prefix(test_run)?.strip_prefix('-')?;
    let (number, _) = rest.split_once('-').unwrap_or((rest, ""));
    number.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runners_number_is_in_its_pods_name() {
        for (pod, expected) in [
            ("shop-buy-3-vzck6", Some(3)),
            ("shop-buy-1000-vzck6", Some(1000)),
            ("shop-buy-3", Some(3)),
            ("shop-buy-initializer-w96vf", None),
            ("shop-buy-0-w96vf", None),
            ("shop-buyer-3-w96vf", None),
            ("elsewhere", None),
            ("shop-buy-99999999999-x", None),
        ] {
            assert_eq!(runner_number("shop-buy", pod), expected, "{pod}");
        }
    }
}
