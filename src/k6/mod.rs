//! What k6 says, and how the words of N runners become one result. Pure: bytes and values in, values out; nothing here reads,
//! stores or waits.
//!
//! [`summary`] reads what one runner reported from the end of its log, [`combine`] puts runners together, and [`message`] says
//! which thresholds failed.

pub mod combine;
pub mod message;
pub mod summary;
