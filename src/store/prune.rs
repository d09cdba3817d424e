//! Deleting what is old, in batches: each is a short transaction, so that syncs never wait long.
//!
//! What is deleted is marked first: a log without its chunks has a gap that says so. Killed halfway, the next prune goes on.

use jiff::Timestamp;
use serde::Deserialize;

use super::model::GapCause;
use super::{Db, Store, StoreError, json, rows_of, time};

/// Chunks a batch; of at most 256 KiB each, but for longer lines.
const CHUNKS: i64 = 100;
/// Cycles a batch.
const CYCLES: i64 = 1_000;

/// What is old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Prunable {
    /// Container logs with chunks.
    pub logs: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Cycles.
    pub cycles: i64,
}

impl Store {
    /// What there is to prune: logs of runs that finished before this time and are not among the newest `keep_last`, and
    /// cycles that began before it.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn prunable(
        &self,
        before: Timestamp,
        keep_last: i64,
    ) -> Result<Prunable, StoreError> {
        let before = time::to_sql(before);
        let rows = rows!(self, "find old logs", prunable, &before, keep_last)?;
        let sums: Vec<Prunable> =
            rows_of(rows).map_err(|error| self.failed("find old logs", &error))?;
        Ok(sums.into_iter().next().unwrap_or_default())
    }

    /// Deletes some chunks of old logs; whether there may be more.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn prune_logs(&self, before: Timestamp, keep_last: i64) -> Result<bool, StoreError> {
        let (before, now) = (time::to_sql(before), time::to_sql(Timestamp::now()));
        transaction!(self, "delete old logs", tx => {
            let streams: Vec<i64> = sqlx::query_scalar(self.sql.prunable_streams)
                .bind(&before)
                .bind(keep_last)
                .bind(CHUNKS)
                .fetch_all(&mut *tx)
                .await?;
            let streams = json(&streams);
            sqlx::query(self.sql.count_pruned)
                .bind(&streams)
                .bind(GapCause::Pruned.as_str())
                .execute(&mut *tx)
                .await?;
            sqlx::query(self.sql.mark_pruned)
                .bind(&streams)
                .bind(GapCause::Pruned.as_str())
                .bind(&now)
                .execute(&mut *tx)
                .await?;
            let deleted = sqlx::query(self.sql.delete_chunks)
                .bind(&streams)
                .bind(CHUNKS)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            deleted > 0
        })
    }

    /// Deletes some old cycles with their errors; whether there may be more.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn prune_cycles(&self, before: Timestamp) -> Result<bool, StoreError> {
        let before = time::to_sql(before);
        transaction!(self, "delete old cycles", tx => {
            let deleted = sqlx::query(self.sql.delete_cycles)
                .bind(&before)
                .bind(CYCLES)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            deleted > 0
        })
    }
}
