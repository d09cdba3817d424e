//! What one must know of all that is shown: that it may be old.

use askama::Template;
use jiff::Timestamp;

use crate::record::{Record, Stall};
use crate::report::html::Time;
use crate::store::StoreError;

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
    /// [`StoreError`]
    pub(super) async fn of(record: &Record) -> Result<Self, StoreError> {
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
