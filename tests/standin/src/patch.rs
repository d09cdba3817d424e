//! PATCH: how each kind of patch changes an object. Pure; conditions and storage are in [`crate::state`].

use serde_json::Value;

use crate::resources::Resource;
use crate::state::metadata_mut;
use crate::status::Failure;

/// The kinds of patch, by their media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Merge,
    Json,
    /// Server-side apply, treated as a merge that creates what is missing.
    Apply,
}

impl PatchKind {
    /// Reads the content type. Custom resources take no strategic patch, as on a real server.
    pub(crate) fn of(content_type: &str, resource: &Resource) -> Result<Self, Failure> {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        match media_type {
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if !resource.custom => Ok(Self::Merge),
            "application/json-patch+json" => Ok(Self::Json),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(Failure::unsupported_media_type(if resource.custom {
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            } else {
                "application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml"
            })),
        }
    }
}

/// The patched object. Its `metadata.resourceVersion` and `uid` are those that the patch asks for, or empty: no condition.
pub(crate) fn apply(kind: PatchKind, present: &Value, patch: &Value) -> Result<Value, Failure> {
    let mut object = present.clone();
    match kind {
        PatchKind::Merge | PatchKind::Apply => {
            merge(&mut object, patch);
            let metadata = metadata_mut(&mut object);
            for field in ["resourceVersion", "uid"] {
                let asked = patch["metadata"][field].as_str().unwrap_or("");
                metadata.insert(field.to_owned(), asked.into());
            }
        }
        PatchKind::Json => {
            let operations = patch.as_array().ok_or_else(|| {
                Failure::bad_request(
                    "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
                )
            })?;
            for operation in operations {
                operate(&mut object, operation).ok_or_else(|| {
                    Failure::invalid(
                        "the server rejected our request due to an error in our request",
                    )
                })?;
            }
        }
    }
    Ok(object)
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// One operation of RFC 6902 (test, add, replace, remove); None when it fails.
fn operate(object: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    let value = operation.get("value").cloned();
    match operation["op"].as_str()? {
        "test" => {
            let found = object.pointer(path).cloned().unwrap_or(Value::Null);
            (found == value.unwrap_or(Value::Null)).then_some(())
        }
        "add" => add(object, path, value?),
        "replace" => {
            *object.pointer_mut(path)? = value?;
            Some(())
        }
        "remove" => remove(object, path),
        _ => None,
    }
}

/// A path's parent and its last step, unescaped.
fn split<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    let last = last.replace("~1", "/").replace("~0", "~");
    Some((object.pointer_mut(parent)?, last))
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match split(object, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => {
            let index: usize = key.parse().ok().filter(|i| *i <= list.len())?;
            list.insert(index, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<()> {
    match split(object, path)? {
        (Value::Object(map), key) => map.remove(&key).map(drop),
        (Value::Array(list), key) => {
            let index: usize = key.parse().ok().filter(|i| *i < list.len())?;
            list.remove(index);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{PatchKind, apply};
    use crate::resources::Resource;

    fn object() -> Value {
        json!({ "metadata": { "name": "x", "resourceVersion": "5", "uid": "u", "finalizers": ["a", "b"] },
                "data": { "enabled": "true", "other": "1" } })
    }

    #[test]
    fn a_merge_patch_sets_removes_and_asks() {
        let patch = json!({ "data": { "enabled": "false", "other": null } });
        let after = apply(PatchKind::Merge, &object(), &patch).expect("patched");
        assert_eq!(after["data"], json!({ "enabled": "false" }));
        assert_eq!(after["metadata"]["resourceVersion"], "", "no condition");
        let patch = json!({ "metadata": { "resourceVersion": "4" } });
        let after = apply(PatchKind::Merge, &object(), &patch).expect("patched");
        assert_eq!(after["metadata"]["resourceVersion"], "4");
    }

    #[test]
    fn json_patches_test_and_change() {
        let good = json!([
            { "op": "test", "path": "/metadata/uid", "value": "u" },
            { "op": "remove", "path": "/metadata/finalizers/0" },
            { "op": "add", "path": "/metadata/finalizers/-", "value": "c" },
            { "op": "add", "path": "/data/a~1b", "value": "2" },
            { "op": "replace", "path": "/data/other", "value": "3" },
        ]);
        let after = apply(PatchKind::Json, &object(), &good).expect("patched");
        assert_eq!(after["metadata"]["finalizers"], json!(["b", "c"]));
        assert_eq!(
            after["data"],
            json!({ "enabled": "true", "a/b": "2", "other": "3" })
        );
        for bad in [
            json!([{ "op": "test", "path": "/metadata/uid", "value": "v" }]),
            json!([{ "op": "remove", "path": "/nope" }]),
            json!([{ "op": "replace", "path": "/nope", "value": 1 }]),
            json!([{ "op": "fly", "path": "/data" }]),
        ] {
            let failure = apply(PatchKind::Json, &object(), &bad).expect_err("refused");
            assert_eq!(failure.code, 422, "{bad}");
        }
    }

    #[test]
    fn custom_resources_take_no_strategic_patch() {
        let of = |plural, media| PatchKind::of(media, Resource::named(plural).expect("served"));
        let strategic = "application/strategic-merge-patch+json; charset=utf-8";
        assert_eq!(of("configmaps", strategic), Ok(PatchKind::Merge));
        assert_eq!(of("testruns", strategic).expect_err("refused").code, 415);
    }
}
