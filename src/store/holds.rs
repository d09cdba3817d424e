//! Holds: which TestRuns have our finalizer.

use serde::Deserialize;

use super::ids::StepId;
use super::query::{rows, transaction};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::{Reader, StepScope, Store, StoreError};

/// A step whose TestRun has our finalizer, or may have it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct HeldStep {
    pub id: StepId,
    pub namespace: String,
    pub k6_test_name: String,
    pub k6_uid: Option<String>,
    pub cluster: Option<String>,
}

/// (namespaces as JSON or null for all, default namespace, cluster id or null for all) →
/// [`HeldStep`]
const HELD_STEPS: Statement = Statement {
    sqlite: "
        SELECT json_object('id', id, 'namespace', coalesce(nullif(namespace, ''), $2), 'k6_test_name', k6_test_name,
            'k6_uid', k6_uid, 'cluster', cluster)
        FROM test_run_steps
        WHERE held AND ($1 IS NULL OR coalesce(nullif(namespace, ''), $2) IN (SELECT value FROM json_each($1)))
          AND ($3 IS NULL OR cluster IS NULL
               OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
        ORDER BY id",
    postgres: "
        SELECT json_build_object('id', id, 'namespace', coalesce(nullif(namespace, ''), $2),
            'k6_test_name', k6_test_name, 'k6_uid', k6_uid, 'cluster', cluster)::text
        FROM test_run_steps
        WHERE held AND ($1::json IS NULL
              OR coalesce(nullif(namespace, ''), $2) = ANY (ARRAY(SELECT json_array_elements_text($1::json))))
          AND ($3::text IS NULL OR cluster IS NULL
               OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
        ORDER BY id",
};

/// (step ids as JSON, held)
const SET_HELD: Statement = Statement {
    sqlite: "
        UPDATE test_run_steps SET held = $2 WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "
        UPDATE test_run_steps SET held = $2
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

impl Reader {
    /// The steps of `scope` whose TestRuns have our finalizer, or may have it; of a known cluster its own
    /// and those that no cluster owns.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn held_steps(
        &self,
        scope: &StepScope<'_>,
    ) -> Result<Vec<HeldStep>, StoreError> {
        let namespaces = scope.namespaces.map(|names| json(&names));
        let rows = rows!(
            self,
            "read the held steps",
            HELD_STEPS,
            &namespaces,
            scope.default_namespace,
            scope.cluster
        )?;
        rows_of(rows).map_err(|error| self.failed("read the held steps", &error))
    }
}

impl Store {
    /// Notes that the TestRuns of these steps have our finalizer, or no longer have it.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn set_held(&self, step_ids: &[StepId], held: bool) -> Result<(), StoreError> {
        if step_ids.is_empty() || self.dry_run {
            return Ok(());
        }
        let step_ids = json(&step_ids);
        transaction!(self, "note which TestRuns are held", tx => {
            sqlx::query(self.sql(SET_HELD)).bind(&step_ids).bind(held).execute(&mut *tx).await?;
        })
    }
}
