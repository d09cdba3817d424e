//! Error answers: Kubernetes `Status` objects, word for word as a real API server writes them.
//!
//! Every refusal of the stand-in is a [`Failure`]. The tests compare them with `tests/data/recorded/api`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::resources::Resource;

/// A request that was refused, as the `Status` object that says so.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
    /// `metadata.continue`, which only an expired list has (docs/facts.md, "An expired list goes on with a new token").
    pub(crate) continue_token: Option<String>,
    /// Seconds for the `Retry-After` header.
    pub(crate) retry_after: Option<u64>,
}

/// `details` as Kubernetes fills them: what is empty is left out.
fn details(resource: &Resource, name: Option<&str>) -> Value {
    let mut details = Map::new();
    if let Some(name) = name.filter(|n| !n.is_empty()) {
        details.insert("name".to_owned(), name.into());
    }
    if !resource.group.is_empty() {
        details.insert("group".to_owned(), resource.group.into());
    }
    details.insert("kind".to_owned(), resource.plural.into());
    Value::Object(details)
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
            retry_after: None,
        }
    }

    fn about(mut self, resource: &Resource, name: Option<&str>) -> Self {
        self.details = Some(details(resource, name));
        self
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, Some(name))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, Some(name))
    }

    fn conflict_because(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).about(resource, Some(name))
    }

    /// The object has another resourceVersion than the request thinks.
    pub(crate) fn conflict(resource: &Resource, name: &str) -> Self {
        Self::conflict_because(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The object bears another uid than the request thinks: it is another object of the same name (docs/facts.md,
    /// "Names recur, uids do not").
    pub(crate) fn other_uid(resource: &Resource, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
        );
        Self::conflict_because(resource, name, &why)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `who_what` is the sentence from `User "…" cannot …` on.
    pub(crate) fn forbidden(resource: &Resource, name: Option<&str>, who_what: &str) -> Self {
        let subject = match name.filter(|n| !n.is_empty()) {
            Some(name) => format!("{} \"{name}\"", resource.qualified()),
            None => resource.qualified(),
        };
        Self::new(
            403,
            "Forbidden",
            format!("{subject} is forbidden: {who_what}"),
        )
        .about(resource, name)
    }

    /// As [`Failure::forbidden`], for what is no resource (impersonation, paths).
    pub(crate) fn forbidden_otherwise(message: String) -> Self {
        let mut failure = Self::new(403, "Forbidden", message);
        failure.details = Some(json!({}));
        failure
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        let mut failure = Self::new(422, "Invalid", message);
        failure.details = Some(json!({}));
        failure
    }

    /// A finalizer comes too late: the object is being deleted already.
    pub(crate) fn late_finalizers(resource: &Resource, name: &str, added: &[&str]) -> Self {
        let added: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
        let why = format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        let kind = match resource.group {
            "" => resource.kind.to_owned(),
            group => format!("{}.{group}", resource.kind),
        };
        let message = format!("{kind} \"{name}\" is invalid: metadata.finalizers: {why}");
        let mut failure = Self::new(422, "Invalid", message).about(resource, Some(name));
        if let Some(details) = &mut failure.details {
            details["kind"] = resource.kind.into();
            details["causes"] = json!([
                { "reason": "FieldValueForbidden", "message": why, "field": "metadata.finalizers" }
            ]);
        }
        failure
    }

    pub(crate) fn method_not_allowed() -> Self {
        let mut failure = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        failure.details = Some(json!({}));
        failure
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// docs/facts.md, "An expired list goes on with a new token": the list's continue token is too old, and here is one
    /// that goes on with today's objects.
    pub(crate) fn expired_continue(token: String) -> Self {
        let mut failure = Self::new(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. \
             You can start a new list without the continue parameter, or use the continue token in this response to \
             retrieve the remainder of the results. Continuing with the provided token results in an inconsistent \
             list - objects that were created, modified, or deleted between the time the first chunk was returned \
             and now may show up in the list.",
        );
        failure.continue_token = Some(token);
        failure
    }

    /// docs/facts.md, "A watch from too far back gets an ERROR event": a watch asked for changes that are no longer
    /// known.
    pub(crate) fn expired_watch(asked: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
        )
    }

    /// What a server in trouble answers; `code` is any HTTP status.
    pub(crate) fn trouble(code: u16, retry_after: Option<u64>) -> Self {
        let (reason, message) = match code {
            400 => (
                "BadRequest",
                "the server rejected our request for an unknown reason",
            ),
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden"),
            404 => (
                "NotFound",
                "the server could not find the requested resource",
            ),
            409 => ("Conflict", "the server reported a conflict"),
            410 => (
                "Expired",
                "The resourceVersion for the provided list is too old.",
            ),
            429 => (
                "TooManyRequests",
                "Too many requests, please try again later.",
            ),
            500 => (
                "InternalError",
                "Internal error occurred: etcdserver: leader changed",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => (
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            ),
            _ => (
                "Unknown",
                "an error on the server has prevented the request from succeeding",
            ),
        };
        let mut failure = Self::new(code, reason, message);
        if let Some(seconds) = retry_after {
            failure.details = Some(json!({ "retryAfterSeconds": seconds }));
            failure.retry_after = Some(seconds);
        }
        failure
    }

    /// The `Status` object.
    pub(crate) fn body(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".to_owned(), token.as_str().into());
        }
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(code, &self.body());
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer with a JSON body.
pub(crate) fn json_response(code: StatusCode, body: &Value) -> Response {
    bytes_response(code, "application/json", body.to_string())
}

/// An answer with a body of any type.
pub(crate) fn bytes_response(
    code: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// docs/facts.md, "A missing CRD answers in plain text": what answers a path that nothing serves, such as that of a
/// custom resource without its CRD.
pub(crate) fn page_not_found() -> Response {
    bytes_response(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "404 page not found\n",
    )
}

/// The `Status` that confirms a deletion.
pub(crate) fn deleted(resource: &Resource, name: &str, uid: &Value) -> Value {
    let mut details = details(resource, Some(name));
    details["uid"] = uid.clone();
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}
