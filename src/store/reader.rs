//! Reading while others write, without waiting for them.
//!
//! A [`Reader`] has the methods that only read, and a [`Store`](super::Store) lends them: a cycle reads by the connection that it writes
//! by. Everybody else (a command, a page) takes another reader, which never waits for a cycle: SQLite has its WAL for that,
//! PostgreSQL its row versions.
//!
//! Each method is one query, and no transaction is open between two of them, so that a reader that pauses holds nothing up.

use std::sync::{Arc, OnceLock};

use super::connect::{self, Access, Db};
use super::file::OpenFile;
use super::query::on;
use super::transaction::Begin;
use super::{DatabaseUrl, StoreError};

/// A database that is open for reading.
#[derive(Debug)]
pub struct Reader {
    pub(super) db: Db,
    pub(super) begin: Begin,
    pub(super) url: DatabaseUrl,
    /// The file, of SQLite.
    pub(super) file: Option<Arc<OpenFile>>,
    /// Which database it is, once that is known.
    pub(super) id: OnceLock<String>,
}

impl Reader {
    /// Opens the database at `url` for reading only: never creates, migrates or changes it.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it is not there, or can't be reached, opened or logged in to.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let opened = match url {
            DatabaseUrl::Sqlite(text) => connect::open_sqlite(url, text, Access::Read).await,
            DatabaseUrl::Postgres(_) => connect::open_postgres(url, Access::Read).await,
        };
        let (db, begin) = opened.map_err(|error| StoreError::open(url, &error))?;
        Ok(Self::new(
            db,
            begin,
            url,
            url.sqlite_file().map(OpenFile::new),
        ))
    }

    pub(super) fn new(db: Db, begin: Begin, url: &DatabaseUrl, file: Option<OpenFile>) -> Self {
        Self {
            db,
            begin,
            url: url.clone(),
            file: file.map(Arc::new),
            id: OnceLock::new(),
        }
    }

    /// Another reader of the same database. It connects when it is first used.
    pub(super) fn another(&self) -> Result<Self, sqlx::Error> {
        let db = match (&self.db, &self.url) {
            (Db::Sqlite(_), DatabaseUrl::Sqlite(text)) if self.file.is_some() => {
                Db::Sqlite(connect::sqlite_readers(text)?)
            }
            // What is in memory only has one connection.
            (Db::Sqlite(pool), _) => Db::Sqlite(pool.clone()),
            (Db::Postgres(pool), _) => {
                Db::Postgres(connect::postgres_readers(pool, self.begin.is_direct()))
            }
        };
        Ok(Self {
            db,
            begin: self.begin,
            url: self.url.clone(),
            file: self.file.clone(),
            id: self.id.clone(),
        })
    }

    /// Which database it is; without its password.
    pub(crate) fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Closes the database.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}
