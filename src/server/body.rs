//! A request's body, within limits.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::StatusCode;
use tokio::time::timeout;

/// The limit on a request's body,
const BODY_BYTES: usize = 64 * 1024;
/// and how long it may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The whole body, within its limits; or the status that says what is wrong with it, in words.
pub(super) async fn whole(body: Body) -> Result<Bytes, (StatusCode, String)> {
    match timeout(BODY_TIME, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err((
            StatusCode::BAD_REQUEST,
            format!("the body is longer than {BODY_BYTES} bytes, or broke off"),
        )),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {BODY_TIME:?}"),
        )),
    }
}
