//! Steps: rows of `test_run_steps` as a cycle sees them.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{RunId, StepId};
use super::query::rows;
use super::rows::json;
use super::statement::Statement;
use super::words::Status;
use super::{Reader, StoreError, time};

/// What to look at: namespaces, and which one a step without a namespace means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepScope<'a> {
    /// `None`: all.
    pub namespaces: Option<&'a [String]>,
    /// For rows whose namespace is null or empty.
    pub default_namespace: &'a str,
    /// `clusters.id`: no steps of other clusters. `None`: it is not known which cluster this is, and all steps are meant.
    pub cluster: Option<&'a str>,
}

/// A row of `test_run_steps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub id: StepId,
    pub test_run_id: RunId,
    pub name: String,
    /// `namespace`; empty in the table means the default one, filled in when read.
    pub namespace: String,
    /// `k6_test_name`: the TestRun's name.
    pub k6_test_name: String,
    /// When the row was made.
    #[serde(with = "time")]
    pub created_at: Timestamp,
    /// Optimistic lock: counts the updates of this row.
    pub version: i64,
    /// The TestRun has our finalizer, or may have it.
    pub held: bool,
    /// What a sync may change.
    #[serde(flatten)]
    pub record: StepRecord,
}

/// What a sync says of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// The cluster that the TestRun was seen in: `clusters.id`, or any uid of it where a dashboard set it.
    pub cluster: Option<String>,
    /// The TestRun's uid, pinned when first seen.
    pub k6_uid: Option<String>,
    /// Runners asked for.
    pub parallelism: Option<i64>,
    /// k6-operator's word.
    pub stage: Option<String>,
    /// Our word.
    pub status: Status,
    /// A CamelCase word that says why.
    pub reason: Option<String>,
    /// A sentence that a person can act on.
    pub message: Option<String>,
    /// When the first runner started.
    #[serde(with = "time::optional")]
    pub started_at: Option<Timestamp>,
    /// When the last runner ended.
    #[serde(with = "time::optional")]
    pub finished_at: Option<Timestamp>,
}

/// A step's new record, to be stored if the step is still at `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StepUpdate {
    /// Which step.
    pub id: StepId,
    /// Its run.
    pub test_run_id: RunId,
    /// Where its TestRun is: what a row without a namespace is to say once it has a TestRun.
    pub namespace: String,
    /// The version that the decision was made on.
    pub version: i64,
    /// The new record.
    #[serde(flatten)]
    pub record: StepRecord,
}

/// Nothing is known of the step yet.
impl Default for StepRecord {
    fn default() -> Self {
        Self {
            cluster: None,
            k6_uid: None,
            parallelism: None,
            stage: None,
            status: Status::Pending,
            reason: None,
            message: None,
            started_at: None,
            finished_at: None,
        }
    }
}

/// A row of a step that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadStep {
    pub id: Option<StepId>,
    pub name: Option<String>,
    pub k6_test_name: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

/// (namespaces as JSON or null for all, default namespace, cluster id or null for all) → [`Step`]
const ACTIVE_STEPS: Statement = Statement {
    sqlite: "
        SELECT json_object('id', id, 'test_run_id', test_run_id, 'name', name,
            'namespace', coalesce(nullif(namespace, ''), $2), 'k6_test_name', k6_test_name, 'created_at', created_at,
            'version', version, 'held', json(iif(held, 'true', 'false')), 'cluster', cluster, 'k6_uid', k6_uid, 'parallelism', parallelism, 'stage', stage, 'status', status,
            'reason', reason, 'message', message, 'started_at', started_at, 'finished_at', finished_at)
        FROM test_run_steps
        WHERE id IN (
            SELECT id FROM test_run_steps WHERE status IN ('pending', 'initializing', 'running', 'finishing')
            UNION SELECT step_id FROM log_streams WHERE NOT complete
            UNION SELECT step_id FROM log_streams WHERE summary_due
            UNION SELECT id FROM test_run_steps WHERE held
        ) AND ($1 IS NULL OR coalesce(nullif(namespace, ''), $2) IN (SELECT value FROM json_each($1)))
          AND ($3 IS NULL OR cluster IS NULL OR cluster NOT IN (SELECT uid FROM cluster_uids)
               OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
        ORDER BY id",
    postgres: "
        SELECT row_to_json(step)::text FROM (
            SELECT id, test_run_id, name, coalesce(nullif(namespace, ''), $2) AS namespace, k6_test_name, created_at,
                   version, held, cluster, k6_uid, parallelism, stage, status, reason, message, started_at, finished_at
            FROM test_run_steps
            WHERE id = ANY (ARRAY(
                SELECT id FROM test_run_steps WHERE status IN ('pending', 'initializing', 'running', 'finishing')
                UNION SELECT step_id FROM log_streams WHERE NOT complete
                UNION SELECT step_id FROM log_streams WHERE summary_due
                UNION SELECT id FROM test_run_steps WHERE held
            )) AND ($1::json IS NULL
                   OR coalesce(nullif(namespace, ''), $2) = ANY (ARRAY(SELECT json_array_elements_text($1::json))))
              AND ($3::text IS NULL OR cluster IS NULL OR cluster NOT IN (SELECT uid FROM cluster_uids)
                   OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
            ORDER BY id
        ) step",
};

/// (step ids as JSON) → ids of those with logs that are not complete
const OPEN_LOGS: Statement = Statement {
    sqlite: "
        SELECT DISTINCT CAST(step_id AS TEXT) FROM log_streams
        WHERE NOT complete AND step_id IN (SELECT value FROM json_each($1))",
    postgres: "
        SELECT DISTINCT step_id::text FROM log_streams
        WHERE NOT complete AND step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

impl Reader {
    /// The steps of `scope` that are not at their end: those without a verdict, and those whose logs
    /// are not complete or not read for results. Those
    /// that name a cluster that the database does not know are among them.
    /// Rows that can't be understood come apart, each with what is wrong with it.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn active_steps(
        &self,
        scope: &StepScope<'_>,
    ) -> Result<(Vec<Step>, Vec<BadStep>), StoreError> {
        let namespaces = scope.namespaces.map(|names| json(&names));
        let rows = rows!(
            self,
            "read the active steps",
            ACTIVE_STEPS,
            &namespaces,
            scope.default_namespace,
            scope.cluster
        )?;
        let mut steps = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        for row in rows {
            match serde_json::from_str(&row) {
                Ok(step) => steps.push(step),
                Err(error) => bad.push(bad_step(&row, &error)),
            }
        }
        Ok((steps, bad))
    }

    /// Those of these steps with logs that are not complete.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn with_open_logs(
        &self,
        step_ids: &[StepId],
    ) -> Result<HashSet<StepId>, StoreError> {
        if step_ids.is_empty() {
            return Ok(HashSet::new());
        }
        let step_ids = json(&step_ids);
        let rows = rows!(
            self,
            "find logs that are not complete",
            OPEN_LOGS,
            &step_ids
        )?;
        Ok(rows
            .iter()
            .filter_map(|id| id.parse().ok())
            .map(StepId)
            .collect())
    }
}

fn bad_step(row: &str, error: &serde_json::Error) -> BadStep {
    let row: serde_json::Value = serde_json::from_str(row).unwrap_or_default();
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let id = row["id"].as_i64().map(StepId);
    BadStep {
        id,
        name: text("name"),
        k6_test_name: text("k6_test_name"),
        error: format!(
            "row {} of test_run_steps can't be read: {error}; correct it",
            id.map_or_else(|| "?".to_owned(), |id| id.to_string())
        ),
    }
}
