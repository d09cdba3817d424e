//! A moment as people write it. Pure.

use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// So long before now.
    Ago(SignedDuration),
    /// Then.
    At(Timestamp),
}

impl When {
    /// The moment, if it is `now`.
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(age) => now.saturating_sub(age).unwrap_or(Timestamp::MIN),
            Self::At(time) => time,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let age = text.parse::<Span>().ok();
        let age = age.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
        let age = age.filter(|age| age.is_positive());
        age.map(Self::Ago).ok_or_else(|| {
            "it must be an age such as 7d or 10m, or a time such as 2026-11-23T04:00:00Z".to_owned()
        })
    }
}
