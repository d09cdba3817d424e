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
//! matter; with so few that none is beyond the percentile (less than 20 for p(95), 100 for p(99)) it does.
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
//! A trend without samples prints zeros where it has a threshold: where its count is known it is left out, else `min` may be
//! lower than it is said, and says so. What one runner does not tell of a metric that it has can't be told of all.

mod partial;
mod results;
mod sum;

pub use partial::Combination;
pub use results::{CheckRow, MarkRow, MetricRow, StepResults, ThresholdRow};

use super::summary::Summary;

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
