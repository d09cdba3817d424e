//! A database that is open for writing, and its readers.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use super::connect::{self, Access, Db};
use super::file::OpenFile;
use super::{DatabaseUrl, Reader, StoreError};

/// An open database that may be written.
#[derive(Debug)]
pub struct Store {
    /// Writes, and reads for a cycle.
    connection: Reader,
    /// Reads for others, once somebody has asked for it.
    reader: Mutex<Option<Arc<Reader>>>,
    /// Reads everything and writes nothing.
    pub(super) dry_run: bool,
    /// Exists in memory only, for a dry run without a database.
    pub(super) imaginary: bool,
}

/// Whoever may write may read.
impl Deref for Store {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.connection
    }
}

impl Store {
    /// Opens the database at `url`, creating a SQLite file that is missing.
    ///
    /// With `dry_run` nothing is ever written: a missing SQLite file is taken for an empty database.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it can't be reached, opened or logged in to, [`StoreError::ReadOnly`].
    pub async fn open(url: &DatabaseUrl, dry_run: bool) -> Result<Self, StoreError> {
        let imaginary = dry_run && url.sqlite_file().is_some_and(|file| !file.exists());
        if !dry_run && url.has_mode("ro") {
            return Err(StoreError::ReadOnly {
                url: url.clone(),
                problem: "its URL says mode=ro; leave that out",
            });
        }
        let access = match dry_run {
            true => Access::Read,
            false => Access::Write,
        };
        let opened = match url {
            DatabaseUrl::Sqlite(_) if imaginary => {
                connect::open_sqlite(url, "sqlite::memory:", Access::Write).await
            }
            DatabaseUrl::Sqlite(text) => connect::open_sqlite(url, text, access).await,
            DatabaseUrl::Postgres(_) => connect::open_postgres(url, access).await,
        };
        let (db, begin) = opened.map_err(|error| StoreError::open(url, &error))?;
        let file = url.sqlite_file().filter(|_| !imaginary);
        Ok(Self {
            connection: Reader::new(db, begin, url, file.map(OpenFile::new)),
            reader: Mutex::default(),
            dry_run,
            imaginary,
        })
    }

    /// Closes the database, so that a SQLite file is left without its `-wal` and `-shm` beside it.
    pub async fn close(&self) {
        self.close_reader().await;
        if let Db::Sqlite(pool) = &self.db
            && self.still_there().is_err()
        {
            connect::abandon(pool);
        }
        self.connection.close().await;
    }

    /// Reads beside what this store writes, however long that takes. It is opened once, and costs nothing before.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::Open`]
    pub fn reader(&self) -> Result<Arc<Reader>, StoreError> {
        self.still_there()?;
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &*reader {
            return Ok(Arc::clone(reader));
        }
        let opened = self.connection.another();
        let opened = Arc::new(opened.map_err(|error| StoreError::open(&self.url, &error))?);
        *reader = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Before the file is closed: the last connection to close it must be one that may write, or what is in its `-wal`
    /// stays there.
    pub(super) async fn close_reader(&self) {
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // What is in memory only has one pool for all.
        if let Some(reader) =
            reader.filter(|reader| reader.file.is_some() || matches!(reader.db, Db::Postgres(_)))
        {
            reader.close().await;
        }
    }
}
