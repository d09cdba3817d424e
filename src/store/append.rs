//! Appending to logs: lines, gaps and the position after them, in one transaction or not at all.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{PgConnection, QueryBuilder, SqliteConnection};

use super::chunks::Chunk;
use super::gaps::{Gap, GapRow, INSERT_GAPS};
use super::ids::StreamId;
use super::line_times::LineTimes;
use super::proof::{self, Digest};
use super::query::transaction;
use super::rows::json;
use super::statement::Statement;
use super::streams::StreamPosition;
use super::{Store, StoreError};

/// Everything new of one stream, stored in one transaction or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Append {
    /// Gaps before and in the chunk.
    pub gaps: Vec<Gap>,
    /// New lines.
    pub chunk: Option<Chunk>,
    /// Runs of bytes that were replaced by U+FFFD in the chunk.
    pub replaced: i64,
    /// The cursor after the chunk (time, lines seen from it on, stepped).
    pub cursor: Option<(i64, i64, bool)>,
    /// Nothing will follow.
    pub complete: bool,
}

/// An append, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamAppend {
    /// `log_streams.id`
    pub stream_id: StreamId,
    /// Where the stream must still be left off.
    pub position: StreamPosition,
    /// What is new.
    pub new: Append,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is stored; the log is now left off here.
    Stored(Box<StreamPosition>),
    /// Another sync had moved the stream on since it was read; nothing was stored.
    LostRace,
}

/// (moves as JSON): waits until this transaction alone may move these streams
const LOCK_STREAMS: Statement = Statement {
    // BEGIN IMMEDIATE is the lock.
    sqlite: "SELECT 1 WHERE $1 IS NULL",
    // Always in the same order, so that two syncs never wait for each other.
    postgres: "
        SELECT id FROM log_streams
        WHERE id = ANY (ARRAY(SELECT (value ->> 'id')::bigint FROM json_array_elements($1::json)))
        ORDER BY id FOR NO KEY UPDATE",
};

/// (moves as JSON) → ids of the streams that were where they were expected to be, each with its next chunk's seq
const ADVANCE_STREAMS: Statement = Statement {
    sqlite: "
        UPDATE log_streams
        SET cursor_ts = new.value ->> 'cursor_ts', cursor_seen = new.value ->> 'cursor_seen',
            cursor_stepped = new.value ->> 'cursor_stepped', lines = new.value ->> 'lines',
            bytes = new.value ->> 'bytes', replaced = new.value ->> 'replaced', gaps = new.value ->> 'gaps',
            complete = new.value ->> 'complete', summary_due = new.value ->> 'complete' AND role = 'runner', quiet_read_at = NULL, next_seq = new.value ->> 'next_seq',
            hash_from = new.value ->> 'hash_from', hash = new.value ->> 'hash', hash_base = new.value ->> 'hash_base',
            gaps_hash = new.value ->> 'gaps_hash', seal = new.value ->> 'seal'
        FROM json_each($1) AS new
        WHERE log_streams.id = new.value ->> 'id' AND cursor_ts IS new.value ->> 'at_ts'
          AND cursor_seen = new.value ->> 'at_seen' AND lines = new.value ->> 'at_lines'
          AND gaps = new.value ->> 'at_gaps' AND NOT complete
        RETURNING id, (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = log_streams.id AND seq < 9223372036854775807)",
    postgres: "
        UPDATE log_streams
        SET cursor_ts = new.cursor_ts, cursor_seen = new.cursor_seen, cursor_stepped = new.cursor_stepped,
            lines = new.lines, bytes = new.bytes, replaced = new.replaced, gaps = new.gaps, complete = new.complete,
            summary_due = new.complete AND role = 'runner', quiet_read_at = NULL, next_seq = new.next_seq, hash_from = new.hash_from, hash = new.hash,
            hash_base = new.hash_base, gaps_hash = new.gaps_hash, seal = new.seal
        FROM json_to_recordset($1::json) AS new(id bigint, at_ts bigint, at_seen bigint, at_lines bigint,
            at_gaps bigint, cursor_ts bigint, cursor_seen bigint, cursor_stepped boolean, lines bigint, gaps bigint,
            bytes bigint, replaced bigint, complete boolean, next_seq bigint, hash_from bigint, hash text, hash_base text,
            gaps_hash text, seal text)
        WHERE log_streams.id = new.id AND log_streams.cursor_ts IS NOT DISTINCT FROM new.at_ts
          AND log_streams.cursor_seen = new.at_seen AND log_streams.lines = new.at_lines
          AND log_streams.gaps = new.at_gaps AND NOT log_streams.complete
        RETURNING log_streams.id,
                  (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = log_streams.id AND seq < 9223372036854775807)",
};

impl Store {
    /// Stores what is new of each of these streams, or nothing of those that are no longer at the position; all in one
    /// transaction. No stream may be there twice.
    ///
    /// # Errors
    /// [`StoreError::Statement`]; nothing is stored then.
    pub(crate) async fn append(
        &self,
        appends: &[StreamAppend],
    ) -> Result<Vec<Appended>, StoreError> {
        let noticed_at = Timestamp::now();
        let moves: Vec<StreamMove> = appends
            .iter()
            .map(|append| StreamMove::of(append, noticed_at))
            .collect();
        let moved: HashMap<StreamId, i64> = match self.dry_run {
            true => appends.iter().map(|append| (append.stream_id, 0)).collect(),
            false => {
                self.store_appends(appends, &json(&moves), noticed_at)
                    .await?
            }
        };
        Ok(appends
            .iter()
            .zip(moves)
            .map(
                |(append, moves)| match moved.contains_key(&append.stream_id) {
                    true => Appended::Stored(Box::new(moves.to)),
                    false => Appended::LostRace,
                },
            )
            .collect())
    }

    /// The ids of the streams that were where they were expected to be, each with its next chunk's seq.
    async fn store_appends(
        &self,
        appends: &[StreamAppend],
        moves: &str,
        noticed_at: Timestamp,
    ) -> Result<HashMap<StreamId, i64>, StoreError> {
        // Others may act on a log that is complete: its TestRun is released, and its pods are deleted.
        let begin = match appends.iter().any(|append| append.new.complete) {
            true => self.begin.to_write,
            false => self.begin.to_append,
        };
        transaction!(self, begin, "append log lines", tx => {
            sqlx::query(self.sql(LOCK_STREAMS)).bind(moves).fetch_all(&mut *tx).await?;
            let moved: HashMap<StreamId, i64> = sqlx::query_as(self.sql(ADVANCE_STREAMS))
                .bind(moves)
                .fetch_all(&mut *tx)
                .await?
                .into_iter()
                .collect();
            let stored = || appends
                .iter()
                .filter_map(|append| Some((*moved.get(&append.stream_id)?, append)));
            let gaps: Vec<GapRow> = stored()
                .flat_map(|(_, append)| gap_rows(append, noticed_at))
                .collect();
            if !gaps.is_empty() {
                sqlx::query(self.sql(INSERT_GAPS))
                    .bind(json(&gaps))
                    .execute(&mut *tx)
                    .await?;
            }
            let chunks: Vec<NumberedChunk<'_>> = stored()
                .filter_map(|(seq, append)| {
                    let chunk = append.new.chunk.as_ref()?;
                    Some(NumberedChunk { stream_id: append.stream_id, seq, chunk })
                })
                .collect();
            tx.insert_chunks(&chunks).await?;
            moved
        })
    }
}

/// A stream that moves on: from where, and to where.
#[derive(Serialize)]
struct StreamMove {
    id: StreamId,
    at_ts: Option<i64>,
    at_seen: i64,
    at_lines: i64,
    at_gaps: i64,
    #[serde(flatten)]
    to: StreamPosition,
    complete: bool,
}

impl StreamMove {
    fn of(append: &StreamAppend, noticed_at: Timestamp) -> Self {
        let StreamAppend {
            stream_id,
            position,
            new,
        } = append;
        let chunk = new.chunk.as_ref();
        let (cursor_ts, cursor_seen, cursor_stepped) = match new.cursor {
            Some((ts, seen, stepped)) => (Some(ts), seen, stepped),
            None => (
                position.cursor_ts,
                position.cursor_seen,
                position.cursor_stepped,
            ),
        };
        let mut to = StreamPosition {
            cursor_ts,
            cursor_seen,
            cursor_stepped,
            lines: position
                .lines
                .saturating_add(chunk.map_or(0, |chunk| chunk.lines)),
            gaps: position.gaps.saturating_add(new.gaps.len() as i64),
            proof: position.proof,
        };
        let proof = &mut to.proof;
        // In a log of an older database hashing begins here.
        if position.proof.seal == Digest::Unsealed {
            proof.hash_from = Some(proof.next_seq);
            proof.hash = Digest::New;
            proof.hash_base = Digest::New;
            if position.gaps == 0 {
                proof.gaps_hash = Digest::New;
            }
        }
        proof.replaced = proof.replaced.saturating_add(new.replaced);
        if let Some(chunk) = chunk {
            proof.hash = proof.hash.with_chunk(*stream_id, proof.next_seq, chunk);
            proof.next_seq = proof.next_seq.saturating_add(1);
            proof.bytes = proof.bytes.saturating_add(chunk.body.len() as i64);
        }
        if proof.gaps_hash != Digest::Unsealed {
            proof.gaps_hash =
                gap_rows(append, noticed_at).fold(proof.gaps_hash, |sum, gap| sum.with_gap(&gap));
        }
        to.proof.seal = proof::resealed(
            position.proof.seal,
            position.seal(*stream_id, false),
            || to.seal(*stream_id, new.complete),
        );
        Self {
            id: *stream_id,
            at_ts: position.cursor_ts,
            at_seen: position.cursor_seen,
            at_lines: position.lines,
            at_gaps: position.gaps,
            to,
            complete: new.complete,
        }
    }
}

fn gap_rows(append: &StreamAppend, noticed_at: Timestamp) -> impl Iterator<Item = GapRow> {
    append.new.gaps.iter().map(move |gap| GapRow {
        stream_id: append.stream_id,
        gap: *gap,
        noticed_at,
    })
}

/// A chunk and its place.
#[derive(Clone, Copy, Debug)]
struct NumberedChunk<'a> {
    stream_id: StreamId,
    seq: i64,
    chunk: &'a Chunk,
}

/// Bodies are large: each database takes many of them in the way that it takes fastest, with one statement.
trait InsertChunks {
    /// Inserts at most a few thousand chunks.
    async fn insert_chunks(&mut self, chunks: &[NumberedChunk<'_>]) -> Result<(), sqlx::Error>;
}

/// Each statement is handed to SQLite's own thread and back.
impl InsertChunks for SqliteConnection {
    async fn insert_chunks(&mut self, chunks: &[NumberedChunk<'_>]) -> Result<(), sqlx::Error> {
        if chunks.is_empty() {
            return Ok(());
        }
        QueryBuilder::new(
            "INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body, line_times) ",
        )
        .push_values(chunks, |mut row, numbered| {
            let NumberedChunk {
                stream_id,
                seq,
                chunk,
            } = numbered;
            row.push_bind(stream_id)
                .push_bind(seq)
                .push_bind(chunk.first_ts)
                .push_bind(chunk.last_ts)
                .push_bind(chunk.lines)
                .push_bind(&chunk.body)
                .push_bind(chunk.line_times.as_ref().map(LineTimes::as_bytes));
        })
        .build()
        // Its text depends on how many chunks there are: it would only crowd out others.
        .persistent(false)
        .execute(self)
        .await?;
        Ok(())
    }
}

/// Each statement costs a round trip.
impl InsertChunks for PgConnection {
    async fn insert_chunks(&mut self, chunks: &[NumberedChunk<'_>]) -> Result<(), sqlx::Error> {
        const INSERT: &str = "
            INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body, line_times)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[],
                                 $7::bytea[])";
        if chunks.is_empty() {
            return Ok(());
        }
        let column = |value: fn(&NumberedChunk<'_>) -> i64| -> Vec<i64> {
            chunks.iter().map(value).collect()
        };
        let bodies: Vec<&str> = chunks
            .iter()
            .map(|numbered| numbered.chunk.body.as_str())
            .collect();
        let line_times: Vec<Option<&[u8]>> = chunks
            .iter()
            .map(|numbered| numbered.chunk.line_times.as_ref().map(LineTimes::as_bytes))
            .collect();
        sqlx::query(INSERT)
            .bind(column(|numbered| numbered.stream_id.0))
            .bind(column(|numbered| numbered.seq))
            .bind(column(|numbered| numbered.chunk.first_ts))
            .bind(column(|numbered| numbered.chunk.last_ts))
            .bind(column(|numbered| numbered.chunk.lines))
            .bind(bodies)
            .bind(line_times)
            .execute(self)
            .await?;
        Ok(())
    }
}
