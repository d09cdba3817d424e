//! What one source of a summary yields.

use super::document::Summary;

/// Why a summary can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ends in the middle.
    Incomplete,
    /// It says what k6 does not say, or one thing twice.
    Malformed,
}

/// What one source yields.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    Summary(Summary),
    Absent,
    Broken(Problem),
    CutOff,
}

pub(super) fn malformed<T>() -> Result<T, Problem> {
    Err(Problem::Malformed)
}
