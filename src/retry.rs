//! Trying again with growing pauses; the only user of the crate `backoff`.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// How long to go on, and how long to wait in between.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The first pause; the following ones grow by half each, with some chance in them.
    pub first_pause: Duration,
    /// No pause is longer than about this.
    pub longest_pause: Duration,
    /// No new attempt begins after this.
    pub total: Duration,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Give up.
    No,
    /// Try again after the policy's pause.
    Yes,
    /// Try again after this pause, which the other side asked for.
    After(Duration),
}

/// Runs `operation` until it succeeds, `judge` says no, or the policy's time is over; then the last error is returned.
///
/// # Errors
/// Those of `operation`.
pub async fn retry<T, E, F>(
    policy: Policy,
    operation: impl Fn() -> F,
    judge: impl Fn(&E) -> Retry,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let pauses = ExponentialBackoffBuilder::new()
        .with_initial_interval(policy.first_pause)
        .with_max_interval(policy.longest_pause)
        .with_max_elapsed_time(Some(policy.total))
        .build();
    let attempt = || async {
        operation().await.map_err(|error| match judge(&error) {
            Retry::No => backoff::Error::permanent(error),
            Retry::Yes => backoff::Error::transient(error),
            Retry::After(pause) => backoff::Error::retry_after(error, pause),
        })
    };
    backoff::future::retry(pauses, attempt).await
}

/// Growing pauses without an end, for something that must be tried for ever.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Pauses {
    /// Each pause is about twice the one before, with some chance in it.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(first)
                .with_max_interval(longest)
                .with_multiplier(2.0)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// How long to wait now.
    pub fn next_pause(&mut self) -> Duration {
        // None comes only after a maximal elapsed time, which is not set.
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }
}
