//! The cluster's objects: one counter of resourceVersions, the present objects, and what changed lately.
//!
//! The HTTP routes and the [`crate::Cluster`] handle both work through [`State`], under one lock. It knows nothing of HTTP
//! but the refusals in [`crate::status`], and never waits.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use self::rules::{
    check_finalizers, check_names, check_preconditions, has_finalizers, is_deleting,
    keep_server_fields, own_key, released, with_field_of,
};
use crate::logs::LogStore;
use crate::random::Random;
use crate::resources::{RESOURCES, Resource};
use crate::status::Failure;

/// How many changes a watch can go back, and how many paged lists can be under way at once.
const HISTORY: usize = 10_000;
const SNAPSHOTS: usize = 64;

/// All objects of one resource, in the order of lists.
pub(crate) type Objects = BTreeMap<Arc<str>, Arc<Stored>>;

/// One object, kept as the JSON it is served as: ten thousand pods as trees of `Value` would be ten times the memory.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The object without `kind` and `apiVersion`, as core types stand in lists.
    pub(crate) json: Bytes,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Stored {
    fn new(mut object: Value) -> Self {
        let labels = object["metadata"]["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        Self {
            json: Bytes::from(object.to_string()),
            labels,
        }
    }

    /// Appends the whole object, with `kind` and `apiVersion`, as GET and watches show it.
    pub(crate) fn write_whole(&self, resource: &Resource, out: &mut Vec<u8>) {
        let (api_version, kind) = (resource.api_version(), resource.kind);
        out.extend_from_slice(
            format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","#).as_bytes(),
        );
        // The stored JSON always has at least its metadata, so a comma is right.
        out.extend_from_slice(&self.json[1..]);
    }

    /// The whole object as a value.
    pub(crate) fn value(&self, resource: &Resource) -> Value {
        let mut value: Value = serde_json::from_slice(&self.json).unwrap_or_default();
        value["apiVersion"] = resource.api_version().into();
        value["kind"] = resource.kind.into();
        value
    }
}

/// Something that happened to one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) resource: &'static Resource,
    pub(crate) key: Arc<str>,
    pub(crate) before: Option<Arc<Stored>>,
    /// None when the object is gone.
    pub(crate) after: Option<Arc<Stored>>,
    /// The object as a DELETED event shows it: its last state with the resourceVersion of its removal.
    pub(crate) gone: Option<Arc<Stored>>,
}

/// What a paged list keeps showing while its pages are fetched.
#[derive(Debug)]
struct Snapshot {
    plural: &'static str,
    version: u64,
    objects: Arc<Objects>,
}

/// Which part of an object a PUT or PATCH may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but what the server owns; not `status` where there is a `/status`.
    Main,
    /// `status` alone.
    Status,
}

/// What became of a deleted object.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// It is gone; its last state.
    Gone(Value),
    /// Finalizers hold it; its present state.
    Held(Value),
}

/// The whole cluster.
#[derive(Debug)]
pub(crate) struct State {
    version: u64,
    /// Changes up to here are forgotten.
    floor: u64,
    collections: HashMap<&'static str, Arc<Objects>>,
    history: VecDeque<Change>,
    snapshots: VecDeque<Snapshot>,
    random: Random,
    /// False when the TestRun CRD is not installed (docs/facts.md, "A missing CRD answers in plain text").
    pub(crate) crd: bool,
    pub(crate) logs: LogStore,
    /// How far the cluster's clock is ahead.
    pub(crate) clock_offset: SignedDuration,
}

impl State {
    /// The present time by the cluster's clock as `creationTimestamp` shows it.
    fn now(&self) -> String {
        let now = Timestamp::now() + self.clock_offset;
        now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub(crate) fn new(random: Random) -> Self {
        let collections = RESOURCES.iter().map(|r| (r.plural, Arc::default()));
        Self {
            version: 1,
            floor: 0,
            collections: collections.collect(),
            history: VecDeque::new(),
            snapshots: VecDeque::new(),
            random,
            clock_offset: SignedDuration::ZERO,
            crd: true,
            logs: LogStore::default(),
        }
    }

    /// The newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The newest resourceVersion is at least this one from now on.
    pub(crate) fn raise_version(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// docs/facts.md, "An expired list goes on with a new token", "A watch from too far back gets an ERROR event":
    /// forgets how things were.
    pub(crate) fn compact(&mut self) {
        self.floor = self.version;
        self.history.clear();
        self.snapshots.clear();
    }

    /// All present objects of a resource; keep the `Arc` for a consistent view.
    pub(crate) fn objects(&self, resource: &Resource) -> Arc<Objects> {
        self.collections
            .get(resource.plural)
            .cloned()
            .unwrap_or_default()
    }

    fn stored(&self, resource: &Resource, key: &str) -> Option<&Arc<Stored>> {
        self.collections.get(resource.plural)?.get(key)
    }

    pub(crate) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
        self.stored(resource, &resource.key(namespace, name))
            .map(|stored| stored.value(resource))
    }

    pub(crate) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Value> {
        in_namespace(&self.objects(resource), resource, namespace, "")
            .map(|(_, stored)| stored.value(resource))
            .collect()
    }

    // === snapshots of paged lists ===

    /// Keeps the present objects for the following pages of a list.
    pub(crate) fn keep_snapshot(&mut self, resource: &'static Resource) {
        let version = self.version;
        let known = |s: &Snapshot| s.plural == resource.plural && s.version == version;
        if self.snapshots.iter().any(known) {
            return;
        }
        if self.snapshots.len() == SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Snapshot {
            plural: resource.plural,
            version,
            objects: self.objects(resource),
        });
    }

    /// The objects as a list of that resourceVersion began with; None when forgotten.
    pub(crate) fn snapshot(&self, resource: &Resource, version: u64) -> Option<Arc<Objects>> {
        self.snapshots
            .iter()
            .find(|s| s.plural == resource.plural && s.version == version)
            .map(|s| Arc::clone(&s.objects))
    }

    // === watch history ===

    /// The changes after `version`, or how far back one could have asked.
    pub(crate) fn changes_since(
        &self,
        version: u64,
    ) -> Result<impl Iterator<Item = &Change>, Failure> {
        if version < self.floor {
            return Err(Failure::expired_watch(version, self.floor));
        }
        let first = self.history.partition_point(|c| c.version <= version);
        Ok(self.history.range(first..))
    }

    fn record(&mut self, change: Change) {
        self.history.push_back(change);
        if self.history.len() > HISTORY
            && let Some(forgotten) = self.history.pop_front()
        {
            self.floor = forgotten.version;
        }
    }

    // === changes ===

    fn insert(&mut self, resource: &'static Resource, key: &str, object: Value) {
        let stored = Arc::new(Stored::new(object));
        let key: Arc<str> = key.into();
        let collection = self.collections.entry(resource.plural).or_default();
        let before = Arc::make_mut(collection).insert(Arc::clone(&key), Arc::clone(&stored));
        self.record(Change {
            version: self.version,
            resource,
            key,
            before,
            after: Some(stored),
            gone: None,
        });
    }

    /// Stores an object under the next resourceVersion and returns it as stored.
    fn commit(&mut self, resource: &'static Resource, key: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.insert(resource, key, object.clone());
        object
    }

    /// Takes an object away, and with a pod its logs, with a TestRun its pods as the garbage collector would.
    fn take_away(&mut self, resource: &'static Resource, key: &str) {
        let Some(collection) = self.collections.get_mut(resource.plural) else {
            return;
        };
        let Some(before) = Arc::make_mut(collection).remove(key) else {
            return;
        };
        self.version += 1;
        let mut object = before.value(resource);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.record(Change {
            version: self.version,
            resource,
            key: key.into(),
            before: Some(before),
            after: None,
            gone: Some(Arc::new(Stored::new(object))),
        });
        match resource.plural {
            "pods" => self.logs.forget_pod(&namespace, &name),
            "testruns" => self.collect_garbage(&namespace, &name),
            _ => {}
        }
        if resource.namespaced {
            self.end_namespace(&namespace);
        }
    }

    fn collect_garbage(&mut self, namespace: &str, test_run: &str) {
        let Some(pods) = Resource::named("pods") else {
            return;
        };
        let objects = self.objects(pods);
        let owned: Vec<Arc<str>> = in_namespace(&objects, pods, Some(namespace), "")
            .filter(|(_, stored)| stored.labels.get("k6_cr").is_some_and(|v| v == test_run))
            .map(|(key, _)| Arc::clone(key))
            .collect();
        drop(objects);
        for key in owned {
            let name = key.split_once('/').map_or(&*key, |(_, name)| name);
            // Not there any more is as good as deleted.
            let _ = self.delete(pods, namespace, name, &Value::Null, false);
        }
    }

    /// As the namespace controller: everything in it is deleted, and then it goes itself.
    fn delete_namespace(
        &mut self,
        resource: &'static Resource,
        name: &str,
        mut object: Value,
    ) -> Deletion {
        if !is_deleting(&object) {
            object["metadata"]["deletionTimestamp"] = self.now().into();
            object["status"] = json!({"phase": "Terminating"});
            object = self.commit(resource, name, object);
        }
        for resource in RESOURCES.iter().filter(|resource| resource.namespaced) {
            let objects = self.objects(resource);
            let names: Vec<String> = in_namespace(&objects, resource, Some(name), "")
                .filter_map(|(key, _)| Some(key.split_once('/')?.1.to_owned()))
                .collect();
            drop(objects);
            for object in names {
                // Not there any more is as good as deleted.
                let _ = self.delete(resource, name, &object, &Value::Null, false);
            }
        }
        self.end_namespace(name);
        match self.get(resource, "", name) {
            Some(object) => Deletion::Held(object),
            None => Deletion::Gone(object),
        }
    }

    /// A namespace that is being deleted goes when nothing is left in it.
    fn end_namespace(&mut self, name: &str) {
        let Some(namespaces) = Resource::named("namespaces") else {
            return;
        };
        let is_empty = |resource: &Resource| {
            in_namespace(&self.objects(resource), resource, Some(name), "")
                .next()
                .is_none()
        };
        let is_over = self
            .get(namespaces, "", name)
            .is_some_and(|namespace| is_deleting(&namespace))
            && RESOURCES
                .iter()
                .filter(|resource| resource.namespaced)
                .all(is_empty);
        if is_over {
            self.take_away(namespaces, &namespaces.key("", name));
        }
    }

    /// Creates or replaces an object as the library's user gives it.
    pub(crate) fn put(&mut self, resource: &'static Resource, mut object: Value) {
        let key = own_key(resource, &mut object);
        let before = self.stored(resource, &key).map(|s| s.value(resource));
        let metadata = metadata_mut(&mut object);
        for field in ["uid", "creationTimestamp"] {
            if metadata.get(field).is_none_or(Value::is_null) {
                let value = match &before {
                    Some(before) => before["metadata"][field].clone(),
                    None if field == "uid" => self.random.uid().into(),
                    None => self.now().into(),
                };
                metadata.insert(field.to_owned(), value);
            }
        }
        if before.is_some_and(|before| released(&before, &object)) {
            self.take_away(resource, &key);
        } else {
            self.commit(resource, &key, object);
        }
    }

    /// Stores an object exactly as recorded, its resourceVersion too. Unchanged objects are no change to watchers.
    pub(crate) fn put_recorded(&mut self, resource: &'static Resource, mut object: Value) {
        let key = own_key(resource, &mut object);
        let recorded = Stored::new(object.clone());
        if self
            .stored(resource, &key)
            .is_some_and(|s| s.json == recorded.json)
        {
            return;
        }
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok());
        // Watchers count by the cluster's own counter, which must rise at each change.
        self.version = version.unwrap_or(0).max(self.version + 1);
        self.insert(resource, &key, object);
    }

    /// Removes an object at once, whatever its finalizers.
    pub(crate) fn remove_now(&mut self, resource: &'static Resource, namespace: &str, name: &str) {
        self.take_away(resource, &resource.key(namespace, name));
    }

    /// POST: the server owns uid, creationTimestamp, resourceVersion and generation, and the status where it is a subresource.
    pub(crate) fn create(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        mut object: Value,
        dry: bool,
    ) -> Result<Value, Failure> {
        check_names(resource, namespace, None, &mut object)?;
        let uid = self.random.uid();
        let suffix = self.random.suffix(5);
        let metadata = metadata_mut(&mut object);
        let given = metadata.get("name").and_then(Value::as_str).unwrap_or("");
        let prefix = metadata.get("generateName").and_then(Value::as_str);
        let name = match (given, prefix) {
            ("", Some(prefix)) if !prefix.is_empty() => format!("{prefix}{suffix}"),
            ("", _) => {
                return Err(Failure::invalid(format!(
                    "{}.{} \"\" is invalid: metadata.name: Required value: name or generateName is required",
                    resource.kind, resource.group
                )));
            }
            (name, _) => name.to_owned(),
        };
        metadata.insert("name".to_owned(), name.clone().into());
        metadata.insert("uid".to_owned(), uid.into());
        metadata.insert("creationTimestamp".to_owned(), self.now().into());
        for field in ["resourceVersion", "generation", "deletionTimestamp"] {
            metadata.remove(field);
        }
        if resource.custom {
            metadata.insert("generation".to_owned(), 1.into());
        }
        if resource.status
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
            if resource.plural == "pods" {
                fields.insert("status".to_owned(), json!({ "phase": "Pending" }));
            }
        }
        let key = resource.key(namespace, &name);
        if self.stored(resource, &key).is_some() {
            return Err(Failure::already_exists(resource, &name));
        }
        Ok(if dry {
            object
        } else {
            self.commit(resource, &key, object)
        })
    }

    /// PUT, and the second half of PATCH: the object becomes `body`, if its resourceVersion and uid, where given, are the present ones.
    pub(crate) fn replace(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        part: Part,
        mut body: Value,
        dry: bool,
    ) -> Result<Value, Failure> {
        check_names(resource, namespace, Some(name), &mut body)?;
        let key = resource.key(namespace, name);
        let Some(before) = self.stored(resource, &key).map(|s| s.value(resource)) else {
            return Err(Failure::not_found(resource, name));
        };
        check_preconditions(resource, name, &before, &body["metadata"])?;
        let after = match part {
            Part::Status => with_field_of(before.clone(), "status", &body),
            Part::Main => {
                let mut after = if resource.status {
                    with_field_of(body, "status", &before)
                } else {
                    body
                };
                check_finalizers(resource, name, &before, &after)?;
                keep_server_fields(&mut after, &before);
                if resource.custom && after.get("spec") != before.get("spec") {
                    let generation = before["metadata"]["generation"].as_u64().unwrap_or(0);
                    after["metadata"]["generation"] = (generation + 1).into();
                }
                after
            }
        };
        // As the real server: what changes nothing is not a change.
        if dry || after == before {
            return Ok(after);
        }
        if released(&before, &after) {
            self.take_away(resource, &key);
            return Ok(after);
        }
        Ok(self.commit(resource, &key, after))
    }

    /// DELETE; `preconditions` may hold the uid and resourceVersion that the object must have.
    pub(crate) fn delete(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        preconditions: &Value,
        dry: bool,
    ) -> Result<Deletion, Failure> {
        let key = resource.key(namespace, name);
        let Some(mut object) = self.stored(resource, &key).map(|s| s.value(resource)) else {
            return Err(Failure::not_found(resource, name));
        };
        check_preconditions(resource, name, &object, preconditions)?;
        if resource.plural == "namespaces" && !dry {
            return Ok(self.delete_namespace(resource, name, object));
        }
        if !has_finalizers(&object) {
            if !dry {
                self.take_away(resource, &key);
            }
            return Ok(Deletion::Gone(object));
        }
        if is_deleting(&object) {
            return Ok(Deletion::Held(object));
        }
        object["metadata"]["deletionTimestamp"] = self.now().into();
        object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        Ok(Deletion::Held(if dry {
            object
        } else {
            self.commit(resource, &key, object)
        }))
    }
}

/// The objects of one namespace (or all), from the key `prefix + start` on.
pub(crate) fn in_namespace<'a>(
    objects: &'a Objects,
    resource: &Resource,
    namespace: Option<&str>,
    start: &str,
) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Stored>)> {
    let prefix = list_prefix(resource, namespace);
    let from = format!("{prefix}{start}");
    objects
        .range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(&prefix))
}

/// What all keys of a list begin with.
pub(crate) fn list_prefix(resource: &Resource, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if resource.namespaced => format!("{namespace}/"),
        _ => String::new(),
    }
}

/// The object's metadata, made if it is not there.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    match metadata {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}
