//! The configuration file: its keys, and what is said of one that is wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::ConfigError;
use crate::cli::HoldMode;
use crate::cycle::Discovery;
use crate::server::door::rights::Clusters;
use crate::yaml::{self, YamlError};

/// A key with its parents, and what it takes.
pub(super) type Key = (&'static str, &'static str);

/// What a key takes, in words.
mod takes {
    pub(super) const SECTION: &str = "keys with values";
    pub(super) const TEXT: &str = "text, if need be in quotation marks";
    pub(super) const TEXTS: &str = "a list of texts";
    pub(super) const FILE: &str = "the path of a file";
    pub(super) const SWITCH: &str = "true or false";
    pub(super) const NUMBER: &str = "a whole number";
    pub(super) const DURATION: &str = "a duration with its unit, such as 10m";
    pub(super) const DISCOVERY: &str = "all, labelled or off";
    pub(super) const CLUSTERS: &str = "all, or a list of ids";
    pub(super) const HOLD: &str = "cleanup, all or none";
}

/// A setting of the file, and what it is called there.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) key: &'static str,
    pub(super) value: Option<T>,
}

/// Defines a section of the file: the one place where its keys are written, each with the type of its value and what it takes, in
/// words. Behind them the sections within it.
macro_rules! section {
    ($name:ident in $place:literal {
        $($field:ident $key:literal: $type:ty, $takes:expr;)+
        $([$section:ident $section_key:literal: $section_type:ty];)*
    }) => {
        #[derive(Debug)]
        pub(super) struct $name {
            $(pub(super) $field: Setting<$type>,)+
            $(pub(super) $section: $section_type,)*
        }

        impl $name {
            /// Every key, and what it takes.
            fn keys() -> Vec<Key> {
                let own = [$((concat!($place, $key), $takes)),+];
                let sections: Vec<Vec<Key>> = vec![$(
                    vec![(concat!($place, $section_key), takes::SECTION)],
                    <$section_type>::keys(),
                )*];
                own.into_iter().chain(sections.into_iter().flatten()).collect()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: Setting { key: concat!($place, $key), value: None },)+
                    $($section: <$section_type>::default(),)*
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Default, Deserialize)]
                #[serde(default, expecting = "keys with values")]
                struct Section {
                    $(#[serde(rename = $key)] $field: Option<$type>,)+
                    $(#[serde(rename = $section_key)] $section: $section_type,)*
                }
                let section = Section::deserialize(deserializer)?;
                Ok(Self {
                    $($field: Setting { key: concat!($place, $key), value: section.$field },)+
                    $($section: section.$section,)*
                })
            }
        }
    };
}

section! {
    File in "" {
        database_url "databaseUrl": String, takes::TEXT;
        context "context": String, takes::TEXT;
        namespaces "namespaces": Vec<String>, takes::TEXTS;
        all_namespaces "allNamespaces": bool, takes::SWITCH;
        discovery "discovery": Discovery, takes::DISCOVERY;
        missing_after "missingAfter": SignedDuration, takes::DURATION;
        enabled "enabled": bool, takes::SWITCH;
        interval_seconds "intervalSeconds": u64, takes::NUMBER;
        listen "listen": String, takes::TEXT;
        shutdown_grace "shutdownGrace": SignedDuration, takes::DURATION;
        [tls "tls": Tls];
        [auth "auth": Auth];
        [control "control": Control];
        [leader_election "leaderElection": LeaderElection];
        [kubernetes "kubernetes": Kubernetes];
        [capture "capture": Capture];
        [api "api": Api];
    }
}

section! {
    Tls in "tls." {
        cert "cert": PathBuf, takes::FILE;
        key "key": PathBuf, takes::FILE;
    }
}

section! {
    Auth in "auth." {
        audiences "audiences": Vec<String>, takes::TEXTS;
        api_key_may_read "apiKeyMayRead": bool, takes::SWITCH;
        clusters "clusters": OtherClusters, takes::CLUSTERS;
        [cookie "cookie": Cookie];
        [proxy "proxy": Proxy];
    }
}

section! {
    Cookie in "auth.cookie." {
        secure "secure": bool, takes::SWITCH;
    }
}

section! {
    Proxy in "auth.proxy." {
        trusted_addresses "trustedAddresses": Vec<String>, takes::TEXTS;
        user_header "userHeader": String, takes::TEXT;
        groups_header "groupsHeader": String, takes::TEXT;
    }
}

section! {
    Api in "api." {
        max_followers "maxFollowers": usize, takes::NUMBER;
    }
}

section! {
    Control in "control." {
        config_map "configMap": String, takes::TEXT;
        namespace "namespace": String, takes::TEXT;
    }
}

section! {
    LeaderElection in "leaderElection." {
        enabled "enabled": bool, takes::SWITCH;
        lease "lease": String, takes::TEXT;
    }
}

section! {
    Kubernetes in "kubernetes." {
        request_timeout "requestTimeout": SignedDuration, takes::DURATION;
        cycle_deadline "cycleDeadline": SignedDuration, takes::DURATION;
    }
}

section! {
    Capture in "capture." {
        concurrency "concurrency": usize, takes::NUMBER;
        hold "hold": HoldMode, takes::HOLD;
        hold_timeout "holdTimeout": SignedDuration, takes::DURATION;
    }
}

/// `all`, or the ids of some.
#[derive(Debug)]
pub(super) struct OtherClusters(pub(super) Clusters);

impl<'de> Deserialize<'de> for OtherClusters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = OtherClusters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(takes::CLUSTERS)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<OtherClusters, E> {
                match word {
                    "all" => Ok(OtherClusters(Clusters::All)),
                    _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut ids: A,
            ) -> Result<OtherClusters, A::Error> {
                let mut some = Vec::new();
                while let Some(id) = ids.next_element()? {
                    some.push(id);
                }
                Ok(OtherClusters(match some.is_empty() {
                    true => Clusters::Own,
                    false => Clusters::Also(some),
                }))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// Every key.
pub(super) fn keys() -> impl Iterator<Item = Key> {
    File::keys().into_iter()
}

impl<'de> Deserialize<'de> for HoldMode {
    /// `true` and `false` are `all` and `none`, as in 0.1.0.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = HoldMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cleanup, all or none")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<HoldMode, E> {
                Ok(match value {
                    true => HoldMode::All,
                    false => HoldMode::None,
                })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<HoldMode, E> {
                match word {
                    "cleanup" => Ok(HoldMode::Cleanup),
                    "all" => Ok(HoldMode::All),
                    "none" => Ok(HoldMode::None),
                    _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
                }
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// The configuration file.
///
/// # Errors
/// [`ConfigError`]: it can't be read, has a key that does not exist, or a value that a key does not take.
pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let malformed = |problem| ConfigError::Malformed {
        path: path.to_owned(),
        problem,
    };
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(File::default());
    }
    let document: serde_json::Value =
        yaml::from_str(&text).map_err(|error| malformed(error.problem))?;
    if let Some(key) = unknown_key(&document) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            advice: nearest_key(&key)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default(),
            key,
        });
    }
    yaml::from_str(&text).map_err(|error| malformed(refusal(&error, &document)))
}

/// Which key has a value that it can't have, and what it takes; the value itself only where that can't be a secret.
fn refusal(error: &YamlError, document: &serde_json::Value) -> String {
    let at = error
        .line
        .map(|line| format!(", at line {line}"))
        .unwrap_or_default();
    if error.problem.contains("duplicate field") {
        return error.problem.clone();
    }
    if error.path == "." {
        let kind = kind_of(document);
        return format!("it is {kind}, expected {}{at}", takes::SECTION);
    }
    let path = &error.path;
    let (key, is_item) = match path.split_once('[') {
        Some((key, _)) => (key, true),
        None => (path.as_str(), false),
    };
    let takes = keys().find(|(known, _)| *known == key);
    let takes = takes.map_or("another value", |(_, takes)| takes);
    let pointer = format!("/{}", key.replace('.', "/"));
    match document.pointer(&pointer) {
        _ if is_item => format!("{path}: it is no text{at}"),
        Some(number @ serde_json::Value::Number(_)) if shows_numbers(takes) => {
            format!("{path}: it is `{number}`, expected {takes}{at}")
        }
        value => {
            let kind = value.map_or("nothing", kind_of);
            format!("{path}: it is {kind}, expected {takes}{at}")
        }
    }
}

/// Who writes a number there has mistaken it for another number.
fn shows_numbers(takes: &str) -> bool {
    [takes::SWITCH, takes::NUMBER, takes::DURATION].contains(&takes)
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "empty",
        serde_json::Value::Bool(_) => "true or false",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "some other text",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "keys with values",
    }
}

/// The first key that does not exist, or that is no key at all but part of a value and is not shown.
fn unknown_key(document: &serde_json::Value) -> Option<String> {
    let key = find_unknown_key(document)?;
    let is_key = key
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
    Some(if is_key { key } else { "…".to_owned() })
}

fn find_unknown_key(document: &serde_json::Value) -> Option<String> {
    unknown_within("", document)
}

fn unknown_within(place: &str, section: &serde_json::Value) -> Option<String> {
    for (name, value) in section.as_object()? {
        let key = format!("{place}{name}");
        if !is_key(&key) {
            return Some(key);
        }
        if let Some(unknown) = unknown_within(&format!("{key}."), value) {
            return Some(unknown);
        }
    }
    None
}

fn is_key(key: &str) -> bool {
    keys().any(|(known, _)| known == key)
}

/// The known key whose last part is most like that of `key`, if any is near; of two, the one in the same place.
fn nearest_key(key: &str) -> Option<&'static str> {
    const ELSEWHERE: f64 = 0.95;
    fn parts(key: &str) -> (&str, &str) {
        key.rsplit_once('.').unwrap_or(("", key))
    }
    let (place, name) = parts(key);
    keys()
        .map(|(known, _)| {
            let (known_place, known_name) = parts(known);
            let likeness = strsim::jaro_winkler(&name.to_lowercase(), &known_name.to_lowercase());
            match known_place == place {
                true => (likeness, known),
                false => (likeness * ELSEWHERE, known),
            }
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
