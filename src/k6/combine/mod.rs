//! How the reports of N runners become one result. Pure.
//!
//! Never otherwise than so (`low` = `high` where it is exact):
//!
//! - counters and checks add. A counter's `rate` adds too: runners run at the same time, each tells how many a second it did.
//! - a rate is the sum of `passes` by the sum of all.
//! - `min` and `max` are of all.
//! - `avg` is weighted where every runner tells its count, by the trend's own `count`, or for `http_req_*` that of `http_reqs` and
//!   for `iteration_duration` that of `iterations`; else it is somewhere between the least and the greatest.
//! - a percentile of all samples lies between the least and the greatest of the runners' percentiles.
//! - of a gauge's `value`s nobody knows which was the last: from the least to the greatest.
//!
//! Why the percentile lies there: Q is the least value that at least p of all samples do not exceed (nearest rank). At the
//! greatest runner's percentile each runner has p of its samples at or below it, so all together have, so Q is not above. Below
//! the least runner's percentile each has less than p of its samples, so all together have, so Q is not below.
//!
//! k6 does not take the nearest sample but interpolates between the two next to it, so that its own figure may lie beyond by less
//! than the step between those two. Measured with log-normal times and two to four runners alike (`combine/properties.rs`): how often
//! the true percentile lies outside the runners' interval by more than 1 % of its value. From 100 samples a runner on it does not
//! matter; with fewer than so many that some are beyond the percentile (20 for p(95), 100 for p(99)) it does.
//!
//! | samples a runner | med | p(95) | p(99) |
//! |---|---|---|---|
//! | 5 | 0 % | 67 % | 68 % |
//! | 10 | 5 % | 17 % | 83 % |
//! | 20 | 3 % | 0.4 % | 92 % |
//! | 50 | 0.6 % | 4 % | 17 % |
//! | 100 | 0.05 % | 0 | 0 |
//! | 500 and more | 0 | 0 | 0 |
//!
//! A trend without samples prints zeros where it has a threshold: where its count is told it is left out, else `min` may be
//! lower than it is said, and says so. What one runner does not tell of a metric that it has can't be told of all.

mod partial;
mod sum;

pub use partial::Combination;

use super::summary::{Kind, Summary, Unit};

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

/// What all of them reported together, in whatever order.
pub fn combine<'a>(summaries: impl IntoIterator<Item = &'a Summary>) -> StepResults {
    let mut combination = Combination::default();
    for summary in summaries {
        combination.add(summary);
    }
    combination.results()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
