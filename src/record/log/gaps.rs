//! Where in a container's log its gaps are. Pure.
//!
//! A gap has the times of the line before it and of the line after it. Lines come in the order in which they were stored, and times
//! mostly grow, but a clock may step back: then the line before has been there already when a line of the other time comes.

use crate::store::{GapCause, RunGap};

/// The lines of a container that have gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// The latest time of all.
    pub latest: i64,
    /// The last line's time.
    pub last: i64,
}

impl Passed {
    pub(super) fn and(passed: Option<Self>, ts: i64) -> Self {
        Self {
            latest: passed.map_or(ts, |passed| passed.latest.max(ts)),
            last: ts,
        }
    }
}

/// The gaps of a container's log that are still to come.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    known: Vec<RunGap>,
    to_come: Vec<RunGap>,
    /// How many of them were told.
    pub(super) told: usize,
}

impl Gaps {
    /// All that are on record; those that were known before are not new. Whether there are new ones.
    pub(super) fn learn(&mut self, all: &[RunGap]) -> bool {
        let new: Vec<RunGap> = all
            .iter()
            .filter(|gap| !self.known.contains(gap))
            .copied()
            .collect();
        self.to_come.extend(&new);
        self.known.extend(&new);
        !new.is_empty()
    }

    /// So many were told already, the first.
    pub(super) fn skip(&mut self, told: usize) {
        self.told = told;
        self.to_come.drain(..told.min(self.to_come.len()));
    }

    pub(super) fn are_over(&self) -> bool {
        self.to_come.is_empty()
    }

    /// Reading begins in the middle of the log, at a line of this time: forgets what is before it.
    pub(super) fn begin_at(&mut self, ts: i64) {
        self.to_come.retain(|gap| match gap.cause {
            GapCause::Pruned => false,
            _ => gap.before_ts.or(gap.after_ts).is_some_and(|at| at >= ts),
        });
    }

    /// Reading begins after the last line: forgets all that has been.
    pub(super) fn begin_at_the_end(&mut self) {
        self.to_come.clear();
    }

    /// Which of them is before a line of this time, the next after those that have passed.
    pub(super) fn before_line(&self, passed: Option<Passed>, ts: i64) -> Option<usize> {
        self.to_come
            .iter()
            .position(|gap| is_before_line(gap, passed, ts))
    }

    /// Which of them is at the end of the log as it is; `may_grow`: more lines may come.
    pub(super) fn at_end(&self, passed: Option<Passed>, may_grow: bool) -> Option<usize> {
        self.to_come.iter().position(|gap| {
            let is_reached = match gap.cause {
                GapCause::Truncated => gap.after_ts.is_none_or(|after| has_passed(passed, after)),
                _ => gap.before_ts.is_none(),
            };
            is_reached || !may_grow
        })
    }

    pub(super) fn take(&mut self, index: usize) -> RunGap {
        self.told += 1;
        self.to_come.remove(index)
    }
}

fn has_passed(passed: Option<Passed>, ts: i64) -> bool {
    passed.is_some_and(|passed| passed.latest >= ts)
}

fn is_before_line(gap: &RunGap, passed: Option<Passed>, ts: i64) -> bool {
    match (gap.cause, gap.after_ts, gap.before_ts) {
        // From the beginning on.
        (GapCause::Pruned, ..) | (_, None, None) => true,
        // The line itself was cut.
        (GapCause::Truncated, Some(after), _) => ts != after && has_passed(passed, after),
        (_, None, Some(before)) => ts >= before,
        (_, Some(after), Some(before)) => {
            ts >= before && (before > after || has_passed(passed, after))
        }
        (_, Some(after), None) => ts > after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StreamId;

    fn gap(after_ts: Option<i64>, before_ts: Option<i64>, cause: GapCause) -> RunGap {
        RunGap {
            stream_id: StreamId(1),
            after_ts,
            before_ts,
            cause,
        }
    }

    /// Before which of the lines of these times the gap comes; their number: at the end.
    fn place(gap: RunGap, times: &[i64]) -> usize {
        let mut gaps = Gaps::default();
        assert!(gaps.learn(&[gap]));
        assert!(!gaps.learn(&[gap]), "it is known");
        let mut passed = None;
        for (index, ts) in times.iter().enumerate() {
            if let Some(due) = gaps.before_line(passed, *ts) {
                assert_eq!(gaps.take(due), gap);
                assert!(gaps.are_over());
                return index;
            }
            passed = Some(Passed::and(passed, *ts));
        }
        assert_eq!(gaps.at_end(passed, false), Some(0));
        times.len()
    }

    #[test]
    fn a_gap_is_between_its_lines() {
        use GapCause::{Clock, Deleted, Pruned, Rotated, Truncated};
        for (gap, times, expected) in [
            (gap(Some(20), Some(50), Rotated), &[10, 20, 50, 60][..], 2),
            // Twins before it.
            (gap(Some(20), Some(50), Rotated), &[20, 20, 50], 2),
            // Neighbours may be swapped.
            (gap(Some(20), Some(50), Rotated), &[20, 19, 50], 2),
            (gap(None, Some(50), Rotated), &[50, 60], 0),
            (gap(Some(60), None, Deleted), &[50, 60], 2),
            // Lines came after all.
            (gap(Some(60), None, Rotated), &[50, 60, 70], 2),
            (gap(None, None, Deleted), &[], 0),
            (gap(None, None, Pruned), &[70, 80], 0),
            (gap(None, None, Pruned), &[], 0),
            // A clock that stepped back.
            (
                gap(Some(100), Some(30), Clock),
                &[10, 40, 100, 30, 40, 110],
                3,
            ),
            (gap(Some(20), Some(20), Truncated), &[10, 20, 30], 2),
            (gap(Some(30), Some(30), Truncated), &[10, 20, 30], 3),
            // The line before it was deleted.
            (gap(Some(20), Some(50), Rotated), &[50, 60], 0),
        ] {
            assert_eq!(place(gap, times), expected, "{gap:?} in {times:?}");
        }
    }

    #[test]
    fn what_may_still_come_is_waited_for() {
        let mut gaps = Gaps::default();
        gaps.learn(&[
            gap(Some(20), Some(50), GapCause::Rotated),
            gap(Some(20), None, GapCause::Rotated),
        ]);
        let passed = Some(Passed {
            latest: 20,
            last: 20,
        });
        assert_eq!(gaps.at_end(passed, true), Some(1));
        assert_eq!(gaps.at_end(passed, false), Some(0));
    }

    #[test]
    fn what_is_before_the_beginning_is_forgotten() {
        for (gap, is_kept) in [
            (gap(Some(20), Some(50), GapCause::Rotated), true),
            (gap(Some(20), Some(49), GapCause::Rotated), false),
            (gap(None, None, GapCause::Pruned), false),
            (gap(Some(60), None, GapCause::Deleted), true),
            (gap(Some(40), None, GapCause::Rotated), false),
        ] {
            let mut gaps = Gaps::default();
            gaps.learn(&[gap]);
            gaps.begin_at(50);
            assert_eq!(!gaps.are_over(), is_kept, "{gap:?}");
        }
    }
}
