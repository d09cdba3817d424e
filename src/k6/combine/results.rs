//! What all runners of a step reported, as rows.

use super::super::summary::{Kind, Unit};

/// What all runners reported; a row each as in the tables of the same names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepResults {
    /// How many runners' summaries are in it.
    pub runners_reported: u64,
    /// By metric and stat.
    pub metrics: Vec<MetricRow>,
    /// By path and name.
    pub checks: Vec<CheckRow>,
    /// By metric and expression.
    pub thresholds: Vec<ThresholdRow>,
    /// By metric; of summaries that don't name their thresholds.
    pub marks: Vec<MarkRow>,
}

impl StepResults {
    /// Puts rows that have come in any order into the one of [`Combination::results`](super::Combination::results).
    pub(crate) fn sort(&mut self) {
        let key = |row: &MetricRow| (row.metric.clone(), row.stat.clone());
        self.metrics.sort_by_cached_key(key);
        let key = |row: &CheckRow| (row.path.clone(), row.name.clone());
        self.checks.sort_by_cached_key(key);
        let key = |row: &ThresholdRow| (row.metric.clone(), row.expression.clone());
        self.thresholds.sort_by_cached_key(key);
        self.marks.sort_by_cached_key(|row| row.metric.clone());
    }
}

/// One stat of a metric over all runners: it is nowhere but from `low` to `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// With its submetric's tags: `http_req_duration{scenario:buy}`.
    pub metric: String,
    /// How k6 collects it.
    pub kind: Kind,
    /// What `low` and `high` are; of a trend's `count` it is that of its other stats.
    pub unit: Unit,
    /// k6's word: `avg`, `p(95)`, `count`, …
    pub stat: String,
    /// How many runners have samples of the metric: what others lack is in no value.
    pub runners: u64,
    /// The least that it may be.
    pub low: f64,
    /// The most that it may be.
    pub high: f64,
}

/// A check over all runners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRow {
    /// `None`: some text doesn't tell it.
    pub path: Option<String>,
    /// As in the script.
    pub name: String,
    /// `None`: not every runner tells it.
    pub passes: Option<u64>,
    /// How often it failed.
    pub fails: u64,
}

/// A threshold over all runners, each of which k6 judged for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdRow {
    /// A metric's name.
    pub metric: String,
    /// As in the script: `p(95)<500`.
    pub expression: String,
    /// How many judged it.
    pub runners: u64,
    /// In how many of them it failed.
    pub failed: u64,
    /// What those measured in which it failed, from the least to the greatest; `None`: not all of them tell.
    pub observed: Option<(f64, f64)>,
    /// How to show that.
    pub kind: Option<Kind>,
    /// What that is.
    pub unit: Unit,
}

/// Whether a metric's thresholds held, over all runners that don't name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRow {
    /// A metric's name.
    pub metric: String,
    /// How many marked it.
    pub runners: u64,
    /// In how many of them at least one threshold failed.
    pub failed: u64,
}
