//! Whether the record is kept up to date: what is shown of a run that is under way may be old.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::Record;
use crate::store::StoreError;

/// A loop that works completes a cycle at least this often: its longest interval, and some.
const LONGEST: SignedDuration = SignedDuration::from_mins(6);
/// One cycle that fails is tried again at once; so many in a row don't pass by themselves.
const FAILED: u64 = 3;

/// Why nothing new is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// The last so many cycles failed.
    Failing(u64),
    /// The last cycle that was completed ended then.
    Since(Timestamp),
    /// No cycle was ever completed.
    Never,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing(count) => write!(f, "the last {count} cycles failed"),
            Self::Since(at) => write!(f, "the last cycle was completed at {at:.0}"),
            Self::Never => f.write_str("no cycle was ever completed"),
        }
    }
}

impl Record {
    /// Why nothing new is to be expected; `None`: somebody syncs.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn stall(&self, now: Timestamp) -> Result<Option<Stall>, StoreError> {
        let last = self.reader.last_completed().await?;
        Ok(stall(last.completed_at, last.failed_since, now))
    }
}

fn stall(completed_at: Option<Timestamp>, failed: u64, now: Timestamp) -> Option<Stall> {
    if failed >= FAILED {
        return Some(Stall::Failing(failed));
    }
    match completed_at {
        None => Some(Stall::Never),
        Some(at) => (now.duration_since(at) > LONGEST).then_some(Stall::Since(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_with_its_reason() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let ago = |seconds: i64| now - SignedDuration::from_secs(seconds);
        for (completed_at, failed, expected) in [
            (Some(ago(0)), 0, None),
            (Some(ago(360)), 2, None),
            (Some(ago(361)), 0, Some(Stall::Since(ago(361)))),
            (Some(ago(10)), 3, Some(Stall::Failing(3))),
            (None, 0, Some(Stall::Never)),
            (None, 7, Some(Stall::Failing(7))),
            // A clock that is ahead of ours.
            (Some(ago(-100)), 0, None),
        ] {
            assert_eq!(
                stall(completed_at, failed, now),
                expected,
                "{completed_at:?} {failed}"
            );
        }
        let told = Stall::Since(now).to_string();
        assert_eq!(told, "the last cycle was completed at 2026-11-28T12:00:00Z");
    }
}
