//! The time in front of each log line. Pure; called by `cursor` for every line of every log, so it must be cheap.
//!
//! `timestamps=true` puts an RFC 3339 time with nine decimals, UTC, and one space before each line (docs/facts.md,
//! "Each line starts with its time"). A node whose runtime writes local time gives an offset instead of `Z`; that is
//! read too.

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Length of `2026-11-23T04:39:43`.
const SECONDS_LEN: usize = 19;

/// Reads the times of successive lines; remembers the last whole second, since neighbours mostly share it.
#[derive(Debug, Default)]
pub(crate) struct TimestampParser {
    last: Option<([u8; SECONDS_LEN], i64)>,
}

impl TimestampParser {
    /// The time at the start of `line` in nanoseconds since 1970, and how many bytes it takes with the space after it.
    ///
    /// `None`: the line does not begin with a time.
    pub(crate) fn parse(&mut self, line: &[u8]) -> Option<(i64, usize)> {
        let second: [u8; SECONDS_LEN] = line.get(..SECONDS_LEN)?.try_into().ok()?;
        let seconds = match self.last {
            Some((known, seconds)) if known == second => seconds,
            _ => {
                let seconds = seconds_since_1970(&second)?;
                self.last = Some((second, seconds));
                seconds
            }
        };
        let (nanos, mut at) = fraction(line, SECONDS_LEN)?;
        let offset = match line.get(at)? {
            b'Z' => {
                at += 1;
                0
            }
            sign @ (b'+' | b'-') => {
                let minutes =
                    digits(line.get(at + 1..at + 3)?)? * 60 + digits(line.get(at + 4..at + 6)?)?;
                if line[at + 3] != b':' {
                    return None;
                }
                at += 6;
                minutes * 60 * if *sign == b'+' { 1 } else { -1 }
            }
            _ => return None,
        };
        let taken = match line.get(at) {
            Some(b' ') => at + 1,
            None => at,
            Some(_) => return None,
        };
        let ts = (seconds - offset)
            .checked_mul(NANOS_PER_SECOND)?
            .checked_add(nanos)?;
        Some((ts, taken))
    }
}

/// Whether a time may have been cut off here: an answer that breaks off inside one ends so.
pub(crate) fn is_cut_time(text: &[u8]) -> bool {
    const SHAPE: &[u8; SECONDS_LEN] = b"0000-00-00T00:00:00";
    let has_shape = text.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    let rest = text.get(SECONDS_LEN..).unwrap_or_default();
    has_shape
        && rest
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b':'))
}

/// The decimals that begin at `at` as nanoseconds, and where they end.
fn fraction(line: &[u8], at: usize) -> Option<(i64, usize)> {
    if *line.get(at)? != b'.' {
        return Some((0, at));
    }
    let mut nanos = 0;
    let mut decimals = 0;
    let mut end = at + 1;
    while let Some(digit @ b'0'..=b'9') = line.get(end) {
        if decimals == 9 {
            return None;
        }
        nanos = nanos * 10 + i64::from(digit - b'0');
        decimals += 1;
        end += 1;
    }
    if decimals == 0 {
        return None;
    }
    Some((nanos * 10_i64.pow(9 - decimals), end))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => Some(value * 10 + i64::from(byte - b'0')),
        _ => None,
    })
}

fn seconds_since_1970(text: &[u8; SECONDS_LEN]) -> Option<i64> {
    if text[4] != b'-'
        || text[7] != b'-'
        || text[10] != b'T'
        || text[13] != b':'
        || text[16] != b':'
    {
        return None;
    }
    let date = jiff::civil::Date::new(
        digits(&text[..4])?.try_into().ok()?,
        digits(&text[5..7])?.try_into().ok()?,
        digits(&text[8..10])?.try_into().ok()?,
    )
    .ok()?;
    let (hour, minute, second) = (
        digits(&text[11..13])?,
        digits(&text[14..16])?,
        digits(&text[17..])?,
    );
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = i64::from((date - jiff::civil::date(1970, 1, 1)).get_days());
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<(i64, usize)> {
        TimestampParser::default().parse(line.as_bytes())
    }

    #[test]
    fn reads_what_a_kubelet_writes() {
        let expected: jiff::Timestamp = "2026-11-23T04:39:43.653976953Z".parse().unwrap();
        assert_eq!(
            parse("2026-11-23T04:39:43.653976953Z text"),
            Some((expected.as_nanosecond() as i64, 31))
        );
        assert_eq!(
            parse("2026-11-23T06:39:43.653976953+02:00 text"),
            Some((expected.as_nanosecond() as i64, 36))
        );
        assert_eq!(
            parse("1970-01-01T00:00:01Z"),
            Some((NANOS_PER_SECOND, 20)),
            "no decimals, empty line without its space"
        );
    }

    #[test]
    fn refuses_what_only_looks_like_a_time() {
        for line in [
            "",
            "no time",
            "2026-11-23",
            "2026-11-23T04:39:43",
            "2026-11-23T04:39:43.Z x",
            "2026-11-23T04:39:43.1234567890Z x",
            "2026-11-23T04:39:43.5Zx",
            "2026-13-23T04:39:43.5Z x",
            "2026-02-30T04:39:43.5Z x",
            "2026-11-23T24:39:43.5Z x",
            "2026-11-23 04:39:43.5Z x",
            "2026-11-23T04:39:43.5+0200 x",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn knows_a_time_that_was_cut_off() {
        for time in [
            "2026-11-23T04:39:43.653976953Z",
            "2026-11-23T06:39:43.653976953+02:00",
        ] {
            for end in 0..time.len() {
                assert!(is_cut_time(&time.as_bytes()[..end]), "{}", &time[..end]);
            }
        }
        for text in [
            "unable to",
            "2026: no",
            "2026-11-23 04",
            "2026-11-23T04:39:43 x",
        ] {
            assert!(!is_cut_time(text.as_bytes()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_jiff(nanos in 0_i64..4_000_000_000_000_000_000) {
            let time = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
            let line = format!("{time:.9} x");
            proptest::prop_assert_eq!(parse(&line), Some((nanos, 31)));
        }

        #[test]
        fn never_panics(line in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            TimestampParser::default().parse(&line);
        }
    }
}
