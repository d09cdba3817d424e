//! The logs of a cycle: all that the plans want read or closed, many at a time.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use super::capture::{Captured, Task, capture};
use super::plan::{StepPlan, Todo};
use super::recorder::recorder;
use super::settings::Settings;
use super::streams::Streams;
use crate::cluster::{Cluster, UNANSWERED};
use crate::store::{StepId, Store, StoreError, StreamId};

/// Captures under way for each log request that is allowed at a time: some ask for logs while others are being stored. To
/// these come those whose logs do not come.
const CAPTURES_A_REQUEST: usize = 2;

/// What came of each log, with the id of its step.
pub(super) type Captures = Vec<(StepId, Captured)>;

/// Brings all logs up to date, as many at a time as the settings say, and notes which of them are quiet. No log is read
/// after `deadline`; `now` is the API server's time.
///
/// # Errors
/// When the database itself failed. What was stored until then is right.
pub(super) async fn bring_up_to_date(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    plans: &[StepPlan],
    streams: &Streams,
    deadline: Instant,
    now: Timestamp,
) -> Result<Captures, StoreError> {
    let tasks = &tasks(plans, streams);
    let cluster = &cluster.with_log_limit(settings.concurrency);
    let (recorder, appends) = recorder(settings.concurrency * CAPTURES_A_REQUEST);
    let captures = async move {
        let recorder = &recorder;
        stream::iter(0..tasks.len())
            .map(|number| async move {
                let task = tasks[number];
                let captured = capture(cluster, store, recorder, task, deadline, now).await;
                (task.step.id, captured)
            })
            .buffer_unordered(settings.concurrency * CAPTURES_A_REQUEST + UNANSWERED)
            .collect()
            .await
    };
    let (captures, ()): (Captures, ()) = tokio::join!(captures, appends.store(store));
    let mut each = captures.iter().map(|(_, captured)| captured);
    if let Some(error) = each.find_map(Captured::database_failure) {
        return Err(error);
    }
    if settings.may_rest {
        let each = captures.iter();
        let quiet: Vec<StreamId> = each.filter_map(|(_, log)| log.quiet_stream).collect();
        store.note_quiet(&quiet, now).await?;
    }
    Ok(captures)
}

fn tasks<'a>(plans: &'a [StepPlan], streams: &'a Streams) -> Vec<Task<'a>> {
    let planned = plans
        .iter()
        .flat_map(|plan| plan.streams.iter().map(move |planned| (plan, planned)));
    planned
        .filter(|(_, planned)| planned.todo != Todo::Nothing)
        .filter_map(|(plan, planned)| {
            Some(Task {
                step: &plan.step,
                stream: streams.get(&planned.facts.key)?,
                todo: planned.todo,
            })
        })
        .collect()
}
