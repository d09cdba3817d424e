//! What the loop does beside its cycles, since it can't wait for one: new TestRuns are held, deleted ones released, and all of
//! them when sync is switched off.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::hints::{Hint, Hints};
use super::schedule::Schedule;
use super::ticks::Engine;
use crate::cycle;

/// TestRuns that are being deleted are released within this, at the end.
const LAST_RELEASE: Duration = Duration::from_millis(1_500);

impl Engine {
    /// Watches TestRuns, or no longer.
    pub(super) fn watch_test_runs(&mut self, is_active: bool) {
        match (is_active, &self.hints) {
            (true, None) => {
                self.hints = Some(Hints::begin(&self.cluster, &self.settings.namespaces));
            }
            (false, Some(_)) => self.hints = None,
            _ => {}
        }
    }

    /// A cycle takes its time, and the next one may have to wait for its turn: what can't wait is done beside it.
    pub(super) fn act_on(&mut self, hints: Vec<Hint>, schedule: &mut Schedule) {
        let (mut to_hold, mut to_release) = (Vec::new(), Vec::new());
        for hint in hints {
            match hint {
                Hint::Hold(test_run) => to_hold.push(test_run),
                Hint::Release(test_run) => to_release.push(test_run),
                Hint::Look => schedule.want(),
            }
        }
        let (store, settings) = (&self.store, &self.settings);
        let cluster = self.swift.until(Instant::now() + settings.deadline);
        if !to_hold.is_empty() {
            let (cluster, store, settings) = (cluster.clone(), Arc::clone(store), settings.clone());
            self.at_once.spawn(async move {
                let held = cycle::hold::hold_new(&cluster, &store, &settings, &to_hold);
                if let Err(error) = held.await {
                    tracing::warn!(%error, "new TestRuns could not be held; the next cycle tries again");
                }
            });
        }
        if !to_release.is_empty() {
            let (store, settings) = (Arc::clone(store), settings.clone());
            self.at_once.spawn(async move {
                let free = cycle::release_deleted(&cluster, &store, &settings, &to_release);
                if let Err(error) = free.await {
                    tracing::warn!(%error, "deleted TestRuns could not be released; the next cycle tries again");
                }
            });
        }
    }

    /// Nobody may look after them from now on.
    pub(super) async fn release_deleted(&self) {
        let cluster = self.swift.until(Instant::now() + LAST_RELEASE);
        let released = cycle::hold::release_deleted_at_exit(&cluster, &self.store, &self.settings);
        let problem = match timeout(LAST_RELEASE, released).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "there was no time".to_owned(),
        };
        tracing::warn!(
            problem,
            "deleted TestRuns may still be held; `k6sync release` lets them go"
        );
    }

    /// Sync is off, so that no TestRun is to be held.
    pub(super) fn release_all(&self) -> JoinHandle<()> {
        let (cluster, settings) = (self.swift.clone(), self.settings.clone());
        let store = Arc::clone(&self.store);
        // Its end is waited for by `released`.
        tokio::spawn(async move {
            let cluster = cluster.until(Instant::now() + settings.deadline);
            let released = async {
                store.check().await?;
                cycle::hold::release_all(&cluster, &store, &settings).await
            };
            let released = timeout(settings.longest(), released).await;
            let problem = match released {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the database does not answer".to_owned(),
            };
            tracing::warn!(
                problem,
                "cannot release the TestRuns that are held; the next tick tries again"
            );
        })
    }
}
