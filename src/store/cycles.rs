//! Cycles, and what went wrong in them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::ids::{RunId, StepId};
use super::query::{rows, rows_as, transaction};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::{Reader, Store, StoreError, time};

/// A row of `sync_cycles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleRecord {
    /// When it began.
    #[serde(with = "time")]
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: i64,
    /// `sync-once` or `loop`.
    pub trigger: String,
    /// Host name and process id of the one who ran it.
    pub instance: String,
    /// `completed` or `failed`.
    pub outcome: String,
    /// Active steps.
    pub total: i64,
    /// Steps whose record changed.
    pub updated: i64,
    /// Steps with new log lines.
    pub logs_updated: i64,
    /// New bytes of log.
    pub log_bytes: i64,
    /// When it listed the cluster's objects, by the API server's clock, which stamps them too.
    #[serde(with = "time::optional")]
    pub looked_at: Option<Timestamp>,
    /// `clusters.id`, where that is known.
    pub cluster: Option<String>,
    /// What went wrong; written as its count, read from its rows.
    #[serde(serialize_with = "count")]
    pub errors: Vec<CycleError>,
}

fn count<S: serde::Serializer>(errors: &[CycleError], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(errors.len() as u64)
}

/// A row of `sync_errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleError {
    /// `None`: of no step, but of the cycle.
    pub(crate) step_id: Option<StepId>,
    /// The step's name.
    pub step_name: Option<String>,
    /// The TestRun's name.
    pub k6_test_name: Option<String>,
    /// What was tried, on what, what went wrong.
    pub error: String,
}

/// (cycle as JSON) → id; no row if the cycle of this instance and moment is there
const INSERT_CYCLE: Statement = Statement {
    sqlite: "
        INSERT INTO sync_cycles (started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors,
                                 logs_updated, log_bytes, looked_at, cluster)
        SELECT $1 ->> 'started_at', $1 ->> 'duration_ms', $1 ->> 'trigger', $1 ->> 'instance', $1 ->> 'outcome',
               $1 ->> 'total', $1 ->> 'updated', $1 ->> 'errors', $1 ->> 'logs_updated', $1 ->> 'log_bytes',
               $1 ->> 'looked_at', $1 ->> 'cluster'
        WHERE NOT EXISTS (SELECT 1 FROM sync_cycles
                          WHERE started_at = $1 ->> 'started_at' AND instance = $1 ->> 'instance')
        RETURNING id",
    postgres: "
        INSERT INTO sync_cycles (started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors,
                                 logs_updated, log_bytes, looked_at, cluster)
        SELECT started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors, logs_updated, log_bytes,
               looked_at, cluster
        FROM json_to_record($1::json) AS new(started_at timestamptz, duration_ms bigint, \"trigger\" text,
            instance text, outcome text, total bigint, updated bigint, errors bigint, logs_updated bigint,
            log_bytes bigint, looked_at timestamptz, cluster text)
        WHERE NOT EXISTS (SELECT 1 FROM sync_cycles
                          WHERE sync_cycles.started_at = new.started_at AND sync_cycles.instance = new.instance)
        RETURNING id",
};

/// (cycle id, errors as JSON)
const INSERT_ERRORS: Statement = Statement {
    sqlite: "
        INSERT INTO sync_errors (cycle_id, step_id, step_name, k6_test_name, error)
        SELECT $1, value ->> 'step_id', value ->> 'step_name', value ->> 'k6_test_name', value ->> 'error'
        FROM json_each($2)",
    postgres: "
        INSERT INTO sync_errors (cycle_id, step_id, step_name, k6_test_name, error)
        SELECT $1, step_id, step_name, k6_test_name, error
        FROM json_to_recordset($2::json) AS new(step_id bigint, step_name text, k6_test_name text, error text)",
};

/// (step id, text) → how many errors of the step begin so
const COUNT_ERRORS: Statement = Statement::both(
    "
    SELECT CAST(count(*) AS TEXT) FROM sync_errors WHERE step_id = $1 AND substr(error, 1, length($2)) = $2",
);

/// (how many) → [`CycleRecord`], newest first
const LAST_CYCLES: Statement = Statement {
    sqlite: "
        SELECT json_object('started_at', started_at, 'duration_ms', duration_ms, 'trigger', \"trigger\",
            'instance', instance, 'outcome', outcome, 'total', total, 'updated', updated,
            'logs_updated', logs_updated, 'log_bytes', log_bytes, 'looked_at', looked_at, 'cluster', cluster,
            'errors', (SELECT json_group_array(json_object('step_id', step_id, 'step_name', step_name,
                'k6_test_name', k6_test_name, 'error', error)) FROM sync_errors WHERE cycle_id = sync_cycles.id))
        FROM sync_cycles ORDER BY id DESC LIMIT $1",
    postgres: "
        SELECT row_to_json(cycle)::text FROM (
            SELECT started_at, duration_ms, \"trigger\", instance, outcome, total, updated, logs_updated, log_bytes,
                   looked_at, cluster,
                   (SELECT coalesce(json_agg(json_build_object('step_id', step_id, 'step_name', step_name,
                        'k6_test_name', k6_test_name, 'error', error)), '[]')
                    FROM sync_errors WHERE cycle_id = sync_cycles.id) AS errors
            FROM sync_cycles ORDER BY id DESC LIMIT $1
        ) cycle",
};

/// The newest cycle that was completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "LastCompletedRow")]
pub(crate) struct LastCompleted {
    /// When it ended; `None`: there is none.
    pub completed_at: Option<Timestamp>,
    /// How many cycles failed since then.
    pub failed_since: u64,
}

#[derive(Deserialize)]
struct LastCompletedRow {
    #[serde(with = "time::optional")]
    started_at: Option<Timestamp>,
    duration_ms: Option<i64>,
    failed_since: u64,
}

impl From<LastCompletedRow> for LastCompleted {
    fn from(row: LastCompletedRow) -> Self {
        let took = SignedDuration::from_millis(row.duration_ms.unwrap_or(0));
        let end = |start: Timestamp| start.saturating_add(took).unwrap_or(start);
        Self {
            completed_at: row.started_at.map(end),
            failed_since: row.failed_since,
        }
    }
}

/// → [`LastCompleted`]
const LAST_COMPLETED: Statement = Statement {
    sqlite: "
        WITH last AS (SELECT id, started_at, duration_ms FROM sync_cycles WHERE outcome = 'completed' ORDER BY id DESC LIMIT 1)
        SELECT json_object('started_at', (SELECT started_at FROM last), 'duration_ms', (SELECT duration_ms FROM last),
            'failed_since', (SELECT count(*) FROM sync_cycles WHERE id > coalesce((SELECT id FROM last), 0)))",
    postgres: "
        WITH last AS (SELECT id, started_at, duration_ms FROM sync_cycles WHERE outcome = 'completed' ORDER BY id DESC LIMIT 1)
        SELECT json_build_object('started_at', (SELECT started_at FROM last), 'duration_ms', (SELECT duration_ms FROM last),
            'failed_since', (SELECT count(*) FROM sync_cycles WHERE id > coalesce((SELECT id FROM last), 0)))::text",
};

/// Cycles of one part of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Reads {
    /// When the first of them looked, by the API server's clock where that is known: it stamps containers, too.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// How many were completed.
    pub completed: u64,
    /// How many failed.
    pub failed: u64,
}

/// (run id, from, to, seconds of a part) → [`Reads`] of the cycles that began then and looked at the run's clusters, by time. A
/// cycle that knows no cluster looked at whatever there was.
const READS: Statement = Statement {
    sqlite: "
        SELECT json_object('at', min(coalesce(looked_at, started_at)), 'completed', sum(outcome = 'completed'), 'failed', sum(outcome <> 'completed'))
        FROM sync_cycles WHERE started_at >= $2 AND started_at <= $3 AND (cluster IS NULL OR cluster IN (
            SELECT coalesce(u.cluster, s.cluster) FROM test_run_steps s LEFT JOIN cluster_uids u ON u.uid = s.cluster
            WHERE s.test_run_id = $1))
        GROUP BY CAST((julianday(started_at) - julianday($2)) * 86400 / $4 AS INTEGER) ORDER BY min(started_at)",
    postgres: "
        SELECT json_build_object('at', min(coalesce(looked_at, started_at)), 'completed', count(*) FILTER (WHERE outcome = 'completed'),
            'failed', count(*) FILTER (WHERE outcome <> 'completed'))::text
        FROM sync_cycles
        WHERE started_at >= $2::text::timestamptz AND started_at <= $3::text::timestamptz AND (cluster IS NULL OR cluster IN (
            SELECT coalesce(u.cluster, s.cluster) FROM test_run_steps s LEFT JOIN cluster_uids u ON u.uid = s.cluster
            WHERE s.test_run_id = $1))
        GROUP BY floor(extract(epoch FROM started_at - $2::text::timestamptz) / $4::float8) ORDER BY min(started_at)",
};

impl Reader {
    /// The cycles that may have looked at this run and began between these times, gathered in so many parts of equal length.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn reads(
        &self,
        run: RunId,
        from: Timestamp,
        to: Timestamp,
        parts: i64,
    ) -> Result<Vec<Reads>, StoreError> {
        let seconds = to.duration_since(from).as_secs_f64() / parts.max(1) as f64;
        let (from, to) = (time::to_sql(from), time::to_sql(to));
        rows_as!(
            self,
            "read when cycles were",
            sqlx::query_scalar(self.sql(READS))
                .bind(run)
                .bind(&from)
                .bind(&to)
                .bind(seconds)
        )
    }

    /// The newest cycle that was completed, and how many failed since.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn last_completed(&self) -> Result<LastCompleted, StoreError> {
        const ACTION: &str = "read when the last cycle was";
        let rows = rows!(self, "read when the last cycle was", LAST_COMPLETED)?;
        let rows: Vec<LastCompleted> =
            rows_of(rows).map_err(|error| self.failed(ACTION, &error))?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    /// How many errors on record of a step, in cycles before this one, begin with `text`.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn count_errors(
        &self,
        step_id: StepId,
        text: &str,
    ) -> Result<i64, StoreError> {
        let rows = rows!(
            self,
            "read the errors of a step",
            COUNT_ERRORS,
            step_id,
            text
        )?;
        Ok(rows
            .first()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0))
    }

    /// The last `count` cycles, newest first, each with its errors.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn last_cycles(&self, count: i64) -> Result<Vec<CycleRecord>, StoreError> {
        let rows = rows!(self, "read the last cycles", LAST_CYCLES, count)?;
        rows_of(rows).map_err(|error| self.failed("read the last cycles", &error))
    }
}

impl Store {
    /// Stores the row of a cycle and those of its errors, unless it is there.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn record_cycle(&self, cycle: &CycleRecord) -> Result<(), StoreError> {
        if self.dry_run {
            return Ok(());
        }
        let (row, errors) = (json(cycle), json(&cycle.errors));
        transaction!(self, "record the cycle", tx => {
            let id: Option<i64> = sqlx::query_scalar(self.sql(INSERT_CYCLE))
                .bind(&row)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(id) = id && !cycle.errors.is_empty() {
                sqlx::query(self.sql(INSERT_ERRORS))
                    .bind(id)
                    .bind(&errors)
                    .execute(&mut *tx)
                    .await?;
            }
        })
    }
}
