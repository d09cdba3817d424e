//! Runs: rows of `test_runs`.

use super::ids::RunId;
use super::query::rows;
use super::statement::Statement;
use super::{Reader, StoreError};

/// (id, external_id or name) → ids of runs as text
const FIND_RUNS: Statement = Statement::both(
    "
    SELECT CAST(id AS TEXT) FROM test_runs WHERE CAST(id AS TEXT) = $1 OR external_id = $1 OR name = $1 ORDER BY id",
);

impl Reader {
    /// The runs with this id, external_id or name.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn find_runs(&self, run: &str) -> Result<Vec<RunId>, StoreError> {
        let rows = rows!(self, "find the run", FIND_RUNS, run)?;
        Ok(rows
            .iter()
            .filter_map(|id| id.parse().ok())
            .map(RunId)
            .collect())
    }
}
