//! A container's log, line by line, against what is recorded of it. Pure, and in bounded memory however long both are.
//!
//! The cycle asks it, before it closes a record, for lines that a clock hid; `verify` asks it for everything.
//! Both sides are fed in their order; lines are held as hashes, in two windows. Where the windows differ, the nearest
//! place where they agree again says which lines are missing and which are extra.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::store::{Gap, GapCause, with_runs_joined};

/// Lines of each side that are looked at to find where they agree again.
pub(crate) const WINDOW: usize = 20_000;

/// This many lines must agree, or all that are left, before a difference is over, if they are not the only ones of their
/// kind: empty lines are everywhere.
const AGREEING: usize = 3;

/// What a comparison came to. Lines, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    /// Recorded.
    pub lines: u64,
    /// Recorded, in bytes.
    pub bytes: u64,
    /// In the log and in the record.
    pub equal: u64,
    /// In the log, but not in the record, and no gap says so.
    pub missing: u64,
    /// In the log, but not in the record; a gap says so.
    pub covered: u64,
    /// In the record, but not in the log.
    pub extra: u64,
    /// Recorded before the kubelet's log file began: it was rotated since.
    pub rotated_away: u64,
    /// Written since the last sync.
    pub behind: u64,
    /// The first line, counted from 1 in the record, where something is missing or extra.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_difference: Option<u64>,
}

impl Counts {
    /// Whether the record is not what it should be.
    pub(crate) fn differs(&self) -> bool {
        self.missing > 0 || self.extra > 0
    }
}

/// A comparison under way.
#[derive(Debug)]
pub(crate) struct Comparison {
    gaps: Vec<Gap>,
    /// The record is at its end: what the log has beyond it is missing, and not just new.
    complete: bool,
    window: usize,
    record: VecDeque<u64>,
    log: VecDeque<LogLine>,
    record_over: bool,
    log_over: bool,
    /// Nothing has agreed yet, and the record may begin before the log does.
    beginning: bool,
    passed: u64,
    /// Time of the last line of the log that is in the record.
    agreed_ts: Option<i64>,
    /// Holes that no gap tells of, and how many lines had agreed before each.
    unmarked: Vec<(u64, Gap)>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct LogLine {
    ts: i64,
    hash: u64,
}

impl Comparison {
    /// `gaps`: those on record. `complete`: whether more lines are to come to the record.
    pub(crate) fn new(gaps: Vec<Gap>, complete: bool) -> Self {
        Self {
            gaps,
            complete,
            window: WINDOW,
            record: VecDeque::new(),
            log: VecDeque::new(),
            record_over: false,
            log_over: false,
            beginning: false,
            passed: 0,
            agreed_ts: None,
            unmarked: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The log begins later than the record: it was rotated.
    pub(crate) fn begins_later(&mut self) {
        self.beginning = true;
    }

    /// Whether more of the record is wanted before more of the log helps.
    pub(crate) fn wants_record(&self) -> bool {
        !self.record_over && self.record.len() < self.window
    }

    /// Whether more of the log is wanted.
    pub(crate) fn wants_log(&self) -> bool {
        !self.log_over && self.log.len() < self.window
    }

    /// The next recorded line, with its newline.
    pub(crate) fn push_record(&mut self, line: &str) {
        self.counts.lines += 1;
        self.counts.bytes += line.len() as u64;
        self.record.push_back(hash(line));
    }

    /// Recorded lines that are older than the log's first.
    pub(crate) fn skip_record(&mut self, lines: u64, bytes: u64) {
        self.counts.lines += lines;
        self.counts.bytes += bytes;
        self.counts.rotated_away += lines;
        self.passed += lines;
    }

    /// The next line of the log, with its newline, as it would be recorded.
    pub(crate) fn push_log(&mut self, ts: i64, line: &str) {
        self.log.push_back(LogLine {
            ts,
            hash: hash(line),
        });
    }

    /// There is no more of the record.
    pub(crate) fn end_record(&mut self) {
        self.record_over = true;
    }

    /// There is no more of the log.
    pub(crate) fn end_log(&mut self) {
        self.log_over = true;
    }

    /// Compares what is there, until more of one side is wanted; whether both are at their ends.
    pub(crate) fn advance(&mut self) -> bool {
        loop {
            while let (Some(record), Some(log)) = (self.record.front(), self.log.front()) {
                if *record != log.hash {
                    break;
                }
                self.agreed_ts = Some(log.ts);
                self.record.pop_front();
                self.log.pop_front();
                self.counts.equal += 1;
                self.passed += 1;
                self.beginning = false;
            }
            if self.wants_record() || self.wants_log() {
                return false;
            }
            if self.record.is_empty() && self.log.is_empty() {
                return true;
            }
            self.settle_difference();
        }
    }

    /// What the comparison came to, and where lines are missing that no gap tells of: only the clock can have hidden them.
    pub(crate) fn finish(self) -> (Counts, Vec<Gap>) {
        let unmarked = self.unmarked.into_iter().map(|(_, gap)| gap).collect();
        (self.counts, unmarked)
    }

    /// Both windows are full or at their ends, and their first lines differ, or one has none.
    fn settle_difference(&mut self) {
        let (extra, missing) = match self.nearest_agreement() {
            Some(found) => found,
            // Of a record that may begin before the log, the agreement is further on.
            None if self.beginning && !self.record_over => (self.record.len(), 0),
            None => (self.record.len(), self.log.len()),
        };
        if extra > 0 && self.beginning {
            self.counts.rotated_away += extra as u64;
        } else if extra > 0 {
            self.counts.extra += extra as u64;
            self.note_difference();
        }
        self.record.drain(..extra);
        self.passed += extra as u64;
        // What comes after all that is recorded was written since, if anything may come.
        let is_new = self.record.is_empty() && self.record_over && !self.complete;
        let hole = Gap {
            after_ts: self.agreed_ts,
            before_ts: self.log.get(missing).map(|line| line.ts),
            cause: GapCause::Clock,
        };
        for line in self.log.drain(..missing).collect::<Vec<_>>() {
            if self.is_covered(line.ts, hole) {
                self.counts.covered += 1;
            } else if is_new {
                self.counts.behind += 1;
            } else {
                self.counts.missing += 1;
                self.note_difference();
                self.note_hole(hole);
            }
        }
    }

    fn note_hole(&mut self, hole: Gap) {
        match self.unmarked.last_mut() {
            Some((agreed, gap)) if *agreed == self.counts.equal => gap.before_ts = hole.before_ts,
            _ => self.unmarked.push((self.counts.equal, hole)),
        }
    }

    fn note_difference(&mut self) {
        let line = self.passed + 1;
        self.counts.first_difference.get_or_insert(line);
    }

    /// The fewest lines to leave out of record and log so that the next ones agree.
    fn nearest_agreement(&self) -> Option<(usize, usize)> {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, line) in self.log.iter().enumerate() {
            places.entry(line.hash).or_default().push(place);
        }
        let mut recorded: HashMap<u64, usize> = HashMap::new();
        for line in &self.record {
            *recorded.entry(*line).or_default() += 1;
        }
        let mut best: Option<(usize, usize)> = None;
        for (in_record, hash) in self.record.iter().enumerate() {
            if best.is_some_and(|(record, log)| in_record >= record + log) {
                break;
            }
            let Some(in_log) = places.get(hash) else {
                continue;
            };
            let is_unique = in_log.len() == 1 && recorded.get(hash) == Some(&1);
            // Many places are those of a line that is everywhere.
            for in_log in in_log.iter().take(100) {
                let is_nearer = best.is_none_or(|(record, log)| in_record + in_log < record + log);
                if is_nearer && (is_unique || self.agree(in_record, *in_log)) {
                    best = Some((in_record, *in_log));
                }
            }
        }
        best
    }

    fn agree(&self, in_record: usize, in_log: usize) -> bool {
        let record = self.record.range(in_record..).take(AGREEING);
        let log = self.log.range(in_log..).take(AGREEING);
        record.zip(log).all(|(record, log)| *record == log.hash)
    }

    /// Whether a gap tells that the line with this time, which is in the `hole`, is missing.
    fn is_covered(&self, ts: i64, hole: Gap) -> bool {
        self.gaps.iter().any(|gap| match gap.cause {
            // Between two lines, whose times say nothing of those between them.
            GapCause::Clock => gap.after_ts == hole.after_ts || gap.before_ts == hole.before_ts,
            _ => {
                gap.after_ts.is_none_or(|after| after <= ts)
                    && gap.before_ts.is_none_or(|before| ts <= before)
            }
        })
    }
}

/// Of a line as it would be recorded today, whatever version recorded it.
fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    with_runs_joined(line).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines of a log are at times 0, 10, 20, …
    fn compare(record: &[String], log: &[String], gaps: &[Gap], complete: bool) -> Counts {
        let mut comparison = Comparison {
            window: 50,
            ..Comparison::new(gaps.to_vec(), complete)
        };
        if record.first() == Some(&"line 0\n".to_owned()) && log.first() != record.first() {
            comparison.begins_later();
        }
        let (mut record, mut log) = (record.iter(), log.iter().zip(0..));
        loop {
            if comparison.wants_record() {
                match record.next() {
                    Some(line) => comparison.push_record(line),
                    None => comparison.end_record(),
                }
            } else if comparison.wants_log() {
                match log.next() {
                    Some((line, number)) => comparison.push_log(number * 10, line),
                    None => comparison.end_log(),
                }
            } else if comparison.advance() {
                return comparison.finish().0;
            }
        }
    }

    fn lines(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
        numbers.into_iter().map(|n| format!("line {n}\n")).collect()
    }

    fn gap(after: i64, before: i64) -> Gap {
        Gap {
            after_ts: Some(after),
            before_ts: Some(before),
            cause: GapCause::Rotated,
        }
    }

    #[test]
    fn what_is_new_is_behind_and_what_is_behind_a_complete_record_is_missing() {
        let counts = compare(&lines(0..3), &lines(0..5), &[], false);
        assert_eq!(
            (counts.equal, counts.behind, counts.differs()),
            (3, 2, false)
        );
        let counts = compare(&lines(0..3), &lines(0..5), &[], true);
        assert_eq!((counts.equal, counts.missing), (3, 2));
        assert_eq!(counts.first_difference, Some(4));
    }

    #[test]
    fn a_gap_covers_what_is_missing_between_its_times() {
        let record = lines([0, 1, 5, 6]);
        let counts = compare(&record, &lines(0..7), &[gap(10, 50)], true);
        assert_eq!((counts.covered, counts.differs()), (3, false));
        let counts = compare(&record, &lines(0..7), &[gap(10, 30)], true);
        assert_eq!((counts.covered, counts.missing), (2, 1));
    }

    #[test]
    fn a_log_that_was_rotated_begins_later() {
        let counts = compare(&lines(0..200), &lines(150..210), &[], false);
        assert_eq!(
            (
                counts.rotated_away,
                counts.equal,
                counts.behind,
                counts.extra
            ),
            (150, 50, 10, 0)
        );
    }

    #[test]
    fn holes_lie_between_lines_that_agree_whatever_their_times() {
        let times = [0, 10, 20, 5, 30, 40, 6, 7, 50];
        let holes = |gaps: &[Gap]| {
            let mut comparison = Comparison::new(gaps.to_vec(), true);
            for (number, ts) in times.iter().enumerate() {
                comparison.push_log(*ts, &format!("line {number}\n"));
            }
            for number in [0, 1, 2, 4, 5, 8] {
                comparison.push_record(&format!("line {number}\n"));
            }
            comparison.end_log();
            comparison.end_record();
            assert!(comparison.advance());
            comparison.finish()
        };
        let hole = |after, before| Gap {
            cause: GapCause::Clock,
            ..gap(after, before)
        };
        let (counts, unmarked) = holes(&[]);
        assert_eq!(counts.missing, 3);
        assert_eq!(unmarked, [hole(20, 30), hole(40, 50)]);
        let (counts, unmarked) = holes(&unmarked[..1]);
        assert_eq!((counts.covered, counts.missing), (1, 2));
        assert_eq!(unmarked, [hole(40, 50)]);
    }

    #[test]
    fn what_an_earlier_version_replaced_is_no_difference() {
        let record = [
            "bad \u{fffd}\u{fffd}\u{fffd}\n".to_owned(),
            "\u{fffd}\n".to_owned(),
        ];
        let log = ["bad \u{fffd}\n".to_owned(), "\u{fffd}\n".to_owned()];
        let counts = compare(&record, &log, &[], true);
        assert_eq!((counts.equal, counts.differs()), (2, false));
    }

    #[test]
    fn doubled_and_changed_lines_are_extra() {
        let doubled = [lines([0]), lines(0..10)].concat();
        assert_eq!(compare(&doubled, &lines(0..10), &[], true).extra, 1);
        let mut record = lines(0..10);
        record.insert(5, "line 4\n".to_owned());
        record[8] = "changed\n".to_owned();
        let counts = compare(&record, &lines(0..10), &[], true);
        assert_eq!((counts.extra, counts.missing, counts.equal), (2, 1, 9));
        assert_eq!(counts.first_difference, Some(6));
    }

    proptest! {
        /// Lines that differ from each other: what is left out of a record is missing, what is put in is extra.
        #[test]
        fn counts_what_was_left_out_and_put_in(
            edits in prop::collection::vec(0..20_u8, 0..300),
            complete in any::<bool>(),
        ) {
            let mut record = Vec::new();
            let (mut log, mut left_out, mut put_in) = (Vec::new(), 0, 0);
            // Something that agrees at both ends, so that nothing is rotated or new.
            for number in 0..edits.len() as u32 + 20 {
                let edit = number.checked_sub(10).and_then(|n| edits.get(n as usize));
                let line = format!("line {number}\n");
                log.push(line.clone());
                match edit {
                    Some(0) => left_out += 1,
                    Some(1) => {
                        put_in += 1;
                        record.push(line);
                        record.push(format!("put in after {number}\n"));
                    }
                    _ => record.push(line),
                }
            }
            let counts = compare(&record, &log, &[], complete);
            prop_assert_eq!(counts.lines, record.len() as u64);
            prop_assert_eq!(counts.equal + counts.extra, counts.lines);
            prop_assert_eq!(counts.equal + counts.missing, log.len() as u64);
            // Where edits are dense, lines between them may be told as left out and put in again.
            prop_assert!(counts.missing >= left_out && counts.extra >= put_in);
            prop_assert_eq!(counts.missing - left_out, counts.extra - put_in);
            prop_assert_eq!(counts.differs(), left_out + put_in > 0);
        }
    }
}
