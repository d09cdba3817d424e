//! Asking for one run.

use std::collections::HashMap;

use super::outcome::whole;
use super::results::{Metric, StepMeasured, metrics_of};
use super::run::{Run, Step, containers_of};
use super::{Record, RunState};
use crate::k6::summary::Summary;
use crate::store::{RunContainer, RunGap, RunId, StepId, StoreError, StreamId};

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

    /// What one runner reported; nothing, where it did not, or a thing that can't be read.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn runner_metrics(&self, id: StreamId) -> Result<Vec<Metric>, StoreError> {
        let document = self.reader.summary_document(self.schema, id).await?;
        let summary = document.and_then(|text| serde_json::from_str::<Summary>(&text).ok());
        Ok(summary.map_or_else(Vec::new, |summary| metrics_of(&summary)))
    }

    /// The gaps in the logs of a run.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn gaps(&self, id: RunId) -> Result<Vec<RunGap>, StoreError> {
        self.reader.run_gaps(id).await
    }

    /// The pods of a run whose recorded lines are not all there any more, though nobody pruned them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn missing_lines(&self, id: RunId) -> Result<Vec<String>, StoreError> {
        let missing = self.reader.missing_lines(id).await?;
        let missing = missing.into_iter().filter(|log| !log.pruned);
        Ok(missing.map(|log| log.pod_name).collect())
    }

    /// How far these runs are; those that are not there are left out.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn states(&self, ids: &[RunId]) -> Result<Vec<RunState>, StoreError> {
        self.reader.run_states(self.schema, ids).await
    }
}
