//! Where the record is: open, or to be opened when somebody first asks, since a loop serves before its database is there.

use tokio::sync::OnceCell;

use super::problem::Problem;
use crate::record::Record;
use crate::store::DatabaseUrl;

/// A record, or where it will be.
pub(crate) struct Source {
    url: Option<DatabaseUrl>,
    opened: OnceCell<Record>,
}

impl Source {
    /// One that is open.
    pub(crate) fn open(record: Record) -> Self {
        Self {
            url: None,
            opened: OnceCell::new_with(Some(record)),
        }
    }

    /// One that is opened when it is first wanted, and tried again until it can be.
    pub(crate) fn later(url: DatabaseUrl) -> Self {
        Self {
            url: Some(url),
            opened: OnceCell::new(),
        }
    }

    /// The record.
    ///
    /// # Errors
    /// [`Problem::Unavailable`]
    pub(super) async fn record(&self) -> Result<&Record, Problem> {
        let open = || async {
            match &self.url {
                Some(url) => Ok(Record::open(url).await?),
                None => Err(Problem::Unavailable {
                    problem: "no database is open".to_owned(),
                }),
            }
        };
        self.opened.get_or_try_init(open).await
    }
}
