//! How many requests of each kind arrived, and how many bytes were sent: what tests of frugality ask.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What went in and out since the start or the last reset.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By kind (`list pods`, `get pods/log`), refused and spoilt ones included.
    requests: Mutex<BTreeMap<String, u64>>,
    sent_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, kind: &str) {
        let mut counts = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.sent_bytes.store(0, Ordering::Relaxed);
    }
}
