//! Sending a request: its time limit, what is tried again, and what an answer that is not a success means.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout};

use super::Cluster;
use super::error::{ClusterError, chain};
use super::limiter::{RequestPermit, lending, resume};
use super::request::Request;
use super::traffic;
use crate::retry::{Policy, Retry, retry};

/// Failed requests are tried again like this, and never beyond the cycle's deadline.
const RETRIES: Policy = Policy {
    first_pause: Duration::from_millis(200),
    longest_pause: Duration::from_secs(5),
    total: Duration::from_secs(30),
};

/// How much is read of an error's body.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// How long an answer may be: nothing that an API server sends can fill the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// What the answer should be, for messages.
    pub(super) what: &'static str,
    pub(super) most: usize,
}

/// etcd takes no object of more than 1.5 MiB, and JSON is no more than twice as long.
pub(super) const OBJECT: Limit = Limit {
    what: "object",
    most: 4 * 1024 * 1024,
};

impl Cluster {
    /// Sends a request and returns what `decode` makes of the object in the answer.
    pub(super) async fn object<T, E: ToString>(
        &self,
        request: &Request,
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, ClusterError> {
        let body = self.send(request).await?;
        decode(&body).map_err(|error| ClusterError::malformed(request, error))
    }

    /// Sends a request and returns the whole body, which is JSON; for objects.
    pub(super) async fn send(&self, request: &Request) -> Result<Bytes, ClusterError> {
        let (body, _) = self
            .send_and_read(request, OBJECT, |body| {
                serde_json::from_slice::<IgnoredAny>(body).map(|_| body.clone())
            })
            .await?;
        Ok(body)
    }

    /// Sends a request and returns what `read` makes of the whole body, and the API server's time if it tells.
    ///
    /// An answer that is no JSON was damaged on its way and is tried again. One that is JSON, but not what `read` expects, is
    /// not.
    pub(super) async fn send_and_read<T>(
        &self,
        request: &Request,
        limit: Limit,
        read: impl Fn(&Bytes) -> Result<T, serde_json::Error>,
    ) -> Result<(T, Option<Timestamp>), ClusterError> {
        let read = &read;
        let (object, date) = self
            .retrying(judge, |attempt| async move {
                let time_limit = self.time_limit_of(attempt);
                let whole = async {
                    let response = self.answer(request).await?;
                    let date = date(&response);
                    let body = whole_body(request, response, limit).await?;
                    match read(&body) {
                        Err(error) if !error.is_data() => {
                            Err(ClusterError::malformed(request, error))
                        }
                        object => Ok((object, date)),
                    }
                };
                timeout(time_limit, whole)
                    .await
                    .unwrap_or_else(|_| Err(self.timed_out(request, time_limit)))
            })
            .await?;
        match object {
            Ok(object) => Ok((object, date)),
            Err(error) => Err(ClusterError::malformed(request, error)),
        }
    }

    /// Sends a request and returns the body as it comes in; for watches.
    pub(super) async fn stream(&self, request: &Request) -> Result<Body, ClusterError> {
        self.retrying(judge, |attempt| async move {
            let limit = self.time_limit_of(attempt);
            let response = timeout(limit, self.answer(request))
                .await
                .unwrap_or_else(|_| Err(self.timed_out(request, limit)))?;
            Ok(response.into_body())
        })
        .await
    }

    /// Sends a request and returns the body as it comes in, with the permit to read it; for logs.
    ///
    /// Each attempt waits for a permit of its own; no permit is held in the pause between two.
    pub(super) async fn stream_log(
        &self,
        request: &Request,
    ) -> Result<(Body, Option<RequestPermit>), ClusterError> {
        self.retrying(judge_log, |attempt| async move {
            let mut permit = match &self.limiter {
                Some(limiter) => Some(limiter.permit().await),
                None => None,
            };
            let limit = self.time_limit_of(attempt);
            let answer = lending(permit.as_mut(), self.answer(request));
            let response = timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(self.timed_out(request, limit)))?;
            is_text(request, &response)?;
            resume(permit.as_mut()).await;
            Ok((response.into_body(), permit))
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
        self.first_attempt.map_or(limit, |first| {
            limit.min(first.saturating_mul(2_u32.saturating_pow(attempt)))
        })
    }

    pub(super) fn timed_out(&self, request: &Request, after: Duration) -> ClusterError {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return ClusterError::DeadlineOver {
                request: request.for_error(),
            };
        }
        ClusterError::Timeout {
            request: request.for_error(),
            url: self.url.clone(),
            after,
        }
    }

    async fn retrying<T, F>(
        &self,
        judge: fn(&ClusterError) -> Retry,
        attempt: impl Fn(u32) -> F,
    ) -> Result<T, ClusterError>
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
            if verdict != Retry::No {
                tracing::debug!(%error, "to be tried again");
            }
            verdict
        })
        .await
    }

    /// One attempt: the answer, if it is a success.
    async fn answer(&self, request: &Request) -> Result<Response<Body>, ClusterError> {
        let uri = request.uri();
        let http_request = http::Request::builder()
            .method(request.method())
            .uri(&uri)
            .header(CONTENT_TYPE, request.content_type())
            .body(Body::from(request.json()))
            .map_err(|error| {
                ClusterError::malformed(request, format!("{uri} is no request: {error}"))
            })?;
        let attempt = Attempt::begin(self, request);
        tracing::trace!(method = %request.method(), uri, "asking the API server");
        let response = self.client.send(http_request).await;
        attempt.end(response.as_ref().ok().map(Response::status));
        let response = response.map_err(|error| self.no_answer(request, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(request, response).await)
    }

    fn no_answer(&self, request: &Request, error: &kube::Error) -> ClusterError {
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
            request: request.for_error(),
            url: self.url.clone(),
            problem,
        }
    }

    async fn refusal(&self, request: &Request, response: Response<Body>) -> ClusterError {
        let code = response.status();
        let now = date(&response).unwrap_or_else(Timestamp::now);
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| pause(value.to_str().ok()?, now));
        let body = beginning(response.into_body(), ERROR_BODY_BYTES).await;
        let status: Option<Status> = serde_json::from_slice(&body).ok();
        let is_status = status.is_some();
        let status = status.unwrap_or_else(|| Status {
            message: String::from_utf8_lossy(&body).trim().to_owned(),
            metadata: StatusMetadata::default(),
        });
        let (request, url, message) = (request.for_error(), self.url.clone(), status.message);
        match code {
            StatusCode::UNAUTHORIZED => ClusterError::Unauthorized {
                request,
                url,
                message,
            },
            StatusCode::FORBIDDEN => ClusterError::Forbidden { request, message },
            // docs/facts.md, "A missing CRD answers in plain text": plain text says that the resource is unknown, a
            // Status that the object is.
            StatusCode::NOT_FOUND if !is_status => ClusterError::NotInstalled { request, url },
            StatusCode::NOT_FOUND => ClusterError::NotFound { request, message },
            _ => ClusterError::Rejected {
                request,
                code: code.as_u16(),
                message,
                retry_after,
                next_page: status.metadata.next_page,
            },
        }
    }
}

/// One attempt at a request. It is counted when it is dropped, so also when it is given up.
struct Attempt<'a> {
    cluster: &'a Cluster,
    request: &'a Request,
    begun: Instant,
    /// `None`: it was given up.
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Answered(StatusCode),
    /// The API server could not be reached, or hung up.
    Refused,
}

impl<'a> Attempt<'a> {
    fn begin(cluster: &'a Cluster, request: &'a Request) -> Self {
        Self {
            cluster,
            request,
            begun: Instant::now(),
            end: None,
        }
    }

    fn end(mut self, code: Option<StatusCode>) {
        self.end = Some(code.map_or(End::Refused, End::Answered));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let code = match self.end {
            Some(End::Answered(code)) => Some(code),
            Some(End::Refused) | None => None,
        };
        traffic::count(&self.cluster.traffic, self.request, code);
        // An attempt that was given up says nothing about the API server: a dead node may be at fault.
        if let (Some(limiter), Some(_)) = (&self.cluster.limiter, self.end) {
            limiter.answered(self.begun, code);
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

/// `Retry-After` (RFC 9110): seconds or a time; `None`: neither.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    // A time in the past asks for no pause.
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// A body that is read whole, unless it is too long.
async fn whole_body(
    request: &Request,
    response: Response<Body>,
    limit: Limit,
) -> Result<Bytes, ClusterError> {
    let Limit { what, most } = limit;
    let too_long = || ClusterError::TooLong {
        request: request.for_error(),
        what,
        most,
    };
    let promised = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    if promised > most {
        return Err(too_long());
    }
    let mut body = response.into_body();
    let mut whole = Vec::with_capacity(promised);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClusterError::BrokenOff {
            request: request.for_error(),
            problem: chain(&error),
        })?;
        // Anything but data is trailers, which say nothing here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > most {
            return Err(too_long());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// The first bytes of a body; fewer if it breaks off.
async fn beginning(mut body: Body, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < most
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(data) = frame.into_data() {
            let room = most - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    bytes
}

/// A log is plain text. Anything else is a proxy's page or an object.
fn is_text(request: &Request, response: &Response<Body>) -> Result<(), ClusterError> {
    let Some(kind) = response.headers().get(CONTENT_TYPE) else {
        return Ok(());
    };
    let kind = String::from_utf8_lossy(kind.as_bytes());
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || essence.eq_ignore_ascii_case("text/plain") {
        return Ok(());
    }
    let problem = format!(
        "its content type is {essence}, and a log's is text/plain: does a proxy answer for the API server?"
    );
    Err(ClusterError::malformed(request, problem))
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

/// For logs: a node that did not answer in time may be dead, and there will be another cycle.
fn judge_log(error: &ClusterError) -> Retry {
    match error {
        ClusterError::Timeout { .. } => Retry::No,
        other => judge(other),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_any_form_and_size_is_understood() {
        let now: Timestamp = "2026-11-23T04:39:43Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Mon, 23 Nov 2026 04:40:00 GMT", Some(17)),
            ("Mon, 23 Nov 2026 04:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(pause(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pause_panics(text: String, seconds: u64) {
            for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                pause(&text, now);
                pause(&seconds.to_string(), now);
                pause("Mon, 23 Nov 2026 04:40:00 GMT", now);
            }
        }
    }
}
