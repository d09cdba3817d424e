//! Gaps: where lines of a log may be missing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::StreamId;
use super::query::rows;
use super::rows::{Read, read, rows_of};
use super::statement::Statement;
use super::words::GapCause;
use super::{Reader, StoreError, time};

/// A row of `log_gaps`, but for its time of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Time of the last line before the gap, nanoseconds since 1970; `None`: nothing was stored. Where a clock stepped
    /// back, times between are earlier.
    pub after_ts: Option<i64>,
    /// Time of the first line after it; `None`: nothing came yet.
    pub before_ts: Option<i64>,
    /// Why.
    pub(crate) cause: GapCause,
}

/// A row of `log_gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GapRow {
    /// Whose.
    pub stream_id: StreamId,
    /// Where, and why.
    #[serde(flatten)]
    pub gap: Gap,
    /// When it was noticed.
    #[serde(with = "time")]
    pub noticed_at: Timestamp,
}

/// ([`GapRow`]s as JSON)
pub(super) const INSERT_GAPS: Statement = Statement {
    sqlite: "
        INSERT INTO log_gaps (stream_id, after_ts, before_ts, cause, noticed_at)
        SELECT value ->> 'stream_id', value ->> 'after_ts', value ->> 'before_ts', value ->> 'cause',
               value ->> 'noticed_at'
        FROM json_each($1)",
    postgres: "
        INSERT INTO log_gaps (stream_id, after_ts, before_ts, cause, noticed_at)
        SELECT stream_id, after_ts, before_ts, cause, noticed_at
        FROM json_to_recordset($1::json) AS new(stream_id bigint, after_ts bigint, before_ts bigint, cause text,
                                                noticed_at timestamptz)",
};

/// (stream id) → [`Gap`]
const GAPS: Statement = Statement {
    sqlite: "
        SELECT json_object('after_ts', after_ts, 'before_ts', before_ts, 'cause', cause)
        FROM log_gaps WHERE stream_id = $1",
    postgres: "
        SELECT json_build_object('after_ts', after_ts, 'before_ts', before_ts, 'cause', cause)::text
        FROM log_gaps WHERE stream_id = $1",
};

/// (stream id) → [`GapRow`]
const GAP_ROWS: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', stream_id, 'after_ts', after_ts, 'before_ts', before_ts, 'cause', cause,
            'noticed_at', noticed_at)
        FROM log_gaps WHERE stream_id = $1",
    postgres: "
        SELECT row_to_json(gap)::text
        FROM (SELECT stream_id, after_ts, before_ts, cause, noticed_at FROM log_gaps WHERE stream_id = $1) gap",
};

impl Reader {
    /// The gaps of a stream.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn gaps(&self, stream_id: StreamId) -> Result<Vec<Gap>, StoreError> {
        let rows = rows!(self, "read the gaps of a log", GAPS, stream_id)?;
        rows_of(rows).map_err(|error| self.failed("read the gaps of a log", &error))
    }

    /// The gap rows of a stream.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn gap_rows(
        &self,
        stream_id: StreamId,
    ) -> Result<Vec<Read<GapRow>>, StoreError> {
        let rows = rows!(self, "read the gaps of a log", GAP_ROWS, stream_id)?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }
}
