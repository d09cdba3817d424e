//! How a comparison of runs looks: tables for people, CSV and names for programs.
//!
//! A row is one thing in one run, held against the base. What is worse is said by a word and a sign, so that it can be read
//! without colour; what can't be compared stands below its table, with the reason.

use std::collections::BTreeMap;

use super::csv;
use super::table::{Cell, Column, column, table, wrapped};
use super::view::{Style, View};
use super::words;
use crate::harmless;
use crate::k6::message::interval;
use crate::k6::summary::{Kind, Unit};
use crate::record::compare::{
    CheckCompared, CheckCounts, Compared, Comparison, Judged, MetricCompared, StepCompared,
    ThresholdCompared, Verdict,
};
use crate::store::Interval;

/// Columns of a bar.
const BAR: usize = 10;
/// Narrower terminals need the room for words.
const ROOM_FOR_BARS: usize = 80;

// === For people ===

/// All of it as tables.
pub(crate) fn text(comparison: &Comparison, view: &View) -> String {
    let mut text = runs(comparison, view);
    if comparison.tolerance > 0.0 {
        let percent = percent_number(comparison.tolerance * 100.0);
        let line = format!("Changes up to {percent} % are no difference.");
        text.push_str(&wrapped(&line, 0, view));
    }
    for step in &comparison.steps {
        text.push('\n');
        text.push_str(&of_step(comparison, step, view));
    }
    text.push('\n');
    for other in &comparison.others {
        text.push_str(&summary(comparison, other, view));
    }
    text
}

/// Which runs they are.
fn runs(comparison: &Comparison, view: &View) -> String {
    let columns = [
        column(""),
        column("ID").right(),
        column("NAME").at_least(10),
        column("NAMESPACE").at_least(10).expendable(3),
        column("STATUS"),
        column("STARTED").expendable(2),
        column("DURATION").right().expendable(1),
    ];
    let row = |run: &Compared, what: &str| -> Vec<Cell> {
        vec![
            Cell::styled(what, Style::Dim),
            run.id.to_string().into(),
            run.name.as_str().into(),
            run.namespace.as_deref().unwrap_or(words::NOTHING).into(),
            Cell::styled(words::status(run.status), words::style(run.status)),
            run.started_at
                .or(run.created_at)
                .map_or_else(
                    || words::NOTHING.to_owned(),
                    |time| words::when(time, view.now),
                )
                .into(),
            match run.duration_seconds {
                Some(seconds) => words::duration(seconds).into(),
                None => words::NOTHING.into(),
            },
        ]
    };
    let mut rows = vec![row(&comparison.base, "base")];
    rows.extend(comparison.others.iter().map(|other| row(other, "other")));
    table(&columns, &rows, 0, view)
}

/// `8: 2 worse, 1 better, 40 with no difference shown`
fn summary(comparison: &Comparison, other: &Compared, view: &View) -> String {
    let tally = other.tally;
    let parts = [
        (tally.worse, "worse", Style::Bad),
        (tally.better, "better", Style::Good),
        (tally.changed, "changed", Style::Notable),
        (tally.same, "same", Style::Dim),
        (tally.not_comparable, "not comparable", Style::Plain),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, what, style)| view.paint(*style, &format!("{number} {what}")))
        .collect();
    let told = match told.is_empty() {
        true => "nothing to compare".to_owned(),
        false => told.join(", "),
    };
    let head = format!("{} against {}:", other.id, comparison.base.id);
    format!("{} {told}\n", view.paint(Style::Bold, &head))
}

fn of_step(comparison: &Comparison, step: &StepCompared, view: &View) -> String {
    let mut text = format!(
        "{}\n",
        view.paint(
            Style::Bold,
            &harmless::escaped(&format!("Step {}", step.name))
        )
    );
    let mut is_any_compared = false;
    for (other, run) in step.others.iter().zip(&comparison.others) {
        if let Some(name) = other.name.as_ref().filter(|name| **name != step.name) {
            text.push_str(&wrapped(
                &format!("In run {} it is named {name}.", run.id),
                2,
                view,
            ));
        }
        if let Some(note) = &other.note {
            text.push_str(&wrapped(&format!("Mind: {note}."), 2, view));
        }
        match &other.reason {
            Some(reason) => text.push_str(&wrapped(
                &format!("? {} not comparable: {reason}", run.id),
                2,
                view,
            )),
            None => is_any_compared = true,
        }
    }
    let mut block = Block {
        comparison,
        step,
        view,
        reasons: BTreeMap::new(),
    };
    let tables = [block.thresholds(), block.checks(), block.metrics()];
    let reasons = block.reasons_in_words();
    let parts: Vec<String> = tables
        .into_iter()
        .chain([reasons])
        .filter(|part| !part.is_empty())
        .collect();
    let tables = match parts.is_empty() && is_any_compared {
        true => wrapped("Nothing changed.", 2, view),
        false => parts.join("\n"),
    };
    text.push_str(&tables);
    text
}

/// The tables of a step.
struct Block<'a> {
    comparison: &'a Comparison,
    step: &'a StepCompared,
    view: &'a View,
    /// What is not comparable, by run and reason.
    reasons: BTreeMap<(usize, String), Vec<String>>,
}

/// What is in a row of any of the tables.
struct Row {
    /// What stands on a line of its own before the rows of it: a metric's name may be long.
    group: Option<String>,
    name: String,
    base: String,
    at: usize,
    other: String,
    verdict: Verdict,
    /// The sign of the change.
    arrow: &'static str,
    change: String,
    bar: String,
}

impl Block<'_> {
    fn thresholds(&mut self) -> String {
        let mut rows = Vec::new();
        for row in &self.step.thresholds {
            let name = threshold_name(row);
            for (at, other) in row.others.iter().enumerate() {
                // What is new or gone has an end all the same.
                let told = format!("{name} ({})", judged(other.judged.or(row.base)));
                if self.is_left_out(at, &told, other.verdict, other.reason.as_deref()) {
                    continue;
                }
                rows.push(Row {
                    group: None,
                    name: name.clone(),
                    base: judged(row.base),
                    at,
                    other: judged(other.judged),
                    verdict: other.verdict,
                    arrow: "",
                    change: String::new(),
                    bar: String::new(),
                });
            }
        }
        self.table(column("THRESHOLD").at_least(24), rows)
    }

    fn checks(&mut self) -> String {
        let mut rows = Vec::new();
        for row in &self.step.checks {
            let name = check_name(row);
            for (at, other) in row.others.iter().enumerate() {
                if self.is_left_out(at, &name, other.verdict, other.reason.as_deref()) {
                    continue;
                }
                let rate = |counts: Option<CheckCounts>| counts.and_then(|counts| counts.fail_rate);
                let (was, is) = (exact(rate(row.base)), exact(rate(other.counts)));
                rows.push(Row {
                    group: None,
                    name: name.clone(),
                    base: counts(row.base),
                    at,
                    other: counts(other.counts),
                    verdict: other.verdict,
                    arrow: arrow(was, is),
                    change: change(other.change_percent, other.verdict),
                    bar: bar(was, is),
                });
            }
        }
        self.table(column("CHECK, FAILED").at_least(24), rows)
    }

    fn metrics(&mut self) -> String {
        let mut rows: Vec<Row> = Vec::new();
        for row in &self.step.metrics {
            for (at, other) in row.others.iter().enumerate() {
                if self.is_left_out(at, &row.metric, other.verdict, other.reason.as_deref()) {
                    continue;
                }
                rows.push(Row {
                    group: Some(row.metric.clone()),
                    name: format!("  {}", row.stat),
                    base: value(row, row.base),
                    at,
                    other: value(row, other.value),
                    verdict: other.verdict,
                    arrow: arrow(row.base, other.value),
                    change: change(other.change_percent, other.verdict),
                    bar: bar(row.base, other.value),
                });
            }
        }
        self.table(column("METRIC"), rows)
    }

    /// What is not comparable is not in the table but below; where nothing of the step is, the reason stands above already.
    fn is_left_out(&mut self, at: usize, name: &str, verdict: Verdict, why: Option<&str>) -> bool {
        if verdict != Verdict::NotComparable {
            return false;
        }
        if self.step.others[at].reason.is_none() || self.step.others[at].reason.as_deref() != why {
            let why = why.unwrap_or("it can't be told").to_owned();
            self.reasons
                .entry((at, why))
                .or_default()
                .push(name.to_owned());
        }
        true
    }

    fn table(&self, name: Column, rows: Vec<Row>) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let several = self.comparison.others.len() > 1;
        let has_bars = self.view.width.is_some_and(|width| width >= ROOM_FOR_BARS)
            && rows.iter().any(|row| !row.bar.is_empty());
        let mut columns = vec![name, column("BASE")];
        if several {
            columns.push(column("RUN").right());
        }
        columns.extend([column("OTHER"), column("")]);
        let has_changes = rows.iter().any(|row| !row.change.is_empty());
        if has_changes {
            columns.push(column("CHANGE").expendable(1));
        }
        if has_bars {
            columns.push(column("▀BASE ▄OTHER").expendable(2));
        }
        let groups: Vec<Option<String>> = rows.iter().map(|row| row.group.clone()).collect();
        let mut last: Option<(Option<String>, String)> = None;
        let rows: Vec<Vec<Cell>> = rows
            .into_iter()
            .map(|row| {
                let name = Some((row.group, row.name.clone()));
                // What is said again is not read again.
                let mut cells: Vec<Cell> = match name == last {
                    true => vec![Cell::default(), Cell::default()],
                    false => vec![row.name.into(), row.base.into()],
                };
                last = name;
                if several {
                    cells.push(self.comparison.others[row.at].id.to_string().into());
                }
                cells.push(row.other.into());
                cells.push(Cell::styled(
                    in_words(row.verdict, row.arrow),
                    style(row.verdict),
                ));
                if has_changes {
                    cells.push(row.change.into());
                }
                if has_bars {
                    cells.push(Cell::styled(row.bar, style(row.verdict)));
                }
                cells
            })
            .collect();
        let drawn = table(&columns, &rows, 2, self.view);
        let mut lines = drawn.split_inclusive('\n');
        // The titles.
        let mut text = lines.next().unwrap_or_default().to_owned();
        let mut last = None;
        for (line, group) in lines.zip(groups) {
            if let Some(name) = group.as_ref().filter(|_| group != last) {
                text.push_str(&wrapped(name, 2, self.view));
            }
            text.push_str(line);
            last = group;
        }
        text
    }

    fn reasons_in_words(&self) -> String {
        let line = |((at, reason), names): (&(usize, String), &Vec<String>)| {
            let id = self.comparison.others[*at].id;
            let mut names = names.clone();
            names.dedup();
            let text = format!("? {id} not comparable: {}: {reason}", names.join(", "));
            wrapped(&text, 2, self.view)
        };
        self.reasons.iter().map(line).collect()
    }
}

pub(crate) fn threshold_name(row: &ThresholdCompared) -> String {
    match &row.expression {
        Some(expression) => format!("{} {expression}", row.metric),
        None => format!("a threshold of {}", row.metric),
    }
}

pub(crate) fn check_name(row: &CheckCompared) -> String {
    match &row.path {
        Some(path) => path.trim_start_matches("::").replace("::", " › "),
        None => row.name.clone(),
    }
}

/// `held`, `failed in 2 of 3`
pub(crate) fn judged(judged: Option<Judged>) -> String {
    match judged {
        None => words::NOTHING.to_owned(),
        Some(Judged { failed: 0, .. }) => "held".to_owned(),
        Some(Judged { runners: 1, .. }) => "failed".to_owned(),
        Some(Judged { runners, failed }) => format!("failed in {failed} of {runners}"),
    }
}

/// `2.5 %, 3 of 120`
pub(crate) fn counts(counts: Option<CheckCounts>) -> String {
    let Some(counts) = counts else {
        return words::NOTHING.to_owned();
    };
    match (counts.fail_rate, counts.passes) {
        (Some(rate), Some(passes)) => format!(
            "{}, {} of {}",
            interval((rate, rate), Some(Kind::Rate), Unit::None, false),
            counts.fails,
            passes.saturating_add(counts.fails)
        ),
        _ => counts.fails.to_string(),
    }
}

pub(crate) fn value(row: &MetricCompared, value: Option<Interval>) -> String {
    let is_count = match row.kind {
        Kind::Counter | Kind::Trend => row.stat == "count",
        Kind::Rate => row.stat != "rate",
        // One moment's, never a second's.
        Kind::Gauge => false,
    };
    match value {
        Some(Interval { low, high }) => interval((low, high), Some(row.kind), row.unit, is_count),
        None => words::NOTHING.to_owned(),
    }
}

/// `▲ worse`, `= same`
fn in_words(verdict: Verdict, arrow: &str) -> String {
    let (sign, word) = match verdict {
        Verdict::Worse => (arrow, "worse"),
        Verdict::Better => (arrow, "better"),
        Verdict::Changed => (arrow, "changed"),
        Verdict::Same => ("=", "same"),
        Verdict::NotComparable => ("?", "not comparable"),
    };
    let sign = match (sign, verdict) {
        ("", Verdict::Worse) => "✗",
        ("", Verdict::Better) => "✓",
        ("", _) => "~",
        (sign, _) => sign,
    };
    format!("{sign} {word}")
}

const fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Worse => Style::Bad,
        Verdict::Better => Style::Good,
        Verdict::Changed => Style::Notable,
        Verdict::Same => Style::Dim,
        Verdict::NotComparable => Style::Plain,
    }
}

/// Which way the value went.
fn arrow(was: Option<Interval>, is: Option<Interval>) -> &'static str {
    match (was, is) {
        (Some(was), Some(is)) if is.low > was.high => "▲",
        (Some(was), Some(is)) if is.high < was.low => "▼",
        _ => "",
    }
}

/// `+7 to +55 %`; what shows no difference is no number to quote.
pub(crate) fn change(percent: Option<Interval>, verdict: Verdict) -> String {
    match (percent, verdict) {
        (Some(Interval { low, high }), _) if low == 0.0 && high == 0.0 => String::new(),
        (Some(Interval { low, high }), _) => {
            let (low, high) = (signed(low), signed(high));
            match low == high {
                true => format!("{low} %"),
                false => format!("{low} to {high} %"),
            }
        }
        (None, verdict) if verdict.is_change() => "from zero".to_owned(),
        (None, _) => String::new(),
    }
}

fn signed(percent: f64) -> String {
    let text = percent_number(percent.abs());
    match (text.as_str(), percent < 0.0) {
        ("0", _) => text,
        (_, true) => format!("−{text}"),
        (_, false) => format!("+{text}"),
    }
}

/// Two digits that count, and never fewer than are before the point.
fn percent_number(percent: f64) -> String {
    let decimals = match percent {
        p if p >= 10.0 => 0,
        p if p >= 1.0 => 1,
        _ => 2,
    };
    let text = format!("{percent:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

pub(crate) fn exact(number: Option<f64>) -> Option<Interval> {
    number.map(|number| Interval {
        low: number,
        high: number,
    })
}

/// Both values as bars from zero, the base's in the upper half of the line.
fn bar(was: Option<Interval>, is: Option<Interval>) -> String {
    let (Some(was), Some(is)) = (was, is) else {
        return String::new();
    };
    let most = was.high.max(is.high);
    if !most.is_finite() || most <= 0.0 || was.low < 0.0 || is.low < 0.0 {
        return String::new();
    }
    let length = |value: f64| match value > 0.0 {
        // What is there at all is seen.
        true => ((value / most * BAR as f64).round() as usize).clamp(1, BAR),
        false => 0,
    };
    let (upper, lower) = (length(was.high), length(is.high));
    (0..upper.max(lower))
        .map(|at| match (at < upper, at < lower) {
            (true, true) => '█',
            (true, false) => '▀',
            _ => '▄',
        })
        .collect()
}

// === For programs ===

const HEADER: [&str; 16] = [
    "step",
    "what",
    "name",
    "stat",
    "kind",
    "unit",
    "base",
    "base_low",
    "base_high",
    "other",
    "low",
    "high",
    "change_low_percent",
    "change_high_percent",
    "verdict",
    "reason",
];

/// A line for each thing in each of the others. A check's values are the part that failed, a threshold's the number of runners in
/// which it failed.
pub(crate) fn as_csv(comparison: &Comparison) -> String {
    let mut rows = Vec::new();
    for step in &comparison.steps {
        let mut add = |names: [&str; 5],
                       base,
                       at: usize,
                       other,
                       change,
                       verdict: Verdict,
                       why: &Option<String>| {
            let [what, name, stat, kind, unit] = names;
            let mut row: Vec<String> = [step.name.as_str(), what, name, stat, kind, unit]
                .map(harmless::escaped)
                .to_vec();
            row.push(comparison.base.id.to_string());
            row.extend(numbers(base));
            row.push(comparison.others[at].id.to_string());
            row.extend(numbers(other));
            row.extend(numbers(change));
            row.push(verdict.as_str().to_owned());
            row.push(harmless::escaped(why.as_deref().unwrap_or_default()));
            rows.push(row);
        };
        for row in &step.thresholds {
            let name = threshold_name(row);
            let failed = |judged: Option<Judged>| exact(judged.map(|judged| judged.failed as f64));
            for (at, other) in row.others.iter().enumerate() {
                let names = ["threshold", name.as_str(), "failed", "", ""];
                let (was, is) = (failed(row.base), failed(other.judged));
                add(names, was, at, is, None, other.verdict, &other.reason);
            }
        }
        for row in &step.checks {
            let name = row.path.as_deref().unwrap_or(&row.name);
            let rate =
                |counts: Option<CheckCounts>| exact(counts.and_then(|counts| counts.fail_rate));
            for (at, other) in row.others.iter().enumerate() {
                let names = ["check", name, "fail_rate", "", ""];
                let (was, is) = (rate(row.base), rate(other.counts));
                add(
                    names,
                    was,
                    at,
                    is,
                    other.change_percent,
                    other.verdict,
                    &other.reason,
                );
            }
        }
        for row in &step.metrics {
            let unit = match row.unit {
                Unit::Ms => "ms",
                Unit::Bytes => "bytes",
                Unit::None => "none",
            };
            for (at, other) in row.others.iter().enumerate() {
                let names = [
                    "metric",
                    row.metric.as_str(),
                    row.stat.as_str(),
                    row.kind.as_str(),
                    unit,
                ];
                let change = other.change_percent;
                add(
                    names,
                    row.base,
                    at,
                    other.value,
                    change,
                    other.verdict,
                    &other.reason,
                );
            }
        }
    }
    csv::lines(&HEADER, rows)
}

fn numbers(value: Option<Interval>) -> [String; 2] {
    match value {
        Some(Interval { low, high }) => [low.to_string(), high.to_string()],
        None => [String::new(), String::new()],
    }
}

/// The metrics, checks and thresholds that are worse, better or changed, a line each.
pub(crate) fn names(comparison: &Comparison) -> String {
    let only = comparison.only_changes();
    let mut names: Vec<String> = Vec::new();
    for step in &only.steps {
        names.extend(step.thresholds.iter().map(threshold_name));
        names.extend(step.checks.iter().map(check_name));
        names.extend(step.metrics.iter().map(|row| row.metric.clone()));
    }
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        let line = format!("{}\n", harmless::escaped(&name));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(low: f64, high: f64) -> Option<Interval> {
        Some(Interval { low, high })
    }

    #[test]
    fn changes_are_short() {
        for (low, high, expected) in [
            (7.14, 55.2, "+7.1 to +55 %"),
            (-50.0, -50.0, "−50 %"),
            (-27.14, 37.3, "−27 to +37 %"),
            (0.0, 0.0, ""),
            (0.001, 0.001, "0 %"),
            (0.05, 1234.0, "+0.05 to +1234 %"),
        ] {
            let verdict = Verdict::Changed;
            assert_eq!(
                change(between(low, high), verdict),
                expected,
                "{low} {high}"
            );
        }
        assert_eq!(change(None, Verdict::Worse), "from zero");
        assert_eq!(change(None, Verdict::Same), "");
    }

    #[test]
    fn bars_share_a_scale() {
        for (was, is, expected) in [
            (between(1.0, 10.0), between(5.0, 5.0), "█████▀▀▀▀▀"),
            (between(5.0, 5.0), between(10.0, 10.0), "█████▄▄▄▄▄"),
            (between(0.0, 0.0), between(0.001, 0.001), "▄▄▄▄▄▄▄▄▄▄"),
            (between(0.0, 0.0), between(0.0, 0.0), ""),
            (between(-1.0, 5.0), between(1.0, 1.0), ""),
            (None, between(1.0, 1.0), ""),
        ] {
            assert_eq!(bar(was, is), expected);
        }
    }

    #[test]
    fn words_and_signs_tell_without_colour() {
        for (verdict, arrow, expected) in [
            (Verdict::Worse, "▲", "▲ worse"),
            (Verdict::Better, "▼", "▼ better"),
            (Verdict::Worse, "", "✗ worse"),
            (Verdict::Better, "", "✓ better"),
            (Verdict::Same, "▲", "= same"),
        ] {
            assert_eq!(in_words(verdict, arrow), expected);
        }
    }
}
