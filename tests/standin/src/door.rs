//! The door that every request to the API or the kubelet passes: it is counted, delayed, and perhaps spoilt.

use std::future::Future;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;

use crate::cluster::Cluster;
use crate::faults::{self, FaultAction};
use crate::status::{Failure, bytes_response, page_not_found};
use crate::target::Call;

/// Lets a request of this kind through to `answer`, or answers it with a fault.
pub(crate) async fn pass(
    cluster: &Cluster,
    kind: &str,
    call: Option<&Call>,
    answer: impl Future<Output = Response>,
) -> Response {
    cluster.count(kind);
    let latency = cluster.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let name = call.and_then(|call| call.name.as_deref()).unwrap_or("");
    let Some(action) = cluster.draw_fault(kind, name) else {
        return dated(cluster, answer.await);
    };
    match action {
        FaultAction::Status {
            code,
            retry_after_seconds,
        } => Failure::trouble(code, retry_after_seconds).into_response(),
        FaultAction::ResetBeforeBody => faults::hang_up(),
        FaultAction::Silence { duration } => {
            tokio::time::sleep(duration).await;
            faults::hang_up()
        }
        FaultAction::Endless { code } => bytes_response(
            StatusCode::from_u16(code).unwrap_or(StatusCode::OK),
            "application/json",
            faults::endless(),
        ),
        FaultAction::Header { name, value } => with_header(answer.await, name, &value),
        FaultAction::RetryAfter { code, value } => with_header(
            Failure::trouble(code, None).into_response(),
            "retry-after",
            &value,
        ),
        FaultAction::Garbage => bytes_response(
            StatusCode::OK,
            "application/json",
            "{\"kind\":\"Garbage\",\"items\":[{\"metadata\":",
        ),
        FaultAction::NotFound => match call.and_then(|call| Some((call, call.name.as_ref()?))) {
            Some((call, name)) => Failure::not_found(call.resource, name).into_response(),
            None => page_not_found(),
        },
        FaultAction::ResetMidBody { .. }
        | FaultAction::CleanCut { .. }
        | FaultAction::Stall { .. }
        | FaultAction::ShortBody => faults::spoil(answer.await, &action),
    }
}

fn with_header(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Where the cluster's clock is not the real one, the `Date` shows it.
fn dated(cluster: &Cluster, mut response: Response) -> Response {
    let offset = cluster.clock_offset();
    if !offset.is_zero() {
        let now = (Timestamp::now() + offset).strftime("%a, %d %b %Y %H:%M:%S GMT");
        if let Ok(date) = HeaderValue::try_from(now.to_string()) {
            response.headers_mut().insert(header::DATE, date);
        }
    }
    response
}
