//! The job-control API: `GET` and `POST /api/dashboard/load-testing/sync-job` (**contract**: DESIGN, "Control").
//!
//! It reads and patches the control ConfigMap and nothing else, so that every replica and every door sees one truth.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{ALLOW, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::auth::{Access, Authorizer, Denied};
use crate::control::{Action, Control, ControlError, ControlMap, Interval};

/// Where it is.
pub const PATH: &str = "/api/dashboard/load-testing/sync-job";

/// Whoever asks does not wait longer for the API server.
pub(super) const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);
/// No request body is longer.
const BODY_BYTES: usize = 64 * 1024;

/// What the API stands on.
pub struct JobApi {
    /// The ConfigMap.
    pub control: ControlMap,
    /// Who may.
    pub authorizer: Authorizer,
}

impl JobApi {
    /// The ConfigMap, for one request.
    fn control(&self) -> ControlMap {
        self.control.until(Instant::now() + CLUSTER_TIMEOUT)
    }
}

/// An answer that is not a success.
struct Refusal {
    code: StatusCode,
    error: String,
}

impl Refusal {
    fn bad_request(error: impl Into<String>) -> Self {
        Self {
            code: StatusCode::BAD_REQUEST,
            error: error.into(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Nobody | Denied::Unknown(_) => StatusCode::UNAUTHORIZED,
            Denied::Forbidden { .. } => StatusCode::FORBIDDEN,
            Denied::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            code,
            error: denied.to_string(),
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let code = match error {
            ControlError::LostRace { .. } => StatusCode::CONFLICT,
            ControlError::Cluster(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            code,
            error: error.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"success": false, "error": self.error, "timestamp": timestamp()});
        let mut response = (self.code, Json(body)).into_response();
        if self.code == StatusCode::UNAUTHORIZED {
            let scheme = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// `GET`: what holds now.
pub(super) async fn read(State(api): State<Arc<JobApi>>, headers: HeaderMap) -> Response {
    let answer = async {
        api.authorizer.check(&headers, Access::Read).await?;
        let control = api.control().read().await.map_err(ControlError::from)?;
        let mut job = job(&control);
        job["autoSyncEnabled"] = api.control.defaults().enabled.into();
        job["apiKeyConfigured"] = api.authorizer.has_api_key().into();
        Ok::<_, Refusal>(json!({"success": true, "job": job, "timestamp": timestamp()}))
    };
    respond(answer.await)
}

/// `POST`: start, stop or restart.
pub(super) async fn act(
    State(api): State<Arc<JobApi>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        api.authorizer.check(&headers, Access::Act).await?;
        let body = to_bytes(body, BODY_BYTES).await.map_err(|_| {
            Refusal::bad_request(format!(
                "the body is longer than {BODY_BYTES} bytes, or broke off"
            ))
        })?;
        let (word, action) = action(&body).map_err(Refusal::bad_request)?;
        let control = api.control().apply(action).await?;
        Ok::<_, Refusal>(json!({
            "success": true,
            "action": word,
            "result": action.result(&control),
            "job": job(&control),
            "timestamp": timestamp(),
        }))
    };
    respond(answer.await)
}

/// Any other method.
pub(super) async fn other_method() -> Response {
    let refusal = Refusal {
        code: StatusCode::METHOD_NOT_ALLOWED,
        error: format!("{PATH} takes GET and POST"),
    };
    ([(ALLOW, "GET, POST")], refusal).into_response()
}

fn respond(answer: Result<Value, Refusal>) -> Response {
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => {
            tracing::info!(
                code = refusal.code.as_u16(),
                error = refusal.error,
                "refused a request"
            );
            refusal.into_response()
        }
    }
}

/// The request body: `{"action":"start|stop|restart","intervalSeconds":15}`, and the action's name.
///
/// # Errors
/// Says what is wrong with the body.
pub fn action(body: &[u8]) -> Result<(&'static str, Action), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Request {
        action: String,
        #[serde(default)]
        interval_seconds: Value,
    }
    let unexpected = |what| format!("the body is not the JSON expected: {what}");
    // Serde would take a list of the values for an object.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(unexpected("it must be an object".to_owned()));
    }
    let request: Request =
        serde_json::from_slice(body).map_err(|error| unexpected(error.to_string()))?;
    let interval = match &request.interval_seconds {
        Value::Null => None,
        value => {
            let interval = value
                .as_u64()
                .ok_or_else(|| Interval::new(0).map_or_else(|problem| problem, |_| String::new()))
                .and_then(Interval::new);
            Some(interval.map_err(|problem| format!("intervalSeconds is {value}: {problem}"))?)
        }
    };
    match request.action.as_str() {
        "start" => Ok(("start", Action::Start(interval))),
        "stop" => Ok(("stop", Action::Stop)),
        "restart" => Ok(("restart", Action::Restart(interval))),
        other => Err(format!(
            "the action `{other}` is unknown; use start, stop or restart"
        )),
    }
}

fn job(control: &Control) -> Value {
    let seconds = control.interval.seconds();
    json!({
        "isRunning": control.enabled,
        "intervalMs": seconds * 1_000,
        "intervalSeconds": seconds,
        "nextRunIn": control.enabled.then(|| format!("< {}", control.interval)),
        "configuredVia": control.configured_via(),
    })
}

fn timestamp() -> String {
    format!("{:.3}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_actions() {
        let interval = |seconds| Some(Interval::new(seconds).unwrap());
        for (body, expected) in [
            (r#"{"action":"start"}"#, Action::Start(None)),
            (
                r#"{"action":"start","intervalSeconds":5}"#,
                Action::Start(interval(5)),
            ),
            (r#"{"action":"stop"}"#, Action::Stop),
            (
                r#"{"action":"restart","intervalSeconds":null}"#,
                Action::Restart(None),
            ),
            (
                r#"{"action":"restart","intervalSeconds":300,"more":1}"#,
                Action::Restart(interval(300)),
            ),
        ] {
            assert_eq!(action(body.as_bytes()).unwrap().1, expected);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for (body, words) in [
            ("", "not the JSON expected"),
            ("[]", "not the JSON expected"),
            (r#"["stop"]"#, "must be an object"),
            (r#"{"action":"stop","action":"start"}"#, "duplicate field"),
            (r#"{"intervalSeconds":15}"#, "action"),
            (r#"{"action":"pause"}"#, "`pause` is unknown"),
            (r#"{"action":"start","intervalSeconds":4}"#, "from 5 to 300"),
            (
                r#"{"action":"start","intervalSeconds":301}"#,
                "from 5 to 300",
            ),
            (
                r#"{"action":"start","intervalSeconds":20.5}"#,
                "from 5 to 300",
            ),
            (
                r#"{"action":"start","intervalSeconds":"15"}"#,
                "from 5 to 300",
            ),
            (
                r#"{"action":"start","intervalSeconds":-5}"#,
                "from 5 to 300",
            ),
        ] {
            let error = action(body.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }
}
