//! Making steps and runs of TestRuns that nobody asked for here.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{RunId, StepId};
use super::proof::Digest;
use super::query::{rows, transaction};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::step_rows::SealedStep;
use super::steps::{Step, StepRecord};
use super::words::Status;
use super::{Reader, Store, StoreError, time};

/// A TestRun that no step claims, to become a step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NewStep {
    /// The run's name; with `grouped`, steps with one run name and namespace share the run.
    pub run_name: String,
    /// The TestRun was labelled with a run.
    pub grouped: bool,
    /// The step's name.
    pub name: String,
    /// The TestRun's namespace.
    pub namespace: String,
    /// The TestRun's name.
    pub k6_test_name: String,
    /// The cluster, if it is known which it is.
    pub cluster: Option<String>,
    /// The TestRun's uid.
    pub k6_uid: String,
    /// When the TestRun was created.
    #[serde(with = "time")]
    pub created_at: Timestamp,
}

/// (uids as JSON) → `{"k6_uid", "id"}`
const CLAIMED: Statement = Statement {
    sqlite: "
        SELECT json_object('k6_uid', k6_uid, 'id', id) FROM test_run_steps
        WHERE k6_uid IN (SELECT value FROM json_each($1))",
    postgres: "
        SELECT json_build_object('k6_uid', k6_uid, 'id', id)::text FROM test_run_steps
        WHERE k6_uid = ANY (ARRAY(SELECT json_array_elements_text($1::json)))",
};

/// Keeps other syncs from adopting until the transaction ends.
pub(super) const LOCK_ADOPTION: Statement = Statement {
    sqlite: "SELECT 1",
    postgres: "SELECT pg_advisory_xact_lock(7304871659123)",
};

/// (name, namespace, cluster id or null) → id and status of the newest run of that name without steps of other clusters
const FIND_RUN: Statement = Statement::both(
    "
    SELECT id, status FROM test_runs
    WHERE name = $1 AND namespace = $2
      AND (CAST($3 AS TEXT) IS NULL OR NOT EXISTS (
          SELECT 1 FROM test_run_steps
          WHERE test_run_id = test_runs.id AND cluster IS NOT NULL
            AND cluster NOT IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3)))
    ORDER BY id DESC LIMIT 1",
);

/// (name, namespace, created_at, updated_at) → id
const INSERT_RUN: Statement = Statement {
    sqlite: "
        INSERT INTO test_runs (name, namespace, created_at, updated_at) VALUES ($1, $2, $3, $4) RETURNING id",
    postgres: "
        INSERT INTO test_runs (name, namespace, created_at, updated_at)
        VALUES ($1, $2, $3::timestamptz, $4::timestamptz) RETURNING id",
};

/// (run id, step as JSON) → id
const INSERT_STEP: Statement = Statement {
    sqlite: "
        INSERT INTO test_run_steps (test_run_id, position, name, namespace, k6_test_name, cluster, k6_uid, created_at)
        SELECT $1, (SELECT coalesce(max(position), 0) + 1 FROM test_run_steps WHERE test_run_id = $1),
               $2 ->> 'name', $2 ->> 'namespace', $2 ->> 'k6_test_name', $2 ->> 'cluster', $2 ->> 'k6_uid',
               $2 ->> 'created_at'
        RETURNING id",
    postgres: "
        INSERT INTO test_run_steps (test_run_id, position, name, namespace, k6_test_name, cluster, k6_uid, created_at)
        SELECT $1, (SELECT coalesce(max(position), 0) + 1 FROM test_run_steps WHERE test_run_id = $1),
               name, namespace, k6_test_name, cluster, k6_uid, created_at
        FROM json_to_record($2::json) AS new(name text, namespace text, k6_test_name text, cluster text, k6_uid text,
                                             created_at timestamptz)
        RETURNING id",
};

/// (`{"id", "seal"}`s as JSON)
const SEAL_STEPS: Statement = Statement {
    sqlite: "
        UPDATE test_run_steps SET seal = new.value ->> 'seal'
        FROM json_each($1) AS new WHERE test_run_steps.id = new.value ->> 'id'",
    postgres: "
        UPDATE test_run_steps SET seal = new.seal
        FROM json_to_recordset($1::json) AS new(id bigint, seal text) WHERE test_run_steps.id = new.id",
};

impl Reader {
    /// Which steps the TestRuns with these uids belong to.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn claimed(
        &self,
        uids: &[&str],
    ) -> Result<HashMap<String, StepId>, StoreError> {
        if uids.is_empty() {
            return Ok(HashMap::new());
        }
        let uids = json(&uids);
        let rows = rows!(self, "find the steps of TestRuns", CLAIMED, &uids)?;
        claims(rows).map_err(|error| self.failed("find the steps of TestRuns", &error))
    }
}

impl Store {
    /// Makes a step, and where needed a run, of each TestRun; those that have become another step's meanwhile are left
    /// out. In a dry run the steps are made up, with negative ids.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn adopt(&self, new: &[NewStep]) -> Result<Vec<Step>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        if self.dry_run {
            return Ok(new
                .iter()
                .zip(1..)
                .map(|(step, number)| adopted(step, StepId(-number), RunId(-number)))
                .collect());
        }
        let now = time::to_sql(Timestamp::now());
        let uids: Vec<&str> = new.iter().map(|step| step.k6_uid.as_str()).collect();
        let (steps, reopened) = transaction!(self, "adopt TestRuns", tx => {
            sqlx::query(self.sql(LOCK_ADOPTION)).execute(&mut *tx).await?;
            let taken = claims(
                sqlx::query_scalar(self.sql(CLAIMED)).bind(json(&uids)).fetch_all(&mut *tx).await?,
            )?;
            let mut steps = Vec::with_capacity(new.len());
            let mut reopened = Vec::new();
            for step in new.iter().filter(|step| !taken.contains_key(&step.k6_uid)) {
                let known: Option<(RunId, String)> = match step.grouped {
                    true => {
                        sqlx::query_as(self.sql(FIND_RUN))
                            .bind(&step.run_name)
                            .bind(&step.namespace)
                            .bind(&step.cluster)
                            .fetch_optional(&mut *tx)
                            .await?
                    }
                    false => None,
                };
                let run_id: RunId = match known {
                    Some((id, status)) => {
                        if Status::parse(&status).is_some_and(Status::is_final) {
                            reopened.push((id, status, step));
                        }
                        id
                    }
                    None => {
                        sqlx::query_scalar(self.sql(INSERT_RUN))
                            .bind(&step.run_name)
                            .bind(&step.namespace)
                            .bind(time::to_sql(step.created_at))
                            .bind(&now)
                            .fetch_one(&mut *tx)
                            .await?
                    }
                };
                let id: StepId = sqlx::query_scalar(self.sql(INSERT_STEP))
                    .bind(run_id)
                    .bind(json(step))
                    .fetch_one(&mut *tx)
                    .await?;
                steps.push(adopted(step, id, run_id));
            }
            let seals: Vec<StepSeal> = steps.iter().map(StepSeal::of_new).collect();
            if !seals.is_empty() {
                sqlx::query(self.sql(SEAL_STEPS)).bind(json(&seals)).execute(&mut *tx).await?;
            }
            (steps, reopened)
        })?;
        for (run, status, step) in reopened {
            tracing::info!(
                run = run.0,
                was = status,
                k6_test_name = step.k6_test_name,
                namespace = step.namespace,
                "the run {} had ended and is running again: a TestRun with its label appeared",
                step.run_name
            );
        }
        Ok(steps)
    }
}

#[derive(Serialize)]
struct StepSeal {
    id: StepId,
    seal: Digest,
}

impl StepSeal {
    fn of_new(step: &Step) -> Self {
        let row = SealedStep::new(
            (step.id, step.version),
            &step.k6_test_name,
            Some(&step.namespace),
            step.created_at,
            &step.record,
        );
        Self {
            id: step.id,
            seal: row.seal(),
        }
    }
}

fn claims(rows: Vec<String>) -> Result<HashMap<String, StepId>, sqlx::Error> {
    #[derive(Deserialize)]
    struct Claim {
        k6_uid: String,
        id: StepId,
    }
    let claims: Vec<Claim> = rows_of(rows)?;
    Ok(claims
        .into_iter()
        .map(|claim| (claim.k6_uid, claim.id))
        .collect())
}

fn adopted(step: &NewStep, id: StepId, test_run_id: RunId) -> Step {
    Step {
        id,
        test_run_id,
        name: step.name.clone(),
        namespace: step.namespace.clone(),
        k6_test_name: step.k6_test_name.clone(),
        created_at: step.created_at,
        version: 0,
        held: false,
        record: StepRecord {
            cluster: step.cluster.clone(),
            k6_uid: Some(step.k6_uid.clone()),
            ..StepRecord::default()
        },
    }
}
