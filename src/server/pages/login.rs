//! The page to sign in. What becomes of the token is the door's business.

use askama::Template;
use axum::response::Response;

use super::answer::html;
use super::frame::Frame;
use super::problem::Problem;
use super::visitor::Visitor;

#[derive(Template)]
#[template(path = "login.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    error: Option<String>,
    /// Where to go afterwards.
    next: String,
    namespace: String,
}

/// The page: posts `token` and `next` to `/login`. `error`: why the last token was not taken. `namespace`: where whoever has none
/// finds a service account.
///
/// # Errors
/// [`Problem::Internal`]
pub(crate) fn page(error: Option<&str>, next: &str, namespace: &str) -> Result<Response, Problem> {
    html(&Page {
        frame: Frame::of("Sign in", "", &Visitor::default()),
        error: error.map(crate::report::values::message),
        // Nowhere but here.
        next: match next.starts_with('/') && !next.starts_with("//") && !next.contains('\\') {
            true => next.to_owned(),
            false => "/".to_owned(),
        },
        namespace: namespace.to_owned(),
    })
}
