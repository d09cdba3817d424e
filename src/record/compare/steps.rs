//! Step by step: which step of one run is which of another, and each of their thresholds, checks and metrics. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{
    CheckCompared, CheckCounts, CheckOther, Judged, MetricCompared, StepCompared, StepMatch,
    ThresholdCompared, ThresholdOther, ValueCompared,
};
use super::direction::{Direction, base_metric, direction};
use super::judge::{Verdict, change_percent, is_sound, judge};
use crate::k6::summary::Unit;
use crate::record::results::Metric;
use crate::record::{Run, Step};
use crate::store::{Interval, Role};

/// The steps of all of them.
pub(super) fn compare(base: &Run, others: &[Run], tolerance: f64) -> Vec<StepCompared> {
    let runs: Vec<&Run> = std::iter::once(base).chain(others).collect();
    let rows = matched(&runs);
    rows.into_iter()
        .map(|steps| compare_step(&runs, &steps, tolerance))
        .collect()
}

/// A step's name, and the how manieth of that name it is in its run.
type StepKey = (String, usize);

/// What a step is in each of the runs.
type Steps<'a> = Vec<Option<&'a Step>>;

/// For each step the one that it is in each run.
fn matched<'a>(runs: &[&'a Run]) -> Vec<Steps<'a>> {
    // Of a name that a run has twice, the first is the first.
    let keys = |run: &Run| -> Vec<StepKey> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        run.steps
            .iter()
            .map(|step| {
                let times = seen.entry(&step.row.name).or_default();
                *times += 1;
                (step.row.name.clone(), *times)
            })
            .collect()
    };
    let mut rows: Vec<(StepKey, Steps<'_>)> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        for (key, step) in keys(run).into_iter().zip(&run.steps) {
            // Where both have only one, it is the same whatever its name.
            let is_only = at > 0 && run.steps.len() == 1 && runs[0].steps.len() == 1;
            let found = match is_only {
                true => rows.first_mut(),
                false => rows.iter_mut().find(|(known, _)| *known == key),
            };
            match found {
                Some((_, steps)) => steps[at] = Some(step),
                None => {
                    let mut steps = vec![None; runs.len()];
                    steps[at] = Some(step);
                    rows.push((key, steps));
                }
            }
        }
    }
    rows.into_iter().map(|(_, steps)| steps).collect()
}

/// A step of one of the runs; its `trouble` is why its numbers are not those of the whole step.
struct Side<'a> {
    id: String,
    step: Option<&'a Step>,
    trouble: Option<String>,
}

impl<'a> Side<'a> {
    fn of(run: &Run, step: Option<&'a Step>) -> Self {
        let id = format!("run {}", run.row.id);
        let trouble = match step {
            None => Some(format!("{id} has no such step")),
            Some(step) => trouble(&id, step),
        };
        Self { id, step, trouble }
    }

    fn metric(&self, name: &str) -> Option<&'a Metric> {
        let metrics = &self.step?.measured.metrics;
        metrics.iter().find(|metric| metric.metric == name)
    }
}

fn trouble(id: &str, step: &Step) -> Option<String> {
    let reported = step.row.runners_reported;
    if !step.row.status.is_final() {
        return Some(format!("the step has not ended in {id}"));
    }
    match expected_runners(step) {
        _ if reported == 0 => Some(format!("no runner of {id} reported what it measured")),
        Some(expected) if reported < expected => Some(format!(
            "only {reported} of {expected} runners of {id} reported what they measured"
        )),
        _ => None,
    }
}

/// How many runners the step was to have, or has.
fn expected_runners(step: &Step) -> Option<i64> {
    let pods: BTreeSet<&str> = step
        .containers
        .iter()
        .filter(|container| container.row.role == Role::Runner)
        .map(|container| container.row.pod_name.as_str())
        .collect();
    let seen = i64::try_from(pods.len()).ok().filter(|seen| *seen > 0);
    step.row.parallelism.or(seen)
}

fn compare_step(runs: &[&Run], steps: &[Option<&Step>], tolerance: f64) -> StepCompared {
    let sides: Vec<Side<'_>> = runs
        .iter()
        .zip(steps)
        .map(|(run, step)| Side::of(run, *step))
        .collect();
    let (base, others) = (&sides[0], &sides[1..]);
    let name = sides
        .iter()
        .find_map(|side| side.step)
        .map_or_else(String::new, |step| step.row.name.clone());
    StepCompared {
        others: others.iter().map(|other| matches(base, other)).collect(),
        in_base: base.step.is_some(),
        name,
        thresholds: thresholds(base, others),
        checks: checks(base, others, tolerance),
        metrics: metrics(base, others, tolerance),
    }
}

/// Why nothing of the two can be compared.
fn trouble_of_both(base: &Side<'_>, other: &Side<'_>) -> Option<String> {
    base.trouble.clone().or_else(|| other.trouble.clone())
}

fn matches(base: &Side<'_>, other: &Side<'_>) -> StepMatch {
    let runners = |side: &Side<'_>| side.step.and_then(expected_runners);
    let note = match (runners(base), runners(other)) {
        (Some(one), Some(two)) if one != two => Some(format!(
            "{one} runners in {} and {two} in {}: the load may not be the same",
            base.id, other.id
        )),
        _ => None,
    };
    StepMatch {
        name: other.step.map(|step| step.row.name.clone()),
        reason: trouble_of_both(base, other),
        note,
    }
}

// === Metrics ===

fn metrics(base: &Side<'_>, others: &[Side<'_>], tolerance: f64) -> Vec<MetricCompared> {
    let sides = || std::iter::once(base).chain(others);
    let mut keys: BTreeSet<(&str, &str)> = BTreeSet::new();
    for step in sides().filter_map(|side| side.step) {
        for metric in &step.measured.metrics {
            let stats = metric.stats.keys();
            keys.extend(stats.map(|stat| (metric.metric.as_str(), stat.as_str())));
        }
    }
    let expressions: Vec<(&str, &str)> = sides()
        .filter_map(|side| side.step)
        .flat_map(|step| &step.measured.thresholds)
        .filter_map(|row| Some((row.metric.as_str(), row.expression.as_deref()?)))
        .collect();
    keys.into_iter()
        .filter_map(|(name, stat)| {
            let shown = sides().find_map(|side| side.metric(name))?;
            let about: Vec<&str> = expressions
                .iter()
                .filter(|(metric, _)| *metric == name || *metric == base_metric(name))
                .map(|(_, expression)| *expression)
                .collect();
            let direction = direction(name, shown.kind, shown.unit, stat, &about);
            Some(MetricCompared {
                metric: name.to_owned(),
                stat: stat.to_owned(),
                kind: shown.kind,
                unit: shown.unit,
                direction,
                base: base
                    .metric(name)
                    .and_then(|metric| metric.stats.get(stat).copied()),
                others: others
                    .iter()
                    .map(|other| value(base, other, name, stat, direction, tolerance))
                    .collect(),
            })
        })
        .collect()
}

fn value(
    base: &Side<'_>,
    other: &Side<'_>,
    name: &str,
    stat: &str,
    direction: Direction,
    tolerance: f64,
) -> ValueCompared {
    let theirs = other
        .metric(name)
        .and_then(|metric| metric.stats.get(stat).copied());
    match both_values(base, other, name, stat) {
        Ok((was, is)) => ValueCompared {
            value: theirs,
            change_percent: change_percent(was, is),
            verdict: judge(was, is, direction, tolerance),
            reason: None,
        },
        Err(reason) => ValueCompared {
            value: theirs,
            change_percent: None,
            verdict: Verdict::NotComparable,
            reason: Some(reason),
        },
    }
}

/// The two values, if they are of the same kind.
fn both_values(
    base: &Side<'_>,
    other: &Side<'_>,
    name: &str,
    stat: &str,
) -> Result<(Interval, Interval), String> {
    if let Some(trouble) = trouble_of_both(base, other) {
        return Err(trouble);
    }
    let missing = |side: &Side<'_>| format!("{} has no such metric", side.id);
    let was = base.metric(name).ok_or_else(|| missing(base))?;
    let is = other.metric(name).ok_or_else(|| missing(other))?;
    if was.kind != is.kind {
        return Err(format!(
            "it is a {} in {} and a {} in {}",
            was.kind.as_str(),
            base.id,
            is.kind.as_str(),
            other.id
        ));
    }
    if was.unit != is.unit {
        return Err(format!(
            "it is {} in {} and {} in {}",
            unit(was.unit),
            base.id,
            unit(is.unit),
            other.id
        ));
    }
    // What a runner does not have is in no value: where other numbers of runners lack it, different things were measured.
    let lacking = |side: &Side<'_>, metric: &Metric| {
        let reported = side.step.map_or(0, |step| step.row.runners_reported);
        u64::try_from(reported)
            .unwrap_or(0)
            .saturating_sub(metric.runners)
    };
    if lacking(base, was) != lacking(other, is) {
        return Err(format!(
            "{} in {} and {} in {} have it",
            runners(was.runners),
            base.id,
            runners(is.runners),
            other.id
        ));
    }
    let stat_of = |side: &Side<'_>, metric: &Metric| {
        let value = metric.stats.get(stat).copied();
        let value = value.ok_or_else(|| format!("{} does not tell its {stat}", side.id))?;
        match is_sound(value) {
            true => Ok(value),
            false => Err(format!("what {} tells is no number", side.id)),
        }
    };
    Ok((stat_of(base, was)?, stat_of(other, is)?))
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ms => "a time",
        Unit::Bytes => "in bytes",
        Unit::None => "a plain number",
    }
}

fn runners(number: u64) -> String {
    match number {
        1 => "1 runner".to_owned(),
        number => format!("{number} runners"),
    }
}

// === Checks ===

/// Checks are told apart by their groups, where every run tells the groups of those with this name.
type CheckKey = (Option<String>, String);

fn checks(base: &Side<'_>, others: &[Side<'_>], tolerance: f64) -> Vec<CheckCompared> {
    let sides = || std::iter::once(base).chain(others);
    let all = || {
        sides()
            .filter_map(|side| side.step)
            .flat_map(|step| &step.measured.checks)
    };
    let without_path: BTreeSet<&str> = all()
        .filter(|check| check.path.is_none())
        .map(|check| check.name.as_str())
        .collect();
    let key = |path: &Option<String>, name: &str| -> CheckKey {
        let path = path.clone().filter(|_| !without_path.contains(name));
        (path, name.to_owned())
    };
    let keys: BTreeSet<CheckKey> = all().map(|check| key(&check.path, &check.name)).collect();
    let counts = |side: &Side<'_>, wanted: &CheckKey| {
        let checks = side.step?.measured.checks.iter();
        checks
            .filter(|check| key(&check.path, &check.name) == *wanted)
            .map(|check| (check.passes, check.fails))
            .reduce(|(passes, fails), more| {
                let passes = passes.zip(more.0).map(|(a, b)| a.saturating_add(b));
                (passes, fails.saturating_add(more.1))
            })
            .map(|(passes, fails)| CheckCounts::new(passes, fails))
    };
    keys.into_iter()
        .map(|wanted| {
            let was = counts(base, &wanted);
            let others = others.iter().map(|other| {
                let is = counts(other, &wanted);
                check(base, other, was, is, tolerance)
            });
            CheckCompared {
                base: was,
                others: others.collect(),
                path: wanted.0,
                name: wanted.1,
            }
        })
        .collect()
}

impl CheckCounts {
    fn new(passes: Option<u64>, fails: u64) -> Self {
        let fail_rate = passes.and_then(|passes| {
            let all = passes as f64 + fails as f64;
            (all > 0.0).then(|| fails as f64 / all)
        });
        Self {
            passes,
            fails,
            fail_rate,
        }
    }

    fn rate(self, side: &Side<'_>) -> Result<Interval, String> {
        match (self.fail_rate, self.passes) {
            (Some(rate), _) => Ok(Interval {
                low: rate,
                high: rate,
            }),
            (None, Some(_)) => Err(format!("it was never made in {}", side.id)),
            (None, None) => Err(format!("{} does not tell how often it passed", side.id)),
        }
    }
}

fn check(
    base: &Side<'_>,
    other: &Side<'_>,
    was: Option<CheckCounts>,
    is: Option<CheckCounts>,
    tolerance: f64,
) -> CheckOther {
    let rates = || {
        if let Some(trouble) = trouble_of_both(base, other) {
            return Err(trouble);
        }
        let missing = |side: &Side<'_>| format!("{} has no such check", side.id);
        let was = was.ok_or_else(|| missing(base))?;
        let is = is.ok_or_else(|| missing(other))?;
        Ok((was.rate(base)?, is.rate(other)?))
    };
    match rates() {
        Ok((was, now)) => CheckOther {
            counts: is,
            change_percent: change_percent(was, now),
            verdict: judge(was, now, Direction::LowerIsBetter, tolerance),
            reason: None,
        },
        Err(reason) => CheckOther {
            counts: is,
            change_percent: None,
            verdict: Verdict::NotComparable,
            reason: Some(reason),
        },
    }
}

// === Thresholds ===

type ThresholdKey<'a> = (&'a str, Option<&'a str>);

fn thresholds(base: &Side<'_>, others: &[Side<'_>]) -> Vec<ThresholdCompared> {
    let sides = || std::iter::once(base).chain(others);
    let keys: BTreeSet<ThresholdKey<'_>> = sides()
        .filter_map(|side| side.step)
        .flat_map(|step| &step.measured.thresholds)
        .map(|row| (row.metric.as_str(), row.expression.as_deref()))
        .collect();
    let judged = |side: &Side<'_>, (metric, expression): ThresholdKey<'_>| {
        let rows = side.step?.measured.thresholds.iter();
        let mut rows =
            rows.filter(|row| row.metric == metric && row.expression.as_deref() == expression);
        rows.next().map(|row| Judged {
            runners: row.runners,
            failed: row.failed,
        })
    };
    let mut rows: Vec<ThresholdCompared> = keys
        .into_iter()
        .map(|key| {
            let was = judged(base, key);
            let others = others.iter().map(|other| {
                let is = judged(other, key);
                let (verdict, reason) = match threshold(base, other, was, is) {
                    Ok(verdict) => (verdict, None),
                    Err(reason) => (Verdict::NotComparable, Some(reason)),
                };
                ThresholdOther {
                    judged: is,
                    verdict,
                    reason,
                }
            });
            ThresholdCompared {
                metric: key.0.to_owned(),
                expression: key.1.map(str::to_owned),
                base: was,
                others: others.collect(),
            }
        })
        .collect();
    let is_worse = |row: &ThresholdCompared| {
        row.others
            .iter()
            .any(|other| other.verdict == Verdict::Worse)
    };
    rows.sort_by_key(|row| !is_worse(row));
    rows
}

/// What failed in one runner failed; only what all runners judged has held.
fn threshold(
    base: &Side<'_>,
    other: &Side<'_>,
    was: Option<Judged>,
    is: Option<Judged>,
) -> Result<Verdict, String> {
    let has_failed = |side: &Side<'_>, judged: Option<Judged>, missing: String| match judged {
        Some(judged) if judged.failed > 0 => Ok(true),
        _ if side.trouble.is_some() => Err(side.trouble.clone().unwrap_or_default()),
        Some(_) => Ok(false),
        None => Err(missing),
    };
    let was = has_failed(base, was, format!("new: {} has no such threshold", base.id))?;
    let is = has_failed(
        other,
        is,
        format!("gone: {} has no such threshold", other.id),
    )?;
    Ok(match (was, is) {
        (false, true) => Verdict::Worse,
        (true, false) => Verdict::Better,
        _ => Verdict::Same,
    })
}
