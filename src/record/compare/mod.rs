//! Runs held against a base: metric by metric, check by check, threshold by threshold. Pure.
//!
//! A difference is only said where it is certain ([`judge`]), better or worse only where it is known which way is better
//! ([`direction`]), and what can't be told is "not comparable", with the reason.

mod answer;
mod direction;
mod judge;
mod steps;

pub(crate) use self::answer::{
    CheckCompared, CheckCounts, Compared, Comparison, Judged, MetricCompared, StepCompared, Tally,
    ThresholdCompared,
};
pub(crate) use self::judge::Verdict;
use super::Run;
use crate::store::RunId;

/// Holds each of `others` against `base`. Changes up to `tolerance` of the base's value are no difference.
pub(crate) fn compare(base: &Run, others: &[Run], tolerance: f64) -> Comparison {
    let steps = steps::compare(base, others, tolerance);
    let runs = std::iter::once(base).chain(others);
    let mut notes: Vec<String> = others
        .iter()
        .filter(|other| other.row.id == base.row.id)
        .take(1)
        .map(|run| format!("run {} is compared with itself", run.row.id))
        .collect();
    let mut unended: Vec<RunId> = runs
        .filter(|run| !run.outcome.ended)
        .map(|run| run.row.id)
        .collect();
    unended.dedup();
    notes.extend(unended.iter().map(|id| {
        format!("run {id} has not ended: what its steps have not measured yet can't be compared")
    }));
    Comparison {
        base: compared(base, Tally::default()),
        others: others
            .iter()
            .enumerate()
            .map(|(at, run)| compared(run, tally(&steps, at)))
            .collect(),
        tolerance,
        notes,
        steps,
    }
}

fn compared(run: &Run, tally: Tally) -> Compared {
    Compared {
        id: run.row.id,
        name: run.row.name.clone(),
        namespace: run.row.namespace.clone(),
        status: run.row.status,
        ended: run.outcome.ended,
        created_at: run.row.created_at,
        started_at: run.row.started_at,
        duration_seconds: run.row.duration_seconds,
        tally,
    }
}

fn tally(steps: &[StepCompared], at: usize) -> Tally {
    let mut tally = Tally::default();
    for step in steps {
        if step.in_base && step.others[at].reason.is_some() {
            tally.steps_not_comparable += 1;
        }
        for verdict in step.verdicts(at) {
            *match verdict {
                Verdict::Worse => &mut tally.worse,
                Verdict::Better => &mut tally.better,
                Verdict::Changed => &mut tally.changed,
                Verdict::Same => &mut tally.same,
                Verdict::NotComparable => &mut tally.not_comparable,
            } += 1;
        }
    }
    tally
}

#[cfg(test)]
mod tests;

/// The part of the base's value up to which a change is no difference, as people write it: `10%`.
///
/// # Errors
/// Says what it must be.
pub(crate) fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() && (0.0..=1_000.0).contains(&percent) => {
            Ok(percent / 100.0)
        }
        _ => Err("it must be from 0% to 1000%, such as 10%".to_owned()),
    }
}
