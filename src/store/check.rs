//! Is it still the database that was opened, of our schema, and can it be written? The loop asks before each cycle.

use sqlx::sqlite::SqlitePool;
use sqlx::{ConnectOptions, Connection, Executor, Row};

use super::connect::{self, Db};
use super::file::{Fate, OpenFile};
use super::query::{on, rows};
use super::statement::Statement;
use super::{DatabaseUrl, Reader, Store, StoreError};

const DATABASE_ID: &str = "SELECT id FROM database_identity";

impl Reader {
    /// The id of this database: unique, and the same for everybody who uses it.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn database_id(&self) -> Result<&str, StoreError> {
        if self.id.get().is_none() {
            let rows = rows!(
                self,
                "read which database this is",
                Statement::both(DATABASE_ID)
            )?;
            if let Some(id) = rows.into_iter().next() {
                let _ = self.id.set(id);
            }
        }
        self.id
            .get()
            .map(String::as_str)
            .ok_or_else(|| self.failed("read which database this is", &sqlx::Error::RowNotFound))
    }

    /// Before each transaction: a file that nobody will read, or another than the one that was opened, takes nothing.
    pub(crate) fn still_there(&self) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        match file.fate() {
            Fate::Same | Fate::LogDeleted => Ok(()),
            Fate::Deleted => Err(self.gone("its file was deleted or moved away".to_owned())),
            Fate::Replaced => Err(self.gone("another file is in its place".to_owned())),
        }
    }

    /// The database's own id must be what it was at first. A database keeps it when it is moved or copied.
    pub(super) fn check_id(&self, found: Option<String>) -> Result<(), StoreError> {
        match (self.id.get(), found) {
            (Some(known), Some(found)) if *known != found => Err(self.gone(format!(
                "another k6sync database is in its place ({found} instead of {known})"
            ))),
            (None, Some(found)) => {
                // Another task may have been faster, with the same.
                let _ = self.id.set(found);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn gone(&self, problem: String) -> StoreError {
        StoreError::Gone {
            url: self.url.clone(),
            problem,
        }
    }
}

impl Store {
    /// Whether what was opened is still there and of our schema. A SQLite file that was put back, or replaced by a copy of
    /// the same database, is opened again.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::SchemaOlder`] and [`StoreError::SchemaNewer`], which forbid to write;
    /// [`StoreError::Statement`].
    pub async fn check(&self) -> Result<(), StoreError> {
        if let (Some(file), Db::Sqlite(pool)) = (&self.file, &self.db) {
            self.check_file(file, pool).await?;
        }
        self.check_schema().await
    }

    /// Whether the database answers, and lets itself be written.
    ///
    /// # Errors
    /// [`StoreError::Statement`], [`StoreError::Gone`], [`StoreError::ReadOnly`]
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.still_there()?;
        let asked = match self.db {
            Db::Sqlite(_) => "SELECT 'off'",
            // Also on where the server is a standby.
            Db::Postgres(_) => "SELECT current_setting('transaction_read_only')",
        };
        let answer: Result<String, sqlx::Error> =
            on!(self, pool => pool.fetch_one(asked).await.and_then(|row| row.try_get(0)));
        match answer {
            Ok(is_read_only) if is_read_only == "on" => Err(StoreError::ReadOnly {
                url: self.url.clone(),
                problem: "the server is a standby, or set to default_transaction_read_only",
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("reach", &error)),
        }
    }

    async fn check_file(&self, file: &OpenFile, pool: &SqlitePool) -> Result<(), StoreError> {
        match file.fate_with_log() {
            Fate::Same => Ok(()),
            Fate::Deleted => self.still_there(),
            Fate::LogDeleted => {
                self.close_reader().await;
                // The open connection still has what was in it; closing puts that into the file.
                let closed = async { pool.acquire().await?.close().await };
                closed
                    .await
                    .map_err(|error| self.failed("save what is not yet", &error))?;
                tracing::warn!(
                    "the file {}-wal was deleted while the database was in use; what was in it is saved. Never delete it: it is a part of the database",
                    file.path().display()
                );
                Ok(())
            }
            Fate::Replaced => {
                let found = self.id_at_path().await;
                match (found, self.id.get()) {
                    (Ok(found), Some(known)) if found == *known => {
                        self.close_reader().await;
                        connect::abandon(pool);
                        file.opened_again();
                        tracing::warn!(
                            "the database file {} was replaced by another copy of the same database, which is used from now on",
                            file.path().display()
                        );
                        Ok(())
                    }
                    (Ok(_), _) => {
                        Err(self.gone("another k6sync database is in its place".to_owned()))
                    }
                    (Err(_), _) => self.still_there(),
                }
            }
        }
    }

    /// The id of the SQLite database that is at the path now.
    async fn id_at_path(&self) -> Result<String, sqlx::Error> {
        let DatabaseUrl::Sqlite(text) = &self.url else {
            return Err(sqlx::Error::RowNotFound);
        };
        let mut connection = connect::sqlite_options_to_read(text)?.connect().await?;
        let id = connection.fetch_one(DATABASE_ID).await?.try_get(0);
        connection.close().await?;
        id
    }
}
