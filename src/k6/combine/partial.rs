//! What some of the runners reported together, so that memory does not grow with their number.

use std::collections::{BTreeMap, BTreeSet};

use super::super::summary::{Check, Kind, Mark, Metric, Summary, Threshold, Unit, Value};
use super::results::{CheckRow, MarkRow, MetricRow, StepResults, ThresholdRow};
use super::sum::Sum;

/// Summaries put together, in whatever order and grouping.
#[derive(Clone, Debug, Default)]
pub struct Combination {
    runners: u64,
    metrics: BTreeMap<String, Joint>,
    checks: BTreeMap<(Option<String>, String), Counts>,
    thresholds: BTreeMap<(String, String), Judged>,
    marks: BTreeMap<String, (u64, u64)>,
}

/// A metric of some runners.
#[derive(Clone, Debug, Default)]
struct Joint {
    kinds: BTreeSet<Kind>,
    units: BTreeSet<Unit>,
    /// How many have it, but for those whose trend surely has no samples: their zeros are none of it.
    runners: u64,
    /// Whether one of them does not tell how many samples its average is of.
    uncounted: bool,
    /// What the trends without samples say, which counts where there are no others.
    idle: Option<BTreeMap<String, Value>>,
    stats: BTreeMap<String, Stat>,
    /// Samples by average, and samples: of those that tell both.
    weighted: Both,
    samples: Sum,
}

/// A stat of some runners.
#[derive(Clone, Debug, Default)]
struct Stat {
    /// How many tell it.
    runners: u64,
    sum: Both,
    least: Option<Value>,
    greatest: Option<Value>,
    /// The same of those that have samples for certain.
    least_sure: Option<Value>,
    greatest_sure: Option<Value>,
}

#[derive(Clone, Debug, Default)]
struct Both {
    low: Sum,
    high: Sum,
}

impl Both {
    fn add(&mut self, low: f64, high: f64) {
        self.low.add(low);
        self.high.add(high);
    }

    fn merge(&mut self, other: &Self) {
        self.low.merge(&other.low);
        self.high.merge(&other.high);
    }
}

#[derive(Clone, Debug, Default)]
struct Counts {
    untold: bool,
    passes: u64,
    fails: u64,
}

#[derive(Clone, Debug, Default)]
struct Judged {
    runners: u64,
    failed: u64,
    untold: bool,
    observed: Option<Value>,
    kinds: BTreeSet<Kind>,
    units: BTreeSet<Unit>,
}

// === impl Combination ===

impl Combination {
    /// One runner more.
    pub(crate) fn add(&mut self, summary: &Summary) {
        self.runners += 1;
        for metric in &summary.metrics {
            let joint = self.metrics.entry(metric.name.clone()).or_default();
            joint.add(metric, samples(summary, metric));
        }
        for check in &summary.checks {
            let key = (check.path.clone(), check.name.clone());
            self.checks.entry(key).or_default().add(check);
        }
        for threshold in &summary.thresholds {
            let key = (threshold.metric.clone(), threshold.expression.clone());
            let metric = summary.metric(&threshold.metric);
            self.thresholds
                .entry(key)
                .or_default()
                .add(threshold, metric);
        }
        for Mark { metric, failed } in &summary.marks {
            let (runners, failures) = self.marks.entry(metric.clone()).or_default();
            *runners += 1;
            *failures += u64::from(*failed);
        }
    }

    /// Some other runners more.
    pub fn merge(&mut self, other: &Self) {
        self.runners += other.runners;
        for (name, joint) in &other.metrics {
            self.metrics.entry(name.clone()).or_default().merge(joint);
        }
        for (key, counts) in &other.checks {
            self.checks.entry(key.clone()).or_default().merge(counts);
        }
        for (key, judged) in &other.thresholds {
            self.thresholds
                .entry(key.clone())
                .or_default()
                .merge(judged);
        }
        for (metric, (runners, failed)) in &other.marks {
            let mine = self.marks.entry(metric.clone()).or_default();
            mine.0 += runners;
            mine.1 += failed;
        }
    }

    /// What is known of all of them.
    pub(crate) fn results(&self) -> StepResults {
        StepResults {
            runners_reported: self.runners,
            metrics: self
                .metrics
                .iter()
                .flat_map(|(name, joint)| joint.rows(name))
                .collect(),
            checks: self
                .checks
                .iter()
                .map(|((path, name), counts)| CheckRow {
                    path: path.clone(),
                    name: name.clone(),
                    passes: (!counts.untold).then_some(counts.passes),
                    fails: counts.fails,
                })
                .collect(),
            thresholds: self
                .thresholds
                .iter()
                .map(|((metric, expression), judged)| judged.row(metric, expression))
                .collect(),
            marks: self
                .marks
                .iter()
                .map(|(metric, (runners, failed))| MarkRow {
                    metric: metric.clone(),
                    runners: *runners,
                    failed: *failed,
                })
                .collect(),
        }
    }
}

/// How many samples a trend of this runner has, where that is known: from itself, or from the counter that k6 counts together with it.
fn samples(summary: &Summary, metric: &Metric) -> Option<f64> {
    if let Some(count) = metric.stats.get("count") {
        return count.number();
    }
    let (base, tags) = match metric.name.find('{') {
        Some(brace) => metric.name.split_at(brace),
        None => (metric.name.as_str(), ""),
    };
    let counter = match base {
        "iteration_duration" => "iterations",
        _ if base.starts_with("http_req_") => "http_reqs",
        _ => return None,
    };
    let count = |name: &str| summary.metric(name)?.stats.get("count")?.number();
    match summary.metric(counter) {
        // It would be there.
        None => is_zero(metric).then_some(0.0),
        Some(_) if tags.is_empty() || count(counter) == Some(0.0) => count(counter),
        Some(_) => count(&format!("{counter}{tags}")),
    }
}

fn is_zero(metric: &Metric) -> bool {
    metric
        .stats
        .values()
        .all(|value| value.number() == Some(0.0))
}

// === impl Joint ===

impl Joint {
    fn add(&mut self, metric: &Metric, samples: Option<f64>) {
        self.kinds.insert(metric.kind);
        self.units.insert(metric.unit);
        let is_trend = metric.kind == Kind::Trend;
        if is_trend && samples == Some(0.0) {
            let idle = self.idle.get_or_insert_with(|| metric.stats.clone());
            idle.retain(|stat, value| metric.stats.get(stat) == Some(value));
            return;
        }
        self.runners += 1;
        // Zeros may be no samples. The numbers of VUs are always sampled.
        let sampled = !matches!(metric.name.as_str(), "vus" | "vus_max");
        let maybe_empty = match metric.kind {
            Kind::Trend => samples.is_none() && is_zero(metric),
            Kind::Gauge => sampled && is_zero(metric),
            Kind::Counter | Kind::Rate => false,
        };
        for (stat, value) in &metric.stats {
            self.stat(stat).add(*value, maybe_empty);
        }
        if let Some(avg) = metric.stats.get("avg") {
            match samples {
                Some(samples) => {
                    self.weighted.add(samples * avg.low(), samples * avg.high());
                    self.samples.add(samples);
                }
                None => self.uncounted = true,
            }
        }
    }

    fn stat(&mut self, stat: &str) -> &mut Stat {
        self.stats.entry(stat.to_owned()).or_default()
    }

    fn merge(&mut self, other: &Self) {
        self.kinds.extend(&other.kinds);
        self.units.extend(&other.units);
        self.runners += other.runners;
        self.uncounted |= other.uncounted;
        if let Some(other) = &other.idle {
            let idle = self.idle.get_or_insert_with(|| other.clone());
            idle.retain(|stat, value| other.get(stat) == Some(value));
        }
        for (name, stat) in &other.stats {
            self.stat(name).merge(stat);
        }
        self.weighted.merge(&other.weighted);
        self.samples.merge(&other.samples);
    }

    fn rows(&self, name: &str) -> Vec<MetricRow> {
        let (Some(kind), 1) = (self.kinds.first().copied(), self.kinds.len()) else {
            // Runners that disagree on what it is say nothing together.
            return Vec::new();
        };
        let unit = unit(&self.units);
        let row = |(stat, value): (&str, Value)| MetricRow {
            metric: name.to_owned(),
            kind,
            unit,
            stat: stat.to_owned(),
            runners: self.runners,
            low: value.low(),
            high: value.high(),
        };
        if let (0, Some(idle)) = (self.runners, &self.idle) {
            let idle = idle.iter().map(|(stat, value)| (stat.as_str(), *value));
            return idle.map(row).collect();
        }
        let told = self
            .stats
            .iter()
            .filter(|(_, stat)| stat.runners == self.runners)
            .filter_map(|(name, stat)| Some((name.as_str(), self.value(kind, name, stat)?)));
        told.map(row).collect()
    }

    fn value(&self, kind: Kind, name: &str, stat: &Stat) -> Option<Value> {
        match (kind, name) {
            (Kind::Rate, "rate") => {
                let sum = |name: &str| Some(self.stats.get(name)?.sum.low.rounded());
                let (passes, fails) = (sum("passes")?, sum("fails")?);
                let all = passes + fails;
                Value::exact(if all > 0.0 { passes / all } else { 0.0 })
            }
            (Kind::Counter | Kind::Rate, _) | (Kind::Trend, "count") => stat.total(),
            (_, "min") => stat.extreme(&stat.least, &stat.least_sure),
            (_, "max") => stat.extreme(&stat.greatest, &stat.greatest_sure),
            (Kind::Trend, "avg") => self.average(stat),
            _ => stat.between(),
        }
    }

    fn average(&self, stat: &Stat) -> Option<Value> {
        let hull = stat.between()?;
        let samples = self.samples.rounded();
        if self.uncounted || samples <= 0.0 {
            return Some(hull);
        }
        // An average is never beyond its parts; dividing may miss that by a bit.
        let within = |sum: &Sum| (sum.rounded() / samples).clamp(hull.low(), hull.high());
        Value::between(within(&self.weighted.low), within(&self.weighted.high))
    }
}

/// The one that the runners agree on; `none` also stands for unknown.
fn unit(units: &BTreeSet<Unit>) -> Unit {
    let mut told = units.iter().filter(|unit| **unit != Unit::None);
    match (told.next(), told.next()) {
        (Some(unit), None) => *unit,
        _ => Unit::None,
    }
}

// === impl Stat ===

fn lesser(a: Value, b: Value) -> Value {
    pair(a, b, f64::min)
}

fn greater(a: Value, b: Value) -> Value {
    pair(a, b, f64::max)
}

fn pair(a: Value, b: Value, pick: fn(f64, f64) -> f64) -> Value {
    let (low, high) = (pick(a.low(), b.low()), pick(a.high(), b.high()));
    // Both are in order, and so are their lesser and their greater ends.
    Value::between(low, high).unwrap_or(a)
}

fn join(mine: &mut Option<Value>, other: Option<Value>, pick: fn(Value, Value) -> Value) {
    *mine = match (*mine, other) {
        (Some(mine), Some(other)) => Some(pick(mine, other)),
        (mine, other) => mine.or(other),
    };
}

impl Stat {
    fn add(&mut self, value: Value, maybe_empty: bool) {
        self.runners += 1;
        self.sum.add(value.low(), value.high());
        join(&mut self.least, Some(value), lesser);
        join(&mut self.greatest, Some(value), greater);
        if !maybe_empty {
            join(&mut self.least_sure, Some(value), lesser);
            join(&mut self.greatest_sure, Some(value), greater);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.runners += other.runners;
        self.sum.merge(&other.sum);
        join(&mut self.least, other.least, lesser);
        join(&mut self.greatest, other.greatest, greater);
        join(&mut self.least_sure, other.least_sure, lesser);
        join(&mut self.greatest_sure, other.greatest_sure, greater);
    }

    fn total(&self) -> Option<Value> {
        Value::between(self.sum.low.rounded(), self.sum.high.rounded())
    }

    /// From the least to the greatest.
    fn between(&self) -> Option<Value> {
        Value::between(self.least?.low(), self.greatest?.high())
    }

    /// The extreme of all, which is that of those that surely have samples if the others have none.
    fn extreme(&self, all: &Option<Value>, sure: &Option<Value>) -> Option<Value> {
        let all = (*all)?;
        Some(sure.map_or(all, |sure| all.hull(sure)))
    }
}

// === impl Counts and Judged ===

impl Counts {
    fn add(&mut self, check: &Check) {
        self.untold |= check.passes.is_none();
        self.passes = self.passes.saturating_add(check.passes.unwrap_or(0));
        self.fails = self.fails.saturating_add(check.fails);
    }

    fn merge(&mut self, other: &Self) {
        self.untold |= other.untold;
        self.passes = self.passes.saturating_add(other.passes);
        self.fails = self.fails.saturating_add(other.fails);
    }
}

impl Judged {
    fn add(&mut self, threshold: &Threshold, metric: Option<&Metric>) {
        self.runners += 1;
        if threshold.failed {
            self.failed += 1;
            self.untold |= threshold.observed.is_none();
            join(&mut self.observed, threshold.observed, Value::hull);
        }
        if let Some(metric) = metric {
            self.kinds.insert(metric.kind);
            self.units.insert(metric.unit);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.runners += other.runners;
        self.failed += other.failed;
        self.untold |= other.untold;
        join(&mut self.observed, other.observed, Value::hull);
        self.kinds.extend(&other.kinds);
        self.units.extend(&other.units);
    }

    fn row(&self, metric: &str, expression: &str) -> ThresholdRow {
        let observed = self.observed.filter(|_| !self.untold);
        let kind = self.kinds.first().copied();
        ThresholdRow {
            metric: metric.to_owned(),
            expression: expression.to_owned(),
            runners: self.runners,
            failed: self.failed,
            observed: observed.map(|value| (value.low(), value.high())),
            kind: kind.filter(|_| self.kinds.len() == 1),
            unit: unit(&self.units),
        }
    }
}
