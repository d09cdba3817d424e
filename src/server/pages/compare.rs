//! Two to five runs beside one another, as `k6sync compare` holds them against a base.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::answer::html;
use super::frame::Frame;
use super::problem::Problem;
use super::query::Query;
use super::run::seen;
use super::state::Pages;
use super::visitor::Visitor;
use crate::record::compare::{Compared, Comparison, StepCompared, Verdict, compare};
use crate::report::compare as words_of;
use crate::report::html::{Badge, Time};
use crate::report::{values, verdict, words};
use crate::store::Interval;

/// Runs of a comparison, with the base.
const MOST_RUNS: usize = 5;
/// Rows of a step's table.
const MOST_ROWS: usize = 500;
/// How wide a bar may be.
const BAR: f64 = 100.0;

#[derive(Template)]
#[template(path = "compare.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    /// What to do where there are too few.
    todo: Option<&'static str>,
    runs: Vec<RunHead>,
    notes: Vec<String>,
    steps: Vec<StepTables>,
    tolerance: String,
    is_changed_only: bool,
    /// The same page with all rows, or with those alone that changed.
    other_rows: String,
}

struct RunHead {
    id: String,
    href: String,
    badge: Badge,
    name: String,
    started: Option<Time>,
    took: String,
    /// `3 worse, 1 better`; empty: it is the base.
    tally: String,
    is_base: bool,
    /// The same comparison with it as the base.
    as_base: String,
}

struct StepTables {
    name: String,
    notes: Vec<String>,
    tables: Vec<Table>,
}

struct Table {
    name: &'static str,
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    name: String,
    stat: String,
    cells: Vec<Cell>,
}

struct Cell {
    value: String,
    /// `+7 to +55 %`
    change: String,
    /// Nothing, of the base.
    verdict: Option<Badge>,
    reason: Option<String>,
    bar: Option<Bar>,
}

/// From where to where on a scale that all cells of a row share, per cent of its width.
struct Bar {
    x: String,
    width: String,
    class: &'static str,
}

/// `GET /compare?base=7&other=8`, or `?run=7&run=8`: the oldest of them is the base.
pub(super) async fn page(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let mut ids: Vec<&str> = query
        .all("base")
        .take(1)
        .chain(query.all("other"))
        .collect();
    if ids.is_empty() {
        ids = query.all("run").collect();
        ids.sort_by_key(|id| id.parse::<i64>().ok());
        ids.dedup();
    }
    if ids.len() > MOST_RUNS {
        return Err(Problem::wrong("At most five runs can be compared."));
    }
    let tolerance = tolerance(&query)?;
    let mut runs = Vec::new();
    for id in &ids {
        runs.push(seen(record, &visitor, id).await?);
    }
    let mut page = Page {
        frame: Frame::of("Compare runs", "runs", &visitor)
            .over(record)
            .await?,
        todo: None,
        runs: Vec::new(),
        notes: Vec::new(),
        steps: Vec::new(),
        tolerance: query.get("tolerance").unwrap_or("0").to_owned(),
        is_changed_only: query.get("changed").is_some(),
        other_rows: match query.get("changed") {
            Some(_) => query.with(&[("changed", None)]),
            None => query.with(&[("changed", Some("1"))]),
        },
    };
    let Some((base, others)) = runs.split_first().filter(|(_, others)| !others.is_empty()) else {
        page.todo = Some("Choose two to five runs in the list by the boxes before them.");
        return html(&page);
    };
    let all = compare(base, others, tolerance);
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    page.runs = std::iter::once(&all.base)
        .chain(&all.others)
        .enumerate()
        .map(|(at, run)| RunHead::of(run, at, &names, &query))
        .collect();
    page.notes.clone_from(&all.notes);
    let shown = match page.is_changed_only {
        true => all.only_changes(),
        false => all,
    };
    page.steps = shown
        .steps
        .iter()
        .map(|step| StepTables::of(step, &shown))
        .collect();
    html(&page)
}

fn tolerance(query: &Query) -> Result<f64, Problem> {
    let text = query.get("tolerance").unwrap_or("0");
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=1_000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(Problem::wrong("The tolerance is from 0 to 1000 percent.")),
    }
}

impl RunHead {
    fn of(run: &Compared, at: usize, ids: &[String], query: &Query) -> Self {
        let tally = run.tally;
        let counts = [
            (tally.worse, "worse"),
            (tally.better, "better"),
            (tally.changed, "changed"),
            (tally.same, "same"),
            (tally.not_comparable, "not comparable"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let mut as_base = query.with(&[("base", Some(&ids[at])), ("other", None), ("run", None)]);
        for (other, id) in ids.iter().enumerate() {
            if other != at {
                as_base.push_str("&other=");
                as_base.extend(url::form_urlencoded::byte_serialize(id.as_bytes()));
            }
        }
        Self {
            id: run.id.to_string(),
            href: format!("/runs/{}", run.id),
            badge: Badge::of(verdict::tone(run.status), run.status.as_str()),
            name: values::name(&run.name),
            started: run.started_at.map(Time::of),
            took: run
                .duration_seconds
                .map(words::duration)
                .unwrap_or_default(),
            tally: counts.join(", "),
            is_base: at == 0,
            as_base,
        }
    }
}

impl StepTables {
    fn of(step: &StepCompared, comparison: &Comparison) -> Self {
        let mut notes = Vec::new();
        for (other, run) in step.others.iter().zip(&comparison.others) {
            for note in [&other.reason, &other.note].into_iter().flatten() {
                notes.push(format!("Run {}: {}", run.id, values::message(note)));
            }
        }
        let thresholds = step.thresholds.iter().map(|row| {
            let others = row.others.iter().enumerate().map(|(at, other)| Cell {
                value: words_of::judged(other.judged),
                change: String::new(),
                verdict: Some(badge(other.verdict)),
                reason: reason(step, at, other.reason.as_deref()),
                bar: None,
            });
            Row {
                name: values::name(&words_of::threshold_name(row)),
                stat: String::new(),
                cells: with_base(words_of::judged(row.base), others),
            }
        });
        let checks = step.checks.iter().map(|row| {
            let rate = |counts: Option<crate::record::compare::CheckCounts>| {
                words_of::exact(counts.and_then(|counts| counts.fail_rate))
            };
            let others = row.others.iter().enumerate().map(|(at, other)| Cell {
                value: words_of::counts(other.counts),
                change: words_of::change(other.change_percent, other.verdict),
                verdict: Some(badge(other.verdict)),
                reason: reason(step, at, other.reason.as_deref()),
                bar: None,
            });
            let mut cells = with_base(words_of::counts(row.base), others);
            let rates = row.others.iter().map(|other| rate(other.counts));
            bars(&mut cells, std::iter::once(rate(row.base)).chain(rates));
            Row {
                name: values::name(&words_of::check_name(row)),
                stat: String::new(),
                cells,
            }
        });
        let metrics = step.metrics.iter().map(|row| {
            let others = row.others.iter().enumerate().map(|(at, other)| Cell {
                value: words_of::value(row, other.value),
                change: words_of::change(other.change_percent, other.verdict),
                verdict: Some(badge(other.verdict)),
                reason: reason(step, at, other.reason.as_deref()),
                bar: None,
            });
            let mut cells = with_base(words_of::value(row, row.base), others);
            let values_of = row.others.iter().map(|other| other.value);
            bars(&mut cells, std::iter::once(row.base).chain(values_of));
            Row {
                name: values::name(&row.metric),
                stat: values::name(&row.stat),
                cells,
            }
        });
        let tables = [
            table("Thresholds", thresholds.collect()),
            table("Checks that failed", checks.collect()),
            table("Metrics", metrics.collect()),
        ];
        Self {
            name: values::name(&step.name),
            notes,
            tables: tables
                .into_iter()
                .filter(|table| !table.rows.is_empty())
                .collect(),
        }
    }
}

/// Why it is not comparable, unless that is said of the whole step.
fn reason(step: &StepCompared, at: usize, reason: Option<&str>) -> Option<String> {
    let of_step = step
        .others
        .get(at)
        .and_then(|other| other.reason.as_deref());
    reason
        .filter(|reason| Some(*reason) != of_step)
        .map(values::message)
}

fn table(name: &'static str, mut rows: Vec<Row>) -> Table {
    let more = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    Table { name, rows, more }
}

fn with_base(value: String, others: impl Iterator<Item = Cell>) -> Vec<Cell> {
    let base = Cell {
        value,
        change: String::new(),
        verdict: None,
        reason: None,
        bar: None,
    };
    std::iter::once(base).chain(others).collect()
}

fn badge(verdict: Verdict) -> Badge {
    let (class, symbol, word) = match verdict {
        Verdict::Worse => ("bad", "✗", "worse"),
        Verdict::Better => ("good", "✓", "better"),
        Verdict::Changed => ("open", "~", "changed"),
        Verdict::Same => ("unknown", "=", "same"),
        Verdict::NotComparable => ("unknown", "?", "not comparable"),
    };
    Badge {
        class,
        symbol,
        word: word.to_owned(),
    }
}

/// On one scale, from zero to the greatest of them.
fn bars(cells: &mut [Cell], values: impl Iterator<Item = Option<Interval>>) {
    let values: Vec<Option<Interval>> = values.collect();
    let is_sound = |value: &Interval| value.low >= 0.0 && value.high.is_finite();
    let most = values
        .iter()
        .flatten()
        .filter(|value| is_sound(value))
        .map(|value| value.high)
        .fold(0.0, f64::max);
    for (cell, value) in cells.iter_mut().zip(values) {
        let Some(value) = value.filter(is_sound).filter(|_| most > 0.0) else {
            continue;
        };
        let (low, high) = (value.low / most * BAR, value.high / most * BAR);
        // From zero where it is exact; an interval is a piece of the scale.
        let (x, width) = match value.low == value.high {
            true => (0.0, high),
            false => (low, high - low),
        };
        cell.bar = Some(Bar {
            x: format!("{x:.1}"),
            width: format!("{:.1}", width.max(1.0)),
            class: cell
                .verdict
                .as_ref()
                .map_or("base", |verdict| verdict.class),
        });
    }
}
