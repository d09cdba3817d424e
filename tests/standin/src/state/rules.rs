//! What the API server checks of an object, and what it keeps of it, whatever the request says.

use serde_json::Value;

use super::metadata_mut;
use crate::resources::Resource;
use crate::status::Failure;

fn finalizers(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    !finalizers(object).is_empty()
}

pub(super) fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The last finalizer of a deleted object has just gone.
pub(super) fn released(before: &Value, after: &Value) -> bool {
    is_deleting(after) && has_finalizers(before) && !has_finalizers(after)
}

/// The key of an object that says itself where it belongs.
pub(super) fn own_key(resource: &Resource, object: &mut Value) -> String {
    let metadata = metadata_mut(object);
    let text = |field: &str, or: &str| {
        let given = metadata.get(field).and_then(Value::as_str);
        given.unwrap_or(or).to_owned()
    };
    let (namespace, name) = (text("namespace", "default"), text("name", ""));
    if resource.namespaced {
        metadata.insert("namespace".to_owned(), namespace.clone().into());
    }
    resource.key(&namespace, &name)
}

/// The body's name and namespace must be those of the path; missing ones are filled in.
pub(super) fn check_names(
    resource: &Resource,
    namespace: &str,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), Failure> {
    if !object.is_object() {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            resource.kind
        )));
    }
    let (kind, api_version) = (object["kind"].as_str(), object["apiVersion"].as_str());
    let expected = resource.api_version();
    if kind.is_some_and(|k| k != resource.kind) || api_version.is_some_and(|v| v != expected) {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            resource.kind
        )));
    }
    object["kind"] = resource.kind.into();
    object["apiVersion"] = expected.into();
    let metadata = metadata_mut(object);
    if resource.namespaced {
        let given = metadata.get("namespace").and_then(Value::as_str);
        if given.is_some_and(|g| !g.is_empty() && g != namespace) {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    let Some(name) = name else { return Ok(()) };
    let given = metadata.get("name").and_then(Value::as_str).unwrap_or("");
    if !given.is_empty() && given != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    metadata.insert("name".to_owned(), name.into());
    Ok(())
}

/// `wanted` may hold a resourceVersion and a uid; what is absent or empty is no condition.
pub(super) fn check_preconditions(
    resource: &Resource,
    name: &str,
    present: &Value,
    wanted: &Value,
) -> Result<(), Failure> {
    let wish = |field: &str| wanted[field].as_str().filter(|w| !w.is_empty());
    let found = |field: &str| present["metadata"][field].as_str().unwrap_or("");
    if let Some(uid) = wish("uid").filter(|uid| *uid != found("uid")) {
        return Err(Failure::other_uid(resource, name, uid, found("uid")));
    }
    if wish("resourceVersion").is_some_and(|v| v != found("resourceVersion")) {
        return Err(Failure::conflict(resource, name));
    }
    Ok(())
}

/// An object that is being deleted takes no new finalizers.
pub(super) fn check_finalizers(
    resource: &Resource,
    name: &str,
    before: &Value,
    after: &Value,
) -> Result<(), Failure> {
    if !is_deleting(before) {
        return Ok(());
    }
    let (old, new) = (finalizers(before), finalizers(after));
    let added: Vec<&str> = new.into_iter().filter(|f| !old.contains(f)).collect();
    if added.is_empty() {
        Ok(())
    } else {
        Err(Failure::late_finalizers(resource, name, &added))
    }
}

pub(super) fn with_field_of(mut object: Value, field: &str, other: &Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        match other.get(field) {
            Some(value) => fields.insert(field.to_owned(), value.clone()),
            None => fields.remove(field),
        };
    }
    object
}

/// What no client may change.
pub(super) fn keep_server_fields(after: &mut Value, before: &Value) {
    let metadata = metadata_mut(after);
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
    ] {
        match before["metadata"].get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}
