//! Container logs: a model of the runtime's log files and of how a kubelet reads them (docs/facts.md, "Container logs").
//!
//! A container has lives (restart counts), a life has a text made of parts as the runtime stores them, and a current
//! file that begins at one of these parts. Tests write through [`Log`]; the HTTP routes read through [`Log::read`].
//! Nothing here knows of pods: whether a container may be read is the caller's to say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use crate::generated::Generated;

/// docs/facts.md, "Long lines come in parts": the runtime stores a longer line in parts of this size.
const PART: usize = 16 * 1024;
/// How far apart the made-up times of one line's parts are.
const PART_STEP: i64 = 1000;
/// About how much of an answer is made at a time.
const CHUNK: usize = 64 * 1024;

const NANOSECONDS: i64 = 1_000_000_000;

/// How a kubelet writes the timestamps of a line that is stored in parts (docs/facts.md, "Long lines come in parts").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KubeletStyle {
    /// At the line's first part only, as 1.36 does.
    #[default]
    Joined,
    /// At each part, inside the line, as 1.20 does.
    Repeated,
}

/// One record of a log file: a line, or 16 KiB of one.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Nanoseconds since 1970 UTC.
    at: i64,
    /// Where it ends in the life's text, its newline included.
    end: usize,
    newline: bool,
}

/// A line that a container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLine {
    /// The time of its first part, nanoseconds since 1970 UTC.
    pub at: i64,
    /// The line, with its newline if it has one.
    pub text: Vec<u8>,
}

/// What one container life wrote.
#[derive(Debug, Default)]
struct Life {
    /// What comes before the text, made up while it is served.
    generated: Option<Generated>,
    text: Vec<u8>,
    parts: Vec<Part>,
    /// The first part that is in the current file; `generated` is in it while `rotated` is false.
    file_start: usize,
    rotated: bool,
}

impl Life {
    fn is_empty(&self) -> bool {
        self.generated.is_none() && self.parts.is_empty()
    }

    fn push(&mut self, at: i64, text: &[u8], newline: bool) {
        self.text.extend_from_slice(text);
        if newline {
            self.text.push(b'\n');
        }
        let end = self.text.len();
        self.parts.push(Part { at, end, newline });
    }

    /// Stores a line (or its beginning) as the runtime does: in parts of 16 KiB, without a carriage return before the
    /// newline (docs/facts.md, "Bytes come through unchanged").
    fn push_line(&mut self, at: i64, line: &[u8], newline: bool) {
        let line = match line.strip_suffix(b"\r") {
            Some(cut) if newline => cut,
            _ => line,
        };
        if line.is_empty() && newline {
            self.push(at, line, newline);
        }
        let parts = line.chunks(PART);
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.enumerate() {
            let offset = i64::try_from(index).unwrap_or(i64::MAX) * PART_STEP;
            self.push(at + offset, part, newline && index == last);
        }
    }

    fn lines(&self) -> Vec<WrittenLine> {
        let mut lines: Vec<WrittenLine> = Vec::new();
        let mut begins = true;
        for (index, part) in self.parts.iter().enumerate() {
            if begins {
                lines.push(WrittenLine {
                    at: part.at,
                    text: Vec::new(),
                });
            }
            if let Some(line) = lines.last_mut() {
                line.text.extend_from_slice(self.part_text(index));
            }
            begins = part.newline;
        }
        lines
    }

    fn part_text(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |i| self.parts[i].end);
        &self.text[start..self.parts[index].end]
    }
}

/// The logs of all containers.
#[derive(Debug, Default)]
pub(crate) struct LogStore(BTreeMap<(String, String, String), Log>);

impl LogStore {
    /// The container's log, made on first use.
    pub(crate) fn open(&mut self, namespace: &str, pod: &str, container: &str) -> Log {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        self.0.entry(key).or_insert_with(Log::new).clone()
    }

    /// The container's log, if anyone ever opened it.
    pub(crate) fn find(&self, namespace: &str, pod: &str, container: &str) -> Option<Log> {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        self.0.get(&key).cloned()
    }

    /// A removed pod's logs are gone from the API; handles to them live on as oracles.
    pub(crate) fn forget_pod(&mut self, namespace: &str, pod: &str) {
        let first = (namespace.to_owned(), pod.to_owned(), String::new());
        let of_pod = |key: &&(String, String, String)| key.0 == namespace && key.1 == pod;
        let keys = self.0.range(first..).map(|(key, _)| key);
        let gone: Vec<_> = keys.take_while(of_pod).cloned().collect();
        for key in gone {
            self.0.remove(&key);
        }
    }
}

/// Which life of a container to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Current,
    Previous,
    /// The last one that wrote anything: what a container that waits to be restarted shows (docs/facts.md,
    /// "Log errors are plain Status objects").
    LastEnded,
}

/// The questions that the log endpoint takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadOptions {
    pub(crate) timestamps: bool,
    /// Nanoseconds since 1970 UTC; parts before are left out, each by its own time (docs/facts.md,
    /// "Long lines come in parts").
    pub(crate) since: Option<i64>,
    /// The last so many parts: the real kubelet counts file records, not lines.
    pub(crate) tail: Option<u64>,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) style: KubeletStyle,
}

/// A container's log: what a test writes to, and its oracle. Times are nanoseconds since 1970 UTC.
///
/// A handle outlives its pod: [`Log::written`] still answers when the pod has been deleted, but a pod that is made
/// anew under the same name has another log.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lives: Mutex<Vec<Life>>,
    reads: AtomicU64,
}

impl Log {
    fn new() -> Self {
        Self(Arc::new(Inner {
            lives: Mutex::new(vec![Life::default()]),
            reads: AtomicU64::new(0),
        }))
    }

    fn lives(&self) -> MutexGuard<'_, Vec<Life>> {
        self.0.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, action: impl FnOnce(&mut Life)) {
        if let Some(life) = self.lives().last_mut() {
            action(life);
        }
    }

    /// Writes `text` and a newline. Text over 16 KiB is stored in 16 KiB parts, each 1000 ns after the one before
    /// (docs/facts.md, "Long lines come in parts"). A newline inside `text` ends a line of the same time.
    pub fn write_line(&self, at: i64, text: &[u8]) {
        self.change(|life| {
            for line in text.split(|byte| *byte == b'\n') {
                life.push_line(at, line, true);
            }
        });
    }

    /// Writes one line in parts with times of their own.
    pub fn write_parts(&self, parts: &[(i64, &[u8])], newline: bool) {
        self.change(|life| {
            for (index, (at, text)) in parts.iter().enumerate() {
                life.push(*at, text, newline && index + 1 == parts.len());
            }
        });
    }

    /// Writes `text` without a newline: not yet a line (docs/facts.md, "The last line may be unfinished"). What is
    /// written next goes on in the same line.
    pub fn write_unterminated(&self, at: i64, text: &[u8]) {
        self.change(|life| {
            let mut lines = text.split(|byte| *byte == b'\n').peekable();
            while let Some(line) = lines.next() {
                life.push_line(at, line, lines.peek().is_some());
            }
        });
    }

    /// Begins a new file: what was written so far is no longer in the API (docs/facts.md,
    /// "Only the current log file is served"), only in [`Log::written`].
    pub fn rotate(&self) {
        self.change(|life| {
            life.file_start = life.parts.len();
            life.rotated = life.generated.is_some();
        });
    }

    /// Begins a new life: the current one becomes `previous`, and the previous one is gone from the API (docs/facts.md,
    /// "Only the life before is kept").
    pub fn restart(&self) {
        self.lives().push(Life::default());
    }

    /// Makes this life's content a log of about `bytes` bytes (less than one line more) that is computed while it is served:
    /// the lines of [`crate::generated_text`]. What is written afterwards follows it.
    pub fn generate(&self, seed: u64, bytes: u64, start_at: i64, step: i64) {
        self.begin_with(Generated::of_bytes(seed, bytes, start_at, step));
    }

    /// Makes this life's content a generated log.
    pub(crate) fn begin_with(&self, generated: Generated) {
        self.change(|life| {
            *life = Life {
                generated: Some(generated),
                ..Life::default()
            };
        });
    }

    /// Makes a recorded answer, asked with `timestamps=true`, this life's content.
    pub fn load_timestamped(&self, answer: &[u8]) {
        self.change(|life| {
            *life = Life::default();
            let mut last = 0;
            for line in answer.split_inclusive(|byte| *byte == b'\n') {
                let (text, newline) = match line.strip_suffix(b"\n") {
                    Some(text) => (text, true),
                    None => (line, false),
                };
                last = load_line(life, text, newline, last);
            }
        });
    }

    /// Every byte this container life ever wrote, as the runtime stored it (`\r\n` as `\n`), rotated away or not,
    /// without timestamps. Not for generated logs.
    pub fn written(&self) -> Vec<u8> {
        self.lives()
            .last()
            .map(|life| life.text.clone())
            .unwrap_or_default()
    }

    /// As [`Log::written`], of the life before the last [`Log::restart`].
    pub fn written_before(&self) -> Vec<u8> {
        let lives = self.lives();
        let before = lives.iter().rev().nth(1);
        before.map(|life| life.text.clone()).unwrap_or_default()
    }

    /// Every line of every life, in the order written, rotated away or not. Not for generated logs.
    pub fn lives_written(&self) -> Vec<Vec<WrittenLine>> {
        self.lives().iter().map(Life::lines).collect()
    }

    /// How often it was read since it was made, any of its lives.
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    /// How many generated and written parts this life has: the index of the next line of a growing log.
    pub(crate) fn parts(&self) -> u64 {
        self.lives().last().map_or(0, |life| {
            life.generated.as_ref().map_or(0, Generated::lines) + life.parts.len() as u64
        })
    }

    /// What the log endpoint answers now; None when there is no such life.
    pub(crate) fn read(&self, which: Which, options: &ReadOptions) -> Option<Answer> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        let lives = self.lives();
        let mut newest_first = lives.iter().rev();
        let life = match which {
            Which::Current => newest_first.next(),
            Which::Previous => newest_first.nth(1),
            // All lives empty: it ended without a word.
            Which::LastEnded => newest_first.find(|life| !life.is_empty()).or(lives.last()),
        };
        life.map(|life| Answer::of(life, options))
    }
}

/// Loads one line of a recorded answer and returns its last part's time.
fn load_line(life: &mut Life, line: &[u8], newline: bool, before: i64) -> i64 {
    // An answer that began inside a line has no time there (docs/facts.md, "Long lines come in parts").
    let (mut at, mut rest) = split_time(line).unwrap_or((before, line));
    while rest.len() > PART {
        let (part, more) = rest.split_at(PART);
        life.push(at, part, false);
        // Kubelet 1.20 repeats the time at each part; where it is not repeated, one is made up.
        (at, rest) = split_time(more).unwrap_or((at + PART_STEP, more));
    }
    life.push(at, rest, newline);
    at
}

/// Splits `2026-11-23T04:34:43.193233435Z text` into its time and text.
fn split_time(line: &[u8]) -> Option<(i64, &[u8])> {
    let space = line.iter().take(40).position(|byte| *byte == b' ')?;
    let time: Timestamp = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let at = i64::try_from(time.as_nanosecond()).ok()?;
    Some((at, &line[space + 1..]))
}

/// Writes times as RFC 3339 with nine decimals, UTC (docs/facts.md, "Each line starts with its time"), remembering the
/// last second's text.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    second: i64,
    text: String,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            second: i64::MIN,
            text: String::new(),
        }
    }

    /// The second that `at` lies in, as `2026-11-23T04:34:43Z`.
    pub(crate) fn second(&mut self, at: i64) -> &str {
        let second = at.div_euclid(NANOSECONDS);
        if second != self.second {
            self.second = second;
            // Every i64 of nanoseconds is a time that jiff can show.
            self.text = Timestamp::from_second(second)
                .map(|time| time.to_string())
                .unwrap_or_default();
        }
        &self.text
    }

    /// Appends the time and the space that stands before a line.
    pub(crate) fn stamp(&mut self, at: i64, out: &mut Vec<u8>) {
        let second = self.second(at);
        out.extend_from_slice(second.strip_suffix('Z').unwrap_or(second).as_bytes());
        let fraction = at.rem_euclid(NANOSECONDS);
        out.extend_from_slice(format!(".{fraction:09}Z ").as_bytes());
    }
}

/// The present time in nanoseconds since 1970 UTC.
pub(crate) fn now_nanoseconds() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// One answer of the log endpoint: an iterator over its chunks. What is written later is not in it.
#[derive(Debug)]
pub(crate) struct Answer {
    generated: Option<(Generated, std::ops::Range<u64>)>,
    timestamps: bool,
    clock: Clock,
    /// The stored part of the answer, which follows the generated one.
    stored: Bytes,
    /// How many bytes `limitBytes` still allows.
    remaining: u64,
}

impl Answer {
    /// An answer without a byte, which is a good one (docs/facts.md, "Only the current log file is served").
    pub(crate) fn empty() -> Self {
        Self::of(&Life::default(), &ReadOptions::default())
    }

    fn of(life: &Life, options: &ReadOptions) -> Self {
        let generated = life.generated.as_ref().filter(|_| !life.rotated);
        let generated_lines = generated.map_or(0, Generated::lines);
        let stored_parts = (life.parts.len() - life.file_start) as u64;
        let skip = options.tail.map_or(0, |tail| {
            (generated_lines + stored_parts).saturating_sub(tail)
        });
        let stored_skip = usize::try_from(skip.saturating_sub(generated_lines)).unwrap_or(0);
        Self {
            generated: generated.map(|generated| {
                let first = options
                    .since
                    .map_or(0, |since| generated.first_since(since));
                (generated.clone(), first.max(skip)..generated_lines)
            }),
            timestamps: options.timestamps,
            clock: Clock::new(),
            stored: stored_answer(life, life.file_start + stored_skip, options),
            remaining: options.limit_bytes.unwrap_or(u64::MAX),
        }
    }
}

/// The kubelet's loop over the records of a file, from `first` on.
fn stored_answer(life: &Life, first: usize, options: &ReadOptions) -> Bytes {
    let mut clock = Clock::new();
    let mut out = Vec::new();
    // The kubelet takes the beginning of a file for the beginning of a line, also where it is not.
    let mut line_begins = true;
    for index in first..life.parts.len() {
        let part = life.parts[index];
        if options.since.is_none_or(|since| part.at >= since) {
            if options.timestamps && (line_begins || options.style == KubeletStyle::Repeated) {
                clock.stamp(part.at, &mut out);
            }
            out.extend_from_slice(life.part_text(index));
        }
        line_begins = part.newline;
    }
    Bytes::from(out)
}

impl Iterator for Answer {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.remaining == 0 {
            return None;
        }
        let mut chunk = Vec::new();
        if let Some((generated, lines)) = &mut self.generated {
            while chunk.len() < CHUNK {
                let Some(index) = lines.next() else { break };
                if self.timestamps {
                    self.clock.stamp(generated.at(index), &mut chunk);
                }
                generated.write_line(index, &mut self.clock, &mut chunk);
            }
        }
        let mut chunk = if chunk.is_empty() {
            self.stored.split_to(self.stored.len().min(CHUNK))
        } else {
            Bytes::from(chunk)
        };
        if chunk.is_empty() {
            return None;
        }
        chunk.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= chunk.len() as u64;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, KubeletStyle, Log, LogStore, ReadOptions, Which};

    const SECOND: i64 = 1_000_000_000;
    /// 2026-11-23T04:34:43Z
    const START: i64 = 1_795_408_483 * SECOND;

    fn log() -> Log {
        LogStore::default().open("ns", "pod", "k6")
    }

    fn text(answer: Answer) -> Vec<u8> {
        answer.flatten().collect()
    }

    fn read(log: &Log, options: &ReadOptions) -> Vec<u8> {
        text(log.read(Which::Current, options).expect("a life"))
    }

    fn stamped() -> ReadOptions {
        ReadOptions {
            timestamps: true,
            ..ReadOptions::default()
        }
    }

    fn since(at: i64) -> ReadOptions {
        ReadOptions {
            since: Some(at),
            ..stamped()
        }
    }

    #[test]
    fn times_have_nine_decimals() {
        let log = log();
        log.write_line(START + 7, b"hello");
        log.write_line(START + SECOND, b"");
        assert_eq!(
            read(&log, &stamped()),
            b"2026-11-23T04:34:43.000000007Z hello\n2026-11-23T04:34:44.000000000Z \n"
        );
        assert_eq!(read(&log, &ReadOptions::default()), b"hello\n\n");
    }

    #[test]
    fn lines_of_one_time_keep_their_order() {
        let log = log();
        for line in ["b", "a", "c"] {
            log.write_line(START, line.as_bytes());
        }
        assert_eq!(read(&log, &ReadOptions::default()), b"b\na\nc\n");
        assert_eq!(read(&log, &since(START)).len(), 3 * 33);
    }

    #[test]
    fn only_the_current_file_is_read() {
        let log = log();
        log.write_line(START, b"old");
        log.rotate();
        assert_eq!(read(&log, &stamped()), b"");
        log.write_line(START + 1, b"new");
        assert_eq!(read(&log, &ReadOptions::default()), b"new\n");
        assert_eq!(log.written(), b"old\nnew\n");
    }

    #[test]
    fn joined_long_lines_have_one_time() {
        let log = log();
        log.write_line(START, b"start");
        log.write_line(START + 1, &[b'x'; 40_000]);
        let joined = read(&log, &stamped());
        assert_eq!(joined.len(), 37 + 31 + 40_001);
        assert_eq!(log.written().len(), 6 + 40_001);
    }

    #[test]
    fn repeated_times_stand_where_recorded() {
        let log = log();
        log.write_line(START, b"start");
        log.write_line(START + 1, &[b'x'; 40_000]);
        let options = ReadOptions {
            style: KubeletStyle::Repeated,
            ..stamped()
        };
        let answer = read(&log, &options);
        for offset in [37, 16_452, 32_867] {
            assert!(answer[offset..].starts_with(b"2026-11-23T04:34:43.00000"));
        }
        let again = self::log();
        again.load_timestamped(&answer);
        assert_eq!(again.written(), log.written());
        assert_eq!(read(&again, &options), answer);
    }

    #[test]
    fn since_can_begin_inside_a_line() {
        let log = log();
        log.write_parts(
            &[(START, b"first "), (START + SECOND, b"second ".as_slice())],
            false,
        );
        log.write_line(START + SECOND + 1, b"third");
        log.write_line(START + SECOND + 2, b"next");
        assert_eq!(
            read(&log, &since(START + SECOND)),
            b"second third\n2026-11-23T04:34:44.000000002Z next\n"
        );
        let repeated = ReadOptions {
            style: KubeletStyle::Repeated,
            ..since(START + SECOND)
        };
        assert_eq!(
            read(&log, &repeated),
            b"2026-11-23T04:34:44.000000000Z second 2026-11-23T04:34:44.000000001Z third\n\
              2026-11-23T04:34:44.000000002Z next\n"
        );
    }

    #[test]
    fn since_filters_each_part_by_its_own_time() {
        let log = log();
        log.write_line(START + 5, b"late");
        log.write_line(START, b"early, but written later");
        log.write_line(START + 6, b"last");
        let options = ReadOptions {
            timestamps: false,
            ..since(START + 5)
        };
        assert_eq!(read(&log, &options), b"late\nlast\n");
    }

    #[test]
    fn an_unterminated_line_goes_on() {
        let log = log();
        log.write_unterminated(START, b"no newline");
        assert_eq!(
            read(&log, &stamped()),
            b"2026-11-23T04:34:43.000000000Z no newline"
        );
        log.write_line(START + 1, b" yet");
        assert_eq!(
            read(&log, &stamped()),
            b"2026-11-23T04:34:43.000000000Z no newline yet\n"
        );
    }

    #[test]
    fn bytes_come_as_they_are_but_for_the_carriage_return() {
        let log = log();
        log.write_line(START, b"nul\0byte \xff\xfe");
        log.write_line(START, b"crlf\r");
        assert_eq!(
            read(&log, &ReadOptions::default()),
            b"nul\0byte \xff\xfe\ncrlf\n"
        );
    }

    #[test]
    fn only_the_life_before_is_previous() {
        let log = log();
        assert!(log.read(Which::Previous, &stamped()).is_none());
        log.write_line(START, b"one");
        log.restart();
        log.write_line(START, b"two");
        log.restart();
        let of = |which| text(log.read(which, &ReadOptions::default()).expect("a life"));
        assert_eq!(of(Which::Previous), b"two\n");
        assert_eq!(of(Which::Current), b"");
        assert_eq!(of(Which::LastEnded), b"two\n");
        assert_eq!(log.written_before(), b"two\n");
    }

    #[test]
    fn tail_counts_records_and_limit_counts_bytes() {
        let log = log();
        log.write_line(START, b"one");
        log.write_parts(&[(START, b"a"), (START, b"b".as_slice())], true);
        let tail = |n| ReadOptions {
            tail: Some(n),
            ..ReadOptions::default()
        };
        assert_eq!(read(&log, &tail(2)), b"ab\n");
        assert_eq!(read(&log, &tail(1)), b"b\n");
        assert_eq!(read(&log, &tail(0)), b"");
        let limited = ReadOptions {
            limit_bytes: Some(5),
            ..ReadOptions::default()
        };
        assert_eq!(read(&log, &limited), b"one\na");
    }

    #[test]
    fn a_generated_log_is_followed_by_what_is_written() {
        let log = log();
        log.generate(1, 1000, START, SECOND);
        let lines: Vec<Vec<u8>> = crate::generated_text(1, 1000, START, SECOND).collect();
        log.write_line(START + 100 * SECOND, b"end");
        let mut expected = lines.concat();
        expected.extend_from_slice(b"end\n");
        assert_eq!(read(&log, &ReadOptions::default()), expected);
        // A resumed read gets the lines of its second and what follows.
        let last = START + (lines.len() as i64 - 1) * SECOND;
        let resumed = ReadOptions {
            timestamps: false,
            ..since(last)
        };
        let mut expected = lines.last().expect("lines").clone();
        expected.extend_from_slice(b"end\n");
        assert_eq!(read(&log, &resumed), expected);
        log.rotate();
        assert_eq!(read(&log, &ReadOptions::default()), b"");
    }
}
