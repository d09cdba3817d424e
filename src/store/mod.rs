//! Everything that talks to SQL. The cycle calls it; it knows nothing of Kubernetes and decides nothing.
//!
//! A file is a subject: the types of its rows, its statements for both databases, and the methods that send them: of
//! [`Reader`], which only read, and of [`Store`], which write. Each public method that writes is one step of the cycle and one transaction. Any number of k6syncs may use one
//! database at once: what must not happen twice is guarded here, by a unique key, a version, or the position that an
//! append expects.

mod adopt;
mod append;
mod check;
mod chunks;
mod clusters;
mod commit;
mod connect;
mod cycles;
mod error;
mod file;
mod gaps;
mod holds;
mod ids;
mod line_times;
mod migrate;
mod overview;
pub(crate) mod proof;
mod prune;
mod query;
mod reader;
mod rows;
mod runs;
mod statement;
mod step_rows;
mod steps;
mod stream_facts;
mod streams;
mod text;
mod time;
mod transaction;
mod url;
mod words;

use std::ops::Deref;
use std::sync::{Arc, Mutex};

pub use self::adopt::NewStep;
pub use self::append::{Append, Appended, StreamAppend};
pub use self::chunks::{Chunk, ChunkRow, ChunksBefore};
pub use self::clusters::{KnownNamespace, Registration, SeenNamespace};
pub use self::commit::{RunRecord, StepSummary, StepUpdate};
use self::connect::{Access, Db};
pub use self::cycles::{CycleError, CycleRecord};
pub use self::error::StoreError;
use self::file::OpenFile;
pub use self::gaps::{Gap, GapRow};
pub use self::holds::HeldStep;
pub use self::ids::{RunId, StepId, StreamId};
pub use self::line_times::{LineTimes, LineTimesError};
pub use self::overview::Overview;
pub use self::prune::Prunable;
pub use self::reader::Reader;
pub use self::rows::{Read, Unreadable};
pub use self::step_rows::StepRow;
pub use self::steps::{BadStep, Step, StepRecord, StepScope};
pub use self::stream_facts::{StreamFacts, StreamKey};
pub use self::streams::{Proof, Recorded, Stream, StreamPosition};
pub(crate) use self::text::{sql_text, with_runs_joined};
pub use self::url::{DatabaseUrl, DatabaseUrlError};
pub use self::words::{GapCause, Role, Status, StreamState};

/// An open database that may be written.
#[derive(Debug)]
pub struct Store {
    /// Writes, and reads for a cycle.
    connection: Reader,
    /// Reads for others, once somebody has asked for it.
    reader: Mutex<Option<Arc<Reader>>>,
    /// Reads everything and writes nothing.
    dry_run: bool,
    /// Exists in memory only, for a dry run without a database.
    imaginary: bool,
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

    /// Lets go of the database, so that a SQLite file is left without its `-wal` and `-shm` beside it.
    pub async fn close(&self) {
        self.close_reader().await;
        if let Db::Sqlite(pool) = &self.db
            && self.still_there().is_err()
        {
            check::abandon(pool).await;
        }
        self.connection.close().await;
    }
}
