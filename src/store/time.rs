//! Times as the tables hold them: UTC, microseconds, of fixed width so that SQLite's texts sort.
//!
//! Read leniently: a dashboard may have written `2026-11-23 04:39:43`, which is what SQLite's own functions make.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// `2026-11-23T04:39:43.000000Z`
pub(super) fn to_sql(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn from_sql(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse::<Timestamp>().or_else(|error| {
        let civil: DateTime = text.parse().map_err(|_| error)?;
        Ok(civil.to_zoned(TimeZone::UTC)?.timestamp())
    })
}

pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_sql(*time))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_sql(&text).map_err(|error| D::Error::custom(format!("`{text}` is not a time: {error}")))
}

/// A time of a row that is not ours to judge: what can't be read is taken for nothing.
pub(super) fn lenient<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| from_sql(&text).ok()))
}

/// The same for a column that may be null.
pub(super) mod optional {
    use super::*;

    pub(in crate::store) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::store) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                from_sql(&text)
                    .map_err(|error| D::Error::custom(format!("`{text}` is not a time: {error}")))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_dashboards_write() {
        let expected: Timestamp = "2026-11-23T04:39:43Z".parse().unwrap();
        for text in [
            "2026-11-23T04:39:43.000000Z",
            "2026-11-23 04:39:43",
            "2026-11-23T06:39:43+02:00",
        ] {
            assert_eq!(from_sql(text).unwrap(), expected, "{text}");
        }
        assert!(from_sql("yesterday").is_err());
        assert_eq!(to_sql(expected), "2026-11-23T04:39:43.000000Z");
    }
}
