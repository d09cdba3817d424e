//! Trying again with growing pauses; the only user of the crate `backoff`.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::{Instant, sleep};

/// How long to go on, and how long to wait in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The first pause; the following ones grow by half each, with some chance in them.
    pub first_pause: Duration,
    /// No pause is longer than about this.
    pub longest_pause: Duration,
    /// No new attempt begins after this.
    pub total: Duration,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Give up.
    No,
    /// Try again after the policy's pause.
    Yes,
    /// Try again after this pause, which the other side asked for, or the policy's if that is longer.
    After(Duration),
}

/// Runs `operation` until it succeeds, `judge` says no, or the policy's time is over; then the last error is returned.
///
/// # Errors
/// Those of `operation`.
pub(crate) async fn retry<T, E, F>(
    policy: Policy,
    operation: impl Fn() -> F,
    judge: impl Fn(&E) -> Retry,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    let mut pauses = ExponentialBackoffBuilder::new()
        .with_initial_interval(policy.first_pause)
        .with_max_interval(policy.longest_pause)
        .with_max_elapsed_time(Some(policy.total))
        .build();
    let left = || policy.total.saturating_sub(begun.elapsed());
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let asked = match judge(&error) {
            Retry::No => return Err(error),
            Retry::Yes => Duration::ZERO,
            Retry::After(pause) => pause,
        };
        match pauses.next_backoff() {
            Some(own) if own.max(asked) <= left() => sleep(own.max(asked)).await,
            _ => return Err(error),
        }
    }
}

/// Growing pauses without an end, for something that must be tried for ever.
#[derive(Debug)]
pub(crate) struct Pauses(ExponentialBackoff);

impl Pauses {
    /// Each pause is about twice the one before, with some chance in it.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
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
    pub(crate) fn next_pause(&mut self) -> Duration {
        // None comes only after a maximal elapsed time, which is not set.
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const POLICY: Policy = Policy {
        first_pause: Duration::from_millis(40),
        longest_pause: Duration::from_millis(40),
        total: Duration::from_millis(400),
    };

    /// How often something is tried that always fails, and for how long.
    async fn tried(verdict: Retry) -> (usize, Duration) {
        let (attempts, begun) = (AtomicUsize::new(0), Instant::now());
        let outcome: Result<(), ()> = retry(
            POLICY,
            || async {
                attempts.fetch_add(1, Ordering::Relaxed);
                Err(())
            },
            |()| verdict,
        )
        .await;
        assert_eq!(outcome, Err(()));
        (attempts.into_inner(), begun.elapsed())
    }

    #[tokio::test]
    async fn a_pause_that_is_asked_for_is_never_shorter_than_ours_nor_longer_than_the_time() {
        let (attempts, _) = tried(Retry::After(Duration::ZERO)).await;
        // Each pause is 20 to 60 ms.
        assert!((2..=21).contains(&attempts), "{attempts}");
        for asked in [POLICY.total + Duration::from_millis(1), Duration::MAX] {
            let (attempts, took) = tried(Retry::After(asked)).await;
            assert_eq!(attempts, 1, "{asked:?}");
            assert!(took < POLICY.total, "{took:?}");
        }
        assert_eq!(tried(Retry::No).await.0, 1);
        assert!(tried(Retry::Yes).await.0 > 1);
    }
}
