//! A run as a picture over time: initializer, starter, each runner waiting and running, the gaps in their logs, and when k6sync read
//! them. Pure; SVG.
//!
//! It can be read without colour: what failed is hatched, what waits is dashed, and how each ended stands beside it. It uses neither
//! styles nor scripts, so that it may stand in a page of the strictest policy, and its text has the colour of the text around it.
//! Many runners share rows, so that its height and its bytes are bounded.

use std::collections::HashMap;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::values::{self, cut};
use super::verdict::{self, End, Tone};
use super::words;
use crate::record::{Container, Run, Step};
use crate::store::{Reads, Role, RunGap, StreamId};

const WIDTH: f64 = 960.0;
/// Of the names, left.
const NAMES: f64 = 150.0;
/// Of how it ended, right.
const ENDS: f64 = 170.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// Of the part that failed: fewer can't be seen.
const LEAST_BAR: f64 = 4.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;

/// Rows of a run. More runners share rows.
const MOST_ROWS: usize = 60;
/// Steps of a run; others are counted.
const MOST_STEPS: usize = 12;
/// Marked gaps of a row.
const MOST_GAPS: usize = 4;
/// Characters of a name, left.
const NAME_CHARS: usize = 20;
/// Characters of how it ended, right.
const END_CHARS: usize = 24;

/// What divides the axis, in seconds.
const TICKS: &[i64] = &[
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    86_400,
];
const MOST_TICKS: i64 = 7;

/// One row: a container, or neighbours.
struct Row {
    name: String,
    /// Since when it could have been running; `None`: it is not known.
    waits_since: Option<Timestamp>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    tone: Tone,
    /// The part of those in the row that failed, 0 to 1.
    failed: f64,
    end: String,
    gaps: Vec<RunGap>,
}

/// From when to when there is something to draw.
#[derive(Clone, Copy)]
struct Span {
    from: Timestamp,
    seconds: f64,
}

/// The picture; `None`: nothing has begun yet.
pub(crate) fn timeline(
    run: &Run,
    gaps: &[RunGap],
    reads: &[Reads],
    now: Timestamp,
) -> Option<String> {
    let mut by_stream: HashMap<StreamId, Vec<RunGap>> = HashMap::new();
    for gap in gaps {
        by_stream.entry(gap.stream_id).or_default().push(*gap);
    }
    let steps: Vec<&Step> = run.steps.iter().take(MOST_STEPS).collect();
    let most = MOST_ROWS / steps.len().max(1);
    let rows: Vec<Vec<Row>> = steps
        .iter()
        .map(|step| rows_of(step, &by_stream, most))
        .collect();
    let span = Span::of(rows.iter().flatten(), run, now)?;
    Some(draw(run, &steps, &rows, reads, span))
}

impl Span {
    fn of<'a>(rows: impl Iterator<Item = &'a Row>, run: &Run, now: Timestamp) -> Option<Self> {
        let times: Vec<Timestamp> = rows
            .flat_map(|row| [row.waits_since, row.started, row.ended])
            .flatten()
            .collect();
        let from = *times.iter().min()?;
        let last = *times.iter().max()?;
        let to = match run.outcome.ended {
            true => run.row.finished_at.map_or(last, |end| end.max(last)),
            false => now.max(last),
        };
        let seconds = to.duration_since(from).as_secs_f64().max(1.0);
        Some(Self { from, seconds })
    }

    fn end(self) -> Timestamp {
        let length = SignedDuration::try_from_secs_f64(self.seconds).unwrap_or_default();
        self.from.saturating_add(length).unwrap_or(Timestamp::MAX)
    }

    fn x(self, at: Timestamp) -> f64 {
        let part = at.duration_since(self.from).as_secs_f64() / self.seconds;
        NAMES + part.clamp(0.0, 1.0) * (WIDTH - NAMES - ENDS)
    }
}

// === Rows ===

fn rows_of(step: &Step, gaps: &HashMap<StreamId, Vec<RunGap>>, most: usize) -> Vec<Row> {
    let begun = step
        .containers
        .iter()
        .filter_map(|container| container.row.started_at)
        .min();
    let is_shown = |container: &&Container| match container.row.role {
        Role::Initializer | Role::Starter => true,
        Role::Runner => false,
        // What only helps is told where it went wrong.
        Role::Other => container.row.exit_code.is_some_and(|code| code != 0),
    };
    let mut rows: Vec<Row> = step
        .containers
        .iter()
        .filter(is_shown)
        .take(most / 2)
        .map(|container| row(step, container, None, gaps))
        .collect();
    let runners: Vec<&Container> = step
        .containers
        .iter()
        .filter(|container| container.row.role == Role::Runner)
        .collect();
    let room = most.saturating_sub(rows.len()).max(1);
    let share = runners.len().div_ceil(room).max(1);
    rows.extend(runners.chunks(share).map(|runners| match runners {
        [runner] => row(step, runner, begun, gaps),
        runners => shared(step, runners, begun, gaps),
    }));
    rows
}

fn row(
    step: &Step,
    container: &Container,
    waits_since: Option<Timestamp>,
    gaps: &HashMap<StreamId, Vec<RunGap>>,
) -> Row {
    let life = match container.row.restart_count {
        0 => String::new(),
        count => format!(", restart {count}"),
    };
    let end = match End::of(step, container) {
        End::Well => "✓ exit 0".to_owned(),
        End::Badly(code) => match container.row.reason.as_deref() {
            None | Some("Error") => format!("✗ exit {code}"),
            Some(reason) => format!("✗ exit {code} {reason}"),
        },
        End::Unseen => "? end not seen".to_owned(),
        End::NotYet => format!("… {}", verdict::end(step, container)),
    };
    Row {
        name: format!("{}{life}", verdict::who(container)),
        waits_since,
        started: container.row.started_at,
        ended: container.row.finished_at,
        tone: End::of(step, container).tone(),
        failed: match End::of(step, container) {
            End::Badly(_) => 1.0,
            _ => 0.0,
        },
        end,
        gaps: gaps.get(&container.row.id).cloned().unwrap_or_default(),
    }
}

/// One row for several runners: from the first start to the last end.
fn shared(
    step: &Step,
    runners: &[&Container],
    waits_since: Option<Timestamp>,
    gaps: &HashMap<StreamId, Vec<RunGap>>,
) -> Row {
    let name = match (runners.first(), runners.last()) {
        (Some(first), Some(last)) => match (first.runner, last.runner) {
            (Some(first), Some(last)) => format!("runners {first}–{last}"),
            _ => values::things(runners.len() as u64, "runner", "runners"),
        },
        _ => String::new(),
    };
    let count = |tone: Tone| {
        let those = runners
            .iter()
            .filter(|runner| End::of(step, runner).tone() == tone);
        those.count()
    };
    let [bad, unknown, open] = [Tone::Bad, Tone::Unknown, Tone::Open].map(count);
    let (tone, end) = match (bad, unknown, open) {
        (0, 0, 0) => (Tone::Good, "✓ all exit 0".to_owned()),
        (0, 0, open) => (Tone::Open, format!("… {open} not over")),
        (0, unknown, _) => (Tone::Unknown, format!("? {unknown} ends not seen")),
        // The others' colour; how many failed is drawn into it.
        (bad, 0, 0) => (Tone::Good, format!("✗ {bad} of {} failed", runners.len())),
        (bad, unknown, 0) => (Tone::Unknown, format!("✗ {bad} failed, ? {unknown} unseen")),
        (bad, _, open) => (Tone::Open, format!("✗ {bad} failed, … {open} not over")),
    };
    let ended = runners.iter().map(|runner| runner.row.finished_at);
    Row {
        name,
        waits_since,
        started: runners
            .iter()
            .filter_map(|runner| runner.row.started_at)
            .min(),
        // Until now, if one is not over.
        ended: ended
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.into_iter().max()),
        tone,
        failed: bad as f64 / runners.len() as f64,
        end,
        gaps: runners
            .iter()
            .filter_map(|runner| gaps.get(&runner.row.id))
            .flatten()
            .copied()
            .take(MOST_GAPS)
            .collect(),
    }
}

// === SVG ===

/// Adds to the picture. Writing to a String can't fail.
macro_rules! add {
    ($svg:expr, $($format:tt)*) => {{
        let _ = write!($svg, $($format)*);
    }};
}

const GOOD: &str = "#2f9e6e";
const BAD: &str = "#d64545";
const OPEN: &str = "#3b7dd8";
const GREY: &str = "#8a8f98";

fn draw(run: &Run, steps: &[&Step], rows: &[Vec<Row>], reads: &[Reads], span: Span) -> String {
    let has_heads = steps.len() > 1;
    let heads = if has_heads { steps.len() } else { 0 };
    // And one that tells when k6sync read.
    let count = rows.iter().map(Vec::len).sum::<usize>() + heads + 1;
    let height = TOP + BOTTOM + ROW * count as f64;
    let title = format!(
        "Timeline of {} from {} to {}",
        values::name(&run.row.name),
        words::moment(span.from),
        words::moment(span.end())
    );
    let title = text(&title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}</title>\n\
         <defs><pattern id=\"k6sync-hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"{BAD}\"/>\
         <rect width=\"2\" height=\"6\" fill=\"#ffffff\" fill-opacity=\"0.55\"/></pattern></defs>\n\
         <g font-family=\"system-ui, sans-serif\" font-size=\"12\">\n"
    );
    axis(&mut svg, span, height);
    let mut y = TOP;
    for (step, rows) in steps.iter().zip(rows) {
        if has_heads {
            let head = format!(
                "{} {} {}",
                verdict::tone(step.row.status).symbol(),
                cut(&step.row.name, 80),
                step.row.status
            );
            add!(
                svg,
                "<text x=\"0\" y=\"{:.0}\" fill=\"currentColor\" font-weight=\"600\">{}</text>\n",
                y + 15.0,
                text(&head)
            );
            y += ROW;
        }
        for row in rows {
            draw_row(&mut svg, row, span, y);
            y += ROW;
        }
    }
    draw_reads(&mut svg, reads, span, y);
    if run.steps.len() > steps.len() {
        add!(
            svg,
            "<text x=\"0\" y=\"{:.0}\" fill=\"currentColor\">and {} more steps</text>\n",
            height - 8.0,
            run.steps.len() - steps.len()
        );
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn axis(svg: &mut String, span: Span, height: f64) {
    let seconds = span.seconds.ceil() as i64;
    let fits = |tick: &&i64| seconds / **tick <= MOST_TICKS;
    let days = seconds / MOST_TICKS / 86_400 + 1;
    let tick = TICKS.iter().find(fits).copied().unwrap_or(days * 86_400);
    let is_long = seconds > 86_400;
    let mut at = span.from.as_second().div_euclid(tick) * tick;
    while at <= span.end().as_second() {
        let time = Timestamp::from_second(at).unwrap_or(span.from);
        at += tick;
        if time < span.from {
            continue;
        }
        let x = span.x(time);
        let label = match is_long {
            true => time.strftime("%b %d %H:%M"),
            false => time.strftime("%H:%M:%S"),
        };
        add!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{:.0}\" stroke=\"currentColor\" stroke-opacity=\"0.2\"/>\
             <text x=\"{x:.1}\" y=\"14\" fill=\"currentColor\" text-anchor=\"middle\">{label}</text>\n",
            TOP - 10.0,
            height - BOTTOM + 6.0,
        );
    }
    add!(
        svg,
        "<text x=\"{WIDTH}\" y=\"14\" fill=\"currentColor\" text-anchor=\"end\">UTC</text>\n"
    );
}

fn draw_row(svg: &mut String, row: &Row, span: Span, y: f64) {
    let when = match (row.started, row.ended) {
        (Some(started), Some(ended)) => {
            let took = words::duration(ended.duration_since(started).as_secs_f64());
            format!(
                "{} to {}, {took}",
                words::moment(started),
                words::moment(ended)
            )
        }
        (Some(started), None) => format!("since {}", words::moment(started)),
        (None, _) => "not started".to_owned(),
    };
    let all = text(&format!("{}: {when}, {}", row.name, row.end));
    let (bar, baseline) = (y + (ROW - BAR) / 2.0, y + 15.0);
    add!(
        svg,
        "<g><title>{all}</title><text x=\"{:.0}\" y=\"{baseline:.0}\" fill=\"currentColor\" text-anchor=\"end\">{}</text>",
        NAMES - 8.0,
        text(&cut(&row.name, NAME_CHARS))
    );
    let waited_until = row.started.or(row.ended).unwrap_or_else(|| span.end());
    if let Some(since) = row.waits_since.filter(|since| *since < waited_until) {
        let (from, to) = (span.x(since), span.x(waited_until));
        add!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"none\" stroke=\"{GREY}\" \
             stroke-dasharray=\"3 3\"/>",
            bar + 3.0,
            (to - from).max(1.0),
            BAR - 6.0
        );
    }
    if let Some(started) = row.started {
        let from = span.x(started);
        let to = span.x(row.ended.unwrap_or_else(|| span.end()));
        let width = (to - from).max(2.0);
        let fill = match row.tone {
            Tone::Good => GOOD,
            Tone::Bad => BAD,
            Tone::Unknown => GREY,
            Tone::Open => OPEN,
        };
        let mut draw = |y: f64, height: f64, fill: &str| {
            add!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{fill}\"/>"
            );
        };
        draw(bar, BAR, fill);
        if row.failed > 0.0 {
            let height = (BAR * row.failed).max(LEAST_BAR);
            draw(bar + BAR - height, height, "url(#k6sync-hatch)");
        }
    }
    for gap in row.gaps.iter().take(MOST_GAPS) {
        draw_gap(svg, row, *gap, span, bar);
    }
    add!(
        svg,
        "<text x=\"{:.0}\" y=\"{baseline:.0}\" fill=\"currentColor\">{}</text></g>\n",
        WIDTH - ENDS + 8.0,
        text(&cut(&row.end, END_CHARS))
    );
}

/// A stroke for each time at which k6sync read; where a cycle failed it is crossed out.
fn draw_reads(svg: &mut String, reads: &[Reads], span: Span, y: f64) {
    let (mut good, mut bad) = (String::new(), String::new());
    let (bar, baseline) = (y + (ROW - BAR) / 2.0, y + 15.0);
    for read in reads {
        let x = span.x(read.at);
        if read.completed > 0 {
            add!(good, "M{x:.1} {:.1}v{:.0}", bar + 2.0, BAR - 4.0);
        }
        if read.failed > 0 {
            let (left, top) = (x - 3.0, bar + 4.0);
            add!(bad, "M{left:.1} {top:.1}l6 6m-6 0l6-6");
        }
    }
    let all = |count: fn(&Reads) -> u64| reads.iter().map(count).sum::<u64>();
    let (completed, failed) = (all(|read| read.completed), all(|read| read.failed));
    let end = match (completed, failed) {
        (0, 0) => "none while it ran".to_owned(),
        (completed, 0) => format!("✓ {}", values::things(completed, "cycle", "cycles")),
        (completed, failed) => format!("✗ {failed} of {} failed", completed + failed),
    };
    add!(
        svg,
        "<g><title>When k6sync read: {completed} cycles were completed, {failed} failed</title>\
         <text x=\"{:.0}\" y=\"{baseline:.0}\" fill=\"currentColor\" text-anchor=\"end\">k6sync read</text>",
        NAMES - 8.0
    );
    for (path, colour) in [(good, OPEN), (bad, BAD)] {
        if !path.is_empty() {
            add!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
            );
        }
    }
    add!(
        svg,
        "<text x=\"{:.0}\" y=\"{baseline:.0}\" fill=\"currentColor\">{}</text></g>\n",
        WIDTH - ENDS + 8.0,
        text(&end)
    );
}

/// A place where lines may be missing: white with a black frame, whatever is below.
fn draw_gap(svg: &mut String, row: &Row, gap: RunGap, span: Span, bar: f64) {
    let time = |ns: i64| Timestamp::from_nanosecond(i128::from(ns)).ok();
    let from = gap.after_ts.and_then(time).or(row.started);
    let to = gap.before_ts.and_then(time).or(row.ended);
    let from = span.x(from.unwrap_or(span.from));
    let to = span.x(to.unwrap_or_else(|| span.end()));
    let (from, width) = (from.min(to), (to - from).abs().max(4.0));
    add!(
        svg,
        "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"#ffffff\" stroke=\"#000000\" \
         stroke-dasharray=\"2 1\"><title>lines may be missing here: {}</title></rect>",
        bar - 2.0,
        BAR + 4.0,
        gap.cause
    );
}

/// Text between tags or in an attribute, harmless.
fn text(text: &str) -> String {
    let text = values::message(text);
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What XML has no way to write.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::samples::{self, at, hostile};
    use super::*;
    use crate::store::GapCause;

    /// It is XML, and the tags that it has.
    fn tags(svg: &str) -> Vec<String> {
        let mut reader = quick_xml::Reader::from_str(svg);
        let mut tags = Vec::new();
        loop {
            use quick_xml::events::Event;
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => {
                    tag.attributes()
                        .for_each(|attribute| assert!(attribute.is_ok()));
                    tags.push(tag.name().as_ref().to_owned());
                }
                Event::Eof => return tags,
                _ => {}
            }
        }
    }

    #[test]
    fn each_container_has_a_row_and_each_gap_a_mark() {
        let gap = RunGap {
            stream_id: StreamId(3),
            after_ts: i64::try_from(at(20).as_nanosecond()).ok(),
            before_ts: i64::try_from(at(30).as_nanosecond()).ok(),
            cause: GapCause::Rotated,
        };
        let svg = timeline(&samples::failed(), &[gap], &[], at(100)).unwrap();
        tags(&svg);
        for expected in [
            "initializer",
            "runner 1",
            "runner 2",
            "✓ exit 0",
            "✗ exit 99",
            "lines may be missing here: rotated",
            "04:00:00",
            "UTC",
            "url(#k6sync-hatch)",
            "stroke-dasharray=\"3 3\"",
        ] {
            assert!(svg.contains(expected), "no {expected}: {svg}");
        }
    }

    fn read(second: i64, completed: u64, failed: u64) -> Reads {
        Reads {
            at: at(second),
            completed,
            failed,
        }
    }

    #[test]
    fn it_is_told_when_k6sync_read() {
        for (reads, words, paths) in [
            (&[][..], "none while it ran", 0),
            (&[read(10, 1, 0)], "✓ 1 cycle<", 1),
            (&[read(10, 4, 0), read(30, 1_000, 0)], "✓ 1,004 cycles", 1),
            (&[read(10, 4, 0), read(30, 1, 2)], "✗ 2 of 7 failed", 2),
            (&[read(10, 0, 1)], "✗ 1 of 1 failed", 1),
        ] {
            let svg = timeline(&samples::failed(), &[], reads, at(100)).unwrap();
            assert!(svg.contains(words), "no {words}: {svg}");
            let drawn = tags(&svg).iter().filter(|tag| *tag == "path").count();
            assert_eq!(drawn, paths, "{words}");
        }
    }

    #[test]
    fn nothing_is_drawn_before_something_began() {
        let mut run = samples::running();
        for container in &mut run.steps[0].containers {
            container.row.started_at = None;
            container.row.finished_at = None;
        }
        assert_eq!(timeline(&run, &[], &[], at(0)), None);
    }

    #[test]
    fn a_run_of_any_size_has_a_bounded_picture() {
        for runners in [60, 61, 1_000, 10_000] {
            let gaps: Vec<RunGap> = (0..10_000)
                .map(|id| RunGap {
                    stream_id: StreamId(id % 50),
                    after_ts: None,
                    before_ts: None,
                    cause: GapCause::Deleted,
                })
                .collect();
            let reads: Vec<Reads> = (0..160).map(|part| read(part, 7, 7)).collect();
            let svg = timeline(&samples::many(runners), &gaps, &reads, at(100)).unwrap();
            let rows = tags(&svg).iter().filter(|tag| *tag == "g").count();
            // And one that holds them, and when k6sync read.
            assert!(rows <= MOST_ROWS + 2, "{rows}");
            assert!(svg.len() < 80_000, "{}", svg.len());
        }
        let mut run = samples::many(1_000);
        run.steps = vec![run.steps[0].clone(); 100];
        let svg = timeline(&run, &[], &[], at(100)).unwrap();
        assert!(svg.contains("and 88 more steps"));
        assert!(svg.len() < 80_000, "{}", svg.len());
    }

    #[test]
    fn the_axis_has_a_few_times_however_long_it_is() {
        for seconds in [1, 65, 3_600, 100_000, 100_000_000] {
            let mut run = samples::running();
            run.steps[0].containers[1].row.started_at = Some(at(0));
            let svg = timeline(&run, &[], &[], at(seconds)).unwrap();
            let lines = tags(&svg).iter().filter(|tag| *tag == "line").count();
            assert!((1..=9).contains(&lines), "{lines} for {seconds} s");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_is_only_text(name in hostile()) {
            let expected = tags(&timeline(&samples::of_hostile("a"), &[], &[], at(100)).unwrap());
            let svg = timeline(&samples::of_hostile(&name), &[], &[], at(100)).unwrap();
            prop_assert_eq!(tags(&svg), expected);
        }
    }
}
