//! LISTs in pages. An item that can't be decoded is set aside with what is wrong with it, and does not hide the others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::ClusterError;
use super::request::{Request, Resource};
use super::send::Limit;
use super::{Cluster, Namespaces, time};
use crate::isolate::isolated;

/// Objects a page: small enough for one answer, large enough that 10,000 pods are 20 requests.
const PAGE_OBJECTS: usize = 500;
/// A longer page is not read; fewer objects are asked for instead. Pods of k6-operator have 6 to 10 KB.
const PAGE: Limit = Limit {
    what: "object in a list",
    most: 8 * 1024 * 1024,
};
/// How long pages should be, if the next objects are like the last ones.
const PAGE_BYTES: usize = PAGE.most / 4 * 3;

/// Labels that are kept: those that are used, or help people who debug. An object may have any number of others.
const LABELS: [&str; 4] = ["k6_cr", "runner", "app", "batch.kubernetes.io/job-name"];
/// Our own are all kept.
const OWN_LABELS: &str = "k6sync.dev/";

/// What a LIST gave.
#[derive(Debug)]
pub struct Listed<T> {
    /// The objects.
    pub items: Vec<T>,
    /// Those that could not be understood.
    pub malformed: Vec<Malformed>,
    /// How many were left out because they only look like what was asked for.
    pub(crate) foreign: usize,
    /// The API server's time when it gave the first page, in whole seconds; the clock that created the objects.
    pub(crate) time: Option<Timestamp>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            malformed: Vec::new(),
            foreign: 0,
            time: None,
        }
    }
}

/// What a list is of.
pub(super) trait Item {
    /// The TestRun that it is or belongs to, by as much of its metadata as can be read.
    fn test_run(metadata: &Value) -> Option<&str>;
    /// Whether it only looks like what was asked for.
    fn is_foreign(metadata: &Value) -> bool;
}

impl<T> Listed<T> {
    /// The objects of one answer, and where the next page begins, if there is one.
    pub(super) fn page<Raw: DeserializeOwned>(
        body: &[u8],
        convert: &impl Fn(Raw) -> Result<Option<T>, String>,
    ) -> Result<(Self, Option<String>), serde_json::Error>
    where
        T: Item,
    {
        let page: Page<'_> = serde_json::from_slice(body)?;
        let mut listed = Self::default();
        for item in page.items {
            // Whatever is in one object, the others are read.
            let decoded = isolated(|| decode(item).and_then(convert));
            match decoded.unwrap_or_else(|bug| Err(bug.to_string())) {
                Ok(Some(item)) => listed.items.push(item),
                Ok(None) => listed.foreign += 1,
                Err(problem) => match malformed::<T>(item, problem) {
                    Some(bad) => listed.malformed.push(bad),
                    None => listed.foreign += 1,
                },
            }
        }
        let next_page = page.metadata.next_page.filter(|token| !token.is_empty());
        Ok((listed, next_page))
    }

    /// Adds what another answer gave; the time remains the first one's.
    pub(crate) fn extend(&mut self, other: Self) {
        self.items.extend(other.items);
        self.malformed.extend(other.malformed);
        self.foreign += other.foreign;
        self.time = self.time.or(other.time);
    }
}

/// An object that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// `metadata.namespace`, as far as it can be read.
    pub(crate) namespace: String,
    /// `metadata.name`, as far as it can be read.
    pub(crate) name: String,
    /// The TestRun that it is or belongs to, as far as that can be read.
    pub(crate) test_run: String,
    /// Which field, and what is wrong with it.
    pub problem: String,
}

/// What is used of any object's metadata.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    #[serde(deserialize_with = "time::deserialize")]
    pub(super) creation_timestamp: Timestamp,
    #[serde(default, deserialize_with = "labels")]
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) owner_references: Option<Vec<OwnerReference>>,
    pub(super) resource_version: Option<String>,
    pub(super) finalizers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "time::optional")]
    pub(super) deletion_timestamp: Option<Timestamp>,
}

/// An owner of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerReference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    /// Of several owners, the one that manages it.
    #[serde(default)]
    pub(super) controller: bool,
}

/// Only the labels in use, so that objects stay small whatever labels they have.
fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    struct Used;
    impl<'de> Visitor<'de> for Used {
        type Value = Option<BTreeMap<String, String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of labels")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut used = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if LABELS.contains(&name.as_str()) || name.starts_with(OWN_LABELS) {
                    used.insert(name, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(Some(used))
        }
    }
    deserializer.deserialize_any(Used)
}

impl Cluster {
    /// All objects of `resource` in `namespaces`, in the order of the answers.
    ///
    /// `Raw` is what is used of an object, as it stands in JSON; `convert` makes it ours, or leaves it out.
    pub(super) async fn list<Raw: DeserializeOwned, T: Item>(
        &self,
        resource: Resource,
        label_selector: Option<&str>,
        namespaces: &Namespaces,
        convert: impl Fn(Raw) -> Result<Option<T>, String>,
    ) -> Result<Listed<T>, ClusterError> {
        let mut listed = Listed::default();
        match namespaces {
            Namespaces::All => {
                self.list_in(resource, label_selector, None, &convert, &mut listed)
                    .await?
            }
            Namespaces::Only(names) => {
                for name in names {
                    self.list_in(resource, label_selector, Some(name), &convert, &mut listed)
                        .await?;
                }
            }
        }
        Ok(listed)
    }

    /// What the last list of this kind found to fit, so that the next cycle need not find out again.
    fn page_objects(&self, resource: Resource) -> usize {
        let known = self.page_objects.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.get(resource.name).copied().unwrap_or(PAGE_OBJECTS)
    }

    fn keep_page_objects(&self, resource: Resource, limit: usize) {
        let known = self.page_objects.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.insert(resource.name, limit);
    }

    async fn list_in<Raw: DeserializeOwned, T: Item>(
        &self,
        resource: Resource,
        label_selector: Option<&str>,
        namespace: Option<&str>,
        convert: &impl Fn(Raw) -> Result<Option<T>, String>,
        listed: &mut Listed<T>,
    ) -> Result<(), ClusterError> {
        let mut next_page: Option<String> = None;
        let mut limit = self.page_objects(resource);
        loop {
            let mut request = Request::list(resource, namespace).query("limit", limit.to_string());
            if let Some(selector) = label_selector {
                request = request.query("labelSelector", selector);
            }
            if let Some(token) = &next_page {
                request = request.query("continue", token);
            }
            let read = |body: &Bytes| {
                let (page, token) = Listed::page(body, convert)?;
                Ok((page, token, body.len()))
            };
            let answer = self.send_and_read(&request, PAGE, read).await;
            let ((page, token, bytes), date) = match answer {
                Ok(answer) => answer,
                Err(ClusterError::TooLong { .. }) if limit > 1 => {
                    limit /= 2;
                    tracing::debug!(%request, limit, "the page is too long: fewer objects are asked for");
                    continue;
                }
                // The snapshot expired while the list was read; the rest comes from a newer one (docs/facts.md,
                // "An expired list goes on with a new token").
                Err(ClusterError::Rejected {
                    code: 410,
                    next_page: Some(token),
                    ..
                }) if next_page.is_some() => {
                    next_page = Some(token);
                    continue;
                }
                Err(error) => return Err(error),
            };
            listed.time = listed.time.or(date);
            limit = objects_a_page(page.items.len() + page.malformed.len(), bytes);
            listed.extend(page);
            next_page = token;
            if next_page.is_none() {
                self.keep_page_objects(resource, limit);
                return Ok(());
            }
        }
    }
}

/// How many objects to ask for next, when `objects` of them had `bytes`.
fn objects_a_page(objects: usize, bytes: usize) -> usize {
    let fit = objects.saturating_mul(PAGE_BYTES) / bytes.max(1);
    match objects {
        0 => PAGE_OBJECTS,
        _ => fit.clamp(1, PAGE_OBJECTS),
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next_page: Option<String>,
}

/// One object.
pub(super) fn decode_object<Raw: DeserializeOwned, T>(
    body: &[u8],
    convert: impl Fn(Raw) -> Result<T, String>,
) -> Result<T, String> {
    let object: &RawValue = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    decode(object).and_then(convert)
}

/// The problem names the field, such as `status.stage: invalid type: integer `5`, expected a string`.
fn decode<T: DeserializeOwned>(item: &RawValue) -> Result<T, String> {
    // Keeping track of the field takes longer than all the rest.
    if let Ok(object) = serde_json::from_str(item.get()) {
        return Ok(object);
    }
    let mut deserializer = serde_json::Deserializer::from_str(item.get());
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner().to_string();
        // The position is one within a page that nobody sees.
        let problem = problem.split(" at line ").next().unwrap_or_default();
        format!("{path}: {problem}")
    })
}

/// `None`: it only looks like what was asked for.
fn malformed<T: Item>(item: &RawValue, problem: String) -> Option<Malformed> {
    let item: Value = serde_json::from_str(item.get()).unwrap_or_default();
    let metadata = &item["metadata"];
    if T::is_foreign(metadata) {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let name = text(&metadata["name"]);
    Some(Malformed {
        namespace: text(&metadata["namespace"]),
        test_run: T::test_run(metadata).map_or_else(|| name.clone(), str::to_owned),
        name,
        problem,
    })
}
