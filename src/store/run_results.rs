//! What k6 measured in a run, over all runners of each step.

use std::collections::HashMap;

use super::ids::{RunId, StepId, StreamId};
use super::migrate::Schema;
use super::query::{fetch_all, rows};
use super::results::{CheckColumns, MetricColumns, ThresholdColumns, add_threshold, count};
use super::statement::Statement;
use super::{Reader, StoreError};
use crate::k6::combine::{CheckRow, MetricRow, StepResults};

/// (run id) → step id, metric, kind, unit, stat, runners, low, high
const METRICS: Statement = Statement::both(
    "
    SELECT s.id, metric, kind, unit, stat, runners, low, high
    FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id WHERE s.test_run_id = $1",
);

/// (run id) → step id, path, name, passes, fails
const CHECKS: Statement = Statement::both(
    "
    SELECT s.id, c.path, c.name, c.passes, c.fails
    FROM test_run_steps s JOIN step_checks c ON c.step_id = s.id WHERE s.test_run_id = $1",
);

/// (run id) → step id, metric, expression, runners, failed, observed_low, observed_high, kind, unit
const THRESHOLDS: Statement = Statement::both(
    "
    SELECT s.id, metric, expression, runners, failed, observed_low, observed_high, kind, unit
    FROM test_run_steps s JOIN step_thresholds t ON t.step_id = s.id WHERE s.test_run_id = $1",
);

/// (run id) → step id, runners_reported
const REPORTED: Statement = Statement::both(
    "SELECT id, runners_reported FROM test_run_steps WHERE test_run_id = $1 ORDER BY position, id",
);

/// (stream id) → the normal form of what the runner reported
const DOCUMENT: Statement = Statement::both(
    "SELECT CAST(document AS TEXT) FROM runner_summaries WHERE stream_id = $1 AND document IS NOT NULL",
);

impl Reader {
    /// What a runner reported, as JSON; `None`: nothing that could be read.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn summary_document(
        &self,
        schema: Schema,
        stream: StreamId,
    ) -> Result<Option<String>, StoreError> {
        if !schema.has_results() {
            return Ok(None);
        }
        let rows = rows!(self, "read what a runner reported", DOCUMENT, stream)?;
        Ok(rows.into_iter().next())
    }

    /// What k6 measured in the steps of a run; nothing in a schema that has no results.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn run_results(
        &self,
        schema: Schema,
        run: RunId,
    ) -> Result<HashMap<StepId, StepResults>, StoreError> {
        if !schema.has_results() {
            return Ok(HashMap::new());
        }
        macro_rules! of_run {
            ($statement:expr) => {
                fetch_all!(
                    self,
                    "read the results of the run",
                    sqlx::query_as(self.sql($statement)).bind(run)
                )?
            };
        }
        let reported: Vec<(StepId, i64)> = of_run!(REPORTED);
        let mut steps: HashMap<StepId, StepResults> = HashMap::new();
        for (id, reported) in reported {
            steps.entry(id).or_default().runners_reported = count(reported);
        }
        let metrics: Vec<MetricOfStep> = of_run!(METRICS);
        for (id, metric, kind, unit, stat, runners, low, high) in metrics {
            let columns: MetricColumns = (metric, kind, unit, stat, runners, low, high);
            let row = MetricRow::from(columns);
            steps.entry(id).or_default().metrics.push(row);
        }
        let checks: Vec<CheckOfStep> = of_run!(CHECKS);
        for (id, path, name, passes, fails) in checks {
            let columns: CheckColumns = (path, name, passes, fails);
            let row = CheckRow::from(columns);
            steps.entry(id).or_default().checks.push(row);
        }
        let thresholds: Vec<ThresholdOfStep> = of_run!(THRESHOLDS);
        for (id, metric, expression, runners, failed, low, high, kind, unit) in thresholds {
            let columns: ThresholdColumns =
                (metric, expression, runners, failed, low, high, kind, unit);
            add_threshold(steps.entry(id).or_default(), columns);
        }
        for results in steps.values_mut() {
            results.sort();
        }
        Ok(steps)
    }
}

/// The columns that [`METRICS`] yields.
type MetricOfStep = (StepId, String, String, String, String, i64, f64, f64);

/// The columns that [`CHECKS`] yields.
type CheckOfStep = (StepId, Option<String>, String, Option<i64>, i64);

/// The columns that [`THRESHOLDS`] yields.
type ThresholdOfStep = (
    StepId,
    String,
    Option<String>,
    i64,
    i64,
    Option<f64>,
    Option<f64>,
    Option<String>,
    String,
);
