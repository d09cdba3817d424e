//! The list of runs.

use super::csv;
use super::table::{Cell, Column, column, table};
use super::view::{Style, View};
use super::words::{self, NOTHING};
use crate::k6::message;
use crate::k6::summary::{Kind, Unit};
use crate::record::RunRow;
use crate::store::{Interval, Status};

/// As many columns as there is room for, or with `wide` all.
pub(crate) fn runs(rows: &[RunRow], wide: bool, view: &View) -> String {
    let view = View {
        width: view.width.filter(|_| !wide),
        ..*view
    };
    let (columns, cells): (Vec<Column>, Vec<CellOf>) = columns()
        .into_iter()
        .filter(|(_, only_wide, _)| wide || !only_wide)
        .map(|(column, _, cell)| (column, cell))
        .unzip();
    let rows: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| cells.iter().map(|cell| cell(row, &view)).collect())
        .collect();
    table(&columns, &rows, 0, &view)
}

type CellOf = fn(&RunRow, &View) -> Cell;

/// Column, whether it is only in `wide`, and what stands in it.
fn columns() -> Vec<(Column, bool, CellOf)> {
    vec![
        (column("STATUS"), false, |row, _| status_cell(row.status)),
        (column("ID").right(), false, |row, _| {
            row.id.to_string().into()
        }),
        (column("NAME").at_least(16), false, |row, _| {
            (&row.name).into()
        }),
        (column("EXTERNAL ID"), true, |row, _| {
            row.external_id.as_deref().unwrap_or(NOTHING).into()
        }),
        (
            column("NAMESPACE").at_least(12).expendable(9),
            false,
            |row, _| row.namespace.as_deref().unwrap_or(NOTHING).into(),
        ),
        (column("STARTED (UTC)").expendable(3), false, |row, view| {
            let started = row.started_at.map(|time| words::when(time, view.now));
            started.as_deref().unwrap_or(NOTHING).into()
        }),
        (
            column("DURATION").right().expendable(6),
            false,
            |row, view| duration(row, view).into(),
        ),
        (column("STEPS").right(), true, |row, _| {
            words::count(row.steps).into()
        }),
        (column("RUNNERS").right().expendable(8), false, |row, _| {
            runners(row)
        }),
        (column("THRESHOLDS").expendable(5), false, |row, _| {
            thresholds(row)
        }),
        (column("CHECKS"), true, |row, _| checks(row)),
        (column("REQUESTS").right(), true, |row, _| {
            let requests = row.requests.map(words::count_of);
            requests.as_deref().unwrap_or(NOTHING).into()
        }),
        (column("ERRORS").right().expendable(7), false, |row, _| {
            let rate = row.error_rate.map(words::percent);
            rate.as_deref().unwrap_or(NOTHING).into()
        }),
        (column("P95").right().expendable(4), false, |row, _| {
            row.p95
                .map(milliseconds)
                .as_deref()
                .unwrap_or(NOTHING)
                .into()
        }),
    ]
}

/// Symbol and word, in colour.
pub(super) fn status_cell(status: Status) -> Cell {
    Cell::styled(words::status(status), words::style(status))
}

/// How long it took, or has taken so far.
fn duration(row: &RunRow, view: &View) -> String {
    let so_far = || {
        let started = row.started_at.filter(|_| !row.status.is_final())?;
        Some(view.now.duration_since(started).as_secs_f64())
    };
    match row.duration_seconds.or_else(so_far) {
        Some(seconds) => words::duration(seconds),
        None => NOTHING.to_owned(),
    }
}

/// `3`, or `2 of 3` where not all of a run that has ended reported.
fn runners(row: &RunRow) -> Cell {
    let all = words::count(row.runners);
    match row.status.is_final() && row.runners_reported > 0 && row.runners_reported < row.runners {
        true => Cell::styled(
            format!("{} of {all}", words::count(row.runners_reported)),
            Style::Notable,
        ),
        false => all.into(),
    }
}

fn thresholds(row: &RunRow) -> Cell {
    match (row.thresholds, row.thresholds_failed) {
        (0, _) => NOTHING.into(),
        (all, 0) => format!("{} held", words::count(all)).into(),
        (all, failed) => Cell::styled(
            format!("{} of {} failed", words::count(failed), words::count(all)),
            Style::Bad,
        ),
    }
}

fn checks(row: &RunRow) -> Cell {
    match (row.checks, row.checks_failed) {
        (Some(all), Some(failed)) if failed > 0.0 => Cell::styled(
            format!(
                "{} of {} failed",
                words::count_of(failed),
                words::count_of(all)
            ),
            Style::Bad,
        ),
        (Some(all), _) => format!("{} passed", words::count_of(all)).into(),
        (None, _) => NOTHING.into(),
    }
}

fn milliseconds(value: Interval) -> String {
    message::interval((value.low, value.high), Some(Kind::Trend), Unit::Ms, false)
}

/// A line a run with all that is known, for programs: times as RFC 3339, numbers as they are, and nothing where there is none.
pub(crate) fn as_csv(rows: &[RunRow]) -> String {
    let header = [
        "id",
        "external_id",
        "name",
        "namespace",
        "status",
        "created_at",
        "started_at",
        "finished_at",
        "duration_seconds",
        "steps",
        "runners",
        "runners_reported",
        "thresholds",
        "thresholds_failed",
        "checks",
        "checks_failed",
        "requests",
        "error_rate_low",
        "error_rate_high",
        "p95_low",
        "p95_high",
    ];
    let lines = rows.iter().map(|row| {
        vec![
            row.id.to_string(),
            row.external_id.clone().unwrap_or_default(),
            row.name.clone(),
            row.namespace.clone().unwrap_or_default(),
            row.status.to_string(),
            text(row.created_at),
            text(row.started_at),
            text(row.finished_at),
            text(row.duration_seconds),
            row.steps.to_string(),
            row.runners.to_string(),
            row.runners_reported.to_string(),
            row.thresholds.to_string(),
            row.thresholds_failed.to_string(),
            text(row.checks),
            text(row.checks_failed),
            text(row.requests),
            text(row.error_rate.map(|rate| rate.low)),
            text(row.error_rate.map(|rate| rate.high)),
            text(row.p95.map(|p95| p95.low)),
            text(row.p95.map(|p95| p95.high)),
        ]
    });
    csv::lines(&header, lines)
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
