//! A number as k6 prints it for people → which numbers it may stand for.
//!
//! The rule, from k6's `humanizeValue` (the same since 0.31; the Go before it cuts times alike):
//!
//! | printed | stands for |
//! |---|---|
//! | `502.91ms`, `6.9µs`, `1.5s`, `400ns` | cut after two decimals of its unit (whole nanoseconds): from there to 0.01 more |
//! | `1m5s`, `2h0m0s` | cut to whole seconds: to 1 s more |
//! | `0s` | 0 |
//! | `0.05s` with `summaryTimeUnit` | rounded to two decimals: 0.005 either way |
//! | `8.9 kB` | rounded to a tenth: 0.05 either way; `24 kB` then to a whole: 0.55; below `10 B` exact |
//! | `67.60824` | rounded to six decimals: 0.0000005 either way |
//! | `33.89%` | the counts beside it are exact |
//!
//! Below zero the cut is towards zero. Where the printed times don't show whether `summaryTimeUnit` is set, both rules hold.

use super::document::{Unit, Value};

/// A printed number, in milliseconds, bytes or plain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Printed {
    number: f64,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Plain,
    /// How many bytes `unit` is.
    Bytes {
        unit: f64,
        tenths: bool,
    },
    Time(Time),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    Zero,
    /// Hours and minutes too.
    Clock,
    /// How many milliseconds `unit` is.
    Single {
        unit: f64,
        decimals: usize,
        /// It ends in a zero that says nothing, which k6 leaves off where it cuts.
        padded: bool,
    },
}

/// How the times of one summary were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// Cut, each in the unit that suits it.
    Cut,
    /// Rounded, all in one unit.
    Rounded,
    /// What is printed does not say.
    Either,
}

/// Arithmetic on the way to a unit, k6's and ours, may be off by this fraction of a number.
const SLACK: f64 = 1e-15;

const MINUTE: f64 = 60_000.0;
const HOUR: f64 = 60.0 * MINUTE;

impl Printed {
    /// `text` has no spaces around it; `None`: it is no number of k6's.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let split = text.find(|char: char| !matches!(char, '0'..='9' | '.' | '-' | '+' | 'e'));
        let Some(split) = split else {
            return Some(Self {
                number: decimal(text)?.0,
                form: Form::Plain,
            });
        };
        if let Some((number, unit)) = text.split_once(' ') {
            let (number, decimals) = decimal(number)?;
            let unit = bytes(unit)?;
            return Some(Self {
                number: number * unit,
                form: Form::Bytes {
                    unit,
                    tenths: unit == 1.0 && number < 10.0 || decimals > 0,
                },
            });
        }
        let (number, unit) = text.split_at(split);
        if matches!(unit.as_bytes().first(), Some(b'h' | b'm')) && unit != "ms" {
            return clock(text);
        }
        let unit = milliseconds(unit)?;
        let (number, decimals) = decimal(number)?;
        let time = match text {
            "0s" => Time::Zero,
            _ if decimals > 2 => return None,
            _ => Time::Single {
                unit,
                decimals,
                padded: decimals > 0 && text[..split].ends_with('0'),
            },
        };
        Some(Self {
            number: number * unit,
            form: Form::Time(time),
        })
    }

    pub(super) fn unit(self) -> Unit {
        match self.form {
            Form::Plain => Unit::None,
            Form::Bytes { .. } => Unit::Bytes,
            Form::Time(_) => Unit::Ms,
        }
    }

    /// A count: `count=100`, `205`.
    pub(super) fn whole(self) -> Option<Value> {
        let whole = self.form == Form::Plain && self.number.fract() == 0.0 && self.number >= 0.0;
        whole.then(|| Value::exact(self.number)).flatten()
    }

    /// What it may stand for.
    pub(super) fn value(self, times: Times) -> Option<Value> {
        let number = self.number;
        let (below, above) = match self.form {
            Form::Plain => return Value::between(number - 5e-7, number + 5e-7),
            Form::Bytes { unit, tenths } => match (unit == 1.0, tenths) {
                (true, true) => (0.0, 0.0),
                (false, true) => (0.05 * unit, 0.05 * unit),
                (_, false) => (0.55 * unit, 0.55 * unit),
            },
            Form::Time(Time::Zero) => (0.0, 0.0),
            Form::Time(Time::Clock) => away_from_zero(number, 1_000.0),
            Form::Time(Time::Single { unit, decimals, .. }) => {
                let cut = away_from_zero(number, unit * if unit < 1e-5 { 1.0 } else { 0.01 });
                let rounded = (0.005 * unit, 0.005 * unit);
                match times {
                    Times::Cut => cut,
                    Times::Rounded => rounded,
                    Times::Either if decimals < 2 => cut,
                    Times::Either => (cut.0.max(rounded.0), cut.1.max(rounded.1)),
                }
            }
        };
        if below == 0.0 && above == 0.0 {
            return Value::exact(number);
        }
        let slack = number.abs() * SLACK;
        Value::between(number - below - slack, number + above + slack)
    }
}

fn away_from_zero(number: f64, step: f64) -> (f64, f64) {
    if number < 0.0 {
        (step, 0.0)
    } else if number > 0.0 {
        (0.0, step)
    } else {
        // Less than a step, of either sign.
        (step, step)
    }
}

impl Times {
    /// Told from all the times of a summary: those in one unit always have two decimals, those that suit themselves mostly not.
    pub(super) fn of(printed: impl Iterator<Item = Printed>) -> Self {
        let mut units = Vec::new();
        for printed in printed {
            match printed.form {
                Form::Time(Time::Single { padded: true, .. }) => return Self::Rounded,
                Form::Time(Time::Single {
                    unit, decimals: 2, ..
                }) => {
                    if !units.contains(&unit) {
                        units.push(unit);
                    }
                    // Nothing below one or above a thousand is printed in that unit when each has the unit that suits it.
                    let number = (printed.number / unit).abs();
                    let most = if unit < 1_000.0 { 1_000.0 } else { 60.0 };
                    if number < 1.0 || number > most {
                        return Self::Rounded;
                    }
                }
                Form::Time(_) => return Self::Cut,
                Form::Plain | Form::Bytes { .. } => {}
            }
        }
        if units.len() > 1 {
            Self::Cut
        } else {
            Self::Either
        }
    }
}

/// A number in digits, and how many of them are decimals. JavaScript writes large ones as `1e+21`.
fn decimal(text: &str) -> Option<(f64, usize)> {
    let starts = text.strip_prefix('-').unwrap_or(text);
    if !starts.starts_with(|first: char| first.is_ascii_digit()) || text.ends_with('.') {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    let decimals = text
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    number.is_finite().then_some((number, decimals))
}

fn bytes(unit: &str) -> Option<f64> {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let power = UNITS.iter().position(|known| *known == unit)?;
    Some(1_000_f64.powi(power as i32))
}

/// Whether `unit` is one of those that stand apart from their number.
pub(super) fn is_bytes(unit: &str) -> bool {
    bytes(unit).is_some()
}

fn milliseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "s" => 1_000.0,
        "ms" => 1.0,
        "µs" | "μs" | "us" => 1e-3,
        "ns" => 1e-6,
        _ => return None,
    })
}

/// `2h0m5s`, `1m5s`.
fn clock(text: &str) -> Option<Printed> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut number = 0.0;
    for (mark, unit) in [('h', HOUR), ('m', MINUTE), ('s', 1_000.0)] {
        if let Some((part, after)) = rest.split_once(mark) {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            number += part.parse::<f64>().ok()? * unit;
            rest = after;
        }
    }
    rest.is_empty().then_some(Printed {
        number: if negative { -number } else { number },
        form: Form::Time(Time::Clock),
    })
}

#[cfg(test)]
mod tests;
