use super::super::{Outcome, Unit, summarize};
use super::*;

const EXPORT: &str = r#"{
    "root_group": {
        "name": "", "path": "", "id": "d4",
        "groups": {
            "cart": {
                "name": "cart", "path": "::cart", "id": "c", "groups": {},
                "checks": {
                    "paid": { "name": "paid", "path": "::cart::paid", "id": "p", "passes": 3, "fails": 1 }
                }
            }
        },
        "checks": {}
    },
    "metrics": {
        "checks": { "passes": 3, "fails": 1, "value": 0.75, "thresholds": { "rate>0.9": true } },
        "iterations": { "count": 4, "rate": 0.1 },
        "vus": { "value": 1, "min": 1, "max": 2 },
        "wait": { "count": 7, "p(99.9)": 2.3000000000000003, "thresholds": { "p(99.9)<3": false, "avg<1": true } }
    },
    "setup_data": { "token": "secret" }
}"#;

/// On one line, as scripts print it.
fn single(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    // The order of members is any.
    serde_json::to_string(&value).unwrap()
}

fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

fn found(log: &str) -> Summary {
    match summarize(log.as_bytes(), true) {
        Outcome::Found(summary) => *summary,
        other => panic!("{other:?}\n{log}"),
    }
}

const DATA: &str = r#"{
    "root_group": {
        "name": "", "path": "", "id": "d4", "checks": [],
        "groups": [
            {
                "name": "cart", "path": "::cart", "id": "c", "groups": [],
                "checks": [ { "name": "paid", "path": "::cart::paid", "id": "p", "passes": 3, "fails": 1 } ]
            }
        ]
    },
    "options": { "summaryTrendStats": ["avg"], "summaryTimeUnit": "", "noColor": false },
    "state": { "isStdErrTTY": false, "isStdOutTTY": false, "testRunDurationMs": 40000.5 },
    "setup_data": { "token": "secret" },
    "metrics": {
        "checks": { "type": "rate", "contains": "default", "values": { "rate": 0.75, "passes": 3, "fails": 1 }, "thresholds": { "rate>0.9": { "ok": false } } },
        "iterations": { "type": "counter", "contains": "default", "values": { "count": 4, "rate": 0.1 } },
        "vus": { "type": "gauge", "contains": "default", "values": { "value": 1, "min": 1, "max": 2 } },
        "wait": { "type": "trend", "contains": "time", "values": { "count": 7, "p(99.9)": 2.3000000000000003 }, "thresholds": { "p(99.9)<3": { "ok": true }, "avg<1": { "ok": false } } }
    }
}"#;

const NEWER: &str = r#"{
    "config": { "duration": 40.0005, "execution": "local", "script": "let a = {\n\"metrics\": {\n" },
    "metadata": { "generated_at": "2026-11-25T07:36:54.885854035Z", "k6_version": "2.2.0" },
    "results": {
        "checks": {
            "metrics": [
                { "name": "checks_total", "type": "counter", "contains": "default", "values": { "count": 4 } },
                { "name": "checks_failed", "type": "rate", "contains": "default", "values": { "matches": 1, "rate": 0.25, "total": 4 } },
                { "name": "checks_succeeded", "type": "rate", "contains": "default", "values": { "matches": 3, "rate": 0.75, "total": 4 } }
            ],
            "results": [ { "name": "paid", "passes": 3, "fails": 1 } ]
        },
        "metrics": [
            { "name": "iterations", "type": "counter", "contains": "default", "values": { "count": 4 } },
            { "name": "wait", "type": "trend", "contains": "time", "values": { "avg": 1.5, "max": null, "med": null, "min": null, "p90": 2.5, "p95": null } }
        ]
    },
    "version": "1.0.0"
}"#;

#[test]
fn reads_the_three_forms() {
    for json in [pretty(EXPORT), single(EXPORT), pretty(DATA), single(DATA)] {
        let summary = found(&json);
        let thresholds: Vec<_> = summary
            .thresholds
            .iter()
            .map(|found| {
                let seen = found.observed.map(|value| value.number().unwrap());
                (
                    found.metric.as_str(),
                    found.expression.as_str(),
                    found.failed,
                    seen,
                )
            })
            .collect();
        assert_eq!(
            thresholds,
            [
                ("checks", "rate>0.9", true, Some(0.75)),
                ("wait", "avg<1", true, None),
                ("wait", "p(99.9)<3", false, Some(2.300_000_000_000_000_3)),
            ]
        );
        let kinds: Vec<Kind> = summary.metrics.iter().map(|metric| metric.kind).collect();
        assert_eq!(kinds, [Kind::Rate, Kind::Counter, Kind::Gauge, Kind::Trend]);
        let [check] = summary.checks.as_slice() else {
            panic!("{summary:?}")
        };
        assert_eq!(check.path.as_deref(), Some("::cart::paid"));
        assert_eq!((check.passes, check.fails), (Some(3), 1));
        let document = serde_json::to_string(&summary).unwrap();
        assert!(!document.contains("secret"));
    }
    let data = found(&pretty(DATA));
    assert_eq!(data.duration_ms, Some(40_000.5));
    assert_eq!(data.metric("wait").unwrap().unit, Unit::Ms);
    for json in [
        pretty(NEWER),
        single(NEWER),
        pretty(NEWER).replace("k6_version", "k6Version"),
    ] {
        let newer = found(&json);
        assert_eq!(newer.k6_version.as_deref(), Some("2.2.0"));
        assert_eq!(newer.duration_ms, Some(40_000.5));
        let wait = newer.metric("wait").unwrap();
        let stats: Vec<&str> = wait.stats.keys().map(String::as_str).collect();
        assert_eq!(stats, ["avg", "p(90)"]);
        let checks = &newer.metric("checks").unwrap().stats;
        assert_eq!(checks["fails"].number(), Some(1.0));
        assert_eq!(newer.checks[0].path, None);
        let rate = newer.metric("iterations").unwrap().stats["rate"];
        assert_eq!(rate.number(), Some(4.0 / 40.0005));
    }
}

#[test]
fn tells_the_kind_from_the_keys() {
    for (stats, expected) in [
        (r#"{ "count": 4, "rate": 0.1 }"#, Kind::Counter),
        (r#"{ "count": 4 }"#, Kind::Trend),
        (r#"{ "min": 1, "max": 4 }"#, Kind::Trend),
        (r#"{ "value": 1, "min": 1, "max": 4 }"#, Kind::Gauge),
        (r#"{ "value": 1, "passes": 1, "fails": 0 }"#, Kind::Rate),
        (r#"{ "value": null, "passes": 0, "fails": 0 }"#, Kind::Rate),
        (r#"{ "avg": null, "p(50)": 1 }"#, Kind::Trend),
        (r#"{}"#, Kind::Trend),
    ] {
        let json = EXPORT.replace(r#"{ "count": 4, "rate": 0.1 }"#, stats);
        let summary = found(&pretty(&json));
        assert_eq!(
            summary.metric("iterations").unwrap().kind,
            expected,
            "{stats}"
        );
    }
}

#[test]
fn what_is_not_as_k6_writes_it_is_unreadable() {
    for (from, to) in [
        (r#""count": 4"#, r#""count": "4""#),
        (r#""count": 4"#, r#""counted": 4"#),
        (r#""count": 4"#, r#""count": 4e300"#),
        (r#""count": 4"#, r#""count": 4, "count": 5"#),
        (r#""iterations": {"#, r#""vus": {"#),
        (
            r#""passes": 3, "fails": 1, "value""#,
            r#""passes": 3.5, "fails": 1, "value""#,
        ),
        (
            r#""passes": 3, "fails": 1, "value""#,
            r#""passes": -3, "fails": 1, "value""#,
        ),
        (r#""rate>0.9": true"#, r#""rate>0.9": "true""#),
        (r#""rate>0.9": true"#, r#""rate>0.9": {"ok": true}"#),
        (r#""passes": 3, "fails": 1 }"#, r#""passes": 3 }"#),
        (r#""p(99.9)""#, r#""p(999)""#),
        (r#""metrics": {"#, r#""metrics": { "x": 1,"#),
    ] {
        let json = EXPORT.replace(from, to);
        assert_ne!(json, EXPORT, "{from}");
        let object = json.lines().map(str::trim).collect::<String>();
        for json in [object.replace(": ", ":").replace("{ ", "{"), json] {
            let outcome = summarize(json.as_bytes(), true);
            assert!(
                matches!(outcome, Outcome::Unreadable(_)),
                "{to}: {outcome:?}"
            );
        }
    }
}

#[test]
fn what_scripts_print_of_their_own_is_no_summary() {
    for json in [
        r#"{"metrics":{"http_reqs":5}}"#,
        r#"{"results":{"a":1}}"#,
        r#"{"data":{"metrics":{"a":1}}}"#,
        r#"{"metrics":{"a":{"type":"counter"}},"name":"mine"}"#,
        "{\n  \"metrics\": {\n    \"a\": 1\n  }\n}",
    ] {
        assert_eq!(summarize(json.as_bytes(), true), Outcome::Absent, "{json}");
    }
}

#[test]
fn the_best_of_several_counts() {
    let other = |json: &str| {
        json.replace("0.75", "0.5")
            .replace("\"passes\": 3", "\"passes\": 1")
    };
    let (export, data, newer) = (pretty(EXPORT), single(DATA), single(NEWER));
    let rate = |log: &str| {
        found(log).metric("checks").unwrap().stats["rate"]
            .number()
            .unwrap()
    };
    for (log, expected) in [
        // The last of its kind.
        (format!("{}\n{export}", pretty(&other(EXPORT))), 0.75),
        (format!("{export}\n{}", pretty(&other(EXPORT))), 0.5),
        // k6's own before a script's.
        (format!("{}\n{export}", single(&other(DATA))), 0.75),
        (format!("{export}{}\n", single(&other(DATA))), 0.75),
        (format!("{}\n{data}", single(&other(NEWER))), 0.75),
        (
            format!(
                "{newer}\n{}",
                "time=\"x\" level=info msg=\"{\\\"metrics\\\":{\\\"a\\\"\""
            ),
            0.75,
        ),
        // One that is broken says nothing of another's kind.
        (format!("{data}\n{}", &export[..export.len() / 2]), 0.75),
    ] {
        assert_eq!(rate(&log), expected, "{log}");
    }
    // An older one of its own kind was of something else.
    let log = format!("{export}\n{}", &export[..export.len() / 2]);
    assert_eq!(
        summarize(log.as_bytes(), true),
        Outcome::Unreadable(Problem::Incomplete)
    );
    // What both tell comes together.
    let both = found(&format!("{export}\n{data}\n"));
    assert_eq!(both.metric("wait").unwrap().unit, Unit::Ms);
    assert_eq!(both.duration_ms, Some(40_000.5));
    let strange = found(&format!("{export}\n{}\n", single(&other(DATA))));
    assert_eq!(strange.metric("wait").unwrap().unit, Unit::None);
    assert_eq!(strange.duration_ms, None);
}

#[test]
fn a_part_is_none() {
    for whole in [
        pretty(EXPORT),
        single(EXPORT),
        pretty(DATA),
        single(DATA),
        pretty(NEWER),
        single(NEWER),
    ] {
        let expected = summarize(whole.as_bytes(), true);
        for cut in 0..whole.len() {
            match summarize(&whole.as_bytes()[..cut], true) {
                Outcome::Found(found) => assert_eq!(Outcome::Found(found), expected, "{cut}"),
                Outcome::CutOff => panic!("{cut}"),
                Outcome::Absent | Outcome::Unreadable(_) => {}
            }
            let outcome = summarize(&whole.as_bytes()[cut..], false);
            if cut > 0 && cut < whole.len() - 1 {
                assert_eq!(outcome, Outcome::CutOff, "{cut} of {whole}");
            }
        }
    }
}
