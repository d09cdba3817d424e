//! Whether this instance can do its work, as far as the loop knows: the database is open and writable, and cycles succeed.
//!
//! The loop reports it, `/readyz` shows it, and while we must not use the database the election leaves the lease to others.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::election::Leadership;
use crate::store::Store;

/// A database that does not answer within this is not reachable.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How many cycles must fail in a row before it is more than a hiccup.
const FAILURES: u32 = 3;

/// What the loop knows.
#[derive(Debug)]
pub(crate) struct Readiness {
    store: OnceLock<Arc<Store>>,
    /// Why the database must not be used now; `None`: it may be.
    unfit: watch::Sender<Option<String>>,
    /// Why cycles fail; `None`: they don't.
    failing: Mutex<Option<String>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            store: OnceLock::new(),
            unfit: watch::Sender::new(Some("the database is being opened".to_owned())),
            failing: Mutex::new(None),
        }
    }
}

impl Readiness {
    /// The database is open and has our schema.
    pub(crate) fn opened(&self, store: &Arc<Store>) {
        // It is opened once.
        let _ = self.store.set(Arc::clone(store));
        self.fit();
    }

    /// The database, where it may be read.
    ///
    /// # Errors
    /// Why it may not, now.
    pub(crate) fn store(&self) -> Result<Arc<Store>, String> {
        if let Some(problem) = self.unfit.borrow().clone() {
            return Err(problem);
        }
        let store = self.store.get().map(Arc::clone);
        store.ok_or_else(|| "the database is being opened".to_owned())
    }

    /// The database must not be used because of `problem`.
    pub(crate) fn unfit(&self, problem: String) {
        self.unfit.send_replace(Some(problem));
    }

    /// The database may be used.
    pub(crate) fn fit(&self) {
        self.unfit.send_replace(None);
    }

    /// Follows why the database must not be used (`None`: it may be).
    pub(crate) fn fitness(&self) -> watch::Receiver<Option<String>> {
        self.unfit.subscribe()
    }

    /// A cycle was completed.
    pub(crate) fn completed(&self) {
        self.set_failing(None);
    }

    /// No cycle is to follow, since sync is off or another's: how the last one ended tells nothing of now.
    pub(crate) fn rests(&self) {
        self.set_failing(None);
    }

    /// A cycle failed, the last of `in_a_row`.
    pub(crate) fn failed(&self, in_a_row: u32, problem: &str, is_database: bool) {
        if is_database || in_a_row >= FAILURES {
            self.set_failing(Some(format!("the last cycle failed: {problem}")));
        }
    }

    fn set_failing(&self, problem: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Database and API server answer and cycles succeed; or another instance syncs, and we have nothing to do.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) async fn check(&self, leadership: Leadership) -> Result<(), String> {
        if let Some(problem) = self.unfit.borrow().clone() {
            return Err(problem);
        }
        match leadership {
            Leadership::Standby { holder: Some(_) } => return Ok(()),
            Leadership::Standby { holder: None } => {
                return Err(
                    "the lease can't be read: the API server is not reachable, or does not let us"
                        .to_owned(),
                );
            }
            Leadership::Leader => {}
        }
        let failing = self
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(problem) = failing {
            return Err(problem);
        }
        let Some(store) = self.store.get() else {
            return Ok(());
        };
        match timeout(PING_TIMEOUT, store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "the database does not answer within {PING_TIMEOUT:?}"
            )),
        }
    }
}
