//! Bringing a database to the schema of this k6sync, under a lock, so that any number may start at once.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, Executor, Row, SqlSafeStr};

use super::connect::Db;
use super::query::on;
use super::statement::Statement;
use super::transaction::Leased;
use super::{Reader, Store, StoreError};
use crate::progress::{Progress, Unwatched};

/// (version, name, SQLite, PostgreSQL); a migration never changes once it was released.
const MIGRATIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "tables",
        include_str!("migrations/sqlite/0001_tables.sql"),
        include_str!("migrations/postgres/0001_tables.sql"),
    ),
    (
        2,
        "capture",
        include_str!("migrations/sqlite/0002_capture.sql"),
        include_str!("migrations/postgres/0002_capture.sql"),
    ),
    (
        3,
        "frugal",
        include_str!("migrations/sqlite/0003_frugal.sql"),
        include_str!("migrations/postgres/0003_frugal.sql"),
    ),
    (
        4,
        "trust",
        include_str!("migrations/sqlite/0004_trust.sql"),
        include_str!("migrations/postgres/0004_trust.sql"),
    ),
    (
        5,
        "looked",
        include_str!("migrations/sqlite/0005_looked.sql"),
        include_str!("migrations/postgres/0005_looked.sql"),
    ),
    (
        6,
        "line_times",
        include_str!("migrations/sqlite/0006_line_times.sql"),
        include_str!("migrations/postgres/0006_line_times.sql"),
    ),
    (
        7,
        "results",
        include_str!("migrations/sqlite/0007_results.sql"),
        include_str!("migrations/postgres/0007_results.sql"),
    ),
    (
        8,
        "namespaces",
        include_str!("migrations/sqlite/0008_namespaces.sql"),
        include_str!("migrations/postgres/0008_namespaces.sql"),
    ),
];

/// Keeps others from migrating until the transaction ends.
const LOCK_MIGRATIONS: Statement = Statement {
    sqlite: "SELECT 1",
    // Any number will do, as long as it is always the same.
    postgres: "SELECT pg_advisory_xact_lock(7304871659124)",
};

const STATE: &str = "
    SELECT (SELECT CAST(max(version) AS TEXT) FROM _sqlx_migrations WHERE success), (SELECT id FROM database_identity)";
const VERSION: &str =
    "SELECT CAST(max(version) AS TEXT), CAST(NULL AS TEXT) FROM _sqlx_migrations WHERE success";

const fn newest() -> i64 {
    MIGRATIONS[MIGRATIONS.len() - 1].0
}

/// The schema of a database that is only read: this k6sync's, or an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schema(i64);

impl Schema {
    /// Steps have clusters.
    pub(super) const fn has_clusters(self) -> bool {
        self.0 >= 4
    }

    /// Chunks have the times of their lines.
    pub(crate) const fn has_line_times(self) -> bool {
        self.0 >= 6
    }

    /// There are summaries and results.
    pub(crate) const fn has_results(self) -> bool {
        self.0 >= 7
    }
}

impl Reader {
    /// The schema, for whoever only reads: an older one will do.
    ///
    /// # Errors
    /// [`StoreError::SchemaNewer`]; [`StoreError::SchemaOlder`] where there are no tables at all; [`StoreError::Statement`]
    pub(crate) async fn schema_to_read(&self) -> Result<Schema, StoreError> {
        let (found, _) = self.state(VERSION).await?.unwrap_or_default();
        match found {
            0 => Err(StoreError::SchemaOlder {
                url: self.url.clone(),
                found,
                needed: newest(),
            }),
            found if found > newest() => Err(self.newer(found)),
            found => Ok(Schema(found)),
        }
    }

    /// Checks that the schema is this k6sync's, and that the database is the one that it was, and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::SchemaOlder`], [`StoreError::SchemaNewer`], [`StoreError::Gone`], [`StoreError::Statement`]
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let state = match self.state(STATE).await? {
            Some(state) => Some(state),
            // Of an older schema, or a newer one that has changed it.
            None => self.state(VERSION).await?,
        };
        let (found, id) = state.unwrap_or_default();
        if found > newest() {
            return Err(self.newer(found));
        }
        if found < newest() {
            return Err(StoreError::SchemaOlder {
                url: self.url.clone(),
                found,
                needed: newest(),
            });
        }
        self.check_id(id)
    }

    /// Schema version and id; `None`: there is no such table. By the simple protocol: one round trip, nothing prepared.
    async fn state(
        &self,
        query: &'static str,
    ) -> Result<Option<(i64, Option<String>)>, StoreError> {
        self.again("read the schema version", || async {
            let state: Result<(Option<String>, Option<String>), sqlx::Error> = on!(self, pool => {
                match pool.fetch_one(query).await {
                    Ok(row) => row.try_get(0).and_then(|version| Ok((version, row.try_get(1)?))),
                    Err(error) => Err(error),
                }
            });
            match state {
                Ok((version, id)) => {
                    let version = version.and_then(|version| version.parse().ok());
                    Ok(Some((version.unwrap_or(0), id)))
                }
                Err(error) if is_missing_table(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    fn newer(&self, found: i64) -> StoreError {
        StoreError::SchemaNewer {
            url: self.url.clone(),
            found,
            known: newest(),
        }
    }
}

impl Store {
    /// Applies the migrations that are missing; returns the schema version, which is then this k6sync's.
    ///
    /// # Errors
    /// [`StoreError::SchemaNewer`] if a newer k6sync has been here, [`StoreError::Migrate`] otherwise.
    pub async fn migrate(&self) -> Result<i64, StoreError> {
        self.migrate_watched(&Unwatched).await
    }

    /// The same, watched: `progress` counts migrations.
    ///
    /// # Errors
    /// As [`Store::migrate`].
    pub(crate) async fn migrate_watched(
        &self,
        progress: &impl Progress,
    ) -> Result<i64, StoreError> {
        // One query tells that there is nothing to do, which is so in every cycle but the first.
        let found = match self.check_schema().await {
            Err(StoreError::SchemaOlder { found, .. }) => found,
            current_or_wrong => return current_or_wrong.map(|()| newest()),
        };
        self.still_there()?;
        // All of them or none. sqlx's own lock is of the session, which a pooler does not keep; SQLite's is the transaction.
        let mut migrator = self.migrator();
        migrator.set_locking(false);
        let missing = MIGRATIONS.iter().filter(|(version, ..)| *version > found);
        progress.begin(u64::try_from(missing.clone().count()).unwrap_or(0));
        let migrated: Result<(), MigrateError> = on!(self, pool => {
            async {
                let mut leased = Leased::new(pool.acquire().await?);
                let mut tx = leased.begin_with(self.begin.to_write).await?;
                tx.execute(self.sql(LOCK_MIGRATIONS)).await?;
                for &(version, ..) in missing {
                    migrator.run_direct(Some(version), &mut *tx, false).await?;
                    progress.advance(1);
                }
                tx.commit().await?;
                leased.has_ended();
                Ok(())
            }
            .await
        });
        match migrated {
            // And which database it is.
            Ok(()) => self.check_schema().await.map(|()| newest()),
            Err(MigrateError::VersionMissing(found)) => Err(self.newer(found)),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Err(self.failed("apply the migrations", &error))
            }
            Err(error) => Err(StoreError::Migrate {
                url: self.url.clone(),
                problem: error.to_string(),
            }),
        }
    }

    /// Readies the schema for a dry run: an empty database that exists only in memory gets its tables, a real one is
    /// only checked.
    ///
    /// # Errors
    /// As [`Store::check_schema`].
    pub(crate) async fn check_or_imagine_schema(&self) -> Result<(), StoreError> {
        match self.imaginary {
            true => self.migrate().await.map(|_| ()),
            false => self.check_schema().await,
        }
    }

    fn migrator(&self) -> Migrator {
        let migrations = MIGRATIONS
            .iter()
            .map(|&(version, name, sqlite, postgres)| {
                let sql = match self.db {
                    Db::Sqlite(_) => sqlite,
                    Db::Postgres(_) => postgres,
                };
                Migration::new(
                    version,
                    name.into(),
                    MigrationType::Simple,
                    sql.into_sql_str(),
                    false,
                )
            })
            .collect();
        Migrator::with_migrations(migrations)
    }
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
    })
}

#[cfg(test)]
mod tests {
    use sqlx::Executor;

    use super::*;
    use crate::store::DatabaseUrl;

    /// What a database of an older k6sync holds is all there afterwards.
    #[tokio::test]
    async fn a_database_of_the_second_version_keeps_its_logs() {
        const ROWS: &str = "
            INSERT INTO test_runs (name) VALUES ('shop');
            INSERT INTO test_run_steps (test_run_id, name, k6_test_name) VALUES (1, 'shop', 'shop');
            INSERT INTO log_streams (step_id, pod_name, pod_uid, container, role, restart_count, state)
            VALUES (1, 'shop-1', 'uid', 'k6', 'runner', 0, 'running');
            INSERT INTO log_chunks VALUES (1, 1, 3, 4, 1, 'second' || char(10)), (1, 0, 1, 2, 1, 'first' || char(10));";
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/k6sync.db", folder.path().display());
        let url: DatabaseUrl = url.parse().unwrap();
        let store = Store::open(&url, false).await.unwrap();
        let Db::Sqlite(pool) = &store.db else {
            panic!("it is SQLite");
        };
        let Migrator { migrations, .. } = store.migrator();
        let old = migrations.iter().take(2).cloned().collect();
        Migrator::with_migrations(old).run(pool).await.unwrap();
        pool.execute(ROWS).await.unwrap();

        assert_eq!(store.migrate().await.unwrap(), newest());
        let logs: String = sqlx::query_scalar("SELECT logs FROM step_logs")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(logs, "==> runner shop-1/k6 <==\nfirst\nsecond\n");
        let timed = "SELECT count(*) FROM log_chunks WHERE line_times IS NOT NULL";
        let timed: i64 = sqlx::query_scalar(timed).fetch_one(pool).await.unwrap();
        assert_eq!(timed, 0);
        const TWICE: &str = "
            INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body) VALUES (1, 1, 5, 6, 1, 'again')";
        let error = pool.execute(TWICE).await.unwrap_err();
        assert!(error.to_string().contains("UNIQUE"), "{error}");
    }
}
