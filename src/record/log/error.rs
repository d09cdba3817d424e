//! Why a log can't be read.

use super::selection::NoSuchPart;
use crate::store::StoreError;

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The run has no such step or runner.
    #[error(transparent)]
    NoSuch(#[from] NoSuchPart),
    /// What is stored is not what k6sync stores.
    #[error(
        "the record of the log of {container} is damaged: chunk {seq} {problem}; `k6sync verify --offline` says what else is"
    )]
    Damaged {
        container: String,
        seq: i64,
        problem: String,
    },
    /// Lines that were stored are not there any more, and nobody pruned them.
    #[error(
        "{lines} lines of the log of {container} that were recorded are not there any more; `k6sync verify --offline` says what else is"
    )]
    Missing { container: String, lines: i64 },
    /// The database can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LogError {
    /// It may pass: the database is away, or is being restored. What stands in a column does not.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if !error.is_of_a_value())
    }
}
