//! What must hold for any input; the fuzz targets call one function each with inputs that libFuzzer makes up.
//!
//! The inputs in `seeds/`, and those that once found something in `regressions/`, are checked by the tests too
//! (`tests/it/fuzz.rs`).

use jiff::Timestamp;
use k6sync::cluster::{ConfigMap, Pod, TestRun};
use k6sync::cycle::cursor::{Cursor, Lines, Rest, Splitter};
use k6sync::k6::combine::combine;
use k6sync::k6::message::failed_thresholds;
use k6sync::k6::summary::{Outcome, Summary, summarize};
use k6sync::server::job_request::JobRequest;
use k6sync::sync_loop::control::{Control, Defaults, Interval};

/// A check, and its name: that of the fuzz target and of its folders.
pub type Check = (&'static str, fn(&[u8]));

/// All of them.
pub const CHECKS: [Check; 7] = [
    ("summary", summary),
    ("splitter", splitter),
    ("resume", resume),
    ("test_run", test_run),
    ("pod", pod),
    ("config_map", config_map),
    ("job_request", job_request),
];

/// The first byte says how large the pieces are that the answer comes in; the rest is the answer.
pub fn splitter(data: &[u8]) {
    let Some((&piece, answer)) = data.split_first() else {
        return;
    };
    let at_once = read(Splitter::whole(None), answer, answer.len());
    let in_pieces = read(Splitter::whole(None), answer, usize::from(piece));
    assert_eq!(
        text(&at_once.0),
        text(&in_pieces.0),
        "pieces make no difference"
    );
    assert_eq!(at_once.1.unterminated, in_pieces.1.unterminated);
    assert_eq!(at_once.1.remark, in_pieces.1.remark);
    for lines in &at_once.0 {
        let newlines = lines.body.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines.count, newlines as i64, "only whole lines are taken");
        let times = lines
            .times
            .decode(lines.first_ts, lines.last_ts, lines.count);
        assert_eq!(
            times.map(|times| times.len()),
            Ok(newlines),
            "each has its time"
        );
    }
    assert!(text(&at_once.0).len() <= answer.len(), "nothing is made up");
    // Where a log was left off, nothing is new.
    if let Some(cursor) = at_once.0.last().map(|lines| lines.cursor) {
        let again = read(Splitter::whole(Some(cursor)), answer, usize::from(piece));
        assert!(!again.1.cursor_missing, "the cursor is in its own answer");
        let untimed = at_once.0.iter().any(|lines| !lines.gaps.is_empty());
        assert!(again.0.is_empty() || untimed, "{:?}", again.0);
    }
}

/// Three bytes a line: how much later it was written than the one before, in two (signed; of them a third are whole
/// seconds), and how long it is; the first byte of all says how many lines are stored already.
pub fn resume(data: &[u8]) {
    let Some((&stored, data)) = data.split_first() else {
        return;
    };
    let mut now = 1_795_408_783_000_000_000_i64;
    let mut steps_back = false;
    let lines: Vec<(i64, String)> = data
        .chunks_exact(3)
        .enumerate()
        .map(|(number, line)| {
            let delta = i64::from(i16::from_le_bytes([line[0], line[1]]));
            now += match delta % 3 {
                0 => delta / 3_000 * 1_000_000_000,
                _ => delta * 100_000,
            };
            steps_back |= delta < 0;
            let at = format!("{:.9}", Timestamp::from_nanosecond(now.into()).unwrap());
            let text = "x".repeat(usize::from(line[2]) * usize::from(line[2]));
            (now, format!("{at} {number} {text}\n"))
        })
        .collect();
    let stored = usize::from(stored).min(lines.len());
    let whole: String = lines.iter().map(|(_, line)| line.as_str()).collect();
    let before: String = lines[..stored]
        .iter()
        .map(|(_, line)| line.as_str())
        .collect();
    let expected = text(&read(Splitter::whole(None), whole.as_bytes(), 1 << 20).0);
    let first = read(Splitter::whole(None), before.as_bytes(), 1 << 20).0;
    let cursor = first.last().map(|lines| lines.cursor);

    let resumed = read(Splitter::whole(cursor), whole.as_bytes(), 1 << 20);
    check(&first, &resumed, &expected);
    let since = cursor.filter(|_| !steps_back);
    if let Some((cursor, second)) =
        since.and_then(|cursor: Cursor| Some((cursor, cursor.since_second()?)))
    {
        let answer: String = lines
            .iter()
            .filter(|(ts, _)| *ts >= second * 1_000_000_000)
            .map(|(_, line)| line.as_str())
            .collect();
        let resumed = read(Splitter::since(cursor), answer.as_bytes(), 1 << 20);
        check(&first, &resumed, &expected);
    }
}

/// Each line once and no gap.
fn check(first: &[Lines], (rest, end): &(Vec<Lines>, Rest), expected: &[u8]) {
    assert_eq!([text(first), text(rest)].concat(), expected);
    assert!(!end.cursor_missing && end.halt.is_none());
    assert!(rest.iter().all(|lines| lines.gaps.is_empty()));
}

/// The answer to a LIST of TestRuns.
pub fn test_run(data: &[u8]) {
    if let Ok(listed) = TestRun::of_list(data) {
        for test_run in listed.items {
            let _ = (test_run.is_held(), test_run.stage.as_str().len());
        }
        assert!(listed.malformed.iter().all(|bad| !bad.problem.is_empty()));
    }
}

/// The answer to a LIST of pods.
pub fn pod(data: &[u8]) {
    if let Ok(listed) = Pod::of_list(data) {
        assert!(listed.malformed.iter().all(|bad| !bad.problem.is_empty()));
    }
}

/// The answer to a GET of the control ConfigMap: whatever it says, the interval is in its range.
pub fn config_map(data: &[u8]) {
    let map = ConfigMap::of_json(data).ok();
    let (control, warnings) = Control::resolve(map.as_ref(), Defaults::default());
    in_range(control.interval);
    assert!(warnings.len() <= 2);
}

/// The body of a request to the job API.
pub fn job_request(data: &[u8]) {
    use k6sync::sync_loop::control::Action;
    match JobRequest::parse(data) {
        Ok(JobRequest {
            action: Action::Start(interval) | Action::Restart(interval),
            ..
        }) => {
            if let Some(interval) = interval {
                in_range(interval);
            }
        }
        Ok(request) => assert_eq!(request.word, "stop"),
        Err(problem) => assert!((1..2_000).contains(&problem.len()), "{problem}"),
    }
}

fn in_range(interval: Interval) {
    assert!((Interval::MIN..=Interval::MAX).contains(&interval.seconds()));
}

fn read(mut splitter: Splitter, answer: &[u8], piece: usize) -> (Vec<Lines>, Rest) {
    let mut chunks = Vec::new();
    for mut input in answer.chunks(piece.max(1)) {
        while let Some(lines) = splitter.push(&mut input) {
            chunks.push(lines);
        }
    }
    let mut rest = splitter.finish(None);
    chunks.extend(rest.lines.take());
    (chunks, rest)
}

fn text(chunks: &[Lines]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.body.clone()).collect()
}

/// The end of a log, or all of it.
pub fn summary(data: &[u8]) {
    assert_ne!(summarize(data, true), Outcome::CutOff, "there is no more");
    for whole in [true, false] {
        let Outcome::Found(summary) = summarize(data, whole) else {
            continue;
        };
        let document = serde_json::to_string(&summary).unwrap();
        let again: Summary = serde_json::from_str(&document).unwrap();
        assert_eq!(again, *summary, "a document is what it was made of");
        let (one, two) = (combine([&*summary]), combine([&*summary, &*summary]));
        for row in one.metrics.iter().chain(&two.metrics) {
            assert!(row.low <= row.high && row.low.is_finite() && row.high.is_finite());
        }
        let failed = summary.thresholds.iter().any(|threshold| threshold.failed)
            || summary.marks.iter().any(|mark| mark.failed);
        assert_eq!(failed_thresholds(&two).is_some(), failed);
    }
}
