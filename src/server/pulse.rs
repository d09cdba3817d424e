//! Whether the loop is alive: it says what it is doing and until when, and is overdue when that time has passed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Machines are busy at times.
const SLACK: Duration = Duration::from_secs(15);

/// What the loop is doing, and until when.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<(&'static str, Instant)>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(("starting", Instant::now() + SLACK)))
    }
}

impl Pulse {
    /// The loop is doing `what`, and says so again by `until`.
    pub(crate) fn beat(&self, what: &'static str, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (what, until + SLACK);
    }

    /// # Errors
    /// What is overdue, and for how long.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (what, until) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match until.checked_duration_since(Instant::now()) {
            Some(_) => Ok(()),
            None => Err(format!(
                "{what} is overdue by {:?}",
                until.elapsed() + SLACK
            )),
        }
    }
}
