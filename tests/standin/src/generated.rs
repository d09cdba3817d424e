//! Huge logs that cost no memory: each line follows from the seed and its index.
//!
//! [`crate::logs`] serves them line by line; tests compare with [`generated_text`]. A line's length depends on its index alone,
//! so that the number of lines for a given size is arithmetic.

use std::io::Write;
use std::sync::LazyLock;

use crate::logs::Clock;
use crate::random::mix;

/// Lines differ in length over a cycle of this many.
const CYCLE: u64 = 64;
/// Room for the longest time, VU, iteration and a trace of some letters.
const SHORTEST: u64 = 128;
/// The bytes of one whole cycle: lengths are `SHORTEST + 0 … SHORTEST + 63`, each once.
const CYCLE_BYTES: u64 = CYCLE * SHORTEST + CYCLE * (CYCLE - 1) / 2;
const END: &[u8] = b"\" source=console\n";

/// Letters to copy traces from: making each letter anew would be most of the work.
static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..4096_u64)
        .map(|i| b"0123456789abcdef"[(mix(i) % 16) as usize])
        .collect()
});

/// A log that is computed while it is read.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    seed: u64,
    lines: u64,
    start_at: i64,
    step: i64,
}

/// A line's length with its newline. 37 has no common divisor with 64, so a cycle has each length once.
fn length(index: u64) -> u64 {
    SHORTEST + index.wrapping_mul(37) % CYCLE
}

impl Generated {
    /// As many lines as needed for at least `bytes` bytes.
    pub(crate) fn of_bytes(seed: u64, bytes: u64, start_at: i64, step: i64) -> Self {
        let mut lines = bytes / CYCLE_BYTES * CYCLE;
        let mut so_far = bytes / CYCLE_BYTES * CYCLE_BYTES;
        while so_far < bytes {
            so_far += length(lines);
            lines += 1;
        }
        Self::of_lines(seed, lines, start_at, step)
    }

    /// `lines` lines, `step` nanoseconds apart (a negative step counts as none).
    pub(crate) fn of_lines(seed: u64, lines: u64, start_at: i64, step: i64) -> Self {
        Self {
            seed,
            lines,
            start_at,
            step: step.max(0),
        }
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// When the line was written, nanoseconds since 1970 UTC.
    pub(crate) fn at(&self, index: u64) -> i64 {
        let steps = i64::try_from(index).unwrap_or(i64::MAX);
        self.start_at
            .saturating_add(self.step.saturating_mul(steps))
    }

    /// The first line that is not before `since`.
    pub(crate) fn first_since(&self, since: i64) -> u64 {
        let wait = since.saturating_sub(self.start_at);
        if wait <= 0 {
            return 0;
        }
        if self.step == 0 {
            return self.lines;
        }
        // Rounded up: a line in mid-step is after `since`.
        let index = (wait - 1) / self.step + 1;
        u64::try_from(index).unwrap_or(0).min(self.lines)
    }

    /// Appends one line with its newline, like k6's console output.
    pub(crate) fn write_line(&self, index: u64, clock: &mut Clock, out: &mut Vec<u8>) {
        write_line_at(self.seed, index, self.at(index), clock, out);
    }
}

/// Appends line `index` of the log of `seed`, as if written at `at`.
pub(crate) fn write_line_at(seed: u64, index: u64, at: i64, clock: &mut Clock, out: &mut Vec<u8>) {
    let end = out.len() + usize::try_from(length(index)).unwrap_or(0);
    let chance = mix(seed ^ mix(index));
    let (second, vu, iteration) = (clock.second(at), chance % 10 + 1, index / 10);
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "time=\"{second}\" level=info msg=\"iteration vu={vu} iter={iteration} status=200 trace=",
    );
    let trace = end
        .saturating_sub(out.len() + END.len())
        .min(LETTERS.len() / 2);
    let from = usize::try_from(chance >> 32).unwrap_or(0) % (LETTERS.len() / 2);
    out.extend_from_slice(&LETTERS[from..from + trace]);
    out.extend_from_slice(END);
}

/// The lines, each with its newline, of the log that [`crate::Log::generate`] makes from the same arguments.
pub fn generated_text(
    seed: u64,
    bytes: u64,
    start_at: i64,
    step: i64,
) -> impl Iterator<Item = Vec<u8>> {
    let generated = Generated::of_bytes(seed, bytes, start_at, step);
    let mut clock = Clock::new();
    (0..generated.lines()).map(move |index| {
        let mut line = Vec::new();
        generated.write_line(index, &mut clock, &mut line);
        line
    })
}

#[cfg(test)]
mod tests {
    use super::{Generated, generated_text, length};

    #[test]
    fn the_size_is_met_by_less_than_a_line() {
        for bytes in [1, 1000, 10_207, 10_208, 1_000_003] {
            let lines: Vec<_> = generated_text(5, bytes, 0, 1).collect();
            let total: u64 = lines.iter().map(|line| line.len() as u64).sum();
            let last = lines.last().map_or(0, |line| line.len() as u64);
            assert!(total >= bytes && total - last < bytes, "{bytes}: {total}");
            for (index, line) in lines.iter().enumerate() {
                assert_eq!(line.len() as u64, length(index as u64));
            }
        }
    }

    #[test]
    fn a_line_follows_from_seed_and_index() {
        let text = |seed| generated_text(seed, 5000, 0, 1).collect::<Vec<_>>();
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let line = String::from_utf8(text(1)[0].clone()).expect("ASCII");
        assert!(line.starts_with("time=\"1970-01-01T00:00:00Z\" level=info msg=\"iteration vu="));
        assert!(line.ends_with("\" source=console\n"));
    }

    #[test]
    fn since_skips_what_is_before() {
        let log = Generated::of_lines(1, 10, 100, 10);
        for (since, first) in [
            (0, 0),
            (100, 0),
            (101, 1),
            (110, 1),
            (190, 9),
            (191, 10),
            (999, 10),
        ] {
            assert_eq!(log.first_since(since), first, "{since}");
        }
    }
}
