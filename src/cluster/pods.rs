//! The pods of TestRuns (docs/facts.md, "Names and labels of pods", "A stuck pod leaves the stage as it is"): only the
//! fields that are used.
//!
//! Anybody who may create pods can give one the label `k6_cr`. A pod belongs to a TestRun only if its controller is a Job of
//! that TestRun, by the Job's name. Others are left out here, and no caller ever sees them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::harmless;

use super::list::{Item, Listed, Metadata, OwnerReference};
use super::request::Resource;
use super::{Cluster, ClusterError, Namespaces, time};

/// A pod that a Job of a TestRun controls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.namespace`
    pub(crate) namespace: String,
    /// `metadata.name`
    pub(crate) name: String,
    /// `metadata.uid`
    pub(crate) uid: String,
    /// `metadata.creationTimestamp`
    pub(crate) created_at: Timestamp,
    /// Label `k6_cr`: the TestRun's name.
    pub(crate) test_run: String,
    /// Which of the TestRun's Jobs made it.
    pub(crate) job: Job,
    /// `status.phase` is `Succeeded` or `Failed`: nothing in it runs any more.
    pub(crate) ended: bool,
    /// `metadata.deletionTimestamp` is set: it may be gone at any moment.
    pub(crate) deleting: bool,
    /// `status.reason`, such as `Evicted`. Reasons and messages are [`harmless::line`]s.
    pub(crate) reason: Option<String>,
    /// `status.message`
    pub(crate) message: Option<String>,
    /// The scheduler's words, while it finds no node.
    pub(crate) unschedulable: Option<String>,
    /// All containers that the kubelet reports: init, main, sidecars, ephemeral.
    pub(crate) containers: Vec<Container>,
}

/// The Jobs of a TestRun (docs/facts.md, "Names and labels of pods").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// `<run>-initializer`
    Initializer,
    /// `<run>-starter`
    Starter,
    /// `<run>-1` …
    Runner,
}

impl Job {
    /// Which of the TestRun's Jobs has this name; `None`: it is no Job of that TestRun.
    ///
    /// The pod's own name does not show it: a long one is cut. One run's name may look like another's Job (`x-1` and `x`), but
    /// no two runs have a Job's name in common.
    fn named(job: &str, test_run: &str) -> Option<Self> {
        match job.strip_prefix(test_run)?.strip_prefix('-')? {
            "initializer" => Some(Self::Initializer),
            "starter" => Some(Self::Starter),
            number => {
                let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
                (is_number && !number.is_empty() && !number.starts_with('0'))
                    .then_some(Self::Runner)
            }
        }
    }

    /// The Job that controls an object with these owners, if it is one of the TestRun's.
    ///
    /// Without the right to read Jobs we can't see whether that Job exists and is the TestRun's. But while k6-operator's own
    /// Jobs exist, no other can have their names.
    fn controlling(owners: &[OwnerReference], test_run: &str) -> Option<Self> {
        let controller = owners.iter().find(|owner| owner.controller)?;
        match (controller.api_version.as_str(), controller.kind.as_str()) {
            ("batch/v1", "Job") => Self::named(&controller.name, test_run),
            _ => None,
        }
    }
}

/// A container, by its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) name: String,
    /// What it is for.
    pub(crate) kind: ContainerKind,
    /// How often it has been restarted.
    pub(crate) restart_count: i64,
    /// The kubelet may restart it at any moment. (k6-operator's own are never restarted, docs/facts.md,
    /// "Names and labels of pods".)
    pub(crate) restartable: bool,
    /// Its state now.
    pub(crate) state: ContainerState,
    /// How the life before this one ended; for a waiting container, the latest life.
    pub(crate) last: Option<Terminated>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerKind {
    /// The one that does the Job's work: `k6`, or `k6-curl` in a starter.
    Main,
    /// Any other: init, sidecar, ephemeral.
    Other,
}

/// `state` of a container status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Not running yet, or not again.
    Waiting {
        /// Such as `ImagePullBackOff`.
        reason: Option<String>,
        /// The kubelet's words.
        message: Option<String>,
    },
    /// Running.
    Running {
        /// Since when.
        started_at: Option<Timestamp>,
    },
    /// Ended.
    Terminated(Terminated),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terminated {
    /// Exit code.
    pub(crate) exit_code: i64,
    /// Such as `OOMKilled`, `Error`, `Completed`.
    pub(crate) reason: Option<String>,
    /// The kubelet's words.
    pub(crate) message: Option<String>,
    /// When it started.
    pub(crate) started_at: Option<Timestamp>,
    /// When it ended.
    pub(crate) finished_at: Option<Timestamp>,
}

impl Pod {
    /// The pods in the answer to a LIST.
    ///
    /// # Errors
    /// The answer is no list; objects that can't be understood are [`Listed::malformed`].
    pub fn of_list(answer: &[u8]) -> Result<Listed<Self>, serde_json::Error> {
        Listed::page(answer, &pod).map(|(listed, _)| listed)
    }
}

impl Cluster {
    /// The pods of all TestRuns in `namespaces`.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub(crate) async fn pods(&self, namespaces: &Namespaces) -> Result<Listed<Pod>, ClusterError> {
        let listed = self
            .list(Resource::core("pods"), Some("k6_cr"), namespaces, pod)
            .await?;
        if listed.foreign > 0 {
            tracing::debug!(
                pods = listed.foreign,
                "pods bear the label k6_cr, but no Job of that TestRun controls them: they are left alone"
            );
        }
        Ok(listed)
    }
}

impl Item for Pod {
    fn test_run(metadata: &Value) -> Option<&str> {
        metadata["labels"]["k6_cr"].as_str()
    }

    /// Where the owners can't be read it may be the TestRun's, and is reported.
    fn is_foreign(metadata: &Value) -> bool {
        let owners = Option::<Vec<OwnerReference>>::deserialize(&metadata["ownerReferences"]);
        match (Self::test_run(metadata), owners) {
            (Some(test_run), Ok(owners)) => {
                Job::controlling(&owners.unwrap_or_default(), test_run).is_none()
            }
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    restart_policy: Option<String>,
    init_containers: Option<Vec<RawInitContainer>>,
}

/// An init container with a restart policy of its own is a sidecar.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawInitContainer {
    name: String,
    restart_policy: Option<String>,
}

impl RawSpec {
    fn may_restart(&self, container: &str) -> bool {
        let own = self
            .init_containers
            .iter()
            .flatten()
            .find(|init| init.name == container)
            .and_then(|init| init.restart_policy.as_deref());
        // Never a missing one: API servers fill it in.
        own.or(self.restart_policy.as_deref())
            .is_some_and(|policy| policy != "Never")
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    conditions: Option<Vec<RawCondition>>,
    init_container_statuses: Option<Vec<RawContainer>>,
    container_statuses: Option<Vec<RawContainer>>,
    ephemeral_container_statuses: Option<Vec<RawContainer>>,
}

#[derive(Deserialize)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    name: String,
    #[serde(default)]
    restart_count: i64,
    #[serde(default)]
    state: RawState,
    #[serde(default)]
    last_state: RawState,
}

#[derive(Default, Deserialize)]
struct RawState {
    waiting: Option<RawWaiting>,
    running: Option<RawRunning>,
    terminated: Option<RawTerminated>,
}

#[derive(Default, Deserialize)]
struct RawWaiting {
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRunning {
    #[serde(default, deserialize_with = "time::optional")]
    started_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTerminated {
    exit_code: i64,
    reason: Option<String>,
    message: Option<String>,
    #[serde(default, deserialize_with = "time::optional")]
    started_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "time::optional")]
    finished_at: Option<Timestamp>,
}

/// `None`: it is no TestRun's.
fn pod(raw: Raw) -> Result<Option<Pod>, String> {
    let Raw {
        metadata,
        spec,
        status,
    } = raw;
    let labels = metadata.labels.unwrap_or_default();
    let test_run = labels
        .get("k6_cr")
        .ok_or("metadata.labels: k6_cr is missing")?
        .clone();
    let owners = metadata.owner_references.unwrap_or_default();
    let Some(job) = Job::controlling(&owners, &test_run) else {
        return Ok(None);
    };
    let unschedulable = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .find(|condition| {
            condition.kind == "PodScheduled"
                && condition.status == "False"
                && condition.reason.as_deref() == Some("Unschedulable")
        })
        .map(|condition| harmless::line(condition.message.unwrap_or_default()));
    let main = status.container_statuses.unwrap_or_default();
    let alone = main.len() == 1;
    let kind = |container: &RawContainer| match alone
        || matches!(container.name.as_str(), "k6" | "k6-curl")
    {
        true => ContainerKind::Main,
        false => ContainerKind::Other,
    };
    let others = |containers: Option<Vec<RawContainer>>| {
        containers
            .unwrap_or_default()
            .into_iter()
            .map(|raw| container(raw, ContainerKind::Other, &spec))
    };
    Ok(Some(Pod {
        containers: others(status.init_container_statuses)
            .chain(main.into_iter().map(|raw| {
                let kind = kind(&raw);
                container(raw, kind, &spec)
            }))
            .chain(others(status.ephemeral_container_statuses))
            .collect(),
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        created_at: metadata.creation_timestamp,
        test_run,
        job,
        deleting: metadata.deletion_timestamp.is_some(),
        ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        reason: status.reason.map(harmless::line),
        message: status.message.map(harmless::line),
        unschedulable,
    }))
}

fn container(raw: RawContainer, kind: ContainerKind, spec: &RawSpec) -> Container {
    let state = match raw.state {
        RawState {
            terminated: Some(terminated),
            ..
        } => ContainerState::Terminated(terminated.into()),
        RawState {
            running: Some(running),
            ..
        } => ContainerState::Running {
            started_at: running.started_at,
        },
        RawState { waiting, .. } => {
            let RawWaiting { reason, message } = waiting.unwrap_or_default();
            ContainerState::Waiting {
                reason: reason.map(harmless::line),
                message: message.map(harmless::line),
            }
        }
    };
    Container {
        restartable: spec.may_restart(&raw.name),
        name: raw.name,
        kind,
        restart_count: raw.restart_count,
        state,
        last: raw.last_state.terminated.map(Terminated::from),
    }
}

impl From<RawTerminated> for Terminated {
    fn from(raw: RawTerminated) -> Self {
        Self {
            exit_code: raw.exit_code,
            reason: raw.reason.map(harmless::line),
            message: raw.message.map(harmless::line),
            started_at: raw.started_at,
            finished_at: raw.finished_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_of_a_test_run_is_told_by_its_whole_name() {
        for (job, test_run, expected) in [
            ("shop-initializer", "shop", Some(Job::Initializer)),
            ("shop-starter", "shop", Some(Job::Starter)),
            ("shop-1", "shop", Some(Job::Runner)),
            ("shop-120", "shop", Some(Job::Runner)),
            // Runs whose names look like Jobs of each other.
            ("x-1", "x-1", None),
            ("x-1", "x", Some(Job::Runner)),
            ("x-1-1", "x", None),
            ("x-1-1", "x-1", Some(Job::Runner)),
            ("x-1-initializer", "x", None),
            ("x-1-initializer", "x-1", Some(Job::Initializer)),
            ("x-initializer-starter", "x", None),
            ("x-initializer-starter", "x-initializer", Some(Job::Starter)),
            ("shop", "shop", None),
            ("shop-", "shop", None),
            ("shop-0", "shop", None),
            ("shop-01", "shop", None),
            ("shop-1a", "shop", None),
            ("shop--1", "shop", None),
            ("shop-١", "shop", None),
            ("shop-stopper", "shop", None),
            ("other-1", "shop", None),
            ("shop-initializer-1", "shop", None),
        ] {
            assert_eq!(Job::named(job, test_run), expected, "{job} of {test_run}");
        }
    }

    fn list(owners: &Value, status: &Value) -> Listed<Pod> {
        let list = json!({"items": [{
            "metadata": {
                "name": "shop-1-abcde", "namespace": "k6", "uid": "1", "creationTimestamp": "2026-11-23T04:39:43Z",
                "labels": {"k6_cr": "shop", "runner": "true"}, "ownerReferences": owners,
            },
            "status": status,
        }]});
        Pod::of_list(list.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_pods_that_a_job_controls_are_taken() {
        let owner = |api_version: &str, kind: &str, name: &str, controller: bool| json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "2", "controller": controller});
        let job = owner("batch/v1", "Job", "shop-1", true);
        let foreign = owner("batch/v1", "Job", "evil-1", true);
        let mut silent = job.clone();
        silent.as_object_mut().unwrap().remove("controller");
        for (owners, is_taken) in [
            (json!([job]), true),
            (json!([owner("v1", "ConfigMap", "notes", false), job]), true),
            (Value::Null, false),
            (json!([]), false),
            (json!([silent]), false),
            (json!([foreign]), false),
            (
                json!([foreign, owner("batch/v1", "Job", "shop-1", false)]),
                false,
            ),
            (json!([owner("batch/v1", "Job", "shop-1", false)]), false),
            (
                json!([owner("apps/v1", "ReplicaSet", "shop-1", true)]),
                false,
            ),
            (json!([owner("evil.io/v1", "Job", "shop-1", true)]), false),
            (
                json!([owner("k6.io/v1alpha1", "TestRun", "shop", true)]),
                false,
            ),
        ] {
            let listed = list(&owners, &json!({"phase": "Running"}));
            assert_eq!(listed.items.len(), usize::from(is_taken), "{owners}");
            assert_eq!(listed.foreign, usize::from(!is_taken), "{owners}");
            // One that can't be read is as foreign.
            let listed = list(&owners, &json!({"phase": 5}));
            assert_eq!(listed.malformed.len(), usize::from(is_taken), "{owners}");
        }
        let listed = list(&json!("nonsense"), &json!({}));
        assert_eq!(listed.malformed.len(), 1, "it may be anybody's");
    }
}
