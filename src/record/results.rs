//! What k6 measured in a step over all runners, as people and machines read it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::k6::combine::StepResults;
use crate::k6::summary::{Kind, Summary, Unit};
use crate::store::Interval;

/// Metrics, checks and thresholds of a step, or nothing where no runner reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct StepMeasured {
    /// Those that failed first, then by metric and expression.
    pub thresholds: Vec<Threshold>,
    /// Those that failed most first.
    pub checks: Vec<CheckResult>,
    /// By name.
    pub metrics: Vec<Metric>,
}

/// A metric over all runners.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Metric {
    /// With its submetric's tags: `http_req_duration{scenario:buy}`.
    pub metric: String,
    pub kind: Kind,
    /// What values are; of a trend's `count` it is that of its other stats.
    pub unit: Unit,
    /// How many runners have it: what others lack is in no value.
    pub runners: u64,
    /// By k6's words: `avg`, `p(95)`, `count`, …
    pub stats: BTreeMap<String, Interval>,
}

/// A check over all runners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct CheckResult {
    /// Groups and name, as k6 writes them (`::cart::pay::paid`); `None`: not told.
    pub path: Option<String>,
    pub name: String,
    /// `None`: not every runner tells it.
    pub passes: Option<u64>,
    pub fails: u64,
}

/// A threshold over all runners, each of which k6 judged for itself.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Threshold {
    pub metric: String,
    /// As in the script (`p(95)<500`); `None`: the summary says only whether the metric's thresholds held.
    pub expression: Option<String>,
    /// How many runners judged it.
    pub runners: u64,
    /// In how many of them it failed.
    pub failed: u64,
    /// What those measured in which it failed.
    pub observed: Option<Interval>,
    pub kind: Option<Kind>,
    pub unit: Unit,
}

/// What one runner measured.
pub(super) fn metrics_of(summary: &Summary) -> Vec<Metric> {
    let metrics = summary.metrics.iter().map(|metric| Metric {
        metric: metric.name.clone(),
        kind: metric.kind,
        unit: metric.unit,
        runners: 1,
        stats: metric
            .stats
            .iter()
            .map(|(stat, value)| {
                let (low, high) = (value.low(), value.high());
                (stat.clone(), Interval { low, high })
            })
            .collect(),
    });
    metrics.collect()
}

impl From<StepResults> for StepMeasured {
    fn from(results: StepResults) -> Self {
        let mut metrics: Vec<Metric> = Vec::new();
        // Rows of one metric are neighbours.
        for row in results.metrics {
            let value = Interval {
                low: row.low,
                high: row.high,
            };
            match metrics.last_mut().filter(|last| last.metric == row.metric) {
                Some(last) => {
                    last.runners = last.runners.min(row.runners);
                    last.stats.insert(row.stat, value);
                }
                None => metrics.push(Metric {
                    metric: row.metric,
                    kind: row.kind,
                    unit: row.unit,
                    runners: row.runners,
                    stats: BTreeMap::from([(row.stat, value)]),
                }),
            }
        }
        let named = results.thresholds.into_iter().map(|row| Threshold {
            metric: row.metric,
            expression: Some(row.expression),
            runners: row.runners,
            failed: row.failed,
            observed: row.observed.map(|(low, high)| Interval { low, high }),
            kind: row.kind,
            unit: row.unit,
        });
        let marked = results.marks.into_iter().map(|row| Threshold {
            metric: row.metric,
            expression: None,
            runners: row.runners,
            failed: row.failed,
            observed: None,
            kind: None,
            unit: Unit::None,
        });
        let mut thresholds: Vec<Threshold> = named.chain(marked).collect();
        thresholds.sort_by_key(|threshold| std::cmp::Reverse(threshold.failed));
        let mut checks: Vec<CheckResult> = results
            .checks
            .into_iter()
            .map(|row| CheckResult {
                path: row.path,
                name: row.name,
                passes: row.passes,
                fails: row.fails,
            })
            .collect();
        checks.sort_by_key(|check| std::cmp::Reverse(check.fails));
        Self {
            thresholds,
            checks,
            metrics,
        }
    }
}
