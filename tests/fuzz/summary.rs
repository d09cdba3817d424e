//! What must hold for any end of a log.

use k6sync::k6::combine::combine;
use k6sync::k6::message::failed_thresholds;
use k6sync::k6::summary::{Outcome, Summary, summarize};

/// The end of a log, or all of it.
pub fn summary(data: &[u8]) {
    assert_ne!(summarize(data, true), Outcome::CutOff, "there is no more");
    for whole in [true, false] {
        let Outcome::Found(summary) = summarize(data, whole) else {
            continue;
        };
        let document = serde_json::to_string(&summary).unwrap();
        let again: Summary = serde_json::from_str(&document).unwrap();
        assert_eq!(again, *summary, "a document is what it was made of");
        let (one, two) = (combine([&*summary]), combine([&*summary, &*summary]));
        for row in one.metrics.iter().chain(&two.metrics) {
            assert!(row.low <= row.high && row.low.is_finite() && row.high.is_finite());
        }
        let failed = summary.thresholds.iter().any(|threshold| threshold.failed)
            || summary.marks.iter().any(|mark| mark.failed);
        assert_eq!(failed_thresholds(&two).is_some(), failed);
    }
}
