//! Which clusters a database knows, each by all the uids that it was ever seen with; and which database it is itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::adopt::LOCK_ADOPTION;
use super::query::{rows, transaction};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::{Reader, Store, StoreError, time};

/// A row of `cluster_uids`: a namespace by which a cluster is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct KnownNamespace {
    /// The namespace's uid.
    pub uid: String,
    /// `clusters.id`
    pub cluster: String,
    /// The namespace's name.
    pub namespace: String,
}

/// A namespace as a cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeenNamespace {
    /// Its name.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

/// Under which conditions a cluster is made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registration<'a> {
    /// If no other cluster is known.
    First,
    /// As another one beside those that are known.
    Another,
    /// As this one, `clusters.id`.
    Same(&'a str),
}

/// → [`KnownNamespace`]
const KNOWN_NAMESPACES: Statement = Statement {
    sqlite: "
        SELECT json_object('uid', uid, 'cluster', cluster, 'namespace', namespace) FROM cluster_uids
        ORDER BY noticed_at, uid",
    postgres: "
        SELECT json_build_object('uid', uid, 'cluster', cluster, 'namespace', namespace)::text FROM cluster_uids
        ORDER BY noticed_at, uid",
};

/// (id, created_at), unless it is there
const INSERT_CLUSTER: Statement = Statement {
    sqlite: "INSERT INTO clusters (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    postgres: "
        INSERT INTO clusters (id, created_at) VALUES ($1, $2::timestamptz) ON CONFLICT (id) DO NOTHING",
};

/// (cluster id, namespaces with uids as JSON, noticed_at): those whose uids are not known yet
const INSERT_NAMESPACES: Statement = Statement {
    sqlite: "
        INSERT INTO cluster_uids (uid, cluster, namespace, noticed_at)
        SELECT value ->> 'uid', $1, value ->> 'namespace', $3 FROM json_each($2) WHERE true
        ON CONFLICT (uid) DO NOTHING",
    postgres: "
        INSERT INTO cluster_uids (uid, cluster, namespace, noticed_at)
        SELECT uid, $1, namespace, $3::timestamptz FROM json_to_recordset($2::json) AS new(uid text, namespace text)
        ON CONFLICT (uid) DO NOTHING",
};

/// (namespaces as JSON) → a row if there is a step with a TestRun and without a cluster
const UNOWNED_STEPS: Statement = Statement {
    sqlite: "
        SELECT CAST(id AS TEXT) FROM test_run_steps
        WHERE cluster IS NULL AND k6_uid IS NOT NULL AND namespace IN (SELECT value FROM json_each($1)) LIMIT 1",
    postgres: "
        SELECT id::text FROM test_run_steps
        WHERE cluster IS NULL AND k6_uid IS NOT NULL
          AND namespace = ANY (ARRAY(SELECT json_array_elements_text($1::json))) LIMIT 1",
};

/// Makes up another id → it
const RENEW_IDENTITY: Statement = Statement {
    sqlite: "UPDATE database_identity SET id = lower(hex(randomblob(6))) RETURNING id",
    postgres: "UPDATE database_identity SET id = substr(replace(gen_random_uuid()::text, '-', ''), 1, 12) RETURNING id",
};

/// No step is held any more.
const FORGET_HOLDS: Statement =
    Statement::both("UPDATE test_run_steps SET held = (1 = 0) WHERE held");

/// → `{"migrated_at"}`
const MIGRATED_AT: Statement = Statement {
    sqlite: "SELECT json_object('migrated_at', migrated_at) FROM database_identity",
    postgres: "SELECT json_build_object('migrated_at', migrated_at)::text FROM database_identity",
};

impl Reader {
    /// All namespaces by which clusters are known.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn known_namespaces(&self) -> Result<Vec<KnownNamespace>, StoreError> {
        let rows = rows!(self, "read the known clusters", KNOWN_NAMESPACES)?;
        rows_of(rows).map_err(|error| self.failed("read the known clusters", &error))
    }

    /// Whether these namespaces have steps with a TestRun but without a cluster: those of a k6sync from before clusters were
    /// told apart.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn has_unowned_steps(
        &self,
        namespaces: &[String],
    ) -> Result<bool, StoreError> {
        let namespaces = json(&namespaces);
        let rows = rows!(
            self,
            "look for steps without a cluster",
            UNOWNED_STEPS,
            &namespaces
        )?;
        Ok(!rows.is_empty())
    }

    /// Gives the database, a copy of another one, an id of its own, and forgets the holds on TestRuns, which are the other's;
    /// returns the id, and how many steps were held. This store is then another database's: it is only to be closed.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn renew_identity(&self) -> Result<(String, u64), StoreError> {
        transaction!(self, "give it a new identity", tx => {
            let id: String = sqlx::query_scalar(self.sql(RENEW_IDENTITY))
                .fetch_one(&mut *tx)
                .await?;
            let held = sqlx::query(self.sql(FORGET_HOLDS)).execute(&mut *tx).await?;
            (id, held.rows_affected())
        })
    }

    /// Since when steps have clusters.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn migrated_at(&self) -> Result<Timestamp, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(with = "time")]
            migrated_at: Timestamp,
        }
        let rows = rows!(self, "read the database's identity", MIGRATED_AT)?;
        let rows: Vec<Row> =
            rows_of(rows).map_err(|error| self.failed("read the database's identity", &error))?;
        Ok(rows
            .first()
            .map_or_else(Timestamp::now, |row| row.migrated_at))
    }
}

impl Store {
    /// Notes that these namespaces, at least one, are all of one cluster; returns its id. If one of them is known, that is
    /// its cluster; else `registration` says what to do. `None`: others are known, and this was to be the first.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn note_cluster(
        &self,
        seen: &[SeenNamespace],
        registration: Registration<'_>,
    ) -> Result<Option<String>, StoreError> {
        let Some(first) = seen.first() else {
            return Ok(None);
        };
        let now = time::to_sql(Timestamp::now());
        transaction!(self, "note which cluster this is", tx => {
            sqlx::query(self.sql(LOCK_ADOPTION)).execute(&mut *tx).await?;
            let known: Vec<KnownNamespace> = rows_of(
                sqlx::query_scalar(self.sql(KNOWN_NAMESPACES)).fetch_all(&mut *tx).await?,
            )?;
            let found = seen
                .iter()
                .find_map(|seen| known.iter().find(|known| known.uid == seen.uid));
            let id = match (found, registration) {
                (Some(found), _) => Some(found.cluster.clone()),
                (None, Registration::First) if !known.is_empty() => None,
                (None, Registration::First | Registration::Another) => Some(first.uid.clone()),
                (None, Registration::Same(id)) => Some(id.to_owned()),
            };
            if let Some(id) = &id {
                sqlx::query(self.sql(INSERT_CLUSTER)).bind(id).bind(&now).execute(&mut *tx).await?;
                sqlx::query(self.sql(INSERT_NAMESPACES))
                    .bind(id)
                    .bind(json(&seen))
                    .bind(&now)
                    .execute(&mut *tx)
                    .await?;
            }
            id
        })
    }
}
