use proptest::prelude::*;

use super::*;

#[test]
fn says_what_a_printed_number_stands_for() {
    let (ms, bytes, none) = (Unit::Ms, Unit::Bytes, Unit::None);
    for (text, times, unit, low, high) in [
        ("0s", Times::Cut, ms, 0.0, 0.0),
        ("400ns", Times::Cut, ms, 0.0004, 0.000401),
        ("6.14µs", Times::Cut, ms, 0.00614, 0.00615),
        ("502.91ms", Times::Cut, ms, 502.91, 502.92),
        ("48ms", Times::Cut, ms, 48.0, 48.01),
        ("1.5s", Times::Cut, ms, 1_500.0, 1_510.0),
        ("1m5s", Times::Cut, ms, 65_000.0, 66_000.0),
        ("24h0m0s", Times::Cut, ms, 86_400_000.0, 86_401_000.0),
        ("-400ns", Times::Cut, ms, -0.000401, -0.0004),
        ("0.05s", Times::Rounded, ms, 45.0, 55.0),
        ("0.05s", Times::Either, ms, 45.0, 60.0),
        ("0.5s", Times::Either, ms, 500.0, 510.0),
        ("12.34us", Times::Rounded, ms, 0.012335, 0.012345),
        ("0 B", Times::Cut, bytes, 0.0, 0.0),
        ("9.5 B", Times::Cut, bytes, 9.5, 9.5),
        ("574 B", Times::Cut, bytes, 573.45, 574.55),
        ("8.9 kB", Times::Cut, bytes, 8_850.0, 8_950.0),
        ("24 kB", Times::Cut, bytes, 23_450.0, 24_550.0),
        ("1.2 GB", Times::Cut, bytes, 1.15e9, 1.25e9),
        ("67.60824", Times::Cut, none, 67.6082395, 67.6082405),
        ("-3", Times::Cut, none, -3.0000005, -2.9999995),
        ("1e+21", Times::Cut, none, 1e21, 1e21),
    ] {
        let printed = Printed::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(printed.unit(), unit, "{text}");
        let value = printed.value(times).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() <= b.abs() * 1e-14;
        assert!(
            near(value.low(), low) && near(value.high(), high),
            "{text}: {value:?}"
        );
    }
}

#[test]
fn refuses_what_k6_does_not_print() {
    for text in [
        "", " ", "-", ".", "1.", ".5", "+1", "e5", "NaN", "Infinity", "1,5", "1.5x", "1.555ms",
        "ms", "1 ms", "1  kB", "1 KB", "kB", "m5s", "1m5", "1h", "1m5s3", "1.5m5s", "1m-5s",
        "5s1m", "1.5.5", "1-5", "٣", "1µ", "0x10", "1e999",
    ] {
        let printed = Printed::parse(text);
        // `1h` is a clock without minutes: harmless, and nobody prints it.
        assert!(printed.is_none() || text == "1h", "{text}: {printed:?}");
    }
}

#[test]
fn tells_how_times_are_made() {
    for (texts, expected) in [
        (&["0.05s", "1.55s"][..], Times::Rounded),
        (&["12.34ms", "1234.56ms"], Times::Rounded),
        (&["10.50ms", "10.55ms"], Times::Rounded),
        (&["12.34ms", "1.5ms"], Times::Cut),
        (&["12.34ms", "12.34µs"], Times::Cut),
        (&["12.34ms", "1m5s"], Times::Cut),
        (&["12.34ms", "0s"], Times::Cut),
        (&["12.34ms", "15.67ms"], Times::Either),
        (&["5", "8.9 kB"], Times::Either),
        (&[], Times::Either),
    ] {
        let printed = texts.iter().map(|text| Printed::parse(text).unwrap());
        assert_eq!(Times::of(printed), expected, "{texts:?}");
    }
}

/// k6's `toFixedNoTrailingZerosTrunc`.
fn cut(number: f64, decimals: i32) -> String {
    let factor = 10_f64.powi(decimals);
    shortest(((number * factor).trunc() / factor, decimals as usize))
}

fn shortest((number, decimals): (f64, usize)) -> String {
    let number: f64 = format!("{number:.decimals$}").parse().unwrap();
    format!("{}", number + 0.0)
}

/// k6's `humanizeGenericDuration`.
fn humanized(ms: f64) -> String {
    if ms == 0.0 {
        return "0s".to_owned();
    }
    if ms < 0.001 {
        return format!("{}ns", (ms * 1e6).trunc() + 0.0);
    }
    if ms < 1.0 {
        return cut(ms * 1_000.0, 2) + "µs";
    }
    if ms < 1_000.0 {
        return cut(ms, 2) + "ms";
    }
    let decimals = if ms > 60_000.0 { 0 } else { 2 };
    let seconds = cut((ms % 60_000.0) / 1_000.0, decimals) + "s";
    let minutes = (ms / 60_000.0).trunc();
    if minutes < 1.0 {
        return seconds;
    }
    let short = format!("{}m{seconds}", minutes % 60.0);
    match (minutes / 60.0).trunc() {
        hours if hours < 1.0 => short,
        hours => format!("{hours}h{short}"),
    }
}

/// k6's `humanizeBytes`.
fn humanized_bytes(bytes: f64) -> String {
    if bytes < 10.0 {
        return format!("{bytes} B");
    }
    let power = (bytes.ln() / 1_000_f64.ln()).floor();
    let number = (bytes / 1_000_f64.powf(power) * 10.0 + 0.5).floor() / 10.0;
    let unit = ["B", "kB", "MB", "GB", "TB", "PB"][power as usize];
    match number < 10.0 {
        true => format!("{number:.1} {unit}"),
        // JavaScript rounds halves up.
        false => format!("{} {unit}", (number + 0.5).floor()),
    }
}

fn holds(text: &str, number: f64, times: Times) {
    let value = Printed::parse(text).unwrap().value(times).unwrap();
    assert!(value.holds(number), "{number} as {text}: {value:?}");
}

proptest! {
    #[test]
    fn what_k6_prints_stands_for_what_it_printed(
        exponent in -8_f64..9.0,
        sign in prop_oneof![Just(1.0), Just(-1.0)],
    ) {
        let number = 10_f64.powf(exponent);
        holds(&humanized(number * sign), number * sign, Times::Cut);
        holds(&humanized(number * sign), number * sign, Times::Either);
        for (unit, factor) in [("s", 0.001), ("ms", 1.0), ("µs", 1_000.0)] {
            let text = format!("{:.2}{unit}", number * factor);
            holds(&text, number, Times::Rounded);
            holds(&text, number, Times::Either);
        }
        holds(&humanized_bytes(number), number, Times::Cut);
        holds(&shortest((number * sign, 6)), number * sign, Times::Cut);
    }

    #[test]
    fn never_panics(text in "[-0-9.e+ hmsµnkMB]{0,12}") {
        if let Some(printed) = Printed::parse(&text) {
            let value = printed.value(Times::Either);
            prop_assert!(value.is_none_or(|value| value.low() <= value.high()));
        }
    }
}
