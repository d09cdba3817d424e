//! Who asks for a page.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::record::Run;
use crate::server::sight::Sight;

/// Who asks, and what they may see. Whoever serves the pages puts one into each request's extensions; without it nobody sees
/// anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub sight: Sight,
    /// Who has signed in; `None`: nobody can, or need.
    pub name: Option<String>,
    /// They have a session here, which they may end.
    pub may_sign_out: bool,
    /// What a form that changes something must send back as `csrf`; `None`: nothing can be changed.
    pub csrf: Option<String>,
}

impl Visitor {
    /// The run, if all of it may be seen.
    pub(super) fn sees(&self, run: Run) -> Option<Run> {
        self.sight.of(run)
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
