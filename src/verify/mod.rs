//! Reads logs again from their beginnings and compares them with the record, while the pods are there.
//!
//! `k6sync verify` calls [`run`]. It writes nothing, and holds neither a log nor a record in memory.

use std::collections::HashMap;
use std::fmt;

use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::cluster::{Cluster, ClusterError, LogOptions, Namespaces, Pod};
use crate::cycle::audit::{Audited, audit};
use crate::cycle::compare::Counts;
use crate::harmless;
use crate::store::model::{Gap, Recorded, StreamState};
use crate::store::{Store, StoreError};

/// Logs compared at a time; two windows of lines are held for each.
const MOST_AT_A_TIME: usize = 8;

/// What was compared, and what it came to. As JSON it is the contract of `verify -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether any container differs or could not be compared.
    pub outcome: Verdict,
    /// Containers whose pods are there, in the order of steps, pods, containers and restarts.
    pub containers: Vec<Verified>,
    /// Containers of the run whose pods or logs are gone; 0 if no run was asked for.
    pub unverifiable: usize,
}

/// One container life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The id of the test run.
    pub run: i64,
    /// The step's name.
    pub step: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// How often it had been restarted before this life.
    pub restart_count: i64,
    /// In a word.
    pub verdict: Verdict,
    /// In figures.
    #[serde(flatten)]
    pub counts: Counts,
    /// Why it could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How log and record compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Every line of the log is in the record once.
    Equal,
    /// But for lines that were written since the last sync.
    Behind,
    /// But for lines that gaps tell of.
    Covered,
    /// Lines are missing or extra, and no gap says so.
    Differs,
    /// It could not be compared.
    Error,
}

impl Verdict {
    fn of(counts: &Counts) -> Self {
        match counts {
            counts if counts.differs() => Self::Differs,
            counts if counts.covered > 0 => Self::Covered,
            counts if counts.behind > 0 => Self::Behind,
            _ => Self::Equal,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Behind => "behind",
            Self::Covered => "covered",
            Self::Differs => "DIFFERS",
            Self::Error => "ERROR",
        }
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such run.
    #[error("no test run has the id, the external_id or the name `{0}`")]
    NoSuchRun(String),
}

/// Compares the logs of all pods that are there in `namespaces`, or of those of one run (an id, external_id or name).
///
/// # Errors
/// [`VerifyError`]; what is wrong with one container is told with it.
pub async fn run(
    cluster: &Cluster,
    store: &Store,
    namespaces: &Namespaces,
    run: Option<&str>,
    concurrency: usize,
) -> Result<Verification, VerifyError> {
    let runs = match run {
        Some(run) => {
            let runs = store.find_runs(run).await?;
            if runs.is_empty() {
                return Err(VerifyError::NoSuchRun(run.to_owned()));
            }
            Some(runs)
        }
        None => None,
    };
    let pods = cluster.pods(namespaces).await?.items;
    let by_uid: HashMap<&str, &Pod> = pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
    let uids: Vec<&str> = by_uid.keys().copied().collect();
    let recorded = store.recorded(&uids, runs.as_deref()).await?;
    let of_runs = match &runs {
        Some(runs) => store.count_streams(runs).await?,
        None => 0,
    };
    let readable: Vec<(&Recorded, &Pod, bool)> = recorded
        .iter()
        .filter_map(|recorded| {
            let pod = by_uid.get(recorded.stream.facts.key.pod_uid.as_str())?;
            Some((recorded, *pod, previous(recorded, pod)?))
        })
        .collect();

    let readable = &readable;
    let mut containers: Vec<(usize, Verified)> = stream::iter(0..readable.len())
        .map(|number| async move {
            let (recorded, pod, previous) = readable[number];
            let facts = &recorded.stream.facts;
            let log = LogOptions {
                namespace: &pod.namespace,
                pod: &facts.pod_name,
                container: &facts.key.container,
                previous,
                since_second: None,
            };
            let audited = Audited {
                stream_id: recorded.stream.id,
                lines: recorded.stream.position.lines,
                complete: recorded.stream.complete,
                ended: recorded.stream.complete,
            };
            let outcome = audit(cluster, store, &log, audited).await;
            (number, verified(recorded, outcome))
        })
        .buffer_unordered(concurrency.min(MOST_AT_A_TIME))
        .collect()
        .await;
    containers.sort_by_key(|(number, _)| *number);
    let containers: Vec<Verified> = containers
        .into_iter()
        .map(|(_, verified)| verified)
        .collect();
    let is_bad =
        |verified: &Verified| matches!(verified.verdict, Verdict::Differs | Verdict::Error);
    Ok(Verification {
        outcome: match containers.iter().any(is_bad) {
            true => Verdict::Differs,
            false => Verdict::Equal,
        },
        unverifiable: of_runs.saturating_sub(containers.len()),
        containers,
    })
}

/// Whether the life's log is the one before the present; `None`: it is no longer, or not yet, to be had (FACT 9).
fn previous(recorded: &Recorded, pod: &Pod) -> Option<bool> {
    let facts = &recorded.stream.facts;
    let container = pod
        .containers
        .iter()
        .find(|container| container.name == facts.key.container)?;
    match container
        .restart_count
        .saturating_sub(facts.key.restart_count)
    {
        0 if facts.state == StreamState::Waiting => None,
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn verified(recorded: &Recorded, outcome: Result<(Counts, Vec<Gap>), VerifyError>) -> Verified {
    let facts = &recorded.stream.facts;
    let (counts, error) = match outcome {
        Ok((counts, _)) => (counts, None),
        Err(error) => (Counts::default(), Some(harmless::line(error))),
    };
    Verified {
        run: recorded.run,
        step: harmless::line(&recorded.step),
        pod: harmless::line(&facts.pod_name),
        container: harmless::line(&facts.key.container),
        restart_count: facts.key.restart_count,
        verdict: match error {
            Some(_) => Verdict::Error,
            None => Verdict::of(&counts),
        },
        counts,
        error,
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |verified: &Verified| match verified.restart_count {
            0 => format!("{}/{}", verified.pod, verified.container),
            count => format!("{}/{} (restart {count})", verified.pod, verified.container),
        };
        let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let steps = width(&mut self.containers.iter().map(|verified| verified.step.len())).max(4);
        let names = width(&mut self.containers.iter().map(|verified| name(verified).len())).max(9);
        if !self.containers.is_empty() {
            writeln!(
                f,
                "{:steps$}  {:names$}  {:>9}  {:>11}  {:8}",
                "step", "container", "lines", "bytes", "result"
            )?;
        }
        for verified in &self.containers {
            let Counts { lines, bytes, .. } = verified.counts;
            writeln!(
                f,
                "{:steps$}  {:names$}  {lines:>9}  {bytes:>11}  {:8}{}",
                verified.step,
                name(verified),
                verified.verdict.as_str(),
                remarks(verified)
            )?;
        }
        if self.unverifiable > 0 {
            writeln!(
                f,
                "{} containers can't be verified: their pods or logs are gone",
                self.unverifiable
            )?;
        }
        let total = self.containers.len();
        let bad = self
            .containers
            .iter()
            .filter(|verified| matches!(verified.verdict, Verdict::Differs | Verdict::Error))
            .count();
        match (total, bad) {
            (0, _) => write!(f, "there is no container whose log could be compared"),
            (total, 0) => write!(f, "all {total} containers are as recorded"),
            (total, bad) => write!(
                f,
                "{bad} of {total} containers differ or could not be compared"
            ),
        }
    }
}

/// What there is to say beyond lines, bytes and the verdict.
fn remarks(verified: &Verified) -> String {
    let counts = &verified.counts;
    let mut remarks: Vec<String> = [
        (counts.missing, "missing"),
        (counts.extra, "extra"),
        (counts.covered, "missing in gaps"),
        (counts.behind, "not yet recorded"),
        (counts.rotated_away, "rotated away"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    remarks.extend(
        counts
            .first_difference
            .map(|line| format!("first at line {line}")),
    );
    remarks.extend(verified.error.clone());
    match remarks.is_empty() {
        true => String::new(),
        false => format!("  {}", remarks.join(", ")),
    }
}
