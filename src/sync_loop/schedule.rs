//! When the next cycle starts. Pure: the time is an argument.
//!
//! Cycles start at a fixed rate, counted from the start of each. One that outlasts the interval makes the starts that it
//! covered fall away: they are neither queued nor do cycles overlap. After repeated failures the pause grows. A cycle that
//! is wanted early comes between, and the rhythm goes on.

use std::time::Duration;

use tokio::time::Instant;

use super::control::Interval;
use crate::retry::Pauses;

/// This many failures in a row are taken for an accident.
const FAILURES_WITHOUT_PAUSE: u32 = 2;
/// The longest pause between two attempts, however often they failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Where one of them was wanted early, no two cycles start within this.
const APART: Duration = Duration::from_secs(5);

/// The schedule of one loop.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Interval,
    /// When the last cycle of the rhythm started; `None`: the next one is the first.
    last_start: Option<Instant>,
    /// When the last cycle of any kind started.
    begun_at: Option<Instant>,
    /// The next cycle had better not wait for its turn.
    is_wanted: bool,
    /// Not before this, whatever the interval says.
    not_before: Option<Instant>,
    failures: u32,
    pauses: Pauses,
}

/// What a cycle's end means for the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Starts that fell away since the cycle outlasted the interval.
    pub(crate) skipped: u32,
    /// Failures in a row.
    pub(crate) failures: u32,
}

impl Schedule {
    /// The first cycle starts at once.
    pub(crate) fn new(interval: Interval) -> Self {
        Self {
            interval,
            last_start: None,
            begun_at: None,
            is_wanted: false,
            not_before: None,
            failures: 0,
            pauses: Pauses::new(Duration::from_secs(interval.seconds()), LONGEST_PAUSE),
        }
    }

    /// Takes effect at once: the next start is counted from the last one.
    pub(crate) fn set_interval(&mut self, interval: Interval) {
        if interval != self.interval {
            self.interval = interval;
            self.pauses = Pauses::new(self.period(), LONGEST_PAUSE);
        }
    }

    /// The next cycle starts at once, whatever was before.
    pub(crate) fn restart(&mut self) {
        self.last_start = None;
        self.begun_at = None;
        self.not_before = None;
        self.failures = 0;
        self.pauses = Pauses::new(self.period(), LONGEST_PAUSE);
    }

    /// The next cycle is wanted as soon as may be.
    pub(crate) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// When the next cycle starts; in the past: now.
    pub(crate) fn next_start(&self, now: Instant) -> Instant {
        let due = match self.last_start {
            Some(start) if self.is_wanted => now.min(start + self.period()),
            Some(start) => start + self.period(),
            None => now,
        };
        let due = match self.begun_at {
            Some(begun_at) => due.max(begun_at + APART),
            None => due,
        };
        self.not_before
            .map_or(due, |not_before| due.max(not_before))
    }

    /// A cycle starts.
    pub(crate) fn started(&mut self, now: Instant) {
        let period = self.period();
        self.last_start = match self.last_start {
            // It was early: the rhythm goes on.
            Some(start) if now < start + period => Some(start),
            // It had to wait for an early one.
            Some(start) if self.begun_at > Some(start) && now < start + 2 * period => {
                Some(start + period)
            }
            _ => Some(now),
        };
        self.begun_at = Some(now);
        self.is_wanted = false;
    }

    /// The cycle that started last has ended.
    pub(crate) fn ended(&mut self, now: Instant, succeeded: bool) -> Ended {
        let mut skipped = 0;
        let took = self.begun_at.map(|begun_at| now.duration_since(begun_at));
        if let Some(start) = self.last_start
            && took >= Some(self.period())
        {
            // Starts that the cycle covered are past; the next one keeps to the rhythm.
            let periods = now.duration_since(start).as_nanos() / self.period().as_nanos();
            skipped = u32::try_from(periods).unwrap_or(u32::MAX);
            self.last_start = Some(start + self.period() * skipped);
        }
        if succeeded {
            self.failures = 0;
            self.not_before = None;
            self.pauses = Pauses::new(self.period(), LONGEST_PAUSE);
        } else {
            self.failures += 1;
            if self.failures > FAILURES_WITHOUT_PAUSE {
                self.not_before = Some(now + self.pauses.next_pause());
            }
        }
        Ended {
            skipped,
            failures: self.failures,
        }
    }

    fn period(&self) -> Duration {
        Duration::from_secs(self.interval.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn schedule(interval: u64) -> Schedule {
        Schedule::new(Interval::new(interval).unwrap())
    }

    #[test]
    fn starts_at_once_and_then_at_a_fixed_rate() {
        let begin = Instant::now();
        let mut schedule = schedule(20);
        assert_eq!(schedule.next_start(begin), begin);
        for round in 0..5 {
            let start = begin + seconds(20 * round);
            schedule.started(start);
            let ended = schedule.ended(start + seconds(7), true);
            assert_eq!(ended.skipped, 0);
            assert_eq!(schedule.next_start(start + seconds(7)), start + seconds(20));
        }
    }

    #[test]
    fn a_cycle_that_outlasts_the_interval_skips_starts_and_queues_none() {
        let begin = Instant::now();
        let mut schedule = schedule(10);
        schedule.started(begin);
        assert_eq!(schedule.ended(begin + seconds(35), true).skipped, 3);
        assert_eq!(
            schedule.next_start(begin + seconds(35)),
            begin + seconds(40)
        );
    }

    #[test]
    fn a_new_interval_counts_from_the_last_start() {
        let begin = Instant::now();
        let mut schedule = schedule(300);
        schedule.started(begin);
        schedule.ended(begin + seconds(1), true);
        assert_eq!(
            schedule.next_start(begin + seconds(50)),
            begin + seconds(300)
        );
        schedule.set_interval(Interval::new(5).unwrap());
        assert!(
            schedule.next_start(begin + seconds(50)) <= begin + seconds(50),
            "overdue: now"
        );
        schedule.restart();
        assert_eq!(
            schedule.next_start(begin + seconds(60)),
            begin + seconds(60)
        );
    }

    #[test]
    fn an_early_cycle_starts_at_once_and_the_rhythm_goes_on() {
        let begin = Instant::now();
        let at = |second| begin + seconds(second);
        let mut schedule = schedule(20);
        schedule.started(begin);
        schedule.ended(at(1), true);
        schedule.want();
        assert_eq!(schedule.next_start(at(2)), at(5), "never two within 5 s");
        assert!(schedule.next_start(at(7)) <= at(7));
        schedule.started(at(7));
        // Wanted in a cycle: it may have looked already.
        schedule.want();
        assert_eq!(schedule.ended(at(8), true).skipped, 0);
        assert_eq!(schedule.next_start(at(8)), at(12));
        schedule.started(at(12));
        schedule.ended(at(13), true);
        assert_eq!(schedule.next_start(at(13)), at(20), "the rhythm");

        schedule.want();
        schedule.started(at(18));
        assert_eq!(schedule.ended(at(21), true).skipped, 0);
        assert_eq!(schedule.next_start(at(21)), at(23), "late");
        schedule.started(at(23));
        schedule.ended(at(24), true);
        assert_eq!(schedule.next_start(at(24)), at(40), "and no later");
    }

    #[test]
    fn repeated_failures_are_tried_again_with_growing_pauses_up_to_a_limit() {
        let mut now = Instant::now();
        let mut schedule = schedule(5);
        let mut longest = Duration::ZERO;
        for failure in 1..=40 {
            schedule.started(now);
            let ended = schedule.ended(now, false);
            assert_eq!(ended.failures, failure);
            let pause = schedule.next_start(now) - now;
            assert!(pause >= seconds(5) / 2);
            assert!(pause <= LONGEST_PAUSE + LONGEST_PAUSE / 2, "{pause:?}");
            if failure <= FAILURES_WITHOUT_PAUSE {
                assert_eq!(pause, seconds(5));
            }
            longest = longest.max(pause);
            now += pause;
        }
        assert!(longest > seconds(100), "{longest:?}");
        schedule.started(now);
        assert_eq!(schedule.ended(now, true).failures, 0);
        assert_eq!(
            schedule.next_start(now),
            now + seconds(5),
            "back to the interval"
        );
    }
}
