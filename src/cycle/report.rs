//! What a cycle did, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::store::{GapCause, Status, StepId};

/// A cycle's report. As JSON it is the contract of `sync-once -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Active steps, those that were adopted just now among them.
    pub total: usize,
    /// Steps whose record changed.
    pub updated: usize,
    /// Length of `failures`.
    pub errors: usize,
    /// Steps with new log lines.
    pub logs_updated: usize,
    /// New bytes of log, as stored.
    pub log_bytes: i64,
    /// How long it took.
    pub duration_ms: u128,
    /// What went wrong, each on its own: the cycle went on.
    pub failures: Vec<Failure>,
    /// What would have been done, if this had not been a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<Vec<String>>,
    /// What only metrics tell.
    #[serde(skip)]
    pub details: Details,
}

/// Figures of a cycle that metrics tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Steps by the status that the cycle left them in.
    pub statuses: BTreeMap<Status, i64>,
    /// Lines of log stored.
    pub lines: u64,
    /// Gaps marked, by cause.
    pub gaps: BTreeMap<GapCause, u64>,
    /// Steps whose TestRuns are held.
    pub held: usize,
    /// When the cluster's objects were listed, by the API server's clock.
    pub looked_at: Option<Timestamp>,
    /// `clusters.id`, where that is known.
    pub cluster: Option<String>,
}

/// How a cycle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It went through all steps.
    Completed,
    /// Sync is switched off; nothing was done.
    Disabled,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The step's name.
    pub step: String,
    /// The TestRun's name.
    pub k6_test_name: String,
    /// Its namespace.
    pub namespace: String,
    /// What was tried, on what, what went wrong.
    pub error: String,
    /// The step's id in the database, if it has one.
    #[serde(skip)]
    pub step_id: Option<StepId>,
}

impl Failure {
    /// It names no step: it is about the namespace.
    pub fn is_of_namespace(&self) -> bool {
        self.step.is_empty() && self.k6_test_name.is_empty() && !self.namespace.is_empty()
    }
}

impl Report {
    /// Nothing was done, since sync is switched off.
    pub fn disabled() -> Self {
        Self {
            outcome: Outcome::Disabled,
            total: 0,
            updated: 0,
            errors: 0,
            logs_updated: 0,
            log_bytes: 0,
            duration_ms: 0,
            failures: Vec::new(),
            dry_run: None,
            details: Details::default(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.outcome == Outcome::Disabled {
            return f.write_str(
                "K6 steps sync is disabled; nothing was done (--force runs it all the same)",
            );
        }
        let title = match self.dry_run {
            Some(_) => "K6 steps sync, dry run: nothing was written",
            None => "K6 steps sync completed",
        };
        writeln!(f, "{title}")?;
        writeln!(
            f,
            "  steps      {} active, {} updated",
            self.total, self.updated
        )?;
        writeln!(
            f,
            "  logs       {} with new lines, {} bytes",
            steps(self.logs_updated),
            self.log_bytes
        )?;
        writeln!(f, "  errors     {}", self.errors)?;
        write!(f, "  duration   {} ms", self.duration_ms)?;
        for failure in &self.failures {
            if failure.is_of_namespace() {
                write!(f, "\n  failed     {}", failure.error)?;
                continue;
            }
            let Failure {
                step,
                k6_test_name,
                namespace,
                error,
                ..
            } = failure;
            write!(
                f,
                "\n  failed     {step} ({namespace}/{k6_test_name}): {error}"
            )?;
        }
        for change in self.dry_run.iter().flatten() {
            write!(f, "\n  would      {change}")?;
        }
        Ok(())
    }
}

fn steps(count: usize) -> String {
    match count {
        1 => "1 step".to_owned(),
        count => format!("{count} steps"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_contract() {
        let report = Report {
            outcome: Outcome::Completed,
            total: 3,
            updated: 2,
            errors: 1,
            logs_updated: 2,
            log_bytes: 18_231,
            duration_ms: 133,
            failures: vec![Failure {
                step: "browse".to_owned(),
                k6_test_name: "shop".to_owned(),
                namespace: "k6".to_owned(),
                error: "gone".to_owned(),
                step_id: Some(StepId(1)),
            }],
            dry_run: None,
            details: Details::default(),
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"outcome":"completed","total":3,"updated":2,"errors":1,"logsUpdated":2,"logBytes":18231,"durationMs":133,"failures":[{"step":"browse","k6TestName":"shop","namespace":"k6","error":"gone"}]}"#
        );
        let text = report.to_string();
        assert!(text.contains("3 active, 2 updated") && text.contains("browse (k6/shop): gone"));
        assert!(Report::disabled().to_string().contains("disabled"));
    }
}
