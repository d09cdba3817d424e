//! What holds for any runners, and how much k6's interpolation matters.

use proptest::prelude::*;

use super::super::summary::{Check, Kind, Metric, Threshold, Unit, Value};
use super::tests::{exact, metric, runner, stats};
use super::*;

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_u32..5).prop_map(|whole| exact(f64::from(whole))),
        (-1e9_f64..1e9).prop_map(exact),
        (-1e3_f64..1e3, 0.0_f64..1.0)
            .prop_map(|(low, width)| Value::between(low, low + width).unwrap()),
    ]
}

fn any_count() -> impl Strategy<Value = f64> {
    (0_u32..1_000).prop_map(f64::from)
}

fn any_metric() -> impl Strategy<Value = Metric> {
    let trend = (
        proptest::sample::subsequence(vec!["avg", "max", "med", "min", "p(95)"], 0..=5),
        proptest::collection::vec(any_value(), 5),
        proptest::option::of(any_count()),
        proptest::sample::select(vec!["http_req_duration", "my_trend", "iteration_duration"]),
    );
    let trend = trend.prop_map(|(stats, values, count, name)| {
        let mut found = metric(name, Kind::Trend, &[]);
        found.unit = Unit::Ms;
        for (stat, value) in stats.iter().zip(values) {
            found.stats.insert((*stat).to_owned(), value);
        }
        let count = count.map(|count| ("count".to_owned(), exact(count)));
        found.stats.extend(count);
        found
    });
    let counter = (any_count(), any_value()).prop_map(|(count, rate)| {
        let mut found = metric("http_reqs", Kind::Counter, &[("count", count)]);
        found.stats.insert("rate".to_owned(), rate);
        found
    });
    let rate = (any_count(), any_count()).prop_map(|(passes, fails)| {
        metric(
            "checks",
            Kind::Rate,
            &[("passes", passes), ("fails", fails), ("rate", 0.0)],
        )
    });
    let gauge = any_value().prop_map(|value| {
        let mut found = metric("my_gauge", Kind::Gauge, &[]);
        for stat in ["value", "min", "max"] {
            found.stats.insert(stat.to_owned(), value);
        }
        found
    });
    prop_oneof![4 => trend, 1 => counter, 1 => rate, 1 => gauge]
}

fn any_summary() -> impl Strategy<Value = Summary> {
    let check = (
        proptest::option::of("[ab]"),
        "[ab]",
        proptest::option::of(0_u64..9),
        0_u64..9,
    );
    let threshold = ("[ab]", any::<bool>(), proptest::option::of(any_value()));
    (
        proptest::collection::vec(any_metric(), 0..6),
        proptest::collection::vec(check, 0..4),
        proptest::collection::vec(threshold, 0..4),
    )
        .prop_map(|(mut metrics, checks, thresholds)| {
            metrics.sort_by(|a, b| a.name.cmp(&b.name));
            metrics.dedup_by(|a, b| a.name == b.name);
            let mut found = runner(metrics);
            found.checks = checks
                .into_iter()
                .map(|(path, name, passes, fails)| Check {
                    path,
                    name,
                    passes,
                    fails,
                })
                .collect();
            found.thresholds = thresholds
                .into_iter()
                .map(|(metric, failed, observed)| Threshold {
                    metric,
                    expression: "avg<1".to_owned(),
                    failed,
                    observed,
                })
                .collect();
            found
        })
}

/// The p-th percentile by nearest rank: the least sample that p of all do not exceed.
fn nearest(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

/// As k6 does: between the two samples next to it.
fn interpolated(sorted: &[f64], p: f64) -> f64 {
    let index = p * (sorted.len() as f64 - 1.0);
    let (below, above) = (
        sorted[index.floor() as usize],
        sorted[index.ceil() as usize],
    );
    below + (above - below) * index.fract()
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    samples
}

proptest! {
    #[test]
    fn order_and_grouping_make_no_difference(
        summaries in proptest::collection::vec(any_summary(), 1..7),
        keys in proptest::collection::vec(any::<u32>(), 7),
        cuts in (0_usize..7, 0_usize..7),
    ) {
        let expected = combine(&summaries);
        let mut order: Vec<usize> = (0..summaries.len()).collect();
        order.sort_by_key(|index| keys[*index]);
        let shuffled: Vec<&Summary> = order.iter().map(|index| &summaries[*index]).collect();
        prop_assert_eq!(&combine(shuffled.iter().copied()), &expected);

        let group = |part: &[&Summary]| {
            let mut group = Combination::default();
            part.iter().for_each(|summary| group.add(summary));
            group
        };
        let (one, two) = (cuts.0.min(cuts.1), cuts.0.max(cuts.1));
        let (first, rest) = shuffled.split_at(one.min(shuffled.len()));
        let (second, third) = rest.split_at((two - one).min(rest.len()));
        let mut left = group(first);
        left.merge(&group(second));
        left.merge(&group(third));
        let mut right = group(third);
        right.merge(&group(second));
        let mut outer = group(first);
        outer.merge(&right);
        prop_assert_eq!(&left.results(), &expected);
        prop_assert_eq!(&outer.results(), &expected);
    }

    #[test]
    fn rows_are_in_order(summaries in proptest::collection::vec(any_summary(), 0..5)) {
        for row in combine(&summaries).metrics {
            prop_assert!(row.low <= row.high, "{row:?}");
        }
    }

    /// Samples of runners, with the true figures of all of them beside.
    #[test]
    fn what_is_true_of_all_samples_is_within(
        runners in proptest::collection::vec(
            proptest::collection::vec(0_u32..50, 1..40), 1..6),
        p in 1_u32..100,
        counted in any::<bool>(),
    ) {
        let p = f64::from(p) / 100.0;
        let stat = format!("p({})", p * 100.0);
        let mut all = Vec::new();
        let mut summaries = Vec::new();
        for samples in &runners {
            let samples = sorted(samples.iter().copied().map(f64::from).collect());
            let count = samples.len() as f64;
            let mut trend = metric("m", Kind::Trend, &[
                (stat.as_str(), nearest(&samples, p)),
                ("avg", samples.iter().sum::<f64>() / count),
                ("min", samples[0]),
                ("max", samples[samples.len() - 1]),
            ]);
            if counted {
                trend.stats.insert("count".to_owned(), exact(count));
            }
            summaries.push(runner(vec![trend]));
            all.extend(samples);
        }
        let all = sorted(all);
        for (name, low, high) in stats(&combine(&summaries), "m") {
            let expected = match name.as_str() {
                "avg" => all.iter().sum::<f64>() / all.len() as f64,
                "min" => all[0],
                "max" => all[all.len() - 1],
                "count" => all.len() as f64,
                _ => nearest(&all, p),
            };
            let slack = expected * 1e-14;
            prop_assert!(low - slack <= expected && expected <= high + slack,
                "{name}: {low} {expected} {high}");
        }
    }
}

/// How often the true percentile lies outside of k6's interpolated ones by more than 1 % of its value, in this many trials.
fn excess(samples: usize, p: f64, trials: usize) -> usize {
    // Numbers as good as random, and always the same.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 + 1e-18
    };
    let mut outside = 0;
    for trial in 0..trials {
        let mut all = Vec::new();
        let (mut least, mut greatest) = (f64::INFINITY, 0.0_f64);
        for _ in 0..2 + trial % 3 {
            let mut times = Vec::with_capacity(samples);
            for _ in 0..samples {
                let (radius, angle) = (uniform(), uniform());
                let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                times.push((0.5 * normal).exp() * 100.0);
            }
            let times = sorted(times);
            let percentile = interpolated(&times, p);
            (least, greatest) = (least.min(percentile), greatest.max(percentile));
            all.extend(times);
        }
        let percentile = nearest(&sorted(all), p);
        outside += usize::from(percentile < least * 0.99 || percentile > greatest * 1.01);
    }
    outside
}

#[test]
fn interpolation_does_not_matter_with_the_samples_of_a_load_test() {
    for (samples, p, most) in [
        // With a handful it does.
        (5, 0.95, 200),
        (20, 0.95, 10),
        (50, 0.99, 70),
        (100, 0.95, 1),
        (100, 0.99, 1),
        (500, 0.5, 0),
        (500, 0.95, 0),
        (500, 0.99, 0),
    ] {
        let outside = excess(samples, p, 200);
        assert!(outside <= most, "{samples} samples, p {p}: {outside}");
        assert!(
            samples > 50 || most < 50 || outside > 0,
            "the test measures something"
        );
    }
}
