use super::super::combine::MarkRow;
use super::*;

fn row(metric: &str, expression: &str, failed: u64, observed: Option<(f64, f64)>) -> ThresholdRow {
    ThresholdRow {
        metric: metric.to_owned(),
        expression: expression.to_owned(),
        runners: 4,
        failed,
        observed,
        kind: Some(Kind::Trend),
        unit: Unit::Ms,
    }
}

fn message(thresholds: Vec<ThresholdRow>) -> Option<String> {
    failed_thresholds(&StepResults {
        thresholds,
        ..StepResults::default()
    })
}

#[test]
fn names_what_failed_and_what_was_seen() {
    let time = |low, high| row("http_req_duration", "p(95)<500", 2, Some((low, high)));
    let rate = ThresholdRow {
        kind: Some(Kind::Rate),
        unit: Unit::None,
        ..row(
            "http_req_failed",
            "rate<0.01",
            1,
            Some((0.338_983, 0.338_983)),
        )
    };
    let counter = |expression: &str, unit, observed| ThresholdRow {
        kind: Some(Kind::Counter),
        unit,
        ..row("orders", expression, 4, Some(observed))
    };
    let prefix = "http_req_duration p(95)<500:";
    for (row, expected) in [
        (
            time(612.0, 840.0),
            format!("{prefix} 612–840 ms, failed on 2 of 4 runners"),
        ),
        (
            time(500.34, 500.34),
            format!("{prefix} 500.3 ms, failed on 2 of 4 runners"),
        ),
        (
            time(902.0, 12_345.0),
            format!("{prefix} 0.902–12.35 s, failed on 2 of 4 runners"),
        ),
        (
            time(0.0059, 0.21),
            format!("{prefix} 5.9–210 µs, failed on 2 of 4 runners"),
        ),
        (
            time(0.0, 0.0),
            format!("{prefix} 0 ms, failed on 2 of 4 runners"),
        ),
        (
            row("t", "p(99)<5", 1, None),
            "t p(99)<5: failed on 1 of 4 runners".to_owned(),
        ),
        (
            row("t", "count>5", 1, Some((3.0, 3.0))),
            "t count>5: 3, failed on 1 of 4 runners".to_owned(),
        ),
        (
            rate,
            "http_req_failed rate<0.01: 33.9 %, failed on 1 of 4 runners".to_owned(),
        ),
        (
            counter("count>15", Unit::None, (0.0, 10.0)),
            "orders count>15: 0–10, failed on 4 of 4 runners".to_owned(),
        ),
        (
            counter("rate > 100", Unit::None, (4.292_891, 123_456.78)),
            "orders rate > 100: 4.293–123457/s, failed on 4 of 4 runners".to_owned(),
        ),
        (
            counter("count<5", Unit::Bytes, (1_500_000.0, 23_000_000.0)),
            "orders count<5: 1.5–23 MB, failed on 4 of 4 runners".to_owned(),
        ),
        (
            counter("rate<5", Unit::Bytes, (574.0, 574.0)),
            "orders rate<5: 574 B/s, failed on 4 of 4 runners".to_owned(),
        ),
    ] {
        assert_eq!(message(vec![row]), Some(expected));
    }
}

#[test]
fn says_nothing_where_nothing_failed() {
    assert_eq!(message(Vec::new()), None);
    assert_eq!(message(vec![row("t", "avg<1", 0, Some((1.0, 2.0)))]), None);
}

#[test]
fn those_come_first_that_failed_most_and_the_rest_is_counted() {
    let rows = (1..=4).map(|failed| row(&format!("m{failed}"), "avg<1", failed, None));
    let more = (0..4).map(|number| row(&format!("n{number}"), "avg<1", 1, None));
    let message = message(rows.chain(more).collect()).unwrap();
    assert!(message.starts_with("m4 avg<1: failed on 4 of 4 runners; m3 avg<1"));
    assert!(message.ends_with("; and 3 more"), "{message}");
    assert_eq!(message.matches("failed on").count(), 5);
}

#[test]
fn marks_count_where_no_expression_is_told() {
    let results = StepResults {
        marks: vec![MarkRow {
            metric: "http_req_duration".to_owned(),
            runners: 1,
            failed: 1,
        }],
        ..StepResults::default()
    };
    assert_eq!(
        failed_thresholds(&results).unwrap(),
        "a threshold of http_req_duration: failed on 1 of 1 runner"
    );
}

#[test]
fn names_of_any_length_stay_short_and_harmless() {
    let name = "\u{1b}[2J\n".repeat(5_000);
    let rows = (0..100).map(|_| row(&name, &name, 1, Some((1e200, -1e-200))));
    let message = message(rows.collect()).unwrap();
    assert!(!message.contains(['\n', '\u{1b}']), "{message}");
    assert!(message.len() < 4_000, "{}", message.len());
}
