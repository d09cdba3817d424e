//! How cycles are to be run, and how long one may take.

use std::time::Duration;

use jiff::SignedDuration;

use super::adopt::Discovery;
use super::hold::Holding;
use crate::cluster::Namespaces;
use crate::store::StepScope;

/// Requests to Kubernetes end at the deadline. The database gets this much longer to store what they brought.
pub(super) const TIME_TO_STORE: Duration = Duration::from_secs(60);
/// TestRuns are released until this long after the deadline.
pub(super) const TIME_TO_RELEASE: Duration = Duration::from_secs(20);
/// The time for the cycle's own row.
pub(super) const TIME_TO_RECORD: Duration = Duration::from_secs(20);

/// How cycles are to be run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where TestRuns are looked for; steps of other namespaces are somebody else's.
    pub namespaces: Namespaces,
    /// Of steps whose row names none.
    pub default_namespace: String,
    /// Which TestRuns are adopted.
    pub discovery: Discovery,
    /// A step whose TestRun has not appeared after this is lost.
    pub missing_after: SignedDuration,
    /// A cycle stops after this; the next one goes on.
    pub deadline: Duration,
    /// Logs read at a time, at most.
    pub concurrency: usize,
    /// Whether logs that have long been quiet may wait for one of the next cycles, about a minute.
    pub may_rest: bool,
    /// What a cycle may change.
    pub effect: Effect,
    /// No TestRun is held longer than this after its deletion was asked for.
    pub hold_timeout: Duration,
    /// The cluster's id in the database; a cycle finds it out itself.
    pub cluster: Option<String>,
    /// `sync-once` or `loop`, for the cycle's row.
    pub trigger: &'static str,
    /// Who runs it, for the cycle's row.
    pub instance: String,
}

/// What a cycle may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It reads everything and writes nothing, to the database or to Kubernetes.
    DryRun,
    /// It stores what it sees, and holds and releases TestRuns by this rule.
    Full(Holding),
}

impl Settings {
    /// No cycle takes longer, whatever the API server and the database do.
    pub(crate) fn longest(&self) -> Duration {
        self.deadline + TIME_TO_STORE + TIME_TO_RECORD
    }

    /// The same in the cluster that was found out to be there.
    pub(super) fn in_cluster(&self, id: Option<&str>) -> Self {
        Self {
            cluster: id.map(str::to_owned),
            ..self.clone()
        }
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.effect == Effect::DryRun
    }

    pub(super) fn scope(&self) -> StepScope<'_> {
        StepScope {
            namespaces: match &self.namespaces {
                Namespaces::All => None,
                Namespaces::Only(names) => Some(names),
            },
            default_namespace: &self.default_namespace,
            cluster: self.cluster.as_deref(),
        }
    }
}
