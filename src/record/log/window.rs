//! A few lines of a log around a place, and lines that are looked for: for whoever shows a part of a log of any length.
//!
//! Nothing is kept between two questions: each begins at a [`Mark`] that an answer before had. A window takes bounded memory: long
//! lines are cut, and the log itself has them whole.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::error::LogError;
use super::filter::Grep;
use super::line::{Begin, LineId, LogEnd, LogGap, LogItem, LogLine, LogLines, Mark, Position};
use super::reader::Log;
use super::selection::{LogContainer, LogWanted};
use crate::k6;
use crate::record::Record;
use crate::store::{RunId, StreamId};

/// A window has no more of a line.
const LINE_BYTES: usize = 16 * 1024;

/// Of each container, the lines at its end among which its summary begins.
const SUMMARY_LINES: u64 = 2_000;

/// What a summary of k6's begins with: version 1 and 2 draw a box, version 0 began with the checks.
const SUMMARY: &[&str] = &["█ THRESHOLDS", "█ TOTAL RESULTS", "     ✓ ", "     ✗ "];

/// Which lines of a log a window has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first.
    Beginning,
    /// The last.
    End,
    /// From this line on.
    At(Mark),
    /// Those after it.
    After(Mark),
    /// Those before it.
    Before(Mark),
    /// From the first line on that was written then, nanoseconds since 1970, or later.
    Since(i64),
    /// What has come since a window was at the end, whose [`Window::ends`] these were.
    New(HashMap<StreamId, LogEnd>),
}

/// Some lines of a log that follow one another.
#[derive(Debug)]
pub(crate) struct Window {
    /// Whose lines they are, by the index that lines and gaps have.
    pub containers: Vec<LogContainer>,
    pub parts: Vec<Part>,
    /// There may be lines before the first.
    pub has_before: bool,
    /// There are lines after the last.
    pub has_after: bool,
    /// Where each container's log ends, if the window is at the end of the log.
    pub ends: Option<Vec<LogEnd>>,
}

/// A line, or a place where lines may be missing.
#[derive(Debug)]
pub(crate) enum Part {
    Line(WindowLine),
    Gap(LogGap),
}

/// A line in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowLine {
    /// Whose.
    pub container: usize,
    pub mark: Mark,
    /// Its beginning, without its end.
    pub text: String,
    /// How many bytes it has.
    pub bytes: usize,
    /// When it was written.
    pub time: Option<i64>,
    /// The time is guessed.
    pub approximate: bool,
}

/// What lines are looked for.
#[derive(Debug)]
pub(crate) enum Sought {
    /// Those that match.
    Text(Grep),
    /// Those that say that they are of level error or worse.
    Errors,
    /// The beginning of k6's summary.
    Summary,
}

/// Lines that were looked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub marks: Vec<Mark>,
    /// Where to go on, after this line; `None`: all was searched.
    pub searched_to: Option<Mark>,
}

/// The latest time of each container's lines so far: what they are merged by.
#[derive(Debug, Default)]
struct Keys(HashMap<usize, i64>);

impl Keys {
    fn mark(&mut self, stream: StreamId, line: &LogLine<'_>) -> Mark {
        let time = line.time.unwrap_or(i64::MIN);
        let latest = self.0.entry(line.container).or_insert(time);
        *latest = time.max(*latest);
        Mark {
            id: LineId {
                stream,
                at: line.at,
            },
            key: *latest,
        }
    }
}

impl Record {
    /// At most `count` lines, which must not be 0, at this place of what is wanted.
    ///
    /// # Errors
    /// [`LogError`]
    pub(crate) async fn log_window(
        &self,
        run: RunId,
        wanted: LogWanted,
        place: Place,
        count: usize,
    ) -> Result<Window, LogError> {
        let lines = count as u64;
        let mut wanted = LogWanted {
            timed: true,
            ..wanted
        };
        match &place {
            Place::Beginning => {}
            Place::End => wanted.tail = Some(lines),
            Place::At(mark) => wanted.begin = Begin::At(*mark),
            Place::After(mark) => wanted.begin = Begin::After(*mark),
            Place::Before(mark) => wanted.begin = Begin::Before(*mark, lines),
            Place::Since(since) => wanted.since = Some(*since),
            Place::New(ends) => wanted.begin = Begin::Ends(ends.clone()),
        }
        let log = Log::open(self, run, wanted).await?;
        match place {
            Place::End => backward(log, None, count).await,
            Place::Before(mark) => backward(log, Some(mark), count).await,
            Place::Beginning => forward(log, count, false).await,
            _ => forward(log, count, true).await,
        }
    }

    /// Lines of what is wanted: at most `most`, and what is found within about this time.
    ///
    /// # Errors
    /// [`LogError`]
    pub(crate) async fn log_find(
        &self,
        run: RunId,
        wanted: LogWanted,
        sought: &Sought,
        most: usize,
        time: Duration,
    ) -> Result<Found, LogError> {
        let began = Instant::now();
        let mut wanted = LogWanted {
            timed: true,
            ..wanted
        };
        if matches!(sought, Sought::Summary) {
            wanted.tail = Some(SUMMARY_LINES);
        }
        let mut log = Log::open(self, run, wanted).await?;
        let streams: Vec<StreamId> = log.containers().iter().map(|of| of.id).collect();
        let mut keys = Keys::default();
        let mut found = Found::default();
        while let Some(item) = log.next().await? {
            let LogItem::Lines(lines) = item else {
                continue;
            };
            for line in lines.iter() {
                let mark = keys.mark(streams[line.container], &line);
                found.searched_to = Some(mark);
                if sought.is(line.text) {
                    found.marks.push(mark);
                    if found.marks.len() >= most {
                        return Ok(found);
                    }
                }
            }
            if began.elapsed() >= time {
                return Ok(found);
            }
        }
        found.searched_to = None;
        Ok(found)
    }

    /// The place of a line by its id alone; `None`: it is not there.
    ///
    /// # Errors
    /// [`LogError`]
    pub(crate) async fn log_mark(&self, id: LineId) -> Result<Option<Mark>, LogError> {
        let rows = self
            .reader
            .chunk_rows_of(self.schema, id.stream, id.at.seq, 1)
            .await?;
        let Some(row) = rows.into_iter().find(|row| row.seq == id.at.seq) else {
            return Ok(None);
        };
        let times = match row.chunk.times() {
            Ok(Some(times)) => times,
            // Where they are not known, the lines of a chunk are together.
            Ok(None) | Err(_) => vec![row.chunk.first_ts; row.chunk.body.lines().count()],
        };
        let passed = times.get(..=id.at.line);
        let key = passed.and_then(|times| times.iter().max().copied());
        Ok(key.map(|key| Mark { id, key }))
    }

    /// The whole of one line; `None`: it is not there.
    ///
    /// # Errors
    /// [`LogError`]
    pub(crate) async fn log_line(&self, id: LineId) -> Result<Option<String>, LogError> {
        let rows = self
            .reader
            .chunk_rows_of(self.schema, id.stream, id.at.seq, 1)
            .await?;
        let row = rows.into_iter().find(|row| row.seq == id.at.seq);
        Ok(row.and_then(|row| row.chunk.body.lines().nth(id.at.line).map(str::to_owned)))
    }
}

impl Sought {
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Text(grep) => grep.is_match(text),
            Self::Errors => k6::level(text).is_some_and(k6::Level::is_error),
            Self::Summary => SUMMARY.iter().any(|begin| text.contains(begin)),
        }
    }
}

async fn forward(mut log: Log, count: usize, has_before: bool) -> Result<Window, LogError> {
    let streams: Vec<StreamId> = log.containers().iter().map(|of| of.id).collect();
    let mut keys = Keys::default();
    let mut parts = Vec::new();
    let (mut taken, mut has_after) = (0, false);
    'log: while let Some(item) = log.next().await? {
        match item {
            LogItem::Gap(gap) => parts.push(Part::Gap(gap)),
            LogItem::Lines(lines) => {
                for line in lines.iter() {
                    if taken == count {
                        has_after = true;
                        break 'log;
                    }
                    taken += 1;
                    parts.push(part(streams[line.container], &line, &mut keys));
                }
            }
        }
    }
    if has_after {
        // They are before the first line of the next window.
        without_gaps_at_the_end(&mut parts);
    }
    Ok(Window {
        ends: (!has_after).then(|| log.ends()),
        containers: log.containers().to_vec(),
        parts,
        has_before,
        has_after,
    })
}

/// The last lines before the mark, or of all.
async fn backward(mut log: Log, before: Option<Mark>, count: usize) -> Result<Window, LogError> {
    let streams: Vec<StreamId> = log.containers().iter().map(|of| of.id).collect();
    let began_in_the_middle = log
        .ends()
        .iter()
        .any(|end| end.at.at != Position::default());
    let anchor = before.and_then(|mark| streams.iter().position(|id| *id == mark.id.stream));
    let mut keys = Keys::default();
    let mut kept = VecDeque::new();
    let (mut taken, mut has_dropped, mut has_after) = (0, false, false);
    'log: while let Some(item) = log.next().await? {
        let lines: LogLines<'_> = match item {
            LogItem::Gap(gap) => {
                kept.push_back(Part::Gap(gap));
                continue;
            }
            LogItem::Lines(lines) => lines,
        };
        for line in lines.iter() {
            let part = part(streams[line.container], &line, &mut keys);
            if let (Some(bound), Part::Line(line)) = (before, &part)
                && !is_before(line, bound, anchor)
            {
                has_after = true;
                break 'log;
            }
            kept.push_back(part);
            taken += 1;
            if taken > count {
                has_dropped = true;
                taken -= 1;
                while let Some(Part::Gap(_)) = kept.pop_front() {}
            }
        }
    }
    let mut parts = Vec::from(kept);
    if has_after {
        without_gaps_at_the_end(&mut parts);
    }
    Ok(Window {
        ends: (!has_after).then(|| log.ends()),
        containers: log.containers().to_vec(),
        parts,
        has_before: has_dropped || began_in_the_middle,
        has_after,
    })
}

/// Lines of one time come in the order of their containers.
fn is_before(line: &WindowLine, bound: Mark, anchor: Option<usize>) -> bool {
    match line.mark.id.stream == bound.id.stream {
        true => line.mark.id.at < bound.id.at,
        false => (line.mark.key, Some(line.container)) < (bound.key, anchor),
    }
}

fn part(stream: StreamId, line: &LogLine<'_>, keys: &mut Keys) -> Part {
    let end = line.text.floor_char_boundary(LINE_BYTES);
    Part::Line(WindowLine {
        container: line.container,
        mark: keys.mark(stream, line),
        text: line.text[..end].to_owned(),
        bytes: line.text.len(),
        time: line.time,
        approximate: line.approximate,
    })
}

fn without_gaps_at_the_end(parts: &mut Vec<Part>) {
    while matches!(parts.last(), Some(Part::Gap(_))) {
        parts.pop();
    }
}
