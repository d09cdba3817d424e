//! What a database says of its health: may it be written, what is before it, and what of the record is missing or late.

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::{Executor, Row};

use super::connect::Db;
use super::query::{on, rows};
use super::rows::rows_of;
use super::statement::Statement;
use super::words::GapCause;
use super::{Reader, StoreError, time};

/// What keeps a database from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writable {
    /// Nothing that is known.
    Yes,
    /// The server is a standby.
    Standby,
    /// The role, or the user, lacks the right.
    Denied,
}

/// How many gaps of one cause were noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RecentGaps {
    pub cause: GapCause,
    pub gaps: i64,
}

/// Logs of steps that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Late {
    /// Not recorded to their end.
    pub incomplete: i64,
    /// Of runners, complete, and not read for what k6 measured.
    pub due: i64,
}

/// (time) → [`RecentGaps`], most first; lines that `prune` deleted are no gap
const RECENT_GAPS: Statement = Statement {
    sqlite: "
        SELECT json_object('cause', cause, 'gaps', count(*)) FROM log_gaps
        WHERE cause <> 'pruned' AND julianday(noticed_at) >= julianday($1) GROUP BY cause ORDER BY count(*) DESC, cause",
    postgres: "
        SELECT json_build_object('cause', cause, 'gaps', count(*))::text FROM log_gaps
        WHERE cause <> 'pruned' AND noticed_at >= $1::timestamptz GROUP BY cause ORDER BY count(*) DESC, cause",
};

/// (time) → [`Late`], of steps that had ended by then
const LATE: Statement = Statement {
    sqlite: "
        SELECT json_object(
            'incomplete', (SELECT count(*) FROM log_streams l JOIN test_run_steps s ON s.id = l.step_id
                WHERE NOT l.complete AND s.status NOT IN ('pending', 'initializing', 'running', 'finishing')
                  AND julianday(coalesce(s.finished_at, s.synced_at, s.created_at)) < julianday($1)),
            'due', (SELECT count(*) FROM log_streams l JOIN test_run_steps s ON s.id = l.step_id
                WHERE l.summary_due AND s.status NOT IN ('pending', 'initializing', 'running', 'finishing')
                  AND julianday(coalesce(s.finished_at, s.synced_at, s.created_at)) < julianday($1)))",
    postgres: "
        SELECT json_build_object(
            'incomplete', (SELECT count(*) FROM log_streams l JOIN test_run_steps s ON s.id = l.step_id
                WHERE NOT l.complete AND s.status NOT IN ('pending', 'initializing', 'running', 'finishing')
                  AND coalesce(s.finished_at, s.synced_at, s.created_at) < $1::timestamptz),
            'due', (SELECT count(*) FROM log_streams l JOIN test_run_steps s ON s.id = l.step_id
                WHERE l.summary_due AND s.status NOT IN ('pending', 'initializing', 'running', 'finishing')
                  AND coalesce(s.finished_at, s.synced_at, s.created_at) < $1::timestamptz))::text",
};

impl Reader {
    /// Whether there is a pooler such as PgBouncer before PostgreSQL.
    pub(crate) const fn is_behind_pooler(&self) -> bool {
        matches!(self.db, Db::Postgres(_)) && !self.begin.is_direct()
    }

    /// Whether PostgreSQL lets our role write the tables; of SQLite its file tells. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn writable(&self) -> Result<Writable, StoreError> {
        let asked = match self.db {
            Db::Sqlite(_) => "SELECT 'yes'",
            // By the simple protocol. What our own session may is another matter: it only reads.
            Db::Postgres(_) => {
                "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby'
                    WHEN NOT has_table_privilege('test_run_steps', 'INSERT') THEN 'denied' ELSE 'yes' END"
            }
        };
        let answer: Result<String, sqlx::Error> =
            on!(self, pool => pool.fetch_one(asked).await.and_then(|row| row.try_get(0)));
        match answer.as_deref() {
            Ok("standby") => Ok(Writable::Standby),
            Ok("denied") => Ok(Writable::Denied),
            Ok(_) => Ok(Writable::Yes),
            Err(error) => Err(self.failed("find out whether it may be written", error)),
        }
    }

    /// The gaps that were noticed since then, by cause.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn recent_gaps(
        &self,
        since: Timestamp,
    ) -> Result<Vec<RecentGaps>, StoreError> {
        let since = time::to_sql(since);
        let rows = rows!(self, "count the gaps in logs", RECENT_GAPS, &since)?;
        rows_of(rows).map_err(|error| self.failed("count the gaps in logs", &error))
    }

    /// What is still to be done for steps that had ended by then.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn late(&self, ended_by: Timestamp) -> Result<Late, StoreError> {
        let ended_by = time::to_sql(ended_by);
        let rows = rows!(self, "look for logs that are not complete", LATE, &ended_by)?;
        let rows: Vec<Late> = rows_of(rows)
            .map_err(|error| self.failed("look for logs that are not complete", &error))?;
        Ok(rows.first().copied().unwrap_or_default())
    }
}
