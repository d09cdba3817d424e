//! Answers as JSON, and whether whoever asks has them already.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::server::refusal::Refusal;

/// Kept by whoever asked, for them alone, and asked about each time: rights may be taken.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Names a content: another one has another tag.
pub(super) fn tag(content: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in content {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let digits = hash.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("\"{}\"", digits.collect::<String>())
}

/// The answer is in the hands of whoever asks: that one has not changed.
pub(super) fn not_modified(headers: &HeaderMap, tag: &str) -> Option<Response> {
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(|known| known.trim().trim_start_matches("W/"));
    let is_known = known.any(|known| known == tag || known == "*");
    is_known.then(|| kept(StatusCode::NOT_MODIFIED.into_response(), tag))
}

/// An answer that may be kept under this tag.
pub(super) fn kept(mut response: Response, tag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, PRIVATE);
    headers.insert(
        VARY,
        HeaderValue::from_static("Accept, Authorization, Cookie, X-API-Key"),
    );
    if let Ok(tag) = tag.parse() {
        headers.insert(ETAG, tag);
    }
    response
}

/// An answer that is soon another.
pub(super) fn passing(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// As JSON. `is_over`: it changes no more.
pub(super) fn json(
    headers: &HeaderMap,
    value: &impl Serialize,
    is_over: bool,
) -> Result<Response, Refusal> {
    let body = serde_json::to_vec(value).map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the answer can't be written: {error}"),
        )
    })?;
    if !is_over {
        return Ok(passing(of(body)));
    }
    let tag = tag(&[&body]);
    Ok(not_modified(headers, &tag).unwrap_or_else(|| kept(of(body), &tag)))
}

fn of(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
