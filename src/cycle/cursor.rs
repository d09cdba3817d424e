//! Where a log was left off → which lines of an answer are new, and whether some are missing.
//!
//! Pure: bytes of a `timestamps=true` answer go in, chunks of new lines come out. `capture` feeds it; it never asks,
//! stores or waits. The one promise it keeps: every line of the answer that is after the cursor comes out once, in the
//! order written, and a hole between the cursor and the answer is reported, never passed over.

use super::timestamp::{TimestampParser, is_cut_time};
use crate::store::{Gap, GapCause, LineTimes};

/// Lines are collected until a chunk has this many bytes, those of the lines' times included; it is then cut at that line's
/// end.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Of a longer line only the beginning is kept, and a gap says so: a line is held in memory whole.
pub(crate) const LINE_BYTES: usize = 2 * 1024 * 1024;

/// No time in front of a line is longer, with its space.
const TIME_BYTES: usize = 64;

/// The runtime stores a longer line in parts of this many bytes (docs/facts.md, "Long lines come in parts").
const RUNTIME_PART_BYTES: usize = 16 * 1024;

/// A kubelet's own words are shorter than this; a longer beginning of a line without a time is the middle of a long one.
const REMARK_BYTES: usize = 4 * 1024;

/// A line this much earlier than one before it was stamped by a clock that has stepped back; less is two streams that the
/// runtime stamps apart. Less than a second hides nothing: that much more is asked for, see [`Cursor::since_second`].
const STEP_BACK: i64 = 100_000_000;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Where a log was left off: the latest time that is stored, and how many stored lines to skip from there.
///
/// Times mostly grow, and then this is the last line's time and how many lines bear it (docs/facts.md,
/// "Two lines can have the same time"). But not always: the runtime stamps stdout and stderr apart before it writes
/// them, so that neighbours may be swapped, and clocks step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Nanoseconds since 1970, UTC.
    pub ts: i64,
    /// Stored lines from the first with this time on, in the order written; at least 1. Only those that an answer since
    /// [`Cursor::since_second`] delivers again, unless `stepped`: then all.
    pub seen: i64,
    /// The node's clock has stepped back, so that the last stored lines are earlier than an answer by time begins: only
    /// the whole log shows what comes next.
    pub stepped: bool,
}

impl Cursor {
    /// The whole second to ask since; `None`: ask for the whole log. The API server cuts `sinceTime` to seconds anyway
    /// (docs/facts.md, "sinceTime is cut to whole seconds"); a second more, so that a line is not hidden which was
    /// stamped a moment before the cursor's and written after it.
    pub fn since_second(self) -> Option<i64> {
        (!self.stepped).then(|| first_second(self.ts))
    }
}

fn first_second(latest: i64) -> i64 {
    latest.div_euclid(NANOS_PER_SECOND) - 1
}

/// Time at which an answer begins that is asked for when `latest` is the latest time stored.
fn answer_begins(latest: i64) -> i64 {
    first_second(latest).saturating_mul(NANOS_PER_SECOND)
}

/// Lines gone by, and the cursor that stands after them.
#[derive(Clone, Copy, Debug)]
struct Trail {
    latest: i64,
    last: i64,
    /// Lines from the first with the latest time on that an answer by time delivers again.
    seen: i64,
    /// All lines from there on.
    seen_whole: i64,
}

impl Trail {
    fn after(trail: Option<Self>, ts: i64) -> Self {
        match trail {
            Some(trail) if ts <= trail.latest => Self {
                last: ts,
                seen: trail
                    .seen
                    .saturating_add(i64::from(ts >= answer_begins(trail.latest))),
                seen_whole: trail.seen_whole.saturating_add(1),
                ..trail
            },
            _ => Self {
                latest: ts,
                last: ts,
                seen: 1,
                seen_whole: 1,
            },
        }
    }

    fn at(cursor: Cursor) -> Self {
        Self {
            latest: cursor.ts,
            last: cursor.ts,
            seen: cursor.seen,
            seen_whole: cursor.seen,
        }
    }

    fn is_stepped_back_by(self, ts: i64) -> bool {
        ts < self.latest.saturating_sub(STEP_BACK)
    }

    fn cursor(self) -> Cursor {
        let stepped = self.last < answer_begins(self.latest);
        Cursor {
            ts: self.latest,
            seen: if stepped { self.seen_whole } else { self.seen },
            stepped,
        }
    }
}

/// New lines, in the order written, without their times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// The lines with their newlines; bytes as the container wrote them, not necessarily UTF-8.
    pub body: Vec<u8>,
    /// How many lines, at least 1.
    pub count: i64,
    /// Time of the first line.
    pub first_ts: i64,
    /// Time of the last line; not necessarily the latest.
    pub last_ts: i64,
    /// The times of all lines. One that came without has the time of the line before.
    pub times: LineTimes,
    /// Where the log is left off once these lines are stored.
    pub cursor: Cursor,
    /// Holes before and among these lines.
    pub gaps: Vec<Gap>,
}

/// What a whole answer came to, told by [`Splitter::finish`].
#[derive(Debug, PartialEq, Eq)]
pub struct Rest {
    /// The last new lines, if any.
    pub lines: Option<Lines>,
    /// A last line without a newline (docs/facts.md, "The last line may be unfinished"), as it came, unless it was
    /// taken for a line.
    pub unterminated: Option<Vec<u8>>,
    /// That line was taken: it is the last of `lines`.
    pub is_closed: bool,
    /// The answer did not contain the line it should have resumed from, nor any later one: the log was rotated or
    /// replaced, and what comes after the hole has not been written yet or is hidden (docs/facts.md,
    /// "Only the current log file is served").
    pub cursor_missing: bool,
    /// A last line without a time. No container wrote it: kubelets end an answer that went wrong with their own words.
    pub remark: Option<String>,
    /// Lines of the answer up to the cursor. Of a whole log: more than are stored means that some were hidden when they
    /// were new.
    pub delivered_again: i64,
    /// Why the rest of the answer was not taken.
    pub halt: Option<Halt>,
}

/// Why a splitter takes no more of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The clock has stepped back, and an answer by time may hide lines: the whole log must be asked for.
    Hidden,
    /// What follows is later than was wanted.
    TooLate,
}

/// Splits one answer into lines and keeps those after the cursor.
#[derive(Debug)]
pub struct Splitter {
    cursor: Option<Cursor>,
    /// The answer is the whole log, and not only what was written since a time.
    whole: bool,
    until: Option<i64>,
    chunk_bytes: usize,
    phase: Phase,
    halt: Option<Halt>,
    /// The beginning of a line whose end has not arrived yet.
    unfinished: Vec<u8>,
    /// A line without a time, until the next line or the answer's end tells what it is.
    held: Option<Vec<u8>>,
    trail: Option<Trail>,
    delivered_again: i64,
    new: NewLines,
    times: TimestampParser,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Stored lines are on their way; how many came from the first with the cursor's time on.
    Seeking { at_cursor: i64 },
    /// A first read. `fragment`: it began inside a line.
    Beginning { fragment: bool },
    /// All that comes is new.
    Following,
}

/// New lines under way; a [`Lines`] once there are some.
#[derive(Debug, Default)]
struct NewLines {
    body: Vec<u8>,
    count: i64,
    first_ts: i64,
    last_ts: i64,
    times: LineTimes,
    gaps: Vec<Gap>,
}

impl NewLines {
    /// What they take in memory, and in a row.
    fn bytes(&self) -> usize {
        self.body.len() + self.times.as_bytes().len()
    }
}

impl Splitter {
    /// For an answer to a request since `cursor`, which must not be `stepped`.
    pub fn since(cursor: Cursor) -> Self {
        Self::new(Some(cursor), false)
    }

    /// For a whole log that is left off at `cursor`; `None`: nothing of it is stored.
    pub fn whole(cursor: Option<Cursor>) -> Self {
        Self::new(cursor, true)
    }

    /// The same, but lines after this time (nanoseconds since 1970) and all that follows them are left.
    pub(crate) fn until(self, ts: Option<i64>) -> Self {
        Self { until: ts, ..self }
    }

    /// The same, but each line is a chunk.
    pub(crate) fn by_line(self) -> Self {
        Self {
            chunk_bytes: 1,
            ..self
        }
    }

    fn new(cursor: Option<Cursor>, whole: bool) -> Self {
        let phase = match cursor {
            Some(_) => Phase::Seeking { at_cursor: 0 },
            None => Phase::Beginning { fragment: false },
        };
        Self {
            cursor,
            whole,
            until: None,
            chunk_bytes: CHUNK_BYTES,
            phase,
            halt: None,
            unfinished: Vec::new(),
            held: None,
            // Of a whole log every line is seen again, and counted anew.
            trail: cursor.filter(|_| !whole).map(Trail::at),
            delivered_again: 0,
            new: NewLines::default(),
            times: TimestampParser::default(),
        }
    }

    /// Takes from `input` until a chunk is full; `None` once `input` is used up.
    pub fn push(&mut self, input: &mut &[u8]) -> Option<Lines> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = input.split_at(end);
            *input = &rest[1..];
            if self.unfinished.is_empty() {
                self.line(line, true);
            } else {
                self.collect(line);
                let mut whole = std::mem::take(&mut self.unfinished);
                self.line(&whole, true);
                // Most lines are short: keep the buffer, unless a giant made it one.
                if whole.capacity() <= CHUNK_BYTES {
                    whole.clear();
                    self.unfinished = whole;
                }
            }
            if self.new.bytes() >= self.chunk_bytes {
                return self.take();
            }
        }
        self.collect(input);
        *input = &[];
        None
    }

    /// The beginning of a line whose end has not arrived yet.
    pub(crate) fn unterminated(&self) -> &[u8] {
        &self.unfinished
    }

    /// Nothing that may still come would be taken.
    pub(crate) fn is_done(&self) -> bool {
        self.halt.is_some()
    }

    /// The answer is over. An unterminated last line that is `closed` is a line; any other may still grow
    /// (docs/facts.md, "The last line may be unfinished").
    pub fn finish(mut self, closed: Option<&[u8]>) -> Rest {
        let last = std::mem::take(&mut self.unfinished);
        let is_remark =
            last.len() <= REMARK_BYTES && self.times.parse(&last).is_none() && !is_cut_time(&last);
        let is_closed = closed.is_some_and(|closed| closed == last);
        if !last.is_empty() && (is_closed || is_remark) {
            self.line(&last, false);
        }
        let cursor_missing = match (self.phase, self.cursor) {
            (Phase::Seeking { at_cursor }, Some(cursor)) => at_cursor < cursor.seen,
            _ => false,
        };
        let remark = self
            .held
            .take()
            .filter(|line| line.len() <= REMARK_BYTES)
            .map(|line| String::from_utf8_lossy(&line).into_owned());
        Rest {
            lines: self.take(),
            unterminated: (!last.is_empty() && !is_closed && !is_remark).then_some(last),
            is_closed,
            cursor_missing,
            remark,
            delivered_again: self.delivered_again,
            halt: self.halt,
        }
    }

    /// Adds to the unfinished line: a little more than is kept of it, so that one that is too long shows.
    fn collect(&mut self, piece: &[u8]) {
        let room = (LINE_BYTES + TIME_BYTES).saturating_sub(self.unfinished.len());
        self.unfinished
            .extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn line(&mut self, line: &[u8], terminated: bool) {
        if self.halt.is_some() {
            return;
        }
        match self.times.parse(line) {
            Some((ts, time_len)) => {
                self.keep_held();
                if self.is_new(ts) {
                    self.halt = self.why_halt(ts);
                    if self.halt.is_none() {
                        self.trail = Some(Trail::after(self.trail, ts));
                        self.append(ts, &line[time_len..], terminated);
                    }
                } else {
                    self.pass(ts);
                }
            }
            // Either the end of a long line whose beginning was not asked for (docs/facts.md,
            // "Long lines come in parts"), or a remark.
            None => {
                self.keep_held();
                if let Phase::Beginning { fragment } = &mut self.phase {
                    *fragment = true;
                }
                self.held = Some(line.to_vec());
            }
        }
    }

    /// Another line follows the one without a time: among new lines it belongs to the log, and else it is an old one.
    fn keep_held(&mut self) {
        if let Some(held) = self.held.take()
            && self.phase == Phase::Following
            && let Some(trail) = self.trail
        {
            self.append(trail.last, &held, true);
        }
    }

    fn is_new(&mut self, ts: i64) -> bool {
        match (&mut self.phase, self.cursor) {
            (Phase::Seeking { at_cursor }, Some(cursor)) => {
                if ts <= cursor.ts && *at_cursor < cursor.seen {
                    let is_counted = match *at_cursor {
                        0 => ts == cursor.ts,
                        _ => cursor.stepped || ts >= answer_begins(cursor.ts),
                    };
                    *at_cursor += i64::from(is_counted);
                    return false;
                }
                // A stored line is never later than the cursor: those that are missing have been lost.
                if *at_cursor < cursor.seen {
                    self.new.gaps.push(Gap {
                        after_ts: Some(cursor.ts),
                        before_ts: Some(ts),
                        cause: GapCause::Rotated,
                    });
                }
            }
            (Phase::Beginning { fragment: true }, _) => {
                self.new.gaps.push(Gap {
                    after_ts: None,
                    before_ts: Some(ts),
                    cause: GapCause::Rotated,
                });
            }
            _ => {}
        }
        self.phase = Phase::Following;
        true
    }

    fn why_halt(&self, ts: i64) -> Option<Halt> {
        if self.until.is_some_and(|until| ts > until) {
            return Some(Halt::TooLate);
        }
        let steps_back = self.trail.is_some_and(|trail| trail.is_stepped_back_by(ts));
        (steps_back && !self.whole).then_some(Halt::Hidden)
    }

    /// A stored line goes by.
    fn pass(&mut self, ts: i64) {
        self.delivered_again += 1;
        if self.whole {
            self.trail = Some(Trail::after(self.trail, ts));
        }
    }

    fn append(&mut self, ts: i64, text: &[u8], terminated: bool) {
        match self.new.count {
            0 => self.new.first_ts = ts,
            _ => self.new.times.push(self.new.last_ts, ts),
        }
        self.new.last_ts = ts;
        self.new.count += 1;
        if text.len() > RUNTIME_PART_BYTES {
            self.append_long(ts, text);
        } else {
            self.new.body.extend_from_slice(text);
        }
        if terminated {
            self.new.body.push(b'\n');
        }
    }

    /// Old kubelets repeat the time at each of the runtime's parts of a long line (docs/facts.md,
    /// "Long lines come in parts"); it is not part of the text.
    fn append_long(&mut self, ts: i64, mut text: &[u8]) {
        if text.len() > LINE_BYTES {
            text = &text[..LINE_BYTES];
            self.new.gaps.push(Gap {
                after_ts: Some(ts),
                before_ts: Some(ts),
                cause: GapCause::Truncated,
            });
        }
        while text.len() > RUNTIME_PART_BYTES {
            let (part, rest) = text.split_at(RUNTIME_PART_BYTES);
            self.new.body.extend_from_slice(part);
            text = match self.times.parse(rest) {
                Some((_, time_len)) => &rest[time_len..],
                None => rest,
            };
        }
        self.new.body.extend_from_slice(text);
    }

    fn take(&mut self) -> Option<Lines> {
        let new = std::mem::take(&mut self.new);
        let trail = self.trail.filter(|_| new.count > 0)?;
        Some(Lines {
            body: new.body,
            count: new.count,
            first_ts: new.first_ts,
            last_ts: new.last_ts,
            times: new.times,
            cursor: trail.cursor(),
            gaps: new.gaps,
        })
    }
}

#[cfg(test)]
mod tests;
