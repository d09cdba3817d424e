//! The text for people → the normal form. k6 knows two layouts:
//!
//! - since 0.58 sections with titles (`█ THRESHOLDS`, `█ TOTAL RESULTS`, in `full` mode one per scenario and group): [`sections`];
//! - before, in 1.x with `--summary-mode=legacy`, and from jslib's `textSummary` still, checks by group and one line a metric:
//!   [`tree`].
//!
//! Names that people chose may look like anything. So a line is read by where it stands, and a summary that says one thing twice,
//! or a line in the middle that looks like a metric's and is none, makes the whole unreadable.

mod line;
mod lines;
mod metrics;
mod sections;
mod tree;

use super::reading::Reading;

/// The last summary in the log.
pub(super) fn read(log: &[u8], whole: bool) -> Reading {
    let (end, sections) = sections::read(log, whole);
    match tree::read(log, end, whole) {
        Reading::Absent => sections,
        tree => tree,
    }
}

#[cfg(test)]
mod tests;
