//! Metric lines of either layout → metrics.

use std::collections::BTreeMap;

use super::super::document::Source;
use super::super::document::{Kind, Metric, Summary, Unit, Value, is_trend_stat};
use super::super::printed::{self, Printed, Times};
use super::super::reading::{Problem, malformed};
use super::line::{self, Row};

/// A line's name in full and its values as printed.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) name: String,
    kind: Kind,
    stats: Vec<(String, Printed)>,
    /// Of a rate.
    counts: Option<(u64, u64)>,
    columns: Columns,
    /// Characters of the values, with the spaces after them.
    width: usize,
}

/// Lines whose values are padded to the same columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    /// These have an end of their own: `/s`, or a count that the percentage agrees with.
    None,
    /// A gauge's minimum and maximum, and in the older layout a rate's counts.
    Two,
    Trend,
}

/// Metrics whose values are whole, always: one of another's may be a sum of parts that prints like one.
const WHOLE: [&str; 8] = [
    "http_reqs",
    "iterations",
    "dropped_iterations",
    "vus",
    "vus_max",
    "checks_total",
    "ws_msgs_sent",
    "ws_msgs_received",
];

/// What a line says. `Ok(None)`: `[no data]`, or a submetric whose parent is not there.
pub(super) fn raw(row: Row<'_>, parent: Option<&Raw>) -> Result<Option<Raw>, Problem> {
    if row.values.trim_ascii_end() == "[no data]" {
        return Ok(None);
    }
    let Some((kind, stats, counts)) = values(row.values) else {
        return malformed();
    };
    let name = match (row.is_sub, parent) {
        (false, _) => row.name.to_owned(),
        // Before 0.38 the parent of a submetric without samples is not printed: what stands above is another metric.
        (true, Some(parent)) if parent.kind == kind => format!("{}{{{}}}", parent.name, row.name),
        (true, _) => return Ok(None),
    };
    Ok(Some(Raw {
        name,
        kind,
        stats,
        counts,
        columns: match kind {
            Kind::Trend => Columns::Trend,
            Kind::Gauge => Columns::Two,
            Kind::Rate if row.values.contains('✓') => Columns::Two,
            Kind::Rate | Kind::Counter => Columns::None,
        },
        width: row.values.chars().count(),
    }))
}

type Values = (Kind, Vec<(String, Printed)>, Option<(u64, u64)>);

fn values(text: &str) -> Option<Values> {
    let fields = fields(text);
    if fields.iter().all(|field| field.contains('=')) {
        let mut stats: Vec<(String, Printed)> = Vec::new();
        for (stat, value) in fields.iter().filter_map(|field| field.split_once('=')) {
            let known = is_trend_stat(stat) && stats.iter().all(|(other, _)| other != stat);
            match value {
                _ if !known => return None,
                // JavaScript's words for no number are left out.
                "NaN" | "Infinity" | "-Infinity" => {}
                value => stats.push((stat.to_owned(), Printed::parse(value)?)),
            }
        }
        return (!fields.is_empty()).then_some((Kind::Trend, stats, None));
    }
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    match fields.as_slice() {
        [count, rate] if rate.ends_with("/s") => {
            let stats = vec![
                ("count".to_owned(), Printed::parse(count)?),
                ("rate".to_owned(), Printed::parse(rate.strip_suffix("/s")?)?),
            ];
            Some((Kind::Counter, stats, None))
        }
        [value, least, most] if least.starts_with("min=") => {
            let stats = vec![
                ("value".to_owned(), Printed::parse(value)?),
                (
                    "min".to_owned(),
                    Printed::parse(least.strip_prefix("min=")?)?,
                ),
                (
                    "max".to_owned(),
                    Printed::parse(most.strip_prefix("max=")?)?,
                ),
            ];
            Some((Kind::Gauge, stats, None))
        }
        [percent, passes, "out", "of", all] => {
            let (passes, all) = (line::count(passes)?, line::count(all)?);
            let counts = (passes, all.checked_sub(passes)?);
            is_share(percent, counts).then_some((Kind::Rate, Vec::new(), Some(counts)))
        }
        [percent, "✓", passes, "✗", fails] => {
            let counts = (line::count(passes)?, line::count(fails)?);
            is_share(percent, counts).then_some((Kind::Rate, Vec::new(), Some(counts)))
        }
        _ => None,
    }
}

/// Values with their units: `24 kB`, `avg=1.5ms`, `7.9 kB/s`.
fn fields(text: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let unit = word.strip_suffix("/s").unwrap_or(word);
        match fields.last_mut() {
            Some(number) if printed::is_bytes(unit) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => fields.push(word.to_owned()),
        }
    }
    fields
}

/// Whether the percentage is that of the counts: a line that was cut, or made up, mostly shows here.
fn is_share(percent: &str, (passes, fails): (u64, u64)) -> bool {
    let all = passes as f64 + fails as f64;
    let share = if all > 0.0 { passes as f64 / all } else { 0.0 };
    let told = percent
        .strip_suffix('%')
        .and_then(|percent| percent.parse().ok());
    // Of nothing, some versions print NaN.
    told.is_some_and(|told: f64| {
        (share * 100.0 - told).abs() <= 0.0101 || (all == 0.0 && told.is_nan())
    })
}

/// What was observed of a threshold.
pub(super) fn observed(text: &str) -> Option<Printed> {
    Printed::parse(text)
}

impl Raw {
    pub(super) fn is_rate(&self) -> bool {
        self.kind == Kind::Rate
    }

    pub(super) fn counts(&self) -> Option<(u64, u64)> {
        self.counts
    }

    pub(super) fn printed(&self) -> impl Iterator<Item = Printed> {
        self.stats.iter().map(|(_, printed)| *printed)
    }

    /// Whether this may be a whole line: columns are as wide as in others.
    pub(super) fn is_as_wide(&self, others: &[&Self]) -> bool {
        let columns = self.columns;
        let mut alike = others.iter().filter(|other| other.columns == columns);
        columns == Columns::None || alike.all(|other| other.width == self.width)
    }

    /// A counter's count by its rate: how long the test ran.
    pub(super) fn seconds(&self) -> Option<f64> {
        let value = |name: &str| {
            let found = self.stats.iter().find(|(stat, _)| stat == name);
            found.and_then(|(_, printed)| Some(printed.value(Times::Either)?.high()))
        };
        let (count, rate) = (value("count")?, value("rate")?);
        (self.kind == Kind::Counter && rate > 0.0).then(|| count / rate)
    }

    fn metric(&self, times: Times) -> Option<Metric> {
        if let Some((passes, fails)) = self.counts {
            let stats = rate_stats(passes, fails);
            return Some(Metric {
                name: self.name.clone(),
                kind: Kind::Rate,
                unit: Unit::None,
                stats,
            });
        }
        let base = self.name.split('{').next().unwrap_or(&self.name);
        let mut unit = None;
        let mut stats = BTreeMap::new();
        for (stat, printed) in &self.stats {
            let is_count = self.kind == Kind::Trend && stat == "count";
            let is_whole = is_count || stat != "rate" && WHOLE.contains(&base);
            let value = match is_whole {
                true => printed.whole()?,
                false => printed.value(times)?,
            };
            if !is_count {
                if unit.is_some_and(|unit| unit != printed.unit()) {
                    return None;
                }
                unit = Some(printed.unit());
            }
            stats.insert(stat.clone(), value);
        }
        Some(Metric {
            name: self.name.clone(),
            kind: self.kind,
            unit: unit.unwrap_or(Unit::None),
            stats,
        })
    }
}

/// k6 divides so itself: the rate is exact.
pub(super) fn rate_stats(passes: u64, fails: u64) -> BTreeMap<String, Value> {
    let all = passes as f64 + fails as f64;
    let rate = if all > 0.0 { passes as f64 / all } else { 0.0 };
    let rate = Value::exact(rate).into_iter();
    BTreeMap::from_iter(
        [
            ("passes".to_owned(), Value::count(passes)),
            ("fails".to_owned(), Value::count(fails)),
        ]
        .into_iter()
        .chain(rate.map(|rate| ("rate".to_owned(), rate))),
    )
}

/// A summary of these metrics and nothing else.
pub(super) fn summary(raws: &[Raw], times: Times) -> Result<Summary, Problem> {
    let metrics = raws.iter().map(|raw| raw.metric(times));
    let metrics: Option<Vec<Metric>> = metrics.collect();
    let Some(metrics) = metrics else {
        return malformed();
    };
    Ok(Summary {
        source: Source::Text,
        k6_version: None,
        duration_ms: None,
        metrics,
        checks: Vec::new(),
        thresholds: Vec::new(),
        marks: Vec::new(),
    })
}
