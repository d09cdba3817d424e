//! Steps as `verify` and seals see them: every column, as it stands.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{RunId, StepId};
use super::proof::{self, Digest};
use super::query::rows;
use super::rows::{Read, json, read};
use super::statement::Statement;
use super::{Reader, Status, StepRecord, StepUpdate, StoreError, time};

/// A row of `test_run_steps`, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct StepRow {
    pub id: StepId,
    pub test_run_id: RunId,
    pub position: i64,
    pub name: String,
    /// `namespace`; none if it is empty.
    pub namespace: Option<String>,
    pub k6_test_name: String,
    /// `created_at`
    #[serde(with = "time")]
    pub created_at: Timestamp,
    pub version: i64,
    pub held: bool,
    /// How many streams were made for it.
    pub streams: i64,
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
    pub(crate) fn is_as_sealed(&self, unsealed_steps: StepId) -> bool {
        // A dashboard made it, and no sync has written it.
        let is_asked_for = self.version == 0 && self.record.status == Status::Pending;
        match self.seal {
            Digest::Unsealed => self.id <= unsealed_steps || is_asked_for,
            seal => seal == self.own_seal(),
        }
    }

    fn own_seal(&self) -> Digest {
        SealedStep::new(
            (self.id, self.version),
            &self.k6_test_name,
            self.namespace.as_deref(),
            self.created_at,
            &self.record,
        )
        .seal()
    }

    /// The seal of the row that `update` makes of this one.
    pub(super) fn seal_after(&self, update: &StepUpdate) -> Digest {
        proof::resealed(self.seal, self.own_seal(), || {
            SealedStep::new(
                (self.id, update.version.saturating_add(1)),
                &self.k6_test_name,
                Some(self.namespace.as_ref().unwrap_or(&update.namespace)),
                self.created_at,
                &update.record,
            )
            .seal()
        })
    }
}

/// What a step's seal covers: all that k6sync itself writes, but for what a cycle notes without a new version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SealedStep {
    id: StepId,
    version: i64,
    k6_test_name: String,
    /// `namespace`, once the step has a TestRun.
    namespace: Option<String>,
    #[serde(with = "time")]
    created_at: Timestamp,
    /// All that a sync says of it.
    #[serde(flatten)]
    record: StepRecord,
}

impl SealedStep {
    /// A step's row, as far as it is sealed. `namespace`: as it stands in the row.
    pub(super) fn new(
        (id, version): (StepId, i64),
        k6_test_name: &str,
        namespace: Option<&str>,
        created_at: Timestamp,
        record: &StepRecord,
    ) -> Self {
        Self {
            id,
            version,
            k6_test_name: k6_test_name.to_owned(),
            namespace: namespace
                .filter(|_| record.k6_uid.is_some())
                .map(str::to_owned),
            created_at,
            record: record.clone(),
        }
    }

    /// `test_run_steps.seal`
    pub(super) fn seal(&self) -> Digest {
        proof::seal("step", self)
    }
}

/// The columns of a [`StepRow`].
macro_rules! step_row_columns {
    (sqlite) => {
        "'id', id, 'test_run_id', test_run_id, 'position', position, 'name', name, 'namespace', nullif(namespace, ''),
        'k6_test_name', k6_test_name, 'created_at', created_at, 'version', version,
        'held', json(iif(held, 'true', 'false')), 'streams', streams, 'seal', seal, 'synced_at', synced_at,
        'cluster', cluster, 'k6_uid', k6_uid, 'parallelism', parallelism, 'stage', stage, 'status', status,
        'reason', reason, 'message', message, 'started_at', started_at, 'finished_at', finished_at"
    };
    (postgres) => {
        "id, test_run_id, position, name, nullif(namespace, '') AS namespace, k6_test_name, created_at, version, held,
        streams, seal, synced_at, cluster, k6_uid, parallelism, stage, status, reason, message, started_at, finished_at"
    };
}

/// (id, run ids as JSON or null for all, how many) → [`StepRow`]s with greater ids
const STEPS_AFTER: Statement = Statement {
    sqlite: concat!(
        "SELECT json_object(",
        step_row_columns!(sqlite),
        ") FROM test_run_steps
        WHERE id > $1 AND ($2 IS NULL OR test_run_id IN (SELECT value FROM json_each($2)))
        ORDER BY id LIMIT $3"
    ),
    postgres: concat!(
        "SELECT row_to_json(step)::text FROM (SELECT ",
        step_row_columns!(postgres),
        " FROM test_run_steps
          WHERE id > $1 AND ($2::json IS NULL
                OR test_run_id = ANY (ARRAY(SELECT json_array_elements_text($2::json)::bigint)))
          ORDER BY id LIMIT $3) step"
    ),
};

/// (step ids as JSON) → [`StepRow`]
pub(super) const STEPS_BEFORE: Statement = Statement {
    sqlite: concat!(
        "SELECT json_object(",
        step_row_columns!(sqlite),
        ") FROM test_run_steps WHERE id IN (SELECT value FROM json_each($1))"
    ),
    postgres: concat!(
        "SELECT row_to_json(step)::text FROM (SELECT ",
        step_row_columns!(postgres),
        " FROM test_run_steps
          WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))) step"
    ),
};

impl Reader {
    /// The first `count` steps with ids greater than `id`, of all runs or of these.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn steps_after(
        &self,
        id: StepId,
        run_ids: Option<&[RunId]>,
        count: i64,
    ) -> Result<Vec<Read<StepRow>>, StoreError> {
        let run_ids = run_ids.map(|ids| json(&ids));
        let rows = rows!(self, "read the steps", STEPS_AFTER, id, &run_ids, count)?;
        Ok(rows.iter().map(|row| read(row)).collect())
    }
}
