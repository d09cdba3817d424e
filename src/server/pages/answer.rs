//! Pages and fragments of them as answers.

use askama::Template;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// The page that the template makes. It is never kept by anybody: it is what somebody may see.
pub(super) fn html(template: &impl Template) -> Result<Response, Problem> {
    let text = template.render().map_err(|error| Problem::Internal {
        problem: error.to_string(),
    })?;
    const HTML: &str = "text/html; charset=utf-8";
    let headers = [(CONTENT_TYPE, HTML), (CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, text).into_response())
}

/// The fragment, or that it is as it was.
pub(super) fn unless_known(
    fragment: &impl Template,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let text = fragment.render().map_err(|error| Problem::Internal {
        problem: error.to_string(),
    })?;
    let hash = Sha256::digest(&text);
    let hash: String = hash[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("W/\"{hash}\"");
    let known = headers.get(IF_NONE_MATCH);
    let headers = [(ETAG, tag.clone()), (CACHE_CONTROL, "no-cache".to_owned())];
    Ok(
        match known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => {
                let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
                (headers, html, text).into_response()
            }
        },
    )
}
