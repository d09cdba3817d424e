//! Times of objects: RFC 3339, years 1 to 9999, as Kubernetes takes them.
//!
//! [`Timestamp`] ends two days before the year 9999 does, and begins earlier than our databases can store. A time beyond is
//! read as the nearest one that all of them know, so that one absurd time does not hide an object.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// 0001-01-01T00:00:00Z: Go's zero time.
const EARLIEST: i64 = -62_135_596_800;
/// 9999-12-30T22:00:00Z
const LATEST: i64 = 253_402_207_200;

fn parse(text: &str) -> Result<Timestamp, jiff::Error> {
    let time = text.parse().or_else(|error| {
        // A time all the same, beyond the last one?
        let is_beyond = text.starts_with("9999-12-31") || text.starts_with("9999-12-30");
        let is_time = text
            .get(..19)
            .is_some_and(|time| time.parse::<DateTime>().is_ok());
        match is_beyond && is_time {
            true => Ok(Timestamp::MAX),
            false => Err(error),
        }
    })?;
    Timestamp::from_second(time.as_second().clamp(EARLIEST, LATEST)).map(|nearest| {
        match nearest.as_second() == time.as_second() && nearest.as_second() != LATEST {
            true => time,
            false => nearest,
        }
    })
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The same for what may be absent; with `#[serde(default)]`.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| parse(&text).map_err(D::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whatever_kubernetes_takes() {
        for (text, expected) in [
            ("2026-11-23T04:39:43Z", "2026-11-23T04:39:43Z"),
            ("2026-11-23T04:39:43.653976Z", "2026-11-23T04:39:43.653976Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("-009999-01-02T02:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-30T22:00:00.9Z", "9999-12-30T22:00:00Z"),
            ("9999-12-30T23:00:00Z", "9999-12-30T22:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00Z"),
            ("9999-12-31T23:59:59+14:00", "9999-12-30T22:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        for text in ["", "yesterday", "9999-12-31", "9999-12-31T25:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
