//! What somebody may see of the record. The door makes it of their rights; the API and the pages show nothing beyond it. Pure.
//!
//! Whoever Kubernetes lets `list testruns.k6.io` in a step's namespace sees its status and results; whoever it lets `get pods/log`
//! there reads its logs. Other clusters' steps are not shown: nobody's rights there are known here.

use crate::record::{Run, Step, Visible};

/// What somebody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Of which namespaces status and results.
    pub runs: Seen,
    /// Of which namespaces logs.
    pub logs: Seen,
    /// Of which cluster, by all ids that a step may name it by (`clusters.id` and uids); `None`: of any.
    pub clusters: Option<Vec<String>>,
    /// Start, stop and restart the job.
    pub organizes: bool,
}

/// Namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    All,
    Only(Vec<String>),
}

/// Nobody sees anything before they are known.
impl Default for Seen {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl Seen {
    fn has(&self, namespace: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => {
                namespace.is_some_and(|namespace| names.iter().any(|name| name == namespace))
            }
        }
    }
}

impl Sight {
    /// Of whoever may read the database itself.
    pub(crate) fn of_everything() -> Self {
        Self {
            runs: Seen::All,
            logs: Seen::All,
            clusters: None,
            organizes: false,
        }
    }

    /// The same, as the record is asked for what may be seen.
    pub(crate) fn visible(&self) -> Visible {
        Visible {
            namespaces: match &self.runs {
                Seen::All => None,
                Seen::Only(names) => Some(names.clone()),
            },
            clusters: self.clusters.clone(),
        }
    }

    /// Whether status and results of the step may be seen.
    pub(crate) fn has(&self, step: &Step) -> bool {
        let row = &step.row;
        let is_here = match (&self.clusters, &row.cluster) {
            (None, _) | (_, None) => true,
            (Some(ours), Some(cluster)) => ours.contains(cluster),
        };
        is_here && self.runs.has(row.namespace.as_deref())
    }

    /// Whether its logs may be read.
    pub(crate) fn reads(&self, step: &Step) -> bool {
        self.has(step) && self.logs.has(step.row.namespace.as_deref())
    }

    /// The run if all of it may be seen; `None` is what a run that is not there is.
    ///
    /// A part would be misleading: verdict, sums and reason are those of all steps.
    pub(crate) fn of(&self, run: Run) -> Option<Run> {
        let is_own = match run.steps.is_empty() {
            true => self.runs.has(run.row.namespace.as_deref()),
            false => run.steps.iter().all(|step| self.has(step)),
        };
        is_own.then_some(run)
    }
}
