//! The loop's metrics for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::cluster::Traffic;
use crate::cycle::Report;
use crate::store::{GapCause, Status, SummarySource};

/// Upper bounds of the cycle durations, seconds: from a quiet cycle to the deadline.
const DURATIONS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

type Labels1 = [(&'static str, &'static str); 1];

/// How a cycle ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CycleOutcome {
    Completed,
    Failed,
    /// A bug.
    Panicked,
}

/// The metrics of a loop.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    cycles: Family<Labels1, Counter>,
    skipped: Counter,
    duration: Histogram,
    steps: Family<Labels1, Gauge>,
    log_bytes: Counter,
    log_lines: Counter,
    log_gaps: Family<Labels1, Counter>,
    summaries: Family<Labels1, Counter>,
    holds: Gauge,
    errors: Family<Labels1, Counter>,
    last_success: Gauge<f64, AtomicU64>,
    leader: Gauge,
    enabled: Gauge,
    interval: Gauge,
}

impl Metrics {
    /// All at zero, except for `traffic`, which the cluster's requests count.
    pub fn new(traffic: Traffic) -> Arc<Self> {
        let mut registry = Registry::with_prefix("k6sync");
        let metrics = Self {
            cycles: Family::default(),
            skipped: Counter::default(),
            duration: Histogram::new(DURATIONS),
            steps: Family::default(),
            log_bytes: Counter::default(),
            log_lines: Counter::default(),
            log_gaps: Family::default(),
            summaries: Family::default(),
            holds: Gauge::default(),
            errors: Family::default(),
            last_success: Gauge::default(),
            leader: Gauge::default(),
            enabled: Gauge::default(),
            interval: Gauge::default(),
            registry: Registry::default(),
        };
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of k6sync", version);
        registry.register("cycles", "Cycles by outcome", metrics.cycles.clone());
        registry.register(
            "cycles_skipped",
            "Starts that fell away since the cycle before outlasted the interval",
            metrics.skipped.clone(),
        );
        registry.register(
            "cycle_duration_seconds",
            "How long cycles took",
            metrics.duration.clone(),
        );
        registry.register(
            "steps",
            "Steps that the last cycle looked at, by the status that it left them in",
            metrics.steps.clone(),
        );
        registry.register(
            "log_bytes",
            "Bytes of log stored",
            metrics.log_bytes.clone(),
        );
        registry.register(
            "log_lines",
            "Lines of log stored",
            metrics.log_lines.clone(),
        );
        registry.register(
            "log_gaps",
            "Places where lines may be missing, by cause",
            metrics.log_gaps.clone(),
        );
        registry.register(
            "summaries",
            "Runners' logs that were read for what k6 measured, by source: json, text, none (k6 printed no summary) or unreadable",
            metrics.summaries.clone(),
        );
        registry.register(
            "holds",
            "TestRuns that the last cycle left with the finalizer k6sync.dev/capture",
            metrics.holds.clone(),
        );
        registry.register(
            "errors",
            "Errors by kind: step (of one step; the cycle went on) or cycle (it could not be completed)",
            metrics.errors.clone(),
        );
        registry.register(
            "kubernetes_requests",
            "Requests to Kubernetes by verb, resource and status code",
            traffic,
        );
        registry.register(
            "last_success_timestamp_seconds",
            "When the last completed cycle ended, seconds since 1970; 0: none has",
            metrics.last_success.clone(),
        );
        registry.register(
            "leader",
            "1: this instance holds the lease",
            metrics.leader.clone(),
        );
        registry.register("enabled", "1: sync is switched on", metrics.enabled.clone());
        registry.register(
            "interval_seconds",
            "Seconds between the starts of two cycles",
            metrics.interval.clone(),
        );
        // Alerts on rates need a first value to compare with.
        for outcome in ["completed", "failed", "panicked"] {
            let _ = metrics.cycles.get_or_create(&[("outcome", outcome)]);
        }
        for cause in GapCause::ALL {
            let _ = metrics.log_gaps.get_or_create(&[("cause", cause.as_str())]);
        }
        for source in SummarySource::ALL {
            let _ = metrics
                .summaries
                .get_or_create(&[("source", source.as_str())]);
        }
        for kind in ["step", "cycle"] {
            let _ = metrics.errors.get_or_create(&[("kind", kind)]);
        }
        Arc::new(Self {
            registry,
            ..metrics
        })
    }

    /// A cycle has ended; `report` if it was completed.
    pub(crate) fn cycle_ended(
        &self,
        outcome: CycleOutcome,
        took: Duration,
        report: Option<&Report>,
    ) {
        let word = match outcome {
            CycleOutcome::Completed => "completed",
            CycleOutcome::Failed => "failed",
            CycleOutcome::Panicked => "panicked",
        };
        self.cycles.get_or_create(&[("outcome", word)]).inc();
        self.duration.observe(took.as_secs_f64());
        let Some(report) = report else {
            self.errors.get_or_create(&[("kind", "cycle")]).inc();
            return;
        };
        for status in Status::ALL {
            let count = report.details.statuses.get(status).copied().unwrap_or(0);
            self.steps
                .get_or_create(&[("status", status.as_str())])
                .set(count);
        }
        self.log_bytes
            .inc_by(u64::try_from(report.log_bytes).unwrap_or(0));
        self.log_lines.inc_by(report.details.lines);
        for (cause, count) in &report.details.gaps {
            self.log_gaps
                .get_or_create(&[("cause", cause.as_str())])
                .inc_by(*count);
        }
        for (source, count) in &report.summaries {
            self.summaries
                .get_or_create(&[("source", source.as_str())])
                .inc_by(*count);
        }
        self.holds
            .set(i64::try_from(report.details.held).unwrap_or(i64::MAX));
        self.errors
            .get_or_create(&[("kind", "step")])
            .inc_by(report.errors as u64);
        self.last_success
            .set(Timestamp::now().as_millisecond() as f64 / 1_000.0);
    }

    /// `starts` of cycles were left out because one took longer than the interval.
    pub(crate) fn skipped(&self, starts: u32) {
        self.skipped.inc_by(starts.into());
    }

    pub(crate) fn set_leader(&self, is_leader: bool) {
        self.leader.set(is_leader.into());
    }

    /// What holds now.
    pub(crate) fn set_control(&self, enabled: bool, interval_seconds: u64) {
        self.enabled.set(enabled.into());
        self.interval
            .set(i64::try_from(interval_seconds).unwrap_or(i64::MAX));
    }

    /// In OpenMetrics' text form.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
