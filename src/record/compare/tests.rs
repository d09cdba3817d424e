use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::super::results::{CheckResult, Metric, StepMeasured, Threshold};
use super::super::{Run, Step, whole};
use super::answer::ValueCompared;
use super::*;
use crate::k6::summary::{Kind, Unit};
use crate::store::{Interval, Status};

fn run(id: i64, steps: Vec<Step>) -> Run {
    let row = json!({
        "id": id, "external_id": null, "name": "nightly", "namespace": "k6-runs", "status": "passed",
        "created_at": "2026-11-23T04:00:00Z", "started_at": null, "finished_at": null, "duration_seconds": null,
        "steps": steps.len(), "runners": 2, "runners_reported": 2, "thresholds": 0, "thresholds_failed": 0, "checks": null,
        "checks_failed": null, "requests": null, "error_rate": null, "p95": null,
    });
    whole(serde_json::from_value(row).unwrap(), steps)
}

/// A step that passed, of two runners that both reported.
fn step(name: &str, measured: StepMeasured) -> Step {
    let row = json!({
        "id": 1, "position": 1, "name": name, "external_id": null, "namespace": "k6-runs", "cluster": null,
        "k6_test_name": name, "k6_uid": null, "status": "passed", "reason": null, "message": null, "stage": "finished",
        "parallelism": 2, "runners_reported": 2, "created_at": "2026-11-23T04:00:00Z", "started_at": null,
        "finished_at": null, "synced_at": null,
    });
    Step {
        row: serde_json::from_value(row).unwrap(),
        containers: Vec::new(),
        measured,
    }
}

fn trend(name: &str, stats: &[(&str, f64, f64)]) -> Metric {
    Metric {
        metric: name.to_owned(),
        kind: Kind::Trend,
        unit: Unit::Ms,
        runners: 2,
        stats: stats
            .iter()
            .map(|(stat, low, high)| {
                let value = Interval {
                    low: *low,
                    high: *high,
                };
                ((*stat).to_owned(), value)
            })
            .collect(),
    }
}

fn of_metrics(metrics: Vec<Metric>) -> StepMeasured {
    StepMeasured {
        metrics,
        ..StepMeasured::default()
    }
}

fn p95(low: f64, high: f64) -> StepMeasured {
    of_metrics(vec![trend("http_req_duration", &[("p(95)", low, high)])])
}

fn threshold(failed: u64) -> Threshold {
    Threshold {
        metric: "http_req_duration".to_owned(),
        expression: Some("p(95)<500".to_owned()),
        runners: 2,
        failed,
        observed: None,
        kind: Some(Kind::Trend),
        unit: Unit::Ms,
    }
}

fn of_thresholds(thresholds: Vec<Threshold>) -> StepMeasured {
    StepMeasured {
        thresholds,
        ..StepMeasured::default()
    }
}

fn check(path: Option<&str>, passes: Option<u64>, fails: u64) -> CheckResult {
    CheckResult {
        path: path.map(str::to_owned),
        name: "paid".to_owned(),
        passes,
        fails,
    }
}

fn of_checks(checks: Vec<CheckResult>) -> StepMeasured {
    StepMeasured {
        checks,
        ..StepMeasured::default()
    }
}

/// Two runs of one step that measured this.
fn two(was: StepMeasured, is: StepMeasured) -> Comparison {
    compare(
        &run(7, vec![step("load", was)]),
        &[run(8, vec![step("load", is)])],
        0.0,
    )
}

fn only_value(comparison: &Comparison) -> &ValueCompared {
    assert_eq!(comparison.steps.len(), 1, "{comparison:?}");
    assert_eq!(comparison.steps[0].metrics.len(), 1, "{comparison:?}");
    &comparison.steps[0].metrics[0].others[0]
}

#[test]
fn a_slower_run_is_worse_and_a_faster_one_better() {
    for (was, is, expected) in [
        ((612.0, 840.0), (900.0, 950.0), Verdict::Worse),
        ((612.0, 840.0), (840.0, 950.0), Verdict::Same),
        ((612.0, 840.0), (500.0, 600.0), Verdict::Better),
    ] {
        let comparison = two(p95(was.0, was.1), p95(is.0, is.1));
        assert_eq!(only_value(&comparison).verdict, expected);
        assert_eq!(comparison.is_any_worse(), expected == Verdict::Worse);
        assert!(comparison.doubts().is_empty(), "{comparison:?}");
    }
    let base = run(7, vec![step("load", p95(100.0, 100.0))]);
    let others = [108.0, 120.0].map(|is| run(8, vec![step("load", p95(is, is))]));
    let comparison = compare(&base, &others, 0.1);
    let verdicts: Vec<Verdict> = comparison.steps[0].metrics[0]
        .others
        .iter()
        .map(|other| other.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Same, Verdict::Worse]);
    assert_eq!(
        (
            comparison.others[0].tally.worse,
            comparison.others[1].tally.worse
        ),
        (0, 1)
    );
}

#[test]
fn what_cannot_be_told_says_why() {
    let full = || p95(1.0, 2.0);
    let changed = |change: &dyn Fn(&mut Metric)| {
        let mut measured = full();
        change(&mut measured.metrics[0]);
        measured
    };
    for (is, reason) in [
        (of_metrics(Vec::new()), "run 8 has no such metric"),
        (
            changed(&|metric| metric.kind = Kind::Gauge),
            "it is a trend in run 7 and a gauge in run 8",
        ),
        (
            changed(&|metric| metric.unit = Unit::None),
            "it is a time in run 7 and a plain number in run 8",
        ),
        (
            changed(&|metric| metric.runners = 1),
            "2 runners in run 7 and 1 runner in run 8 have it",
        ),
        (
            changed(&|metric| metric.stats = BTreeMap::new()),
            "run 8 does not tell its p(95)",
        ),
        (p95(f64::NAN, 2.0), "what run 8 tells is no number"),
    ] {
        let comparison = two(full(), is);
        let value = only_value(&comparison);
        assert_eq!(value.verdict, Verdict::NotComparable);
        assert_eq!(value.reason.as_deref(), Some(reason));
        // Of the one thing there was.
        assert_eq!(
            comparison.doubts(),
            ["nothing of run 8 could be compared with run 7"]
        );
    }
    // A new metric.
    let comparison = two(of_metrics(Vec::new()), full());
    let value = only_value(&comparison);
    assert_eq!(value.reason.as_deref(), Some("run 7 has no such metric"));
}

#[test]
fn a_step_that_is_not_whole_is_not_compared() {
    let base = run(7, vec![step("load", p95(1.0, 1.0))]);
    let mut part = step("load", p95(5.0, 5.0));
    part.row.runners_reported = 1;
    let mut silent = step("load", StepMeasured::default());
    silent.row.runners_reported = 0;
    let mut running = step("load", p95(5.0, 5.0));
    running.row.status = Status::Running;
    for (step, reason) in [
        (
            part,
            "only 1 of 2 runners of run 8 reported what they measured",
        ),
        (silent, "no runner of run 8 reported what it measured"),
        (running, "the step has not ended in run 8"),
    ] {
        let comparison = compare(&base, &[run(8, vec![step])], 0.0);
        let found = &comparison.steps[0].others[0];
        assert_eq!(found.reason.as_deref(), Some(reason));
        assert_eq!(comparison.others[0].tally.steps_not_comparable, 1);
        assert_eq!(
            comparison.doubts(),
            [format!("step `load` of run 8: {reason}")]
        );
        assert_eq!(only_value(&comparison).reason.as_deref(), Some(reason));
    }
}

#[test]
fn steps_match_by_name_or_because_there_is_no_other() {
    let names = |base: &[&str], other: &[&str]| {
        let run = |id, names: &[&str]| {
            let steps = names.iter().map(|name| step(name, p95(1.0, 1.0)));
            run(id, steps.collect())
        };
        let comparison = compare(&run(7, base), &[run(8, other)], 0.0);
        let pair = |step: &StepCompared| {
            let theirs = step.others[0].name.clone().unwrap_or("-".to_owned());
            let ours = if step.in_base { &step.name } else { "-" };
            format!("{ours}={theirs}")
        };
        comparison
            .steps
            .iter()
            .map(pair)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(&["load"], &["load-8"]), "load=load-8");
    assert_eq!(names(&["a", "b"], &["b", "a"]), "a=a b=b");
    assert_eq!(names(&["a", "b"], &["b", "c"]), "a=- b=b -=c");
    assert_eq!(names(&["a"], &["b", "c"]), "a=- -=b -=c");
    assert_eq!(names(&["a", "a"], &["a", "a"]), "a=a a=a");
    assert_eq!(names(&["a", "a"], &["a"]), "a=a a=-");
}

#[test]
fn a_threshold_that_held_and_fails_is_worse() {
    let verdict = |was: Vec<Threshold>, is: Vec<Threshold>| {
        let comparison = two(of_thresholds(was), of_thresholds(is));
        comparison.steps[0].thresholds[0].others[0].clone()
    };
    let held = || vec![threshold(0)];
    let failed = || vec![threshold(1)];
    for (was, is, expected) in [
        (held(), held(), Verdict::Same),
        (held(), failed(), Verdict::Worse),
        (failed(), held(), Verdict::Better),
        (failed(), vec![threshold(2)], Verdict::Same),
    ] {
        assert_eq!(verdict(was, is).verdict, expected);
    }
    let new = verdict(Vec::new(), failed());
    assert_eq!(
        new.reason.as_deref(),
        Some("new: run 7 has no such threshold")
    );
    let gone = verdict(held(), Vec::new());
    assert_eq!(
        gone.reason.as_deref(),
        Some("gone: run 8 has no such threshold")
    );

    // One runner that failed it is enough to know; that the others held it is not.
    let base = run(7, vec![step("load", of_thresholds(held()))]);
    let partial = |failed| {
        let mut step = step("load", of_thresholds(vec![threshold(failed)]));
        step.row.runners_reported = 1;
        let comparison = compare(&base, &[run(8, vec![step])], 0.0);
        comparison.steps[0].thresholds[0].others[0].verdict
    };
    assert_eq!(
        (partial(1), partial(0)),
        (Verdict::Worse, Verdict::NotComparable)
    );
}

#[test]
fn checks_are_compared_by_the_part_that_failed() {
    let verdict = |was: Vec<CheckResult>, is: Vec<CheckResult>| {
        let comparison = two(of_checks(was), of_checks(is));
        assert_eq!(comparison.steps[0].checks.len(), 1, "{comparison:?}");
        let other = &comparison.steps[0].checks[0].others[0];
        (other.verdict, other.reason.clone().unwrap_or_default())
    };
    let path = Some("::paid");
    for (was, is, expected) in [
        ((Some(90), 10), (Some(180), 20), Verdict::Same),
        ((Some(90), 10), (Some(80), 20), Verdict::Worse),
        ((Some(90), 10), (Some(100), 0), Verdict::Better),
        ((Some(100), 0), (Some(99), 1), Verdict::Worse),
    ] {
        let (verdict, _) = verdict(
            vec![check(path, was.0, was.1)],
            vec![check(path, is.0, is.1)],
        );
        assert_eq!(verdict, expected, "{was:?} {is:?}");
    }
    let told = || vec![check(path, Some(1), 0)];
    for (is, reason) in [
        (Vec::new(), "run 8 has no such check"),
        (
            vec![check(path, None, 1)],
            "run 8 does not tell how often it passed",
        ),
        (vec![check(path, Some(0), 0)], "it was never made in run 8"),
    ] {
        assert_eq!(
            verdict(told(), is),
            (Verdict::NotComparable, reason.to_owned())
        );
    }
    // Where one does not tell the groups, those of one name are taken together.
    let groups = vec![
        check(Some("::a::paid"), Some(10), 0),
        check(Some("::b::paid"), Some(5), 5),
    ];
    let plain = vec![check(None, Some(30), 10)];
    assert_eq!(verdict(groups, plain).0, Verdict::Same);
}

#[test]
fn more_requests_are_a_change_and_thresholds_tell_of_own_metrics() {
    let counter = |name: &str, count| Metric {
        kind: Kind::Counter,
        unit: Unit::None,
        ..trend(name, &[("count", count, count)])
    };
    let orders = Threshold {
        metric: "orders".to_owned(),
        expression: Some("count>15".to_owned()),
        ..threshold(0)
    };
    let measured = |factor: f64| StepMeasured {
        metrics: vec![
            counter("http_reqs", 100.0 * factor),
            counter("orders", 20.0 * factor),
        ],
        thresholds: vec![orders.clone()],
        ..StepMeasured::default()
    };
    let comparison = two(measured(1.0), measured(0.5));
    let verdict = |at: usize| comparison.steps[0].metrics[at].others[0].verdict;
    assert_eq!((verdict(0), verdict(1)), (Verdict::Changed, Verdict::Worse));
}

#[test]
fn itself_and_what_has_not_ended_is_said() {
    let mut running = step("load", p95(1.0, 1.0));
    running.row.status = Status::Running;
    let mut base = run(7, vec![running]);
    base.outcome.ended = false;
    let comparison = compare(&base, std::slice::from_ref(&base), 0.0);
    assert_eq!(
        comparison.notes,
        [
            "run 7 is compared with itself",
            "run 7 has not ended: what its steps have not measured yet can't be compared"
        ]
    );
}

fn measured() -> impl Strategy<Value = StepMeasured> {
    let metrics = prop::collection::btree_map("[a-d]", (-5..5i32, 0..3i32, 0..4usize), 0..4);
    let checks = prop::collection::vec((0..3u64, 0..3u64), 0..2);
    let thresholds = prop::collection::vec(0..3u64, 0..2);
    (metrics, checks, thresholds).prop_map(|(metrics, checks, thresholds)| StepMeasured {
        metrics: metrics
            .into_iter()
            .map(|(name, (low, more, kind))| {
                let low = f64::from(low);
                let kinds = [Kind::Trend, Kind::Counter, Kind::Gauge, Kind::Rate];
                Metric {
                    kind: kinds[kind],
                    ..trend(&name, &[("rate", low, low + f64::from(more))])
                }
            })
            .collect(),
        checks: checks
            .into_iter()
            .map(|(passes, fails)| check(Some("::paid"), Some(passes), fails))
            .collect(),
        thresholds: thresholds.into_iter().map(threshold).collect(),
    })
}

proptest! {
    #[test]
    fn swapped_runs_swap_better_and_worse(was in measured(), is in measured()) {
        let there = two(was.clone(), is.clone());
        let back = two(is, was);
        let (there, back) = (there.others[0].tally, back.others[0].tally);
        let swapped = Tally { worse: back.better, better: back.worse, ..back };
        prop_assert_eq!(there, swapped);
    }

    #[test]
    fn a_run_is_the_same_as_itself(measured in measured(), tolerance in 0.0..2.0f64) {
        let run = run(7, vec![step("load", measured)]);
        let tally = compare(&run, std::slice::from_ref(&run), tolerance).others[0].tally;
        prop_assert_eq!((tally.worse, tally.better, tally.changed), (0, 0, 0));
    }

    #[test]
    fn a_greater_tolerance_never_makes_more_worse(
        was in measured(), is in measured(), less in 0.0..2.0f64, more in 0.0..2.0f64,
    ) {
        let (less, more) = (less.min(more), less.max(more));
        let (base, others) = (run(7, vec![step("load", was)]), [run(8, vec![step("load", is)])]);
        let strict = compare(&base, &others, less).others[0].tally;
        let mild = compare(&base, &others, more).others[0].tally;
        prop_assert!(mild.worse <= strict.worse && mild.better <= strict.better);
    }
}
