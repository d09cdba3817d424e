//! What `verify` reads: whole rows, as they stand. It changes nothing.

use jiff::Timestamp;
use serde::Deserialize;

use super::model::{Chunk, GapRow, Recorded, Status, StepRecord, StepUpdate};
use super::proof::{self, Digest, SealedStep};
use super::{Db, Store, StoreError, json, rows_of, time};

/// A row of `test_run_steps`, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StepRow {
    /// `id`
    pub id: i64,
    /// `test_run_id`
    pub test_run_id: i64,
    /// `position`
    pub position: i64,
    /// `name`
    pub name: String,
    /// `namespace`; none if it is empty.
    pub namespace: Option<String>,
    /// `k6_test_name`
    pub k6_test_name: String,
    /// `created_at`
    #[serde(with = "time")]
    pub created_at: Timestamp,
    /// `version`
    pub version: i64,
    /// `held`
    pub held: bool,
    /// How many streams were made for it.
    pub streams: i64,
    /// `seal`
    pub seal: Digest,
    /// When the last cycle that saw it began.
    #[serde(deserialize_with = "time::lenient")]
    pub synced_at: Option<Timestamp>,
    /// What a sync says of it.
    #[serde(flatten)]
    pub record: StepRecord,
}

impl StepRow {
    /// Whether what a sync wrote stands as it was written. Rows up to the id `unsealed_steps` may be older than seals.
    pub fn is_as_sealed(&self, unsealed_steps: i64) -> bool {
        // A dashboard made it, and no sync has written it.
        let is_asked_for = self.version == 0 && self.record.status == Status::Pending;
        match self.seal {
            Digest::Unsealed => self.id <= unsealed_steps || is_asked_for,
            seal => seal == self.own_seal(),
        }
    }

    fn own_seal(&self) -> Digest {
        proof::step_seal(&SealedStep::new(
            (self.id, self.version),
            &self.k6_test_name,
            self.namespace.as_deref(),
            self.created_at,
            &self.record,
        ))
    }

    /// The seal of the row that `update` makes of this one.
    pub(super) fn seal_after(&self, update: &StepUpdate) -> Digest {
        proof::resealed(self.seal, self.own_seal(), || {
            proof::step_seal(&SealedStep::new(
                (self.id, update.version.saturating_add(1)),
                &self.k6_test_name,
                Some(self.namespace.as_ref().unwrap_or(&update.namespace)),
                self.created_at,
                &update.record,
            ))
        })
    }
}

/// What there is in a database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Overview {
    /// Runs.
    pub runs: i64,
    /// Steps.
    pub steps: i64,
    /// Log streams.
    pub streams: i64,
    /// Which database it is.
    pub database_id: Option<String>,
    /// Steps with greater ids were made when there were seals.
    pub unsealed_steps: i64,
    /// Streams with greater ids were made when there were seals.
    pub unsealed_streams: i64,
    /// When a completed cycle last looked at the cluster, by the API server's clock.
    #[serde(with = "time::optional")]
    pub looked_at: Option<Timestamp>,
    /// How many of the steps that one of the last cycles saw are not there any more.
    pub lost_steps: i64,
}

/// A row that could be read, or what is wrong with it, with what of it can be told.
pub type Read<T> = Result<T, Unreadable>;

/// A row that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The row as JSON, as far as it is that.
    pub row: serde_json::Value,
    /// What is wrong with it.
    pub problem: String,
}

/// A row of `log_chunks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// `seq`
    pub seq: i64,
    /// The rest.
    pub chunk: Chunk,
}

fn read<T: serde::de::DeserializeOwned>(row: &str) -> Read<T> {
    serde_json::from_str(row).map_err(|error| Unreadable {
        row: serde_json::from_str(row).unwrap_or_default(),
        problem: error.to_string(),
    })
}

impl Store {
    /// What there is. `cluster`: whose cycles count, a `clusters.id`; of all, if it is not known.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn overview(&self, cluster: Option<&str>) -> Result<Overview, StoreError> {
        const ACTION: &str = "count the rows";
        let rows = rows!(self, "count the rows", overview, cluster)?;
        let rows: Vec<Overview> = rows_of(rows).map_err(|error| self.failed(ACTION, &error))?;
        let none = || self.failed(ACTION, &sqlx::Error::RowNotFound);
        rows.into_iter().next().ok_or_else(none)
    }

    /// The first `count` steps with ids greater than `id`, of all runs or of these.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn steps_after(
        &self,
        id: i64,
        run_ids: Option<&[i64]>,
        count: i64,
    ) -> Result<Vec<Read<StepRow>>, StoreError> {
        let run_ids = run_ids.map(|ids| json(&ids));
        let rows = rows!(self, "read the steps", steps_after, id, &run_ids, count)?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }

    /// The streams of these steps.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn recorded(&self, step_ids: &[i64]) -> Result<Vec<Read<Recorded>>, StoreError> {
        let (step_ids, stream) = (json(&step_ids), None::<i64>);
        let rows = rows!(self, "read the log streams", recorded, &step_ids, stream)?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }

    /// A stream as it is now; `None`: it is not there any more, or can't be read.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn recorded_again(&self, old: &Recorded) -> Result<Option<Recorded>, StoreError> {
        let (step_ids, stream) = (json(&[old.stream.facts.step_id]), Some(old.stream.id));
        let rows = rows!(self, "read a log stream", recorded, &step_ids, stream)?;
        Ok(rows.first().and_then(|row| read(row).ok()))
    }

    /// Up to `count` chunks of a stream from number `seq` on, in their order.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn chunk_rows(
        &self,
        stream_id: i64,
        seq: i64,
        count: i64,
    ) -> Result<Vec<ChunkRow>, StoreError> {
        let rows: Vec<(i64, i64, i64, i64, String)> = fetch_all!(
            self,
            "read a log",
            sqlx::query_as(self.sql.chunk_rows)
                .bind(stream_id)
                .bind(seq)
                .bind(count)
        )?;
        let chunk = |(seq, first_ts, last_ts, lines, body)| ChunkRow {
            seq,
            chunk: Chunk {
                first_ts,
                last_ts,
                lines,
                body,
            },
        };
        Ok(rows.into_iter().map(chunk).collect())
    }

    /// The gap rows of a stream.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn gap_rows(&self, stream_id: i64) -> Result<Vec<Read<GapRow>>, StoreError> {
        let rows = rows!(self, "read the gaps of a log", gap_rows, stream_id)?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }

    /// What is wrong with rows that belong to rows that are not there.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn orphans(&self) -> Result<Vec<String>, StoreError> {
        rows!(self, "look for rows that belong to nothing", orphans)
    }
}
