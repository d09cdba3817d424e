//! What a run consists of, as people look at it: its steps, their containers, the gaps in their logs, and how far it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{RunId, StepId, StreamId};
use super::migrate::Schema;
use super::query::{rows, rows_as};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::words::{GapCause, Role, Status, StreamState, SummarySource};
use super::{Reader, StoreError, time};

/// A step: one TestRun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub(crate) struct RunStep {
    pub id: StepId,
    /// Its place in the run.
    pub position: i64,
    pub name: String,
    /// A dashboard's own key.
    pub external_id: Option<String>,
    pub namespace: Option<String>,
    /// `clusters.id`, or a uid of the cluster; `None`: it was seen in none yet.
    pub cluster: Option<String>,
    /// The TestRun's name.
    pub k6_test_name: String,
    /// The TestRun's uid; `None`: it was not seen yet.
    pub k6_uid: Option<String>,
    pub status: Status,
    /// A CamelCase word that says why.
    pub reason: Option<String>,
    /// A sentence that a person can act on.
    pub message: Option<String>,
    /// k6-operator's word.
    pub stage: Option<String>,
    /// Runners asked for.
    pub parallelism: Option<i64>,
    /// How many of them have a summary.
    pub runners_reported: i64,
    #[serde(deserialize_with = "time::lenient")]
    pub created_at: Option<Timestamp>,
    #[serde(deserialize_with = "time::lenient")]
    pub started_at: Option<Timestamp>,
    #[serde(deserialize_with = "time::lenient")]
    pub finished_at: Option<Timestamp>,
    /// When the last cycle that saw it began.
    #[serde(deserialize_with = "time::lenient")]
    pub synced_at: Option<Timestamp>,
}

/// One life of a container, and its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub(crate) struct RunContainer {
    /// `log_streams.id`
    pub id: StreamId,
    pub step_id: StepId,
    #[serde(rename(serialize = "pod"))]
    #[schema(rename = "pod")]
    pub pod_name: String,
    pub container: String,
    pub role: Role,
    /// How often it had been restarted before this life.
    pub restart_count: i64,
    pub state: StreamState,
    /// `None`: it has not ended, or nobody saw how.
    pub exit_code: Option<i64>,
    /// Why it waits or ended, in the kubelet's words.
    pub reason: Option<String>,
    #[serde(deserialize_with = "time::lenient")]
    pub started_at: Option<Timestamp>,
    #[serde(deserialize_with = "time::lenient")]
    pub finished_at: Option<Timestamp>,
    /// Lines stored, and those that `prune` deleted since.
    pub lines: i64,
    pub bytes: i64,
    /// Places where lines may be missing; not those that `prune` deleted.
    pub gaps: i64,
    /// `prune` deleted its lines.
    #[serde(deserialize_with = "flag")]
    pub pruned: bool,
    /// Its log is recorded to its end.
    #[serde(deserialize_with = "flag")]
    pub complete: bool,
    /// Of a runner: what its summary was read from, or why there is none; `None`: it was not read yet.
    pub summary: Option<SummarySource>,
}

/// A place in a log where lines may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(crate) struct RunGap {
    /// `log_streams.id`
    pub stream_id: StreamId,
    /// Time of the last line before it, nanoseconds since 1970; `None`: the beginning of the log.
    pub after_ts: Option<i64>,
    /// Time of the first line after it; `None`: the end of the log.
    pub before_ts: Option<i64>,
    pub cause: GapCause,
}

/// A log of which not all lines are there any more that were stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct MissingLines {
    pub stream_id: StreamId,
    pub pod_name: String,
    /// How many are missing.
    pub lines: i64,
    /// `prune` deleted them.
    #[serde(deserialize_with = "flag")]
    pub pruned: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunState {
    pub id: RunId,
    pub status: Status,
    pub steps: i64,
    /// Steps that have ended.
    pub steps_ended: i64,
    /// Container logs.
    pub logs: i64,
    /// Container logs that are recorded to their end.
    pub logs_complete: i64,
    /// Runners' logs whose summary was not read yet.
    pub summaries_due: i64,
    /// Lines stored.
    pub lines: i64,
}

/// SQLite has no type for it: 0 and 1.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(i64),
    }
    Ok(match Flag::deserialize(deserializer)? {
        Flag::Bool(flag) => flag,
        Flag::Number(number) => number != 0,
    })
}

/// (run id) → [`RunStep`]s; `$cluster` and `$reported` are columns that older schemas lack.
macro_rules! steps {
    ($cluster:literal, $reported:literal) => {
        Statement {
            sqlite: concat!(
                "SELECT json_object('id', id, 'position', position, 'name', name, 'external_id', external_id,
                    'namespace', nullif(namespace, ''), 'cluster', ",
                $cluster,
                ", 'k6_test_name', k6_test_name, 'k6_uid', k6_uid, 'status', status, 'reason', reason, 'message', message,
                    'stage', stage, 'parallelism', parallelism, 'runners_reported', ",
                $reported,
                ", 'created_at', created_at, 'started_at', started_at, 'finished_at', finished_at, 'synced_at', synced_at)
                FROM test_run_steps WHERE test_run_id = $1 ORDER BY position, id"
            ),
            postgres: concat!(
                "SELECT json_build_object('id', id, 'position', position, 'name', name, 'external_id', external_id,
                    'namespace', nullif(namespace, ''), 'cluster', ",
                $cluster,
                ", 'k6_test_name', k6_test_name, 'k6_uid', k6_uid, 'status', status, 'reason', reason, 'message', message,
                    'stage', stage, 'parallelism', parallelism, 'runners_reported', ",
                $reported,
                ", 'created_at', created_at, 'started_at', started_at, 'finished_at', finished_at,
                    'synced_at', synced_at)::text
                FROM test_run_steps WHERE test_run_id = $1 ORDER BY position, id"
            ),
        }
    };
}

const STEPS: Statement = steps!("cluster", "runners_reported");
const STEPS_WITHOUT_RESULTS: Statement = steps!("cluster", "0");
const STEPS_WITHOUT_CLUSTERS: Statement = steps!("NULL", "0");

/// (run id) → [`RunContainer`]s, in the order of steps, roles and runners; `$summary` is what older schemas lack.
macro_rules! containers {
    ($summary:literal, $join:literal) => {
        Statement {
            sqlite: concat!(
                "SELECT json_object('id', s.id, 'step_id', step_id, 'pod_name', pod_name, 'container', container, 'role', role,
                    'restart_count', restart_count, 'state', state, 'exit_code', exit_code, 'reason', s.reason,
                    'started_at', s.started_at, 'finished_at', s.finished_at, 'lines', lines, 'bytes', bytes,
                    'gaps', CASE gaps WHEN 0 THEN 0
                        ELSE (SELECT count(*) FROM log_gaps WHERE stream_id = s.id AND cause <> 'pruned') END,
                    'pruned', CASE gaps WHEN 0 THEN 0
                        ELSE EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned') END,
                    'complete', complete, 'summary', ",
                $summary,
                ") FROM test_run_steps step JOIN log_streams s ON s.step_id = step.id ",
                $join,
                " WHERE step.test_run_id = $1 ORDER BY step.position, step.id,
                    CASE role WHEN 'initializer' THEN 1 WHEN 'starter' THEN 2 WHEN 'runner' THEN 3 ELSE 4 END,
                    length(pod_name), pod_name, container, restart_count"
            ),
            postgres: concat!(
                "SELECT json_build_object('id', s.id, 'step_id', step_id, 'pod_name', pod_name, 'container', container,
                    'role', role,
                    'restart_count', restart_count, 'state', state, 'exit_code', exit_code, 'reason', s.reason,
                    'started_at', s.started_at, 'finished_at', s.finished_at, 'lines', lines, 'bytes', bytes,
                    'gaps', CASE gaps WHEN 0 THEN 0
                        ELSE (SELECT count(*) FROM log_gaps WHERE stream_id = s.id AND cause <> 'pruned') END,
                    'pruned', gaps <> 0 AND EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned'),
                    'complete', complete, 'summary', ",
                $summary,
                ")::text FROM test_run_steps step JOIN log_streams s ON s.step_id = step.id ",
                $join,
                " WHERE step.test_run_id = $1 ORDER BY step.position, step.id,
                    CASE role WHEN 'initializer' THEN 1 WHEN 'starter' THEN 2 WHEN 'runner' THEN 3 ELSE 4 END,
                    length(pod_name), pod_name, container, restart_count"
            ),
        }
    };
}

const CONTAINERS: Statement = containers!(
    "summary.source",
    "LEFT JOIN runner_summaries summary ON summary.stream_id = s.id"
);
const CONTAINERS_WITHOUT_RESULTS: Statement = containers!("NULL", "");

/// (run id) → [`RunGap`]s
const GAPS: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'after_ts', after_ts, 'before_ts', before_ts, 'cause', cause)
        FROM test_run_steps step JOIN log_streams s ON s.step_id = step.id JOIN log_gaps ON stream_id = s.id
        WHERE step.test_run_id = $1 ORDER BY stream_id, before_ts IS NULL, before_ts, after_ts",
    postgres: "
        SELECT json_build_object('stream_id', stream_id, 'after_ts', after_ts, 'before_ts', before_ts, 'cause', cause)::text
        FROM test_run_steps step JOIN log_streams s ON s.step_id = step.id JOIN log_gaps ON stream_id = s.id
        WHERE step.test_run_id = $1 ORDER BY stream_id, before_ts IS NULL, before_ts, after_ts",
};

/// (run id) → [`MissingLines`]
const MISSING_LINES: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', id, 'pod_name', pod_name, 'lines', lines - stored, 'pruned', pruned)
        FROM (SELECT s.id, pod_name, s.lines,
                  (SELECT coalesce(sum(c.lines), 0) FROM log_chunks c WHERE c.stream_id = s.id) AS stored,
                  EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned') AS pruned
              FROM test_run_steps step JOIN log_streams s ON s.step_id = step.id WHERE step.test_run_id = $1) streams
        WHERE lines <> stored ORDER BY id",
    postgres: "
        SELECT json_build_object('stream_id', id, 'pod_name', pod_name, 'lines', lines - stored, 'pruned', pruned)::text
        FROM (SELECT s.id, pod_name, s.lines,
                  (SELECT coalesce(sum(c.lines), 0)::bigint FROM log_chunks c WHERE c.stream_id = s.id) AS stored,
                  EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned') AS pruned
              FROM test_run_steps step JOIN log_streams s ON s.step_id = step.id WHERE step.test_run_id = $1) streams
        WHERE lines <> stored ORDER BY id",
};

/// (run ids as JSON) → [`RunState`]s; `$due` is a column that older schemas lack.
macro_rules! states {
    ($due:literal) => {
        Statement {
            sqlite: concat!(
                "SELECT json_object('id', r.id, 'status', r.status, 'steps', count(DISTINCT step.id),
                    'steps_ended', count(DISTINCT CASE WHEN step.status NOT IN
                        ('pending', 'initializing', 'running', 'finishing') THEN step.id END),
                    'logs', count(s.id), 'logs_complete', coalesce(sum(s.complete), 0),
                    'summaries_due', coalesce(sum(",
                $due,
                "), 0), 'lines', coalesce(sum(s.lines), 0))
                FROM test_runs r LEFT JOIN test_run_steps step ON step.test_run_id = r.id
                LEFT JOIN log_streams s ON s.step_id = step.id
                WHERE r.id IN (SELECT value FROM json_each($1)) GROUP BY r.id, r.status ORDER BY r.id"
            ),
            postgres: concat!(
                "SELECT json_build_object('id', r.id, 'status', r.status, 'steps', count(DISTINCT step.id),
                    'steps_ended', count(DISTINCT CASE WHEN step.status NOT IN
                        ('pending', 'initializing', 'running', 'finishing') THEN step.id END),
                    'logs', count(s.id), 'logs_complete', coalesce(sum(s.complete::int), 0),
                    'summaries_due', coalesce(sum((",
                $due,
                ")::int), 0), 'lines', coalesce(sum(s.lines), 0))::text
                FROM test_runs r LEFT JOIN test_run_steps step ON step.test_run_id = r.id
                LEFT JOIN log_streams s ON s.step_id = step.id
                WHERE r.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
                GROUP BY r.id, r.status ORDER BY r.id"
            ),
        }
    };
}

const STATES: Statement = states!("s.summary_due");
const STATES_WITHOUT_RESULTS: Statement = states!("0");

impl Reader {
    /// The steps of a run, in their order.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn run_steps(
        &self,
        schema: Schema,
        run: RunId,
    ) -> Result<Vec<RunStep>, StoreError> {
        let statement = match (schema.has_clusters(), schema.has_results()) {
            (_, true) => STEPS,
            (true, false) => STEPS_WITHOUT_RESULTS,
            (false, false) => STEPS_WITHOUT_CLUSTERS,
        };
        let rows = rows!(self, "read the steps of the run", statement, run)?;
        rows_of(rows).map_err(|error| self.failed("read the steps of the run", &error))
    }

    /// The containers of a run, in the order of steps, roles (initializer, starter, runners, others) and runners.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn run_containers(
        &self,
        schema: Schema,
        run: RunId,
    ) -> Result<Vec<RunContainer>, StoreError> {
        let statement = match schema.has_results() {
            true => CONTAINERS,
            false => CONTAINERS_WITHOUT_RESULTS,
        };
        rows_as!(
            self,
            "read the containers of the run",
            sqlx::query_scalar(self.sql(statement)).bind(run)
        )
    }

    /// The gaps in the logs of a run.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn run_gaps(&self, run: RunId) -> Result<Vec<RunGap>, StoreError> {
        rows_as!(
            self,
            "read the gaps of the run",
            sqlx::query_scalar(self.sql(GAPS)).bind(run)
        )
    }

    /// The logs of a run of which not all lines are there any more that were stored.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn missing_lines(&self, run: RunId) -> Result<Vec<MissingLines>, StoreError> {
        rows_as!(
            self,
            "look for lines that are missing",
            sqlx::query_scalar(self.sql(MISSING_LINES)).bind(run)
        )
    }

    /// How far these runs are. A run that is not there is left out.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn run_states(
        &self,
        schema: Schema,
        runs: &[RunId],
    ) -> Result<Vec<RunState>, StoreError> {
        let statement = match schema.has_results() {
            true => STATES,
            false => STATES_WITHOUT_RESULTS,
        };
        let runs = json(&runs);
        let rows = rows!(self, "read how far the runs are", statement, &runs)?;
        rows_of(rows).map_err(|error| self.failed("read how far the runs are", &error))
    }
}
