//! What one must know of all that is shown: that it may be old.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;

use super::answer::unless_known;
use super::problem::Problem;
use super::state::Pages;
use crate::record::{Record, Stall};
use crate::report::html::Time;

/// Nobody syncs; `None`: somebody does.
#[derive(Template)]
#[template(path = "notice.html", config = "src/server/askama.toml")]
pub(super) struct Notice {
    why: Option<Why>,
}

struct Why {
    words: String,
    since: Option<Time>,
}

impl Notice {
    /// As it is now.
    ///
    /// # Errors
    /// [`Problem::Unavailable`]
    pub(super) async fn of(record: &Record) -> Result<Self, Problem> {
        let stall = record.stall(Timestamp::now()).await?;
        let why = stall.map(|stall| match stall {
            Stall::Since(at) => Why {
                words: "the last cycle was completed at ".to_owned(),
                since: Some(Time::of(at)),
            },
            stall => Why {
                words: stall.to_string(),
                since: None,
            },
        });
        Ok(Self { why })
    }
}

/// `GET /notice`
pub(super) async fn notice(
    State(pages): State<Arc<Pages>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    unless_known(&Notice::of(record).await?, &headers)
}
