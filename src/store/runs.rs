//! Runs: rows of `test_runs`, as people list and name them.
//!
//! What older schemas lack is read as nothing: whoever only reads does not migrate.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::connect::Db;
use super::ids::RunId;
use super::migrate::Schema;
use super::query::rows;
use super::rows::{Read, json, read, rows_of};
use super::statement::Statement;
use super::words::Status;
use super::{Reader, StoreError, time};

/// A value that is nowhere but from `low` to `high`; they are equal where it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Interval {
    pub low: f64,
    pub high: f64,
}

/// A run with its results: a row of `runs_v`, and when the row was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all(serialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub(crate) struct RunRow {
    pub id: RunId,
    /// A dashboard's own key.
    pub external_id: Option<String>,
    pub name: String,
    /// `None`: of a run that a dashboard made without one.
    pub namespace: Option<String>,
    pub status: Status,
    /// When the row was made.
    #[serde(deserialize_with = "time::lenient")]
    pub created_at: Option<Timestamp>,
    /// When the first runner started.
    #[serde(deserialize_with = "time::lenient")]
    pub started_at: Option<Timestamp>,
    /// When the last runner ended.
    #[serde(deserialize_with = "time::lenient")]
    pub finished_at: Option<Timestamp>,
    /// From start to end; `None`: it has not ended.
    pub duration_seconds: Option<f64>,
    /// How many steps it has.
    #[serde(rename(serialize = "stepCount"))]
    #[schema(rename = "stepCount")]
    pub steps: i64,
    /// How many runners were asked for, in all steps.
    pub runners: i64,
    /// How many of them have a summary.
    pub runners_reported: i64,
    /// Thresholds, and those that failed in at least one runner.
    pub thresholds: i64,
    pub thresholds_failed: i64,
    /// How often checks were made; `None`: the script has none, or nobody told.
    pub checks: Option<f64>,
    /// How often they failed.
    pub checks_failed: Option<f64>,
    /// HTTP requests.
    pub requests: Option<f64>,
    /// The part of the requests that failed, 0 to 1.
    pub error_rate: Option<Interval>,
    /// The 95th percentile of `http_req_duration`, in milliseconds.
    pub p95: Option<Interval>,
}

/// Which runs to list, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunsWanted {
    /// `None`: those of all namespaces.
    pub namespaces: Option<Vec<String>>,
    /// `None`: of any status.
    pub statuses: Option<Vec<Status>>,
    /// Those that started, or were made if they did not, at that time or later.
    pub since: Option<Timestamp>,
    /// The name; `*` stands for any characters.
    pub name: Option<String>,
    /// Only older ones, with lower ids.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
    /// Only what somebody may see.
    pub visible: Visible,
}

/// What somebody may see: a run all of whose steps are in these namespaces and clusters; without steps, by its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visible {
    /// `None`: all.
    pub namespaces: Option<Vec<String>>,
    /// Of these clusters, by any id that a step may name one by, and of steps that were seen in none; `None`: of all.
    pub clusters: Option<Vec<String>>,
}

impl Visible {
    /// As the statements take it.
    fn bound(&self) -> (Option<String>, Option<String>) {
        (
            self.namespaces.as_ref().map(json),
            self.clusters.as_ref().map(json),
        )
    }
}

/// A run that may be the one that was named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub id: RunId,
    pub name: String,
    pub namespace: Option<String>,
    pub external_id: Option<String>,
    /// By what it has that name: `id`, `external_id`, `uid` (of its TestRun) or `name`.
    pub by: String,
}

/// (id, external_id or name) → ids of runs as text
const FIND_RUNS: Statement = Statement::both(
    "
    SELECT CAST(id AS TEXT) FROM test_runs WHERE CAST(id AS TEXT) = $1 OR external_id = $1 OR name = $1 ORDER BY id",
);

/// That a run `r` is [`Visible`]: ($namespaces as JSON or null, $clusters as JSON or null); in schemas without clusters nothing is,
/// unless all clusters are.
macro_rules! visible {
    (sqlite, $namespaces:literal, $clusters:literal) => {
        concat!(
            visible!(@sqlite $namespaces),
            " AND (", $clusters, " IS NULL OR NOT EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id
                AND s.cluster NOT IN (SELECT value FROM json_each(", $clusters, "))))"
        )
    };
    (old sqlite, $namespaces:literal, $clusters:literal) => {
        concat!(visible!(@sqlite $namespaces), " AND (", $clusters, " IS NULL)")
    };
    (@sqlite $namespaces:literal) => {
        concat!(
            "(", $namespaces, " IS NULL
              OR (CASE WHEN EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id)
                  THEN NOT EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id
                                   AND coalesce(s.namespace, '') NOT IN (SELECT value FROM json_each(", $namespaces, ")))
                  ELSE coalesce(r.namespace, '') IN (SELECT value FROM json_each(", $namespaces, ")) END))"
        )
    };
    (postgres, $namespaces:literal, $clusters:literal) => {
        concat!(
            visible!(@postgres $namespaces),
            " AND (", $clusters, "::json IS NULL OR NOT EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id
                AND s.cluster <> ALL (ARRAY(SELECT json_array_elements_text(", $clusters, "::json)))))"
        )
    };
    (old postgres, $namespaces:literal, $clusters:literal) => {
        concat!(visible!(@postgres $namespaces), " AND (", $clusters, "::json IS NULL)")
    };
    (@postgres $namespaces:literal) => {
        concat!(
            "(", $namespaces, "::json IS NULL
              OR (CASE WHEN EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id)
                  THEN NOT EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id
                                   AND coalesce(s.namespace, '') <> ALL (ARRAY(SELECT json_array_elements_text(", $namespaces, "::json))))
                  ELSE coalesce(r.namespace, '') = ANY (ARRAY(SELECT json_array_elements_text(", $namespaces, "::json))) END))"
        )
    };
}

/// Whether the run is in one of these namespaces (JSON, or null for all): its own, or that of a step.
macro_rules! in_namespaces {
    (sqlite, $names:literal) => {
        concat!(
            "(",
            $names,
            " IS NULL OR r.namespace IN (SELECT value FROM json_each(",
            $names,
            "))
              OR EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id
                         AND s.namespace IN (SELECT value FROM json_each(",
            $names,
            "))))"
        )
    };
    (postgres, $names:literal) => {
        concat!(
            "(",
            $names,
            "::json IS NULL OR r.namespace = ANY (ARRAY(SELECT json_array_elements_text(",
            $names,
            "::json)))
              OR EXISTS (SELECT 1 FROM test_run_steps s WHERE s.test_run_id = r.id
                         AND s.namespace = ANY (ARRAY(SELECT json_array_elements_text(",
            $names,
            "::json)))))"
        )
    };
}

/// The runs that [`RunsWanted`] means: (namespaces as JSON or null, statuses as JSON or null, time or null, name or null, whether
/// the name is a pattern (0 or 1), id or null, how many, and the two of `visible!`)
macro_rules! wanted {
    ($($schema:ident)+) => {
        concat!(wanted!(@from $($schema)+), " AND ", visible!($($schema)+, "$8", "$9"), " ORDER BY id DESC LIMIT $7")
    };
    (@from old $database:ident) => {
        wanted!(@from $database)
    };
    (@from sqlite) => {
        concat!("SELECT id FROM test_runs r
         WHERE ", in_namespaces!(sqlite, "$1"), "
           AND ($2 IS NULL OR status IN (SELECT value FROM json_each($2)))
           AND ($3 IS NULL OR coalesce(julianday(started_at), julianday(created_at)) >= julianday($3))
           AND ($4 IS NULL OR ($5 = 0 AND name = $4) OR ($5 = 1 AND name GLOB $4))
           AND ($6 IS NULL OR id < $6)")
    };
    (@from postgres) => {
        concat!("SELECT id FROM test_runs r
         WHERE ", in_namespaces!(postgres, "$1"), "
           AND ($2::json IS NULL OR status = ANY (ARRAY(SELECT json_array_elements_text($2::json))))
           AND ($3::timestamptz IS NULL OR coalesce(started_at, created_at) >= $3::timestamptz)
           AND ($4::text IS NULL OR ($5 = 0 AND name = $4) OR ($5 = 1 AND name LIKE $4))
           AND ($6::bigint IS NULL OR id < $6)")
    };
}

/// The columns of a [`RunRow`], of `test_runs r` and `runs_v v`.
macro_rules! run_columns {
    (sqlite) => {
        "SELECT json_object('id', r.id, 'external_id', r.external_id, 'name', r.name, 'namespace', nullif(r.namespace, ''),
            'status', r.status, 'created_at', r.created_at, 'started_at', r.started_at, 'finished_at', r.finished_at,
            'duration_seconds', CASE WHEN abs(v.duration_seconds) < 1e300 THEN v.duration_seconds END, 'steps', v.steps, 'runners', v.runners,
            'runners_reported', v.runners_reported, 'thresholds', v.thresholds, 'thresholds_failed', v.thresholds_failed,
            'checks', CASE WHEN abs(v.checks) < 1e300 THEN v.checks END, 'checks_failed', CASE WHEN abs(v.checks_failed) < 1e300 THEN v.checks_failed END, 'requests', CASE WHEN abs(v.requests) < 1e300 THEN v.requests END,
            'error_rate', CASE WHEN abs(v.error_rate_low) < 1e300 AND abs(v.error_rate_high) < 1e300
                THEN json_object('low', v.error_rate_low, 'high', v.error_rate_high) END,
            'p95', CASE WHEN abs(v.p95_low) < 1e300 AND abs(v.p95_high) < 1e300
                THEN json_object('low', v.p95_low, 'high', v.p95_high) END)"
    };
    (postgres) => {
        "SELECT json_build_object('id', r.id, 'external_id', r.external_id, 'name', r.name,
            'namespace', nullif(r.namespace, ''),
            'status', r.status, 'created_at', r.created_at, 'started_at', r.started_at, 'finished_at', r.finished_at,
            'duration_seconds', CASE WHEN abs(v.duration_seconds) < 1e300 THEN v.duration_seconds END, 'steps', v.steps, 'runners', v.runners,
            'runners_reported', v.runners_reported, 'thresholds', v.thresholds, 'thresholds_failed', v.thresholds_failed,
            'checks', CASE WHEN abs(v.checks) < 1e300 THEN v.checks END, 'checks_failed', CASE WHEN abs(v.checks_failed) < 1e300 THEN v.checks_failed END, 'requests', CASE WHEN abs(v.requests) < 1e300 THEN v.requests END,
            'error_rate', CASE WHEN abs(v.error_rate_low) < 1e300 AND abs(v.error_rate_high) < 1e300
                THEN json_build_object('low', v.error_rate_low, 'high', v.error_rate_high) END,
            'p95', CASE WHEN abs(v.p95_low) < 1e300 AND abs(v.p95_high) < 1e300
                THEN json_build_object('low', v.p95_low, 'high', v.p95_high) END)::text"
    };
}

/// What `runs_v` says of a run, in schemas that have no results.
macro_rules! without_results {
    (sqlite) => {
        "(SELECT id AS run_id, round((julianday(finished_at) - julianday(started_at)) * 86400, 3) AS duration_seconds,
            (SELECT count(*) FROM test_run_steps WHERE test_run_id = test_runs.id) AS steps,
            (SELECT coalesce(sum(parallelism), 0) FROM test_run_steps WHERE test_run_id = test_runs.id) AS runners,
            0 AS runners_reported, 0 AS thresholds, 0 AS thresholds_failed, NULL AS checks, NULL AS checks_failed,
            NULL AS requests, NULL AS error_rate_low, NULL AS error_rate_high, NULL AS p95_low, NULL AS p95_high
          FROM test_runs)"
    };
    (postgres) => {
        "(SELECT id AS run_id, extract(epoch FROM finished_at - started_at)::float8 AS duration_seconds,
            (SELECT count(*) FROM test_run_steps WHERE test_run_id = test_runs.id) AS steps,
            (SELECT coalesce(sum(parallelism), 0) FROM test_run_steps WHERE test_run_id = test_runs.id) AS runners,
            0 AS runners_reported, 0 AS thresholds, 0 AS thresholds_failed, NULL::float8 AS checks,
            NULL::float8 AS checks_failed, NULL::float8 AS requests, NULL::float8 AS error_rate_low,
            NULL::float8 AS error_rate_high, NULL::float8 AS p95_low, NULL::float8 AS p95_high
          FROM test_runs)"
    };
}

/// As [`wanted`] → [`RunRow`]s, newest first
const LIST_RUNS: Statement = Statement {
    sqlite: concat!(
        "WITH page AS (",
        wanted!(sqlite),
        ") ",
        run_columns!(sqlite),
        " FROM page JOIN test_runs r ON r.id = page.id JOIN runs_v v ON v.run_id = page.id ORDER BY page.id DESC"
    ),
    postgres: concat!(
        "WITH page AS (",
        wanted!(postgres),
        ") ",
        run_columns!(postgres),
        " FROM page JOIN test_runs r ON r.id = page.id JOIN runs_v v ON v.run_id = page.id ORDER BY page.id DESC"
    ),
};

/// The same of a schema without results
const LIST_OLD_RUNS: Statement = Statement {
    sqlite: concat!(
        "WITH page AS (",
        wanted!(old sqlite),
        ") ",
        run_columns!(sqlite),
        " FROM page JOIN test_runs r ON r.id = page.id JOIN ",
        without_results!(sqlite),
        " v ON v.run_id = page.id ORDER BY page.id DESC"
    ),
    postgres: concat!(
        "WITH page AS (",
        wanted!(old postgres),
        ") ",
        run_columns!(postgres),
        " FROM page JOIN test_runs r ON r.id = page.id JOIN ",
        without_results!(postgres),
        " v ON v.run_id = page.id ORDER BY page.id DESC"
    ),
};

/// (run id) → [`RunRow`]
const RUN: Statement = Statement {
    sqlite: concat!(
        run_columns!(sqlite),
        " FROM test_runs r JOIN runs_v v ON v.run_id = r.id WHERE r.id = $1"
    ),
    postgres: concat!(
        run_columns!(postgres),
        " FROM test_runs r JOIN runs_v v ON v.run_id = r.id WHERE r.id = $1"
    ),
};

/// The same of a schema without results
const OLD_RUN: Statement = Statement {
    sqlite: concat!(
        run_columns!(sqlite),
        " FROM test_runs r JOIN ",
        without_results!(sqlite),
        " v ON v.run_id = r.id WHERE r.id = $1"
    ),
    postgres: concat!(
        run_columns!(postgres),
        " FROM test_runs r JOIN ",
        without_results!(postgres),
        " v ON v.run_id = r.id WHERE r.id = $1"
    ),
};

/// (text, the same as a number or null, namespaces as JSON or null for all, time or null, and the two of `visible!`) →
/// [`Candidate`]s: those with that id, external_id or uid, and of those with that name the newest of each namespace; none that was
/// made before the time
macro_rules! candidates {
    ($($old:ident)?) => {
        Statement {
            sqlite: concat!(
                "SELECT json_object('id', r.id, 'name', name, 'namespace', nullif(namespace, ''), 'external_id', external_id,
                    'by', found.by)
                FROM (SELECT id, 'id' AS by FROM test_runs WHERE id = $2
                      UNION ALL SELECT id, 'external_id' FROM test_runs WHERE external_id = $1
                      UNION ALL SELECT test_run_id, 'uid' FROM test_run_steps WHERE k6_uid = $1
                      UNION ALL SELECT max(id), 'name' FROM test_runs r
                          WHERE name = $1 AND ($4 IS NULL OR julianday(created_at) >= julianday($4)) AND ",
                visible!($($old)? sqlite, "$5", "$6"),
                "         GROUP BY coalesce(namespace, '')) found
                JOIN test_runs r ON r.id = found.id
                WHERE ", in_namespaces!(sqlite, "$3"), "
                  AND ($4 IS NULL OR julianday(created_at) >= julianday($4)) AND ",
                visible!($($old)? sqlite, "$5", "$6"),
                " ORDER BY r.id DESC"
            ),
            postgres: concat!(
                "SELECT json_build_object('id', r.id, 'name', name, 'namespace', nullif(namespace, ''),
                    'external_id', external_id, 'by', found.by)::text
                FROM (SELECT id, 'id' AS by FROM test_runs WHERE id = $2
                      UNION ALL SELECT id, 'external_id' FROM test_runs WHERE external_id = $1
                      UNION ALL SELECT test_run_id, 'uid' FROM test_run_steps WHERE k6_uid = $1
                      UNION ALL SELECT max(id), 'name' FROM test_runs r
                          WHERE name = $1 AND ($4::timestamptz IS NULL OR created_at >= $4::timestamptz) AND ",
                visible!($($old)? postgres, "$5", "$6"),
                "         GROUP BY coalesce(namespace, '')) found
                JOIN test_runs r ON r.id = found.id
                WHERE ", in_namespaces!(postgres, "$3"), "
                  AND ($4::timestamptz IS NULL OR created_at >= $4::timestamptz) AND ",
                visible!($($old)? postgres, "$5", "$6"),
                " ORDER BY r.id DESC"
            ),
        }
    };
}

const CANDIDATES: Statement = candidates!();
const OLD_CANDIDATES: Statement = candidates!(old);

/// (namespaces as JSON or null for all, the two of `visible!`, time or null) → id of the newest run, as text
macro_rules! latest {
    ($($old:ident)?) => {
        Statement {
            sqlite: concat!(
                "SELECT CAST(id AS TEXT) FROM test_runs r WHERE ",
                in_namespaces!(sqlite, "$1"),
                " AND ($4 IS NULL OR julianday(created_at) >= julianday($4)) AND ",
                visible!($($old)? sqlite, "$2", "$3"),
                " ORDER BY id DESC LIMIT 1"
            ),
            postgres: concat!(
                "SELECT id::text FROM test_runs r WHERE ",
                in_namespaces!(postgres, "$1"),
                " AND ($4::timestamptz IS NULL OR created_at >= $4::timestamptz) AND ",
                visible!($($old)? postgres, "$2", "$3"),
                " ORDER BY id DESC LIMIT 1"
            ),
        }
    };
}

const LATEST: Statement = latest!();
const OLD_LATEST: Statement = latest!(old);

/// (run id, and the two of `visible!`) → id of the run before it that has its name and namespace, as text
macro_rules! previous {
    ($($old:ident)?) => {
        Statement {
            sqlite: concat!(
                "SELECT CAST(id AS TEXT) FROM test_runs r
                WHERE id < $1 AND name = (SELECT name FROM test_runs WHERE id = $1)
                  AND coalesce(namespace, '') = (SELECT coalesce(namespace, '') FROM test_runs WHERE id = $1) AND ",
                visible!($($old)? sqlite, "$2", "$3"),
                " ORDER BY id DESC LIMIT 1"
            ),
            postgres: concat!(
                "SELECT CAST(id AS TEXT) FROM test_runs r
                WHERE id < $1 AND name = (SELECT name FROM test_runs WHERE id = $1)
                  AND coalesce(namespace, '') = (SELECT coalesce(namespace, '') FROM test_runs WHERE id = $1) AND ",
                visible!($($old)? postgres, "$2", "$3"),
                " ORDER BY id DESC LIMIT 1"
            ),
        }
    };
}

const PREVIOUS: Statement = previous!();
const OLD_PREVIOUS: Statement = previous!(old);

/// The most namespaces that are listed.
const NAMESPACES: usize = 1_000;

/// (how many) → the namespaces of steps, each found by one look into the index
const STEP_NAMESPACES: Statement = Statement::both(
    "
    WITH RECURSIVE known(namespace) AS (
        SELECT min(namespace) FROM test_run_steps
        UNION ALL
        SELECT (SELECT min(namespace) FROM test_run_steps WHERE namespace > known.namespace) FROM known
        WHERE known.namespace IS NOT NULL)
    SELECT namespace FROM known WHERE namespace IS NOT NULL LIMIT $1",
);

impl Reader {
    /// The runs with this id, external_id or name.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn find_runs(&self, run: &str) -> Result<Vec<RunId>, StoreError> {
        let rows = rows!(self, "find the run", FIND_RUNS, run)?;
        Ok(ids(&rows))
    }

    /// A page of runs, newest first. One that can't be read hides no other.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn list_runs(
        &self,
        schema: Schema,
        wanted: &RunsWanted,
    ) -> Result<Vec<Read<RunRow>>, StoreError> {
        let namespaces = wanted.namespaces.as_ref().map(json);
        let statuses = wanted.statuses.as_ref().map(json);
        let (visible, clusters) = wanted.visible.bound();
        let since = wanted.since.map(time::to_sql);
        let is_pattern = wanted.name.as_ref().is_some_and(|name| name.contains('*'));
        let name = wanted.name.as_ref().map(|name| match is_pattern {
            true => self.pattern(name),
            false => name.clone(),
        });
        let statement = match schema.has_results() {
            true => LIST_RUNS,
            false => LIST_OLD_RUNS,
        };
        let rows = rows!(
            self,
            "list the runs",
            statement,
            &namespaces,
            &statuses,
            &since,
            &name,
            i64::from(is_pattern),
            wanted.before,
            i64::from(wanted.limit),
            &visible,
            &clusters
        )?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }

    /// A pattern for the operator that tells large letters from small ones: GLOB in SQLite, LIKE in PostgreSQL.
    fn pattern(&self, name: &str) -> String {
        let mut pattern = String::new();
        for char in name.chars() {
            match (&self.db, char) {
                (Db::Sqlite(_), '?' | '[') => pattern.extend(['[', char, ']']),
                (Db::Postgres(_), '*') => pattern.push('%'),
                (Db::Postgres(_), '%' | '_' | '\\') => pattern.extend(['\\', char]),
                (_, char) => pattern.push(char),
            }
        }
        pattern
    }

    /// A run with its results; `None`: there is none with this id.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn run_row(
        &self,
        schema: Schema,
        id: RunId,
    ) -> Result<Option<RunRow>, StoreError> {
        let statement = match schema.has_results() {
            true => RUN,
            false => OLD_RUN,
        };
        let rows = rows!(self, "read the run", statement, id)?;
        let rows = rows_of(rows).map_err(|error| self.failed("read the run", &error))?;
        Ok(rows.into_iter().next())
    }

    /// The runs that may be meant by `text`: one with that id, external_id or TestRun uid, and of those with that name the newest
    /// of each namespace. Only those of these namespaces, or of none, and none that was made before `after`.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn candidates(
        &self,
        schema: Schema,
        text: &str,
        namespaces: Option<&[String]>,
        after: Option<Timestamp>,
        visible: &Visible,
    ) -> Result<Vec<Candidate>, StoreError> {
        let number: Option<i64> = text.parse().ok();
        let statement = match schema.has_clusters() {
            true => CANDIDATES,
            false => OLD_CANDIDATES,
        };
        let (visible, clusters) = visible.bound();
        let (namespaces, after) = (
            namespaces.map(|names| json(&names)),
            after.map(time::to_sql),
        );
        let rows = rows!(
            self,
            "find the run",
            statement,
            text,
            number,
            &namespaces,
            &after,
            &visible,
            &clusters
        )?;
        rows_of(rows).map_err(|error| self.failed("find the run", &error))
    }

    /// The newest run, of these namespaces or of all, that was made at `after` or later.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn latest_run(
        &self,
        schema: Schema,
        namespaces: Option<&[String]>,
        after: Option<Timestamp>,
        visible: &Visible,
    ) -> Result<Option<RunId>, StoreError> {
        let statement = match schema.has_clusters() {
            true => LATEST,
            false => OLD_LATEST,
        };
        let namespaces = namespaces.map(|names| json(&names));
        let (visible, clusters) = visible.bound();
        let rows = rows!(
            self,
            "find the newest run",
            statement,
            &namespaces,
            &visible,
            &clusters,
            &after.map(time::to_sql)
        )?;
        Ok(ids(&rows).pop())
    }

    /// The run before this one that has its name and namespace.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn previous_run(
        &self,
        schema: Schema,
        id: RunId,
        visible: &Visible,
    ) -> Result<Option<RunId>, StoreError> {
        let statement = match schema.has_clusters() {
            true => PREVIOUS,
            false => OLD_PREVIOUS,
        };
        let (visible, clusters) = visible.bound();
        let rows = rows!(
            self,
            "find the run before",
            statement,
            id,
            &visible,
            &clusters
        )?;
        Ok(ids(&rows).pop())
    }

    /// The namespaces that steps are in, in their order; at most a thousand.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn step_namespaces(&self) -> Result<Vec<String>, StoreError> {
        rows!(
            self,
            "list the namespaces",
            STEP_NAMESPACES,
            NAMESPACES as i64
        )
    }
}

fn ids(rows: &[String]) -> Vec<RunId> {
    rows.iter()
        .filter_map(|id| id.parse().ok())
        .map(RunId)
        .collect()
}
