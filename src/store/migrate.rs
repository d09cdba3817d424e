//! Bringing a database to the schema of this k6sync, under a lock, so that any number may start at once.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::{Db, Store, StoreError, on};

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
        "quiet",
        include_str!("migrations/sqlite/0003_quiet.sql"),
        include_str!("migrations/postgres/0003_quiet.sql"),
    ),
];

const fn newest() -> i64 {
    MIGRATIONS[MIGRATIONS.len() - 1].0
}

impl Store {
    /// Applies the migrations that are missing; returns the schema version, which is then this k6sync's.
    ///
    /// # Errors
    /// [`StoreError::SchemaNewer`] if a newer k6sync has been here, [`StoreError::Migrate`] otherwise.
    pub async fn migrate(&self) -> Result<i64, StoreError> {
        // One query tells that there is nothing to do, which is so in every cycle but the first.
        match self.check_schema().await {
            Err(StoreError::SchemaOlder { .. }) => {}
            current_or_wrong => return current_or_wrong.map(|()| newest()),
        }
        let migrator = self.migrator();
        let outcome = match &self.db {
            // sqlx has no lock for SQLite: the transaction is.
            Db::Sqlite(pool) => {
                async {
                    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                    migrator.run_direct(None, &mut *tx, false).await?;
                    Ok(tx.commit().await?)
                }
                .await
            }
            Db::Postgres(pool) => migrator.run(pool).await,
        };
        match outcome {
            Ok(()) => Ok(newest()),
            Err(MigrateError::VersionMissing(found)) => Err(self.newer(found)),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Err(self.failed("apply the migrations", &error))
            }
            Err(source) => Err(StoreError::Migrate {
                url: self.url.clone(),
                source,
            }),
        }
    }

    /// Checks that the schema is this k6sync's, and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::SchemaOlder`], [`StoreError::SchemaNewer`], [`StoreError::Statement`]
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let found: Result<Option<i64>, _> = on!(self, pool => {
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(pool)
                .await
        });
        let found = match found {
            Ok(found) => found.unwrap_or(0),
            Err(error) if is_missing_table(&error) => 0,
            Err(error) => return Err(self.failed("read the schema version", &error)),
        };
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
        Ok(())
    }

    /// Readies the schema for a dry run: an empty database that exists only in memory gets its tables, a real one is
    /// only checked.
    ///
    /// # Errors
    /// As [`Store::check_schema`].
    pub async fn check_or_imagine_schema(&self) -> Result<(), StoreError> {
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

    fn newer(&self, found: i64) -> StoreError {
        StoreError::SchemaNewer {
            url: self.url.clone(),
            found,
            known: newest(),
        }
    }
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
    })
}
