//! Who follows which runs, and how far those are: one look for all, whoever and however many follow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::record::RunState;
use crate::server::refusal::Refusal;
use crate::server::source::Source;
use crate::store::RunId;

/// How often it is looked how far the followed runs are: new lines are seen well within a second.
const LOOK: Duration = Duration::from_millis(300);
/// Followers that catch up at a time; others who read shall have connections, too.
const CATCH_UP: usize = 2;
/// Whoever takes longer than this to catch up, or to take what was read, lets others go on, too.
const LONGEST_TURN: Duration = Duration::from_secs(2);

/// Who follows what.
pub(super) struct Follows {
    source: Arc<Source>,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    most: usize,
    runs: Mutex<HashMap<RunId, watch::Sender<Sighted>>>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighted {
    /// Nobody has looked yet.
    Unknown,
    There(RunState),
    /// It was deleted.
    Gone,
}

/// A turn to catch up, for at most [`LONGEST_TURN`].
pub(super) struct Turn(JoinHandle<()>);

impl Turn {
    /// Others go on.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follows {
    pub(super) fn new(source: Arc<Source>, most: usize) -> Self {
        Self {
            source,
            places: Arc::new(Semaphore::new(most)),
            turns: Arc::new(Semaphore::new(CATCH_UP)),
            most,
            runs: Mutex::default(),
        }
    }

    /// A place among those who follow.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| {
            let most = self.most;
            Refusal::away(format!(
                "{most} logs are being followed, as many as may be (api.maxFollowers)"
            ))
        })
    }

    /// How far the run is, from now on. When nobody looks any more the channel is closed.
    pub(super) fn watch(self: &Arc<Self>, run: RunId) -> watch::Receiver<Sighted> {
        let mut runs = self.runs();
        let is_first = runs.is_empty();
        let sender = runs
            .entry(run)
            .or_insert_with(|| watch::Sender::new(Sighted::Unknown));
        let mut receiver = sender.subscribe();
        // What was told before is news to whoever comes now.
        receiver.mark_changed();
        if is_first {
            // It ends when nobody follows any more, or when the record can't be read.
            tokio::spawn(Arc::clone(self).look());
        }
        receiver
    }

    /// A turn to catch up: it takes memory. Nothing closes the semaphore.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        // While whoever follows takes nothing, nobody asks how long that has been.
        let lease = tokio::spawn(async move {
            sleep(LONGEST_TURN).await;
            drop(permit);
        });
        Some(Turn(lease))
    }

    async fn look(self: Arc<Self>) {
        loop {
            let ids: Vec<RunId> = {
                let mut runs = self.runs();
                runs.retain(|_, sender| sender.receiver_count() > 0);
                if runs.is_empty() {
                    return;
                }
                runs.keys().copied().collect()
            };
            let states = match self.source.record().await {
                Ok(record) => record.states(&ids).await.map_err(|error| error.to_string()),
                Err(problem) => Err(problem),
            };
            match states {
                Ok(states) => self.tell(&ids, &states),
                Err(problem) => {
                    tracing::debug!(problem, "the followed logs end, and may be followed again");
                    self.runs().clear();
                    return;
                }
            }
            sleep(LOOK).await;
        }
    }

    fn tell(&self, ids: &[RunId], states: &[RunState]) {
        let runs = self.runs();
        for id in ids {
            let state = states.iter().find(|state| state.id == *id);
            let now = state.map_or(Sighted::Gone, |state| Sighted::There(*state));
            if let Some(sender) = runs.get(id) {
                sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            }
        }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<Sighted>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
