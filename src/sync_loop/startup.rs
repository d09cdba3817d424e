//! The loop's start: a database that is down, being upgraded or not yet there is waited for, while the server tells why.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pulse::Pulse;
use super::readiness::Readiness;
use crate::retry::Pauses;
use crate::store::{Store, StoreError};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// It says that it is alive so often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A database that must not be used is looked at again so often.
const RECHECK: Duration = Duration::from_secs(2);
/// And how long it may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The database, open and of our schema, however long that takes: whatever is wrong with it may be mended from outside.
pub(super) async fn open(
    open: impl AsyncFn() -> Result<Store, StoreError>,
    readiness: &Readiness,
    pulse: &Pulse,
) -> Arc<Store> {
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match alive(pulse, open()).await {
            Ok(store) => {
                let store = Arc::new(store);
                // Who looks need not wait for the control ConfigMap.
                readiness.opened(&store);
                tracing::info!("the database {} is open", store.url());
                return store;
            }
            Err(error) => {
                let pause = pauses.next_pause();
                tracing::error!(next_attempt_in = ?pause, "waiting for the database: {error}");
                readiness.unfit(error.to_string());
                alive(pulse, sleep(pause)).await;
            }
        }
    }
}

/// Does `work`, however long it takes, and says meanwhile that we are alive.
async fn alive<T>(pulse: &Pulse, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        pulse.beat("the start", Instant::now() + HEARTBEAT);
        tokio::select! {
            done = &mut work => return done,
            () = sleep(HEARTBEAT) => {}
        }
    }
}

/// Waits until the database may be used again.
pub(super) async fn wait_until_fit(store: Arc<Store>, readiness: Arc<Readiness>) {
    loop {
        sleep(RECHECK).await;
        match check(&store).await {
            Ok(()) => break,
            Err(problem) => readiness.unfit(problem),
        }
    }
    tracing::info!("the database may be used again");
    readiness.fit();
}

async fn check(store: &Store) -> Result<(), String> {
    tokio::time::timeout(CHECK_TIMEOUT, store.check())
        .await
        .map_err(|_| format!("the database does not answer within {CHECK_TIMEOUT:?}"))?
        .map_err(|error| error.to_string())
}
