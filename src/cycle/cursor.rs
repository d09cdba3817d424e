//! Where a log was left off → which lines of an answer are new, and whether some are missing.
//!
//! Pure: bytes of a `timestamps=true` answer go in, chunks of new lines come out. `capture` feeds it; it never asks,
//! stores or waits. The one promise it keeps: every line of the answer that is after the cursor comes out once, in the
//! order written, and a hole between the cursor and the answer is reported, never passed over.

use super::timestamp::TimestampParser;

/// Lines are collected until a chunk has this many bytes; it is then cut at that line's end.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// The runtime stores a longer line in parts of this many bytes (FACT 5).
const RUNTIME_PART_BYTES: usize = 16 * 1024;

/// A kubelet's own words are shorter than this; a longer beginning of a line without a time is the middle of a long one.
const REMARK_BYTES: usize = 4 * 1024;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Where a log was left off: the latest time that is stored, and how many stored lines to skip from there.
///
/// Times mostly grow, and then this is the last line's time and how many lines bear it (FACT 3). But not always: the
/// runtime stamps stdout and stderr apart before it writes them, so that neighbours may be swapped, and clocks step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Nanoseconds since 1970, UTC.
    pub ts: i64,
    /// Stored lines from the first with this time on, in the order written, that an answer since
    /// [`Cursor::since_second`] delivers again; at least 1.
    pub seen: i64,
}

impl Cursor {
    /// The whole second to ask since. The API server cuts `sinceTime` to seconds anyway (FACT 2); a second more, so that
    /// a line is not hidden which was stamped a moment before the cursor's and written after it.
    pub fn since_second(self) -> i64 {
        self.ts.div_euclid(NANOS_PER_SECOND) - 1
    }

    /// The cursor once a line with time `ts` is stored too.
    fn after(self, ts: i64) -> Self {
        if ts > self.ts {
            return Self { ts, seen: 1 };
        }
        let is_delivered_again = ts >= self.since_second() * NANOS_PER_SECOND;
        Self {
            seen: self.seen + i64::from(is_delivered_again),
            ..self
        }
    }
}

/// Between these times lines may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Time of the last line that is stored; `None`: nothing is.
    pub after_ts: Option<i64>,
    /// Time of the first line after the hole; `None`: none was seen yet.
    pub before_ts: Option<i64>,
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
    /// Where the log is left off once these lines are stored.
    pub cursor: Cursor,
    /// A hole just before the first of these lines.
    pub hole: Option<Hole>,
}

/// What a whole answer came to, told by [`Splitter::finish`].
#[derive(Debug, PartialEq, Eq)]
pub struct Rest {
    /// The last new lines, if any.
    pub lines: Option<Lines>,
    /// The answer did not contain the line it should have resumed from, nor any later one: the log was rotated or
    /// replaced, and what comes after the hole has not been written yet or is hidden (FACT 4).
    pub cursor_missing: bool,
    /// A last line without a time. No container wrote it: kubelets end an answer that went wrong with their own words.
    pub remark: Option<String>,
}

/// Splits one answer into lines and keeps those after the cursor.
#[derive(Debug)]
pub struct Splitter {
    cursor: Option<Cursor>,
    phase: Phase,
    /// The beginning of a line whose end has not arrived yet.
    unfinished: Vec<u8>,
    /// A line without a time, until the next line or the answer's end tells what it is.
    held: Option<Vec<u8>>,
    new: NewLines,
    times: TimestampParser,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Stored lines are on their way; so many came from the first with the cursor's time on.
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
    hole: Option<Hole>,
}

impl Splitter {
    /// For an answer to a request since `cursor`; `None` for one from the log's beginning.
    pub fn new(cursor: Option<Cursor>) -> Self {
        let phase = match cursor {
            Some(_) => Phase::Seeking { at_cursor: 0 },
            None => Phase::Beginning { fragment: false },
        };
        Self {
            cursor,
            phase,
            unfinished: Vec::new(),
            held: None,
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
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(line);
                self.line(&whole, true);
                // Most lines are short: keep the buffer, unless a giant made it one.
                if whole.capacity() <= CHUNK_BYTES {
                    whole.clear();
                    self.unfinished = whole;
                }
            }
            if self.new.body.len() >= CHUNK_BYTES {
                return self.take();
            }
        }
        self.unfinished.extend_from_slice(input);
        *input = &[];
        None
    }

    /// The answer is over. `ended`: the container had ended before it was asked for, so that a last line without a
    /// newline is a line; else it waits (FACT 6).
    pub fn finish(mut self, ended: bool) -> Rest {
        let last = std::mem::take(&mut self.unfinished);
        let is_remark = last.len() <= REMARK_BYTES && self.times.parse(&last).is_none();
        if !last.is_empty() && (ended || is_remark) {
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
            cursor_missing,
            remark,
        }
    }

    fn line(&mut self, line: &[u8], terminated: bool) {
        match self.times.parse(line) {
            Some((ts, time_len)) => {
                self.keep_held();
                if self.is_new(ts) {
                    self.advance(ts);
                    self.append(&line[time_len..], terminated);
                }
            }
            // Either the end of a long line whose beginning was not asked for (FACT 5), or a remark.
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
        {
            self.append(&held, true);
        }
    }

    fn is_new(&mut self, ts: i64) -> bool {
        match (&mut self.phase, self.cursor) {
            (Phase::Seeking { at_cursor }, Some(cursor)) => {
                if ts <= cursor.ts && *at_cursor < cursor.seen {
                    let is_counted = *at_cursor > 0 || ts == cursor.ts;
                    *at_cursor += i64::from(is_counted);
                    return false;
                }
                // A stored line is never later than the cursor: those that are missing have been lost.
                if *at_cursor < cursor.seen {
                    self.new.hole = Some(Hole {
                        after_ts: Some(cursor.ts),
                        before_ts: Some(ts),
                    });
                }
            }
            (Phase::Beginning { fragment: true }, _) => {
                self.new.hole = Some(Hole {
                    after_ts: None,
                    before_ts: Some(ts),
                });
            }
            _ => {}
        }
        self.phase = Phase::Following;
        true
    }

    fn advance(&mut self, ts: i64) {
        self.cursor = Some(match self.cursor {
            Some(cursor) => cursor.after(ts),
            None => Cursor { ts, seen: 1 },
        });
        if self.new.count == 0 {
            self.new.first_ts = ts;
        }
        self.new.last_ts = ts;
    }

    fn append(&mut self, text: &[u8], terminated: bool) {
        self.new.count += 1;
        if text.len() > RUNTIME_PART_BYTES {
            self.append_long(text);
        } else {
            self.new.body.extend_from_slice(text);
        }
        if terminated {
            self.new.body.push(b'\n');
        }
    }

    /// Old kubelets repeat the time at each of the runtime's parts of a long line (FACT 5); it is not part of the text.
    fn append_long(&mut self, mut text: &[u8]) {
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
        let cursor = self.cursor?;
        let new = std::mem::take(&mut self.new);
        (new.count > 0).then_some(Lines {
            body: new.body,
            count: new.count,
            first_ts: new.first_ts,
            last_ts: new.last_ts,
            cursor,
            hole: new.hole,
        })
    }
}

#[cfg(test)]
mod tests;
