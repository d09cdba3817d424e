//! `/api`, `/apis`, `/version`: just enough for clients that look around before they ask.

use serde_json::{Value, json};

use crate::resources::{RESOURCES, Resource};

/// Answers a discovery path; None where nothing is served. `crd`: whether the TestRun CRD is installed.
pub(crate) fn answer(path: &str, crd: bool) -> Option<Value> {
    let served = || RESOURCES.iter().filter(|r| crd || !r.custom);
    let path: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match *path.as_slice() {
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["api", version] => resources(served().filter(|r| r.group.is_empty()), version),
        ["apis"] => {
            let mut groups: Vec<&Resource> = Vec::new();
            for resource in served().filter(|r| !r.group.is_empty()) {
                if groups.iter().all(|known| known.group != resource.group) {
                    groups.push(resource);
                }
            }
            let groups: Vec<Value> = groups.into_iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", name] => {
            let found = served().find(|r| !r.group.is_empty() && r.group == name)?;
            let mut answer = group(found);
            answer["kind"] = "APIGroup".into();
            answer["apiVersion"] = "v1".into();
            Some(answer)
        }
        ["apis", name, version] => resources(
            served().filter(|r| !r.group.is_empty() && r.group == name),
            version,
        ),
        _ => None,
    }
}

fn group(resource: &Resource) -> Value {
    let version = json!({ "groupVersion": resource.api_version(), "version": resource.version });
    json!({ "name": resource.group, "versions": [version], "preferredVersion": version })
}

fn resources<'a>(served: impl Iterator<Item = &'a Resource>, version: &str) -> Option<Value> {
    let served: Vec<&Resource> = served.filter(|r| r.version == version).collect();
    let group_version = served.first()?.api_version();
    let mut list = Vec::new();
    for resource in served {
        list.push(json!({
            "name": resource.plural, "singularName": resource.kind.to_lowercase(), "kind": resource.kind,
            "namespaced": resource.namespaced,
            "verbs": if resource.stored {
                json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
            } else {
                json!(["create"])
            },
        }));
        let mut part = |name: &str, verbs: Value| {
            list.push(json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "kind": resource.kind,
                "namespaced": resource.namespaced, "verbs": verbs,
            }));
        };
        if resource.status {
            part("status", json!(["get", "patch", "update"]));
        }
        if resource.plural == "pods" {
            part("log", json!(["get"]));
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    }))
}

/// `/version`: what clients of a recent cluster see.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0-standin", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "standin",
    })
}
