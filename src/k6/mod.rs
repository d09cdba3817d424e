//! What k6 says, and how the words of N runners become one result. Pure: bytes and values in, values out; nothing here knows
//! cluster or database, reads, stores or waits.
//!
//! The verdict asks for exit codes and for lines of the log. [`summary`] reads what one runner reported from the end of its
//! log, [`combine`] puts runners together, and [`message`] says which thresholds failed.

pub mod combine;
mod exit_codes;
mod log;
pub mod message;
pub mod summary;

pub(crate) use self::exit_codes::{Outcome, THRESHOLDS_HAVE_FAILED, exit_code};
pub(crate) use self::log::{Level, last_error, level, max_vus};
