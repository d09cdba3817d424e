//! Runs to try the forms of answers on.

pub(super) mod samples;
