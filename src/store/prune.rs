//! Deleting what is old, in batches: each is a short transaction, so that syncs never wait long.
//!
//! What is deleted is marked first: a log without its chunks has a gap that says so. Killed halfway, the next prune goes on.
//! Chunks go from the front, and the running hash of a log begins after them: what is left is still proven.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::model::{Chunk, Gap, GapCause, GapRow, StreamPosition};
use super::proof::{self, Digest};
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

/// A log to prune.
#[derive(Deserialize)]
struct Old {
    id: i64,
    /// It has the gap already.
    is_marked: bool,
    #[serde(flatten)]
    position: StreamPosition,
}

/// The chunks of a log that are deleted next.
#[derive(Deserialize)]
struct Front {
    stream_id: i64,
    /// The last of them.
    last: i64,
    /// The one after it; `None`: nothing remains.
    next: Option<i64>,
}

/// What becomes of a log's row.
#[derive(Serialize)]
struct Pruned {
    id: i64,
    last: i64,
    gaps: i64,
    hash_from: Option<i64>,
    hash_base: Digest,
    gaps_hash: Digest,
    seal: Digest,
}

impl Pruned {
    /// `base`: the running hash before the first chunk that remains.
    fn of(old: &Old, front: &Front, base: Digest, gap: Option<GapRow>) -> Self {
        let mut to = old.position;
        if let Some(gap) = gap {
            to.gaps = to.gaps.saturating_add(1);
            if to.proof.gaps_hash != Digest::Unsealed {
                to.proof.gaps_hash = to.proof.gaps_hash.plus(&gap);
            }
        }
        if let Some(from) = to.proof.hash_from {
            to.proof.hash_from = Some(from.max(front.next.unwrap_or(to.proof.next_seq)));
            to.proof.hash_base = base;
        }
        let stands = old.position.proof.seal;
        Self {
            id: old.id,
            last: front.last,
            gaps: to.gaps,
            hash_from: to.proof.hash_from,
            hash_base: to.proof.hash_base,
            gaps_hash: to.proof.gaps_hash,
            seal: match stands {
                Digest::Unsealed => stands,
                _ => proof::resealed(
                    stands,
                    proof::stream_seal(old.id, &old.position, true),
                    || proof::stream_seal(old.id, &to, true),
                ),
            },
        }
    }
}

impl Store {
    /// What there is to prune: logs of runs that finished before this time, have no active step and are not among the
    /// newest `keep_last`, and cycles that began before it, but for the newest that was completed.
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

    /// Deletes some chunks of old logs. `Some`: there may be more; so many logs are done with.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn prune_logs(
        &self,
        before: Timestamp,
        keep_last: i64,
    ) -> Result<Option<u64>, StoreError> {
        let now = Timestamp::now();
        let before = time::to_sql(before);
        transaction!(self, "delete old logs", tx => {
            let old: Vec<String> = sqlx::query_scalar(self.sql.prunable_streams)
                .bind(&before)
                .bind(keep_last)
                .bind(CHUNKS)
                .fetch_all(&mut *tx)
                .await?;
            let old: Vec<Old> = rows_of(old)?;
            let ids: Vec<i64> = old.iter().map(|old| old.id).collect();
            let fronts: Vec<String> = sqlx::query_scalar(self.sql.front)
                .bind(json(&ids))
                .bind(CHUNKS)
                .fetch_all(&mut *tx)
                .await?;
            let fronts: Vec<Front> = rows_of(fronts)?;
            let (mut pruned, mut marks) = (Vec::new(), Vec::new());
            let mut done = 0;
            for front in &fronts {
                let Some(old) = old.iter().find(|old| old.id == front.stream_id) else {
                    continue;
                };
                let gap = (!old.is_marked).then_some(GapRow {
                    stream_id: old.id,
                    gap: Gap { after_ts: None, before_ts: None, cause: GapCause::Pruned },
                    noticed_at: now,
                });
                let proof = &old.position.proof;
                let mut base = proof.hash_base;
                match (proof.hash_from, front.next) {
                    // Nothing is left to prove.
                    (_, None) => base = proof.hash,
                    (None, _) => {}
                    (Some(from), Some(_)) => {
                        let mut seq = from;
                        while seq <= front.last {
                            // One at a time: they may be large.
                            let row: Option<(i64, i64, i64, i64, String)> =
                                sqlx::query_as(self.sql.chunk_rows)
                                    .bind(old.id)
                                    .bind(seq)
                                    .bind(1_i64)
                                    .fetch_optional(&mut *tx)
                                    .await?;
                            let Some((found, first_ts, last_ts, lines, body)) = row else {
                                break;
                            };
                            if found > front.last {
                                break;
                            }
                            let chunk = Chunk { first_ts, last_ts, lines, body };
                            base = base.then(old.id, found, &chunk);
                            seq = found.saturating_add(1);
                        }
                    }
                }
                done += u64::from(front.next.is_none());
                pruned.push(Pruned::of(old, front, base, gap));
                marks.extend(gap);
            }
            let (is_some, pruned) = (!pruned.is_empty(), json(&pruned));
            if is_some {
                sqlx::query(self.sql.move_front).bind(&pruned).execute(&mut *tx).await?;
                sqlx::query(self.sql.insert_gaps).bind(json(&marks)).execute(&mut *tx).await?;
                sqlx::query(self.sql.delete_front).bind(&pruned).execute(&mut *tx).await?;
            }
            is_some.then_some(done)
        })
    }

    /// Deletes some old cycles with their errors, but for the newest that was completed. `Some`: there may be more; so many
    /// are gone.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn prune_cycles(&self, before: Timestamp) -> Result<Option<u64>, StoreError> {
        let before = time::to_sql(before);
        transaction!(self, "delete old cycles", tx => {
            let deleted = sqlx::query(self.sql.delete_cycles)
                .bind(&before)
                .bind(CYCLES)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            (deleted > 0).then_some(deleted)
        })
    }
}
