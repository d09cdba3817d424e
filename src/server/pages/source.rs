//! Where the record is, for a page: what can't be read is a page, too.

use std::sync::Arc;

use super::problem::Problem;
use crate::record::Record;
use crate::server::source::Source as Anywhere;

/// A record, or where it will be: a loop serves before its database is there.
pub(crate) struct Source(Arc<Anywhere>);

impl Source {
    /// One that is open.
    pub(crate) fn open(record: Record) -> Self {
        Self(Arc::new(Anywhere::Open(record)))
    }

    /// That of the whole server.
    pub(crate) fn of(source: Arc<Anywhere>) -> Self {
        Self(source)
    }

    /// The record.
    ///
    /// # Errors
    /// [`Problem::Unavailable`]
    pub(super) async fn record(&self) -> Result<Record, Problem> {
        let record = self.0.record().await;
        record.map_err(|problem| Problem::Unavailable { problem })
    }
}
