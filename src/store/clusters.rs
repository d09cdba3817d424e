//! Which clusters a database knows, each by all the uids that it was ever seen with; and which database it is itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Db, Store, StoreError, json, rows_of, time};

/// A row of `cluster_uids`: a namespace by which a cluster is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KnownNamespace {
    /// The namespace's uid.
    pub uid: String,
    /// `clusters.id`
    pub cluster: String,
    /// The namespace's name.
    pub namespace: String,
}

/// A namespace as a cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenNamespace {
    /// Its name.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

/// Under which conditions a cluster is made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration<'a> {
    /// If no other cluster is known.
    First,
    /// As another one beside those that are known.
    Another,
    /// As this one, `clusters.id`.
    Same(&'a str),
}

impl Store {
    /// All namespaces by which clusters are known.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn known_namespaces(&self) -> Result<Vec<KnownNamespace>, StoreError> {
        let rows = rows!(self, "read the known clusters", known_namespaces)?;
        rows_of(rows).map_err(|error| self.failed("read the known clusters", &error))
    }

    /// Notes that these namespaces, at least one, are all of one cluster; returns its id. If one of them is known, that is
    /// its cluster; else `registration` says what to do. `None`: others are known, and this was to be the first.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn note_cluster(
        &self,
        seen: &[SeenNamespace],
        registration: Registration<'_>,
    ) -> Result<Option<String>, StoreError> {
        let Some(first) = seen.first() else {
            return Ok(None);
        };
        let now = time::to_sql(Timestamp::now());
        transaction!(self, "note which cluster this is", tx => {
            sqlx::query(self.sql.lock_adoption).execute(&mut *tx).await?;
            let known: Vec<KnownNamespace> = rows_of(
                sqlx::query_scalar(self.sql.known_namespaces).fetch_all(&mut *tx).await?,
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
                sqlx::query(self.sql.insert_cluster).bind(id).bind(&now).execute(&mut *tx).await?;
                sqlx::query(self.sql.insert_namespaces)
                    .bind(id)
                    .bind(json(&seen))
                    .bind(&now)
                    .execute(&mut *tx)
                    .await?;
            }
            id
        })
    }

    /// Whether there are steps in these namespaces with a TestRun of which nobody knows in what cluster it was: those of a
    /// k6sync from before clusters were told apart.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn has_unowned_steps(&self, namespaces: &[String]) -> Result<bool, StoreError> {
        let namespaces = json(&namespaces);
        let rows = rows!(
            self,
            "look for steps without a cluster",
            unowned_steps,
            &namespaces
        )?;
        Ok(!rows.is_empty())
    }

    /// Gives the database, a copy of another one, an id of its own, and forgets the holds on TestRuns, which are the other's;
    /// returns the id, and how many steps were held. This store is then another database's: it is only to be closed.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn renew_identity(&self) -> Result<(String, u64), StoreError> {
        transaction!(self, "give it a new identity", tx => {
            let id: String = sqlx::query_scalar(self.sql.renew_identity)
                .fetch_one(&mut *tx)
                .await?;
            let held = sqlx::query(self.sql.forget_holds).execute(&mut *tx).await?;
            (id, held.rows_affected())
        })
    }

    /// Since when steps have clusters.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn migrated_at(&self) -> Result<Timestamp, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(with = "time")]
            migrated_at: Timestamp,
        }
        let rows = rows!(self, "read the database's identity", migrated_at)?;
        let rows: Vec<Row> =
            rows_of(rows).map_err(|error| self.failed("read the database's identity", &error))?;
        Ok(rows
            .first()
            .map_or_else(Timestamp::now, |row| row.migrated_at))
    }
}
