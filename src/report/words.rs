//! Values in words for people: statuses, times, durations, numbers.

use jiff::Timestamp;

use super::view::Style;
use crate::store::{Interval, Status};

/// What stands where there is nothing.
pub(crate) const NOTHING: &str = "-";

/// A symbol that tells statuses apart without colour.
pub(crate) const fn symbol(status: Status) -> &'static str {
    match status {
        Status::Pending => "○",
        Status::Initializing => "◔",
        Status::Running => "●",
        Status::Finishing => "◕",
        Status::Passed => "✓",
        Status::Failed => "✗",
        Status::Errored => "!",
        Status::Aborted => "⊘",
        Status::Lost => "?",
        Status::Finished => "∎",
    }
}

/// How it stands out.
pub(crate) const fn style(status: Status) -> Style {
    match status {
        Status::Pending => Style::Dim,
        Status::Initializing | Status::Running | Status::Finishing => Style::Active,
        Status::Passed => Style::Good,
        Status::Failed | Status::Errored => Style::Bad,
        Status::Aborted | Status::Lost | Status::Finished => Style::Notable,
    }
}

/// Symbol and word.
pub(crate) fn status(status: Status) -> String {
    format!("{} {status}", symbol(status))
}

/// For people: `12s ago`, `3h ago`; `2026-11-25 08:10` (UTC) of what is older than a day, and in the future.
pub(crate) fn when(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        _ => time.strftime("%Y-%m-%d %H:%M").to_string(),
    }
}

/// A moment in full, to the second.
pub(crate) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long something took: `0.4s`, `45s`, `12m 5s`, `3h 7m`, `2d 4h`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NOTHING.to_owned();
    }
    if seconds < 9.95 {
        // Zero may have a sign.
        return format!("{:.1}s", seconds.abs());
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// `1,234,567`
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    match number < 0 {
        true => format!("-{text}"),
        false => text,
    }
}

/// A number that is a count, as databases add them up.
pub(crate) fn count_of(number: f64) -> String {
    match number.is_finite() && number.abs() < 9e15 {
        true => count(number.round() as i64),
        false => NOTHING.to_owned(),
    }
}

/// A part of all: `0 %`, `1.25 %`, `0.5–2 %`.
pub(crate) fn percent(part: Interval) -> String {
    let (low, high) = (short(part.low * 100.0), short(part.high * 100.0));
    match low == high {
        true => format!("{low} %"),
        false => format!("{low}–{high} %"),
    }
}

/// Four digits that count, without zeros at the end.
fn short(number: f64) -> String {
    let decimals = match number.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `one thing`, `2 things`.
pub(crate) fn things(number: i64, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {several}", count(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_for_a_day() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-11-28T12:00:00Z", "0s ago"),
            ("2026-11-28T11:59:01Z", "59s ago"),
            ("2026-11-28T11:58:59Z", "1m ago"),
            ("2026-11-27T12:00:01Z", "23h ago"),
            ("2026-11-27T12:00:00Z", "2026-11-27 12:00"),
            ("2026-11-28T12:00:09Z", "2026-11-28 12:00"),
            ("9999-12-30T12:00:09Z", "9999-12-30 12:00"),
        ] {
            assert_eq!(when(time.parse().unwrap(), now), expected, "{time}");
        }
    }

    #[test]
    fn durations_and_numbers_are_short() {
        for (seconds, expected) in [
            (0.04, "0.0s"),
            (-0.0, "0.0s"),
            (9.94, "9.9s"),
            (9.96, "10s"),
            (59.6, "1m 0s"),
            (725.0, "12m 5s"),
            (11_220.0, "3h 7m"),
            (187_200.0, "2d 4h"),
            (-1.0, "-"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(count(number), expected);
        }
        let part = |low, high| percent(Interval { low, high });
        assert_eq!(part(0.0, 0.0), "0 %");
        assert_eq!(part(0.012_5, 0.012_5), "1.25 %");
        assert_eq!(part(0.005, 0.02), "0.5–2 %");
        assert_eq!(part(1.0, 1.0), "100 %");
    }
}
