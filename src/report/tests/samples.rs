//! Runs to draw, for the tests of this room.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use crate::k6::summary::{Kind, Unit};
use crate::record::{
    CheckResult, Container, Metric, Run, RunRow, Step, StepMeasured, Threshold, whole,
};
use crate::store::{
    Interval, Role, RunContainer, RunId, RunStep, Status, StepId, StreamId, StreamState,
    SummarySource,
};

/// Text that somebody has made to break out of what it stands in, among any other.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "\n::error::x",
        "::set-output name=x::y",
        "%0A::add-mask::x",
        "| a | b |",
        "`x`",
        "]]>",
        "--><!--",
        "&lt;",
        "\"'",
        "@somebody",
        "[x](javascript:alert(1))",
        "![x](https://example.com/x.png)",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{fffe}\u{ffff}\0",
        "\r\n# heading",
        "{{ 7 * 7 }}",
        "</style></title></svg>",
    ]);
    let part = prop_oneof![known.prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

pub(crate) fn at(second: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
    begin + jiff::SignedDuration::from_secs(second)
}

fn container(id: i64, pod: &str, role: Role, exit_code: Option<i64>) -> Container {
    Container {
        runner: pod.split('-').nth(1).and_then(|number| number.parse().ok()),
        row: RunContainer {
            id: StreamId(id),
            step_id: StepId(9),
            pod_name: pod.to_owned(),
            container: "k6".to_owned(),
            role,
            restart_count: 0,
            state: match exit_code {
                Some(_) => StreamState::Terminated,
                None => StreamState::Running,
            },
            exit_code,
            reason: exit_code.map(|code| if code == 0 { "Completed" } else { "Error" }.to_owned()),
            started_at: Some(at(if role == Role::Runner { 0 } else { -8 })),
            finished_at: exit_code.map(|_| at(if role == Role::Runner { 65 } else { -3 })),
            lines: 1_234,
            bytes: 98_765,
            gaps: 0,
            pruned: false,
            complete: exit_code.is_some(),
            summary: exit_code.map(|_| SummarySource::Json),
        },
    }
}

fn run(
    status: Status,
    reason: Option<&str>,
    message: Option<&str>,
    codes: [Option<i64>; 2],
) -> Run {
    let is_over = status.is_final();
    let step = Step {
        row: RunStep {
            id: StepId(9),
            position: 0,
            name: "shop".to_owned(),
            external_id: None,
            namespace: Some("k6-runs".to_owned()),
            cluster: None,
            k6_test_name: "shop".to_owned(),
            k6_uid: None,
            status,
            reason: reason.map(str::to_owned),
            message: message.map(str::to_owned),
            stage: None,
            parallelism: Some(2),
            runners_reported: 2,
            created_at: Some(at(-10)),
            started_at: Some(at(0)),
            finished_at: is_over.then(|| at(65)),
            synced_at: Some(at(70)),
        },
        containers: vec![
            container(1, "shop-initializer-abcde", Role::Initializer, Some(0)),
            container(2, "shop-1-abcde", Role::Runner, codes[0]),
            container(3, "shop-2-fghij", Role::Runner, codes[1]),
        ],
        measured: StepMeasured::default(),
    };
    let row = RunRow {
        id: RunId(7),
        external_id: None,
        name: "nightly".to_owned(),
        namespace: Some("k6-runs".to_owned()),
        status,
        created_at: Some(at(-10)),
        started_at: Some(at(0)),
        finished_at: is_over.then(|| at(65)),
        duration_seconds: is_over.then_some(65.2),
        steps: 1,
        runners: 2,
        runners_reported: 2,
        thresholds: 0,
        thresholds_failed: 0,
        checks: None,
        checks_failed: None,
        requests: None,
        error_rate: None,
        p95: None,
    };
    whole(row, vec![step])
}

fn threshold(metric: &str, expression: Option<&str>, failed: u64) -> Threshold {
    Threshold {
        metric: metric.to_owned(),
        expression: expression.map(str::to_owned),
        runners: 2,
        failed,
        observed: (failed > 0).then_some(Interval {
            low: 612.0,
            high: 840.0,
        }),
        kind: Some(Kind::Trend),
        unit: Unit::Ms,
    }
}

fn measured(failed: u64) -> StepMeasured {
    let stat = |low, high| Interval { low, high };
    StepMeasured {
        thresholds: vec![
            threshold("http_req_duration", Some("p(95)<500"), failed),
            threshold("checks", None, 0),
        ],
        checks: vec![CheckResult {
            path: Some("::cart::paid".to_owned()),
            name: "paid".to_owned(),
            passes: Some(117),
            fails: 3 * failed,
        }],
        metrics: vec![
            Metric {
                metric: "http_req_duration".to_owned(),
                kind: Kind::Trend,
                unit: Unit::Ms,
                runners: 2,
                stats: BTreeMap::from([
                    ("avg".to_owned(), stat(301.0, 301.0)),
                    ("p(95)".to_owned(), stat(612.0, 840.0)),
                    ("count".to_owned(), stat(5_000.0, 5_000.0)),
                ]),
            },
            Metric {
                metric: "http_reqs".to_owned(),
                kind: Kind::Counter,
                unit: Unit::None,
                runners: 1,
                stats: BTreeMap::from([
                    ("count".to_owned(), stat(5_000.0, 5_000.0)),
                    ("rate".to_owned(), stat(76.7, 76.7)),
                ]),
            },
        ],
    }
}

pub(crate) fn passed() -> Run {
    let mut run = run(Status::Passed, None, None, [Some(0), Some(0)]);
    run.steps[0].measured = measured(0);
    run
}

pub(crate) fn failed() -> Run {
    let message = "http_req_duration p(95)<500: 612–840 ms, failed on 1 of 2 runners";
    let mut run = run(
        Status::Failed,
        Some("ThresholdsHaveFailed"),
        Some(message),
        [Some(0), Some(99)],
    );
    run.steps[0].measured = measured(1);
    run.row.thresholds = 2;
    run.row.thresholds_failed = 1;
    run.gaps = 1;
    run.steps[0].containers[2].row.gaps = 1;
    run
}

pub(crate) fn running() -> Run {
    run(Status::Running, None, None, [None, None])
}

/// A failed run that has this text wherever somebody else may write.
pub(crate) fn of_hostile(text: &str) -> Run {
    let mut run = failed();
    run.row.name = text.to_owned();
    run.row.namespace = Some(text.to_owned());
    run.row.external_id = Some(text.to_owned());
    run.reason = Some(text.to_owned());
    run.message = Some(text.to_owned());
    let step = &mut run.steps[0];
    step.row.name = text.to_owned();
    step.row.reason = Some(text.to_owned());
    step.row.message = Some(text.to_owned());
    step.row.k6_test_name = text.to_owned();
    for container in &mut step.containers {
        container.row.pod_name = format!("{} {text}", container.row.id);
        container.row.reason = Some(text.to_owned());
        container.row.exit_code = Some(1);
        container.runner = None;
    }
    step.measured.thresholds.truncate(1);
    step.measured.thresholds[0].metric = text.to_owned();
    step.measured.thresholds[0].expression = Some(text.to_owned());
    step.measured.checks[0].path = Some(text.to_owned());
    step.measured.metrics[0].metric = text.to_owned();
    run
}

/// A run of so many runners, all of which failed.
pub(crate) fn many(runners: i64) -> Run {
    let mut run = failed();
    let step = &mut run.steps[0];
    step.containers.truncate(1);
    step.containers.extend((1..=runners).map(|number| {
        let mut runner = container(
            number + 1,
            &format!("shop-{number}-abcde"),
            Role::Runner,
            Some(99),
        );
        runner.row.started_at = Some(at(number % 7));
        runner
    }));
    step.row.parallelism = Some(runners);
    run.row.runners = runners;
    run
}
