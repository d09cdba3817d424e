//! What a comparison of runs says, as types; their JSON is what `-o json` and the API say.

use jiff::Timestamp;
use serde::Serialize;

use super::direction::Direction;
use super::judge::Verdict;
use crate::k6::summary::{Kind, Unit};
use crate::store::{Interval, RunId, Status};

/// Runs, held against a base.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    /// The run that the others are held against.
    pub base: Compared,
    /// The others, in the order that they were named in; each list of `others` below has that order.
    pub others: Vec<Compared>,
    /// The part of the base's value up to which a change is no difference: 0.1 for 10 %.
    pub tolerance: f64,
    /// What a reader should know of the comparison as a whole.
    pub notes: Vec<String>,
    /// The base's, then those that only others have.
    pub steps: Vec<StepCompared>,
}

/// One of the runs.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Compared {
    pub id: RunId,
    pub name: String,
    pub namespace: Option<String>,
    pub status: Status,
    /// Run and steps have ended.
    pub ended: bool,
    /// When the row was made.
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub duration_seconds: Option<f64>,
    /// How many verdicts of each kind there are on it; of the base, none.
    pub tally: Tally,
}

/// How many verdicts there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    pub worse: usize,
    pub better: usize,
    pub changed: usize,
    pub same: usize,
    pub not_comparable: usize,
    /// Steps of the base of which nothing could be compared.
    pub steps_not_comparable: usize,
}

/// A step of the runs.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepCompared {
    /// The base's name for it, or that of the first that has it.
    pub name: String,
    /// Whether the base has it.
    pub in_base: bool,
    /// What the step is in each of the others.
    pub others: Vec<StepMatch>,
    /// Worse ones first, then by metric.
    pub thresholds: Vec<ThresholdCompared>,
    /// By path and name.
    pub checks: Vec<CheckCompared>,
    /// By name and stat.
    pub metrics: Vec<MetricCompared>,
}

/// A step in another run.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepMatch {
    /// Its name there; `None`: the run does not have it.
    pub name: Option<String>,
    /// Why nothing of it can be compared with the base's.
    pub reason: Option<String>,
    /// What to bear in mind, such as another number of runners.
    pub note: Option<String>,
}

/// One stat of a metric in all runs.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricCompared {
    /// With its submetric's tags.
    pub metric: String,
    /// k6's word: `avg`, `p(95)`, `count`, …
    pub stat: String,
    pub kind: Kind,
    pub unit: Unit,
    pub direction: Direction,
    /// The base's value; `None`: it has none.
    pub base: Option<Interval>,
    pub others: Vec<ValueCompared>,
}

/// A value of another run, held against the base's.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValueCompared {
    /// `None`: it has none.
    pub value: Option<Interval>,
    /// The change in percent of the base's value, from the least to the greatest that it may be; `None`: the base may be zero.
    pub change_percent: Option<Interval>,
    pub verdict: Verdict,
    /// Why it is not comparable.
    pub reason: Option<String>,
}

/// A check in all runs, by the part of it that failed.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckCompared {
    /// Groups and name, as k6 writes them; `None`: not every run tells the groups, and checks of one name are taken together.
    pub path: Option<String>,
    pub name: String,
    /// The base's counts; `None`: it has no such check.
    pub base: Option<CheckCounts>,
    pub others: Vec<CheckOther>,
}

/// How often a check was made, and how it went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckCounts {
    /// `None`: not every runner tells it.
    pub passes: Option<u64>,
    pub fails: u64,
    /// The part that failed, 0 to 1; `None`: it is not known how often it was made, or it never was.
    pub fail_rate: Option<f64>,
}

/// A check of another run, held against the base's.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckOther {
    /// `None`: it has no such check.
    pub counts: Option<CheckCounts>,
    /// The change of the fail rate, in percent of the base's.
    pub change_percent: Option<Interval>,
    pub verdict: Verdict,
    /// Why it is not comparable.
    pub reason: Option<String>,
}

/// A threshold in all runs.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThresholdCompared {
    pub metric: String,
    /// As in the script; `None`: the summaries say only whether the metric's thresholds held.
    pub expression: Option<String>,
    /// `None`: the base does not have it.
    pub base: Option<Judged>,
    pub others: Vec<ThresholdOther>,
}

/// In how many runners a threshold failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Judged {
    /// How many judged it.
    pub runners: u64,
    pub failed: u64,
}

/// A threshold of another run, held against the base's.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThresholdOther {
    /// `None`: it is not there, or nothing is known of it.
    pub judged: Option<Judged>,
    pub verdict: Verdict,
    /// Why it is not comparable.
    pub reason: Option<String>,
}

impl StepCompared {
    /// Each verdict on the other run at this place.
    pub(super) fn verdicts(&self, at: usize) -> impl Iterator<Item = Verdict> {
        let thresholds = self
            .thresholds
            .iter()
            .map(move |row| row.others[at].verdict);
        let checks = self.checks.iter().map(move |row| row.others[at].verdict);
        let metrics = self.metrics.iter().map(move |row| row.others[at].verdict);
        thresholds.chain(checks).chain(metrics)
    }
}

impl Tally {
    /// How many things could be compared.
    pub(crate) const fn comparable(&self) -> usize {
        self.worse + self.better + self.changed + self.same
    }
}

impl Comparison {
    /// Something is certainly worse in one of the others.
    pub(crate) fn is_any_worse(&self) -> bool {
        self.others.iter().any(|other| other.tally.worse > 0)
    }

    /// The same without the rows in which nothing is worse, better or changed; the tallies stay.
    pub(crate) fn only_changes(&self) -> Self {
        let mut only = self.clone();
        for step in &mut only.steps {
            step.thresholds
                .retain(|row| row.others.iter().any(|other| other.verdict.is_change()));
            step.checks
                .retain(|row| row.others.iter().any(|other| other.verdict.is_change()));
            step.metrics
                .retain(|row| row.others.iter().any(|other| other.verdict.is_change()));
        }
        only
    }

    /// Why it can't be said that nothing is worse: steps or thresholds of the base that could not be compared, or nothing that could.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        for (at, other) in self.others.iter().enumerate() {
            let (id, base) = (other.id, self.base.id);
            for step in self.steps.iter().filter(|step| step.in_base) {
                if let Some(reason) = &step.others[at].reason {
                    doubts.push(format!("step `{}` of run {id}: {reason}", step.name));
                }
            }
            let gone = self.steps.iter().flat_map(|step| &step.thresholds);
            for threshold in gone.filter(|threshold| threshold.base.is_some()) {
                let judged = &threshold.others[at];
                if let (None, Some(reason)) = (&judged.judged, &judged.reason) {
                    let expression = threshold.expression.as_deref().unwrap_or_default();
                    doubts.push(format!(
                        "the threshold {} {expression}: {reason}",
                        threshold.metric
                    ));
                }
            }
            if other.tally.comparable() == 0 && other.tally.steps_not_comparable == 0 {
                doubts.push(format!(
                    "nothing of run {id} could be compared with run {base}"
                ));
            }
        }
        doubts
    }
}
