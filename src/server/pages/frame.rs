//! What all pages have around them: title, icon, the way to other pages.

use super::assets;
use super::notice::Notice;
use super::visitor::Visitor;
use crate::record::Record;
use crate::report::verdict::Tone;
use crate::store::StoreError;

/// What a page has around it.
pub(super) struct Frame {
    pub title: String,
    /// Of the status that the icon tells.
    pub icon: String,
    pub style: &'static str,
    pub script: &'static str,
    /// Which part of the pages it is: `runs`, `job`.
    pub part: &'static str,
    /// Whether there is somebody who can sign out, and as whom.
    pub name: Option<String>,
    pub csrf: String,
    pub may_sign_out: bool,
    /// That what is shown may be old; `None`: nothing of the record is shown.
    pub notice: Option<Notice>,
    pub version: &'static str,
}

/// The version that made the page.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Frame {
    pub(super) fn of(title: impl Into<String>, part: &'static str, visitor: &Visitor) -> Self {
        Self {
            title: title.into(),
            icon: assets::icon(None),
            style: assets::style(),
            script: assets::script(),
            part,
            name: visitor.name.clone(),
            csrf: visitor.csrf.clone().unwrap_or_default(),
            may_sign_out: visitor.may_sign_out,
            notice: None,
            version: VERSION,
        }
    }

    /// It shows something of the record, and says whether that may be old.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) async fn over(self, record: &Record) -> Result<Self, StoreError> {
        Ok(Self {
            notice: Some(Notice::of(record).await?),
            ..self
        })
    }

    /// Its icon tells how something is.
    pub(super) fn with_icon(self, tone: Tone) -> Self {
        Self {
            icon: assets::icon(Some(tone)),
            ..self
        }
    }
}
