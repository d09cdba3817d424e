//! One run: its steps, their containers, and what k6 measured.

use std::collections::HashMap;

use serde::Serialize;

use super::results::StepMeasured;
use super::{Outcome, Record, RunRow, RunState, outcome};
use crate::store::{RunContainer, RunGap, RunId, RunStep, StepId, StoreError};

/// A run, whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
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

/// A step with its containers and results.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    #[serde(flatten)]
    pub row: RunContainer,
    /// Of a runner: its number, from 1 on; `None`: its pod's name does not say it.
    pub runner: Option<u32>,
}

impl Record {
    /// A run with all that is known of it but its logs; `None`: there is none with this id.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let Some(row) = self.reader.run_row(self.schema, id).await? else {
            return Ok(None);
        };
        let steps = self.reader.run_steps(self.schema, id).await?;
        let containers = self.reader.run_containers(self.schema, id).await?;
        let mut results = self.reader.run_results(self.schema, id).await?;
        let mut by_step: HashMap<StepId, Vec<RunContainer>> = HashMap::new();
        for container in containers {
            by_step
                .entry(container.step_id)
                .or_default()
                .push(container);
        }
        let steps = steps.into_iter().map(|step| Step {
            containers: containers_of(&step, by_step.remove(&step.id).unwrap_or_default()),
            measured: StepMeasured::from(results.remove(&step.id).unwrap_or_default()),
            row: step,
        });
        Ok(Some(Run::new(row, steps.collect())))
    }

    /// The gaps in the logs of a run.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn gaps(&self, id: RunId) -> Result<Vec<RunGap>, StoreError> {
        self.reader.run_gaps(id).await
    }

    /// How far these runs are; those that are not there are left out.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn states(&self, ids: &[RunId]) -> Result<Vec<RunState>, StoreError> {
        self.reader.run_states(self.schema, ids).await
    }
}

impl Run {
    pub(crate) fn new(row: RunRow, steps: Vec<Step>) -> Self {
        let containers = || steps.iter().flat_map(|step| &step.containers);
        let telling = steps
            .iter()
            .find(|step| step.row.status == row.status && step.row.reason.is_some())
            .or_else(|| steps.iter().find(|step| step.row.reason.is_some()));
        Self {
            outcome: outcome(row.status, &steps),
            reason: telling.and_then(|step| step.row.reason.clone()),
            message: telling.and_then(|step| step.row.message.clone()),
            complete: row.status.is_final() && containers().all(|container| container.row.complete),
            gaps: containers().map(|container| container.row.gaps).sum(),
            row,
            steps,
        }
    }

    /// Each container with its step.
    pub(crate) fn containers(&self) -> impl Iterator<Item = (&Step, &Container)> {
        self.steps.iter().flat_map(|step| {
            step.containers
                .iter()
                .map(move |container| (step, container))
        })
    }
}

/// The containers of a step, runners in the order of their numbers.
pub(super) fn containers_of(step: &RunStep, rows: Vec<RunContainer>) -> Vec<Container> {
    rows.into_iter()
        .map(|row| Container {
            runner: match row.role {
                crate::store::Role::Runner => runner_number(&step.k6_test_name, &row.pod_name),
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
