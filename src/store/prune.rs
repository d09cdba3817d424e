//! Deleting what is old, in batches: each is a short transaction, so that syncs never wait long.
//!
//! What is deleted is marked first: a log without its chunks has a gap that says so. Killed halfway, the next prune goes on.
//! Chunks go from the front, and the running hash of a log begins after them: what is left is still proven.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chunks::{CHUNK_ROWS, ChunkColumns, ChunkRow};
use super::gaps::{Gap, GapRow, INSERT_GAPS};
use super::ids::StreamId;
use super::proof::{self, Digest};
use super::query::{rows, transaction};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::streams::{StreamPosition, position_columns};
use super::words::GapCause;
use super::{Reader, Store, StoreError, time};

/// Chunks a batch; of at most 256 KiB each, but for longer lines.
const CHUNKS: i64 = 100;
/// Cycles a batch.
const CYCLES: i64 = 1_000;

/// What is old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Prunable {
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
    id: StreamId,
    /// It has the gap already.
    is_marked: bool,
    #[serde(flatten)]
    position: StreamPosition,
}

/// The chunks of a log that are deleted next.
#[derive(Deserialize)]
struct Front {
    stream_id: StreamId,
    /// The last of them.
    last: i64,
    /// The one after it; `None`: nothing remains.
    next: Option<i64>,
}

/// What becomes of a log's row.
#[derive(Serialize)]
struct Pruned {
    id: StreamId,
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
                to.proof.gaps_hash = to.proof.gaps_hash.with_gap(&gap);
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
                _ => proof::resealed(stands, old.position.seal(old.id, true), || {
                    to.seal(old.id, true)
                }),
            },
        }
    }
}

/// From where, and on what condition, logs are old: `$is_old` compares with the time `$1`, and `$2` of the newest runs are kept.
macro_rules! from_old_streams {
    ($is_old:literal) => {
        concat!(
            "
        FROM log_streams s
        JOIN test_run_steps ON test_run_steps.id = step_id JOIN test_runs ON test_runs.id = test_run_id
        WHERE complete AND ",
            $is_old,
            "
          AND test_runs.status NOT IN ('pending', 'initializing', 'running', 'finishing')
          AND test_runs.id NOT IN (SELECT id FROM test_runs ORDER BY id DESC LIMIT $2)
          AND NOT EXISTS (SELECT 1 FROM test_run_steps active WHERE active.test_run_id = test_runs.id
                          AND active.status IN ('pending', 'initializing', 'running', 'finishing'))
          AND NOT EXISTS (SELECT 1 FROM log_streams open JOIN test_run_steps sibling ON sibling.id = open.step_id
                          WHERE sibling.test_run_id = test_runs.id AND NOT open.complete)
          AND EXISTS (SELECT 1 FROM log_chunks WHERE stream_id = s.id)"
        )
    };
    (sqlite) => {
        from_old_streams!("julianday(test_runs.finished_at) < julianday($1)")
    };
    (postgres) => {
        from_old_streams!("test_runs.finished_at < $1::timestamptz")
    };
}

/// On what condition cycles are old: those that began before the time `$1`, but never the newest that was completed, which says
/// when a sync last looked.
macro_rules! old_cycles {
    (sqlite) => {
        "julianday(started_at) < julianday($1)
            AND id IS NOT (SELECT id FROM sync_cycles WHERE outcome = 'completed'
                           ORDER BY julianday(started_at) DESC, id DESC LIMIT 1)"
    };
    (postgres) => {
        "started_at < $1::timestamptz
            AND id IS DISTINCT FROM (SELECT id FROM sync_cycles WHERE outcome = 'completed'
                                     ORDER BY started_at DESC, id DESC LIMIT 1)"
    };
}

/// (time, how many of the newest runs to keep) → [`Prunable`]
const PRUNABLE: Statement = Statement {
    sqlite: concat!(
        "SELECT json_object('logs', count(*), 'bytes', coalesce(sum(bytes), 0),
            'cycles', (SELECT count(*) FROM sync_cycles WHERE ",
        old_cycles!(sqlite),
        "))",
        from_old_streams!(sqlite)
    ),
    postgres: concat!(
        "SELECT json_build_object('logs', count(*), 'bytes', coalesce(sum(bytes), 0),
            'cycles', (SELECT count(*) FROM sync_cycles WHERE ",
        old_cycles!(postgres),
        "))::text",
        from_old_streams!(postgres)
    ),
};

/// (time, how many of the newest runs to keep, how many) → [`Old`]: that many streams with chunks, of runs that
/// finished before
const OLD_STREAMS: Statement = Statement {
    sqlite: concat!(
        "SELECT json_object('id', s.id, ",
        position_columns!(sqlite),
        ", 'is_marked',
            json(iif(EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned'), 'true', 'false')))",
        from_old_streams!(sqlite),
        " ORDER BY s.id LIMIT $3"
    ),
    postgres: concat!(
        "SELECT row_to_json(old)::text FROM (SELECT s.id, ",
        position_columns!(postgres),
        ", EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned') AS is_marked",
        from_old_streams!(postgres),
        " ORDER BY s.id LIMIT $3 FOR NO KEY UPDATE OF s) old"
    ),
};

/// (stream ids as JSON, how many) → the first of their chunks, that many in all, as
/// `{"stream_id", "last", "next"}` a stream: the last of them, and the one after it, if any
const FRONT: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'last', last,
            'next', (SELECT min(seq) FROM log_chunks WHERE stream_id = front.stream_id AND seq > last))
        FROM (SELECT stream_id, max(seq) AS last
              FROM (SELECT stream_id, seq FROM log_chunks WHERE stream_id IN (SELECT value FROM json_each($1))
                    ORDER BY stream_id, seq LIMIT $2) chunks
              GROUP BY stream_id) front",
    postgres: "
        SELECT json_build_object('stream_id', stream_id, 'last', last,
            'next', (SELECT min(seq) FROM log_chunks WHERE stream_id = front.stream_id AND seq > last))::text
        FROM (SELECT stream_id, max(seq) AS last
              FROM (SELECT stream_id, seq FROM log_chunks WHERE stream_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
                    ORDER BY stream_id, seq LIMIT $2) chunks
              GROUP BY stream_id) front",
};

/// (`{"id", "gaps", "hash_from", "hash_base", "gaps_hash", "seal"}`s as JSON)
const MOVE_FRONT: Statement = Statement {
    sqlite: "
        UPDATE log_streams
        SET gaps = new.value ->> 'gaps', hash_from = new.value ->> 'hash_from', hash_base = new.value ->> 'hash_base',
            gaps_hash = new.value ->> 'gaps_hash', seal = new.value ->> 'seal'
        FROM json_each($1) AS new WHERE log_streams.id = new.value ->> 'id'",
    postgres: "
        UPDATE log_streams
        SET gaps = new.gaps, hash_from = new.hash_from, hash_base = new.hash_base, gaps_hash = new.gaps_hash,
            seal = new.seal
        FROM json_to_recordset($1::json) AS new(id bigint, gaps bigint, hash_from bigint, hash_base text, gaps_hash text,
                                                seal text)
        WHERE log_streams.id = new.id",
};

/// (`{"id", "last"}`s as JSON): deletes each stream's chunks up to the last
const DELETE_FRONT: Statement = Statement {
    sqlite: "
        DELETE FROM log_chunks WHERE (stream_id, seq) IN (
            SELECT stream_id, seq FROM log_chunks
            JOIN json_each($1) AS front ON stream_id = front.value ->> 'id' AND seq <= front.value ->> 'last')",
    postgres: "
        DELETE FROM log_chunks
        USING json_to_recordset($1::json) AS front(id bigint, last bigint)
        WHERE stream_id = front.id AND seq <= front.last",
};

/// (time, how many)
const DELETE_CYCLES: Statement = Statement {
    sqlite: concat!(
        "DELETE FROM sync_cycles WHERE id IN (SELECT id FROM sync_cycles WHERE ",
        old_cycles!(sqlite),
        " LIMIT $2)"
    ),
    postgres: concat!(
        "DELETE FROM sync_cycles WHERE id IN (SELECT id FROM sync_cycles WHERE ",
        old_cycles!(postgres),
        " LIMIT $2)"
    ),
};

impl Reader {
    /// What there is to prune: logs of runs that finished before this time, have no active step and are not among the
    /// newest `keep_last`, and cycles that began before it, but for the newest that was completed.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn prunable(
        &self,
        before: Timestamp,
        keep_last: i64,
    ) -> Result<Prunable, StoreError> {
        let before = time::to_sql(before);
        let rows = rows!(self, "find old logs", PRUNABLE, &before, keep_last)?;
        let sums: Vec<Prunable> =
            rows_of(rows).map_err(|error| self.failed("find old logs", &error))?;
        Ok(sums.into_iter().next().unwrap_or_default())
    }
}

impl Store {
    /// Deletes some chunks of old logs. `Some`: there may be more; how many logs are done.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn prune_logs(
        &self,
        before: Timestamp,
        keep_last: i64,
    ) -> Result<Option<u64>, StoreError> {
        let now = Timestamp::now();
        let before = time::to_sql(before);
        transaction!(self, "delete old logs", tx => {
            let old: Vec<String> = sqlx::query_scalar(self.sql(OLD_STREAMS))
                .bind(&before)
                .bind(keep_last)
                .bind(CHUNKS)
                .fetch_all(&mut *tx)
                .await?;
            let old: Vec<Old> = rows_of(old)?;
            let ids: Vec<StreamId> = old.iter().map(|old| old.id).collect();
            let fronts: Vec<String> = sqlx::query_scalar(self.sql(FRONT))
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
                            let row: Option<ChunkColumns> =
                                sqlx::query_as(self.sql(CHUNK_ROWS))
                                    .bind(old.id)
                                    .bind(seq)
                                    .bind(1_i64)
                                    .fetch_optional(&mut *tx)
                                    .await?;
                            let Some(row) = row.map(ChunkRow::from) else {
                                break;
                            };
                            if row.seq > front.last {
                                break;
                            }
                            base = base.with_chunk(old.id, row.seq, &row.chunk);
                            seq = row.seq.saturating_add(1);
                        }
                    }
                }
                done += u64::from(front.next.is_none());
                pruned.push(Pruned::of(old, front, base, gap));
                marks.extend(gap);
            }
            let (is_some, pruned) = (!pruned.is_empty(), json(&pruned));
            if is_some {
                sqlx::query(self.sql(MOVE_FRONT)).bind(&pruned).execute(&mut *tx).await?;
                sqlx::query(self.sql(INSERT_GAPS)).bind(json(&marks)).execute(&mut *tx).await?;
                sqlx::query(self.sql(DELETE_FRONT)).bind(&pruned).execute(&mut *tx).await?;
            }
            is_some.then_some(done)
        })
    }

    /// Deletes some old cycles with their errors, but for the newest that was completed. `Some`: there may be more; how many
    /// are gone.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn prune_cycles(&self, before: Timestamp) -> Result<Option<u64>, StoreError> {
        let before = time::to_sql(before);
        transaction!(self, "delete old cycles", tx => {
            let deleted = sqlx::query(self.sql(DELETE_CYCLES))
                .bind(&before)
                .bind(CYCLES)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            (deleted > 0).then_some(deleted)
        })
    }
}
