//! A run as one HTML page that needs nothing else: for mail, for the artefacts of a pipeline. Pure.
//!
//! It refers to nothing outside, and its policy would let nothing in: not even its own style but by its hash. Foreign text is
//! escaped by askama, and before that made harmless to the direction of the text around it. What the template gets is text; it
//! decides and computes nothing.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::timeline::timeline;
use super::values::{self, cut, name, things};
use super::verdict::{self, Tone};
use super::words;
use crate::k6::summary::Kind;
use crate::record::{Container, Details, ErrorLines, Metric, Run, Step};
use crate::store::{Role, SummarySource};

const STYLE: &str = include_str!("templates/report.css");

/// Rows of a step's table of containers, and of its other tables; the rest is counted.
const MOST_ROWS: usize = 1_000;

/// A table of containers that is longer is folded.
const FOLDED: usize = 30;

/// Longer lines of a log are cut.
const LINE_CHARS: usize = 1_000;

/// The order of k6's stats; percentiles come between `med` and `max`.
const STATS: &[&str] = &[
    "count", "rate", "passes", "fails", "value", "avg", "min", "med",
];

#[derive(Template)]
#[template(path = "report.html", config = "src/report/askama.toml")]
struct Page {
    style: &'static str,
    /// Of the style, for the policy.
    style_hash: String,
    run: RunView,
    made_at: Time,
    version: &'static str,
}

/// A run as pages show it.
pub(crate) struct RunView {
    pub title: String,
    pub badge: Badge,
    pub name: String,
    pub why: Option<String>,
    pub notes: Vec<String>,
    pub facts: Vec<Fact>,
    pub timeline: Option<String>,
    pub steps: Vec<StepPart>,
}

/// A word with its symbol and colour.
pub(crate) struct Badge {
    pub class: &'static str,
    pub symbol: &'static str,
    pub word: String,
}

pub(crate) struct Time {
    pub shown: String,
    pub machine: String,
}

pub(crate) struct Fact {
    pub name: &'static str,
    pub value: String,
    /// If it is a time.
    pub machine: Option<String>,
}

pub(crate) struct StepPart {
    pub number: usize,
    pub name: String,
    pub badge: Badge,
    pub test_run: String,
    pub why: Option<String>,
    pub thresholds: Vec<ThresholdRow>,
    pub more_thresholds: usize,
    pub checks: Vec<CheckRow>,
    pub more_checks: usize,
    pub said: Vec<Said>,
    pub metrics: Vec<MetricTable>,
    /// Where k6 has told less than all.
    pub reported: Option<String>,
    pub containers: Vec<ContainerRow>,
    /// Where each runner's own results are, and whose.
    pub folds: Vec<Fold>,
    pub more_containers: usize,
    pub containers_word: String,
    pub is_folded: bool,
}

pub(crate) struct ThresholdRow {
    pub badge: Badge,
    pub metric: String,
    pub expression: String,
    pub observed: String,
    pub failed: String,
}

pub(crate) struct CheckRow {
    pub badge: Badge,
    pub name: String,
    pub passes: String,
    pub fails: String,
}

pub(crate) struct Said {
    pub who: String,
    pub pod: String,
    pub end: String,
    pub head: &'static str,
    pub lines: Vec<String>,
    pub more: Option<String>,
}

pub(crate) struct MetricTable {
    pub name: &'static str,
    pub stats: Vec<String>,
    pub rows: Vec<MetricRow>,
}

pub(crate) struct MetricRow {
    pub name: String,
    pub values: Vec<String>,
    pub runners: String,
}

/// Something that is told elsewhere.
pub(crate) struct Fold {
    pub name: String,
    pub href: String,
}

pub(crate) struct ContainerRow {
    /// Where its log is; `None`: in no page.
    pub logs: Option<String>,
    pub who: String,
    pub pod: String,
    pub badge: Badge,
    pub took: String,
    pub lines: String,
    pub log: String,
    pub summary: &'static str,
}

/// The page.
///
/// # Errors
/// [`askama::Error`], which memory never yields.
pub(crate) fn page(
    run: &Run,
    details: &Details,
    version: &'static str,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let page = Page {
        style: STYLE,
        style_hash: format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE))),
        run: RunView::of(run, details, now, None),
        made_at: Time::of(now),
        version,
    };
    // askama takes the last line end of a template for the file's own.
    page.render().map(|html| html + "\n")
}

impl RunView {
    /// `pages`: where the run's pages are; `None`: nowhere.
    pub(crate) fn of(run: &Run, details: &Details, now: Timestamp, pages: Option<&str>) -> Self {
        let badge = Badge::of(verdict::of_run(run), verdict::status(run));
        Self {
            title: format!("{} {} {}", badge.symbol, name(&run.row.name), badge.word),
            badge,
            name: name(&run.row.name),
            why: verdict::why(run),
            notes: notes(run),
            facts: facts(run),
            timeline: timeline(run, &details.gaps, &details.reads, now),
            steps: run
                .steps
                .iter()
                .take(MOST_ROWS)
                .enumerate()
                .map(|(at, step)| StepPart::of(at + 1, step, run, &details.said, pages))
                .collect(),
        }
    }
}

impl Time {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self {
            shown: words::moment(at),
            machine: values::rfc3339(at),
        }
    }
}

impl Badge {
    pub(crate) fn of(tone: Tone, word: impl Into<String>) -> Self {
        Self {
            class: tone.class(),
            symbol: tone.symbol(),
            word: word.into(),
        }
    }
}

/// What one must know to trust the rest.
fn notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    if !run.outcome.ended {
        notes.push(
            "This run is not over: the report says what was known when it was made.".to_owned(),
        );
    }
    if run.gaps > 0 {
        let places = things(run.gaps.unsigned_abs(), "place", "places");
        notes.push(format!(
            "Lines may be missing in the recorded logs, in {places}."
        ));
    } else if run.outcome.ended && !run.complete {
        notes.push("The logs are not recorded to their end yet.".to_owned());
    }
    let (told, all) = (run.row.runners_reported, run.row.runners);
    if run.outcome.ended && told < all {
        let told = values::number(told.unsigned_abs());
        let all = things(all.unsigned_abs(), "runner", "runners");
        notes.push(format!(
            "{told} of {all} reported what k6 measured: what the others measured is in no number here."
        ));
    }
    notes
}

fn facts(run: &Run) -> Vec<Fact> {
    let row = &run.row;
    let mut facts = Vec::new();
    let mut fact = |name, value: Option<String>| {
        facts.extend(value.map(|value| Fact {
            name,
            value,
            machine: None,
        }));
    };
    fact("Run", Some(row.id.to_string()));
    fact("External id", row.external_id.as_deref().map(name));
    fact("Namespace", row.namespace.as_deref().map(name));
    fact("Duration", row.duration_seconds.map(words::duration));
    fact("Runners", Some(values::number(row.runners.unsigned_abs())));
    fact(
        "Thresholds",
        match (row.thresholds, row.thresholds_failed) {
            (0, _) => None,
            (all, 0) => Some(format!("all {all} held")),
            (all, failed) => Some(format!("{failed} of {all} failed")),
        },
    );
    fact("Error rate", row.error_rate.map(values::share));
    fact("p95", row.p95.map(values::milliseconds));
    let times = [("Started", row.started_at), ("Finished", row.finished_at)];
    facts.extend(times.into_iter().filter_map(|(name, at)| {
        Some(Fact {
            name,
            value: words::moment(at?),
            machine: Some(values::rfc3339(at?)),
        })
    }));
    facts
}

impl StepPart {
    fn of(number: usize, step: &Step, run: &Run, said: &[ErrorLines], pages: Option<&str>) -> Self {
        let row = &step.row;
        let measured = &step.measured;
        let why = match (&row.reason, &row.message) {
            // It stands at the top already.
            _ if run.steps.len() == 1 => None,
            (Some(reason), Some(message)) => {
                Some(format!("{}: {}", name(reason), values::message(message)))
            }
            (reason, message) => reason
                .as_deref()
                .or(message.as_deref())
                .map(values::message),
        };
        let said_here = said.iter().filter(|said| said.step_id == row.id);
        let reported = measured
            .metrics
            .iter()
            .any(|metric| Some(metric.runners) < row.parallelism.map(i64::unsigned_abs))
            .then(|| {
                let parallelism = row.parallelism.unwrap_or_default();
                format!("Of {parallelism} runners, “of” says how many have the metric; what others lack is in no value.")
            });
        Self {
            number,
            name: name(&row.name),
            badge: Badge::of(verdict::tone(row.status), row.status.as_str()),
            test_run: match &row.namespace {
                Some(namespace) => format!("{}/{}", name(namespace), name(&row.k6_test_name)),
                None => name(&row.k6_test_name),
            },
            why,
            thresholds: thresholds(step),
            more_thresholds: measured.thresholds.len().saturating_sub(MOST_ROWS),
            checks: checks(step),
            more_checks: measured.checks.len().saturating_sub(MOST_ROWS),
            said: said_here.filter_map(|said| Said::of(step, said)).collect(),
            metrics: metrics(&measured.metrics),
            reported,
            containers: containers(step, pages),
            folds: pages.map_or_else(Vec::new, |pages| folds(step, pages)),
            more_containers: step.containers.len().saturating_sub(MOST_ROWS),
            containers_word: things(step.containers.len() as u64, "container", "containers"),
            is_folded: step.containers.len() > FOLDED,
        }
    }
}

fn thresholds(step: &Step) -> Vec<ThresholdRow> {
    let rows = step.measured.thresholds.iter().take(MOST_ROWS);
    rows.map(|threshold| ThresholdRow {
        badge: match threshold.failed {
            0 => Badge::of(Tone::Good, "held"),
            _ => Badge::of(Tone::Bad, "failed"),
        },
        metric: name(&threshold.metric),
        expression: threshold
            .expression
            .as_deref()
            .map_or("not told".to_owned(), name),
        observed: values::observed(threshold).unwrap_or_default(),
        failed: match (threshold.failed, threshold.runners) {
            (0, all) => format!("held on {}", things(all, "runner", "runners")),
            (failed, all) => format!("failed on {failed} of {}", things(all, "runner", "runners")),
        },
    })
    .collect()
}

fn checks(step: &Step) -> Vec<CheckRow> {
    let rows = step.measured.checks.iter().take(MOST_ROWS);
    rows.map(|check| CheckRow {
        badge: match check.fails {
            0 => Badge::of(Tone::Good, "held"),
            _ => Badge::of(Tone::Bad, "failed"),
        },
        name: verdict::check(check),
        passes: check.passes.map_or("not told".to_owned(), values::number),
        fails: values::number(check.fails),
    })
    .collect()
}

impl Said {
    fn of(step: &Step, said: &ErrorLines) -> Option<Self> {
        let container = step
            .containers
            .iter()
            .find(|container| container.row.id == said.stream_id)?;
        Some(Self {
            who: verdict::who(container),
            pod: name(&container.row.pod_name),
            end: verdict::end(step, container),
            head: match said.from_an_error {
                true => "from its first error on",
                false => "the end of its log, which has no line of level error",
            },
            lines: said
                .lines
                .iter()
                .map(|line| cut(line, LINE_CHARS))
                .collect(),
            more: (said.more > 0).then(|| things(said.more as u64, "more line", "more lines")),
        })
    }
}

/// What was measured, a table a kind.
pub(crate) fn metrics(metrics: &[Metric]) -> Vec<MetricTable> {
    let tables = [
        (Kind::Trend, "Trends"),
        (Kind::Rate, "Rates"),
        (Kind::Counter, "Counters"),
        (Kind::Gauge, "Gauges"),
    ];
    let tables = tables.into_iter().map(|(kind, name)| {
        let those: Vec<&Metric> = metrics
            .iter()
            .filter(|metric| metric.kind == kind)
            .collect();
        table(name, &those)
    });
    tables.filter(|table| !table.rows.is_empty()).collect()
}

fn table(title: &'static str, metrics: &[&Metric]) -> MetricTable {
    let mut stats: Vec<String> = metrics
        .iter()
        .flat_map(|metric| metric.stats.keys().cloned())
        .collect();
    stats.sort_by_cached_key(|stat| rank(stat));
    stats.dedup();
    let rows = metrics.iter().take(MOST_ROWS).map(|metric| MetricRow {
        name: name(&metric.metric),
        values: stats
            .iter()
            .map(|stat| match metric.stats.get(stat) {
                Some(value) => values::stat(metric, stat, *value),
                None => String::new(),
            })
            .collect(),
        runners: values::number(metric.runners),
    });
    let rows = rows.collect();
    let stats = stats.iter().map(|stat| cut(stat, 20)).collect();
    MetricTable {
        name: title,
        stats,
        rows,
    }
}

/// Where a stat stands: its place, and of percentiles their number.
fn rank(stat: &str) -> (usize, u64, String) {
    let known = STATS.iter().position(|known| *known == stat);
    let percent = stat
        .strip_prefix("p(")
        .and_then(|rest| rest.strip_suffix(')')?.parse::<f64>().ok());
    let place = match stat {
        "max" => STATS.len() + 1,
        _ => known.unwrap_or(STATS.len()),
    };
    let thousandths = percent.map_or(u64::MAX, |percent| (percent * 1_000.0) as u64);
    (place, thousandths, stat.to_owned())
}

/// The runners that told what they measured, where there are several.
fn folds(step: &Step, pages: &str) -> Vec<Fold> {
    let runners = step.containers.iter().filter(|container| {
        let has_told = matches!(
            container.row.summary,
            Some(SummarySource::Json | SummarySource::Text)
        );
        container.row.role == Role::Runner && has_told
    });
    runners
        .take(MOST_ROWS)
        .map(|container| Fold {
            name: verdict::who(container),
            href: format!("{pages}/runners/{}", container.row.id),
        })
        .collect()
}

fn containers(step: &Step, pages: Option<&str>) -> Vec<ContainerRow> {
    let rows = step.containers.iter().take(MOST_ROWS);
    rows.map(|container| ContainerRow {
        logs: pages
            .filter(|_| container.row.lines > 0)
            .map(|pages| format!("{pages}/logs?container={}", container.row.id)),
        who: match container.row.restart_count {
            0 => verdict::who(container),
            count => format!("{}, restart {count}", verdict::who(container)),
        },
        pod: name(&container.row.pod_name),
        badge: Badge::of(
            verdict::End::of(step, container).tone(),
            verdict::end(step, container),
        ),
        took: values::between(container.row.started_at, container.row.finished_at)
            .map(words::duration)
            .unwrap_or_default(),
        lines: values::number(container.row.lines.unsigned_abs()),
        log: log(container),
        summary: summary(container),
    })
    .collect()
}

fn log(container: &Container) -> String {
    let row = &container.row;
    match (row.pruned, row.gaps, row.complete) {
        (true, ..) => "pruned".to_owned(),
        (_, 0, true) => "complete".to_owned(),
        (_, 0, false) => "not complete yet".to_owned(),
        (_, gaps, _) => things(gaps.unsigned_abs(), "gap", "gaps"),
    }
}

const fn summary(container: &Container) -> &'static str {
    match (container.row.role, container.row.summary) {
        (Role::Runner, Some(SummarySource::Json)) => "JSON, exact",
        (Role::Runner, Some(SummarySource::Text)) => "text, rounded",
        (Role::Runner, Some(SummarySource::None)) => "none",
        (Role::Runner, Some(SummarySource::Unreadable)) => "unreadable",
        (Role::Runner, None) => "not read yet",
        (_, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::samples::{self, at, hostile};
    use super::*;
    use crate::store::{StepId, StreamId};

    fn of(run: &Run, lines: &[String]) -> String {
        let said = ErrorLines {
            step_id: StepId(9),
            stream_id: StreamId(3),
            from_an_error: true,
            lines: lines.to_vec(),
            more: 0,
        };
        let details = Details {
            said: vec![said],
            ..Details::default()
        };
        page(run, &details, "0.0.0", at(100)).unwrap()
    }

    /// The tags of the page, in their order.
    fn tags(html: &str) -> Vec<&str> {
        let rest = html.split('<').skip(1);
        rest.map(|rest| rest.split([' ', '>', '\n']).next().unwrap())
            .collect()
    }

    #[test]
    fn the_verdict_comes_first() {
        let html = of(
            &samples::failed(),
            &["level=error msg=\"it broke\"".to_owned()],
        );
        let at = |what: &str| {
            html.find(what)
                .unwrap_or_else(|| panic!("no {what}: {html}"))
        };
        let order = [
            "<title>✗ nightly failed</title>",
            "<h1",
            "ThresholdsHaveFailed: http_req_duration",
            "Lines may be missing in the recorded logs, in 1 place.",
            "<h3>Thresholds</h3>",
            "612–840 ms</td>",
            "<h3>Checks</h3>",
            "it broke",
            "<h3>Metrics</h3>",
            "shop-2-fghij</td>",
            "Made by k6sync 0.",
        ];
        let places: Vec<usize> = order.iter().map(|what| at(what)).collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn it_refers_to_nothing_outside_and_lets_nothing_in() {
        let html = of(&samples::failed(), &[]);
        let policy = "content=\"default-src 'none'; style-src 'sha256-";
        assert!(html.contains(policy), "{html}");
        for harmful in [
            "<script", "<link", "<img", "<iframe", "src=", "url(http", "unsafe", " style=",
            "@import", "href=",
        ] {
            assert!(!html.contains(harmful), "{harmful}: {html}");
        }
        // But for the name of the language of its picture.
        let outside = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("://"), "{outside}");
        // The hash is of what stands between the tags.
        let style = html
            .split_once("<style>")
            .unwrap()
            .1
            .split_once("</style>")
            .unwrap()
            .0;
        let hash = STANDARD.encode(Sha256::digest(style));
        assert!(html.contains(&format!("style-src 'sha256-{hash}'")));
    }

    #[test]
    fn stats_stand_in_their_order() {
        let mut stats = [
            "max", "p(99.9)", "count", "p(90)", "med", "avg", "p(95)", "min", "own",
        ];
        stats.sort_by_cached_key(|stat| rank(stat));
        assert_eq!(
            stats,
            [
                "count", "avg", "min", "med", "p(90)", "p(95)", "p(99.9)", "own", "max"
            ]
        );
    }

    #[test]
    fn a_run_of_ten_thousand_runners_has_a_bounded_page() {
        let html = of(&samples::many(10_000), &[]);
        assert!(html.len() < 1_000_000, "{}", html.len());
        assert!(
            html.contains("9,001 more") || html.contains("9001 more"),
            "no count"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn foreign_text_is_only_text(text in hostile()) {
            let expected = of(&samples::of_hostile("a"), &["a".to_owned()]);
            let html = of(&samples::of_hostile(&text), std::slice::from_ref(&text));
            prop_assert_eq!(tags(&html), tags(&expected));
            let harmful = |char: char| matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') || (char.is_control() && char != '\n');
            prop_assert!(!html.contains(harmful), "{}", html);
        }
    }
}
