//! Runs as JUnit XML, as CI systems read it. Pure.
//!
//! A suite a run. Its test cases: the run's verdict, and of each step the thresholds, checks and runners. So no suite is empty, and
//! what is not known to have passed is never green. Elements and attributes are those that Jenkins' schema has (`junit-10.xsd` of
//! its xunit plugin), which is the strictest of those in use but for Ant's; tests/data/junit/ has ours.

use std::borrow::Cow;

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::values::{self, name};
use super::verdict::{self, End, Tone};
use crate::record::{Container, Run, Step};
use crate::store::Status;

/// What became of a test case.
enum Result {
    Passed,
    /// The test said no.
    Failure(Trouble),
    /// It could not be told, or not be run properly.
    Error(Trouble),
    /// It is not over.
    Skipped(Trouble),
}

struct Trouble {
    /// A word.
    kind: String,
    message: String,
}

struct Case {
    class: String,
    name: String,
    seconds: Option<f64>,
    result: Result,
}

struct Suite<'a> {
    run: &'a Run,
    cases: Vec<Case>,
}

/// All of these runs as one document.
pub(crate) fn junit(runs: &[Run]) -> String {
    let suites: Vec<Suite<'_>> = runs.iter().map(Suite::of).collect();
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Writing to memory can't fail.
    let _ = document(&mut writer, &suites);
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    text
}

impl<'a> Suite<'a> {
    fn of(run: &'a Run) -> Self {
        let mut cases = vec![verdict_of(run)];
        for step in &run.steps {
            cases.extend(thresholds(step));
            cases.extend(checks(step));
            cases.extend(runners(step));
        }
        Self { run, cases }
    }

    fn count(&self, of: impl Fn(&Result) -> bool) -> usize {
        self.cases.iter().filter(|case| of(&case.result)).count()
    }

    fn failures(&self) -> usize {
        self.count(|result| matches!(result, Result::Failure(_)))
    }

    fn errors(&self) -> usize {
        self.count(|result| matches!(result, Result::Error(_)))
    }

    fn skipped(&self) -> usize {
        self.count(|result| matches!(result, Result::Skipped(_)))
    }
}

fn trouble(kind: &str, message: String) -> Trouble {
    Trouble {
        kind: kind.to_owned(),
        message,
    }
}

fn verdict_of(run: &Run) -> Case {
    let status = verdict::status(run);
    let kind = run.reason.as_deref().unwrap_or(run.row.status.as_str());
    let why = || {
        let message = run.message.as_deref().map(values::message);
        trouble(
            kind,
            message.unwrap_or_else(|| format!("the run is {status}")),
        )
    };
    let result = match verdict::of_run(run) {
        Tone::Good => Result::Passed,
        Tone::Open => Result::Error(trouble(
            "NotOver",
            format!("the run has not ended, so it is not known to have passed: it is {status}"),
        )),
        Tone::Bad if run.row.status == Status::Failed => Result::Failure(why()),
        Tone::Bad | Tone::Unknown => Result::Error(why()),
    };
    Case {
        class: run.row.name.clone(),
        name: "verdict".to_owned(),
        seconds: run.row.duration_seconds,
        result,
    }
}

fn thresholds(step: &Step) -> impl Iterator<Item = Case> {
    step.measured.thresholds.iter().map(|threshold| Case {
        class: step.row.name.clone(),
        name: format!("threshold: {}", values::threshold(threshold)),
        seconds: None,
        result: match threshold.failed {
            0 => Result::Passed,
            _ => Result::Failure(trouble("ThresholdFailed", values::failure(threshold))),
        },
    })
}

fn checks(step: &Step) -> impl Iterator<Item = Case> {
    step.measured.checks.iter().map(|check| Case {
        class: step.row.name.clone(),
        name: format!("check: {}", verdict::check(check)),
        seconds: None,
        result: match check.fails {
            0 => Result::Passed,
            _ => Result::Failure(trouble("CheckFailed", verdict::fails(check))),
        },
    })
}

fn runners(step: &Step) -> impl Iterator<Item = Case> {
    verdict::runners(step).into_iter().map(|runner| Case {
        class: step.row.name.clone(),
        name: match runner.runner {
            Some(_) => verdict::who(runner),
            None => format!("runner {}", name(&runner.row.pod_name)),
        },
        seconds: values::between(runner.row.started_at, runner.row.finished_at),
        result: result_of(step, runner),
    })
}

fn result_of(step: &Step, runner: &Container) -> Result {
    let said = || {
        let end = verdict::end(step, runner);
        format!("{end}, pod {}", name(&runner.row.pod_name))
    };
    match End::of(step, runner) {
        End::Well => Result::Passed,
        End::Badly(code) => match crate::k6::exit_code(code) {
            Some(known) if known.outcome == crate::k6::Outcome::Failed => {
                Result::Failure(trouble(known.name, said()))
            }
            Some(known) => Result::Error(trouble(known.name, said())),
            None => {
                let reason = runner.row.reason.as_deref().unwrap_or("ExitCode");
                Result::Error(trouble(reason, said()))
            }
        },
        End::Unseen => Result::Error(trouble("EndNotSeen", said())),
        End::NotYet => Result::Skipped(trouble("NotOver", said())),
    }
}

// === XML ===

type Written = std::io::Result<()>;

fn document(writer: &mut Writer<Vec<u8>>, suites: &[Suite<'_>]) -> Written {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let sum = |of: fn(&Suite<'_>) -> usize| suites.iter().map(of).sum::<usize>().to_string();
    let seconds: f64 = suites
        .iter()
        .filter_map(|suite| suite.run.row.duration_seconds)
        .sum();
    let all = element(
        "testsuites",
        &[
            ("name", Some("k6sync")),
            ("tests", Some(&sum(|suite| suite.cases.len()))),
            ("failures", Some(&sum(|suite| suite.failures()))),
            ("errors", Some(&sum(|suite| suite.errors()))),
            ("time", Some(&time(seconds))),
        ],
    );
    writer.write_event(Event::Start(all))?;
    for suite in suites {
        write_suite(writer, suite)?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))
}

fn write_suite(writer: &mut Writer<Vec<u8>>, suite: &Suite<'_>) -> Written {
    let row = &suite.run.row;
    let start = element(
        "testsuite",
        &[
            ("name", Some(&format!("{} (run {})", row.name, row.id))),
            ("tests", Some(&suite.cases.len().to_string())),
            ("failures", Some(&suite.failures().to_string())),
            ("errors", Some(&suite.errors().to_string())),
            ("skipped", Some(&suite.skipped().to_string())),
            ("time", row.duration_seconds.map(time).as_deref()),
            ("timestamp", row.started_at.map(stamp).as_deref()),
        ],
    );
    writer.write_event(Event::Start(start))?;
    writer.write_event(Event::Start(BytesStart::new("properties")))?;
    let gaps = suite.run.gaps.to_string();
    let properties = [
        ("runId", Some(row.id.to_string())),
        ("externalId", row.external_id.clone()),
        ("namespace", row.namespace.clone()),
        ("status", Some(row.status.to_string())),
        ("reason", suite.run.reason.clone()),
        ("complete", Some(suite.run.complete.to_string())),
        ("gaps", Some(gaps)),
    ];
    for (name, value) in properties {
        if let Some(value) = value {
            let property = element("property", &[("name", Some(name)), ("value", Some(&value))]);
            writer.write_event(Event::Empty(property))?;
        }
    }
    writer.write_event(Event::End(BytesEnd::new("properties")))?;
    for case in &suite.cases {
        write_case(writer, case)?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuite")))
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case) -> Written {
    let start = element(
        "testcase",
        &[
            ("classname", Some(&case.class)),
            ("name", Some(&case.name)),
            ("time", case.seconds.map(time).as_deref()),
        ],
    );
    let (tag, trouble) = match &case.result {
        Result::Passed => return writer.write_event(Event::Empty(start)),
        Result::Failure(trouble) => ("failure", trouble),
        Result::Error(trouble) => ("error", trouble),
        Result::Skipped(trouble) => ("skipped", trouble),
    };
    writer.write_event(Event::Start(start))?;
    let attributes = [
        ("message", Some(trouble.message.as_str())),
        ("type", Some(trouble.kind.as_str())),
    ];
    writer.write_event(Event::Start(element(tag, &attributes)))?;
    // Some readers show the text alone.
    writer.write_event(Event::Text(BytesText::new(&harmless(&trouble.message))))?;
    writer.write_event(Event::End(BytesEnd::new(tag)))?;
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

fn element<'a>(tag: &'a str, attributes: &[(&str, Option<&str>)]) -> BytesStart<'a> {
    let mut element = BytesStart::new(tag);
    for (name, value) in attributes {
        if let Some(value) = value {
            element.push_attribute((*name, harmless(value).as_ref()));
        }
    }
    element
}

/// Without what XML has no way to write: control characters and two that are none. Quotes are the writer's.
fn harmless(text: &str) -> Cow<'_, str> {
    let text = values::message(text);
    match text.contains(['\u{fffe}', '\u{ffff}']) {
        true => text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}").into(),
        false => text.into(),
    }
}

fn time(seconds: f64) -> String {
    // The sum of nothing is -0.
    format!("{:.3}", seconds.max(0.0).abs())
}

fn stamp(at: Timestamp) -> String {
    values::rfc3339(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::Reader;

    use super::super::tests::samples::{self, hostile};
    use super::*;

    /// Each start tag with its attributes, as a reader has them.
    fn read(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut reader = Reader::from_str(xml);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = tag.attributes().map(|attribute| {
                        let attribute = attribute.unwrap();
                        let key = attribute.key.as_ref().to_owned();
                        let value = attribute.value.into_owned();
                        let value = quick_xml::escape::unescape(&value).unwrap().into_owned();
                        (key, value)
                    });
                    let name = tag.name().as_ref().to_owned();
                    found.push((name, attributes.collect()));
                }
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    fn names(xml: &str, tag: &str, attribute: &str) -> Vec<String> {
        let found = read(xml).into_iter().filter(|(name, _)| name == tag);
        found
            .filter_map(|(_, all)| all.into_iter().find(|(key, _)| key == attribute))
            .map(|(_, value)| value)
            .collect()
    }

    #[test]
    fn a_failed_run_has_a_failure_for_each_thing_that_failed() {
        let xml = junit(&[samples::failed()]);
        assert_eq!(
            names(&xml, "testcase", "name"),
            [
                "verdict",
                "threshold: http_req_duration p(95)<500",
                "threshold: a threshold of checks",
                "check: cart › paid",
                "runner 1",
                "runner 2"
            ]
        );
        assert_eq!(
            names(&xml, "failure", "message"),
            [
                "http_req_duration p(95)<500: 612–840 ms, failed on 1 of 2 runners",
                "612–840 ms, failed on 1 of 2 runners",
                "3 of 120 failed",
                "exit code 99 (one or more thresholds were crossed), pod shop-2-fghij"
            ]
        );
        assert_eq!(names(&xml, "testsuite", "failures"), ["4"]);
        assert_eq!(names(&xml, "testsuite", "errors"), ["0"]);
        assert_eq!(names(&xml, "testsuite", "time"), ["65.200"]);
        assert_eq!(
            names(&xml, "testsuite", "timestamp"),
            ["2026-11-23T04:00:00Z"]
        );
    }

    #[test]
    fn a_run_that_has_not_ended_is_an_error() {
        let xml = junit(&[samples::running()]);
        assert_eq!(names(&xml, "error", "type"), ["NotOver"]);
        assert_eq!(names(&xml, "skipped", "message").len(), 2);
        assert_eq!(names(&xml, "testsuites", "errors"), ["1"]);
    }

    #[test]
    fn a_run_that_passed_and_reported_nothing_has_its_runners() {
        let mut run = samples::passed();
        run.steps[0].measured = Default::default();
        let cases = names(&junit(&[run]), "testcase", "name");
        assert_eq!(cases, ["verdict", "runner 1", "runner 2"]);
        let nothing = junit(&[]);
        assert_eq!(names(&nothing, "testsuites", "tests"), ["0"]);
        assert_eq!(names(&nothing, "testsuites", "time"), ["0.000"]);
    }

    #[test]
    fn a_runner_that_nobody_saw_end_is_an_error() {
        let mut run = samples::failed();
        run.steps[0].containers[1].row.exit_code = None;
        let xml = junit(&[run]);
        assert_eq!(names(&xml, "error", "type"), ["EndNotSeen"]);
    }

    proptest! {
        #[test]
        fn whatever_names_are_it_is_xml(text in hostile()) {
            let xml = junit(&[samples::of_hostile(&text)]);
            let cases = names(&xml, "testcase", "name");
            prop_assert_eq!(cases.len(), 5);
            let is_xml = |char: char| matches!(char, '\n' | ' '..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
            prop_assert!(xml.chars().all(is_xml), "{}", xml);
        }
    }
}
