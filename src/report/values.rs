//! Numbers, durations and times as people read them in a report, and foreign text made fit for it. Pure.

use jiff::Timestamp;

use crate::harmless;
use crate::k6::message;
use crate::k6::summary::{Kind, Unit};
use crate::record::{Metric, Threshold};
use crate::store::Interval;

/// Longer names, expressions and paths are cut: the record has them whole.
const NAME_CHARS: usize = 200;

/// Longer messages are cut.
const MESSAGE_CHARS: usize = 2_000;

/// From one time to another; `None`: one of them is not known.
pub(crate) fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<f64> {
    Some(to?.duration_since(from?).as_secs_f64())
}

/// `2026-11-23T04:00:05Z`
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `1 runner`, `12,345 runners`
pub(crate) fn things(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { more })
}

/// `12,345`
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A stat of a metric: `612–840 ms`, `1.5 %`, `12.5 MB/s`.
pub(crate) fn stat(metric: &Metric, stat: &str, value: Interval) -> String {
    let is_count = matches!(stat, "count" | "passes" | "fails");
    // The values of a gauge are no rates, and those of a counter are but for its count.
    message::interval(
        (value.low, value.high),
        Some(metric.kind),
        metric.unit,
        is_count,
    )
}

/// The part of the requests that failed.
pub(crate) fn share(value: Interval) -> String {
    message::interval((value.low, value.high), Some(Kind::Rate), Unit::None, false)
}

/// Milliseconds.
pub(crate) fn milliseconds(value: Interval) -> String {
    message::interval((value.low, value.high), None, Unit::Ms, false)
}

/// `http_req_duration p(95)<500`, or `a threshold of http_req_duration`
pub(crate) fn threshold(threshold: &Threshold) -> String {
    match &threshold.expression {
        Some(expression) => format!("{} {}", name(&threshold.metric), name(expression)),
        None => format!("a threshold of {}", name(&threshold.metric)),
    }
}

/// What the runners measured in which it failed: `612–840 ms`.
pub(crate) fn observed(threshold: &Threshold) -> Option<String> {
    let observed = threshold.observed?;
    let expression = threshold.expression.as_deref().unwrap_or_default();
    let is_count = expression.trim_start().starts_with("count");
    let range = (observed.low, observed.high);
    Some(message::interval(
        range,
        threshold.kind,
        threshold.unit,
        is_count,
    ))
}

/// `612–840 ms, failed on 2 of 4 runners`
pub(crate) fn failure(threshold: &Threshold) -> String {
    let runners = match threshold.runners {
        1 => "runner",
        _ => "runners",
    };
    let failed = format!(
        "failed on {} of {} {runners}",
        threshold.failed, threshold.runners
    );
    match observed(threshold) {
        Some(observed) => format!("{observed}, {failed}"),
        None => failed,
    }
}

/// A foreign name on one line, harmless to terminals and to the direction of the text around it, and not too long.
pub(crate) fn name(text: &str) -> String {
    cut(text, NAME_CHARS)
}

/// A foreign sentence, likewise.
pub(crate) fn message(text: &str) -> String {
    cut(text, MESSAGE_CHARS)
}

/// The first `most` characters of what is harmless, and `…` for the rest.
pub(crate) fn cut(text: &str, most: usize) -> String {
    // Escaping makes it longer, never shorter: what is behind would be cut anyway.
    let end = text
        .char_indices()
        .nth(most + 1)
        .map_or(text.len(), |(end, _)| end);
    let text = harmless::escaped(&text[..end]);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (count, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(count), expected);
        }
        assert_eq!(things(1, "runner", "runners"), "1 runner");
        assert_eq!(things(0, "runner", "runners"), "0 runners");
    }

    #[test]
    fn long_and_harmful_names_are_neither() {
        assert_eq!(name("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb \\u{202e}c");
        let long = name(&"é".repeat(1_000_000));
        assert_eq!(long.chars().count(), NAME_CHARS + 1);
        assert!(long.ends_with('…'));
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
    }
}
