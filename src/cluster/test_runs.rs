//! TestRuns, k6-operator's resource (docs/facts.md, "finished does not mean passed"): only the fields that are used.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::{Item, Listed, Metadata, decode_object};
use super::objects::Object;
use super::request::Resource;
use super::{Cluster, ClusterError, Namespaces};

/// The API group of TestRuns.
pub(crate) const GROUP: &str = "k6.io";
/// Its version.
pub(crate) const VERSION: &str = "v1alpha1";
/// The kind.
pub(crate) const KIND: &str = "TestRun";
/// The resource.
pub(crate) const PLURAL: &str = "testruns";

pub(super) const TEST_RUNS: Resource = Resource {
    group: GROUP,
    version: VERSION,
    name: PLURAL,
    is_namespaced: true,
};

/// A TestRun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// `metadata.namespace`
    pub(crate) namespace: String,
    /// `metadata.name`
    pub(crate) name: String,
    /// `metadata.uid`: tells a TestRun from the next of the same name (docs/facts.md, "Names recur, uids do not").
    pub(crate) uid: String,
    /// `metadata.creationTimestamp`
    pub(crate) created_at: Timestamp,
    /// `metadata.labels`
    pub(crate) labels: BTreeMap<String, String>,
    /// `spec.parallelism`: how many runners.
    pub(crate) parallelism: Option<i64>,
    /// `spec.cleanup` is `post`: k6-operator deletes it when it has ended (docs/facts.md,
    /// "cleanup: post deletes at once").
    pub(crate) cleans_up: bool,
    /// `status.stage`
    pub stage: Stage,
    /// Condition `CloudTestRunAborted` (docs/facts.md, "Cloud runs have a condition").
    pub(crate) cloud_aborted: bool,
    /// `metadata.resourceVersion`
    pub(crate) resource_version: String,
    /// `metadata.finalizers`, in their order
    pub(crate) finalizers: Vec<String>,
    /// `metadata.deletionTimestamp`: when its deletion was asked for.
    pub(crate) deletion_timestamp: Option<Timestamp>,
}

impl TestRun {
    /// The TestRuns in the answer to a LIST.
    ///
    /// # Errors
    /// The answer is no list; objects that can't be understood are [`Listed::malformed`].
    pub fn of_list(answer: &[u8]) -> Result<Listed<Self>, serde_json::Error> {
        Listed::page(answer, &any).map(|(listed, _)| listed)
    }
}

/// How far k6-operator is with a TestRun (docs/facts.md, "finished does not mean passed").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not looked at yet: the stage is empty.
    New,
    /// `initialization`
    Initialization,
    /// `initialized`
    Initialized,
    /// `created`
    Created,
    /// `started`
    Started,
    /// `stopped`
    Stopped,
    /// `finished`: all runner Jobs ended, not: they passed.
    Finished,
    /// `error`: invalid arguments, or the initializer failed.
    Error,
    /// A word of a newer k6-operator.
    Unknown(String),
}

impl Stage {
    const WORDS: [(&'static str, Self); 8] = [
        ("", Self::New),
        ("initialization", Self::Initialization),
        ("initialized", Self::Initialized),
        ("created", Self::Created),
        ("started", Self::Started),
        ("stopped", Self::Stopped),
        ("finished", Self::Finished),
        ("error", Self::Error),
    ];

    /// k6-operator is done with it.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self, Self::Finished | Self::Error)
    }

    /// k6-operator's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown(word) => word,
            known => Self::WORDS
                .iter()
                .find(|(_, stage)| stage == known)
                .map_or("", |(word, _)| word),
        }
    }
}

impl From<String> for Stage {
    fn from(word: String) -> Self {
        match Self::WORDS.into_iter().find(|(known, _)| *known == word) {
            Some((_, stage)) => stage,
            None => Self::Unknown(word),
        }
    }
}

impl Cluster {
    /// The TestRuns of `namespaces`.
    ///
    /// # Errors
    /// [`ClusterError`]; a missing CRD is [`ClusterError::NotInstalled`].
    pub(crate) async fn test_runs(
        &self,
        namespaces: &Namespaces,
    ) -> Result<Listed<TestRun>, ClusterError> {
        self.list(TEST_RUNS, None, namespaces, any).await
    }
}

impl Object for TestRun {
    const RESOURCE: Resource = TEST_RUNS;

    fn decode(answer: &[u8]) -> Result<Self, String> {
        decode_object(answer, test_run)
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
struct RawSpec {
    parallelism: Option<i64>,
    cleanup: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawStatus {
    stage: Option<String>,
    conditions: Option<Vec<RawCondition>>,
}

#[derive(Deserialize)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Item for TestRun {
    fn test_run(metadata: &Value) -> Option<&str> {
        metadata["name"].as_str()
    }

    fn is_foreign(_: &Value) -> bool {
        false
    }
}

fn any(raw: Raw) -> Result<Option<TestRun>, String> {
    test_run(raw).map(Some)
}

#[allow(clippy::unnecessary_wraps, reason = "the signature that `list` wants")]
fn test_run(raw: Raw) -> Result<TestRun, String> {
    let conditions = raw.status.conditions.unwrap_or_default();
    Ok(TestRun {
        namespace: raw.metadata.namespace,
        name: raw.metadata.name,
        uid: raw.metadata.uid,
        created_at: raw.metadata.creation_timestamp,
        labels: raw.metadata.labels.unwrap_or_default(),
        parallelism: raw.spec.parallelism,
        cleans_up: raw.spec.cleanup.as_deref() == Some("post"),
        stage: Stage::from(raw.status.stage.unwrap_or_default()),
        resource_version: raw.metadata.resource_version.unwrap_or_default(),
        finalizers: raw.metadata.finalizers.unwrap_or_default(),
        deletion_timestamp: raw.metadata.deletion_timestamp,
        cloud_aborted: conditions
            .iter()
            .any(|condition| condition.kind == "CloudTestRunAborted" && condition.status == "True"),
    })
}

/// A CustomResourceDefinition that has the fields of [`TestRun`] and lets all others be; for API servers without
/// k6-operator, which brings its own.
pub fn custom_resource_definition() -> serde_json::Value {
    let stages: Vec<&str> = Stage::WORDS.iter().map(|(word, _)| *word).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": KIND, "listKind": "TestRunList", "plural": PLURAL, "singular": "testrun"},
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": true,
                            "properties": {"parallelism": {"type": "integer", "format": "int32"}},
                        },
                        "status": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": true,
                            "properties": {"stage": {"type": "string", "enum": stages}},
                        },
                    },
                }},
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_read_back_as_themselves() {
        for (word, stage) in Stage::WORDS {
            assert_eq!(Stage::from(word.to_owned()), stage);
            assert_eq!(stage.as_str(), word);
        }
        let newer = Stage::from("paused".to_owned());
        assert_eq!(newer, Stage::Unknown("paused".to_owned()));
        assert_eq!(newer.as_str(), "paused");
    }
}
