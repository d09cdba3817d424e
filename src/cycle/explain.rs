//! What the stored logs say better than the cluster showed: the words and the reason of a step that has trouble.

use super::plan::StepPlan;
use super::streams::Streams;
use super::verdict::{self, Clue};
use crate::isolate::isolated;
use crate::k6;
use crate::store::{Store, StoreError};

/// The end of a log that is searched for the last error, in chunks.
const TAIL_CHUNKS: i64 = 4;

/// Explains better what went wrong with the steps whose verdict names a log that may say more.
pub(super) async fn explain(
    store: &Store,
    plans: &mut [StepPlan],
    streams: &Streams,
) -> Result<(), StoreError> {
    for plan in plans {
        explain_step(store, plan, streams).await?;
    }
    Ok(())
}

async fn explain_step(
    store: &Store,
    plan: &mut StepPlan,
    streams: &Streams,
) -> Result<(), StoreError> {
    let Some(clue) = &plan.clue else {
        return Ok(());
    };
    let (Clue::LastError(key) | Clue::Requirements(key)) = clue;
    let Some(stream) = streams.get(key) else {
        return Ok(());
    };
    let tail = store.log_tail(stream.id, TAIL_CHUNKS).await?;
    let record = &mut plan.record;
    match isolated(|| explanation(clue, &tail, record.parallelism)) {
        Ok(None) => {}
        Ok(Some((None, message))) => record.message = Some(message),
        // The log so far may not be complete; a step with open logs is looked at again.
        Ok(Some((reason, message))) => {
            if store.with_open_logs(&[plan.step.id]).await?.is_empty() {
                record.reason = reason;
                record.message = Some(message);
            }
        }
        Err(bug) => plan
            .errors
            .push(format!("its log was not understood: {bug}")),
    }
    Ok(())
}

/// What a log says better than what could be seen: a message, and a reason if that was wrong too.
fn explanation(
    clue: &Clue,
    log: &str,
    parallelism: Option<i64>,
) -> Option<(Option<String>, String)> {
    match clue {
        Clue::LastError(_) => k6::last_error(log).map(|message| (None, message)),
        Clue::Requirements(_) => {
            let max_vus = k6::max_vus(log)?;
            let (reason, message) = verdict::too_many_runners(parallelism, max_vus)?;
            Some((Some(reason), message))
        }
    }
}
