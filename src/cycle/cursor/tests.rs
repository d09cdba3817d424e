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

/// Feeds `answer` in pieces of `piece` bytes.
fn read(cursor: Option<Cursor>, answer: &[u8], piece: usize, ended: bool) -> (Vec<Lines>, Rest) {
    let mut splitter = Splitter::new(cursor);
    let mut chunks = Vec::new();
    for mut input in answer.chunks(piece.max(1)) {
        while let Some(lines) = splitter.push(&mut input) {
            chunks.push(lines);
        }
    }
    let mut rest = splitter.finish(ended);
    chunks.extend(rest.lines.take());
    (chunks, rest)
}

fn text(chunks: &[Lines]) -> String {
    let bytes: Vec<u8> = chunks.iter().flat_map(|c| c.body.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

fn cursor(ts: i64, seen: i64) -> Option<Cursor> {
    Some(Cursor {
        ts: BASE + ts,
        seen,
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
    assert_eq!(chunks[0].hole, None);
    assert!(!rest.cursor_missing);
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
            let hole = chunks.first().and_then(|c| c.hole);
            let expected = case.hole.map(|(after, before)| Hole {
                after_ts: Some(BASE + after),
                before_ts: Some(BASE + before),
            });
            assert_eq!(hole, expected, "{}", case.name);
            assert_eq!(rest.cursor_missing, case.cursor_missing, "{}", case.name);
            assert_eq!(rest.remark, None, "{}", case.name);
        }
    }
}

#[test]
fn an_unterminated_last_line_waits_until_the_container_has_ended() {
    let answer = format!("{}{} half", answer(&[(1, "a")]), stamp(BASE + 2));
    let (running, _) = read(None, answer.as_bytes(), 9, false);
    assert_eq!(text(&running), "a\n");
    assert_eq!(Some(running[0].cursor), cursor(1, 1));
    let (ended, _) = read(None, answer.as_bytes(), 9, true);
    assert_eq!(text(&ended), "a\nhalf");
    assert_eq!(ended[0].count, 2);
}

#[test]
fn the_end_of_a_line_that_began_earlier_is_left_out() {
    let answer = format!("end of a long line\n{}", answer(&[(1, "a"), (2, "b")]));
    let (chunks, rest) = read(cursor(1, 1), answer.as_bytes(), 11, false);
    assert_eq!(text(&chunks), "b\n");
    assert_eq!((chunks[0].hole, rest.remark), (None, None));

    let (first, _) = read(None, answer.as_bytes(), 11, false);
    assert_eq!(text(&first), "a\nb\n");
    assert_eq!(
        first[0].hole,
        Some(Hole {
            after_ts: None,
            before_ts: Some(BASE + 1)
        }),
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
        let since = cursor.map_or(i64::MIN, |c| c.since_second() * NANOS_PER_SECOND);
        let mut bytes = Vec::new();
        for (ts, text) in &self.lines[self.rotated.min(written)..written] {
            if *ts >= since {
                bytes.extend(format!("{} {text}\n", stamp(*ts)).into_bytes());
            }
        }
        bytes
    }
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

proptest! {
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
        let mut record = String::new();
        for stop in stops {
            let (chunks, rest) = read(at, &model.answer(at, stop), piece, false);
            prop_assert!(!rest.cursor_missing && rest.remark.is_none());
            for chunk in chunks {
                prop_assert_eq!(chunk.hole, None);
                record += std::str::from_utf8(&chunk.body).unwrap();
                at = Some(chunk.cursor);
            }
        }
        let written: String = model.lines.iter().map(|(_, text)| format!("{text}\n")).collect();
        prop_assert_eq!(record, written);
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
        let (before, _) = read(None, &model.answer(None, first), piece, false);
        let at = before.last().map(|c| c.cursor);
        model.rotated = rotated.min(all);
        let latest = model.lines[..first].iter().map(|(ts, _)| *ts).max();
        let is_latest = |(ts, _): &(i64, String)| Some(*ts) == latest;
        let anchor = model.lines.iter().position(is_latest).unwrap();
        if model.rotated > anchor && model.lines[model.rotated..].iter().any(is_latest) {
            model.rotated = anchor;
        }
        let (after, rest) = read(at, &model.answer(at, all), piece, false);
        let kept: i64 = after.iter().map(|c| c.count).sum();
        let hole = rest.cursor_missing || after.iter().any(|c| c.hole.is_some());
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
