//! What a cycle did, for people and for programs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::error::RunError;
use super::logs::Captures;
use super::plan::StepPlan;
use super::results::Sources;
use super::settings::Settings;
use crate::cluster::Reach;
use crate::harmless;
use crate::store::{
    BadStep, CycleError, CycleRecord, GapCause, Role, Status, Step, StepId, SummarySource,
};

/// When a cycle began, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

impl Begun {
    pub(super) fn now() -> Self {
        Self {
            at: Timestamp::now(),
            instant: Instant::now(),
        }
    }
}

/// A cycle's report. As JSON it is the contract of `sync-once -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
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
    /// Runners' logs that were read for what k6 measured, by what the summary was read from.
    #[serde(skip_serializing_if = "Sources::is_empty")]
    pub summaries: Sources,
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
pub(crate) struct Details {
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
pub(crate) enum Outcome {
    /// It went through all steps.
    Completed,
    /// Sync is switched off; nothing was done.
    Disabled,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
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
    pub(super) fn of_step(step: &Step, error: String) -> Self {
        Self {
            step: step.name.clone(),
            k6_test_name: step.k6_test_name.clone(),
            namespace: step.namespace.clone(),
            error,
            step_id: (!step.id.is_imagined()).then_some(step.id),
        }
    }

    /// It names no step: it is about the namespace.
    pub(crate) fn is_of_namespace(&self) -> bool {
        self.step.is_empty() && self.k6_test_name.is_empty() && !self.namespace.is_empty()
    }
}

impl Report {
    /// What a cycle came to. Its failures are logged too.
    pub(super) fn new(
        begun: &Begun,
        plans: &[StepPlan],
        captures: &Captures,
        updated: usize,
        failures: Vec<Failure>,
    ) -> Self {
        let failures: Vec<Failure> = failures.into_iter().map(harmless).collect();
        for failure in &failures {
            tracing::warn!(
                step = failure.step,
                k6_test_name = failure.k6_test_name,
                namespace = failure.namespace,
                error = failure.error,
                "{} could not be synced",
                if failure.is_of_namespace() {
                    "a namespace"
                } else {
                    "a step"
                }
            );
        }
        let with_new_lines: HashSet<StepId> = captures
            .iter()
            .filter(|(_, captured)| captured.lines > 0)
            .map(|(step_id, _)| *step_id)
            .collect();
        Self {
            outcome: Outcome::Completed,
            total: plans.len(),
            updated,
            errors: failures.len(),
            logs_updated: with_new_lines.len(),
            log_bytes: captures.iter().map(|(_, captured)| captured.bytes).sum(),
            summaries: Sources::new(),
            duration_ms: begun.instant.elapsed().as_millis(),
            failures,
            dry_run: None,
            details: details(plans, captures),
        }
    }

    /// Says in the log that the cycle was completed.
    pub(super) fn log(&self) {
        tracing::info!(
            total = self.total,
            updated = self.updated,
            errors = self.errors,
            logs_updated = self.logs_updated,
            log_bytes = self.log_bytes,
            duration_ms = self.duration_ms,
            "K6 steps sync completed"
        );
    }

    /// Nothing was done, since sync is switched off.
    pub(crate) fn disabled() -> Self {
        Self {
            outcome: Outcome::Disabled,
            total: 0,
            updated: 0,
            errors: 0,
            logs_updated: 0,
            log_bytes: 0,
            summaries: Sources::new(),
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
        if !self.summaries.is_empty() {
            let of = |(source, count): (&SummarySource, &u64)| format!("{count} {source}");
            let summaries: Vec<String> = self.summaries.iter().map(of).collect();
            writeln!(f, "  results    of runners: {}", summaries.join(", "))?;
        }
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

/// The namespaces that could not be listed, a failure each.
pub(super) fn failures_of_namespaces(reach: Reach) -> impl Iterator<Item = Failure> {
    let namespaces = reach.out_of_reach().into_iter();
    namespaces.map(|(namespace, error)| Failure {
        step: String::new(),
        k6_test_name: String::new(),
        error: format!(
            "the namespace {namespace} was left as it is, the others were synced: {error}"
        ),
        namespace,
        step_id: None,
    })
}

/// Rows of the database that can't be understood, or must not be touched.
pub(super) fn failures_of_rows(rows: Vec<BadStep>) -> Vec<Failure> {
    rows.into_iter()
        .map(|bad| Failure {
            step: bad.name.unwrap_or_default(),
            k6_test_name: bad.k6_test_name.unwrap_or_default(),
            namespace: String::new(),
            error: bad.error,
            step_id: bad.id,
        })
        .collect()
}

/// What went wrong with single steps.
pub(super) fn failures_of_steps(plans: &[StepPlan], captures: &Captures) -> Vec<Failure> {
    let mut failures = Vec::new();
    for plan in plans {
        let errors = plan.errors.iter().cloned();
        failures.extend(errors.map(|error| Failure::of_step(&plan.step, error)));
    }
    let steps: HashMap<StepId, &Step> = plans.iter().map(|p| (p.step.id, &p.step)).collect();
    for (step_id, captured) in captures {
        if let (Some(error), Some(step)) = (&captured.error, steps.get(step_id)) {
            failures.push(Failure::of_step(step, error.to_string()));
        }
    }
    failures
}

/// What went wrong, in words that do no harm wherever they are shown.
fn harmless(failure: Failure) -> Failure {
    let Failure {
        step,
        k6_test_name,
        namespace,
        error,
        step_id,
    } = failure;
    Failure {
        step: harmless::line(step),
        k6_test_name: harmless::line(k6_test_name),
        namespace: harmless::line(namespace),
        error: harmless::line(error),
        step_id,
    }
}

fn details(plans: &[StepPlan], captures: &Captures) -> Details {
    let mut details = Details::default();
    for plan in plans {
        *details.statuses.entry(plan.record.status).or_default() += 1;
    }
    for (_, captured) in captures {
        details.lines += u64::try_from(captured.lines).unwrap_or(0);
        for cause in &captured.gaps {
            *details.gaps.entry(*cause).or_default() += 1;
        }
    }
    details
}

/// What a dry run would have done, a line each.
pub(super) fn changes(plans: &[StepPlan], captures: &Captures, summaries: &Sources) -> Vec<String> {
    let mut lines: HashMap<StepId, (i64, usize)> = HashMap::new();
    for (step_id, captured) in captures {
        let sum = lines.entry(*step_id).or_default();
        sum.0 += captured.lines;
        sum.1 += captured.gaps.len();
    }
    let mut changes = Vec::new();
    for plan in plans {
        let step = &plan.step;
        let name = format!("{} ({}/{})", step.name, step.namespace, step.k6_test_name);
        if step.id.is_imagined() {
            changes.push(format!("adopt {name}"));
        }
        if plan.record.status != step.record.status {
            changes.push(format!(
                "set {name} from {} to {}",
                step.record.status, plan.record.status
            ));
        } else if plan.record != step.record {
            changes.push(format!("update {name}"));
        }
        match lines.get(&step.id) {
            Some((0, 0)) | None => {}
            Some((lines, 0)) => changes.push(format!("append {lines} log lines to {name}")),
            Some((lines, gaps)) => {
                changes.push(format!(
                    "append {lines} log lines and {gaps} gaps to {name}"
                ));
            }
        }
        let reported = plan
            .streams
            .iter()
            .filter(|stream| stream.facts.role == Role::Runner && stream.todo.ends_the_log());
        match reported.count() {
            0 => {}
            1 => changes.push(format!("store the results of 1 runner of {name}")),
            runners => changes.push(format!("store the results of {runners} runners of {name}")),
        }
    }
    match summaries.values().sum::<u64>() {
        0 => {}
        1 => changes.push("store the results of 1 runner whose log is complete".to_owned()),
        runners => changes.push(format!(
            "store the results of {runners} runners whose logs are complete"
        )),
    }
    changes.iter().map(harmless::line).collect()
}

/// The cycle's own row, whether it was completed or not.
pub(super) fn cycle_row(
    outcome: &Result<Report, RunError>,
    settings: &Settings,
    begun: &Begun,
) -> CycleRecord {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let blank = CycleRecord {
        started_at: begun.at,
        duration_ms: i64::try_from(begun.instant.elapsed().as_millis()).unwrap_or(i64::MAX),
        trigger: settings.trigger.to_owned(),
        instance: settings.instance.clone(),
        outcome: String::new(),
        total: 0,
        updated: 0,
        logs_updated: 0,
        log_bytes: 0,
        looked_at: None,
        cluster: None,
        errors: Vec::new(),
    };
    match outcome {
        Ok(report) => CycleRecord {
            outcome: "completed".to_owned(),
            total: count(report.total),
            updated: count(report.updated),
            logs_updated: count(report.logs_updated),
            log_bytes: report.log_bytes,
            looked_at: report.details.looked_at,
            cluster: report.details.cluster.clone(),
            errors: report.failures.iter().map(step_error).collect(),
            ..blank
        },
        Err(error) => CycleRecord {
            outcome: "failed".to_owned(),
            errors: vec![CycleError {
                step_id: None,
                step_name: None,
                k6_test_name: None,
                error: harmless::line(error),
            }],
            ..blank
        },
    }
}

fn step_error(failure: &Failure) -> CycleError {
    CycleError {
        step_id: failure.step_id,
        step_name: Some(failure.step.clone()),
        k6_test_name: Some(failure.k6_test_name.clone()),
        error: failure.error.clone(),
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
            summaries: Sources::new(),
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
        let report = Report {
            summaries: Sources::from([(SummarySource::Json, 3), (SummarySource::Unreadable, 1)]),
            ..report
        };
        let json = serde_json::to_string(&report).unwrap();
        assert!(
            json.contains(r#""summaries":{"json":3,"unreadable":1}"#),
            "{json}"
        );
        let text = report.to_string();
        assert!(
            text.contains("results    of runners: 3 json, 1 unreadable"),
            "{text}"
        );
        assert!(text.contains("3 active, 2 updated") && text.contains("browse (k6/shop): gone"));
        assert!(Report::disabled().to_string().contains("disabled"));
    }
}
