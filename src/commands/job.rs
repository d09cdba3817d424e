//! `k6sync job`: the loop's control from a terminal.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{output, setup};
use crate::cli::{Job, JobAction, OutputFormat};
use crate::cluster::{Cluster, Lease};
use crate::config::Config;
use crate::harmless;
use crate::store::{CycleRecord, StoreError};
use crate::sync_loop::control::{Action, Control};

/// Whoever sits at a terminal does not wait longer for the API server.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many past cycles are shown.
const CYCLES: i64 = 5;

pub(super) async fn run(args: &Job) -> anyhow::Result<()> {
    let mut config = setup::load(&args.common)?;
    // As with kubectl: whoever names a namespace means the job that is there.
    if let [namespace] = args.common.namespace.as_slice() {
        config.control_namespace = Some(namespace.clone());
    }
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout)
        .await?
        .until(Instant::now() + PATIENCE);
    let action = match args.action {
        JobAction::Status => {
            let status = Status::gather(&config, &cluster).await?;
            return match args.output {
                OutputFormat::Text => output::print(&status.text()),
                OutputFormat::Json => output::print_json(&status.json()),
            };
        }
        JobAction::Start { interval } => Action::Start(interval),
        JobAction::Stop => Action::Stop,
        JobAction::Restart { interval } => Action::Restart(interval),
    };
    let control = setup::control_map(&config, &cluster).apply(action).await?;
    match args.output {
        OutputFormat::Text => output::print(&action.result(&control)),
        OutputFormat::Json => output::print_json(&control_json(&control)),
    }
}

/// What `job status` shows. `Err`: why it is not known.
struct Status {
    control: Control,
    holder: Result<Option<String>, String>,
    cycles: Result<Vec<CycleRecord>, String>,
}

impl Status {
    /// The ConfigMap must be readable; of the rest the answer says what is not.
    async fn gather(config: &Config, cluster: &Cluster) -> anyhow::Result<Self> {
        let map = setup::control_map(config, cluster);
        let control = map.read().await.context("cannot show the job")?;
        let holder = match &config.lease {
            Some(lease) => cluster
                .find::<Lease>(map.namespace(), lease)
                .await
                .map(|lease| lease.and_then(|lease| lease.spec.holder().map(str::to_owned)))
                .map_err(|error| error.to_string()),
            None => Ok(None),
        };
        let cycles = last_cycles(config).await.map_err(|error| error.to_string());
        Ok(Self {
            control,
            holder,
            cycles,
        })
    }

    fn text(&self) -> String {
        let Control {
            enabled, interval, ..
        } = &self.control;
        let mut lines = vec![
            format!("sync       {}", if *enabled { "on" } else { "off" }),
            format!(
                "interval   {interval}, by {}",
                self.control.configured_via()
            ),
            match &self.holder {
                Ok(Some(holder)) => format!("lease      held by {holder}"),
                Ok(None) => "lease      held by nobody".to_owned(),
                Err(problem) => format!("lease      not known: {problem}"),
            },
        ];
        match &self.cycles {
            Ok(cycles) if cycles.is_empty() => lines.push("cycles     none yet".to_owned()),
            Ok(cycles) => {
                lines.push("cycles".to_owned());
                lines.extend(cycles.iter().map(cycle_line));
                lines.push("errors".to_owned());
                lines.extend(error_lines(cycles));
            }
            Err(problem) => lines.push(format!("cycles     not known: {problem}")),
        }
        // Who holds the lease, what went wrong: others wrote that.
        let lines: Vec<String> = lines.iter().map(harmless::line).collect();
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let mut status = control_json(&self.control);
        match &self.holder {
            Ok(holder) => status["leaseHolder"] = json!(holder),
            Err(problem) => status["leaseError"] = json!(problem),
        }
        match &self.cycles {
            Ok(cycles) => status["lastCycles"] = cycles.iter().map(cycle_json).collect(),
            Err(problem) => status["lastCyclesError"] = json!(problem),
        }
        status
    }
}

/// Reads only; a database that does not exist yet has none.
async fn last_cycles(config: &Config) -> Result<Vec<CycleRecord>, StoreError> {
    let store = setup::open_store(config, true, true).await?;
    let cycles = store.last_cycles(CYCLES).await;
    store.close().await;
    cycles
}

fn cycle_line(cycle: &CycleRecord) -> String {
    format!(
        "  {:.0}  {:9}  {:>6} ms  {} active, {} updated, {} with new lines ({} bytes), {} errors, by {} ({})",
        cycle.started_at,
        cycle.outcome,
        cycle.duration_ms,
        cycle.total,
        cycle.updated,
        cycle.logs_updated,
        cycle.log_bytes,
        cycle.errors.len(),
        cycle.instance,
        cycle.trigger
    )
}

fn error_lines(cycles: &[CycleRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    for cycle in cycles {
        for error in &cycle.errors {
            let step = error.step_name.as_ref().map(|step| format!("{step}: "));
            let step = step.unwrap_or_default();
            lines.push(format!("  {:.0}  {step}{}", cycle.started_at, error.error));
        }
    }
    if lines.is_empty() {
        lines.push("  none in these cycles".to_owned());
    }
    lines
}

fn control_json(control: &Control) -> Value {
    json!({
        "isRunning": control.enabled,
        "intervalSeconds": control.interval.seconds(),
        "configuredVia": control.configured_via(),
    })
}

fn cycle_json(cycle: &CycleRecord) -> Value {
    let errors: Vec<Value> = cycle
        .errors
        .iter()
        .map(|error| json!({"step": error.step_name, "k6TestName": error.k6_test_name, "error": error.error}))
        .collect();
    json!({
        "startedAt": format!("{:.3}", cycle.started_at),
        "durationMs": cycle.duration_ms,
        "trigger": cycle.trigger,
        "instance": cycle.instance,
        "outcome": cycle.outcome,
        "total": cycle.total,
        "updated": cycle.updated,
        "logsUpdated": cycle.logs_updated,
        "logBytes": cycle.log_bytes,
        "errors": errors,
    })
}
