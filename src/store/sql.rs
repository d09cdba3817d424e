//! The statements of the store, one set a database.
//!
//! Rows come and go as JSON: a query yields one JSON object a row, and a batch is one JSON array. So one code path in
//! `store` serves both databases, a batch is one statement of constant text, and no value is ever part of a statement.
//! The keys are the columns' names. Log bodies are the exception: they are bound as they are.

use super::model::Chunk;

/// A chunk and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) stream_id: i64,
    pub(super) seq: i64,
    pub(super) chunk: &'a Chunk,
}

/// Bodies are large: each database takes many of them in the way that it takes fastest, with one statement.
pub(super) trait InsertChunks {
    /// Inserts at most a few thousand chunks.
    async fn insert_chunks(&mut self, chunks: &[Placed<'_>]) -> Result<(), sqlx::Error>;
}

/// The statements. Parameters in order of appearance.
#[derive(Debug)]
pub(super) struct Sql {
    /// Begins a transaction that may write.
    pub(super) begin: &'static str,
    /// Begins a transaction that may write, and that others of the same cycle follow: only the last must wait for the disk.
    pub(super) begin_append: &'static str,
    /// Begins a transaction that only reads, where a query needs one.
    pub(super) begin_read: Option<&'static str>,
    /// Keeps others from migrating until the transaction ends.
    pub(super) lock_migrations: &'static str,
    /// Keeps other syncs from adopting until the transaction ends.
    pub(super) lock_adoption: &'static str,
    /// → the database's id
    pub(super) database_id: &'static str,
    /// Makes up another → it
    pub(super) renew_identity: &'static str,
    /// No step is held any more
    pub(super) forget_holds: &'static str,
    /// → [`super::KnownNamespace`]
    pub(super) known_namespaces: &'static str,
    /// (id, created_at), unless it is there
    pub(super) insert_cluster: &'static str,
    /// (cluster id, namespaces with uids as JSON, noticed_at): those whose uids are not known yet
    pub(super) insert_namespaces: &'static str,
    /// (namespaces as JSON) → a row if there is a step with a TestRun and without a cluster
    pub(super) unowned_steps: &'static str,
    /// → `{"migrated_at"}`
    pub(super) migrated_at: &'static str,
    /// (namespaces as JSON or null for all, default namespace, cluster id or null for all) → [`super::model::Step`]
    pub(super) active_steps: &'static str,
    /// (uids as JSON) → `{"k6_uid", "id"}`
    pub(super) claimed: &'static str,
    /// (name, namespace, cluster id or null) → id and status of the newest run of that name without steps of other clusters
    pub(super) find_run: &'static str,
    /// (name, namespace, created_at, updated_at) → id
    pub(super) insert_run: &'static str,
    /// (run id, step as JSON) → id
    pub(super) insert_step: &'static str,
    /// (step ids as JSON) → [`super::model::Stream`]
    pub(super) streams: &'static str,
    /// (facts as JSON): inserts new lives, updates known ones that have not ended
    pub(super) put_streams: &'static str,
    /// (step ids as JSON): waits until this transaction alone may add streams to these steps
    pub(super) lock_steps: &'static str,
    /// (step ids as JSON): takes the streams that there are off the steps' numbers of streams
    pub(super) count_streams_off: &'static str,
    /// (step ids as JSON): and adds those that there are now
    pub(super) count_streams_in: &'static str,
    /// (moves as JSON): waits until this transaction alone may move these streams
    pub(super) lock_streams: &'static str,
    /// (moves as JSON) → ids of the streams that were where they were expected to be, each with its next chunk's seq
    pub(super) advance_streams: &'static str,
    /// (stream ids as JSON, quiet_read_at)
    pub(super) note_quiet: &'static str,
    /// (namespaces as JSON or null for all, default namespace, cluster id or null for all) →
    /// [`super::model::HeldStep`]
    pub(super) held_steps: &'static str,
    /// (step ids as JSON, held)
    pub(super) set_held: &'static str,
    /// (step ids as JSON) → ids of those with logs that are not complete
    pub(super) open_logs: &'static str,
    /// ([`super::model::GapRow`]s as JSON)
    pub(super) insert_gaps: &'static str,
    /// (id, external_id or name) → ids of runs as text
    pub(super) find_runs: &'static str,
    /// (id, run ids as JSON or null for all, how many) → [`super::StepRow`]s with greater ids
    pub(super) steps_after: &'static str,
    /// (step ids as JSON) → [`super::StepRow`]
    pub(super) steps_before: &'static str,
    /// (`{"id", "seal"}`s as JSON)
    pub(super) seal_steps: &'static str,
    /// (step ids as JSON, stream id or null for all) → [`super::model::Recorded`]
    pub(super) recorded: &'static str,
    /// (stream id) → [`super::model::GapRow`]
    pub(super) gap_rows: &'static str,
    /// (cluster id or null) → [`super::Overview`]
    pub(super) overview: &'static str,
    /// → what is wrong with each row whose parent is not there
    pub(super) orphans: &'static str,
    /// (stream id) → [`super::model::Gap`]
    pub(super) gaps: &'static str,
    /// (stream id, time): the chunks up to the last that ends before that time →
    /// [`super::model::ChunksBefore`]
    pub(super) chunks_before: &'static str,
    /// (stream id, seq, how many) → [`super::ChunkRow`]s from there on
    pub(super) chunk_rows: &'static str,
    /// (stream id, how many) → bodies of the last chunks, last first
    pub(super) last_chunks: &'static str,
    /// (run ids as JSON): waits until this transaction alone may change these runs' steps
    pub(super) lock_runs: &'static str,
    /// (updates with their seals as JSON) → `{"id", "test_run_id"}` of those that were still at their version
    pub(super) update_steps: &'static str,
    /// (step ids as JSON, synced_at)
    pub(super) touch_steps: &'static str,
    /// (run ids as JSON) → `{"test_run_id", "status", "started_at", "finished_at"}` a step
    pub(super) steps_of_runs: &'static str,
    /// (runs as JSON, updated_at): changes those that differ
    pub(super) update_runs: &'static str,
    /// (cycle as JSON) → id; no row if the cycle of this instance and moment is there
    pub(super) insert_cycle: &'static str,
    /// (cycle id, errors as JSON)
    pub(super) insert_errors: &'static str,
    /// (step id, text) → how many errors of the step begin so
    pub(super) count_errors: &'static str,
    /// (time, how many of the newest runs to keep) → [`super::Prunable`]
    pub(super) prunable: &'static str,
    /// (time, how many of the newest runs to keep, how many) → that many streams with chunks, of runs that
    /// finished before
    pub(super) prunable_streams: &'static str,
    /// (stream ids as JSON, how many) → the first of their chunks, that many in all, as
    /// `{"stream_id", "last", "next"}` a stream: the last of them, and the one after it, if any
    pub(super) front: &'static str,
    /// (`{"id", "gaps", "hash_from", "hash_base", "gaps_hash", "seal"}`s as JSON)
    pub(super) move_front: &'static str,
    /// (`{"id", "last"}`s as JSON): deletes each stream's chunks up to the last
    pub(super) delete_front: &'static str,
    /// (time, how many): never the newest that was completed, which tells when a sync last looked
    pub(super) delete_cycles: &'static str,
    /// (how many) → [`super::model::CycleRecord`], newest first
    pub(super) last_cycles: &'static str,
}

// What both databases say alike. SQLite knows `$1` too.

pub(super) const FORGET_HOLDS: &str = "UPDATE test_run_steps SET held = (1 = 0) WHERE held";
pub(super) const DATABASE_ID: &str = "SELECT id FROM database_identity";
pub(super) const COUNT_ERRORS: &str = "
    SELECT CAST(count(*) AS TEXT) FROM sync_errors WHERE step_id = $1 AND substr(error, 1, length($2)) = $2";
pub(super) const FIND_RUN: &str = "
    SELECT id, status FROM test_runs
    WHERE name = $1 AND namespace = $2
      AND (CAST($3 AS TEXT) IS NULL OR NOT EXISTS (
          SELECT 1 FROM test_run_steps
          WHERE test_run_id = test_runs.id AND cluster IS NOT NULL
            AND cluster NOT IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3)))
    ORDER BY id DESC LIMIT 1";
pub(super) const FIND_RUNS: &str = "
    SELECT CAST(id AS TEXT) FROM test_runs WHERE CAST(id AS TEXT) = $1 OR external_id = $1 OR name = $1 ORDER BY id";
pub(super) const CHUNK_ROWS: &str = "
    SELECT seq, first_ts, last_ts, lines, body FROM log_chunks WHERE stream_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
pub(super) const LAST_CHUNKS: &str =
    "SELECT body FROM log_chunks WHERE stream_id = $1 ORDER BY seq DESC LIMIT $2";
