//! Log streams: one for each container life, and how far its log has been recorded.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{StepId, StreamId};
use super::proof::{self, Digest};
use super::query::{rows, rows_as, transaction};
use super::rows::{Read, json, read};
use super::statement::Statement;
use super::stream_facts::StreamFacts;
use super::{Reader, Store, StoreError, time};

/// A row of `log_streams`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub id: StreamId,
    /// What the cluster showed when it was last looked at.
    #[serde(flatten)]
    pub facts: StreamFacts,
    /// How far its log has been recorded.
    #[serde(flatten)]
    pub position: StreamPosition,
    /// The record is at its end; the log is never read again.
    pub complete: bool,
    /// When it was last read and had nothing new, though it had long been quiet.
    #[serde(with = "time::optional")]
    pub quiet_read_at: Option<Timestamp>,
}

/// How far a log has been recorded. Compared as a whole before anything is appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamPosition {
    /// The latest time of a stored line, nanoseconds since 1970.
    pub cursor_ts: Option<i64>,
    /// Stored lines to skip from the first with that time on.
    pub cursor_seen: i64,
    /// The node's clock stepped back: the log must be read from its beginning.
    pub cursor_stepped: bool,
    /// Lines stored.
    pub lines: i64,
    /// Gap rows.
    pub gaps: i64,
    /// What proves that all this is as it was stored.
    #[serde(flatten)]
    pub proof: Proof,
}

impl StreamPosition {
    /// Of a stream to which nothing was ever added.
    fn fresh() -> Self {
        Self {
            proof: Proof {
                next_seq: 0,
                hash_from: Some(0),
                hash: Digest::New,
                hash_base: Digest::New,
                gaps_hash: Digest::New,
                seal: Digest::New,
                ..Proof::default()
            },
            ..Self::default()
        }
    }

    /// `log_streams.seal` of the stream that is at this position.
    pub(crate) fn seal(&self, stream_id: StreamId, complete: bool) -> Digest {
        #[derive(Serialize)]
        struct Row {
            id: StreamId,
            complete: bool,
            #[serde(flatten)]
            position: StreamPosition,
        }
        let mut position = *self;
        position.proof.seal = Digest::New;
        // A stream to which nothing was ever added has its seal from the moment that it is made, when its id is not known.
        if position == Self::fresh() && !complete {
            return Digest::New;
        }
        let row = Row {
            id: stream_id,
            complete,
            position,
        };
        proof::seal("stream", &row)
    }
}

/// The counters and hashes of a stream; all but `next_seq` of streams of older databases begin at the first append since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Proof {
    /// Bytes stored.
    pub bytes: i64,
    /// Bytes that were replaced by U+FFFD.
    pub replaced: i64,
    /// The number of the next chunk.
    pub next_seq: i64,
    /// The first chunk that `hash` covers; those before it were pruned, or are older than hashes.
    pub hash_from: Option<i64>,
    /// The running hash over the chunks.
    pub hash: Digest,
    /// What it was before the chunk `hash_from`.
    pub hash_base: Digest,
    /// The sum of the hashes of all gap rows.
    pub gaps_hash: Digest,
    /// The hash of the row.
    pub seal: Digest,
}

/// A whole row of `log_streams`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Recorded {
    /// The stream.
    #[serde(flatten)]
    pub stream: Stream,
    /// The hash of what the cluster showed.
    pub facts_seal: Digest,
}

/// The columns of a [`StreamPosition`], of `log_streams s`. What older databases lack, the number of the next chunk, is counted.
macro_rules! position_columns {
    (next_seq) => {
        "coalesce(next_seq, CASE WHEN s.seal = 'unsealed' THEN (
            SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = s.id AND seq < 9223372036854775807
        ) ELSE -1 END)"
    };
    (sqlite) => {
        concat!(
            "'cursor_ts', cursor_ts, 'cursor_seen', cursor_seen,
            'cursor_stepped', json(iif(cursor_stepped, 'true', 'false')), 'lines', lines, 'gaps', gaps,
            'bytes', bytes, 'replaced', replaced, 'hash_from', hash_from, 'hash', hash, 'hash_base', hash_base,
            'gaps_hash', gaps_hash, 'seal', s.seal, 'next_seq', ",
            $crate::store::streams::position_columns!(next_seq)
        )
    };
    (postgres) => {
        concat!(
            "cursor_ts, cursor_seen, cursor_stepped, lines, gaps, bytes, replaced, hash_from, hash, hash_base, gaps_hash,
            s.seal, ",
            $crate::store::streams::position_columns!(next_seq),
            " AS next_seq"
        )
    };
}
pub(super) use position_columns;

/// The columns of a [`Stream`], of `log_streams s`.
macro_rules! stream_columns {
    (sqlite) => {
        concat!(
            "'id', s.id, 'step_id', step_id, 'pod_name', pod_name, 'pod_uid', pod_uid, 'container', container,
            'role', role, 'restart_count', restart_count, 'state', state, 'exit_code', exit_code, 'reason', reason,
            'started_at', started_at, 'finished_at', finished_at,
            'complete', json(iif(complete, 'true', 'false')), 'quiet_read_at', quiet_read_at, ",
            position_columns!(sqlite)
        )
    };
    (postgres) => {
        concat!(
            "s.id, step_id, pod_name, pod_uid, container, role, restart_count, state, exit_code, reason, started_at,
            finished_at, complete, quiet_read_at, ",
            position_columns!(postgres)
        )
    };
}

/// (step ids as JSON) → [`Stream`]
const STREAMS: Statement = Statement {
    sqlite: concat!(
        "SELECT json_object(",
        stream_columns!(sqlite),
        ") FROM log_streams s WHERE step_id IN (SELECT value FROM json_each($1)) ORDER BY s.id"
    ),
    postgres: concat!(
        "SELECT row_to_json(stream)::text FROM (SELECT ",
        stream_columns!(postgres),
        " FROM log_streams s
          WHERE step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)) ORDER BY s.id) stream"
    ),
};

/// (step ids as JSON, stream id or null for all) → [`Recorded`]
const RECORDED: Statement = Statement {
    sqlite: concat!(
        "SELECT json_object('facts_seal', facts_seal, ",
        stream_columns!(sqlite),
        ") FROM log_streams s
        WHERE step_id IN (SELECT value FROM json_each($1)) AND ($2 IS NULL OR s.id = $2) ORDER BY s.id"
    ),
    postgres: concat!(
        "SELECT row_to_json(recorded)::text FROM (SELECT facts_seal, ",
        stream_columns!(postgres),
        " FROM log_streams s
          WHERE step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
            AND ($2::bigint IS NULL OR s.id = $2) ORDER BY s.id) recorded"
    ),
};

/// (stream ids as JSON, quiet_read_at)
const NOTE_QUIET: Statement = Statement {
    sqlite: "
        UPDATE log_streams SET quiet_read_at = $2 WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "
        UPDATE log_streams SET quiet_read_at = $2::timestamptz
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

impl Reader {
    /// The log streams of these steps, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn streams(&self, step_ids: &[StepId]) -> Result<Vec<Stream>, StoreError> {
        if step_ids.is_empty() {
            return Ok(Vec::new());
        }
        let step_ids = json(&step_ids);
        rows_as!(
            self,
            "read the log streams",
            sqlx::query_scalar(self.sql(STREAMS)).bind(&step_ids)
        )
    }

    /// The streams of these steps.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn recorded(
        &self,
        step_ids: &[StepId],
    ) -> Result<Vec<Read<Recorded>>, StoreError> {
        let (step_ids, stream) = (json(&step_ids), None::<StreamId>);
        let rows = rows!(self, "read the log streams", RECORDED, &step_ids, stream)?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }

    /// A stream as it is now; `None`: it is not there any more, or can't be read.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn recorded_again(
        &self,
        old: &Recorded,
    ) -> Result<Option<Recorded>, StoreError> {
        let (step_ids, stream) = (json(&[old.stream.facts.step_id]), Some(old.stream.id));
        let rows = rows!(self, "read a log stream", RECORDED, &step_ids, stream)?;
        Ok(rows.first().and_then(|row| read(row).ok()))
    }
}

impl Store {
    /// Notes that these streams, which had long been quiet, had nothing new when they were read at `now`.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn note_quiet(
        &self,
        stream_ids: &[StreamId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if stream_ids.is_empty() || self.dry_run {
            return Ok(());
        }
        let (stream_ids, now) = (json(&stream_ids), time::to_sql(now));
        transaction!(self, "note which logs are quiet", tx => {
            sqlx::query(self.sql(NOTE_QUIET)).bind(&stream_ids).bind(&now).execute(&mut *tx).await?;
        })
    }
}
