//! What is in memory of one container's log: the lines that come next. Pure.

use super::gaps::{Gaps, Passed};
use super::line::Position;
use crate::store::{Chunk, ChunkRow, StreamId};

/// What a line's time takes in memory.
const TIME_BYTES: usize = size_of::<i64>();

/// Where reading begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub at: Position,
    /// And there only with the first line of this time or later, nanoseconds since 1970.
    pub since: Option<i64>,
    /// Lines before are left out.
    pub in_the_middle: bool,
    /// Somebody had read up to there, and had been told so many gaps.
    pub told: Option<usize>,
}

/// A chunk is not what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub seq: i64,
    pub problem: String,
}

/// Lines of one chunk that follow one another.
#[derive(Debug)]
pub(super) struct Window {
    text: String,
    /// How many bytes of it were given out.
    at: usize,
    /// When each line was written; empty where nobody wants to know.
    times: Vec<i64>,
    /// How many lines were given out.
    next: usize,
    lines: usize,
    /// The times are guessed.
    pub(super) approximate: bool,
    /// The chunk has more lines after these.
    goes_on: bool,
    /// The line is so long that only its time is held.
    pub(super) is_time_alone: bool,
    /// The latest time, where there are no `times`.
    latest: i64,
}

/// The lines of a window that are given out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) at: Position,
    from: usize,
    to: usize,
    first: usize,
    pub(super) lines: usize,
}

/// One container's log, as far as it is read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) stream: StreamId,
    /// The first line that was not given out.
    pub(super) at: Position,
    pub(super) gaps: Gaps,
    pub(super) passed: Option<Passed>,
    pub(super) window: Option<Window>,
    start: Start,
    /// Its next line is wanted whole, however long it is.
    pub(super) must_hold: bool,
    /// More may come after the end.
    pub(super) may_grow: bool,
}

impl Head {
    pub(super) fn new(stream: StreamId, start: Start) -> Self {
        let mut head = Self {
            stream,
            at: start.at,
            gaps: Gaps::default(),
            passed: None,
            window: None,
            start,
            must_hold: false,
            may_grow: false,
        };
        head.start.in_the_middle |= start.at != Position::default() || start.since.is_some();
        head.start.in_the_middle &= start.told.is_none();
        head
    }

    /// The time by which the next line stands among those of other containers. It never goes back, so that a clock that does
    /// can't change the order of a container's lines.
    pub(super) fn key(&self) -> i64 {
        let latest = self.passed.map_or(i64::MIN, |passed| passed.latest);
        latest.max(self.next_time().unwrap_or(latest))
    }

    pub(super) fn next_time(&self) -> Option<i64> {
        let window = self.window.as_ref()?;
        window.times.get(window.next).copied()
    }

    #[cfg(test)]
    /// Bytes of log and of times in memory.
    pub(super) fn held(&self) -> usize {
        let bytes = |window: &Window| window.text.capacity() + window.times.capacity() * TIME_BYTES;
        self.window.as_ref().map_or(0, bytes)
    }

    /// Takes a chunk from where reading stands, as many lines of it as take no more than `share` bytes. Whether there are any.
    pub(super) fn take(
        &mut self,
        row: ChunkRow,
        share: usize,
        is_timed: bool,
    ) -> Result<bool, Damage> {
        let ChunkRow { seq, chunk } = row;
        if seq != self.at.seq {
            self.at = Position { seq, line: 0 };
        }
        let begins = self.passed.is_none() && self.start.in_the_middle;
        if !is_timed && self.gaps.are_over() && self.start.since.is_none() {
            return Ok(self.take_untimed(chunk));
        }
        let lines = count_lines(&chunk.body);
        let times = times_of(seq, &chunk, lines)?;
        let mut first = self.at.line;
        if let Some(since) = self.start.since {
            let later = times.iter().skip(first).position(|ts| *ts >= since);
            first = later.map_or(lines, |skipped| first + skipped);
        }
        if first >= lines {
            self.at = next_chunk(seq);
            return Ok(false);
        }
        self.start.since = None;
        if begins {
            self.gaps.begin_at(times[first]);
        }
        self.at.line = first;
        let from = offset_of(&chunk.body, first);
        let must_hold = std::mem::take(&mut self.must_hold);
        let (kept, to) = prefix(&chunk.body, from, lines - first, share, must_hold);
        let approximate =
            chunk.line_times.is_none() && lines > 2 && chunk.first_ts != chunk.last_ts;
        let is_whole = from == 0 && to == chunk.body.len();
        self.window = Some(Window {
            text: match is_whole {
                true => chunk.body,
                false => chunk.body[from..to].to_owned(),
            },
            at: 0,
            times: times[first..first + kept.max(1)].to_vec(),
            next: 0,
            lines: kept.max(1),
            approximate,
            goes_on: first + kept < lines,
            is_time_alone: kept == 0,
            latest: i64::MIN,
        });
        Ok(true)
    }

    /// Nobody wants to know when its lines were written: the chunk as it is, however large.
    fn take_untimed(&mut self, chunk: Chunk) -> bool {
        let from = offset_of(&chunk.body, self.at.line);
        if from == chunk.body.len() {
            self.at = next_chunk(self.at.seq);
            return false;
        }
        self.window = Some(Window {
            text: chunk.body,
            at: from,
            times: Vec::new(),
            next: 0,
            lines: 1,
            approximate: false,
            goes_on: false,
            is_time_alone: false,
            latest: chunk.first_ts.max(chunk.last_ts),
        });
        true
    }

    /// There is no chunk where reading stands.
    pub(super) fn end(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
        if self.passed.is_none() && self.start.in_the_middle {
            match self.start.since {
                Some(since) => self.gaps.begin_at(since),
                None => self.gaps.begin_at_the_end(),
            }
        }
    }

    /// The lines to give out next: up to the first of which `is_later` says that others come before it, and up to a gap.
    pub(super) fn run(&self, is_later: impl Fn(i64) -> bool) -> Option<Run> {
        let window = self.window.as_ref()?;
        let mut run = Run {
            at: self.at,
            from: window.at,
            to: window.text.len(),
            first: window.next,
            lines: window.lines - window.next,
        };
        if window.times.is_empty() {
            return Some(run);
        }
        let bytes = window.text.as_bytes();
        let mut passed = self.passed;
        let mut to = window.at;
        for (index, ts) in window.times.iter().enumerate().skip(window.next) {
            let next = Passed::and(passed, *ts);
            let is_first = index == window.next;
            if !is_first && (is_later(next.latest) || self.gaps.before_line(passed, *ts).is_some())
            {
                run.to = to;
                run.lines = index - window.next;
                break;
            }
            passed = Some(next);
            to = memchr::memchr(b'\n', &bytes[to..]).map_or(bytes.len(), |end| to + end + 1);
        }
        Some(run)
    }

    /// All that is in memory is to be given out next.
    pub(super) fn whole(&self) -> Option<Run> {
        match self.gaps.are_over() {
            true => self.window.as_ref().map(|window| Run {
                at: self.at,
                from: window.at,
                to: window.text.len(),
                first: window.next,
                lines: window.lines - window.next,
            }),
            false => self.run(|_| false),
        }
    }

    /// The text of a run and the times of its lines.
    pub(super) fn view(&self, run: Run) -> (&str, &[i64], bool) {
        match &self.window {
            Some(window) => {
                let times = match window.times.is_empty() {
                    true => &[][..],
                    false => &window.times[run.first..run.first + run.lines],
                };
                (&window.text[run.from..run.to], times, window.approximate)
            }
            None => ("", &[], false),
        }
    }

    /// The run was given out. Whether more is in memory.
    pub(super) fn pass(&mut self, run: Run) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        let passed_before = self.passed;
        let times = window.times.get(run.first..run.first + run.lines);
        for ts in times.unwrap_or_default() {
            self.passed = Some(Passed::and(self.passed, *ts));
        }
        if window.times.is_empty() {
            self.passed = Some(Passed::and(passed_before, window.latest));
        }
        window.at = run.to;
        window.next += run.lines;
        self.at.line += run.lines;
        if window.next < window.lines {
            return true;
        }
        if !window.goes_on {
            self.at = next_chunk(self.at.seq);
        }
        self.window = None;
        false
    }
}

const fn next_chunk(seq: i64) -> Position {
    Position {
        seq: seq.saturating_add(1),
        line: 0,
    }
}

fn count_lines(text: &str) -> usize {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    ends + usize::from(!text.is_empty() && !text.ends_with('\n'))
}

/// Where the line with this index begins; the text's length: there are not so many.
fn offset_of(text: &str, line: usize) -> usize {
    match line.checked_sub(1) {
        None => 0,
        Some(before) => memchr::memchr_iter(b'\n', text.as_bytes())
            .nth(before)
            .map_or(text.len(), |end| end + 1),
    }
}

/// How many of the `lines` lines from `from` on take at most `share` bytes, and where they end.
fn prefix(
    text: &str,
    from: usize,
    lines: usize,
    share: usize,
    at_least_one: bool,
) -> (usize, usize) {
    if text.len() - from + lines * TIME_BYTES <= share {
        return (lines, text.len());
    }
    let bytes = text.as_bytes();
    let (mut kept, mut to) = (0, from);
    while kept < lines {
        let end = memchr::memchr(b'\n', &bytes[to..]).map_or(bytes.len(), |end| to + end + 1);
        let is_too_much = end - from + (kept + 1) * TIME_BYTES > share;
        if is_too_much && !(kept == 0 && at_least_one) {
            break;
        }
        to = end;
        kept += 1;
    }
    (kept, to)
}

/// When each line of a chunk was written. In chunks from before that was kept, times between those of the first and the last line.
pub(super) fn times_of(seq: i64, chunk: &Chunk, lines: usize) -> Result<Vec<i64>, Damage> {
    let damage = |problem: String| Damage { seq, problem };
    match chunk.times() {
        Err(error) => Err(damage(format!("has no right times of its lines: {error}"))),
        Ok(Some(times)) if times.len() != lines => Err(damage(format!(
            "has {lines} lines, and the times of {}",
            times.len()
        ))),
        Ok(Some(times)) => Ok(times),
        Ok(None) => Ok(guessed(chunk.first_ts, chunk.last_ts, lines)),
    }
}

/// Times evenly from the first to the last.
fn guessed(first: i64, last: i64, lines: usize) -> Vec<i64> {
    let steps = lines.saturating_sub(1).max(1) as i128;
    let distance = i128::from(last) - i128::from(first);
    (0..lines as i128)
        .map(|index| (i128::from(first) + distance * index / steps) as i64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_guessed_between_the_first_and_the_last() {
        assert_eq!(guessed(10, 20, 0), Vec::<i64>::new());
        assert_eq!(guessed(10, 10, 1), [10]);
        assert_eq!(guessed(10, 20, 2), [10, 20]);
        assert_eq!(guessed(10, 20, 3), [10, 15, 20]);
        assert_eq!(guessed(20, 10, 3), [20, 15, 10]);
        assert_eq!(guessed(i64::MIN, i64::MAX, 2), [i64::MIN, i64::MAX]);
    }

    #[test]
    fn a_prefix_takes_no_more_than_its_share() {
        let text = "aaa\nbb\nc";
        for (from, lines, share, at_least_one, expected) in [
            (0, 3, 8 + 24, false, (3, 8)),
            (0, 3, 31, false, (2, 7)),
            (0, 3, 12, false, (1, 4)),
            (0, 3, 11, false, (0, 0)),
            (0, 3, 0, true, (1, 4)),
            (4, 2, 11, false, (1, 7)),
        ] {
            let found = prefix(text, from, lines, share, at_least_one);
            assert_eq!(found, expected, "{from} {share}");
        }
        assert_eq!(
            [0, 1, 2, 3, 4].map(|line| offset_of(text, line)),
            [0, 4, 7, 8, 8]
        );
        assert_eq!(["", "\n", "a", "a\nb"].map(count_lines), [0, 1, 1, 2]);
    }
}
