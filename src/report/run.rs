//! One run, for a person: verdict and reason first, then what it consists of, and last what to do next.

use unicode_width::UnicodeWidthStr;

use super::table::{Cell, column, table, wrapped};
use super::view::{Style, View};
use super::words::{self, NOTHING};
use crate::harmless;
use crate::k6::message;
use crate::k6::summary::{Kind, Unit};
use crate::record::{CheckResult, Container, Metric, Run, Step, Threshold, has_failed};
use crate::store::{Interval, Role, Status, StreamState};

/// Rows of a kind that are shown without `wide`.
const MOST: usize = 20;

/// The run. `wide`: every container, check and metric.
pub(crate) fn run(run: &Run, wide: bool, view: &View) -> String {
    let mut text = head(run, view);
    for step in &run.steps {
        text.push('\n');
        text.push_str(&step_head(run, step, view));
        text.push_str(&containers(step, wide, view));
        text.push_str(&thresholds(&step.measured.thresholds, view));
        text.push_str(&checks(&step.measured.checks, wide, view));
        text.push_str(&metrics(step, wide, view));
    }
    text.push('\n');
    text.push_str(&view.paint(Style::Dim, &format!("next: {} {}", view.program, next(run))));
    text.push('\n');
    text
}

/// What became of it, and why.
fn head(run: &Run, view: &View) -> String {
    let row = &run.row;
    let mut facts = vec![format!("run {}", row.id)];
    facts.extend(row.namespace.as_ref().map(harmless::line));
    facts.extend(
        row.external_id
            .as_ref()
            .map(|id| format!("external id {}", harmless::line(id))),
    );
    let mut text = titled(row.status, &row.name, &facts, view);
    if let Some(because) = because(run.reason.as_deref(), run.message.as_deref()) {
        text.push_str(&wrapped(&because, 0, view));
    }
    text.push_str(&wrapped(&times(run, view), 0, view));
    if let Some(doubt) = doubt(run) {
        text.push_str(&view.paint(Style::Notable, wrapped(&doubt, 0, view).trim_end()));
        text.push('\n');
    }
    text
}

/// `✗ failed  nightly  (run 7, k6-runs)`; what is in brackets has lines of its own where it does not fit.
fn titled(status: Status, title: &str, facts: &[String], view: &View) -> String {
    let (status_words, title) = (words::status(status), harmless::line(title));
    let facts = format!("({})", facts.join(", "));
    let line = [status_words.as_str(), &title, &facts].join("  ");
    let fits = view.width.is_none_or(|width| line.width() <= width);
    let status = view.paint(words::style(status), &status_words);
    let title = view.paint(Style::Bold, &title);
    match fits {
        true => format!("{status}  {title}  {}\n", view.paint(Style::Dim, &facts)),
        false => format!("{status}  {title}\n{}", wrapped(&facts, 2, view)),
    }
}

/// `ThresholdsHaveFailed: http_req_duration p(95)<500: …`
fn because(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    match (reason, message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (Some(text), None) | (None, Some(text)) => Some(text.to_owned()),
        (None, None) => None,
    }
}

fn times(run: &Run, view: &View) -> String {
    let row = &run.row;
    match (row.started_at, row.finished_at) {
        (Some(started), Some(_)) => format!(
            "started {}, took {}",
            words::moment(started),
            row.duration_seconds
                .map_or(NOTHING.to_owned(), words::duration)
        ),
        (Some(started), None) => format!(
            "started {}, {} ago",
            words::moment(started),
            words::duration(view.now.duration_since(started).as_secs_f64())
        ),
        (None, _) => match row.created_at {
            Some(created) => format!("created {}, no runner has started", words::moment(created)),
            None => "no runner has started".to_owned(),
        },
    }
}

/// What a reader must know before believing the rest.
fn doubt(run: &Run) -> Option<String> {
    let mut doubts = Vec::new();
    if run.gaps > 0 {
        doubts.push(format!(
            "lines may be missing in {} of the logs (GAPS below, and in place in `k6sync logs`)",
            words::things(run.gaps, "place", "places")
        ));
    }
    if run.outcome.ended && !run.complete {
        doubts.push("not all logs are recorded to their end yet".to_owned());
    }
    let (reported, runners) = (run.row.runners_reported, run.row.runners);
    if run.outcome.ended && reported > 0 && reported < runners {
        doubts.push(format!(
            "{} of {} runners reported: the others are in no number below",
            words::count(reported),
            words::count(runners)
        ));
    }
    (!doubts.is_empty()).then(|| doubts.join("; "))
}

fn step_head(run: &Run, step: &Step, view: &View) -> String {
    let row = &step.row;
    let runners = row
        .parallelism
        .map(|count| words::things(count, "runner", "runners"));
    let took = row
        .started_at
        .zip(row.finished_at)
        .map(|(start, end)| words::duration(end.duration_since(start).as_secs_f64()));
    let facts: Vec<String> = [
        Some(format!("TestRun {}", harmless::line(&row.k6_test_name))),
        row.namespace.as_ref().map(harmless::line),
        runners,
        took,
    ]
    .into_iter()
    .flatten()
    .collect();
    let title = format!("step {}: {}", row.position, row.name);
    let mut text = titled(row.status, &title, &facts, view);
    // The reason of the only step is the run's, which stands above.
    let is_said = run.steps.len() == 1;
    if !is_said && let Some(because) = because(row.reason.as_deref(), row.message.as_deref()) {
        text.push_str(&wrapped(&because, 2, view));
    }
    text
}

fn more(count: usize, what: &str, view: &View) -> String {
    let text = format!(
        "  and {} (-o wide shows all)",
        words::count(as_i64(count)) + " " + what
    );
    format!("{}\n", view.paint(Style::Dim, &text))
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Those that failed first, where not all are shown.
fn containers(step: &Step, wide: bool, view: &View) -> String {
    if step.containers.is_empty() {
        return String::new();
    }
    let mut shown: Vec<&Container> = step.containers.iter().collect();
    let left_out = match wide {
        true => 0,
        false => shown.len().saturating_sub(MOST),
    };
    if left_out > 0 {
        shown.sort_by_key(|container| (!has_failed(container), container.row.gaps == 0));
        shown.truncate(MOST);
    }
    let columns = [
        column("CONTAINER").at_least(12),
        column("STATE"),
        column("EXIT").right(),
        column("REASON").at_least(12).expendable(1),
        column("LINES").right(),
        column("GAPS").right(),
        column("LOG").expendable(2),
    ];
    let rows: Vec<Vec<Cell>> = shown
        .into_iter()
        .map(|container| container_row(container, wide))
        .collect();
    let mut text = String::from("\n");
    text.push_str(&table(&columns, &rows, 2, view));
    if left_out > 0 {
        text.push_str(&more(left_out, "more containers", view));
    }
    text
}

fn container_row(container: &Container, wide: bool) -> Vec<Cell> {
    let row = &container.row;
    let exit = match row.exit_code {
        Some(0) => "0".into(),
        Some(code) => Cell::styled(code.to_string(), Style::Bad),
        None if row.state == StreamState::Terminated => Cell::styled("?", Style::Notable),
        None => NOTHING.into(),
    };
    let gaps = match row.gaps {
        0 => "0".into(),
        gaps => Cell::styled(words::count(gaps), Style::Notable),
    };
    let log = match (row.pruned, row.complete) {
        (true, _) => "pruned",
        (false, true) => "complete",
        (false, false) => "not complete",
    };
    vec![
        container_name(container, wide).into(),
        row.state.as_str().into(),
        exit,
        row.reason.as_deref().unwrap_or(NOTHING).into(),
        words::count(row.lines).into(),
        gaps,
        log.into(),
    ]
}

/// `runner 3`, `initializer`, `starter`, and of others pod and container.
pub(crate) fn container_name(container: &Container, wide: bool) -> String {
    let row = &container.row;
    let life = match row.restart_count {
        0 => String::new(),
        count => format!(", restart {count}"),
    };
    let short = match (row.role, container.runner) {
        (Role::Runner, Some(number)) => Some(format!("runner {number}")),
        (Role::Initializer | Role::Starter, _) => Some(row.role.to_string()),
        _ => None,
    };
    match short {
        Some(short) if !wide => format!("{short}{life}"),
        Some(short) => format!("{short} {}/{}{life}", row.pod_name, row.container),
        None => format!("{}/{}{life}", row.pod_name, row.container),
    }
}

fn thresholds(all: &[Threshold], view: &View) -> String {
    if all.is_empty() {
        return String::new();
    }
    let columns = [
        column("THRESHOLD").at_least(12),
        column(""),
        column("OBSERVED").right(),
        column("RUNNERS"),
    ];
    let rows: Vec<Vec<Cell>> = all.iter().map(threshold_row).collect();
    format!("\n{}", table(&columns, &rows, 2, view))
}

fn threshold_row(threshold: &Threshold) -> Vec<Cell> {
    let name = match &threshold.expression {
        Some(expression) => format!("{} {expression}", threshold.metric),
        None => threshold.metric.clone(),
    };
    let (judged, style) = match threshold.failed {
        0 => ("✓ held", Style::Good),
        _ => ("✗ failed", Style::Bad),
    };
    let observed = observed(threshold);
    let on = match threshold.failed {
        0 => format!("on all {}", threshold.runners),
        failed => format!("on {failed} of {}", threshold.runners),
    };
    vec![
        name.into(),
        Cell::styled(judged, style),
        observed.as_deref().unwrap_or(NOTHING).into(),
        on.into(),
    ]
}

/// What the runners measured in which it failed.
pub(crate) fn observed(threshold: &Threshold) -> Option<String> {
    let Interval { low, high } = threshold.observed?;
    let expression = threshold.expression.as_deref().unwrap_or_default();
    let is_count = expression.trim_start().starts_with("count");
    Some(message::interval(
        (low, high),
        threshold.kind,
        threshold.unit,
        is_count,
    ))
}

fn checks(all: &[CheckResult], wide: bool, view: &View) -> String {
    if all.is_empty() {
        return String::new();
    }
    let shown = if wide { all.len() } else { MOST.min(all.len()) };
    let columns = [
        column("CHECK").at_least(12),
        column(""),
        column("PASSED").right(),
        column("FAILED").right(),
    ];
    let rows: Vec<Vec<Cell>> = all[..shown]
        .iter()
        .map(|check| {
            let (judged, style) = match check.fails {
                0 => ("✓", Style::Good),
                _ => ("✗", Style::Bad),
            };
            let passes = check.passes.map(|passes| passes.to_string());
            vec![
                check_name(check).into(),
                Cell::styled(judged, style),
                passes.as_deref().unwrap_or(NOTHING).into(),
                check.fails.to_string().into(),
            ]
        })
        .collect();
    let mut text = format!("\n{}", table(&columns, &rows, 2, view));
    if shown < all.len() {
        text.push_str(&more(all.len() - shown, "more checks", view));
    }
    text
}

/// `cart › pay › paid`
pub(crate) fn check_name(check: &CheckResult) -> String {
    match &check.path {
        Some(path) => path.trim_start_matches("::").replace("::", " › "),
        None => check.name.clone(),
    }
}

/// What people look at first.
const FIRST: [&str; 6] = [
    "http_req_duration",
    "http_req_failed",
    "http_reqs",
    "iteration_duration",
    "iterations",
    "checks",
];

/// The stats that a table has room for, in their order; the first that a metric has of each group.
const STATS: [&[&str]; 5] = [
    &["avg", "count", "rate", "value"],
    &["min"],
    &["med"],
    &["p(95)", "p(90)"],
    &["max"],
];

fn metrics(step: &Step, wide: bool, view: &View) -> String {
    let all = &step.measured.metrics;
    if all.is_empty() {
        return String::new();
    }
    let reported = u64::try_from(step.row.runners_reported).unwrap_or(0);
    let is_first = |metric: &&Metric| FIRST.iter().position(|first| *first == metric.metric);
    let mut shown: Vec<&Metric> = all
        .iter()
        .filter(|metric| wide || is_first(metric).is_some())
        .collect();
    // A script without HTTP has others to look at.
    if shown.len() < 3 {
        shown = all.iter().take(MOST).collect();
    }
    shown.sort_by_key(|metric| is_first(metric).unwrap_or(FIRST.len()));
    let left_out = all.len() - shown.len();
    let trends: Vec<&Metric> = of_kind(&shown, |kind| kind == Kind::Trend);
    let others: Vec<&Metric> = of_kind(&shown, |kind| kind != Kind::Trend);
    let mut text = String::new();
    if !trends.is_empty() {
        let columns = [
            column("METRIC").at_least(20),
            column("AVG").right(),
            column("MIN").right().expendable(2),
            column("MED").right().expendable(1),
            column("P95").right(),
            column("MAX").right().expendable(3),
        ];
        let rows: Vec<Vec<Cell>> = trends
            .iter()
            .map(|metric| {
                let mut row: Vec<Cell> = vec![name_of(metric, reported).into()];
                row.extend(STATS.iter().map(|stats| stat_cell(metric, stats)));
                row
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&columns, &rows, 2, view));
    }
    if !others.is_empty() {
        let columns = [
            column("METRIC").at_least(20),
            column("TOTAL").right(),
            column("RATE").right(),
        ];
        let rows: Vec<Vec<Cell>> = others
            .iter()
            .map(|metric| {
                vec![
                    name_of(metric, reported).into(),
                    stat_cell(metric, &["count", "value", "passes"]),
                    stat_cell(metric, &["rate"]),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&columns, &rows, 2, view));
    }
    if left_out > 0 {
        text.push_str(&more(left_out, "more metrics", view));
    }
    text
}

fn of_kind<'a>(metrics: &[&'a Metric], is_it: impl Fn(Kind) -> bool) -> Vec<&'a Metric> {
    metrics
        .iter()
        .copied()
        .filter(|metric| is_it(metric.kind))
        .collect()
}

/// With how many runners have it, where not all do.
fn name_of(metric: &Metric, reported: u64) -> String {
    match metric.runners < reported {
        true => format!("{} (on {} of {reported})", metric.metric, metric.runners),
        false => metric.metric.clone(),
    }
}

fn stat_cell(metric: &Metric, stats: &[&str]) -> Cell {
    let found = stats
        .iter()
        .find_map(|stat| Some((*stat, metric.stats.get(*stat)?)));
    match found {
        Some((stat, value)) => stat_in_words(metric.kind, metric.unit, stat, *value).into(),
        None => NOTHING.into(),
    }
}

/// A stat with its unit.
pub(crate) fn stat_in_words(kind: Kind, unit: Unit, stat: &str, value: Interval) -> String {
    let is_count = matches!(stat, "count" | "passes" | "fails");
    match (is_count, kind, unit) {
        (true, Kind::Counter, Unit::Ms | Unit::Bytes) => {
            message::interval((value.low, value.high), None, unit, true)
        }
        (true, ..) if value.low == value.high => words::count_of(value.low),
        _ => message::interval((value.low, value.high), Some(kind), unit, is_count),
    }
}

/// The command that a person wants now.
fn next(run: &Run) -> String {
    let id = run.row.id;
    match run.row.status {
        status if !status.is_final() => format!("logs {id} -f"),
        Status::Passed => format!("report {id} --html run-{id}.html"),
        _ if run.containers().any(|(_, container)| has_failed(container)) => {
            format!("logs {id} --failed")
        }
        _ => format!("logs {id}"),
    }
}

/// What runs that were waited for came to: a line each, with the reason, and for those that did not pass what to do next.
pub(crate) fn verdicts(runs: &[Run], view: &View) -> String {
    let mut text = String::new();
    for run in runs {
        text.push_str(&head(run, view));
        if run.row.status != Status::Passed {
            text.push_str(
                &view.paint(Style::Dim, &format!("next: {} {}", view.program, next(run))),
            );
            text.push('\n');
        }
    }
    text
}
