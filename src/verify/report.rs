//! What a verification came to, as JSON and as text.

use std::fmt;

use serde::Serialize;

use crate::cycle::compare::Counts;
use crate::harmless;
use crate::store::{RunId, StepId, StreamFacts};

/// What was compared, and what it came to. As JSON it is the contract of `verify -o json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verification {
    /// Whether anything is wrong (`differs`), or nothing was compared at all (`nothing`); else `equal`.
    pub outcome: Verdict,
    /// Containers whose pods are there, and those that something is wrong with; of a run, or without a cluster, all. In
    /// the order of runs, steps, pods, containers and restarts.
    pub containers: Vec<Verified>,
    /// Containers that could not be compared with their logs, since these are gone; their records were read, and are proven
    /// by their hashes alone.
    pub unverifiable: usize,
    /// What is wrong beyond containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Something that is wrong with no container that is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// The id of the test run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The step's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Containers that the cluster has of the step's TestRun, as POD/CONTAINER.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// What is wrong.
    pub problem: String,
}

impl Problem {
    pub(super) fn general(problem: String) -> Self {
        Self {
            run: None,
            step: None,
            containers: Vec::new(),
            problem,
        }
    }

    pub(super) fn of_step(
        run: RunId,
        step: &str,
        id: StepId,
        problems: &[String],
        containers: Vec<String>,
    ) -> Self {
        let of = match containers.is_empty() {
            true => String::new(),
            false => format!(" (of {})", containers.join(", ")),
        };
        Self {
            run: Some(run),
            step: Some(step.to_owned()),
            problem: format!("step {id} `{step}`{of}: {}", problems.join("; ")),
            containers,
        }
    }
}

/// One container life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verified {
    /// The id of the test run; 0 if there is none yet.
    pub run: RunId,
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
    /// Lines that were recorded before there were hashes: what they say can't be proven without the log.
    pub unproven: u64,
    /// What is wrong with what is on record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Why it could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Verified {
    pub(super) fn new(run: RunId, step: &str, facts: &StreamFacts) -> Self {
        Self {
            run,
            step: step.to_owned(),
            pod: facts.pod_name.clone(),
            container: facts.key.container.clone(),
            restart_count: facts.key.restart_count,
            verdict: Verdict::Intact,
            counts: Counts::default(),
            unproven: 0,
            problems: Vec::new(),
            error: None,
        }
    }

    fn name(&self) -> String {
        match self.restart_count {
            0 => format!("{}/{}", self.pod, self.container),
            count => format!("{}/{} (restart {count})", self.pod, self.container),
        }
    }
}

/// How log and record compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Verdict {
    /// Every line of the log is in the record once.
    Equal,
    /// But for lines that were written since the last sync.
    Behind,
    /// But for lines that gaps tell of.
    Covered,
    /// There is no log to compare with; the record is as it was stored, as its hashes say.
    Intact,
    /// The container is younger than the last sync.
    NotYet,
    /// Lines are missing or extra, and no gap says so.
    Differs,
    /// The record is not as it was stored.
    Altered,
    /// The container is older than the last sync, and not on record.
    Unrecorded,
    /// It could not be compared.
    Error,
    /// Of a verification: nothing was compared.
    #[default]
    Nothing,
}

impl Verdict {
    pub(super) fn of(counts: &Counts) -> Self {
        match counts {
            counts if counts.differs() => Self::Differs,
            counts if counts.covered > 0 => Self::Covered,
            counts if counts.behind > 0 => Self::Behind,
            _ => Self::Equal,
        }
    }

    const fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Differs | Self::Altered | Self::Unrecorded | Self::Error
        )
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Behind => "behind",
            Self::Covered => "covered",
            Self::Intact => "intact",
            Self::NotYet => "not yet",
            Self::Differs => "DIFFERS",
            Self::Altered => "ALTERED",
            Self::Unrecorded => "UNRECORDED",
            Self::Error => "ERROR",
            Self::Nothing => "NOTHING",
        }
    }
}

impl Verification {
    /// Sorts the containers, makes foreign texts harmless, and says what it all comes to.
    pub(super) fn conclude(&mut self) {
        for verified in &mut self.containers {
            let texts = [
                &mut verified.step,
                &mut verified.pod,
                &mut verified.container,
            ];
            for text in texts
                .into_iter()
                .chain(&mut verified.problems)
                .chain(&mut verified.error)
            {
                *text = harmless::line(&*text);
            }
        }
        for problem in &mut self.problems {
            problem.problem = harmless::line(&problem.problem);
        }
        self.containers.sort_by(|a, b| {
            let key = |verified: &Verified| (verified.run, verified.pod.len());
            key(a)
                .cmp(&key(b))
                .then_with(|| (&a.step, &a.pod).cmp(&(&b.step, &b.pod)))
                .then_with(|| a.container.cmp(&b.container))
                .then(a.restart_count.cmp(&b.restart_count))
        });
        let verdicts = || self.containers.iter().map(|verified| verified.verdict);
        self.unverifiable = verdicts().filter(|v| *v == Verdict::Intact).count();
        self.outcome = if !self.problems.is_empty() || verdicts().any(Verdict::is_bad) {
            Verdict::Differs
        } else if verdicts().all(|verdict| verdict == Verdict::NotYet) {
            Verdict::Nothing
        } else {
            Verdict::Equal
        };
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let containers = || self.containers.iter();
        let steps = width(&mut containers().map(|verified| verified.step.len())).max(4);
        let names = width(&mut containers().map(|verified| verified.name().len())).max(9);
        if !self.containers.is_empty() {
            writeln!(
                f,
                "{:steps$}  {:names$}  {:>9}  {:>11}  {:10}",
                "step", "container", "lines", "bytes", "result"
            )?;
        }
        for verified in containers() {
            let Counts { lines, bytes, .. } = verified.counts;
            writeln!(
                f,
                "{:steps$}  {:names$}  {lines:>9}  {bytes:>11}  {:10}{}",
                verified.step,
                verified.name(),
                verified.verdict.as_str(),
                remarks(verified)
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "{}", problem.problem)?;
        }
        let count = |is: fn(&Verdict) -> bool| containers().filter(|v| is(&v.verdict)).count();
        if self.unverifiable > 0 {
            writeln!(
                f,
                "{} containers were compared with nothing but their hashes: their logs are gone, or were not asked for",
                self.unverifiable
            )?;
        }
        let unproven: u64 = containers().map(|verified| verified.unproven).sum();
        if unproven > 0 {
            writeln!(
                f,
                "{unproven} lines were recorded by an older k6sync: no hash proves them"
            )?;
        }
        let (bad, later) = (
            count(|verdict| verdict.is_bad()),
            count(|v| *v == Verdict::NotYet),
        );
        let total = self.containers.len() - later;
        match (total, bad, self.problems.len()) {
            (0, 0, 0) => write!(f, "there is nothing that could be compared"),
            (total, 0, 0) => write!(f, "all {total} containers are as recorded"),
            (total, bad, 0) => write!(
                f,
                "{bad} of {total} containers differ or could not be compared"
            ),
            (total, bad, others) => write!(
                f,
                "{bad} of {total} containers differ or could not be compared, and {others} other things are wrong"
            ),
        }?;
        for (verdict, advice) in [
            (
                Verdict::Differs,
                "DIFFERS: the record is not what the log says. Find out who changed the database, and restore those rows from a backup",
            ),
            (
                Verdict::Altered,
                "ALTERED: rows are not as k6sync stored them. Find out who changed the database, and restore those rows from a backup",
            ),
            (
                Verdict::Unrecorded,
                "UNRECORDED: is this the database that these namespaces are synced to, and does the sync run? `k6sync job status` tells. Rows may have been deleted",
            ),
            (Verdict::Error, "ERROR: mend what is said, and verify again"),
        ] {
            if containers().any(|verified| verified.verdict == verdict) {
                write!(f, "\n{advice}")?;
            }
        }
        Ok(())
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
        (verified.unproven, "older than hashes"),
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
    remarks.extend(verified.problems.iter().cloned());
    remarks.extend(verified.error.clone());
    match remarks.is_empty() {
        true => String::new(),
        false => format!("  {}", remarks.join(", ")),
    }
}
