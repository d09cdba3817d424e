//! How the lines of a log look: as text for people and as JSON lines. Pure.

use std::fmt::Write;

use jiff::Timestamp;

use super::ansi;
use crate::harmless;
use crate::k6::{self, Level};
use crate::record::log::{Labels, LineId, LogContainer, LogGap, LogLine};
use crate::store::{GapCause, Role};

/// What lines look like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineLook {
    /// Prefixes, errors, warnings and gaps have colours.
    pub color: bool,
    /// They go to a terminal, which must not obey what is in them.
    pub terminal: bool,
    /// When it was written, before each line.
    pub timestamps: bool,
    /// The container, before each line.
    pub prefix: bool,
}

impl LineLook {
    /// Lines are printed as they are.
    pub(crate) const fn is_plain(self) -> bool {
        !(self.color || self.terminal || self.timestamps || self.prefix)
    }
}

/// Readable on dark and on light: none of the greys, of the very dark and of the very bright.
const PALETTE: [&str; 12] = [
    "38;5;33", "38;5;36", "38;5;64", "38;5;97", "38;5;130", "38;5;133", "38;5;31", "38;5;71",
    "38;5;99", "38;5;136", "38;5;168", "38;5;38",
];
const ERROR: &str = "31";
const WARNING: &str = "33";
const GAP: &str = "35";
const FAINT: &str = "2";

/// Prefixes are brought to the same width up to this.
const MOST_WIDTH: usize = 40;

/// `text` in a colour, if there are colours.
fn paint(out: &mut String, color: bool, code: &str, text: &str) {
    match color {
        // Writing to a text never fails.
        true => drop(write!(out, "\x1b[{code}m{text}{}", ansi::RESET)),
        false => out.push_str(text),
    }
}

/// Writes lines of a log, and what is said of them.
#[derive(Debug)]
pub(crate) struct LineWriter {
    look: LineLook,
    names: Vec<Name>,
    width: usize,
    clock: Clock,
}

/// A container, as its lines say whose they are.
#[derive(Debug)]
struct Name {
    container: LogContainer,
    text: String,
    color: &'static str,
    /// Its labels as JSON.
    labels: String,
}

impl LineWriter {
    pub(crate) fn new(look: LineLook) -> Self {
        Self {
            look,
            names: Vec::new(),
            width: 0,
            clock: Clock::default(),
        }
    }

    /// Makes the containers known whose lines come, by their indices.
    pub(crate) fn know(&mut self, containers: &[LogContainer]) {
        for container in containers.iter().skip(self.names.len()) {
            let text = unique(short_name(container), container, &self.names);
            self.width = self.width.max(text.chars().count().min(MOST_WIDTH));
            self.names.push(Name {
                color: color_of(&text),
                text,
                labels: labels(&container.labels),
                container: container.clone(),
            });
        }
    }

    /// A line for people, without its end.
    pub(crate) fn text(&mut self, out: &mut String, line: LogLine<'_>) {
        let LineLook {
            color, terminal, ..
        } = self.look;
        self.before(out, line.container, line.time, line.approximate);
        let text = match terminal {
            true => ansi::harmless_line(line.text, color),
            false => line.text.into(),
        };
        match color.then(|| color_of_level(line.text)).flatten() {
            Some(code) => paint(out, true, code, &text),
            None => out.push_str(&text),
        }
    }

    /// What is missing, for people, without a line's end.
    pub(crate) fn gap(&mut self, out: &mut String, gap: &LogGap) {
        self.before(out, gap.container, None, false);
        let text = format!("--- {} ---", missing(gap));
        paint(out, self.look.color, GAP, &text);
    }

    /// Between lines that do not follow one another.
    pub(crate) fn apart(&self, out: &mut String) {
        paint(out, self.look.color, FAINT, "--");
    }

    fn before(&mut self, out: &mut String, container: usize, time: Option<i64>, approximate: bool) {
        let color = self.look.color;
        if self.look.prefix
            && let Some(name) = self.names.get(container)
        {
            let missing = self.width.saturating_sub(name.text.chars().count());
            paint(out, color, name.color, &name.text);
            out.extend(std::iter::repeat_n(' ', missing));
            paint(out, color, FAINT, " | ");
        }
        if self.look.timestamps
            && let Some(time) = time
        {
            if approximate {
                out.push('~');
            }
            self.clock.write(out, time);
            out.push(' ');
        }
    }

    /// A line as JSON, without its end.
    pub(crate) fn json(&mut self, out: &mut String, line: LogLine<'_>) {
        let Some(name) = self.names.get(line.container) else {
            return;
        };
        out.push_str("{\"timestamp\":");
        match line.time {
            Some(time) => {
                out.push('"');
                self.clock.write(out, time);
                out.push('"');
            }
            None => out.push_str("null"),
        }
        if line.approximate {
            out.push_str(",\"approximate\":true");
        }
        out.push_str(",\"body\":");
        push_json(out, line.text);
        out.push_str(",\"level\":");
        match k6::level(line.text) {
            Some(level) => drop(write!(out, "\"{}\"", level.as_str())),
            None => out.push_str("null"),
        }
        let id = LineId {
            stream: name.container.id,
            at: line.at,
        };
        let labels = &name.labels;
        let _ = write!(out, ",\"id\":\"{id}\",\"labels\":{labels}}}");
    }

    /// What is missing, as JSON, without a line's end.
    pub(crate) fn gap_json(&mut self, out: &mut String, gap: &LogGap) {
        let Some(name) = self.names.get(gap.container) else {
            return;
        };
        let _ = write!(out, "{{\"gap\":{{\"cause\":\"{}\"", gap.gap.cause);
        for (key, time) in [("after", gap.gap.after_ts), ("before", gap.gap.before_ts)] {
            match time {
                Some(time) => {
                    let _ = write!(out, ",\"{key}\":\"");
                    self.clock.write(out, time);
                    out.push('"');
                }
                None => drop(write!(out, ",\"{key}\":null")),
            }
        }
        if let Some(lines) = gap.lines {
            let _ = write!(out, ",\"lines\":{lines}");
        }
        out.push_str(",\"message\":");
        push_json(out, &missing(gap));
        let _ = write!(out, "}},\"labels\":{}}}", name.labels);
    }
}

/// A text as JSON, harmless to terminals.
fn push_json(out: &mut String, text: &str) {
    // Text always can be written as JSON.
    let json = serde_json::to_string(text).unwrap_or_default();
    match json.is_ascii() && !json.contains('\x7f') {
        true => out.push_str(&json),
        false => out.push_str(&harmless::json(&json)),
    }
}

fn labels(labels: &Labels) -> String {
    harmless::json(&serde_json::to_string(labels).unwrap_or_default())
}

/// The pod's name without its random end, and the container's where that says more.
pub(crate) fn short_name(container: &LogContainer) -> String {
    let Labels {
        pod,
        container: of,
        role,
        runner,
        test_run,
        ..
    } = &container.labels;
    let name = match (role, runner) {
        (Role::Runner, Some(runner)) => format!("{test_run}-{runner}"),
        (Role::Initializer | Role::Starter, _) if pod.starts_with(test_run.as_str()) => {
            format!("{test_run}-{role}")
        }
        (Role::Other, _) => format!("{pod}/{of}"),
        _ => pod.clone(),
    };
    let name = match container.restart_count {
        0 => name,
        restarts => format!("{name} (restart {restarts})"),
    };
    harmless::line(name)
}

/// A name that no other container has.
fn unique(short: String, container: &LogContainer, names: &[Name]) -> String {
    let is_taken = |name: &str| names.iter().any(|other| other.text == name);
    if !is_taken(&short) {
        return short;
    }
    let long = harmless::line(container.name());
    match is_taken(&long) {
        false => long,
        true => format!("{long} #{}", container.id),
    }
}

/// Of a line that is an error or a warning, and has no colours of its own.
fn color_of_level(line: &str) -> Option<&'static str> {
    let code = match k6::level(line)? {
        level if level.is_error() => ERROR,
        Level::Warning => WARNING,
        _ => return None,
    };
    (!ansi::has_colors(line)).then_some(code)
}

/// Always the same of a name.
fn color_of(name: &str) -> &'static str {
    PALETTE[color_number(name)]
}

/// Which of the twelve colours it has, always the same of a name (FNV-1a).
pub(crate) fn color_number(name: &str) -> usize {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash as usize % PALETTE.len()
}

/// What is missing, and why.
pub(crate) fn missing(gap: &LogGap) -> String {
    let why = match gap.gap.cause {
        GapCause::Truncated => {
            return "the line before was longer than 2 MiB: only its beginning was recorded"
                .to_owned();
        }
        GapCause::Pruned => {
            return match gap.lines {
                Some(1) => "1 line was deleted by k6sync prune".to_owned(),
                Some(lines) => format!("{} lines were deleted by k6sync prune", grouped(lines)),
                None => "lines were deleted by k6sync prune".to_owned(),
            };
        }
        GapCause::Rotated => "the kubelet rotated the log",
        GapCause::Restarted => "the container restarted more than once",
        GapCause::Deleted => "the pod was deleted before its log was read to the end",
        GapCause::Unavailable => "the node no longer had the log",
        GapCause::Clock => "the node's clock stepped back",
    };
    let between = match (gap.gap.after_ts, gap.gap.before_ts) {
        (Some(after), Some(before)) => {
            let (after, before) = times_of_day(after, before);
            format!(" (between {after} and {before})")
        }
        (Some(after), None) => format!(" (after {})", times_of_day(after, after).0),
        (None, Some(before)) => format!(" (before {})", times_of_day(before, before).0),
        (None, None) => String::new(),
    };
    format!("lines may be missing here: {why}{between}")
}

/// Two times as people read them, with the day where it is not the same.
fn times_of_day(a: i64, b: i64) -> (String, String) {
    let texts = [a, b].map(|nanoseconds| {
        let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default();
        format!("{time:.0}")
    });
    let [a, b] = texts
        .each_ref()
        .map(|text| text.split_once('T').unwrap_or_default());
    match a.0 == b.0 {
        true => (
            a.1.trim_end_matches('Z').to_owned(),
            b.1.trim_end_matches('Z').to_owned(),
        ),
        false => (
            format!("{} {}", a.0, a.1.trim_end_matches('Z')),
            format!("{} {}", b.0, b.1.trim_end_matches('Z')),
        ),
    }
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Times as the kubelet writes them. Those of one second differ in their ends alone.
#[derive(Debug, Default)]
struct Clock {
    second: Option<i64>,
    text: String,
}

impl Clock {
    fn write(&mut self, out: &mut String, nanoseconds: i64) {
        let second = nanoseconds.div_euclid(1_000_000_000);
        if self.second != Some(second) {
            let time = Timestamp::from_second(second).unwrap_or_default();
            self.text = format!("{time:.0}");
            self.second = Some(second);
        }
        let rest = nanoseconds.rem_euclid(1_000_000_000);
        let _ = write!(out, "{}.{rest:09}Z", self.text.trim_end_matches('Z'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::log::Position;
    use crate::store::{RunGap, StreamId};

    /// 2026-11-23T04:39:43Z
    const TIME: i64 = 1_795_408_783_000_000_000;

    fn container(pod: &str, container: &str, role: Role, runner: Option<u32>) -> LogContainer {
        LogContainer::sample(StreamId(7), pod, container, role, runner)
    }

    fn writer(look: LineLook) -> LineWriter {
        let mut writer = LineWriter::new(look);
        writer.know(&[
            container("shop-buy-1-w6jv5", "k6", Role::Runner, Some(1)),
            container("shop-buy-initializer-w96vf", "k6", Role::Initializer, None),
            container("shop-buy-1-w6jv5", "proxy", Role::Other, None),
        ]);
        writer
    }

    fn line(container: usize, text: &str) -> LogLine<'_> {
        LogLine {
            container,
            at: Position { seq: 3, line: 12 },
            text,
            ends: true,
            time: Some(TIME + 123),
            approximate: container == 2,
        }
    }

    fn text(look: LineLook, container: usize, text: &str) -> String {
        let mut out = String::new();
        writer(look).text(&mut out, line(container, text));
        out
    }

    #[test]
    fn a_line_looks_as_it_was_asked_for() {
        let plain = LineLook::default();
        let prefix = LineLook {
            prefix: true,
            timestamps: true,
            ..plain
        };
        let color = LineLook {
            color: true,
            ..plain
        };
        let terminal = LineLook {
            terminal: true,
            ..plain
        };
        let error = "level=error msg=x";
        for (look, container, is, expected) in [
            (plain, 0, "\x1b[2Jx", "\x1b[2Jx"),
            (
                prefix,
                0,
                "x",
                "shop-buy-1             | 2026-11-23T04:39:43.000000123Z x",
            ),
            (
                prefix,
                1,
                "x",
                "shop-buy-initializer   | 2026-11-23T04:39:43.000000123Z x",
            ),
            (
                prefix,
                2,
                "x",
                "shop-buy-1-w6jv5/proxy | ~2026-11-23T04:39:43.000000123Z x",
            ),
            (plain, 0, error, error),
            (color, 0, error, "\x1b[31mlevel=error msg=x\x1b[0m"),
            (
                color,
                0,
                "level=warning msg=x",
                "\x1b[33mlevel=warning msg=x\x1b[0m",
            ),
            (color, 0, "level=info msg=x", "level=info msg=x"),
            (terminal, 0, "\x1b[2Jx", "\\u{1b}[2Jx"),
        ] {
            assert_eq!(text(look, container, is), expected);
        }
    }

    #[test]
    fn json_has_everything_that_is_known() {
        let mut out = String::new();
        let mut writer = writer(LineLook::default());
        writer.json(&mut out, line(2, "level=error msg=\"\u{1b}\u{9b}é\""));
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        let expected = serde_json::json!({
            "timestamp": "2026-11-23T04:39:43.000000123Z", "approximate": true,
            "body": "level=error msg=\"\u{1b}\u{9b}é\"", "level": "error", "id": "7.3.12",
            "labels": {"namespace": "k6-runs", "run": "nightly", "step": "buy", "testRun": "shop-buy",
                "pod": "shop-buy-1-w6jv5", "container": "proxy", "role": "other", "runner": null},
        });
        assert_eq!(read, expected);
        assert!(!out.contains('\u{9b}') && !out.contains('\u{1b}'), "{out}");
    }

    #[test]
    fn a_gap_says_what_is_missing_and_why() {
        let gap = |cause, after_ts, before_ts, lines| LogGap {
            container: 0,
            gap: RunGap {
                stream_id: StreamId(7),
                after_ts,
                before_ts,
                cause,
            },
            lines,
        };
        let later = Some(TIME + 16_000_000_000);
        for (gap, expected) in [
            (
                gap(GapCause::Rotated, Some(TIME), later, None),
                "--- lines may be missing here: the kubelet rotated the log (between 04:39:43 and 04:39:59) ---",
            ),
            (
                gap(GapCause::Rotated, Some(0), Some(TIME), None),
                "--- lines may be missing here: the kubelet rotated the log (between 1970-01-01 00:00:00 and 2026-11-23 04:39:43) ---",
            ),
            (
                gap(GapCause::Deleted, Some(TIME), None, None),
                "--- lines may be missing here: the pod was deleted before its log was read to the end (after 04:39:43) ---",
            ),
            (
                gap(GapCause::Pruned, None, None, Some(1_234)),
                "--- 1,234 lines were deleted by k6sync prune ---",
            ),
            (
                gap(GapCause::Truncated, Some(TIME), Some(TIME), None),
                "--- the line before was longer than 2 MiB: only its beginning was recorded ---",
            ),
        ] {
            let mut out = String::new();
            writer(LineLook::default()).gap(&mut out, &gap);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        writer(LineLook::default()).gap_json(&mut out, &gap(GapCause::Pruned, None, None, Some(5)));
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["gap"]["cause"], "pruned");
        assert_eq!(read["gap"]["lines"], 5);
        assert_eq!(read["labels"]["pod"], "shop-buy-1-w6jv5");
    }

    #[test]
    fn each_container_has_a_name_and_a_colour_of_its_own() {
        let mut writer = LineWriter::new(LineLook::default());
        writer.know(&[
            container("shop-buy-1-w6jv5", "k6", Role::Runner, Some(1)),
            container("shop-buy-1-aaaaa", "k6", Role::Runner, Some(1)),
            container("shop-buy-1-aaaaa", "k6", Role::Runner, Some(1)),
        ]);
        let names: Vec<&str> = writer.names.iter().map(|name| name.text.as_str()).collect();
        assert_eq!(
            names,
            [
                "shop-buy-1",
                "shop-buy-1-aaaaa/k6",
                "shop-buy-1-aaaaa/k6 #7"
            ]
        );
        assert_eq!(color_of("shop-buy-1"), color_of("shop-buy-1"));
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }
}
