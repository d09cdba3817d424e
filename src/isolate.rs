//! A panic while one thing of many is worked on is that thing's failure, and not the end of all.
//!
//! What was worked on is then dropped or only read further, so that nothing half-done is seen.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

/// A panic, as the failure of what it happened to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bug in k6sync: {0}; please report it")]
pub(crate) struct Bug(String);

impl Bug {
    fn of(panic: Box<dyn Any + Send>) -> Self {
        let words = match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic
                .downcast_ref::<&str>()
                .map_or("a panic", |text| text)
                .to_owned(),
        };
        Self(words)
    }
}

/// Does `work`.
///
/// # Errors
/// It panicked.
pub(crate) fn isolated<T>(work: impl FnOnce() -> T) -> Result<T, Bug> {
    catch_unwind(AssertUnwindSafe(work)).map_err(Bug::of)
}

/// The same of what takes time.
///
/// # Errors
/// It panicked.
pub(crate) async fn isolated_future<T>(work: impl Future<Output = T>) -> Result<T, Bug> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(Bug::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_with_its_words() {
        assert_eq!(isolated(|| 5), Ok(5));
        let number = 7;
        let bug = isolated(|| -> () { panic!("no place for {number}") }).unwrap_err();
        assert_eq!(
            bug.to_string(),
            "a bug in k6sync: no place for 7; please report it"
        );
        assert_eq!(
            isolated(|| -> () { panic!("plain") }),
            Err(Bug("plain".to_owned()))
        );
        let odd = isolated(|| -> () { std::panic::panic_any(5) });
        assert_eq!(odd, Err(Bug("a panic".to_owned())));
    }

    #[tokio::test]
    async fn of_several_futures_only_the_one_that_panics_fails() {
        let work = |number: u32| async move {
            tokio::task::yield_now().await;
            assert_ne!(number, 1, "one is bad");
            number
        };
        let done = futures_util::future::join_all((0..3).map(|n| isolated_future(work(n)))).await;
        assert_eq!((&done[0], &done[2]), (&Ok(0), &Ok(2)));
        assert!(
            done[1]
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("one is bad")
        );
    }
}
