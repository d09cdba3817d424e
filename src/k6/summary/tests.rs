//! Real logs of k6, against its own export of the same run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::*;

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded/k6")
}

/// k6's export, read without the code under test.
struct Truth {
    metrics: BTreeMap<String, BTreeMap<String, f64>>,
    /// Metric, expression, whether it failed.
    thresholds: Vec<(String, String, bool)>,
    /// Path, name, passes, fails.
    checks: Vec<(String, String, u64, u64)>,
}

impl Truth {
    fn of(json: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Export {
            metrics: BTreeMap<String, BTreeMap<String, Box<RawValue>>>,
            root_group: serde_json::Value,
        }
        let export: Export = serde_json::from_str(json).unwrap();
        let mut truth = Self {
            metrics: BTreeMap::new(),
            thresholds: Vec::new(),
            checks: Vec::new(),
        };
        for (name, members) in export.metrics {
            let is_rate = members.contains_key("passes");
            let stats = truth.metrics.entry(name.clone()).or_default();
            for (key, value) in members {
                match key.as_str() {
                    "thresholds" => {
                        let judged: BTreeMap<String, bool> =
                            serde_json::from_str(value.get()).unwrap();
                        for (expression, failed) in judged {
                            truth.thresholds.push((name.clone(), expression, failed));
                        }
                    }
                    "value" if is_rate => {
                        stats.insert("rate".to_owned(), value.get().parse().unwrap());
                    }
                    key => {
                        stats.insert(key.to_owned(), value.get().parse().unwrap());
                    }
                }
            }
        }
        truth.group(&export.root_group);
        truth.checks.sort();
        truth
    }

    fn group(&mut self, group: &serde_json::Value) {
        for check in group["checks"].as_object().unwrap().values() {
            let text = |key: &str| check[key].as_str().unwrap().to_owned();
            let count = |key: &str| check[key].as_u64().unwrap();
            self.checks
                .push((text("path"), text("name"), count("passes"), count("fails")));
        }
        for group in group["groups"].as_object().unwrap().values() {
            self.group(group);
        }
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn found(log: &[u8]) -> Summary {
    match summarize(log, true) {
        Outcome::Found(summary) => *summary,
        other => panic!("{other:?}"),
    }
}

fn thresholds(summary: &Summary) -> Vec<(String, String, bool)> {
    let thresholds = summary.thresholds.iter();
    thresholds
        .map(|found| (found.metric.clone(), found.expression.clone(), found.failed))
        .collect()
}

/// Everything, to the last bit.
fn assert_exact(summary: &Summary, truth: &Truth) {
    assert_eq!(summary.source, Source::Json);
    let metrics: BTreeMap<String, BTreeMap<String, f64>> = summary
        .metrics
        .iter()
        .map(|metric| {
            let stats = metric.stats.iter();
            let stats = stats.map(|(stat, value)| (stat.clone(), value.number().unwrap()));
            (metric.name.clone(), stats.collect())
        })
        .collect();
    assert_eq!(metrics, truth.metrics);
    assert_eq!(thresholds(summary), truth.thresholds);
    let checks = summary.checks.iter().map(|check| {
        let path = check.path.clone().unwrap();
        (path, check.name.clone(), check.passes.unwrap(), check.fails)
    });
    assert_eq!(checks.collect::<Vec<_>>(), truth.checks);
}

/// Everything that the text shows, within its rounding.
fn assert_rounded(summary: &Summary, truth: &Truth, folder: &str) {
    let (is_full, is_aborted) = (folder.ends_with(".full"), folder.contains("abort"));
    assert_eq!(summary.source, Source::Text);
    for metric in &summary.metrics {
        let stats = &truth.metrics[&metric.name];
        assert_eq!(
            metric.stats.keys().collect::<Vec<_>>(),
            stats.keys().collect::<Vec<_>>(),
            "{}",
            metric.name
        );
        for (stat, value) in &metric.stats {
            let exact = stats[stat];
            // Of a test that was aborted k6 takes the duration twice: its text and its export tell different rates.
            if is_aborted && metric.kind == Kind::Counter && stat == "rate" {
                assert!((value.low() / exact - 1.0).abs() < 0.05 || exact == 0.0);
                continue;
            }
            assert!(
                value.holds(exact),
                "{} {stat}: {value:?} {exact}",
                metric.name
            );
            let width = value.high() - value.low();
            // The rule's worst: two digits of a unit, a minute's second, half a unit of bytes.
            let most = match metric.unit {
                Unit::None => 2e-6,
                Unit::Ms if folder.starts_with("time-unit") => 10.001,
                Unit::Ms => (exact * 0.011).max(1e-5),
                Unit::Bytes => exact * 0.12,
            };
            assert!(width <= most, "{} {stat}: {value:?}", metric.name);
        }
    }
    let hidden = [
        "http_req_blocked",
        "http_req_connecting",
        "http_req_receiving",
        "http_req_sending",
        "http_req_tls_handshaking",
        "http_req_waiting",
    ];
    for name in truth.metrics.keys() {
        let base = name.split('{').next().unwrap();
        let shown = !base.starts_with("group_duration")
            && !name.starts_with("checks{")
            && (is_full || !hidden.contains(&base));
        assert_eq!(summary.metric(name).is_some(), shown, "{name}");
    }
    assert_eq!(thresholds(summary), truth.thresholds);
    let mut names: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (_, name, passes, fails) in &truth.checks {
        let sums = names.entry(name).or_default();
        *sums = (sums.0 + passes, sums.1 + fails);
    }
    assert_eq!(summary.checks.len(), names.len());
    for check in &summary.checks {
        let (passes, fails) = names[check.name.as_str()];
        assert_eq!(check.path, None);
        assert_eq!(check.fails, fails);
        assert_eq!(check.passes.unwrap_or(passes), passes);
    }
}

/// Folder, and whether there is a JSON summary in the log.
const SUMMARIES: [(&str, bool); 18] = [
    ("abort-on-fail.compact", false),
    ("abort-on-fail.full", false),
    ("checks-only.compact", false),
    ("checks-only.full", false),
    ("handle-summary-json.compact", true),
    ("handle-summary-json.full", true),
    ("http-failing.compact", false),
    ("http-failing.full", false),
    ("http-failing.json-log", false),
    ("http-plain.compact", false),
    ("http-plain.full", false),
    ("nothing.compact", false),
    ("nothing.full", false),
    ("scenarios-groups.compact", false),
    ("scenarios-groups.full", false),
    ("test-abort.compact", false),
    ("time-unit.compact", false),
    ("trend-stats.compact", false),
];

#[test]
fn every_recorded_summary_is_k6s_own_export() {
    for (folder, is_json) in SUMMARIES {
        println!("{folder}");
        let path = recorded().join("summaries").join(folder);
        let truth = String::from_utf8(read(&path.join("summary.json"))).unwrap();
        let truth = Truth::of(&truth);
        let summary = found(&read(&path.join("log.txt")));
        match is_json {
            true => assert_exact(&summary, &truth),
            false => assert_rounded(&summary, &truth, folder),
        }
    }
}

/// The JSON in a log, cut out by hand.
fn export_in(log: &[u8]) -> String {
    let log = String::from_utf8(log.to_vec()).unwrap();
    let begin = log.find("{\n    \"").unwrap();
    let end = begin + log[begin..].find("\n}").unwrap() + 2;
    // Lines of the text may be in between.
    let lines = log[begin..end].lines();
    let json = lines.filter(|line| *line == "{" || line.trim_start().starts_with(['"', '}', ']']));
    json.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_export_in_the_log_is_taken_to_the_last_bit() {
    let summaries = [
        "abort-on-fail",
        "checks-only",
        "handle-summary-json",
        "handle-summary-text",
        "http-failing",
        "scenarios-groups",
    ];
    let folders = summaries.map(|name| format!("summaries/{name}.export-stderr/log.txt"));
    let runners = ["1-cnckf", "2-tkd9v", "3-rck75"];
    let runners = runners.map(|name| format!("operator-3-runners/export-{name}.log"));
    for path in folders.iter().chain(&runners) {
        println!("{path}");
        let log = read(&recorded().join(path));
        assert_exact(&found(&log), &Truth::of(&export_in(&log)));
    }
}

#[test]
fn units_come_from_where_they_are_told() {
    let log = read(&recorded().join("summaries/scenarios-groups.export-stderr/log.txt"));
    let with_text = found(&log);
    let alone = found(export_in(&log).as_bytes());
    for (name, expected, without) in [
        ("think_time", Unit::Ms, Unit::None),
        ("items_per_order", Unit::None, Unit::None),
        ("http_req_duration{scenario:buy}", Unit::Ms, Unit::Ms),
        ("data_sent", Unit::Bytes, Unit::Bytes),
        ("orders", Unit::None, Unit::None),
    ] {
        assert_eq!(with_text.metric(name).unwrap().unit, expected, "{name}");
        assert_eq!(alone.metric(name).unwrap().unit, without, "{name}");
    }
}

#[test]
fn the_newer_form_has_its_thresholds_from_the_text() {
    for (name, thresholds) in [
        ("abort-on-fail", 1),
        ("checks-only", 0),
        ("handle-summary-json", 0),
        ("handle-summary-text", 0),
        ("http-failing", 3),
        ("http-plain", 0),
        ("nothing", 0),
        ("scenarios-groups", 7),
        ("time-unit", 1),
        ("trend-stats", 0),
    ] {
        println!("{name}");
        let log = read(&recorded().join(format!("summaries/{name}.machine/log.txt")));
        let summary = found(&log);
        assert_eq!(summary.source, Source::Json);
        assert_eq!(summary.k6_version.as_deref(), Some("2.2.0"));
        assert!(summary.duration_ms.unwrap() > 0.0);
        assert_eq!(summary.thresholds.len(), thresholds);
        let iterations = &summary.metric("iterations").unwrap().stats;
        assert!(iterations["count"].number().unwrap() > 0.0);
        if let Reading::Summary(text) = text::read(&log, true) {
            let rate = text.metric("iterations").unwrap().stats["rate"];
            let middle = (rate.low() + rate.high()) / 2.0;
            let exact = iterations["rate"].number().unwrap();
            // Measured twice where the test was aborted.
            assert!((exact / middle - 1.0).abs() < 1e-3, "{exact} {rate:?}");
        }
    }
}

#[test]
fn what_is_no_summary_is_absent() {
    for (path, expected) in [
        ("http-plain.disabled", Outcome::Absent),
        ("handle-summary-text.compact", Outcome::Absent),
        ("handle-summary-text.full", Outcome::Absent),
    ] {
        let log = read(&recorded().join("summaries").join(path).join("log.txt"));
        assert_eq!(summarize(&log, true), expected, "{path}");
    }
}

#[test]
fn a_window_is_enough_or_says_that_it_is_not() {
    for folder in std::fs::read_dir(recorded().join("summaries")).unwrap() {
        let log = read(&folder.unwrap().path().join("log.txt"));
        let lines = b"time=\"2026-11-25T07:36:12Z\" level=info msg=\"a line\" source=console\n";
        let expected = summarize(&log, true);
        let long = [lines.repeat(2_000).as_slice(), &log].concat();
        assert_eq!(summarize(&long, true), expected);
        for more in [1, 10, 10_000, 100_000] {
            let tail = &long[long.len() - (log.len() + more).min(long.len())..];
            let outcome = summarize(tail, false);
            assert!(
                outcome == expected || outcome == Outcome::CutOff,
                "{outcome:?}"
            );
            // What is before a summary is known from some lines on.
            assert!(outcome == expected || more < 100_000, "{more} {outcome:?}");
        }
        for cut in (1..log.len()).step_by(7) {
            match summarize(&log[cut..], false) {
                Outcome::Found(found) => assert_eq!(Outcome::Found(found), expected),
                Outcome::CutOff | Outcome::Absent | Outcome::Unreadable(_) => {}
            }
        }
    }
}

proptest::proptest! {
    /// Real logs with parts moved, removed and repeated.
    #[test]
    fn never_panics_and_never_says_what_can_not_be(
        name in proptest::sample::select(vec![
            "summaries/scenarios-groups.full/log.txt",
            "summaries/http-failing.export-stderr/log.txt",
            "summaries/handle-summary-json.export-stderr/log.txt",
            "summaries/trend-stats.machine/log.txt",
            "operator-3-runners/export-1-cnckf.log",
        ]),
        edits in proptest::collection::vec(
            (0.0_f64..1.0, 0_usize..200, 0.0_f64..1.0, "[ \n{}\"✓.:0-9a-z]{0,9}"), 0..6),
        whole in proptest::bool::ANY,
    ) {
        let mut log = read(&recorded().join(name));
        for (from, length, to, more) in edits {
            let at = |share: f64, log: &[u8]| (share * log.len() as f64) as usize;
            let from = at(from, &log);
            let end = (from + length).min(log.len());
            let part: Vec<u8> = log.splice(from..end, more.bytes()).collect();
            let to = at(to, &log);
            log.splice(to..to, part);
        }
        if let Outcome::Found(summary) = summarize(&log, whole) {
            let text = serde_json::to_string(&summary).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), *summary);
        }
    }

    #[test]
    fn any_bytes_will_do(log in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        summarize(&log, true);
        summarize(&log, false);
    }
}
