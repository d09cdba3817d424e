use std::collections::BTreeMap;
use std::path::Path;

use super::super::summary::{
    Check, Kind, Mark, Metric, Outcome, Source, Threshold, Unit, Value, summarize,
};
use super::*;

pub(super) fn exact(number: f64) -> Value {
    Value::exact(number).unwrap()
}

pub(super) fn metric(name: &str, kind: Kind, stats: &[(&str, f64)]) -> Metric {
    let stats = stats
        .iter()
        .map(|(stat, number)| ((*stat).to_owned(), exact(*number)));
    Metric {
        name: name.to_owned(),
        kind,
        unit: Unit::None,
        stats: stats.collect(),
    }
}

pub(super) fn runner(mut metrics: Vec<Metric>) -> Summary {
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    Summary {
        source: Source::Json,
        k6_version: None,
        duration_ms: None,
        metrics,
        checks: Vec::new(),
        thresholds: Vec::new(),
        marks: Vec::new(),
    }
}

/// Stat, low and high.
pub(super) fn stats(results: &StepResults, metric: &str) -> Vec<(String, f64, f64)> {
    let rows = results.metrics.iter().filter(|row| row.metric == metric);
    rows.map(|row| (row.stat.clone(), row.low, row.high))
        .collect()
}

fn recorded(name: &str) -> Summary {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/recorded/k6/operator-3-runners")
        .join(name);
    match summarize(&std::fs::read(path).unwrap(), true) {
        Outcome::Found(summary) => *summary,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_combines_in_its_way() {
    use Kind::{Counter, Gauge, Rate, Trend};
    type Told = &'static [(&'static str, f64)];
    type Rows = &'static [(&'static str, f64, f64)];
    let cases: [(&str, Kind, &[Told], Rows); 14] = [
        (
            "counters add",
            Counter,
            &[
                &[("count", 15.0), ("rate", 4.5)],
                &[("count", 5.0), ("rate", 0.5)],
            ],
            &[("count", 20.0, 20.0), ("rate", 5.0, 5.0)],
        ),
        (
            "a rate is of sums",
            Rate,
            &[
                &[("passes", 1.0), ("fails", 0.0), ("rate", 1.0)],
                &[("passes", 0.0), ("fails", 9.0), ("rate", 0.0)],
            ],
            &[
                ("fails", 9.0, 9.0),
                ("passes", 1.0, 1.0),
                ("rate", 0.1, 0.1),
            ],
        ),
        (
            "nothing is a rate of 0",
            Rate,
            &[&[("passes", 0.0), ("fails", 0.0), ("rate", 0.0)]],
            &[
                ("fails", 0.0, 0.0),
                ("passes", 0.0, 0.0),
                ("rate", 0.0, 0.0),
            ],
        ),
        (
            "of a gauge the last is unknown",
            Gauge,
            &[
                &[("value", 3.0), ("min", 1.0), ("max", 3.0)],
                &[("value", 2.0), ("min", 2.0), ("max", 9.0)],
            ],
            &[("max", 9.0, 9.0), ("min", 1.0, 1.0), ("value", 2.0, 3.0)],
        ),
        (
            "a gauge that may never have been set",
            Gauge,
            &[
                &[("value", 3.0), ("min", 1.0), ("max", 3.0)],
                &[("value", 0.0), ("min", 0.0), ("max", 0.0)],
            ],
            &[("max", 3.0, 3.0), ("min", 0.0, 1.0), ("value", 0.0, 3.0)],
        ),
        (
            "counted averages are weighted",
            Trend,
            &[
                &[
                    ("avg", 10.0),
                    ("count", 1.0),
                    ("min", 10.0),
                    ("p(95)", 10.0),
                ],
                &[("avg", 20.0), ("count", 3.0), ("min", 5.0), ("p(95)", 30.0)],
            ],
            &[
                ("avg", 17.5, 17.5),
                ("count", 4.0, 4.0),
                ("min", 5.0, 5.0),
                ("p(95)", 10.0, 30.0),
            ],
        ),
        (
            "averages that are not counted lie between",
            Trend,
            &[
                &[("avg", 10.0), ("max", 11.0)],
                &[("avg", 20.0), ("max", 30.0)],
            ],
            &[("avg", 10.0, 20.0), ("max", 30.0, 30.0)],
        ),
        (
            "one that is not counted spoils the weights",
            Trend,
            &[&[("avg", 10.0), ("count", 1.0)], &[("avg", 20.0)]],
            &[("avg", 10.0, 20.0)],
        ),
        (
            "one runner alone is exact",
            Trend,
            &[&[("avg", 0.1), ("count", 3.0), ("med", 0.3), ("p(90)", 0.7)]],
            &[
                ("avg", 0.1, 0.1),
                ("count", 3.0, 3.0),
                ("med", 0.3, 0.3),
                ("p(90)", 0.7, 0.7),
            ],
        ),
        (
            "a trend without samples says nothing",
            Trend,
            &[
                &[("avg", 10.0), ("count", 2.0), ("min", 8.0), ("p(90)", 12.0)],
                &[("avg", 0.0), ("count", 0.0), ("min", 0.0), ("p(90)", 0.0)],
            ],
            &[
                ("avg", 10.0, 10.0),
                ("count", 2.0, 2.0),
                ("min", 8.0, 8.0),
                ("p(90)", 12.0, 12.0),
            ],
        ),
        (
            "but for where no other has any: that is k6's own word",
            Trend,
            &[
                &[("avg", 0.0), ("count", 0.0)],
                &[("avg", 0.0), ("count", 0.0)],
            ],
            &[("avg", 0.0, 0.0), ("count", 0.0, 0.0)],
        ),
        (
            "zeros that are not counted may be no samples",
            Trend,
            &[
                &[("avg", 10.0), ("max", 12.0), ("min", 8.0)],
                &[("avg", 0.0), ("max", 0.0), ("min", 0.0)],
            ],
            &[("avg", 0.0, 10.0), ("max", 12.0, 12.0), ("min", 0.0, 8.0)],
        ),
        (
            "what one does not tell is not told of all",
            Trend,
            &[&[("med", 1.0), ("p(90)", 2.0)], &[("med", 3.0)]],
            &[("med", 1.0, 3.0)],
        ),
        (
            "negative times",
            Trend,
            &[
                &[("max", -2.0), ("min", -3.0)],
                &[("max", 0.0), ("min", 0.0)],
            ],
            &[("max", -2.0, 0.0), ("min", -3.0, -3.0)],
        ),
    ];
    for (name, kind, told, expected) in cases {
        let runners: Vec<Summary> = told
            .iter()
            .map(|told| runner(vec![metric("m", kind, told)]))
            .collect();
        let results = combine(&runners);
        assert_eq!(results.runners_reported, told.len() as u64, "{name}");
        let expected: Vec<_> = expected
            .iter()
            .map(|(stat, low, high)| ((*stat).to_owned(), *low, *high))
            .collect();
        assert_eq!(stats(&results, "m"), expected, "{name}");
    }
}

#[test]
fn k6s_own_counters_weight_its_own_trends() {
    use Kind::{Counter, Trend};
    let of = |trend: &str, avg: f64, counters: &[(&str, f64)]| {
        let mut metrics = vec![metric(trend, Trend, &[("avg", avg)])];
        for (name, count) in counters {
            metrics.push(metric(name, Counter, &[("count", *count)]));
        }
        runner(metrics)
    };
    let tagged = "http_req_waiting{scenario:buy}";
    for (name, first, second, low, high) in [
        (
            "http_req_duration",
            of("http_req_duration", 10.0, &[("http_reqs", 1.0)]),
            of("http_req_duration", 20.0, &[("http_reqs", 3.0)]),
            17.5,
            17.5,
        ),
        (
            "iteration_duration",
            of("iteration_duration", 10.0, &[("iterations", 3.0)]),
            of("iteration_duration", 20.0, &[("iterations", 1.0)]),
            12.5,
            12.5,
        ),
        (
            tagged,
            of(
                tagged,
                10.0,
                &[("http_reqs", 9.0), ("http_reqs{scenario:buy}", 1.0)],
            ),
            of(
                tagged,
                20.0,
                &[("http_reqs", 9.0), ("http_reqs{scenario:buy}", 1.0)],
            ),
            15.0,
            15.0,
        ),
        // All requests are not those of a scenario.
        (
            tagged,
            of(tagged, 10.0, &[("http_reqs", 9.0)]),
            of(tagged, 20.0, &[("http_reqs", 9.0)]),
            10.0,
            20.0,
        ),
        // A runner without requests has a threshold all the same.
        (
            "http_req_duration",
            of("http_req_duration", 10.0, &[("http_reqs", 9.0)]),
            of("http_req_duration", 0.0, &[]),
            10.0,
            10.0,
        ),
        (
            tagged,
            of(tagged, 10.0, &[("http_reqs", 9.0)]),
            of(tagged, 0.0, &[("http_reqs", 0.0)]),
            10.0,
            10.0,
        ),
        (
            "my_time",
            of("my_time", 10.0, &[("http_reqs", 1.0)]),
            of("my_time", 20.0, &[("http_reqs", 3.0)]),
            10.0,
            20.0,
        ),
    ] {
        let results = combine([&first, &second]);
        let expected = vec![("avg".to_owned(), low, high)];
        assert_eq!(stats(&results, name), expected, "{name}");
    }
}

#[test]
fn rounded_values_widen_what_is_told() {
    let rounded = |name: &str, kind: Kind, stat: &str, low: f64, high: f64| Metric {
        stats: BTreeMap::from([(stat.to_owned(), Value::between(low, high).unwrap())]),
        ..metric(name, kind, &[])
    };
    for (kind, stat, expected) in [
        (Kind::Counter, "rate", (11.0, 14.0)),
        (Kind::Trend, "min", (1.0, 2.0)),
        (Kind::Trend, "max", (10.0, 12.0)),
        (Kind::Trend, "p(95)", (1.0, 12.0)),
        (Kind::Trend, "avg", (1.0, 12.0)),
        (Kind::Gauge, "value", (1.0, 12.0)),
    ] {
        let first = runner(vec![rounded("m", kind, stat, 1.0, 2.0)]);
        let second = runner(vec![rounded("m", kind, stat, 10.0, 12.0)]);
        let row = (stat.to_owned(), expected.0, expected.1);
        assert_eq!(stats(&combine([&first, &second]), "m"), vec![row], "{stat}");
    }
}

#[test]
fn checks_and_thresholds_are_counted() {
    let check = |path: Option<&str>, passes: Option<u64>, fails: u64| Check {
        path: path.map(str::to_owned),
        name: "ok".to_owned(),
        passes,
        fails,
    };
    let threshold = |failed: bool, observed: f64| Threshold {
        metric: "t".to_owned(),
        expression: "p(95)<500".to_owned(),
        failed,
        observed: Some(exact(observed)),
    };
    let mark = |failed: bool| Mark {
        metric: "old".to_owned(),
        failed,
    };
    let first = Summary {
        checks: vec![check(None, None, 0), check(Some("::ok"), Some(3), 1)],
        thresholds: vec![threshold(true, 612.0)],
        marks: vec![mark(true)],
        ..runner(vec![metric("t", Kind::Trend, &[("p(95)", 612.0)])])
    };
    let second = Summary {
        checks: vec![check(None, Some(1), 1), check(Some("::ok"), Some(4), 0)],
        thresholds: vec![threshold(true, 840.0)],
        marks: vec![mark(false)],
        ..runner(Vec::new())
    };
    let third = Summary {
        thresholds: vec![threshold(false, 20.0)],
        ..runner(Vec::new())
    };
    let results = combine([&first, &second, &third]);
    assert_eq!(results.runners_reported, 3);
    let checks = results
        .checks
        .iter()
        .map(|row| (row.path.as_deref(), row.passes, row.fails));
    assert_eq!(
        checks.collect::<Vec<_>>(),
        [(None, None, 1), (Some("::ok"), Some(7), 1)]
    );
    let [row] = results.thresholds.as_slice() else {
        panic!("{results:?}")
    };
    assert_eq!((row.runners, row.failed), (3, 2));
    assert_eq!(row.observed, Some((612.0, 840.0)));
    let [row] = results.marks.as_slice() else {
        panic!("{results:?}")
    };
    assert_eq!((row.runners, row.failed), (2, 1));
}

#[test]
fn runners_that_disagree_on_a_metric_say_nothing_of_it() {
    let first = runner(vec![metric("m", Kind::Trend, &[("min", 1.0)])]);
    let second = runner(vec![metric("m", Kind::Gauge, &[("min", 1.0)])]);
    assert_eq!(combine([&first, &second]).metrics, Vec::new());
}

/// Against sums made here, from what each runner exported.
#[test]
fn three_recorded_runners_are_one_result() {
    let runners = ["1-cnckf", "2-tkd9v", "3-rck75"];
    let runners = runners.map(|name| recorded(&format!("export-{name}.log")));
    let results = combine(&runners);
    assert_eq!(results.runners_reported, 3);
    let mut names: Vec<&str> = runners
        .iter()
        .flat_map(|runner| runner.metrics.iter().map(|metric| metric.name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let having: Vec<&Metric> = runners
            .iter()
            .filter_map(|runner| runner.metric(name))
            .collect();
        let value = |metric: &Metric, stat: &str| metric.stats[stat].number().unwrap();
        let kind = having[0].kind;
        let sampled: Vec<&Metric> = having
            .iter()
            .filter(|metric| kind != Kind::Trend || value(metric, "count") > 0.0)
            .copied()
            .collect();
        for (stat, low, high) in stats(&results, name) {
            let told = || sampled.iter().map(|metric| value(metric, &stat));
            let least = told().fold(f64::INFINITY, f64::min);
            let greatest = told().fold(f64::NEG_INFINITY, f64::max);
            let sum = |stat: &str| {
                sampled
                    .iter()
                    .map(|metric| value(metric, stat))
                    .sum::<f64>()
            };
            let (expected_low, expected_high) = match (kind, stat.as_str()) {
                (Kind::Rate, "rate") => {
                    let all = sum("passes") + sum("fails");
                    let rate = if all > 0.0 { sum("passes") / all } else { 0.0 };
                    (rate, rate)
                }
                (Kind::Counter | Kind::Rate, stat) | (Kind::Trend, stat @ "count") => {
                    (sum(stat), sum(stat))
                }
                (_, "min") => (least, least),
                (_, "max") => (greatest, greatest),
                (Kind::Trend, "avg") => {
                    let weighted = sampled
                        .iter()
                        .map(|metric| value(metric, "avg") * value(metric, "count"));
                    let avg = weighted.sum::<f64>() / sum("count");
                    (avg, avg)
                }
                _ => (least, greatest),
            };
            for (got, expected) in [(low, expected_low), (high, expected_high)] {
                assert!(
                    (got - expected).abs() <= expected.abs() * 1e-14,
                    "{name} {stat}: {got} {expected}"
                );
            }
        }
        assert_eq!(stats(&results, name).len(), having[0].stats.len(), "{name}");
    }
    for row in &results.thresholds {
        let failed = if row.metric == "orders" { 3 } else { 0 };
        assert_eq!((row.runners, row.failed), (3, failed), "{row:?}");
    }
    let sums: (u64, u64) = results.checks.iter().fold((0, 0), |sums, row| {
        (sums.0 + row.passes.unwrap(), sums.1 + row.fails)
    });
    let of_checks = stats(&results, "checks");
    assert_eq!(
        of_checks[0],
        ("fails".to_owned(), sums.1 as f64, sums.1 as f64)
    );
    assert_eq!(
        of_checks[1],
        ("passes".to_owned(), sums.0 as f64, sums.0 as f64)
    );
}
