//! Are the results of a step those of its runners' summaries, and these what the logs say?

use crate::cycle::results::summary_of;
use crate::k6::summary::PARSER;
use crate::store::{
    Combined, GapCause, Overview, Reader, Recorded, Role, StepId, StoreError, SummaryRow,
};

/// A sync may be storing them while they are read: then they are read again.
const ATTEMPTS: usize = 5;

/// What is wrong with the results of a step whose streams these are. With `reads_logs` the summaries are read again from the
/// ends of the logs.
///
/// # Errors
/// [`StoreError::Statement`]
pub(super) async fn problems(
    store: &Reader,
    step_id: StepId,
    streams: &[&Recorded],
    overview: &Overview,
    reads_logs: bool,
) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    for _ in 0..ATTEMPTS {
        problems = match once(store, step_id, streams, overview, reads_logs).await {
            Ok(problems) => problems,
            // A number that is none, in SQLite. Whatever else fails tells nothing of the rows.
            Err(error) if error.is_of_a_value() => vec![error.to_string()],
            Err(error) => return Err(error),
        };
        if problems.is_empty() {
            break;
        }
    }
    Ok(problems)
}

async fn once(
    store: &Reader,
    step_id: StepId,
    streams: &[&Recorded],
    overview: &Overview,
    reads_logs: bool,
) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    let rows = store.summaries(step_id).await?;
    let stored = store.step_results(step_id).await?;
    let mut combined = Combined::default();
    for row in &rows {
        combined.add(row);
        let pod = pod_of(streams, row);
        if row.seal != row.summary.seal() {
            problems.push(format!(
                "what {pod} reported was changed (runner_summaries)"
            ));
        } else if reads_logs && is_readable(store, streams, row).await? {
            // A log that can't be read is its container's error, and no end to the check of the others.
            let read = summary_of(store, row.summary.stream_id).await;
            if read.is_ok_and(|read| read != row.summary) {
                problems.push(format!(
                    "what {pod} reported is not what its log says (runner_summaries)"
                ));
            }
        }
    }
    let is_as_sealed = match stored.seal {
        Some(seal) => seal == combined.seal(step_id),
        None => rows.is_empty(),
    };
    if !is_as_sealed {
        problems
            .push("a summary of its runners is missing or was added (runner_summaries)".to_owned());
    }
    if stored.results != combined.results() {
        problems.push(
            "its results are not those of its runners (step_metrics, step_checks, step_thresholds, runners_reported)"
                .to_owned(),
        );
    }
    for pod in store
        .without_summary(step_id, overview.underived_streams)
        .await?
    {
        problems.push(format!(
            "the log of {pod} was not read for results (summary_due)"
        ));
    }
    Ok(problems)
}

fn pod_of<'a>(streams: &[&'a Recorded], row: &SummaryRow) -> &'a str {
    stream_of(streams, row).map_or("a runner that is not there", |recorded| {
        &recorded.stream.facts.pod_name
    })
}

fn stream_of<'a>(streams: &[&'a Recorded], row: &SummaryRow) -> Option<&'a Recorded> {
    let id = row.summary.stream_id;
    streams
        .iter()
        .find(|recorded| recorded.stream.id == id)
        .copied()
}

/// Whether its log is there, and this version's parser has read it.
async fn is_readable(
    store: &Reader,
    streams: &[&Recorded],
    row: &SummaryRow,
) -> Result<bool, StoreError> {
    let is_ours = |recorded: &Recorded| {
        let stream = &recorded.stream;
        stream.complete && stream.facts.role == Role::Runner && row.summary.parser == PARSER
    };
    if !stream_of(streams, row).is_some_and(is_ours) {
        return Ok(false);
    }
    let gaps = store.gap_rows(row.summary.stream_id).await?;
    Ok(!gaps
        .iter()
        .flatten()
        .any(|gap| gap.gap.cause == GapCause::Pruned))
}
