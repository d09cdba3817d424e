//! Recordings: LIST answers and logs of a real cluster at several moments, played back.
//!
//! [`read`] does the file work, [`apply`] makes the state that of the recording; [`crate::Cluster::load_recording`] joins them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::resources::Resource;
use crate::state::{State, in_namespace};

/// One moment of a recording.
#[derive(Debug)]
pub(crate) struct Moment {
    lists: Vec<(&'static Resource, Value)>,
    /// `POD.CONTAINER` and the answer that was recorded with `timestamps=true`.
    logs: Vec<(String, String, Vec<u8>)>,
}

/// Reads `dir/moment`.
pub(crate) fn read(dir: &Path, moment: &str) -> Result<Moment> {
    let plain = !moment.is_empty()
        && moment
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    ensure!(plain, "\"{moment}\" is no name of a moment, such as t1");
    let dir = dir.join(moment);
    let list = |plural: &str| -> Result<(&'static Resource, Value)> {
        let path = dir.join(format!("{plural}.json"));
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let list: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        ensure!(
            list["items"].is_array(),
            "{} is not a LIST answer: it has no items",
            path.display()
        );
        let resource = Resource::named(plural).context("not a served resource")?;
        Ok((resource, list))
    };
    Ok(Moment {
        lists: vec![list("testruns")?, list("pods")?],
        logs: read_logs(&dir.join("logs"))?,
    })
}

fn read_logs(dir: &Path) -> Result<Vec<(String, String, Vec<u8>)>> {
    let mut logs = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", dir.display()))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Pod names may have dots, container names may not.
        let Some((pod, container)) = name
            .strip_suffix(".log")
            .and_then(|name| name.rsplit_once('.'))
        else {
            continue;
        };
        let (pod, container) = (pod.to_owned(), container.to_owned());
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        logs.push((pod, container, text));
    }
    Ok(logs)
}

fn namespace_and_name(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
    (text("namespace"), text("name"))
}

/// The resourceVersion of an object or a list.
fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes the TestRuns, pods and logs of the moment's namespaces exactly those of the moment.
pub(crate) fn apply(state: &mut State, moment: Moment) {
    let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
    let namespaces: BTreeSet<String> = moment
        .lists
        .iter()
        .flat_map(|(_, list)| items(list))
        .map(|item| namespace_and_name(&item).0)
        .collect();
    let mut wanted = Vec::new();
    for (resource, list) in &moment.lists {
        let recorded = items(list);
        let names: BTreeSet<_> = recorded.iter().map(namespace_and_name).collect();
        for namespace in &namespaces {
            let present = state.objects(resource);
            for (key, _) in in_namespace(&present, resource, Some(namespace), "") {
                let name = key.split_once('/').map_or(&**key, |(_, name)| name);
                if !names.contains(&(namespace.clone(), name.to_owned())) {
                    state.remove_now(resource, namespace, name);
                }
            }
        }
        wanted.extend(recorded.into_iter().map(|item| (*resource, item)));
    }
    // In the order in which they changed, so that watches tell the story as it was.
    wanted.sort_by_key(|(_, item)| version(item));
    for (resource, item) in wanted {
        state.put_recorded(resource, item);
    }
    for (_, list) in &moment.lists {
        state.raise_version(version(list));
    }
    let pods: Vec<_> = moment
        .lists
        .iter()
        .filter(|(resource, _)| resource.plural == "pods")
        .flat_map(|(_, list)| items(list))
        .map(|pod| namespace_and_name(&pod))
        .collect();
    for (pod, container, text) in moment.logs {
        let namespace = pods.iter().find(|(_, name)| *name == pod);
        if let Some((namespace, pod)) = namespace {
            let log = state.logs.open(namespace, pod, &container);
            log.load_timestamped(&text);
        }
    }
}
