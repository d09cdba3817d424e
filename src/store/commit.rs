//! Storing what a cycle says of steps, and what follows for their runs.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{RunId, StepId};
use super::proof::Digest;
use super::query::transaction;
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::step_rows::{STEPS_BEFORE, StepRow};
use super::steps::StepUpdate;
use super::words::Status;
use super::{Store, StoreError, time};

/// What the roll-up needs to know of a step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct StepSummary {
    /// Its run.
    pub test_run_id: RunId,
    pub status: Status,
    /// `started_at`; one that can't be read counts for nothing.
    #[serde(deserialize_with = "time::lenient")]
    pub started_at: Option<Timestamp>,
    /// `finished_at`.
    #[serde(deserialize_with = "time::lenient")]
    pub finished_at: Option<Timestamp>,
}

/// A run's status as its steps say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RunRecord {
    pub id: RunId,
    pub status: Status,
    /// The earliest start of its steps.
    #[serde(with = "time::optional")]
    pub started_at: Option<Timestamp>,
    /// The latest end of its steps, once all have ended.
    #[serde(with = "time::optional")]
    pub finished_at: Option<Timestamp>,
}

/// (run ids as JSON): waits until this transaction alone may change these runs' steps
const LOCK_RUNS: Statement = Statement {
    // BEGIN IMMEDIATE is the lock.
    sqlite: "SELECT id FROM test_runs WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "
        SELECT id FROM test_runs WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
        ORDER BY id FOR UPDATE",
};

/// (updates with their seals as JSON) → `{"id", "test_run_id"}` of those that were still at their version
const UPDATE_STEPS: Statement = Statement {
    sqlite: "
        UPDATE test_run_steps
        SET cluster = new.value ->> 'cluster', k6_uid = new.value ->> 'k6_uid', parallelism = new.value ->> 'parallelism', stage = new.value ->> 'stage',
            status = new.value ->> 'status', reason = new.value ->> 'reason', message = new.value ->> 'message',
            started_at = new.value ->> 'started_at', finished_at = new.value ->> 'finished_at', version = version + 1,
            seal = new.value ->> 'seal',
            namespace = iif(new.value ->> 'k6_uid' IS NULL, namespace,
                            coalesce(nullif(namespace, ''), new.value ->> 'namespace'))
        FROM json_each($1) AS new
        WHERE test_run_steps.id = new.value ->> 'id' AND version = new.value ->> 'version'
          AND NOT EXISTS (SELECT 1 FROM test_run_steps other
                          WHERE other.k6_uid = new.value ->> 'k6_uid' AND other.id <> new.value ->> 'id')
        RETURNING json_object('id', test_run_steps.id, 'test_run_id', test_run_id)",
    postgres: "
        UPDATE test_run_steps
        SET cluster = new.cluster, k6_uid = new.k6_uid, parallelism = new.parallelism, stage = new.stage, status = new.status,
            reason = new.reason, message = new.message, started_at = new.started_at, finished_at = new.finished_at,
            version = test_run_steps.version + 1, seal = new.seal,
            namespace = CASE WHEN new.k6_uid IS NULL THEN test_run_steps.namespace
                             ELSE coalesce(nullif(test_run_steps.namespace, ''), new.namespace) END
        FROM json_to_recordset($1::json) AS new(id bigint, version bigint, namespace text, cluster text,
            k6_uid text, parallelism bigint, stage text,
            status text, reason text, message text, started_at timestamptz, finished_at timestamptz,
            seal text)
        WHERE test_run_steps.id = new.id AND test_run_steps.version = new.version
          AND NOT EXISTS (SELECT 1 FROM test_run_steps other WHERE other.k6_uid = new.k6_uid AND other.id <> new.id)
        RETURNING json_build_object('id', test_run_steps.id, 'test_run_id', test_run_id)::text",
};

/// (step ids as JSON, synced_at)
const TOUCH_STEPS: Statement = Statement {
    sqlite: "
        UPDATE test_run_steps SET synced_at = $2 WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "
        UPDATE test_run_steps SET synced_at = $2::timestamptz
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

/// (run ids as JSON) → `{"test_run_id", "status", "started_at", "finished_at"}` a step
const STEPS_OF_RUNS: Statement = Statement {
    sqlite: "
        SELECT json_object('test_run_id', test_run_id, 'status', status, 'started_at', started_at,
            'finished_at', finished_at)
        FROM test_run_steps WHERE test_run_id IN (SELECT value FROM json_each($1))",
    postgres: "
        SELECT json_build_object('test_run_id', test_run_id, 'status', status, 'started_at', started_at,
            'finished_at', finished_at)::text
        FROM test_run_steps WHERE test_run_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

/// (runs as JSON, updated_at): changes those that differ
const UPDATE_RUNS: Statement = Statement {
    sqlite: "
        UPDATE test_runs
        SET status = new.value ->> 'status', started_at = new.value ->> 'started_at',
            finished_at = new.value ->> 'finished_at', updated_at = $2
        FROM json_each($1) AS new
        WHERE test_runs.id = new.value ->> 'id'
          AND (status IS NOT new.value ->> 'status' OR started_at IS NOT new.value ->> 'started_at'
               OR finished_at IS NOT new.value ->> 'finished_at')",
    postgres: "
        UPDATE test_runs
        SET status = new.status, started_at = new.started_at, finished_at = new.finished_at,
            updated_at = $2::timestamptz
        FROM json_to_recordset($1::json) AS new(id bigint, status text, started_at timestamptz, finished_at timestamptz)
        WHERE test_runs.id = new.id
          AND (test_runs.status, test_runs.started_at, test_runs.finished_at)
              IS DISTINCT FROM (new.status, new.started_at, new.finished_at)",
};

impl Store {
    /// Sets right what another sync said of steps, without a new status: nothing follows for their runs. Returns the ids of those
    /// that had not moved on.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn correct_steps(
        &self,
        updates: &[StepUpdate],
    ) -> Result<Vec<StepId>, StoreError> {
        if updates.is_empty() || self.dry_run {
            return Ok(Vec::new());
        }
        let ids: Vec<StepId> = updates.iter().map(|update| update.id).collect();
        let ids = json(&ids);
        transaction!(self, "set right what steps say", tx => {
            let before: Vec<String> = sqlx::query_scalar(self.sql(STEPS_BEFORE)).bind(&ids).fetch_all(&mut *tx).await?;
            let rows = sealed_updates(updates, &before);
            let updated: Vec<Updated> = rows_of(
                sqlx::query_scalar(self.sql(UPDATE_STEPS)).bind(json(&rows)).fetch_all(&mut *tx).await?,
            )?;
            updated.into_iter().map(|step| step.id).collect()
        })
    }

    /// Stores what a cycle says of the steps, and what follows for their runs, in one transaction.
    ///
    /// `looked_at` are the (step, run) ids of all steps that the cycle saw; `roll_up` derives a run from its steps.
    /// Returns the ids of the steps that were updated: others had moved on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn commit_steps(
        &self,
        updates: &[StepUpdate],
        looked_at: &[(StepId, RunId)],
        now: Timestamp,
        roll_up: impl Fn(&[StepSummary]) -> Option<RunRecord>,
    ) -> Result<Vec<StepId>, StoreError> {
        if looked_at.is_empty() {
            return Ok(Vec::new());
        }
        if self.dry_run {
            return Ok(updates.iter().map(|update| update.id).collect());
        }
        let now = time::to_sql(now);
        let step_ids: Vec<StepId> = looked_at.iter().map(|(step, _)| *step).collect();
        let mut run_ids: Vec<RunId> = looked_at.iter().map(|(_, run)| *run).collect();
        run_ids.sort_unstable();
        run_ids.dedup();
        let (step_ids, run_ids) = (json(&step_ids), json(&run_ids));
        let changing: Vec<StepId> = updates.iter().map(|update| update.id).collect();
        let changing = json(&changing);
        transaction!(self, "store the status of steps", tx => {
            sqlx::query(self.sql(LOCK_RUNS)).bind(&run_ids).fetch_all(&mut *tx).await?;
            let updated: Vec<Updated> = match updates.is_empty() {
                true => Vec::new(),
                false => {
                    let before: Vec<String> = sqlx::query_scalar(self.sql(STEPS_BEFORE))
                        .bind(&changing)
                        .fetch_all(&mut *tx)
                        .await?;
                    let rows = sealed_updates(updates, &before);
                    rows_of(
                        sqlx::query_scalar(self.sql(UPDATE_STEPS))
                            .bind(json(&rows))
                            .fetch_all(&mut *tx)
                            .await?,
                    )?
                }
            };
            sqlx::query(self.sql(TOUCH_STEPS)).bind(&step_ids).bind(&now).execute(&mut *tx).await?;
            let changed: Vec<RunId> = updated.iter().map(|step| step.test_run_id).collect();
            if !changed.is_empty() {
                let steps: Vec<StepSummary> = rows_of(
                    sqlx::query_scalar(self.sql(STEPS_OF_RUNS))
                        .bind(json(&changed))
                        .fetch_all(&mut *tx)
                        .await?,
                )?;
                let runs: Vec<RunRecord> = by_run(steps)
                    .values()
                    .filter_map(|steps| roll_up(steps))
                    .collect();
                sqlx::query(self.sql(UPDATE_RUNS))
                    .bind(json(&runs))
                    .bind(&now)
                    .execute(&mut *tx)
                    .await?;
            }
            updated.into_iter().map(|step| step.id).collect()
        })
    }
}

/// The updates, each with the seal of the row as it will be.
fn sealed_updates<'a>(updates: &'a [StepUpdate], before: &[String]) -> Vec<SealedUpdate<'a>> {
    let before: HashMap<StepId, StepRow> = before
        .iter()
        // A row that can't be read has no good seal, and gets none.
        .filter_map(|row| serde_json::from_str::<StepRow>(row).ok())
        .map(|row| (row.id, row))
        .collect();
    updates
        .iter()
        .map(|update| SealedUpdate {
            update,
            seal: before
                .get(&update.id)
                .map_or(Digest::Invalid, |row| row.seal_after(update)),
        })
        .collect()
}

#[derive(Serialize)]
struct SealedUpdate<'a> {
    #[serde(flatten)]
    update: &'a StepUpdate,
    seal: Digest,
}

#[derive(Deserialize)]
struct Updated {
    id: StepId,
    test_run_id: RunId,
}

fn by_run(steps: Vec<StepSummary>) -> BTreeMap<RunId, Vec<StepSummary>> {
    let mut runs: BTreeMap<RunId, Vec<StepSummary>> = BTreeMap::new();
    for step in steps {
        runs.entry(step.test_run_id).or_default().push(step);
    }
    runs
}
