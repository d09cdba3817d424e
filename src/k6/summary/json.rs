//! A JSON summary → the normal form. k6 knows three:
//!
//! - the export (`--summary-export`, `K6_SUMMARY_EXPORT`; docs/facts.md, "How to read the JSON summary"): a metric is its values, and a threshold's `true` means that
//!   it failed;
//! - what `handleSummary` gets, and scripts print: a metric has `type`, `contains` and `values`, a threshold `ok`;
//! - the newer one (`--new-machine-readable-summary`; docs/facts.md, "The machine-readable summary"): lists, no thresholds and no groups.
//!
//! Numbers are taken to their last bit. What is unknown in a summary is ignored (`setup_data` may be a secret, the script is no
//! result); what is known and not as k6 writes it makes the whole unreadable.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::document::{
    Check, Exact, Kind, Metric, Source, Summary, Threshold, Unit, Value, is_trend_stat, number,
};
use super::objects::{self, Object};
use super::reading::{Problem, Reading};
use super::supplement;

/// Of more objects only the last are looked at.
const OBJECTS: usize = 16;

/// The last of each form counts. k6's own export goes before what a script prints, which may have been made shorter; the newer
/// form leaves out most. And where the first begins that was looked at.
pub(super) fn read(log: &[u8], whole: bool) -> (usize, Reading) {
    let (mut export, mut data, mut newer) = (None, None, None);
    let mut broken: [Option<Problem>; 2] = [None, None];
    let mut begin = log.len();
    for object in objects::find(log).iter().rev().take(OBJECTS) {
        begin = object.begin;
        let broken = &mut broken[usize::from(object.pretty)];
        // What was said before one that has come to nothing was of another run.
        if broken.is_some() {
            continue;
        }
        match parse(object) {
            Some(Ok((form, summary))) => {
                let last = match form {
                    Form::Export => &mut export,
                    Form::Data => &mut data,
                    Form::Newer => &mut newer,
                };
                last.get_or_insert(summary);
            }
            Some(Err(problem)) => *broken = Some(problem),
            None => {}
        }
    }
    if let (Some(export), Some(data)) = (&mut export, &data) {
        supplement::with_data(export, data);
    }
    let [single, pretty] = broken;
    let reading = match (export.or(data).or(newer), pretty.or(single)) {
        (Some(summary), _) => Reading::Summary(summary),
        (None, _) if !whole && objects::begins_within(log) => Reading::CutOff,
        (None, Some(problem)) => Reading::Broken(problem),
        (None, None) => Reading::Absent,
    };
    (begin, reading)
}

#[derive(Clone, Copy)]
enum Form {
    Export,
    Data,
    Newer,
}

/// `None`: it is no summary.
fn parse(object: &Object) -> Option<Result<(Form, Summary), Problem>> {
    if !object.whole {
        return Some(Err(Problem::Incomplete));
    }
    let top: Top<'_> = match serde_json::from_slice(&object.text) {
        Ok(top) => top,
        Err(_) => return Some(Err(Problem::Malformed)),
    };
    let summary = match (&top.root_group, top.metrics, &top.results) {
        (Some(root), Some(metrics), None) => match serde_json::from_str(metrics.get()) {
            Ok(metrics) => data(metrics, root.get(), top.state).map(|found| (Form::Data, found)),
            Err(_) => export(metrics.get(), root.get()).map(|found| (Form::Export, found)),
        },
        (None, None, Some(results)) if top.version.is_some() || top.metadata.is_some() => {
            newer(results.get(), top.metadata, top.config).map(|found| (Form::Newer, found))
        }
        // A script's own object.
        _ => return None,
    };
    Some(summary.ok_or(Problem::Malformed))
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow)]
    root_group: Option<&'a RawValue>,
    #[serde(borrow)]
    metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    config: Option<&'a RawValue>,
    version: Option<IgnoredAny>,
}

// === What handleSummary gets ===

#[derive(Deserialize)]
struct DataMetric {
    r#type: Kind,
    contains: Contains,
    values: Pairs<Option<Exact>>,
    thresholds: Option<Pairs<Judged>>,
}

#[derive(Deserialize)]
struct Judged {
    ok: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Contains {
    Default,
    Time,
    Data,
}

impl Contains {
    fn unit(self) -> Unit {
        match self {
            Self::Default => Unit::None,
            Self::Time => Unit::Ms,
            Self::Data => Unit::Bytes,
        }
    }
}

fn data(metrics: Pairs<DataMetric>, root: &str, state: Option<&RawValue>) -> Option<Summary> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct State {
        test_run_duration_ms: Option<Exact>,
    }
    let mut summary = empty();
    // k6 before 0.31 has no state; what is no state of k6's is left out.
    let state = state.and_then(|state| serde_json::from_str::<State>(state.get()).ok());
    summary.duration_ms = state.and_then(|state| Some(state.test_run_duration_ms?.0));
    for (name, found) in metrics.0 {
        let stats = stats(found.r#type, found.values.0)?;
        let metric = Metric {
            name,
            kind: found.r#type,
            unit: found.contains.unit(),
            stats,
        };
        for (expression, judged) in found.thresholds.map_or_else(Vec::new, |found| found.0) {
            summary
                .thresholds
                .push(threshold(&metric, expression, !judged.ok));
        }
        summary.metrics.push(metric);
    }
    summary.checks = checks(root)?;
    summary.sorted()
}

// === The export ===

fn export(metrics: &str, root: &str) -> Option<Summary> {
    let metrics: Pairs<Pairs<Box<RawValue>>> = serde_json::from_str(metrics).ok()?;
    let mut summary = empty();
    for (name, members) in metrics.0 {
        let mut values = Vec::new();
        let mut judged = Vec::new();
        for (key, member) in members.0 {
            match (key.as_str(), member.get()) {
                ("thresholds", thresholds) => {
                    judged = serde_json::from_str::<Pairs<bool>>(thresholds).ok()?.0;
                }
                // What JavaScript has no number for.
                (_, "null") => values.push((key, None)),
                (_, value) => values.push((key, Some(Exact(number(value)?)))),
            }
        }
        let has = |key: &str| values.iter().any(|(stat, _)| stat == key);
        // `count` alone may be what `summaryTrendStats` asks for, `min` and `max` too.
        let kind = if has("count") && has("rate") {
            Kind::Counter
        } else if has("passes") && has("fails") {
            Kind::Rate
        } else if has("value") {
            Kind::Gauge
        } else {
            Kind::Trend
        };
        if kind == Kind::Rate {
            // The word of everywhere else.
            for (stat, _) in &mut values {
                if stat == "value" {
                    "rate".clone_into(stat);
                }
            }
        }
        let metric = Metric {
            unit: Unit::of_builtin(&name).unwrap_or(Unit::None),
            name,
            kind,
            stats: stats(kind, values)?,
        };
        for (expression, failed) in judged {
            summary
                .thresholds
                .push(threshold(&metric, expression, failed));
        }
        summary.metrics.push(metric);
    }
    summary.checks = checks(root)?;
    summary.sorted()
}

// === The newer form ===

fn newer(results: &str, metadata: Option<&RawValue>, config: Option<&RawValue>) -> Option<Summary> {
    #[derive(Deserialize)]
    struct Results {
        metrics: Vec<Named>,
        checks: Option<Checks>,
    }
    #[derive(Deserialize)]
    struct Checks {
        metrics: Option<Vec<Named>>,
        results: Option<Vec<NewerCheck>>,
    }
    #[derive(Deserialize)]
    struct NewerCheck {
        name: String,
        passes: u64,
        fails: u64,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(alias = "k6Version")]
        k6_version: Option<String>,
    }
    #[derive(Deserialize)]
    struct Config {
        duration: Option<Exact>,
    }
    let results: Results = serde_json::from_str(results).ok()?;
    let metadata = metadata.and_then(|found| serde_json::from_str::<Metadata>(found.get()).ok());
    let config = config.and_then(|found| serde_json::from_str::<Config>(found.get()).ok());
    let seconds = config.and_then(|config| Some(config.duration?.0));
    let mut summary = empty();
    summary.k6_version = metadata.and_then(|metadata| metadata.k6_version);
    // k6 has whole nanoseconds.
    summary.duration_ms = seconds.map(|seconds| (seconds * 1e9).round() / 1e6);
    for named in results.metrics {
        summary.metrics.push(named.metric(seconds)?);
    }
    if let Some(checks) = results.checks {
        for named in checks.metrics.unwrap_or_default() {
            if named.name == "checks_succeeded" {
                let mut metric = named.metric(seconds)?;
                "checks".clone_into(&mut metric.name);
                summary.metrics.push(metric);
            }
        }
        summary.checks = checks
            .results
            .unwrap_or_default()
            .into_iter()
            .map(|check| Check {
                path: None,
                name: check.name,
                passes: Some(check.passes),
                fails: check.fails,
            })
            .collect();
    }
    summary.sorted()
}

#[derive(Deserialize)]
struct Named {
    name: String,
    r#type: Kind,
    contains: Contains,
    values: Pairs<Option<Exact>>,
}

impl Named {
    fn metric(self, seconds: Option<f64>) -> Option<Metric> {
        let mut values = self.values.0;
        let value = |stat: &str| {
            let found = values.iter().find(|(name, _)| name == stat);
            found.and_then(|(_, value)| Some(value.as_ref()?.0))
        };
        match self.r#type {
            // k6 divides so itself, elsewhere.
            Kind::Counter => {
                let count = value("count")?;
                if let Some(seconds) = seconds {
                    let rate = if seconds > 0.0 { count / seconds } else { 0.0 };
                    values.push(("rate".to_owned(), Some(Exact(rate))));
                }
            }
            Kind::Rate => {
                let (matches, total) = (value("matches")?, value("total")?);
                values.retain(|(stat, _)| stat == "rate");
                values.push(("passes".to_owned(), Some(Exact(matches))));
                values.push(("fails".to_owned(), Some(Exact(total - matches))));
            }
            Kind::Trend => {
                for (stat, _) in &mut values {
                    match stat.as_str() {
                        "p90" => "p(90)".clone_into(stat),
                        "p95" => "p(95)".clone_into(stat),
                        _ => {}
                    }
                }
            }
            Kind::Gauge => {}
        }
        Some(Metric {
            name: self.name,
            kind: self.r#type,
            unit: self.contains.unit(),
            stats: stats(self.r#type, values)?,
        })
    }
}

// === What they have in common ===

fn empty() -> Summary {
    Summary {
        source: Source::Json,
        k6_version: None,
        duration_ms: None,
        metrics: Vec::new(),
        checks: Vec::new(),
        thresholds: Vec::new(),
        marks: Vec::new(),
    }
}

fn threshold(metric: &Metric, expression: String, failed: bool) -> Threshold {
    Threshold {
        metric: metric.name.clone(),
        observed: metric.observed(&expression),
        expression,
        failed,
    }
}

/// `None`: a metric of this kind has other stats.
fn stats(kind: Kind, values: Vec<(String, Option<Exact>)>) -> Option<BTreeMap<String, Value>> {
    let required: &[&str] = match kind {
        Kind::Counter => &["count"],
        Kind::Gauge => &["value"],
        Kind::Rate => &["passes", "fails"],
        Kind::Trend => &[],
    };
    let known = |stat: &str| match kind {
        Kind::Counter => matches!(stat, "count" | "rate"),
        Kind::Gauge => matches!(stat, "value" | "min" | "max"),
        Kind::Rate => matches!(stat, "rate" | "passes" | "fails"),
        Kind::Trend => is_trend_stat(stat),
    };
    let mut stats = BTreeMap::new();
    for (stat, value) in values {
        if !known(&stat) {
            return None;
        }
        if let Some(Exact(number)) = value {
            let whole = number >= 0.0 && number.fract() == 0.0;
            if matches!(stat.as_str(), "passes" | "fails") && !whole {
                return None;
            }
            stats.insert(stat, Value::exact(number)?);
        }
    }
    required
        .iter()
        .all(|stat| stats.contains_key(*stat))
        .then_some(stats)
}

/// Groups are maps by name in the export, and lists for `handleSummary`.
#[derive(Deserialize)]
struct Group {
    #[serde(default, deserialize_with = "members")]
    groups: Vec<Group>,
    #[serde(default, deserialize_with = "members")]
    checks: Vec<GroupCheck>,
}

#[derive(Deserialize)]
struct GroupCheck {
    name: String,
    path: String,
    passes: u64,
    fails: u64,
}

fn checks(root: &str) -> Option<Vec<Check>> {
    let mut checks = Vec::new();
    let mut groups = vec![serde_json::from_str::<Group>(root).ok()?];
    while let Some(group) = groups.pop() {
        groups.extend(group.groups);
        checks.extend(group.checks.into_iter().map(|check| Check {
            path: Some(check.path),
            name: check.name,
            passes: Some(check.passes),
            fails: check.fails,
        }));
    }
    Some(checks)
}

/// A JSON object's members in their order, each once.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Pairs<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                if names.windows(2).any(|two| two[0] == two[1]) {
                    return Err(A::Error::custom("a member is there twice"));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

fn members<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Members<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list, or an object by name")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = seq.next_element()? {
                members.push(member);
            }
            Ok(members)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((_, member)) = map.next_entry::<IgnoredAny, T>()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    deserializer.deserialize_any(Members(PhantomData))
}

#[cfg(test)]
mod tests;
