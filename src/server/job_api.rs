//! The job-control API: `GET` and `POST /api/dashboard/load-testing/sync-job` (**contract**: docs/api.md).
//!
//! It reads and patches the control ConfigMap and nothing else, so that all replicas, `k6sync job` and kubectl see one truth.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::access::{Access, CLUSTER_TIMEOUT, Denied, cluster_code};
use super::auth::Authorizer;
use super::body;
use super::job_request::JobRequest;
use super::refusals::Refusals;
use crate::sync_loop::control::{Control, ControlError, ControlMap};

pub(crate) const PATH: &str = "/api/dashboard/load-testing/sync-job";

/// What its handlers share.
pub(crate) struct JobApi {
    control: ControlMap,
    authorizer: Arc<Authorizer>,
    refusals: Refusals,
}

impl JobApi {
    pub(crate) fn new(control: ControlMap, authorizer: Arc<Authorizer>) -> Self {
        Self {
            control,
            authorizer,
            refusals: Refusals::default(),
        }
    }

    /// With the deadline of one request.
    fn control(&self) -> ControlMap {
        self.control.until(Instant::now() + CLUSTER_TIMEOUT)
    }
}

/// An answer that is not a success.
struct Refusal {
    code: StatusCode,
    error: String,
    /// Seconds.
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(code: StatusCode, error: impl Into<String>) -> Self {
        Self {
            code,
            error: error.into(),
            retry_after: None,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self {
            retry_after: denied.retry_after(),
            ..Self::new(denied.code(), denied.to_string())
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::LostRace { .. } => StatusCode::CONFLICT,
            ControlError::Cluster(error) => cluster_code(error),
        };
        Self::new(code, error.to_string())
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
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// `GET`: the control as it is now.
pub(super) async fn read(State(api): State<Arc<JobApi>>, headers: HeaderMap) -> Response {
    let answer = async {
        api.authorizer.check(&headers, Access::Read).await?;
        let control = api.control().read().await.map_err(ControlError::from)?;
        let mut job = job(&control);
        job["autoSyncEnabled"] = api.control.defaults().enabled.into();
        job["apiKeyConfigured"] = api.authorizer.has_api_key().into();
        Ok::<_, Refusal>(json!({"success": true, "job": job, "timestamp": timestamp()}))
    };
    respond(&api, answer.await)
}

/// `POST`: start, stop or restart.
pub(super) async fn act(
    State(api): State<Arc<JobApi>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        api.authorizer.check(&headers, Access::Act).await?;
        let body = body::whole(body)
            .await
            .map_err(|(code, problem)| Refusal::new(code, problem))?;
        let bad = |problem| Refusal::new(StatusCode::BAD_REQUEST, problem);
        let request = JobRequest::parse(&body).map_err(bad)?;
        let control = api.control().apply(request.action).await?;
        let mut answer = json!({
            "success": true,
            "action": request.word,
            "result": request.action.result(&control),
            "job": job(&control),
            "timestamp": timestamp(),
        });
        if !request.ignored.is_empty() {
            answer["ignored"] = request.ignored.into();
        }
        Ok::<_, Refusal>(answer)
    };
    respond(&api, answer.await)
}

/// Any other method.
pub(super) async fn other_method() -> Response {
    let error = format!("{PATH} takes GET and POST");
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error);
    ([(ALLOW, "GET, POST")], refusal).into_response()
}

fn respond(api: &JobApi, answer: Result<Value, Refusal>) -> Response {
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => {
            api.refusals.note(refusal.code, &refusal.error);
            refusal.into_response()
        }
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
