//! Where the record is that the server shows: the loop's own database, or one that was opened to be read.
//!
//! It is read by connections of its own, so that nobody who looks makes a cycle wait.

use std::sync::{Arc, Mutex, PoisonError};

use crate::record::Record;
use crate::store::Reader;
use crate::sync_loop::readiness::Readiness;

/// Where the record is.
pub(crate) enum Source {
    /// The loop opens it, later than the server, and knows whether it may be used.
    Loop {
        readiness: Arc<Readiness>,
        /// What was opened last.
        known: Mutex<Option<(Arc<Reader>, Record)>>,
    },
    /// It is open.
    Open(Record),
}

impl Source {
    pub(crate) fn of_loop(readiness: Arc<Readiness>) -> Self {
        Self::Loop {
            readiness,
            known: Mutex::default(),
        }
    }

    /// The record.
    ///
    /// # Errors
    /// Why it can't be read now.
    pub(crate) async fn record(&self) -> Result<Record, String> {
        let (readiness, known) = match self {
            Self::Open(record) => return Ok(record.clone()),
            Self::Loop { readiness, known } => (readiness, known),
        };
        let store = readiness.store()?;
        let reader = store.reader().map_err(|error| error.to_string())?;
        let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, record)) = &*lock()
            && Arc::ptr_eq(of, &reader)
        {
            return Ok(record.clone());
        }
        let record = Record::over(Arc::clone(&reader))
            .await
            .map_err(|error| error.to_string())?;
        *lock() = Some((reader, record.clone()));
        Ok(record)
    }
}
