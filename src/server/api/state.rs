//! What the handlers of the API share.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::follows::Follows;
use crate::server::look::House;
use crate::server::refusal::Refusal;
use crate::server::refusals::Refusals;

/// Logs that are read at a time: each may take some megabytes.
const LOGS: usize = 16;

/// What its handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(super) house: House,
    refusals: Refusals,
    pub(super) follows: Arc<Follows>,
    pub(super) logs: Arc<Semaphore>,
}

impl Api {
    /// `followers`: how many may follow logs at a time.
    pub(crate) fn new(house: House, refusals: Refusals, followers: usize) -> Self {
        Self {
            follows: Arc::new(Follows::new(Arc::clone(&house.source), followers)),
            house,
            refusals,
            logs: Arc::new(Semaphore::new(LOGS)),
        }
    }

    /// The answer, or why there is none.
    pub(super) fn respond(&self, answer: Result<Response, Refusal>) -> Response {
        answer.unwrap_or_else(|refusal| {
            self.refusals.note(refusal.code, &refusal.error);
            refusal.into_response()
        })
    }
}
