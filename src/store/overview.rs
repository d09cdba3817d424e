//! What there is in a database as a whole.

use jiff::Timestamp;
use serde::Deserialize;

use super::ids::{StepId, StreamId};
use super::query::rows;
use super::rows::rows_of;
use super::statement::Statement;
use super::{Reader, StoreError, time};

/// What there is in a database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Overview {
    /// Runs.
    pub runs: i64,
    /// Steps.
    pub steps: i64,
    /// Log streams.
    pub streams: i64,
    /// Which database it is.
    pub database_id: Option<String>,
    /// Steps with greater ids were made when there were seals.
    pub unsealed_steps: StepId,
    /// Streams with greater ids were made when there were seals.
    pub unsealed_streams: StreamId,
    /// Complete logs of runners with greater ids were read for results.
    pub underived_streams: StreamId,
    /// When a completed cycle last looked at the cluster, by the API server's clock.
    #[serde(with = "time::optional")]
    pub looked_at: Option<Timestamp>,
    /// How many of the steps that one of the last cycles saw are not there any more.
    pub lost_steps: i64,
}

/// (cluster id or null) → [`Overview`]
const OVERVIEW: Statement = Statement {
    sqlite: "
        SELECT json_object('runs', (SELECT count(*) FROM test_runs), 'steps', (SELECT count(*) FROM test_run_steps),
            'streams', (SELECT count(*) FROM log_streams),
            'database_id', (SELECT min(id) FROM database_identity),
            'unsealed_steps', (SELECT max(unsealed_steps) FROM database_identity),
            'unsealed_streams', (SELECT max(unsealed_streams) FROM database_identity),
            'underived_streams', (SELECT max(underived_streams) FROM database_identity),
            'looked_at', coalesce(
                (SELECT coalesce(looked_at, started_at) FROM sync_cycles
                 WHERE outcome = 'completed' AND ($1 IS NULL OR cluster IS NULL OR cluster = $1) ORDER BY id DESC LIMIT 1),
                (SELECT max(synced_at) FROM test_run_steps)),
            'lost_steps', (SELECT coalesce(max(total - (SELECT count(*) FROM test_run_steps WHERE synced_at >= cycles.looked_at)), 0)
                           FROM (SELECT total, coalesce(looked_at, started_at) AS looked_at FROM sync_cycles
                                 WHERE outcome = 'completed' ORDER BY id DESC LIMIT 20) cycles))",
    postgres: "
        SELECT json_build_object('runs', (SELECT count(*) FROM test_runs), 'steps', (SELECT count(*) FROM test_run_steps),
            'streams', (SELECT count(*) FROM log_streams),
            'database_id', (SELECT min(id) FROM database_identity),
            'unsealed_steps', (SELECT max(unsealed_steps) FROM database_identity),
            'unsealed_streams', (SELECT max(unsealed_streams) FROM database_identity),
            'underived_streams', (SELECT max(underived_streams) FROM database_identity),
            'looked_at', coalesce(
                (SELECT coalesce(looked_at, started_at) FROM sync_cycles
                 WHERE outcome = 'completed' AND ($1::text IS NULL OR cluster IS NULL OR cluster = $1) ORDER BY id DESC LIMIT 1),
                (SELECT max(synced_at) FROM test_run_steps)),
            'lost_steps', (SELECT coalesce(max(total - (SELECT count(*) FROM test_run_steps WHERE synced_at >= cycles.looked_at)), 0)
                           FROM (SELECT total, coalesce(looked_at, started_at) AS looked_at FROM sync_cycles
                                 WHERE outcome = 'completed' ORDER BY id DESC LIMIT 20) cycles))::text",
};

/// → what is wrong with each row whose parent is not there
const ORPHANS: Statement = Statement::both(
    "
        SELECT 'the log stream ' || id || ' (' || pod_name || '/' || container || ') is of step ' || step_id
               || ', which is not there'
        FROM log_streams WHERE NOT EXISTS (SELECT 1 FROM test_run_steps WHERE id = step_id)
        UNION ALL SELECT 'step ' || id || ' (' || k6_test_name || ') is of the run ' || test_run_id || ', which is not there'
        FROM test_run_steps WHERE NOT EXISTS (SELECT 1 FROM test_runs WHERE id = test_run_id)
        UNION ALL SELECT 'log_chunks has ' || count(*) || ' rows of stream ' || stream_id || ', which is not there'
        FROM log_chunks WHERE NOT EXISTS (SELECT 1 FROM log_streams WHERE id = stream_id) GROUP BY stream_id
        UNION ALL SELECT 'log_gaps has ' || count(*) || ' rows of stream ' || stream_id || ', which is not there'
        FROM log_gaps WHERE NOT EXISTS (SELECT 1 FROM log_streams WHERE id = stream_id) GROUP BY stream_id
        UNION ALL SELECT 'runner_summaries has a row of stream ' || stream_id || ', which is not there'
        FROM runner_summaries WHERE NOT EXISTS (SELECT 1 FROM log_streams WHERE id = stream_id)
        UNION ALL SELECT 'there are results of step ' || step_id || ', which is not there'
        FROM (SELECT step_id FROM step_metrics UNION SELECT step_id FROM step_checks UNION SELECT step_id FROM step_thresholds) results
        WHERE NOT EXISTS (SELECT 1 FROM test_run_steps WHERE id = step_id)",
);

impl Reader {
    /// What there is. `cluster`: whose cycles count, a `clusters.id`; of all, if it is not known.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn overview(&self, cluster: Option<&str>) -> Result<Overview, StoreError> {
        const ACTION: &str = "count the rows";
        let rows = rows!(self, "count the rows", OVERVIEW, cluster)?;
        let rows: Vec<Overview> = rows_of(rows).map_err(|error| self.failed(ACTION, &error))?;
        let none = || self.failed(ACTION, &sqlx::Error::RowNotFound);
        rows.into_iter().next().ok_or_else(none)
    }

    /// What is wrong with rows that belong to rows that are not there.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn orphans(&self) -> Result<Vec<String>, StoreError> {
        rows!(self, "look for rows that belong to nothing", ORPHANS)
    }
}
