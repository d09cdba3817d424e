//! Chunks: the lines of logs, as they were stored.

use serde::Deserialize;

use super::ids::StreamId;
use super::line_times::{LineTimes, LineTimesError};
use super::query::{fetch_all, rows};
use super::rows::rows_of;
use super::statement::Statement;
use super::{Reader, StoreError};

/// A row of `log_chunks`, but for its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Time of the first line, nanoseconds since 1970.
    pub first_ts: i64,
    /// Time of the last line.
    pub last_ts: i64,
    /// How many lines.
    pub lines: i64,
    /// The lines.
    pub body: String,
    /// When each of them was written; `None` in chunks from before that was kept.
    pub line_times: Option<LineTimes>,
}

impl Chunk {
    /// The bytes that it takes, but for a few numbers.
    pub(crate) fn size(&self) -> usize {
        let times = self.line_times.as_ref();
        self.body.len() + times.map_or(0, |times| times.as_bytes().len())
    }

    /// When each line was written, nanoseconds since 1970; `None` in chunks from before that was kept.
    ///
    /// # Errors
    /// [`LineTimesError`]: the column is not what was stored.
    pub(crate) fn times(&self) -> Result<Option<Vec<i64>>, LineTimesError> {
        let decode = |times: &LineTimes| times.decode(self.first_ts, self.last_ts, self.lines);
        self.line_times.as_ref().map(decode).transpose()
    }
}

/// A row of `log_chunks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRow {
    pub seq: i64,
    /// The rest.
    pub chunk: Chunk,
}

/// The columns that [`CHUNK_ROWS`] yields.
pub(super) type ChunkColumns = (i64, i64, i64, i64, String, Option<Vec<u8>>);

impl From<ChunkColumns> for ChunkRow {
    fn from((seq, first_ts, last_ts, lines, body, line_times): ChunkColumns) -> Self {
        Self {
            seq,
            chunk: Chunk {
                first_ts,
                last_ts,
                lines,
                body,
                line_times: line_times.map(LineTimes::from),
            },
        }
    }
}

/// Chunks at the beginning of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ChunksBefore {
    /// Time of the stream's first line; `None`: nothing is stored.
    pub first_ts: Option<i64>,
    /// The number of the chunk after them.
    pub next_seq: i64,
    /// Their lines.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// (stream id, seq, how many) → [`ChunkRow`]s from there on
pub(super) const CHUNK_ROWS: Statement = Statement::both(
    "
    SELECT seq, first_ts, last_ts, lines, body, line_times FROM log_chunks
    WHERE stream_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3",
);

/// (stream id, time): the chunks up to the last that ends before that time →
/// [`ChunksBefore`]
const CHUNKS_BEFORE: Statement = Statement {
    sqlite: "
        SELECT json_object('first_ts', (SELECT first_ts FROM log_chunks WHERE stream_id = $1 ORDER BY seq LIMIT 1),
            'next_seq', coalesce(max(seq) + 1, (SELECT min(seq) FROM log_chunks WHERE stream_id = $1), 0),
            'lines', coalesce(sum(lines), 0), 'bytes', coalesce(sum(length(CAST(body AS BLOB))), 0))
        FROM log_chunks WHERE stream_id = $1
          AND seq < coalesce((SELECT min(seq) FROM log_chunks WHERE stream_id = $1
                              AND (last_ts >= $2 OR first_ts >= $2 OR first_ts > last_ts)),
                             (SELECT max(seq) + 1 FROM log_chunks WHERE stream_id = $1 AND seq < 9223372036854775807))",
    postgres: "
        SELECT json_build_object(
            'first_ts', (SELECT first_ts FROM log_chunks WHERE stream_id = $1 ORDER BY seq LIMIT 1),
            'next_seq', coalesce(max(seq) + 1, (SELECT min(seq) FROM log_chunks WHERE stream_id = $1), 0),
            'lines', coalesce(sum(lines), 0), 'bytes', coalesce(sum(octet_length(body)), 0))::text
        FROM log_chunks WHERE stream_id = $1
          AND seq < coalesce((SELECT min(seq) FROM log_chunks WHERE stream_id = $1
                              AND (last_ts >= $2 OR first_ts >= $2 OR first_ts > last_ts)),
                             (SELECT max(seq) + 1 FROM log_chunks WHERE stream_id = $1 AND seq < 9223372036854775807))",
};

/// (stream id, how many) → bodies of the last chunks, last first
const LAST_CHUNKS: Statement =
    Statement::both("SELECT body FROM log_chunks WHERE stream_id = $1 ORDER BY seq DESC LIMIT $2");

impl Reader {
    /// Up to `count` chunks of a stream from number `seq` on, in their order.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn chunk_rows(
        &self,
        stream_id: StreamId,
        seq: i64,
        count: i64,
    ) -> Result<Vec<ChunkRow>, StoreError> {
        let rows: Vec<ChunkColumns> = fetch_all!(
            self,
            "read a log",
            sqlx::query_as(self.sql(CHUNK_ROWS))
                .bind(stream_id)
                .bind(seq)
                .bind(count)
        )?;
        Ok(rows.into_iter().map(ChunkRow::from).collect())
    }

    /// The chunks at a stream's beginning that end before this time.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn chunks_before(
        &self,
        stream_id: StreamId,
        ts: i64,
    ) -> Result<ChunksBefore, StoreError> {
        let rows = rows!(self, "read a log", CHUNKS_BEFORE, stream_id, ts)?;
        let sums: Vec<ChunksBefore> =
            rows_of(rows).map_err(|error| self.failed("read a log", &error))?;
        Ok(sums.into_iter().next().unwrap_or_default())
    }

    /// The text of the last `chunks` chunks of a stream.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn log_tail(
        &self,
        stream_id: StreamId,
        chunks: i64,
    ) -> Result<String, StoreError> {
        let mut bodies = rows!(
            self,
            "read the end of a log",
            LAST_CHUNKS,
            stream_id,
            chunks
        )?;
        bodies.reverse();
        Ok(bodies.concat())
    }
}
