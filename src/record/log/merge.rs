//! The logs of several containers as one, by the times of their lines, in bounded memory. Pure.
//!
//! Of each container a [`Head`] is in memory: the lines that come next. The least of all comes first, but only when the next line
//! of every container is known. All heads together hold no more than a budget; where a line is longer than its container's share,
//! only its time is held until it is its turn.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::gaps::Passed;
use super::head::{Damage, Head, Run, Start};
use super::line::Position;
use super::places::{Place, Places};
use crate::store::{ChunkRow, RunGap, StreamId};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing can be told before these have been fed: see [`Merge::wanting`].
    Wants,
    /// Lines of a container.
    Lines(usize, Run),
    /// A gap in the log of a container.
    Gap(usize, RunGap),
    /// All that there is has been given out.
    Idle,
}

/// Containers' logs, being read.
#[derive(Debug)]
pub(super) struct Merge {
    heads: Vec<Head>,
    /// By the time of the next line, then by their order.
    ready: BinaryHeap<Reverse<(i64, usize)>>,
    /// Whose next line is not known.
    wanting: BTreeSet<usize>,
    /// What was given out last.
    lent: Option<(usize, Run)>,
    budget: usize,
    /// Somebody wants to know when each line was written.
    is_timed: bool,
}

impl Merge {
    /// `budget`: bytes that all heads together may hold. `is_timed`: the times of lines are wanted even where there is one container.
    pub(super) fn new(budget: usize, is_timed: bool) -> Self {
        Self {
            heads: Vec::new(),
            ready: BinaryHeap::new(),
            wanting: BTreeSet::new(),
            lent: None,
            budget,
            is_timed,
        }
    }

    /// One more container; those of the same time come in the order in which they were added.
    pub(super) fn add(&mut self, stream: StreamId, start: Start, gaps: &[RunGap]) {
        let mut head = Head::new(stream, start);
        head.gaps.learn(gaps);
        if let Some(told) = start.told {
            head.gaps.skip(told);
        }
        self.wanting.insert(self.heads.len());
        self.heads.push(head);
    }

    /// There is more of this container: lines, or these gaps.
    pub(super) fn reopen(&mut self, index: usize, gaps: &[RunGap]) {
        self.heads[index].gaps.learn(gaps);
        if self.is_at_its_end(index) {
            self.wanting.insert(index);
        }
    }

    fn is_at_its_end(&self, index: usize) -> bool {
        let is_ready = self.ready.iter().any(|Reverse((_, ready))| *ready == index);
        let is_lent = self.lent.is_some_and(|(lent, _)| lent == index);
        !is_ready && !is_lent
    }

    /// Whose next line must be known before anything can be told.
    pub(super) fn wanting(&self) -> Vec<usize> {
        self.wanting.iter().copied().collect()
    }

    /// Which chunk of this container is wanted.
    pub(super) fn place(&self, index: usize) -> (StreamId, Position) {
        let head = &self.heads[index];
        (head.stream, head.at)
    }

    /// Lets go of all lines that were not given out: they are wanted again. What was given out last is done with.
    pub(super) fn rest(&mut self) {
        if let Some((index, run)) = self.lent.take() {
            self.heads[index].pass(run);
            self.wanting.insert(index);
            self.heads[index].window = None;
        }
        let (heads, wanting) = (&mut self.heads, &mut self.wanting);
        // Those at their ends have gaps to tell, and no lines.
        self.ready.retain(|Reverse((_, index))| {
            let has_lines = heads[*index].window.take().is_some();
            if has_lines {
                wanting.insert(*index);
            }
            !has_lines
        });
    }

    /// How far each container was read: what was given out last counts as read. Only where times are wanted.
    pub(super) fn places(&self) -> Places {
        let place = |(index, head): (usize, &Head)| {
            let mut at = head.at;
            if let Some((lent, run)) = self.lent
                && lent == index
            {
                at.line += run.lines;
            }
            let gaps = head.gaps.told;
            (head.stream, Place { at, gaps })
        };
        Places(self.heads.iter().enumerate().map(place).collect())
    }

    /// How many containers are not at their ends.
    pub(super) fn active(&self) -> usize {
        self.wanting.len() + self.ready.len() + usize::from(self.lent.is_some())
    }

    /// The chunk that was wanted, or the one after it where that is gone.
    pub(super) fn feed(&mut self, index: usize, row: ChunkRow) -> Result<(), Damage> {
        let share = self.budget / self.active().max(1);
        let is_timed = self.is_timed || self.heads.len() > 1;
        let head = &mut self.heads[index];
        if head.take(row, share, is_timed)? {
            self.wanting.remove(&index);
            self.ready.push(Reverse((head.key(), index)));
        }
        Ok(())
    }

    /// There is no such chunk, and no later one; `may_grow`: yet.
    pub(super) fn end(&mut self, index: usize, may_grow: bool) {
        self.wanting.remove(&index);
        let head = &mut self.heads[index];
        head.end(may_grow);
        if !head.gaps.are_over() {
            self.ready.push(Reverse((head.key(), index)));
        }
    }

    /// What comes next. What came last is done with.
    pub(super) fn step(&mut self) -> Step {
        if let Some((index, run)) = self.lent.take() {
            match self.heads[index].pass(run) {
                true => self.ready.push(Reverse((self.heads[index].key(), index))),
                false => drop(self.wanting.insert(index)),
            }
        }
        if !self.wanting.is_empty() {
            return Step::Wants;
        }
        while let Some(Reverse((key, index))) = self.ready.pop() {
            let next = self.ready.peek().map(|Reverse(next)| *next);
            let head = &mut self.heads[index];
            let passed: Option<Passed> = head.passed;
            let gap = match (&head.window, head.next_time()) {
                (None, _) => head.gaps.at_end(passed, head.may_grow),
                (Some(_), Some(ts)) => head.gaps.before_line(passed, ts),
                (Some(_), None) => None,
            };
            if let Some(gap) = gap {
                let gap = head.gaps.take(gap);
                self.ready.push(Reverse((key, index)));
                return Step::Gap(index, gap);
            }
            if head
                .window
                .as_ref()
                .is_some_and(|window| window.is_time_alone)
            {
                head.window = None;
                head.must_hold = true;
                self.wanting.insert(index);
                return Step::Wants;
            }
            let run = match next {
                Some(next) => head.run(|key| (key, index) > next),
                None => head.whole(),
            };
            if let Some(run) = run {
                self.lent = Some((index, run));
                return Step::Lines(index, run);
            }
        }
        Step::Idle
    }

    /// The lines of a run, their times, and whether those are guessed. Only until the next step.
    pub(super) fn view(&self, index: usize, run: Run) -> (&str, &[i64], bool) {
        self.heads[index].view(run)
    }

    /// Bytes of log and of times in memory.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.heads.iter().map(Head::held).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{Chunk, GapCause, LineTimes};

    /// Lines of one container: their times and texts.
    type Lines = Vec<(i64, String)>;

    /// The chunks that these lines are stored in, cut after so many lines each.
    fn chunks(lines: &[(i64, String)], cuts: &[usize], is_timed: bool) -> Vec<ChunkRow> {
        let mut rows = Vec::new();
        let mut rest = lines;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = later;
            let mut times = LineTimes::default();
            for pair in now.windows(2) {
                times.push(pair[0].0, pair[1].0);
            }
            rows.push(ChunkRow {
                seq: rows.len() as i64,
                chunk: Chunk {
                    first_ts: now[0].0,
                    last_ts: now[now.len() - 1].0,
                    lines: now.len() as i64,
                    body: now.iter().map(|(_, text)| text.as_str()).collect(),
                    line_times: is_timed.then_some(times),
                },
            });
        }
        rows
    }

    #[derive(Debug, Default)]
    struct Read {
        /// (container, time, line)
        lines: Vec<(usize, i64, String)>,
        /// (container, how many lines of it came before)
        gaps: Vec<(usize, usize)>,
        most_held: usize,
        places: Vec<(usize, Position)>,
    }

    /// Reads all, each chunk when it is wanted.
    fn read(merge: &mut Merge, stored: &[Vec<ChunkRow>]) -> Read {
        read_with_rests(merge, stored, usize::MAX)
    }

    /// The same, letting go of what is in memory after each so many steps.
    fn read_with_rests(merge: &mut Merge, stored: &[Vec<ChunkRow>], rest_after: usize) -> Read {
        let mut read = Read::default();
        for number in 1.. {
            if number % rest_after == 0 {
                merge.rest();
                assert_eq!(merge.held(), 0);
            }
            match merge.step() {
                Step::Idle => return read,
                Step::Gap(index, _) => {
                    let before = read.lines.iter().filter(|(of, ..)| *of == index).count();
                    read.gaps.push((index, before));
                }
                Step::Wants => {
                    for index in merge.wanting() {
                        let (_, at) = merge.place(index);
                        match stored[index].iter().find(|row| row.seq >= at.seq) {
                            Some(row) => merge.feed(index, row.clone()).unwrap(),
                            None => merge.end(index, false),
                        }
                    }
                }
                Step::Lines(index, run) => {
                    let (text, times, _) = merge.view(index, run);
                    assert!(!text.is_empty());
                    let each: Vec<&str> = text.split_inclusive('\n').collect();
                    assert_eq!(each.len(), times.len());
                    for (number, (text, ts)) in each.iter().zip(times).enumerate() {
                        read.lines.push((index, *ts, (*text).to_owned()));
                        let line = run.at.line + number;
                        read.places.push((index, Position { line, ..run.at }));
                    }
                }
            }
            read.most_held = read.most_held.max(merge.held());
        }
        read
    }

    fn merged(logs: &[Lines], cuts: &[usize], budget: usize) -> Read {
        let stored: Vec<_> = logs.iter().map(|lines| chunks(lines, cuts, true)).collect();
        let mut merge = Merge::new(budget, true);
        for index in 0..logs.len() {
            merge.add(StreamId(index as i64), Start::default(), &[]);
        }
        read(&mut merge, &stored)
    }

    /// Sorted by the latest time of the lines up to each in its container, then by container, then by their order there.
    fn expected(logs: &[Lines]) -> Vec<(usize, i64, String)> {
        let mut all = Vec::new();
        for (index, lines) in logs.iter().enumerate() {
            let mut latest = i64::MIN;
            for (number, (ts, text)) in lines.iter().enumerate() {
                latest = latest.max(*ts);
                all.push(((latest, index, number), (index, *ts, text.clone())));
            }
        }
        all.sort();
        all.into_iter().map(|(_, line)| line).collect()
    }

    fn logs() -> impl Strategy<Value = Vec<Lines>> {
        let line = (0..40_i64, "[a-z]{0,12}").prop_map(|(ts, text)| (ts, format!("{text}\n")));
        prop::collection::vec(prop::collection::vec(line, 0..25), 1..6)
    }

    fn sorted() -> impl Strategy<Value = Vec<Lines>> {
        logs().prop_map(|mut logs| {
            for lines in &mut logs {
                lines.sort_by_key(|(ts, _)| *ts);
            }
            logs
        })
    }

    proptest! {
        /// Also where clocks step back, for any way to cut lines into chunks, and any budget.
        #[test]
        fn lines_come_by_time_and_never_out_of_their_order(
            logs in prop_oneof![logs(), sorted()],
            cuts in prop::collection::vec(1..8_usize, 1..4),
            budget in prop_oneof![Just(0_usize), 1..400_usize, Just(1 << 20)],
        ) {
            let read = merged(&logs, &cuts, budget);
            prop_assert_eq!(read.lines, expected(&logs));
            // One line is held whole, however long it is.
            let one = 13 + 8;
            let times = logs.len() * 8;
            prop_assert!(read.most_held <= budget + one + times, "{} of {budget}", read.most_held);
            // Each line has a place of its own.
            let mut places = read.places.clone();
            places.sort();
            places.dedup();
            prop_assert_eq!(places.len(), read.places.len());
        }

        /// Whatever is let go of on the way. A step must be able to go on from what was fetched for it: three are one line.
        #[test]
        fn rests_change_nothing(
            logs in prop_oneof![logs(), sorted()],
            cuts in prop::collection::vec(1..8_usize, 1..4),
            budget in prop_oneof![1..400_usize, Just(1 << 20)],
            rest_after in 4..20_usize,
        ) {
            let stored: Vec<_> = logs.iter().map(|lines| chunks(lines, &cuts, true)).collect();
            let mut merge = Merge::new(budget, true);
            for index in 0..logs.len() {
                merge.add(StreamId(index as i64), Start::default(), &[]);
            }
            let read = read_with_rests(&mut merge, &stored, rest_after);
            prop_assert_eq!(read.lines, expected(&logs));
        }

        /// Whoever goes on from the place of a line gets that line and all that follow it in its container.
        #[test]
        fn reading_goes_on_from_any_place(
            logs in logs(), cuts in prop::collection::vec(1..8_usize, 1..4), from in any::<prop::sample::Index>(),
        ) {
            let whole = merged(&logs, &cuts, 100);
            if whole.places.is_empty() {
                return Ok(());
            }
            let from = from.index(whole.places.len());
            let (of, at) = whole.places[from];
            let mut merge = Merge::new(100, true);
            merge.add(StreamId(0), Start { at, ..Start::default() }, &[]);
            let stored = [chunks(&logs[of], &cuts, true)];
            let rest: Vec<String> = read(&mut merge, &stored).lines.into_iter().map(|(.., text)| text).collect();
            let expected: Vec<String> = whole.lines[from..].iter().filter(|(index, ..)| *index == of)
                .map(|(.., text)| text.clone()).collect();
            prop_assert_eq!(rest, expected);
        }

        /// Lines that come later come after those that were there, and none twice.
        #[test]
        fn what_comes_later_is_seen_when_it_comes(
            logs in sorted(), cuts in prop::collection::vec(1..8_usize, 1..4), shown in 0..4_usize,
        ) {
            let stored: Vec<_> = logs.iter().map(|lines| chunks(lines, &cuts, true)).collect();
            let first: Vec<_> = stored.iter().map(|rows| rows[..rows.len().min(shown)].to_vec()).collect();
            let mut merge = Merge::new(1 << 20, true);
            for index in 0..logs.len() {
                merge.add(StreamId(index as i64), Start::default(), &[]);
            }
            let mut lines = read(&mut merge, &first).lines;
            for index in 0..logs.len() {
                merge.reopen(index, &[]);
            }
            lines.extend(read(&mut merge, &stored).lines);
            let mut by_container: BTreeMap<usize, Lines> = BTreeMap::new();
            for (index, ts, text) in lines {
                by_container.entry(index).or_default().push((ts, text));
            }
            for (index, log) in logs.iter().enumerate() {
                let read = by_container.remove(&index).unwrap_or_default();
                prop_assert_eq!(&read, log);
            }
        }
    }

    fn numbered(times: &[i64]) -> Lines {
        times
            .iter()
            .enumerate()
            .map(|(number, ts)| (*ts, format!("{number}\n")))
            .collect()
    }

    #[test]
    fn gaps_come_in_their_places() {
        let gap = |after_ts, before_ts| RunGap {
            stream_id: StreamId(0),
            after_ts,
            before_ts,
            cause: GapCause::Rotated,
        };
        let log = numbered(&[10, 20, 50, 60]);
        for (gap, expected) in [
            (gap(Some(20), Some(50)), 2),
            (gap(None, Some(10)), 0),
            (gap(Some(60), None), 4),
        ] {
            for cuts in [&[1][..], &[2], &[3], &[4]] {
                // Alone, and beside another container.
                for others in [0, 1] {
                    let mut merge = Merge::new(1 << 20, false);
                    merge.add(StreamId(0), Start::default(), &[gap]);
                    let mut stored = vec![chunks(&log, cuts, true)];
                    for other in 0..others {
                        merge.add(StreamId(1 + other), Start::default(), &[]);
                        stored.push(chunks(&numbered(&[5, 30, 70]), cuts, true));
                    }
                    // Its times are wanted as long as there is a gap to come.
                    let mut lines_before = 0;
                    loop {
                        match merge.step() {
                            Step::Wants => {
                                for index in merge.wanting() {
                                    let (_, at) = merge.place(index);
                                    match stored[index].iter().find(|row| row.seq >= at.seq) {
                                        Some(row) => merge.feed(index, row.clone()).unwrap(),
                                        None => merge.end(index, false),
                                    }
                                }
                            }
                            Step::Lines(0, run) => {
                                let (text, ..) = merge.view(0, run);
                                lines_before += text.lines().count();
                            }
                            Step::Lines(..) => {}
                            Step::Gap(index, _) => {
                                assert_eq!((index, lines_before), (0, expected), "{cuts:?}");
                                break;
                            }
                            Step::Idle => panic!("there was no gap"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn one_log_alone_is_given_out_in_whole_chunks_whatever_its_times_say() {
        let log = numbered(&[10, 20, 5, 60]);
        let mut rows = chunks(&log, &[2], true);
        rows[1].chunk.line_times = Some(LineTimes::from(vec![0x80]));
        let mut merge = Merge::new(0, false);
        merge.add(StreamId(0), Start::default(), &[]);
        let mut bodies = Vec::new();
        loop {
            match merge.step() {
                Step::Wants => {
                    let (_, at) = merge.place(0);
                    match rows.iter().find(|row| row.seq >= at.seq) {
                        Some(row) => merge.feed(0, row.clone()).unwrap(),
                        None => merge.end(0, false),
                    }
                }
                Step::Lines(_, run) => bodies.push(merge.view(0, run).0.to_owned()),
                Step::Idle => break,
                Step::Gap(..) => panic!("there is no gap"),
            }
        }
        assert_eq!(bodies, ["0\n1\n", "2\n3\n"]);
        // Where times matter, that is an error.
        let mut merge = Merge::new(0, true);
        merge.add(StreamId(0), Start::default(), &[]);
        let error = merge.feed(0, rows[1].clone()).unwrap_err();
        assert_eq!(error.seq, 1);
    }

    #[test]
    fn a_log_without_times_is_merged_by_those_of_its_chunks() {
        let old = chunks(&numbered(&[10, 11, 12, 50]), &[4], false);
        let new = chunks(&numbered(&[20, 40]), &[2], true);
        let mut merge = Merge::new(1 << 20, true);
        for id in 0..2 {
            merge.add(StreamId(id), Start::default(), &[]);
        }
        let read = read(&mut merge, &[old, new]);
        let order: Vec<(usize, i64)> = read.lines.iter().map(|(of, ts, _)| (*of, *ts)).collect();
        assert_eq!(
            order,
            [(0, 10), (1, 20), (0, 23), (0, 36), (1, 40), (0, 50)]
        );
    }

    #[test]
    fn reading_begins_with_the_first_line_of_a_time() {
        let log = numbered(&[10, 20, 30, 25, 40]);
        for (since, expected) in [(0, 5), (20, 4), (21, 3), (40, 1), (41, 0)] {
            let start = Start {
                since: Some(since),
                ..Start::default()
            };
            let mut merge = Merge::new(1 << 20, false);
            merge.add(StreamId(0), start, &[]);
            let mut lines = 0;
            loop {
                match merge.step() {
                    Step::Wants => {
                        let (_, at) = merge.place(0);
                        let rows = chunks(&log, &[2], true);
                        match rows.into_iter().find(|row| row.seq >= at.seq) {
                            Some(row) => merge.feed(0, row).unwrap(),
                            None => merge.end(0, false),
                        }
                    }
                    Step::Lines(_, run) => lines += merge.view(0, run).0.lines().count(),
                    Step::Idle => break,
                    Step::Gap(..) => panic!("there is no gap"),
                }
            }
            assert_eq!(lines, expected, "{since}");
        }
    }
}
