//! Which thresholds failed, as a sentence for a step's message. Pure.

use super::combine::{StepResults, ThresholdRow};
use super::summary::{Kind, Unit};
use crate::harmless;

/// How many are named; the rest is counted.
const NAMED: usize = 5;

/// Longer names and expressions are cut.
const NAME_CHARS: usize = 100;

/// A failed threshold.
struct Failure {
    text: String,
    runners: u64,
    failed: u64,
}

/// `http_req_duration p(95)<500: 612–840 ms, failed on 2 of 4 runners`, and the others after it, those first that failed on most
/// runners; `None`: none is known to have failed.
///
/// The values are what the runners measured in which it failed, for k6 judges each runner for itself: all together may well have
/// passed.
pub fn failed_thresholds(results: &StepResults) -> Option<String> {
    let thresholds = results.thresholds.iter().map(|row| Failure {
        text: threshold(row),
        runners: row.runners,
        failed: row.failed,
    });
    let marks = results.marks.iter().map(|row| Failure {
        text: format!("a threshold of {}:", name(&row.metric)),
        runners: row.runners,
        failed: row.failed,
    });
    let mut failures: Vec<Failure> = thresholds
        .chain(marks)
        .filter(|failure| failure.failed > 0)
        .collect();
    // Those of one number stay in the order of their names.
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.failed));
    let named = failures.iter().take(NAMED).map(|failure| {
        let runners = match failure.runners {
            1 => "runner",
            _ => "runners",
        };
        format!(
            "{} failed on {} of {} {runners}",
            failure.text, failure.failed, failure.runners
        )
    });
    let mut sentences: Vec<String> = named.collect();
    let more = failures.len().saturating_sub(NAMED);
    if more > 0 {
        sentences.push(format!("and {more} more"));
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

fn threshold(row: &ThresholdRow) -> String {
    let subject = format!("{} {}:", name(&row.metric), name(&row.expression));
    match row.observed {
        Some(observed) => format!("{subject} {},", range(observed, row)),
        None => subject,
    }
}

fn name(name: &str) -> String {
    let name = harmless::escaped(name);
    match name.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

fn range(observed: (f64, f64), row: &ThresholdRow) -> String {
    let is_count = row.expression.trim_start().starts_with("count");
    interval(observed, row.kind, row.unit, is_count)
}

/// `612–840 ms`, `1.5 %`, `12.5 MB/s`: what is nowhere but from `low` to `high`. `is_count`: it is a number of things, whatever the
/// metric's unit, and not of them a second.
pub(crate) fn interval(
    (low, high): (f64, f64),
    kind: Option<Kind>,
    unit: Unit,
    is_count: bool,
) -> String {
    let (divisor, per) = match (kind, unit) {
        (Some(Kind::Rate), _) if !is_count => (0.01, "%"),
        (Some(Kind::Trend | Kind::Rate), _) if is_count => (1.0, ""),
        (_, Unit::Ms) => time(high),
        (_, Unit::Bytes) => bytes(high),
        (_, Unit::None) => (1.0, ""),
    };
    let per_second = match kind {
        Some(Kind::Counter) if !is_count => "/s",
        _ => "",
    };
    let (low, high) = (short(low / divisor), short(high / divisor));
    let space = if per.is_empty() { "" } else { " " };
    match low == high {
        true => format!("{low}{space}{per}{per_second}"),
        false => format!("{low}–{high}{space}{per}{per_second}"),
    }
}

fn time(most: f64) -> (f64, &'static str) {
    match most.abs() {
        most if most >= 10_000.0 => (1_000.0, "s"),
        most if most >= 1.0 || most == 0.0 => (1.0, "ms"),
        _ => (0.001, "µs"),
    }
}

fn bytes(most: f64) -> (f64, &'static str) {
    match most.abs() {
        most if most >= 1e9 => (1e9, "GB"),
        most if most >= 1e6 => (1e6, "MB"),
        most if most >= 1e3 => (1e3, "kB"),
        _ => (1.0, "B"),
    }
}

/// Four digits that count, and never fewer than are before the point.
fn short(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let before = number.abs().max(1.0).log10().floor() as usize + 1;
    let decimals = match number.abs() < 1.0 {
        true => 6,
        false => 4_usize.saturating_sub(before),
    };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests;
