//! What a JSON summary leaves out and another part of the same log tells: units, thresholds. Only where both agree on everything
//! that both tell, for only then are they of one run.

use super::document::{Kind, Metric, Summary, Unit};

/// The export has no units; what `handleSummary` printed has.
pub(super) fn with_data(export: &mut Summary, data: &Summary) {
    if !agree(export, data) {
        return;
    }
    with_units(export, data);
    if export.duration_ms.is_none() {
        export.duration_ms = data.duration_ms;
    }
}

/// The export has no units, the newer form no thresholds; the text has both, and a threshold judged is exact there too.
pub(super) fn with_text(json: &mut Summary, text: &Summary) {
    if !agree(json, text) {
        return;
    }
    with_units(json, text);
    if json.thresholds.is_empty() {
        json.thresholds.clone_from(&text.thresholds);
        for threshold in &mut json.thresholds {
            // Better to the last bit than rounded.
            let metric = json
                .metrics
                .iter()
                .find(|metric| metric.name == threshold.metric);
            let exact = metric.and_then(|metric| metric.observed(&threshold.expression));
            threshold.observed = exact.or(threshold.observed);
        }
        json.marks.clone_from(&text.marks);
    }
}

fn with_units(summary: &mut Summary, other: &Summary) {
    for metric in &mut summary.metrics {
        if metric.unit == Unit::None
            && let Some(other) = other.metric(&metric.name)
        {
            metric.unit = other.unit;
        }
    }
}

/// Whether nothing that `other` tells contradicts `summary`, which tells of all metrics.
fn agree(summary: &Summary, other: &Summary) -> bool {
    let metric = |other: &Metric| match summary.metric(&other.name) {
        None => false,
        Some(metric) => {
            metric.kind == other.kind
                && metric.stats.iter().all(|(stat, value)| {
                    // Of a test that was aborted k6 takes the duration twice, and divides by another in the text than in JSON.
                    let is_divided = metric.kind == Kind::Counter && stat == "rate";
                    let told = other.stats.get(stat).filter(|_| !is_divided);
                    told.is_none_or(|told| told.low() <= value.high() && value.low() <= told.high())
                })
        }
    };
    other.metrics.iter().all(metric)
}
