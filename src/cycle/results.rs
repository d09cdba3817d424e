//! What k6 measured: read from the ends of runners' logs once these are complete, and put together for each step.
//!
//! A verdict never waits for it: what can't be done now is still due in the next cycle.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::plan::{StepPlan, Todo};
use super::streams::Streams;
use crate::isolate::isolated;
use crate::k6;
use crate::k6::combine::StepResults;
use crate::k6::message::failed_thresholds;
use crate::k6::summary::{Outcome, PARSER, Problem, Source, Summary, WINDOW_BYTES, summarize};
use crate::progress::Progress;
use crate::store::{
    Reader, Role, RunId, RunnerLog, RunnerSummary, Status, Step, StepId, StepRecord, StepScope,
    StepUpdate, Store, StoreError, StreamId, StreamState, SummarySource,
};

/// Ends of logs read at a time.
const AT_A_TIME: usize = 4;
/// The most that is read of a log's end. A summary that is longer is unreadable.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Chunks read first, and at most at a time. Each has 256 KiB at most, but for a longer line.
const FIRST_CHUNKS: i64 = 2;
const MOST_CHUNKS: i64 = 256;
/// Summaries stored at a time.
const BATCH: usize = 200;
/// Verdicts wait no longer. What is left is still due.
const TIME_TO_DERIVE: Duration = Duration::from_secs(20);

/// How many summaries came of which source.
pub(crate) type Sources = BTreeMap<SummarySource, u64>;

/// What was derived in a cycle.
#[derive(Debug, Default)]
pub(super) struct Derived {
    pub(super) sources: Sources,
    /// Logs whose results are stored. They stay due until their steps' messages are, too: of several syncs at once, another may have
    /// given the verdict before these results were there.
    logs: Vec<RunnerLog>,
}

impl Derived {
    /// Notes of which logs the results are stored, and said by their steps.
    ///
    /// Where another sync was faster to give the verdict (`updates` that are not among the `updated`), it may not have known which
    /// thresholds failed: its message is set right. If it moves on again meanwhile, the logs stay due, and the next cycle does it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) async fn note(
        &self,
        store: &Store,
        scope: &StepScope<'_>,
        updates: &[StepUpdate],
        updated: &[StepId],
    ) -> Result<(), StoreError> {
        let mut unsaid: Vec<&StepUpdate> = updates
            .iter()
            .filter(|update| !updated.contains(&update.id))
            .filter(|update| self.logs.iter().any(|log| log.step_id == update.id))
            .collect();
        if !unsaid.is_empty() {
            let (now, _) = store.active_steps(scope).await?;
            let again: Vec<StepUpdate> = unsaid
                .iter()
                .filter_map(|update| {
                    corrected(update, now.iter().find(|step| step.id == update.id)?)
                })
                .collect();
            let corrected = store.correct_steps(&again).await?;
            unsaid.retain(|update| {
                again.iter().any(|again| again.id == update.id) && !corrected.contains(&update.id)
            });
        }
        let is_unsaid = |step: StepId| unsaid.iter().any(|update| update.id == step);
        let said: Vec<StreamId> = self
            .logs
            .iter()
            .filter(|log| !is_unsaid(log.step_id))
            .map(|log| log.stream_id)
            .collect();
        store.note_derived(&said).await
    }
}

/// The step as another sync has left it, with the message that we know; `None`: nothing is to be set right.
fn corrected(ours: &StepUpdate, theirs: &Step) -> Option<StepUpdate> {
    let is_same_verdict =
        (theirs.record.status, &theirs.record.reason) == (ours.record.status, &ours.record.reason);
    let has_failed = theirs.record.reason.as_deref() == Some(k6::THRESHOLDS_HAVE_FAILED);
    let is_new = theirs.record.message != ours.record.message;
    (is_same_verdict && has_failed && is_new).then(|| StepUpdate {
        version: theirs.version,
        record: StepRecord {
            message: ours.record.message.clone(),
            ..theirs.record.clone()
        },
        ..ours.clone()
    })
}

/// Reads the summaries of the runners whose logs have become complete, stores the results of their steps, and says in the
/// message of a step that failed by its thresholds which those were. What goes wrong with one step is its error.
///
/// # Errors
/// When the database itself failed.
pub(super) async fn derive(
    store: &Store,
    plans: &mut [StepPlan],
    streams: &Streams,
) -> Result<Derived, StoreError> {
    let mut derived = Derived::default();
    let steps: Vec<StepId> = plans
        .iter()
        .filter(|plan| may_have_reported(plan, streams))
        .map(|plan| plan.step.id)
        .collect();
    if !steps.is_empty() {
        let due = store.due_summaries(&steps).await?;
        let until = Instant::now() + TIME_TO_DERIVE;
        for logs in due.chunk_by(|a, b| a.step_id == b.step_id) {
            let id = logs[0].step_id;
            let Some(plan) = plans.iter_mut().find(|plan| plan.step.id == id) else {
                continue;
            };
            let work = derive_step(store, logs, &mut derived.sources, &|_| {});
            match timeout_at(until, work).await {
                Ok(Ok(())) => derived.logs.extend_from_slice(logs),
                Ok(Err(error)) if error.is_general() => return Err(error),
                Ok(Err(error)) => plan
                    .errors
                    .push(format!("its results were not stored: {error}")),
                Err(_) => {
                    tracing::warn!("there was no time for all results; the next cycle goes on");
                    break;
                }
            }
        }
    }
    for plan in plans.iter_mut().filter(|plan| failed_by_thresholds(plan)) {
        match store.step_thresholds(plan.step.id).await {
            Ok((thresholds, marks)) => {
                let results = StepResults {
                    thresholds,
                    marks,
                    ..StepResults::default()
                };
                if let Some(message) = failed_thresholds(&results) {
                    plan.record.message = Some(message);
                }
            }
            Err(error) if error.is_general() => return Err(error),
            Err(error) => plan
                .errors
                .push(format!("its thresholds were not read: {error}")),
        }
    }
    Ok(derived)
}

/// Whether one of its runners' logs is complete, or has become so in this cycle.
fn may_have_reported(plan: &StepPlan, streams: &Streams) -> bool {
    !plan.step.id.is_imagined()
        && plan.streams.iter().any(|planned| {
            planned.facts.role == Role::Runner
                && (planned.facts.state == StreamState::Terminated
                    || matches!(planned.todo, Todo::Close(_))
                    || streams
                        .get(&planned.facts.key)
                        .is_some_and(|stream| stream.complete))
        })
}

/// Its message is to name thresholds.
fn failed_by_thresholds(plan: &StepPlan) -> bool {
    !plan.step.id.is_imagined()
        && plan.record.status == Status::Failed
        && plan.record.reason.as_deref() == Some(k6::THRESHOLDS_HAVE_FAILED)
}

/// Reads the stored logs of runners once more and makes the results of their steps anew: of those that have no summary by
/// this parser or a newer one, or with `again` of all that have no newer one. Logs that were pruned keep theirs. `progress`
/// counts logs.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn rebuild(
    store: &Store,
    runs: Option<&[RunId]>,
    again: bool,
    progress: &impl Progress,
) -> Result<Sources, StoreError> {
    let mut sources = Sources::new();
    progress.begin(store.count_to_rebuild(runs, PARSER, again).await?);
    let mut step = StepId(i64::MIN);
    loop {
        let logs = store.next_to_rebuild(step, runs, PARSER, again).await?;
        let Some(first) = logs.first() else {
            return Ok(sources);
        };
        step = first.step_id;
        derive_step(store, &logs, &mut sources, &|logs| progress.advance(logs)).await?;
    }
}

/// Complete logs of runners that have no summary by this parser or a newer one, and whose lines are still there.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn without_results(store: &Reader) -> Result<u64, StoreError> {
    store.count_to_rebuild(None, PARSER, false).await
}

/// Reads these logs of one step, and makes its results anew.
async fn derive_step(
    store: &Store,
    logs: &[RunnerLog],
    sources: &mut Sources,
    done: &impl Fn(u64),
) -> Result<(), StoreError> {
    for batch in logs.chunks(BATCH) {
        let summaries: Vec<Result<RunnerSummary, StoreError>> = stream::iter(0..batch.len())
            .map(|number| summary_of(store, batch[number].stream_id))
            .buffered(AT_A_TIME)
            .collect()
            .await;
        let summaries = summaries.into_iter().collect::<Result<Vec<_>, _>>()?;
        store.put_summaries(&summaries).await?;
        for summary in &summaries {
            *sources.entry(summary.source).or_default() += 1;
        }
        done(batch.len() as u64);
    }
    match logs.first() {
        Some(log) => store.combine_results(log.step_id).await.map(|_| ()),
        None => Ok(()),
    }
}

/// What the end of a stored log says.
///
/// # Errors
/// [`StoreError::Statement`]
pub(crate) async fn summary_of(
    store: &Reader,
    stream_id: StreamId,
) -> Result<RunnerSummary, StoreError> {
    let mut tail = Tail::of(stream_id);
    let mut window = WINDOW_BYTES;
    let found = loop {
        tail.extend(store, window).await?;
        let whole = tail.is_whole || window >= MOST_BYTES;
        match isolated(|| summarize(tail.text.as_bytes(), whole)) {
            Ok(Outcome::CutOff) if !whole => window *= 2,
            Ok(outcome) => break Ok(outcome),
            Err(bug) => break Err(bug),
        }
    };
    let blank = RunnerSummary {
        stream_id,
        source: SummarySource::None,
        problem: None,
        parser: PARSER,
        k6_version: None,
        duration_ms: None,
        document: None,
    };
    let unreadable = |problem: String| RunnerSummary {
        source: SummarySource::Unreadable,
        problem: Some(problem),
        ..blank.clone()
    };
    Ok(match found {
        Ok(Outcome::Found(summary)) => match serde_json::to_string::<Summary>(&summary) {
            Ok(document) => RunnerSummary {
                source: match summary.source {
                    Source::Json => SummarySource::Json,
                    Source::Text => SummarySource::Text,
                },
                k6_version: summary.k6_version.clone(),
                duration_ms: summary.duration_ms,
                document: Some(document),
                ..blank
            },
            Err(error) => unreadable(error.to_string()),
        },
        Ok(Outcome::Absent) => blank,
        Ok(Outcome::Unreadable(Problem::Incomplete) | Outcome::CutOff) => {
            unreadable("incomplete".to_owned())
        }
        Ok(Outcome::Unreadable(Problem::Malformed)) => unreadable("malformed".to_owned()),
        Err(bug) => {
            tracing::error!(%bug, stream = stream_id.0, "a summary was not understood");
            unreadable("bug".to_owned())
        }
    })
}

/// The end of a stored log, as much of it as was asked for.
struct Tail {
    stream_id: StreamId,
    /// Chunks from this number on are in it.
    seq: i64,
    text: String,
    /// It is the whole log.
    is_whole: bool,
}

impl Tail {
    fn of(stream_id: StreamId) -> Self {
        Self {
            stream_id,
            seq: i64::MAX,
            text: String::new(),
            is_whole: false,
        }
    }

    /// Reads back until there are `bytes`, or the log begins.
    async fn extend(&mut self, store: &Reader, bytes: usize) -> Result<(), StoreError> {
        let mut count = FIRST_CHUNKS;
        while !self.is_whole && self.text.len() < bytes {
            let chunks = store.chunks_back(self.stream_id, self.seq, count).await?;
            self.is_whole = i64::try_from(chunks.len()) != Ok(count);
            let mut texts: Vec<&str> = chunks.iter().map(|(_, body)| body.as_str()).collect();
            texts.reverse();
            let read = texts.concat();
            // About as many as are still needed, by what those had.
            let average = (read.len() / chunks.len().max(1)).max(1);
            self.text.insert_str(0, &read);
            if let Some((seq, _)) = chunks.last() {
                self.seq = *seq;
            }
            let missing = bytes.saturating_sub(self.text.len()) / average + 1;
            count = i64::try_from(missing)
                .unwrap_or(MOST_CHUNKS)
                .clamp(1, MOST_CHUNKS);
        }
        Ok(())
    }
}
