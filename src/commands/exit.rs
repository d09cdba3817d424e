//! Exit codes: what another program can tell by them.

use crate::cluster::ClusterError;
use crate::config::ConfigError;
use crate::record::NamingError;
use crate::server::tls::TlsError;

/// It was done.
pub(super) const DONE: u8 = 0;
/// It could not be completed.
pub(super) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(super) const WRONG: u8 = 2;
/// There is no such run.
pub(super) const NO_SUCH_RUN: u8 = 3;
/// The run passed, but its record has gaps.
pub(super) const INCOMPLETE: u8 = 4;
/// It can't be told: the database can't be read.
pub(super) const UNKNOWN: u8 = 5;
/// It took too long; as `timeout` says it.
pub(super) const TIMED_OUT: u8 = 124;

/// The record can't be read: whatever was asked is not known.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(super) struct Unreadable(pub(super) anyhow::Error);

/// What was asked for is not there: only another question can be answered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Wrong(pub(super) String);

/// What another try could mend is 1, what only a person can is 2.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>()
        || error.is::<TlsError>()
        || error.is::<Wrong>()
        || matches!(error.downcast_ref(), Some(ClusterError::Config(_)))
    {
        return WRONG;
    }
    match error.downcast_ref() {
        Some(NamingError::NoSuchRun(_)) => return NO_SUCH_RUN,
        Some(NamingError::Ambiguous { .. }) => return WRONG,
        Some(NamingError::Store(_)) => return UNKNOWN,
        None => {}
    }
    match error.is::<Unreadable>() {
        true => UNKNOWN,
        false => FAILED,
    }
}
