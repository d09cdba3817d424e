//! Alerts and the dashboard ask for metrics that there are.

use std::collections::BTreeSet;

use k6sync::cluster::Traffic;
use k6sync::telemetry::Metrics;
use serde_json::Value;

use super::{Alert, Custom, PrometheusRuleSpec, items, manifests, plain_objects, renderings, text};

/// Everything that Prometheus may ask a loop, without what a histogram adds.
const METRICS: &[&str] = &[
    "k6sync_build_info",
    "k6sync_cycles_total",
    "k6sync_cycles_skipped_total",
    "k6sync_cycle_duration_seconds",
    "k6sync_steps",
    "k6sync_log_bytes_total",
    "k6sync_log_lines_total",
    "k6sync_log_gaps_total",
    "k6sync_summaries_total",
    "k6sync_holds",
    "k6sync_errors_total",
    "k6sync_kubernetes_requests_total",
    "k6sync_last_success_timestamp_seconds",
    "k6sync_leader",
    "k6sync_enabled",
    "k6sync_interval_seconds",
];

const HISTOGRAMS: &[&str] = &["k6sync_cycle_duration_seconds"];

/// The names in an expression that begin with `k6sync_`.
fn metrics_in(expression: &str) -> Vec<&str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("k6sync_"))
        .collect()
}

fn check_metrics(expression: &str) {
    let names = metrics_in(expression);
    assert!(!names.is_empty(), "no metric of ours in {expression}");
    for name in names {
        let is_of_histogram = HISTOGRAMS.iter().any(|histogram| {
            let part = name.strip_prefix(histogram);
            part.is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part))
        });
        let is_known = METRICS.contains(&name) && !HISTOGRAMS.contains(&name);
        assert!(is_known || is_of_histogram, "{name} in {expression}");
    }
}

#[test]
fn the_metrics_are_those_that_the_loop_has() {
    // The two whose labels no value is known of are not told before there is one.
    const UNTOLD: [&str; 2] = ["k6sync_kubernetes_requests_total", "k6sync_steps"];
    let exposition = Metrics::new(Traffic::default()).text();
    let told: BTreeSet<String> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let mut known: BTreeSet<String> = METRICS.iter().map(|name| (*name).to_owned()).collect();
    known.retain(|name| told.contains(name) || !UNTOLD.contains(&name.as_str()));
    assert_eq!(told, known);
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let objects = plain_objects();
    let rule = objects
        .iter()
        .find(|object| object["kind"] == "PrometheusRule")
        .unwrap();
    let rule: Custom<PrometheusRuleSpec> = serde_json::from_value(rule.clone()).unwrap();
    let alerts: Vec<&Alert> = rule
        .spec
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .collect();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
    assert_eq!(
        names,
        [
            "K6SyncStale",
            "K6SyncErrors",
            "K6SyncLogGaps",
            "K6SyncNoLeader"
        ]
    );
    for alert in alerts {
        check_metrics(&alert.expr);
        assert!(["warning", "critical"].contains(&alert.labels["severity"].as_str()));
        let keys: Vec<&String> = alert.annotations.keys().collect();
        assert_eq!(keys, ["description", "summary"], "{}", alert.alert);
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let path = manifests().join("components/monitoring/dashboard.json");
    let file = std::fs::read_to_string(path).unwrap();
    let dashboard: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(dashboard["uid"], "k6sync");
    let mut asked = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in items(&dashboard["panels"]) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!items(&panel["targets"]).is_empty(), "{panel}");
        for target in items(&panel["targets"]) {
            let expression = text(&target["expr"]);
            check_metrics(expression);
            asked.extend(metrics_in(expression));
            // Whoever picks a data source or a namespace means every panel.
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            assert!(
                expression.contains("namespace=~\"$namespace\""),
                "{expression}"
            );
        }
    }
    for metric in METRICS {
        assert!(
            asked.iter().any(|name| name.starts_with(metric)),
            "{metric} is nowhere to be seen"
        );
    }
    for rendering in renderings().unwrap_or_default() {
        if let Some(config_map) = rendering.find("ConfigMap", "k6sync-dashboard") {
            assert_eq!(config_map["metadata"]["labels"]["grafana_dashboard"], "1");
            assert_eq!(config_map["data"]["k6sync.json"], file);
        }
    }
}
