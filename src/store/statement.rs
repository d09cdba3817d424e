//! What is sent to a database: one text for each, and never a value in it.
//!
//! Rows come and go as JSON: a query yields one JSON object a row, and a batch is one JSON array. So one code path serves
//! both databases, and a batch is one statement of constant text. The keys are the columns' names. Log bodies are the
//! exception: they are bound as they are.
//!
//! In PostgreSQL, sets of ids are compared with `= ANY (ARRAY(…))`, which uses an index even when the planner has no
//! statistics yet.

use super::connect::Db;

/// A statement for both databases. It stands beside the method that sends it, and the comment on it says what its
/// parameters are, in the order of `$1`, `$2`, …, and after the arrow what it yields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Statement {
    /// What both databases understand. SQLite knows `$1` too.
    pub(super) const fn both(sql: &'static str) -> Self {
        Self {
            sqlite: sql,
            postgres: sql,
        }
    }

    pub(super) const fn on(self, db: &Db) -> &'static str {
        match db {
            Db::Sqlite(_) => self.sqlite,
            Db::Postgres(_) => self.postgres,
        }
    }
}
