//! Sending a request: its time limit, what is tried again, and what an answer that is not a success means.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use kube::client::Body;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use url::form_urlencoded;

use super::Cluster;
use super::call::Call;
use super::error::{ClusterError, chain};
use super::traffic;
use crate::retry::{Policy, Retry, retry};

/// Failed requests are tried again like this, and never beyond the cycle's deadline.
const RETRIES: Policy = Policy {
    first_pause: Duration::from_millis(200),
    longest_pause: Duration::from_secs(5),
    total: Duration::from_secs(30),
};

/// No error body that we read is longer.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// A request, to be made as often as it takes.
#[derive(Debug)]
pub(super) struct Send {
    method: Method,
    uri: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Send {
    pub(super) fn get(uri: &str) -> Self {
        Self::new(Method::GET, uri, "application/json", None)
    }

    pub(super) fn post(uri: &str, object: &Value) -> Self {
        Self::new(Method::POST, uri, "application/json", Some(object))
    }

    pub(super) fn put(uri: &str, object: &Value) -> Self {
        Self::new(Method::PUT, uri, "application/json", Some(object))
    }

    /// A merge patch (RFC 7386): null removes a key.
    pub(super) fn merge(uri: &str, patch: &Value) -> Self {
        Self::new(
            Method::PATCH,
            uri,
            "application/merge-patch+json",
            Some(patch),
        )
    }

    /// Appends a query; values are encoded.
    pub(super) fn query(mut self, query: &[(&str, &str)]) -> Self {
        if !query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .finish();
            self.uri = format!("{}?{query}", self.uri);
        }
        self
    }

    fn new(method: Method, uri: &str, content_type: &'static str, object: Option<&Value>) -> Self {
        Self {
            method,
            uri: uri.to_owned(),
            content_type,
            body: object
                .map(|object| object.to_string().into_bytes())
                .unwrap_or_default(),
        }
    }
}

impl Cluster {
    /// Sends a request and returns the whole body, which is JSON; for objects.
    pub(super) async fn send(&self, call: &Call, request: Send) -> Result<Bytes, ClusterError> {
        let (body, _) = self
            .send_and_read(call, request, |body| {
                serde_json::from_slice::<IgnoredAny>(body).map(|_| body.clone())
            })
            .await?;
        Ok(body)
    }

    /// Sends a request and returns what `read` makes of the whole body, and the API server's time if it tells.
    ///
    /// What is no JSON was spoilt on its way, and is tried again; what is no object as `read` wants it is not.
    pub(super) async fn send_and_read<T>(
        &self,
        call: &Call,
        request: Send,
        read: impl Fn(&Bytes) -> Result<T, serde_json::Error>,
    ) -> Result<(T, Option<Timestamp>), ClusterError> {
        let (request, read) = (&request, &read);
        let (object, date) = self
            .retrying(|attempt| async move {
                let limit = self.time_limit_of(attempt);
                let whole = async {
                    let response = self.answer(call, request).await?;
                    let date = date(&response);
                    let body = response.into_body().collect().await;
                    let body = body.map_err(|error| ClusterError::BrokenOff {
                        call: Box::new(call.clone()),
                        problem: chain(&error),
                    })?;
                    match read(&body.to_bytes()) {
                        Err(error) if !error.is_data() => Err(malformed(call, &error)),
                        object => Ok((object, date)),
                    }
                };
                timeout(limit, whole)
                    .await
                    .unwrap_or_else(|_| Err(self.timed_out(call, limit)))
            })
            .await?;
        match object {
            Ok(object) => Ok((object, date)),
            Err(error) => Err(malformed(call, &error)),
        }
    }

    /// Sends a request and returns the body as it comes in; for logs.
    pub(super) async fn stream(
        &self,
        call: &Call,
        request: Send,
    ) -> Result<Response<Body>, ClusterError> {
        let request = &request;
        self.retrying(|attempt| async move {
            let limit = self.time_limit_of(attempt);
            timeout(limit, self.answer(call, request))
                .await
                .unwrap_or_else(|_| Err(self.timed_out(call, limit)))
        })
        .await
    }

    /// How long the next request, or the next pause in a body, may take.
    pub(super) fn time_limit(&self) -> Duration {
        match self.deadline {
            Some(deadline) => self
                .request_timeout
                .min(deadline.saturating_duration_since(Instant::now())),
            None => self.request_timeout,
        }
    }

    /// How long an attempt at a request may take; the first is number 0.
    fn time_limit_of(&self, attempt: u32) -> Duration {
        let limit = self.time_limit();
        self.patience.map_or(limit, |patience| {
            limit.min(patience.saturating_mul(2_u32.saturating_pow(attempt)))
        })
    }

    pub(super) fn timed_out(&self, call: &Call, after: Duration) -> ClusterError {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return ClusterError::DeadlineOver {
                call: Box::new(call.clone()),
            };
        }
        ClusterError::Timeout {
            call: Box::new(call.clone()),
            url: self.url.clone(),
            after,
        }
    }

    async fn retrying<T, F>(&self, attempt: impl Fn(u32) -> F) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, ClusterError>>,
    {
        let give_up = Instant::now() + RETRIES.total;
        let give_up = self
            .deadline
            .map_or(give_up, |deadline| deadline.min(give_up));
        let policy = Policy {
            total: give_up.saturating_duration_since(Instant::now()),
            ..RETRIES
        };
        let attempts = AtomicU32::new(0);
        let attempt = || attempt(attempts.fetch_add(1, Ordering::Relaxed));
        retry(policy, attempt, |error| {
            let verdict = judge(error);
            match verdict {
                Retry::After(pause) if Instant::now() + pause >= give_up => Retry::No,
                _ => {
                    if verdict != Retry::No {
                        tracing::debug!(%error, "trying again");
                    }
                    verdict
                }
            }
        })
        .await
    }

    /// One attempt: the answer, if it is a success.
    async fn answer(&self, call: &Call, send: &Send) -> Result<Response<Body>, ClusterError> {
        let request = Request::builder()
            .method(&send.method)
            .uri(&send.uri)
            .header(CONTENT_TYPE, send.content_type)
            .body(Body::from(send.body.clone()))
            .map_err(|error| ClusterError::Malformed {
                call: Box::new(call.clone()),
                problem: format!("{} is no request: {error}", send.uri),
            })?;
        let attempt = Attempt::begin(self, call);
        let response = self.client.send(request).await;
        attempt.end(response.as_ref().ok().map(Response::status));
        let response = response.map_err(|error| self.no_answer(call, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(call, response).await)
    }

    fn no_answer(&self, call: &Call, error: &kube::Error) -> ClusterError {
        let problem = match error {
            kube::Error::Auth(error) => {
                return ClusterError::Config(format!(
                    "the kubeconfig's login failed: {}",
                    chain(error)
                ));
            }
            kube::Error::Service(error) => chain(&**error),
            other => chain(other),
        };
        ClusterError::Unreachable {
            call: Box::new(call.clone()),
            url: self.url.clone(),
            problem,
        }
    }

    async fn refusal(&self, call: &Call, response: Response<Body>) -> ClusterError {
        let code = response.status();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = Limited::new(response.into_body(), ERROR_BODY_BYTES)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let status: Option<Status> = serde_json::from_slice(&body).ok();
        let is_status = status.is_some();
        let status = status.unwrap_or_else(|| Status {
            message: String::from_utf8_lossy(&body).trim().to_owned(),
            metadata: StatusMetadata::default(),
        });
        let (call, url, message) = (Box::new(call.clone()), self.url.clone(), status.message);
        match code {
            StatusCode::UNAUTHORIZED => ClusterError::Unauthorized { call, url, message },
            StatusCode::FORBIDDEN => ClusterError::Forbidden { call, message },
            // FACT 15: plain text says that the resource is unknown, a Status that the object is.
            StatusCode::NOT_FOUND if !is_status => ClusterError::NotInstalled { call, url },
            StatusCode::NOT_FOUND => ClusterError::NotFound { call, message },
            _ => ClusterError::Rejected {
                call,
                code: code.as_u16(),
                message,
                retry_after,
                next_page: status.metadata.next_page,
            },
        }
    }
}

/// One attempt at a request: what it came to is counted, also when it is given up.
struct Attempt<'a> {
    cluster: &'a Cluster,
    call: &'a Call,
    begun: Instant,
    code: Option<StatusCode>,
}

impl<'a> Attempt<'a> {
    fn begin(cluster: &'a Cluster, call: &'a Call) -> Self {
        Self {
            cluster,
            call,
            begun: Instant::now(),
            code: None,
        }
    }

    fn end(mut self, code: Option<StatusCode>) {
        self.code = code;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        traffic::count(&self.cluster.traffic, self.call, self.code);
        if let Some(pace) = &self.cluster.pace {
            pace.note(self.begun, self.code);
        }
    }
}

/// HTTP's `Date` (RFC 9110), in whole seconds.
fn date(response: &Response<Body>) -> Option<Timestamp> {
    let text = response.headers().get(http::header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
}

fn malformed(call: &Call, error: &serde_json::Error) -> ClusterError {
    ClusterError::Malformed {
        call: Box::new(call.clone()),
        problem: error.to_string(),
    }
}

/// What is used of a Status object.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
    #[serde(default)]
    metadata: StatusMetadata,
}

#[derive(Default, Deserialize)]
struct StatusMetadata {
    #[serde(rename = "continue")]
    next_page: Option<String>,
}

fn judge(error: &ClusterError) -> Retry {
    match error {
        ClusterError::Rejected {
            code, retry_after, ..
        } if *code == 429 || *code >= 500 => retry_after.map_or(Retry::Yes, Retry::After),
        // A certificate that is wrong now will be wrong in a second.
        ClusterError::Unreachable { problem, .. } if problem.contains("certificate") => Retry::No,
        ClusterError::Unreachable { .. }
        | ClusterError::Timeout { .. }
        | ClusterError::BrokenOff { .. }
        | ClusterError::Malformed { .. } => Retry::Yes,
        _ => Retry::No,
    }
}
