//! How many bytes of an answer go through the splitter a second, on one core. `cargo bench`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use k6sync::cycle::cursor::{Cursor, Splitter};

/// What hyper hands over at a time.
const PIECE_BYTES: usize = 64 * 1024;
const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// 2026-01-05T08:00:00Z
const START: i64 = 1_767_600_000_000_000_000;
const STEP: i64 = 1_234_567;

fn main() {
    divan::main();
}

/// An answer of lines so long, with their times, and the time of its last line.
fn answer(line_bytes: usize) -> (Vec<u8>, i64) {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES + line_bytes);
    let mut ts = START;
    while bytes.len() < ANSWER_BYTES {
        ts += STEP;
        let begin = bytes.len();
        let time = jiff::Timestamp::from_nanosecond(ts.into()).unwrap_or_default();
        bytes.extend_from_slice(format!("{time:.9} ").as_bytes());
        bytes.resize(begin + line_bytes - 1, b'x');
        bytes.push(b'\n');
    }
    (bytes, ts)
}

fn split(mut splitter: Splitter, answer: &[u8]) -> i64 {
    let mut lines = 0;
    for piece in answer.chunks(PIECE_BYTES) {
        let mut input = piece;
        while let Some(chunk) = splitter.push(&mut input) {
            lines += black_box(chunk).count;
        }
    }
    lines + splitter.finish(None).lines.map_or(0, |rest| rest.count)
}

/// Everything is new.
#[divan::bench(args = [80, 155, 1_000, 10_000])]
fn first_read(bencher: Bencher<'_, '_>, line_bytes: usize) {
    let (answer, _) = answer(line_bytes);
    bencher
        .counter(BytesCount::of_slice(&answer))
        .bench_local(|| split(Splitter::whole(None), black_box(&answer)));
}

/// Everything is stored, and only goes by.
#[divan::bench(args = [80, 155, 1_000, 10_000])]
fn delivered_again(bencher: Bencher<'_, '_>, line_bytes: usize) {
    let (answer, ts) = answer(line_bytes);
    let cursor = Cursor {
        ts,
        seen: 1,
        stepped: false,
    };
    bencher
        .counter(BytesCount::of_slice(&answer))
        .bench_local(|| split(Splitter::whole(Some(cursor)), black_box(&answer)));
}
