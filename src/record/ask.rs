//! Asking for one run.

use std::collections::HashMap;

use super::outcome::outcome;
use super::results::StepMeasured;
use super::run::{Container, Run, Step, runner_number};
use super::{Record, RunRow, RunState};
use crate::store::{Role, RunContainer, RunGap, RunId, RunStep, StepId, StoreError};

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
        Ok(Some(whole(row, steps.collect())))
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

/// The run with what its steps say of it.
fn whole(row: RunRow, steps: Vec<Step>) -> Run {
    let containers = || steps.iter().flat_map(|step| &step.containers);
    let telling = steps
        .iter()
        .find(|step| step.row.status == row.status && step.row.reason.is_some())
        .or_else(|| steps.iter().find(|step| step.row.reason.is_some()));
    Run {
        outcome: outcome(row.status, &steps),
        reason: telling.and_then(|step| step.row.reason.clone()),
        message: telling.and_then(|step| step.row.message.clone()),
        complete: row.status.is_final() && containers().all(|container| container.row.complete),
        gaps: containers().map(|container| container.row.gaps).sum(),
        row,
        steps,
    }
}

/// The containers of a step, runners in the order of their numbers.
fn containers_of(step: &RunStep, rows: Vec<RunContainer>) -> Vec<Container> {
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
