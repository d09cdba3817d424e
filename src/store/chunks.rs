//! Chunks: the lines of logs, as they were stored.

use serde::Deserialize;

use super::ids::StreamId;
use super::line_times::{LineTimes, LineTimesError};
use super::migrate::Schema;
use super::query::{fetch_all, rows, rows_as};
use super::rows::{json, rows_of};
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

/// The same of a schema that has no times of lines.
const CHUNK_ROWS_WITHOUT_TIMES: Statement = Statement {
    sqlite: "
        SELECT seq, first_ts, last_ts, lines, body, CAST(NULL AS BLOB) FROM log_chunks
        WHERE stream_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3",
    postgres: "
        SELECT seq, first_ts, last_ts, lines, body, CAST(NULL AS bytea) FROM log_chunks
        WHERE stream_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3",
};

/// A line of a log, found without reading any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct LinePlace {
    pub stream_id: StreamId,
    /// The number of its chunk.
    pub seq: i64,
    /// How many lines of the chunk are before it.
    pub line: i64,
}

/// (stream ids as JSON, time) → [`LinePlace`]s: of each log the beginning of the first chunk that may have a line of that time
/// or later. A chunk in which a clock stepped back may have one wherever.
const CHUNKS_SINCE: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'seq', min(seq), 'line', 0) FROM log_chunks
        WHERE stream_id IN (SELECT value FROM json_each($1)) AND (last_ts >= $2 OR first_ts >= $2 OR first_ts > last_ts)
        GROUP BY stream_id",
    postgres: "
        SELECT json_build_object('stream_id', stream_id, 'seq', min(seq), 'line', 0)::text FROM log_chunks
        WHERE stream_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
          AND (last_ts >= $2 OR first_ts >= $2 OR first_ts > last_ts)
        GROUP BY stream_id",
};

/// (stream ids as JSON, how many) → [`LinePlace`]s: of each log that has so many lines the first of its last so many.
const LAST_LINES: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'seq', seq, 'line', behind - $2) FROM (
            SELECT stream_id, seq, lines, sum(lines) OVER (PARTITION BY stream_id ORDER BY seq DESC) AS behind FROM log_chunks
            WHERE stream_id IN (SELECT value FROM json_each($1))) chunk
        WHERE behind >= $2 AND behind - lines < $2",
    postgres: "
        SELECT json_build_object('stream_id', stream_id, 'seq', seq, 'line', (behind - $2)::bigint)::text FROM (
            SELECT stream_id, seq, lines, sum(lines) OVER (PARTITION BY stream_id ORDER BY seq DESC) AS behind FROM log_chunks
            WHERE stream_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))) chunk
        WHERE behind >= $2 AND behind - lines < $2",
};

/// (places as JSON, how many) → [`LinePlace`]s: of each log that has so many lines before the chunk at its place the first of the
/// last so many of them.
const LINES_BEFORE: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'seq', seq, 'line', behind - $2) FROM (
            SELECT c.stream_id, c.seq, c.lines, sum(c.lines) OVER (PARTITION BY c.stream_id ORDER BY c.seq DESC) AS behind
            FROM (SELECT value ->> 0 AS stream_id, value ->> 1 AS seq FROM json_each($1)) place
            JOIN log_chunks c ON c.stream_id = place.stream_id AND c.seq < place.seq) chunk
        WHERE behind >= $2 AND behind - lines < $2",
    postgres: "
        SELECT json_build_object('stream_id', stream_id, 'seq', seq, 'line', (behind - $2)::bigint)::text FROM (
            SELECT c.stream_id, c.seq, c.lines, sum(c.lines) OVER (PARTITION BY c.stream_id ORDER BY c.seq DESC) AS behind
            FROM (SELECT (value ->> 0)::bigint AS stream_id, (value ->> 1)::bigint AS seq
                  FROM json_array_elements($1::json)) place
            JOIN log_chunks c ON c.stream_id = place.stream_id AND c.seq < place.seq) chunk
        WHERE behind >= $2 AND behind - lines < $2",
};

/// What there is of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct StoredLines {
    pub stream_id: StreamId,
    /// Lines that are there: without those that `prune` deleted.
    pub lines: i64,
}

/// (stream ids as JSON) → [`StoredLines`] of those that have any
const STORED_LINES: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'lines', sum(lines)) FROM log_chunks
        WHERE stream_id IN (SELECT value FROM json_each($1)) GROUP BY stream_id",
    postgres: "
        SELECT json_build_object('stream_id', stream_id, 'lines', sum(lines))::text FROM log_chunks
        WHERE stream_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)) GROUP BY stream_id",
};

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

    /// The same of a database that is only read, whatever its schema.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn chunk_rows_of(
        &self,
        schema: Schema,
        stream_id: StreamId,
        seq: i64,
        count: i64,
    ) -> Result<Vec<ChunkRow>, StoreError> {
        let statement = match schema.has_line_times() {
            true => CHUNK_ROWS,
            false => CHUNK_ROWS_WITHOUT_TIMES,
        };
        let rows: Vec<ChunkColumns> = fetch_all!(
            self,
            "read a log",
            sqlx::query_as(self.sql(statement))
                .bind(stream_id)
                .bind(seq)
                .bind(count)
        )?;
        Ok(rows.into_iter().map(ChunkRow::from).collect())
    }

    /// Of each of these logs the beginning of the first chunk that may have a line of that time (nanoseconds since 1970) or later.
    /// A log that has none is left out.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn chunks_since(
        &self,
        streams: &[StreamId],
        ts: i64,
    ) -> Result<Vec<LinePlace>, StoreError> {
        let streams = json(&streams);
        rows_as!(
            self,
            "look for a time in logs",
            sqlx::query_scalar(self.sql(CHUNKS_SINCE))
                .bind(&streams)
                .bind(ts)
        )
    }

    /// Of each of these logs that has so many lines the first of its last `count`, which must not be 0.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn last_lines(
        &self,
        streams: &[StreamId],
        count: i64,
    ) -> Result<Vec<LinePlace>, StoreError> {
        let streams = json(&streams);
        rows_as!(
            self,
            "look for the last lines of logs",
            sqlx::query_scalar(self.sql(LAST_LINES))
                .bind(&streams)
                .bind(count)
        )
    }

    /// Of each of these logs, each with the number of a chunk, that has so many lines before that chunk: the first of the last
    /// `count` of them, which must not be 0.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn lines_before(
        &self,
        places: &[(StreamId, i64)],
        count: i64,
    ) -> Result<Vec<LinePlace>, StoreError> {
        let places = json(&places);
        rows_as!(
            self,
            "look for lines before a place in logs",
            sqlx::query_scalar(self.sql(LINES_BEFORE))
                .bind(&places)
                .bind(count)
        )
    }

    /// How many lines of these logs are there. A log that has none is left out.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn stored_lines(
        &self,
        streams: &[StreamId],
    ) -> Result<Vec<StoredLines>, StoreError> {
        let streams = json(&streams);
        rows_as!(
            self,
            "count the lines of logs",
            sqlx::query_scalar(self.sql(STORED_LINES)).bind(&streams)
        )
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
