//! The normal form of what one runner reported; its JSON is stored, and described in `docs/results-schema.json`.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// What one runner reported. Metrics, checks and thresholds are sorted by their names, so that equal reports are equal documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What it was read from, which says how exact it is.
    pub source: Source,
    /// As k6 says it (`2.2.0`); only the newer JSON does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k6_version: Option<String>,
    /// How long the test ran, in milliseconds, without setup and teardown; the older JSON and the text don't say it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "exact"
    )]
    pub duration_ms: Option<f64>,
    /// Each once.
    pub metrics: Vec<Metric>,
    /// Each path and name once.
    pub checks: Vec<Check>,
    /// Each metric and expression once.
    pub thresholds: Vec<Threshold>,
    /// Of metrics whose thresholds are not told, only whether they held: the older text marks lines with ✓ and ✗.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

/// What a summary was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Exact.
    Json,
    /// Rounded for people: a value is an interval.
    Text,
}

/// What k6 measured under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// With its submetric's tags as k6 writes them: `http_req_duration{scenario:buy}`.
    pub name: String,
    /// How k6 collects it.
    pub kind: Kind,
    /// What its values are; `none` also where the source doesn't say it.
    pub unit: Unit,
    /// Values by k6's words: a counter's `count` and `rate` (a second), a gauge's `value`, `min` and `max`, a rate's `rate` (0
    /// to 1), `passes` and `fails`, and of a trend what `summaryTrendStats` asks for: `avg`, `p(95)`, `count`, …
    pub stats: BTreeMap<String, Value>,
}

/// How k6 collects a metric.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Adds.
    Counter,
    /// Keeps the last value, and the extremes.
    Gauge,
    /// Counts what is so, and what is not.
    Rate,
    /// Keeps all values.
    Trend,
}

impl Kind {
    /// The word in documents and tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        }
    }

    /// The kind with this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let all = [Self::Counter, Self::Gauge, Self::Rate, Self::Trend];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What values are.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Bytes.
    Bytes,
    /// Plain numbers, or not told.
    None,
}

/// A check of one group. The text of k6 since 0.58 names checks without their groups and adds those of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// As k6 writes it, groups and name: `::cart::pay::paid`; `None`: not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// As in the script.
    pub name: String,
    /// How often it passed; `None`: not told, the text counts only what has failed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<u64>,
    /// How often it failed.
    pub fails: u64,
}

/// A threshold as k6 judged it in this runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// A [`Metric`]'s name.
    pub metric: String,
    /// As in the script: `p(95)<500`.
    pub expression: String,
    /// Whether it was crossed.
    pub failed: bool,
    /// What this runner measured of what the expression is about; `None`: not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Value>,
}

/// Whether the thresholds of a metric held, which are not told themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// A [`Metric`]'s name.
    pub metric: String,
    /// At least one was crossed.
    pub failed: bool,
}

/// What is known of a number: it is nowhere but from `low` to `high`. In JSON a number, or an object of both where they differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    low: f64,
    high: f64,
}

/// Numbers beyond are none that k6 measures, and sums of what is below never overflow.
const MOST: f64 = 1e250;

impl Value {
    /// A number known exactly; `None`: it is no number to reckon with.
    pub(crate) fn exact(number: f64) -> Option<Self> {
        Self::between(number, number)
    }

    /// A number from `low` to `high`; `None`: these are no bounds to reckon with.
    pub(crate) fn between(low: f64, high: f64) -> Option<Self> {
        // Neither holds for what is not a number. Adding zero makes -0 the 0 that it equals.
        (low <= high && low.abs().max(high.abs()) < MOST).then_some(Self {
            low: low + 0.0,
            high: high + 0.0,
        })
    }

    /// A whole number.
    pub(in crate::k6) fn count(count: u64) -> Self {
        let count = count as f64;
        Self {
            low: count,
            high: count,
        }
    }

    /// The least that it may be.
    pub(crate) fn low(self) -> f64 {
        self.low
    }

    /// The most that it may be.
    pub(crate) fn high(self) -> f64 {
        self.high
    }

    /// The number, where it is known exactly.
    pub(crate) fn number(self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    /// Whether it may be `number`.
    #[cfg(test)]
    pub(crate) fn holds(self, number: f64) -> bool {
        self.low <= number && number <= self.high
    }

    /// What holds both.
    pub(in crate::k6) fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}

// === serde ===

#[derive(Serialize, Deserialize)]
struct Bounds {
    low: Exact,
    high: Exact,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.number() {
            Some(number) => number.serialize(serializer),
            None => Bounds {
                low: Exact(self.low),
                high: Exact(self.high),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let bounds = match raw.get().starts_with('{') {
            true => serde_json::from_str(raw.get()).map_err(D::Error::custom)?,
            false => {
                let number = number(raw.get()).ok_or_else(|| D::Error::custom("not a number"))?;
                Bounds {
                    low: Exact(number),
                    high: Exact(number),
                }
            }
        };
        Self::between(bounds.low.0, bounds.high.0)
            .ok_or_else(|| D::Error::custom("not a value and its bounds"))
    }
}

/// A number of JSON to its last bit: without a feature of its own, `serde_json` may miss that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exact(pub(super) f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let number = number(raw.get()).ok_or_else(|| D::Error::custom("not a number"))?;
        Ok(Self(number))
    }
}

/// `text` is valid JSON: what begins like a number is one.
pub(super) fn number(text: &str) -> Option<f64> {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<Exact>::deserialize(deserializer)?.map(|exact| exact.0))
}

// === impl Summary ===

impl Summary {
    /// The metric of this name.
    pub(crate) fn metric(&self, name: &str) -> Option<&Metric> {
        let found = self
            .metrics
            .binary_search_by(|metric| metric.name.as_str().cmp(name));
        found.ok().and_then(|index| self.metrics.get(index))
    }

    /// Sorts what has come in any order; `None`: something is there twice.
    pub(super) fn sorted(mut self) -> Option<Self> {
        self.metrics.sort_by(|a, b| a.name.cmp(&b.name));
        self.checks
            .sort_by(|a, b| (&a.path, &a.name).cmp(&(&b.path, &b.name)));
        self.thresholds
            .sort_by(|a, b| (&a.metric, &a.expression).cmp(&(&b.metric, &b.expression)));
        self.marks.sort_by(|a, b| a.metric.cmp(&b.metric));
        let once = self
            .metrics
            .windows(2)
            .all(|two| two[0].name != two[1].name)
            && (self.checks.windows(2))
                .all(|two| (&two[0].path, &two[0].name) != (&two[1].path, &two[1].name))
            && self.thresholds.windows(2).all(|two| {
                (&two[0].metric, &two[0].expression) != (&two[1].metric, &two[1].expression)
            });
        once.then_some(self)
    }
}

impl Unit {
    /// The word in documents and tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Bytes => "bytes",
            Self::None => "none",
        }
    }

    /// The unit with this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let all = [Self::Ms, Self::Bytes, Self::None];
        all.into_iter().find(|unit| unit.as_str() == word)
    }

    /// Of k6's own metrics, whose unit the JSON export does not say.
    pub(super) fn of_builtin(metric: &str) -> Option<Self> {
        let name = metric.split('{').next().unwrap_or(metric);
        let unit = match name {
            "data_sent" | "data_received" | "browser_data_sent" | "browser_data_received" => {
                Self::Bytes
            }
            "http_req_duration"
            | "http_req_blocked"
            | "http_req_connecting"
            | "http_req_tls_handshaking"
            | "http_req_sending"
            | "http_req_waiting"
            | "http_req_receiving"
            | "iteration_duration"
            | "group_duration"
            | "grpc_req_duration"
            | "ws_connecting"
            | "ws_session_duration"
            | "ws_ping"
            | "browser_http_req_duration"
            | "browser_web_vital_fcp"
            | "browser_web_vital_fid"
            | "browser_web_vital_inp"
            | "browser_web_vital_lcp"
            | "browser_web_vital_ttfb" => Self::Ms,
            _ => return None,
        };
        Some(unit)
    }
}

/// The word of [`Metric::stats`] that a threshold is about: `p(95)` of `p(95) < 500`.
pub(super) fn subject(expression: &str) -> &str {
    expression
        .split(['<', '>', '=', '!'])
        .next()
        .unwrap_or_default()
        .trim()
}

impl Metric {
    /// What a threshold with this expression is about, where the summary has it.
    pub(super) fn observed(&self, expression: &str) -> Option<Value> {
        let subject = subject(expression);
        if let Some(value) = self.stats.get(subject) {
            return Some(*value);
        }
        // `p(95.0)` is `p(95)`.
        let percentile = percentile(subject)?;
        self.stats
            .iter()
            .find_map(|(stat, value)| (self::percentile(stat)? == percentile).then_some(*value))
    }
}

/// 95 of `p(95)`.
pub(in crate::k6) fn percentile(stat: &str) -> Option<f64> {
    let number = stat.strip_prefix("p(")?.strip_suffix(')')?;
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percentile: f64 = number.parse().ok().filter(|_| plain)?;
    (0.0..=100.0).contains(&percentile).then_some(percentile)
}

/// Whether a trend may have a stat of this name.
pub(super) fn is_trend_stat(stat: &str) -> bool {
    matches!(stat, "avg" | "min" | "med" | "max" | "count") || percentile(stat).is_some()
}

#[cfg(test)]
mod tests;
