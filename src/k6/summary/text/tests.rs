use super::super::{Outcome, Problem, Source, Summary, Unit, summarize};

fn found(log: &str) -> Summary {
    match summarize(log.as_bytes(), true) {
        Outcome::Found(summary) => *summary,
        other => panic!("{other:?}\n{log}"),
    }
}

fn outcome(log: &str) -> Outcome {
    summarize(log.as_bytes(), true)
}

const THRESHOLDS: &str = "
  █ THRESHOLDS 

    http_req_duration
    ✓ 'p(95)<1' p(95)=930.93µs
    ✗ 'p(99.9)<1' p(99.9)=1.28ms

      {scenario:buy}
      ✓ 'max<2000' max=1.3ms

    http_reqs{name:✓ 'rate>1' rate=1}
    ✗ 'rate > 100' rate=39.025185/s

";

const TOTAL: &str = "
  █ TOTAL RESULTS 

    checks_total.......: 118    39.025185/s
    checks_succeeded...: 66.10% 78 out of 118
    checks_failed......: 33.89% 40 out of 118

    ✓ home
    ✗ is 200
      ↳  42% — ✓ 30 / ✗ 40

    HTTP
    http_req_duration..............: avg=412.74µs min=0s       med=489.45µs max=1.3ms   p(90)=786.02µs p(95)=930.93µs
      { scenario:buy }.............: avg=624.4µs  min=253.23µs med=597.94µs max=1.3ms   p(90)=849.96µs p(95)=1.01ms  
    http_reqs......................: 118    39.025185/s

    EXECUTION
    iterations.....................: 118    39.025185/s
    vus............................: 2      min=2         max=2

    NETWORK
    data_received..................: 9.1 kB 3.0 kB/s
    data_sent......................: 5.5 kB 1.8 kB/s



";

const TREE: &str = "
     ✓ home

     █ cart

       ✗ is 200
        ↳  42% — ✓ 30 / ✗ 40

       █ pay ✓

         ✓ paid...: 5 1/s

     checks...............: 66.10% ✓ 78  ✗ 40 
     data_received........: 9.1 kB 3.0 kB/s
     data_sent............: 5.5 kB 1.8 kB/s
   ✗ http_req_duration....: avg=412.74µs min=0s       med=489.45µs max=1.3ms   p(90)=786.02µs p(95)=930.93µs
     ✓ { scenario:buy }...: avg=624.4µs  min=253.23µs med=597.94µs max=1.3ms   p(90)=849.96µs p(95)=1.01ms  
     http_reqs............: 118    39.025185/s
     iteration_duration...: avg=51.2ms   min=50.28ms  med=51.18ms  max=52.43ms p(90)=51.64ms  p(95)=51.79ms 
     iterations...........: 118    39.025185/s
     vus..................: 2      min=2 max=2
     vus_max..............: 2      min=2 max=2

";

fn checks(summary: &Summary) -> Vec<(Option<&str>, &str, Option<u64>, u64)> {
    let checks = summary.checks.iter();
    checks
        .map(|check| {
            (
                check.path.as_deref(),
                check.name.as_str(),
                check.passes,
                check.fails,
            )
        })
        .collect()
}

#[test]
fn reads_sections() {
    let summary = found(&format!("{THRESHOLDS}{TOTAL}"));
    assert_eq!(summary.source, Source::Text);
    let thresholds: Vec<_> = summary
        .thresholds
        .iter()
        .map(|found| {
            let seen = found.observed.map(|value| (value.low(), value.high()));
            (
                found.metric.as_str(),
                found.expression.as_str(),
                found.failed,
                seen.is_some(),
            )
        })
        .collect();
    assert_eq!(
        thresholds,
        [
            ("http_req_duration", "p(95)<1", false, true),
            ("http_req_duration", "p(99.9)<1", true, true),
            ("http_req_duration{scenario:buy}", "max<2000", false, true),
            (
                "http_reqs{name:✓ 'rate>1' rate=1}",
                "rate > 100",
                true,
                false
            ),
        ]
    );
    assert_eq!(
        checks(&summary),
        [(None, "home", Some(48), 0), (None, "is 200", Some(30), 40)]
    );
    let names: Vec<&str> = summary
        .metrics
        .iter()
        .map(|metric| metric.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "checks",
            "data_received",
            "data_sent",
            "http_req_duration",
            "http_req_duration{scenario:buy}",
            "http_reqs",
            "iterations",
            "vus"
        ]
    );
    let reqs = summary.metric("http_reqs").unwrap();
    assert_eq!(reqs.stats["count"].number(), Some(118.0));
    assert_eq!(summary.metric("data_sent").unwrap().unit, Unit::Bytes);
}

#[test]
fn reads_the_older_tree() {
    for log in [
        TREE.to_owned(),
        // jslib's, in its ways.
        TREE.trim_start_matches('\n').to_owned(),
        TREE.trim_end_matches('\n').to_owned(),
        format!(
            "{}time=\"2026-11-25T07:36:40Z\" level=error msg=\"thresholds\"\n",
            TREE.trim_end_matches('\n')
        ),
        TREE.replace("\n ", "\n→"),
        TREE.replace("\n ", "\n\t> "),
        TREE.replace("\n ", "\n"),
        TREE.replace(
            "     iterations.",
            "\u{1b}[32m     \u{1b}[0miterations\u{1b}[2m.\u{1b}[0m",
        ),
        TREE.replace("✓ 78  ✗ 40 ", "78 out of 118"),
    ] {
        let summary = found(&log);
        assert_eq!(
            checks(&summary),
            [
                (Some("::cart::is 200"), "is 200", Some(30), 40),
                (
                    Some("::cart::pay ✓::paid...: 5 1/s"),
                    "paid...: 5 1/s",
                    None,
                    0
                ),
                (Some("::home"), "home", None, 0),
            ],
            "{log}"
        );
        let marks = summary
            .marks
            .iter()
            .map(|mark| (mark.metric.as_str(), mark.failed));
        assert_eq!(
            marks.collect::<Vec<_>>(),
            [
                ("http_req_duration", true),
                ("http_req_duration{scenario:buy}", false)
            ]
        );
        assert!(summary.thresholds.is_empty());
        assert_eq!(summary.metrics.len(), 10, "{log}");
        let failed = &summary.metric("checks").unwrap().stats["fails"];
        assert_eq!(failed.number(), Some(40.0));
    }
}

#[test]
fn foreign_lines_between_change_nothing() {
    let foreign = [
        "time=\"2026-11-25T07:36:40Z\" level=warning msg=\"http_reqs...: 9 9/s\"",
        "{\"level\":\"info\",\"msg\":\"  █ TOTAL RESULTS \",\"time\":\"2026-11-25T07:36:40Z\"}",
        "        \"http_reqs\": {",
        "            \"count\": 12,",
        "        },",
        "plain words of a script",
        "\tat http_reqs...: 5 1/s",
        "http_reqs...: 5 1/s",
    ];
    for whole in [format!("{THRESHOLDS}{TOTAL}"), TREE.to_owned()] {
        let expected = found(&whole);
        for foreign in foreign {
            let lines: Vec<&str> = whole.lines().collect();
            for at in 1..lines.len() {
                let mut lines = lines.clone();
                lines.insert(at, foreign);
                assert_eq!(
                    found(&(lines.join("\n") + "\n")),
                    expected,
                    "{foreign} {at}"
                );
            }
            let everywhere: String = whole
                .lines()
                .map(|line| format!("{line}\n{foreign}\n"))
                .collect();
            assert_eq!(found(&everywhere), expected, "{foreign}");
        }
    }
}

/// A part is no summary, wherever it ends; and from the middle on more is asked for.
#[test]
fn a_part_is_none() {
    for whole in [format!("{THRESHOLDS}{TOTAL}"), TREE.to_owned()] {
        let expected = outcome(&whole);
        for cut in 0..whole.len() {
            match summarize(&whole.as_bytes()[..cut], true) {
                Outcome::Found(found) => assert_eq!(Outcome::Found(found), expected, "{cut}"),
                Outcome::CutOff => panic!("{cut}"),
                Outcome::Absent | Outcome::Unreadable(_) => {}
            }
            if let Outcome::Found(found) = summarize(&whole.as_bytes()[cut..], false) {
                assert_eq!(Outcome::Found(found), expected, "{cut}");
            }
            if let Outcome::Found(_) = summarize(&whole.as_bytes()[cut..], true)
                && whole.starts_with(THRESHOLDS)
                && whole.as_bytes()[..cut].ends_with(b"\n")
                && cut > 1
            {
                // Results without their title are half a summary; without them it can't be told.
                assert!(cut > THRESHOLDS.len() - 3, "{cut}");
            }
        }
    }
}

#[test]
fn the_last_summary_counts() {
    let quoted = TOTAL.replace("9.1 kB", "9.2 kB");
    let log = format!("{quoted}time=\"x\" level=info\n{THRESHOLDS}{TOTAL}");
    assert_eq!(found(&log), found(&format!("{THRESHOLDS}{TOTAL}")));
    assert_eq!(found(&format!("{TOTAL}{TREE}")), found(TREE));
    assert_eq!(found(&format!("{TREE}{TOTAL}")), found(TOTAL));
}

#[test]
fn what_contradicts_itself_is_unreadable() {
    for (from, to) in [
        // A metric twice, a section twice.
        (
            "    http_reqs....",
            "    iterations...: 1 1/s\n    http_reqs....",
        ),
        ("    NETWORK\n", "    HTTP\n"),
        // Values that k6 does not print.
        ("2      min=2         max=2", "2      min=2         most=2"),
        ("9.1 kB 3.0 kB/s", "9.1 kB 3.0"),
        ("avg=412.74µs", "avg=412.7444µs"),
        ("avg=412.74µs", "average=412.74µs"),
        ("avg=412.74µs", "avg=412.74µs avg=412.74µs"),
        ("avg=412.74µs", "avg=5 kB"),
        ("66.10% 78 out of 118", "66.10% 98 out of 118"),
        ("66.10% 78 out of 118", "66.10% 78 out of 18"),
        (
            "http_reqs......................: 118 ",
            "http_reqs......................: 118.5 ",
        ),
        (
            "http_reqs......................: 118 ",
            "http reqs:.....................: 118 ",
        ),
    ] {
        let log = TOTAL.replacen(from, to, 1);
        assert_ne!(log, TOTAL);
        assert_eq!(
            outcome(&log),
            Outcome::Unreadable(Problem::Malformed),
            "{to}"
        );
    }
}

#[test]
fn names_that_look_like_anything_are_names() {
    for name in [
        "http_reqs......................: 205   67.60824/s",
        "✓ x",
        "✗ x",
        "█ TOTAL RESULTS ",
        "  █ THRESHOLDS ",
        "    HTTP",
        "HTTP",
        "\"count\": 5,",
        "{",
        "}",
        "↳  66% — ✓ 78 / ✗ 40",
        "checks_total...: 5 1/s",
        "time=\"2026\" level=error",
        "100% / \"ok\"",
        "",
    ] {
        let summary = found(&TOTAL.replace("is 200", name));
        assert!(
            summary
                .checks
                .iter()
                .any(|check| check.name == name && check.fails == 40),
            "{name}"
        );
        let summary = found(&TREE.replace("█ cart", &format!("█ {name}")));
        let path = format!("::{name}::is 200");
        assert!(
            summary
                .checks
                .iter()
                .any(|check| check.path.as_deref() == Some(&path)),
            "{name}"
        );
    }
}

/// The checks may not be what they seem; the rest is.
#[test]
fn a_name_of_several_lines_takes_the_checks_with_it() {
    for name in ["a\n    b", "a\n\n    b", "a\n      http_reqs: 5"] {
        let log = TOTAL.replace("is 200", name);
        let summary = found(&log);
        assert_eq!(checks(&summary), [], "{name}");
        assert_eq!(summary.metrics, found(TOTAL).metrics, "{name}");
        let summary = found(&TREE.replace("✓ home", &format!("✓ {name}")));
        assert!(
            checks(&summary).iter().all(|check| check.1 != "a"),
            "{name}"
        );
    }
}

#[test]
fn checks_that_do_not_make_up_the_total_are_left_out() {
    for (from, to) in [
        ("    ✓ home\n", ""),
        ("✓ 30 / ✗ 40", "✓ 29 / ✗ 41"),
        ("      ↳  42% — ✓ 30 / ✗ 40\n", ""),
    ] {
        let summary = found(&TOTAL.replace(from, to));
        let left = checks(&summary).len();
        // One that always passed may be missing: the others stay true.
        assert_eq!(
            left,
            usize::from(to.is_empty() && from.contains("home")),
            "{from}"
        );
    }
    let two = found(&TOTAL.replace("    ✓ home\n", "    ✓ home\n    ✓ again\n"));
    assert_eq!(checks(&two)[0], (None, "again", None, 0));
}

#[test]
fn submetrics_belong_to_the_line_above() {
    let sub = "      { name:x y }...: 12 4.1/s\n";
    let after = "    http_reqs......................: 118    39.025185/s\n";
    let log = TOTAL.replace(after, &format!("{after}{sub}"));
    assert!(found(&log).metric("http_reqs{name:x y}").is_some());
    // A submetric of another kind is of a metric that is not there.
    let strange = TOTAL.replace(after, &format!("{after}      {{ name:x y }}...: avg=1ms\n"));
    assert_eq!(found(&strange).metrics, found(TOTAL).metrics);
}

#[test]
fn quotes_in_log_lines_are_no_summary() {
    let quoted = format!("{THRESHOLDS}{TOTAL}").replace('\n', "\\n");
    for log in [
        format!("time=\"2026-11-25T07:36:12Z\" level=info msg=\"{quoted}\" source=console\n"),
        format!("{{\"level\":\"info\",\"msg\":\"{quoted}\"}}\n"),
        "time=\"x\" level=info msg=\"http_reqs...: 1 1/s\"\n".to_owned(),
        "running (0m03.0s), 0/3 VUs, 205 complete\ndefault ✓ [ 100% ] 3 VUs  3s\n".to_owned(),
        "loading...: 5 of 6\n    waiting...: 5 of 6\n".to_owned(),
        "     my_metric...: 5 1/s\n\n".to_owned(),
    ] {
        assert_eq!(outcome(&log), Outcome::Absent, "{log}");
    }
}
