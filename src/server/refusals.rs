//! Refused requests in the log: the first of a kind at once, and those of the next seconds in one line, however many there are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::sleep;

/// Refusals with one status code within this are one line.
const WINDOW: Duration = Duration::from_secs(10);

/// What was refused lately. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<HashMap<StatusCode, Since>>>);

/// Since the last line with that code.
#[derive(Default)]
struct Since {
    count: u64,
    last_error: String,
}

impl Refusals {
    /// Says it now, or counts it for later.
    pub(super) fn note(&self, code: StatusCode, error: &str) {
        match self.lock().entry(code) {
            Entry::Occupied(mut known) => {
                let since = known.get_mut();
                since.count += 1;
                error.clone_into(&mut since.last_error);
                return;
            }
            Entry::Vacant(new) => new.insert(Since::default()),
        };
        tracing::info!(code = code.as_u16(), error, "refused a request");
        // It ends when nothing was refused for a while. A panic in it would be in the log as each is, and cost these lines alone.
        tokio::spawn(self.clone().sum_up(code));
    }

    async fn sum_up(self, code: StatusCode) {
        loop {
            sleep(WINDOW).await;
            let since = match self.lock().entry(code) {
                Entry::Occupied(known) if known.get().count == 0 => {
                    known.remove();
                    return;
                }
                Entry::Occupied(mut known) => std::mem::take(known.get_mut()),
                Entry::Vacant(_) => return,
            };
            tracing::info!(
                code = code.as_u16(),
                last_error = since.last_error,
                "refused {} more requests in the last {WINDOW:?}",
                since.count
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StatusCode, Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
