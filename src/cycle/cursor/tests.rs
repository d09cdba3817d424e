//! Tables and properties for the cursor. `Model` is a container log as the kubelet keeps it.

use proptest::prelude::*;

use super::*;

const BASE: i64 = 1_795_408_783_000_000_000;

fn stamp(ts: i64) -> String {
    format!(
        "{:.9}",
        jiff::Timestamp::from_nanosecond(ts.into()).unwrap()
    )
}

fn answer(lines: &[(i64, &str)]) -> String {
    lines
        .iter()
        .map(|(ts, text)| format!("{} {text}\n", stamp(BASE + ts)))
        .collect()
}

/// Feeds `answer` in pieces of `piece` bytes. `ended`: a last line without a newline is a line.
fn read(cursor: Option<Cursor>, answer: &[u8], piece: usize, ended: bool) -> (Vec<Lines>, Rest) {
    let splitter = match cursor {
        Some(cursor) if !cursor.stepped => Splitter::since(cursor),
        cursor => Splitter::whole(cursor),
    };
    feed(splitter, answer, piece, ended)
}

fn feed(mut splitter: Splitter, answer: &[u8], piece: usize, ended: bool) -> (Vec<Lines>, Rest) {
    let mut chunks = Vec::new();
    for mut input in answer.chunks(piece.max(1)) {
        while let Some(lines) = splitter.push(&mut input) {
            chunks.push(lines);
        }
    }
    let last = answer.rsplit(|byte| *byte == b'\n').next();
    let mut rest = splitter.finish(last.filter(|_| ended));
    chunks.extend(rest.lines.take());
    (chunks, rest)
}

fn rotated(after: i64, before: i64) -> Gap {
    Gap {
        after_ts: Some(BASE + after),
        before_ts: Some(BASE + before),
        cause: GapCause::Rotated,
    }
}

fn text(chunks: &[Lines]) -> String {
    let bytes: Vec<u8> = chunks.iter().flat_map(|c| c.body.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

fn cursor(ts: i64, seen: i64) -> Option<Cursor> {
    Some(Cursor {
        ts: BASE + ts,
        seen,
        stepped: false,
    })
}

#[test]
fn a_first_read_takes_every_line() {
    let (chunks, rest) = read(
        None,
        answer(&[(1, "a"), (1, ""), (2, "b")]).as_bytes(),
        7,
        false,
    );
    assert_eq!(text(&chunks), "a\n\nb\n");
    assert_eq!(chunks[0].count, 3);
    assert_eq!(Some(chunks[0].cursor), cursor(2, 1));
    assert_eq!(
        (chunks[0].first_ts, chunks[0].last_ts),
        (BASE + 1, BASE + 2)
    );
    assert_eq!(chunks[0].gaps, []);
    assert!(!rest.cursor_missing);
}

/// When each of these lines was written.
fn times(chunks: &[Lines]) -> Vec<i64> {
    let decode = |chunk: &Lines| {
        let times = &chunk.times;
        times
            .decode(chunk.first_ts, chunk.last_ts, chunk.count)
            .unwrap()
    };
    chunks.iter().flat_map(decode).map(|ts| ts - BASE).collect()
}

#[test]
fn each_line_keeps_its_time() {
    // Neighbours swapped, twins, and a pause.
    let written = [(7, "a"), (5, "b"), (5, ""), (9, "c"), (5_000_000_009, "d")];
    let (chunks, _) = read(None, answer(&written).as_bytes(), 7, false);
    assert_eq!(times(&chunks), [7, 5, 5, 9, 5_000_000_009]);
    let (chunks, _) = read(cursor(7, 3), answer(&written).as_bytes(), 7, false);
    assert_eq!(times(&chunks), [9, 5_000_000_009]);

    // What comes without a time has that of the line before; a line of which only the beginning is kept has its own.
    let long = "x".repeat(LINE_BYTES + 1);
    let odd = [
        answer(&[(1, "a")]),
        "a part without a time\n".to_owned(),
        answer(&[(2, &long), (3, "b")]),
    ];
    let (chunks, rest) = read(None, odd.concat().as_bytes(), 100_000, false);
    assert_eq!(times(&chunks), [1, 1, 2, 3]);
    assert!(rest.lines.is_none());

    // A last line that is taken without its newline.
    let unfinished = answer(&[(1, "a"), (4, "b")]);
    let (chunks, _) = read(None, unfinished.trim_end().as_bytes(), 7, true);
    assert_eq!(times(&chunks), [1, 4]);
}

/// However short lines are, a chunk takes no more memory than it may.
#[test]
fn times_count_towards_the_size_of_a_chunk() {
    let empty: Vec<(i64, &str)> = (0..200_000).map(|n| (n * 1_000_000_000, "")).collect();
    let (chunks, _) = read(None, answer(&empty).as_bytes(), 100_000, false);
    for chunk in &chunks {
        let bytes = chunk.body.len() + chunk.times.as_bytes().len();
        assert!(bytes < CHUNK_BYTES + 10, "{bytes}");
    }
    assert_eq!(times(&chunks).len(), empty.len());
}

#[test]
fn a_resumed_read_takes_what_is_after_the_cursor() {
    struct Case {
        name: &'static str,
        cursor: (i64, i64),
        answer: &'static [(i64, &'static str)],
        new: &'static str,
        /// The hole's two ends.
        hole: Option<(i64, i64)>,
        cursor_missing: bool,
    }
    let cases = [
        Case {
            name: "the whole second is delivered again",
            cursor: (5, 1),
            answer: &[(3, "old"), (5, "last"), (7, "new")],
            new: "new\n",
            hole: None,
            cursor_missing: false,
        },
        Case {
            name: "nothing new",
            cursor: (5, 2),
            answer: &[(5, "x"), (5, "y")],
            new: "",
            hole: None,
            cursor_missing: false,
        },
        Case {
            name: "one more line with the cursor's time",
            cursor: (5, 1),
            answer: &[(5, "last"), (5, "twin"), (6, "new")],
            new: "twin\nnew\n",
            hole: None,
            cursor_missing: false,
        },
        Case {
            name: "stored lines that were stamped before the cursor's and written after it",
            cursor: (5, 3),
            answer: &[
                (3, "old"),
                (5, "latest"),
                (4, "swapped"),
                (3, "swapped too"),
                (4, "new"),
            ],
            new: "new\n",
            hole: None,
            cursor_missing: false,
        },
        Case {
            name: "a new line that was stamped before the cursor's",
            cursor: (5, 1),
            answer: &[(3, "old"), (5, "latest"), (4, "new"), (6, "newer")],
            new: "new\nnewer\n",
            hole: None,
            cursor_missing: false,
        },
        Case {
            name: "rotated: only later lines",
            cursor: (5, 1),
            answer: &[(9, "later")],
            new: "later\n",
            hole: Some((5, 9)),
            cursor_missing: false,
        },
        Case {
            name: "rotated between lines of one time",
            cursor: (5, 2),
            answer: &[(5, "y"), (9, "later")],
            new: "later\n",
            hole: Some((5, 9)),
            cursor_missing: false,
        },
        Case {
            name: "rotated: an empty answer",
            cursor: (5, 1),
            answer: &[],
            new: "",
            hole: None,
            cursor_missing: true,
        },
        Case {
            name: "replaced by an older log",
            cursor: (5, 1),
            answer: &[(1, "a"), (2, "b")],
            new: "",
            hole: None,
            cursor_missing: true,
        },
    ];
    for case in cases {
        let answer = answer(case.answer);
        for piece in [1, 5, 40, 10_000] {
            let (chunks, rest) = read(
                cursor(case.cursor.0, case.cursor.1),
                answer.as_bytes(),
                piece,
                false,
            );
            assert_eq!(text(&chunks), case.new, "{}", case.name);
            let gaps: Vec<Gap> = chunks.iter().flat_map(|c| c.gaps.clone()).collect();
            let expected: Vec<Gap> = case.hole.map(|(a, b)| rotated(a, b)).into_iter().collect();
            assert_eq!(gaps, expected, "{}", case.name);
            assert_eq!(rest.cursor_missing, case.cursor_missing, "{}", case.name);
            assert_eq!(rest.remark, None, "{}", case.name);
        }
    }
}

#[test]
fn an_unterminated_last_line_waits_until_the_container_has_ended() {
    let answer = format!("{}{} half", answer(&[(1, "a")]), stamp(BASE + 2));
    let (running, rest) = read(None, answer.as_bytes(), 9, false);
    assert_eq!(text(&running), "a\n");
    let half = format!("{} half", stamp(BASE + 2));
    assert_eq!(rest.unterminated, Some(half.clone().into_bytes()));
    assert_eq!(Some(running[0].cursor), cursor(1, 1));
    let (ended, rest) = read(None, answer.as_bytes(), 9, true);
    assert_eq!(text(&ended), "a\nhalf");
    assert_eq!(ended[0].count, 2);
    assert!(rest.is_closed && rest.unterminated.is_none());

    // It has grown since it was taken for the end.
    let splitter = Splitter::since(running[0].cursor);
    let (mut splitter, mut grown) = (splitter, format!("{answer} of it"));
    assert_eq!(splitter.push(&mut grown.as_bytes()), None);
    let rest = splitter.finish(Some(half.as_bytes()));
    assert_eq!((rest.lines, rest.is_closed), (None, false));
    grown.drain(..grown.len() - half.len() - " of it".len());
    assert_eq!(rest.unterminated, Some(grown.into_bytes()));
}

#[test]
fn the_end_of_a_line_that_began_earlier_is_left_out() {
    let answer = format!("end of a long line\n{}", answer(&[(1, "a"), (2, "b")]));
    let (chunks, rest) = read(cursor(1, 1), answer.as_bytes(), 11, false);
    assert_eq!(text(&chunks), "b\n");
    assert_eq!((&chunks[0].gaps[..], rest.remark), (&[][..], None));

    let (first, _) = read(None, answer.as_bytes(), 11, false);
    assert_eq!(text(&first), "a\nb\n");
    assert_eq!(
        first[0].gaps,
        [Gap {
            after_ts: None,
            before_ts: Some(BASE + 1),
            cause: GapCause::Rotated,
        }],
        "the line's beginning is lost"
    );
}

#[test]
fn a_kubelets_remark_is_no_line() {
    let remark = "unable to retrieve container logs for containerd://1234";
    for (cursor, before) in [(None, ""), (cursor(1, 1), ""), (None, "x")] {
        let lines = if before.is_empty() {
            String::new()
        } else {
            answer(&[(1, before)])
        };
        for end in ["", "\n"] {
            let (chunks, rest) = read(cursor, format!("{lines}{remark}{end}").as_bytes(), 8, false);
            assert_eq!(rest.remark.as_deref(), Some(remark));
            assert_eq!(chunks.len(), usize::from(!before.is_empty()));
        }
    }
}

#[test]
fn a_line_without_a_time_between_new_lines_is_kept() {
    let answer = format!("{}odd\n{}", answer(&[(1, "a")]), answer(&[(2, "b")]));
    let (chunks, rest) = read(None, answer.as_bytes(), 3, false);
    assert_eq!(text(&chunks), "a\nodd\nb\n");
    assert_eq!((chunks[0].count, rest.remark), (3, None));
}

#[test]
fn times_that_old_kubelets_repeat_inside_a_long_line_are_removed() {
    let long = "x".repeat(40_000);
    let mut answer = answer(&[(0, "start")]);
    for (part, text) in long.as_bytes().chunks(RUNTIME_PART_BYTES).enumerate() {
        answer += &stamp(BASE + 1 + part as i64);
        answer.push(' ');
        answer += std::str::from_utf8(text).unwrap();
    }
    answer.push('\n');
    let (chunks, _) = read(None, answer.as_bytes(), 1_000, false);
    assert!(text(&chunks) == format!("start\n{long}\n"));
    assert_eq!(chunks[0].cursor.ts, BASE + 1, "the line's first part");
}

#[test]
fn chunks_are_cut_at_line_ends() {
    let lines: Vec<(i64, String)> = (0..40).map(|i| (i / 2, "y".repeat(20_000))).collect();
    let borrowed: Vec<(i64, &str)> = lines.iter().map(|(ts, t)| (*ts, t.as_str())).collect();
    let (chunks, _) = read(None, answer(&borrowed).as_bytes(), 100_000, false);
    assert!(chunks.len() > 2);
    for chunk in &chunks {
        assert!(chunk.body.ends_with(b"\n"));
        assert!(chunk.body.len() < CHUNK_BYTES + 20_001);
    }
    assert_eq!(chunks.iter().map(|c| c.count).sum::<i64>(), 40);
}

/// A container's log: every line with its time; those before `rotated` are no longer served.
#[derive(Debug, Clone)]
struct Model {
    lines: Vec<(i64, String)>,
    rotated: usize,
}

impl Model {
    /// The kubelet's answer to a request since `cursor`, when `written` lines were there.
    fn answer(&self, cursor: Option<Cursor>, written: usize) -> Vec<u8> {
        let since = cursor
            .and_then(Cursor::since_second)
            .map_or(i64::MIN, |second| second * NANOS_PER_SECOND);
        let mut bytes = Vec::new();
        for (ts, text) in &self.lines[self.rotated.min(written)..written] {
            if *ts >= since {
                bytes.extend(format!("{} {text}\n", stamp(*ts)).into_bytes());
            }
        }
        bytes
    }

    /// Reads on from `at` as `capture` does: by time, and all that there is when lines may be hidden.
    fn read(&self, at: &mut Option<Cursor>, written: usize, piece: usize) -> (Vec<Lines>, Rest) {
        let (mut chunks, mut rest) = read(*at, &self.answer(*at, written), piece, false);
        *at = chunks.last().map(|lines| lines.cursor).or(*at);
        if rest.halt == Some(Halt::Hidden) {
            let answer = self.answer(None, written);
            let (more, whole) = feed(Splitter::whole(*at), &answer, piece, false);
            *at = more.last().map(|lines| lines.cursor).or(*at);
            chunks.extend(more);
            rest = whole;
        }
        (chunks, rest)
    }
}

/// Logs of nodes whose clocks step back and forth.
fn stepping_models() -> impl Strategy<Value = Model> {
    let step = prop_oneof![
        6 => Just(0_i64),
        6 => 1..3_000_000_000_i64,
        1 => -20_000_000_000..20_000_000_000_i64,
        // Steps that make times come again exactly.
        1 => Just(-5_000_000_000_i64),
        3 => Just(1_000_000_000_i64),
    ];
    proptest::collection::vec(step, 1..60).prop_map(|steps| {
        let mut clock = BASE;
        let lines = (0..)
            .zip(steps)
            .map(|(number, step)| {
                clock += step;
                (clock, format!("line {number}"))
            })
            .collect();
        Model { lines, rotated: 0 }
    })
}

fn models() -> impl Strategy<Value = Model> {
    // Steps of 0 make lines of one time; large ones cross seconds. A line may be stamped a moment before its neighbour
    // and written after it, but less than the second that is asked for again.
    let step = prop_oneof![Just(0_i64), 1..1_000_i64, Just(400_000_000)];
    let early = prop_oneof![4 => Just(0_i64), 1 => 1..1_000_i64, 1 => Just(900_000_000)];
    proptest::collection::vec((step, early, "[a-z \u{e9}]{0,12}"), 1..60).prop_map(|steps| {
        let mut clock = BASE;
        let lines = steps
            .into_iter()
            .map(|(step, early, text)| {
                clock += step;
                (clock - early, text)
            })
            .collect();
        Model { lines, rotated: 0 }
    })
}

#[test]
fn a_step_back_of_the_clock_hides_nothing_that_is_read_in_time() {
    const SECOND: i64 = NANOS_PER_SECOND;
    let log = |lines: &[i64]| Model {
        lines: lines
            .iter()
            .map(|at| (BASE + at * SECOND, format!("at {at}")))
            .collect(),
        rotated: 0,
    };
    let model = log(&[50, 100, 60, 61, 99, 101, 102]);
    let mut at = None;
    let mut record = Vec::new();
    // The cursor stands before the step, in the hidden part, and after it.
    for (written, stepped) in [(2, false), (4, true), (5, false), (7, false)] {
        let (chunks, rest) = model.read(&mut at, written, 1000);
        assert!(!rest.cursor_missing);
        record.extend(chunks);
        if written == 4 {
            // By time nothing shows, until the container ends and the whole log is read.
            assert_eq!(text(&record), "at 50\nat 100\n");
            let answer = model.answer(None, written);
            let (chunks, _) = feed(Splitter::whole(at), &answer, 1000, false);
            at = chunks.last().map(|lines| lines.cursor);
            record.extend(chunks);
        }
        assert_eq!(at.unwrap().stepped, stepped, "{written} lines");
    }
    assert_eq!(
        text(&record),
        "at 50\nat 100\nat 60\nat 61\nat 99\nat 101\nat 102\n"
    );

    // Passed over: nothing was read while the hidden lines were the last.
    let mut at = None;
    model.read(&mut at, 2, 1000);
    let sparse = log(&[50, 100, 60, 61, 101, 102]);
    let (chunks, _) = sparse.read(&mut at, 6, 1000);
    assert_eq!(text(&chunks), "at 101\nat 102\n");
    let (chunks, rest) = feed(Splitter::whole(at), &sparse.answer(None, 6), 1000, false);
    assert!(chunks.is_empty());
    assert_eq!(rest.delivered_again, 6, "four are stored");
}

#[test]
fn of_a_line_that_is_too_long_the_beginning_is_kept() {
    let long = "z".repeat(LINE_BYTES + 5);
    let answer = answer(&[(1, "a"), (2, &long), (3, "b")]);
    for piece in [100_000, usize::MAX] {
        let (chunks, _) = read(None, answer.as_bytes(), piece, false);
        assert!(text(&chunks) == format!("a\n{}\nb\n", &long[..LINE_BYTES]));
        let gaps: Vec<Gap> = chunks.iter().flat_map(|c| c.gaps.clone()).collect();
        let expected = Gap {
            cause: GapCause::Truncated,
            ..rotated(2, 2)
        };
        assert_eq!(gaps, [expected]);
    }
}

#[test]
fn what_is_later_than_wanted_is_left() {
    let answer = answer(&[(1, "a"), (3, "b"), (2, "c")]);
    let splitter = Splitter::whole(None).until(Some(BASE + 2));
    let (chunks, rest) = feed(splitter, answer.as_bytes(), 7, false);
    assert_eq!(text(&chunks), "a\n");
    assert_eq!(rest.halt, Some(Halt::TooLate));
}

proptest! {
    /// Whatever the clock does, what is stored is in the order written, each line once; and if lines were hidden, the
    /// whole log shows it.
    #[test]
    fn steps_of_the_clock_hide_no_line_for_good(
        model in stepping_models(),
        mut stops in proptest::collection::vec(0_usize..60, 0..12),
        piece in 1_usize..200,
    ) {
        let all = model.lines.len();
        stops.push(all);
        stops.iter_mut().for_each(|stop| *stop = (*stop).min(all));
        stops.sort_unstable();
        let mut at = None;
        let mut record = Vec::new();
        for stop in stops {
            let (chunks, rest) = model.read(&mut at, stop, piece);
            prop_assert!(!rest.cursor_missing);
            prop_assert!(chunks.iter().all(|chunk| chunk.gaps.is_empty()));
            record.extend(chunks);
        }
        let stored: i64 = record.iter().map(|lines| lines.count).sum();
        let (more, rest) = feed(Splitter::whole(at), &model.answer(None, all), piece, false);
        record.extend(more);
        let record = text(&record);
        let mut rest_of_log = model.lines.iter();
        for line in record.lines() {
            prop_assert!(rest_of_log.any(|(_, text)| text == line), "{line} is doubled or out of order");
        }
        let is_complete = record.lines().count() == all;
        prop_assert_eq!(is_complete, rest.delivered_again == stored);
    }

    /// However often and whenever it is read, the record is the log.
    #[test]
    fn any_reads_of_a_growing_log_give_each_line_once(
        model in models(),
        mut stops in proptest::collection::vec(0_usize..60, 0..12),
        piece in 1_usize..200,
    ) {
        stops.push(model.lines.len());
        stops.iter_mut().for_each(|stop| *stop = (*stop).min(model.lines.len()));
        stops.sort_unstable();
        let mut at = None;
        let (mut record, mut stamps) = (String::new(), Vec::new());
        for stop in stops {
            let (chunks, rest) = model.read(&mut at, stop, piece);
            prop_assert!(!rest.cursor_missing && rest.remark.is_none());
            prop_assert!(chunks.iter().all(|chunk| chunk.gaps.is_empty()));
            record += &text(&chunks);
            stamps.extend(times(&chunks));
        }
        let written: String = model.lines.iter().map(|(_, text)| format!("{text}\n")).collect();
        prop_assert_eq!(record, written);
        let stamped: Vec<i64> = model.lines.iter().map(|(ts, _)| ts - BASE).collect();
        prop_assert_eq!(stamps, stamped);
    }

    /// After a rotation nothing is doubled, and what is missing is behind a hole or still said to be missing.
    /// (A rotation between lines of one nanosecond can't be told from none: the times are all there is to go by.)
    #[test]
    fn a_rotation_is_seen(
        mut model in models(),
        first in 1_usize..60,
        rotated in 0_usize..60,
        piece in 1_usize..200,
    ) {
        let all = model.lines.len();
        let first = first.min(all);
        let mut at = None;
        let (before, _) = model.read(&mut at, first, piece);
        model.rotated = rotated.min(all);
        let latest = model.lines[..first].iter().map(|(ts, _)| *ts).max();
        let is_latest = |(ts, _): &(i64, String)| Some(*ts) == latest;
        let anchor = model.lines.iter().position(is_latest).unwrap();
        if model.rotated > anchor && model.lines[model.rotated..].iter().any(is_latest) {
            model.rotated = anchor;
        }
        let (after, rest) = model.read(&mut at, all, piece);
        let kept: i64 = after.iter().map(|c| c.count).sum();
        let hole = rest.cursor_missing || after.iter().any(|c| !c.gaps.is_empty());
        let record = text(&before) + &text(&after);
        let expect: String = model.lines[..first]
            .iter()
            .chain(&model.lines[all - kept as usize..])
            .map(|(_, text)| format!("{text}\n"))
            .collect();
        prop_assert_eq!(record, expect, "stored lines are a beginning and an end of the log");
        if first as i64 + kept < all as i64 {
            prop_assert!(hole, "lines are missing and nothing says so");
        }
        if model.rotated <= anchor {
            prop_assert!(!hole, "the cursor's lines were there");
        }
    }

    /// Whatever a kubelet sends, it does not panic, and pieces make no difference.
    #[test]
    fn pieces_make_no_difference(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'2'), proptest::num::u8::ANY], 0..300),
        piece in 1_usize..50,
        at in proptest::option::of((0_i64..3, 1_i64..3)),
        ended in proptest::bool::ANY,
    ) {
        let mut answer = bytes;
        answer.extend(self::answer(&[(0, "a"), (1, "b")]).into_bytes());
        let at = at.and_then(|(ts, seen)| cursor(ts, seen));
        prop_assert_eq!(read(at, &answer, piece, ended), read(at, &answer, usize::MAX, ended));
    }
}
