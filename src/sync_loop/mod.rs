//! What the loop is made of, beside the cycle that it runs.

pub mod hints;
