//! What a log is made of: lines with their ids, and gaps.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::store::{RunGap, StreamId};

/// A place in a container's log: before this line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    /// The number of the chunk.
    pub seq: i64,
    /// The line's index in its chunk, from 0 on.
    pub line: usize,
}

/// Names a line for good: chunks are never rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LineId {
    /// `log_streams.id`
    pub stream: StreamId,
    /// Where in its log.
    pub at: Position,
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.stream, self.at.seq, self.at.line)
    }
}

impl FromStr for LineId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NO_ID);
        let (stream, seq, line) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(NO_ID);
        }
        Ok(Self {
            stream: StreamId(stream.parse().map_err(|_| NO_ID)?),
            at: Position {
                seq: seq.parse().map_err(|_| NO_ID)?,
                line: line.parse().map_err(|_| NO_ID)?,
            },
        })
    }
}

const NO_ID: &str =
    "the id of a line is three numbers, STREAM.CHUNK.LINE, as `k6sync logs -o json` prints it";

/// A line's place among those of all containers: which it is, and the latest time of its container's lines up to it, by which
/// they are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub id: LineId,
    /// Nanoseconds since 1970.
    pub key: i64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.key)
    }
}

impl FromStr for Mark {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, key) = text.split_once('@').ok_or(NO_MARK)?;
        Ok(Self {
            id: id.parse()?,
            key: key.parse().map_err(|_| NO_MARK)?,
        })
    }
}

const NO_MARK: &str = "the place of a line is its id and its time, STREAM.CHUNK.LINE@NANOSECONDS";

/// Where in the merged log reading begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the first line.
    #[default]
    Beginning,
    /// With this line.
    At(Mark),
    /// With the line after this one.
    After(Mark),
    /// Of each container at least so many lines before this one, where it has as many.
    Before(Mark, u64),
    /// In each container where it ended before; in others with their first lines.
    Ends(HashMap<StreamId, LogEnd>),
}

/// Where a container's log ended when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogEnd {
    /// After the last line.
    pub at: LineId,
    /// How many lines were on record then.
    pub lines: i64,
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.lines)
    }
}

impl FromStr for LogEnd {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, lines) = text.rsplit_once('.').ok_or(NO_ID)?;
        Ok(Self {
            at: id.parse()?,
            lines: lines.parse().map_err(|_| NO_ID)?,
        })
    }
}

/// What comes next in a log.
#[derive(Debug)]
pub(crate) enum LogItem<'a> {
    /// Lines that follow one another in one container.
    Lines(LogLines<'a>),
    /// A place where lines may be missing.
    Gap(LogGap),
}

/// Lines that follow one another in one container, at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLines<'a> {
    /// Whose, as an index of [`super::Log::containers`].
    pub container: usize,
    /// Where the first of them is.
    pub at: Position,
    /// The lines with their ends. A container's last line may have none.
    pub text: &'a str,
    /// When each was written, nanoseconds since 1970; empty where nobody wanted to know.
    pub times: &'a [i64],
    /// The times are guessed from those of the lines around: the chunk is older than the times of lines.
    pub approximate: bool,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLine<'a> {
    /// Whose.
    pub container: usize,
    /// Where it is.
    pub at: Position,
    /// The line, without its end.
    pub text: &'a str,
    /// It has an end, as all have but a container's last.
    pub ends: bool,
    /// When it was written.
    pub time: Option<i64>,
    /// The time is guessed.
    pub approximate: bool,
}

impl<'a> LogLines<'a> {
    /// Each of them.
    pub(crate) fn iter(self) -> impl Iterator<Item = LogLine<'a>> {
        let mut rest = self.text;
        let mut index = 0;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', rest.as_bytes());
            let (text, after) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, ""),
            };
            rest = after;
            let line = LogLine {
                container: self.container,
                at: Position {
                    seq: self.at.seq,
                    line: self.at.line + index,
                },
                text,
                ends: end.is_some(),
                time: self.times.get(index).copied(),
                approximate: self.approximate,
            };
            index += 1;
            Some(line)
        })
    }
}

/// A place where lines may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogGap {
    /// Whose.
    pub container: usize,
    /// Between which times, and why.
    pub gap: RunGap,
    /// How many lines are missing, where that is known.
    pub lines: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is() {
        let id = LineId {
            stream: StreamId(7),
            at: Position { seq: 3, line: 12 },
        };
        assert_eq!(id.to_string(), "7.3.12");
        assert_eq!("7.3.12".parse(), Ok(id));
        for wrong in ["", "7", "7.3", "7.3.12.1", "7.3.x", "7..1", "7.3.-1"] {
            assert!(wrong.parse::<LineId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_numbered_and_timed() {
        let lines = LogLines {
            container: 1,
            at: Position { seq: 2, line: 5 },
            text: "a\n\nb",
            times: &[10, 20, 30],
            approximate: false,
        };
        let read: Vec<_> = lines
            .iter()
            .map(|line| (line.at.line, line.text, line.ends, line.time))
            .collect();
        assert_eq!(
            read,
            [
                (5, "a", true, Some(10)),
                (6, "", true, Some(20)),
                (7, "b", false, Some(30))
            ]
        );
    }
}
