//! The layout since k6 0.58.
//!
//! ```text
//!   █ THRESHOLDS
//!
//!     http_req_duration
//!     ✓ 'p(95)<500' p(95)=43.8ms
//!
//!
//!   █ TOTAL RESULTS
//!
//!     checks_total.......: 40     39.2/s
//!     checks_succeeded...: 75.00% 30 out of 40
//!     checks_failed......: 25.00% 10 out of 40
//!
//!     ✓ one is one
//!     ✗ half the time
//!       ↳  50% — ✓ 10 / ✗ 10
//!
//!     HTTP
//!     http_reqs...: 40 39.2/s
//!
//!
//! ```
//!
//! Two empty lines end a section: one that was cut short has none.

use memchr::memmem;

use super::super::document::{Check, Kind, Metric, Summary, Threshold, Unit};
use super::super::printed::{Printed, Times};
use super::super::reading::{Problem, Reading, malformed};
use super::line::{self, has_dots, is_blank, is_foreign};
use super::lines::{Lines, line_begin};
use super::metrics::{self, Raw};

const TOTAL: &str = "TOTAL RESULTS";
const THRESHOLDS: &str = "THRESHOLDS";

/// A title stands so deep, and what is below it.
const TITLE_INDENT: usize = 2;
const INDENT: usize = 4;
const SUB_INDENT: usize = 6;

/// More log lines than so are not within a section, but before it.
const LOG_LINES: usize = 1_000;

/// The last summary of this layout, and where its total ends; 0 if there is none.
pub(super) fn read(log: &[u8], whole: bool) -> (usize, Reading) {
    let Some((title, after)) = last_total(log) else {
        return (0, Reading::Absent);
    };
    let (end, total) = total(log, after);
    let thresholds = match thresholds(log, title, whole) {
        Above::Open if !whole => return (end, Reading::CutOff),
        // Results without the title: the log's beginning is gone.
        Above::Open => Err(Problem::Incomplete),
        Above::None => Ok(Vec::new()),
        Above::Found(thresholds) => thresholds,
    };
    let reading = match total.and_then(|total| summary(total, thresholds?)) {
        Ok(summary) => Reading::Summary(summary),
        Err(problem) => Reading::Broken(problem),
    };
    (end, reading)
}

/// Where the last title's line begins, and where the line after it does.
fn last_total(log: &[u8]) -> Option<(usize, usize)> {
    memmem::rfind_iter(log, TOTAL).find_map(|found| {
        let begin = line_begin(log, found);
        let (_, line) = Lines::new(log, begin, log.len()).next()?;
        (title_of(&line::plain(line)) == Some(TOTAL)).then_some((begin, begin + line.len() + 1))
    })
}

fn title_of(line: &str) -> Option<&str> {
    let (indent, content) = line::indent(line);
    let title = line::title(content).filter(|_| indent == TITLE_INDENT)?;
    Some(title.strip_suffix(' ').unwrap_or(title))
}

/// A check: its name, whether it never failed, and passes and fails where the text has them.
type Line = (String, bool, Option<(u64, u64)>);

#[derive(Default)]
struct Total {
    /// `checks_total`, `checks_succeeded` and `checks_failed`.
    of_checks: Vec<Raw>,
    /// In their order.
    checks: Vec<Line>,
    /// Something stands among the checks that is none: a name of several lines.
    odd: bool,
    metrics: Vec<Raw>,
}

fn total(log: &[u8], after: usize) -> (usize, Result<Total, Problem>) {
    let mut total = Total::default();
    let mut headers: Vec<String> = Vec::new();
    let mut blanks = 0;
    let mut rows = 0;
    let mut parent: Option<Raw> = None;
    for (begin, bytes) in Lines::new(log, after, log.len()) {
        let text = line::plain(bytes);
        if is_blank(&text) {
            blanks += 1;
            if blanks == 2 && rows > 0 {
                return (begin, Ok(total));
            }
            continue;
        }
        if is_foreign(&text) {
            continue;
        }
        let (indent, content) = line::indent(&text);
        let after_blank = blanks > 0;
        if indent == INDENT && after_blank && line::is_header(content) {
            if headers.iter().any(|header| header == content) {
                return (begin, malformed());
            }
            headers.push(content.to_owned());
            blanks = 0;
            continue;
        }
        blanks = 0;
        let row =
            line::row(content).filter(|row| indent == if row.is_sub { SUB_INDENT } else { INDENT });
        if headers.is_empty() {
            match row {
                Some(row) if row.name.starts_with("checks_") && total.checks.is_empty() => {
                    match metrics::raw(row, None) {
                        Ok(raw) => total.of_checks.extend(raw),
                        Err(problem) => return (begin, Err(problem)),
                    }
                }
                _ => total.check(indent, content),
            }
            continue;
        }
        match row {
            Some(row) => match metrics::raw(row, parent.as_ref().filter(|_| row.is_sub)) {
                Ok(Some(raw)) => {
                    if !row.is_sub {
                        parent = Some(raw.clone());
                    }
                    total.metrics.push(raw);
                    rows += 1;
                }
                Ok(None) if !row.is_sub => parent = None,
                Ok(None) => {}
                Err(problem) => return (begin, Err(problem)),
            },
            None if title_of(&text).is_some() => break,
            None if has_dots(content) => return (begin, malformed()),
            None => {}
        }
    }
    (log.len(), Err(Problem::Incomplete))
}

impl Total {
    fn check(&mut self, indent: usize, content: &str) {
        if let Some((good, name)) = line::mark(content).filter(|_| indent == INDENT) {
            self.checks.push((name.to_owned(), good, None));
        } else if let (Some(counts), Some((_, false, told @ None))) =
            (line::detail(content), self.checks.last_mut())
        {
            *told = Some(counts);
        } else {
            self.odd = true;
        }
    }

    /// The checks, where they add up to the total in the text.
    fn checks(&self, (passes, fails): (u64, u64)) -> Vec<Check> {
        let told = |part: fn((u64, u64)) -> u64| {
            let counts = self.checks.iter().filter_map(|(_, _, counts)| *counts);
            counts.map(part).try_fold(0_u64, u64::checked_add)
        };
        let untold: Vec<bool> = self
            .checks
            .iter()
            .filter(|(_, _, counts)| counts.is_none())
            .map(|(_, good, _)| *good)
            .collect();
        let (Some(told_passes), Some(told_fails)) =
            (told(|counts| counts.0), told(|counts| counts.1))
        else {
            return Vec::new();
        };
        if self.odd || told_fails != fails || told_passes > passes || untold.contains(&false) {
            return Vec::new();
        }
        // Only what has failed once is counted: of a single other check the rest is known.
        let rest = (untold.len() == 1).then(|| passes - told_passes);
        let checks = self.checks.iter().map(|(name, _, counts)| Check {
            path: None,
            name: name.clone(),
            passes: counts.map(|(passes, _)| passes).or(rest),
            fails: counts.map_or(0, |(_, fails)| fails),
        });
        checks.collect()
    }
}

/// A threshold's metric and expression, whether it held, and what was observed.
struct Judged {
    metric: String,
    expression: String,
    good: bool,
    observed: Option<Printed>,
}

enum Above {
    None,
    /// The log begins in it.
    Open,
    Found(Result<Vec<Judged>, Problem>),
}

/// The section above the total.
fn thresholds(log: &[u8], title: usize, whole: bool) -> Above {
    if title == 0 && !whole {
        return Above::Open;
    }
    let mut seen = false;
    let mut log_lines = 0;
    for (begin, bytes) in Lines::new(log, 0, title).rev() {
        // Half a line may be anything.
        if begin == 0 && !whole {
            return Above::Open;
        }
        let text = line::plain(bytes);
        if is_blank(&text) || is_foreign(&text) {
            log_lines += usize::from(!text.trim_ascii().is_empty() && !text.starts_with(' '));
            if log_lines > LOG_LINES {
                break;
            }
            continue;
        }
        if title_of(&text) == Some(THRESHOLDS) {
            let after = begin + bytes.len() + 1;
            return match seen {
                true => Above::Found(judged(log, after, title)),
                false => Above::None,
            };
        }
        let (indent, content) = line::indent(&text);
        let result = line::mark(content).and_then(|(_, rest)| line::judged(rest));
        // It ends with a result.
        if !(seen || result.is_some()) || indent < INDENT {
            break;
        }
        seen = true;
    }
    // Results without their title: it was before the log's beginning.
    match seen {
        true => Above::Open,
        false => Above::None,
    }
}

fn judged(log: &[u8], from: usize, to: usize) -> Result<Vec<Judged>, Problem> {
    let mut found: Vec<Judged> = Vec::new();
    let (mut parent, mut metric) = (None, None);
    for (_, bytes) in Lines::new(log, from, to) {
        let text = line::plain(bytes);
        if is_blank(&text) || is_foreign(&text) {
            continue;
        }
        let (_, content) = line::indent(&text);
        match (line::mark(content), &metric) {
            (Some((good, rest)), Some(metric)) => {
                let Some((expression, observed)) = line::judged(rest) else {
                    return malformed();
                };
                let metric = String::clone(metric);
                found.push(Judged {
                    metric,
                    expression: expression.to_owned(),
                    good,
                    observed: metrics::observed(observed),
                });
            }
            (Some(_), None) => return malformed(),
            // Below its parent, a submetric's tags stand alone.
            (None, _) if content.starts_with('{') => match &parent {
                Some(parent) => metric = Some(format!("{parent}{content}")),
                None => return malformed(),
            },
            (None, _) => {
                let name = content.split('{').next().unwrap_or(content);
                if !line::is_name(name) {
                    return malformed();
                }
                parent = Some(name.to_owned());
                metric = Some(content.to_owned());
            }
        }
    }
    Ok(found)
}

fn summary(total: Total, thresholds: Vec<Judged>) -> Result<Summary, Problem> {
    let observed = thresholds.iter().filter_map(|judged| judged.observed);
    let printed = total.metrics.iter().flat_map(Raw::printed).chain(observed);
    let times = Times::of(printed);
    let mut summary = metrics::summary(&total.metrics, times)?;
    let succeeded = total
        .of_checks
        .iter()
        .find(|raw| raw.name == "checks_succeeded");
    if let Some((passes, fails)) = succeeded.and_then(Raw::counts) {
        summary.checks = total.checks((passes, fails));
        summary.metrics.push(Metric {
            name: "checks".to_owned(),
            kind: Kind::Rate,
            unit: Unit::None,
            stats: metrics::rate_stats(passes, fails),
        });
    }
    for judged in thresholds {
        let metric = (summary.metrics.iter()).find(|metric| metric.name == judged.metric);
        let told = metric.and_then(|metric| metric.observed(&judged.expression));
        let printed = judged.observed.filter(|_| {
            // A rate's percentage, and a counter's rate, are no values of their own.
            metric.is_none_or(|metric| metric.kind == Kind::Trend)
        });
        summary.thresholds.push(Threshold {
            observed: told.or_else(|| printed?.value(times)),
            metric: judged.metric,
            expression: judged.expression,
            failed: !judged.good,
        });
    }
    summary.sorted().ok_or(Problem::Malformed)
}
