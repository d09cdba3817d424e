//! From the end of a runner's log to what k6 reported there.
//!
//! The best source wins: a JSON summary in the log, else the text. What can't be read for certain is left out, and a summary
//! that is there only in part is none: half a runner would make the sums of all runners wrong. The text may still tell what a
//! JSON summary leaves out (thresholds, units), where both tell the same of everything else.
//!
//! [`summarize`] is called with the last bytes of a complete log, as stored: without the kubelet's times.

mod document;
mod json;
mod objects;
mod printed;
mod reading;
mod supplement;
mod text;

pub use document::{Check, Kind, Mark, Metric, Source, Summary, Threshold, Unit, Value};
pub(crate) use reading::Problem;
use reading::Reading;

/// Grows with what this parser reads differently, so that stored summaries can be derived again.
pub const PARSER: i64 = 1;

/// Bytes of a log's end to begin with: k6 prints a few KiB, and its log lines after it are few. A script that is put out with
/// the summary (docs/facts.md, "The machine-readable summary") or a long `handleSummary` may need more, which [`Outcome::CutOff`] says.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// No text is longer, with the log lines that come between it and a JSON summary.
const TEXT_BYTES: usize = 32 * 1024;

/// What the end of a log has.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A whole summary.
    Found(Box<Summary>),
    /// Nothing that looks like a summary: `--summary-mode=disabled`, a failed init, a killed runner, a `handleSummary` of its
    /// own words.
    Absent,
    /// Something that looks like a summary, and why it can't be read.
    Unreadable(Problem),
    /// The window may begin within a summary: ask again with more of the log.
    CutOff,
}

/// What the runner reported whose log ends with `tail`; `whole` says that there is no more of the log, or none that the caller
/// reads: what begins before it is then unreadable instead of cut off.
///
/// Takes any bytes, in time linear in their number.
pub fn summarize(tail: &[u8], whole: bool) -> Outcome {
    let (json_begin, json) = json::read(tail, whole);
    let plain = text::read(tail, whole);
    match (json, plain) {
        // The text may be right before the window, or half of it.
        (Reading::Summary(_), Reading::Absent | Reading::Broken(_))
            if !whole && json_begin < TEXT_BYTES =>
        {
            Outcome::CutOff
        }
        // More of the log may show a better source, or what the better one leaves out.
        (Reading::CutOff, _) | (_, Reading::CutOff) => Outcome::CutOff,
        (Reading::Summary(mut json), plain) => {
            if let Reading::Summary(plain) = plain {
                supplement::with_text(&mut json, &plain);
            }
            Outcome::Found(Box::new(json))
        }
        (_, Reading::Summary(plain)) => Outcome::Found(Box::new(plain)),
        (Reading::Broken(problem), _) | (_, Reading::Broken(problem)) => {
            Outcome::Unreadable(problem)
        }
        (Reading::Absent, Reading::Absent) => Outcome::Absent,
    }
}

#[cfg(test)]
mod tests;
