//! When each line of a chunk was written, as the kubelet says: the column `log_chunks.line_times`.
//!
//! The first line's time is `first_ts`. For each further line the column has one number: how many nanoseconds it is later
//! than the line before. The number is signed, since the runtime may swap neighbours and clocks step back: zigzag, then
//! LEB128, which is `sint64` of Protocol Buffers. So a chunk of n lines has n - 1 numbers of 1 to 10 bytes each. On
//! recorded logs of k6 that is 2.5 bytes a line; 3 when lines are a millisecond apart, 5 when they are seconds apart.
//!
//! The column is null in chunks from before there was one.

/// The column as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineTimes(Vec<u8>);

/// Why a column holds no times of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineTimesError {
    /// It ends within a number.
    #[error("they end within a number")]
    Cut,
    /// A number is longer than it need be, or does not fit into 64 bits.
    #[error("one of them is not a valid number")]
    Number,
    /// There are more or fewer times than lines.
    #[error("there are {found}, of {lines} lines")]
    Count {
        /// Times.
        found: i64,
        /// Lines.
        lines: i64,
    },
    /// The last time is not that of the chunk's last line.
    #[error("the last is {found}, and last_ts is {last_ts}")]
    Last {
        /// The last time, nanoseconds since 1970.
        found: i64,
        /// The chunk's.
        last_ts: i64,
    },
}

impl LineTimes {
    /// Adds the time `ts` of a line; `before` is the time of the line before it.
    pub(crate) fn push(&mut self, before: i64, ts: i64) {
        // Any two times have a difference in this arithmetic, and adding it leads back.
        let delta = ts.wrapping_sub(before);
        let mut rest = (delta << 1 ^ delta >> 63).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    /// The times of the lines of a chunk that says this of itself, nanoseconds since 1970.
    ///
    /// # Errors
    /// [`LineTimesError`], unless the bytes are exactly what [`LineTimes::push`] makes of such a chunk.
    pub fn decode(
        &self,
        first_ts: i64,
        last_ts: i64,
        lines: i64,
    ) -> Result<Vec<i64>, LineTimesError> {
        // As many numbers as bytes that end one; `lines` may be anything, so no room is made by it.
        let numbers = self.0.iter().filter(|byte| **byte < 0x80).count();
        let mut times = Vec::with_capacity(numbers + 1);
        times.push(first_ts);
        let mut last = first_ts;
        let mut bytes = self.0.as_slice();
        while !bytes.is_empty() {
            let (delta, rest) = number(bytes)?;
            last = last.wrapping_add(delta);
            times.push(last);
            bytes = rest;
        }
        let found = i64::try_from(times.len()).unwrap_or(i64::MAX);
        if found != lines {
            return Err(LineTimesError::Count { found, lines });
        }
        if last != last_ts {
            return Err(LineTimesError::Last {
                found: last,
                last_ts,
            });
        }
        Ok(times)
    }

    /// The bytes of the column.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a column, not checked yet.
impl From<Vec<u8>> for LineTimes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// The number at the beginning of `bytes`, and what follows it.
fn number(bytes: &[u8]) -> Result<(i64, &[u8]), LineTimesError> {
    let mut value: u64 = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * at;
        // The tenth byte has room for one bit.
        if shift > 63 || (shift == 63 && bits > 1) {
            return Err(LineTimesError::Number);
        }
        value |= bits << shift;
        if *byte < 0x80 {
            // One number, one spelling.
            if *byte == 0 && at > 0 {
                return Err(LineTimesError::Number);
            }
            let delta = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            return Ok((delta, &bytes[at + 1..]));
        }
    }
    Err(LineTimesError::Cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(times: &[i64]) -> LineTimes {
        let mut encoded = LineTimes::default();
        for pair in times.windows(2) {
            encoded.push(pair[0], pair[1]);
        }
        encoded
    }

    #[test]
    fn a_line_takes_as_many_bytes_as_its_distance_needs() {
        for (delta, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (64, &[0x80, 1]),
            (1_000_000, &[0x80, 0x89, 0x7a]),
            (1_000_000_000, &[0x80, 0xa8, 0xd6, 0xb9, 7]),
            (i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let times = encoded(&[0, delta]);
            assert_eq!(times.as_bytes(), bytes, "{delta}");
            assert_eq!(times.decode(0, delta, 2), Ok(vec![0, delta]));
        }
        assert_eq!(encoded(&[7]).decode(7, 7, 1), Ok(vec![7]));
    }

    #[test]
    fn what_is_not_of_this_chunk_is_an_error() {
        let times = encoded(&[5, 6, 1_000]);
        assert_eq!(times.decode(5, 1_000, 3), Ok(vec![5, 6, 1_000]));
        for lines in [2, 4, 0, -1, i64::MIN, i64::MAX] {
            let error = LineTimesError::Count { found: 3, lines };
            assert_eq!(times.decode(5, 1_000, lines), Err(error));
        }
        for (first_ts, last_ts) in [(4, 1_000), (5, 999)] {
            let found = 995 + first_ts;
            let error = LineTimesError::Last { found, last_ts };
            assert_eq!(times.decode(first_ts, last_ts, 3), Err(error));
        }
        for (bytes, error) in [
            (&[0x80][..], LineTimesError::Cut),
            (&[2, 0xff, 0xff], LineTimesError::Cut),
            // Zero, in two bytes; 2^64; and one that does not end.
            (&[0x80, 0], LineTimesError::Number),
            (
                &[128, 128, 128, 128, 128, 128, 128, 128, 128, 2],
                LineTimesError::Number,
            ),
            (&[0xff; 40], LineTimesError::Number),
        ] {
            let times = LineTimes::from(bytes.to_vec());
            assert_eq!(times.decode(0, 0, 2), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn times_read_back_as_they_were(
            times in prop::collection::vec(prop_oneof![any::<i64>(), 1_795_408_783_000_000_000..1_795_408_790_000_000_000_i64], 1..50),
        ) {
            let (first, last, lines) = (times[0], times[times.len() - 1], times.len() as i64);
            prop_assert_eq!(encoded(&times).decode(first, last, lines), Ok(times));
        }

        /// Whatever stands there is understood in one way only, or not at all.
        #[test]
        fn garbage_is_an_error_or_exactly_what_would_be_written(
            bytes in prop::collection::vec(any::<u8>(), 0..60), first: i64,
        ) {
            let garbage = LineTimes::from(bytes);
            let lines = 1 + garbage.as_bytes().iter().filter(|byte| **byte < 0x80).count() as i64;
            let last = match garbage.decode(first, 0, lines) {
                Err(LineTimesError::Last { found, .. }) => found,
                Ok(_) => 0,
                Err(_) => return Ok(()),
            };
            let times = garbage.decode(first, last, lines).unwrap();
            prop_assert_eq!(encoded(&times), garbage);
        }
    }
}
