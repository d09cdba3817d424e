//! The pods of TestRuns (FACTS 17 and 19): only the fields that are used.

use jiff::Timestamp;
use serde::Deserialize;

use super::list::{Listed, Metadata, Resource};
use super::{Cluster, ClusterError, Namespaces};

/// A pod that bears the label `k6_cr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.creationTimestamp`
    pub created_at: Timestamp,
    /// Label `k6_cr`: the TestRun's name.
    pub test_run: String,
    /// Which of the TestRun's Jobs made it.
    pub job: Job,
    /// `status.phase` is `Succeeded` or `Failed`: nothing in it runs any more.
    pub ended: bool,
    /// `metadata.deletionTimestamp` is set: it may be gone at any moment.
    pub deleting: bool,
    /// `status.reason`, such as `Evicted`.
    pub reason: Option<String>,
    /// `status.message`
    pub message: Option<String>,
    /// The scheduler's words, while it finds no node.
    pub unschedulable: Option<String>,
    /// All containers that the kubelet reports: init, main, sidecars, ephemeral.
    pub containers: Vec<Container>,
}

/// The Jobs of a TestRun (FACT 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// `<run>-initializer`
    Initializer,
    /// `<run>-starter`
    Starter,
    /// `<run>-1` …
    Runner,
    /// None of them.
    Unknown,
}

/// A container, by its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ContainerKind,
    /// How often it has been restarted.
    pub restart_count: i64,
    /// The kubelet may restart it at any moment. (Those of k6-operator's own are never restarted, FACT 17.)
    pub restartable: bool,
    /// Its state now.
    pub state: ContainerState,
    /// How the life before this one ended; of a waiting container, the latest life.
    pub last: Option<Terminated>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// The one that does the Job's work: `k6`, or `k6-curl` in a starter.
    Main,
    /// Any other: init, sidecar, ephemeral.
    Other,
}

/// `state` of a container status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
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
pub struct Terminated {
    /// Exit code.
    pub exit_code: i64,
    /// Such as `OOMKilled`, `Error`, `Completed`.
    pub reason: Option<String>,
    /// The kubelet's words.
    pub message: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
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
    pub async fn pods(&self, namespaces: &Namespaces) -> Result<Listed<Pod>, ClusterError> {
        let resource = Resource {
            group: "",
            prefix: "/api/v1",
            plural: "pods",
            label_selector: Some("k6_cr"),
        };
        self.list(&resource, namespaces, pod).await
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
    started_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTerminated {
    exit_code: i64,
    reason: Option<String>,
    message: Option<String>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

fn pod(raw: Raw) -> Result<Pod, String> {
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
    let is_runner = labels.get("runner").is_some_and(|value| value == "true");
    let job = match is_runner {
        true => Job::Runner,
        false => job_by_name(&metadata.name, &test_run),
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
        .map(|condition| condition.message.unwrap_or_default());
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
    Ok(Pod {
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
        reason: status.reason,
        message: status.message,
        unschedulable,
    })
}

/// Jobs but the runners' have no label of their own (FACT 17).
fn job_by_name(pod: &str, test_run: &str) -> Job {
    let suffix = pod
        .strip_prefix(test_run)
        .and_then(|rest| rest.strip_prefix('-'))
        .unwrap_or_default();
    match suffix.split('-').next() {
        Some("initializer") => Job::Initializer,
        Some("starter") => Job::Starter,
        Some(number) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            Job::Runner
        }
        _ => Job::Unknown,
    }
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
            ContainerState::Waiting { reason, message }
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
            reason: raw.reason,
            message: raw.message,
            started_at: raw.started_at,
            finished_at: raw.finished_at,
        }
    }
}
