//! The Kubernetes API: from an HTTP request to its answer.
//!
//! Reads like an API server works: who asks, may they, is it served, then the verb. The rules are in the other modules.

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::access::{User, allowed};
use crate::cluster::Cluster;
use crate::patch::{self, PatchKind};
use crate::state::{Deletion, Part, in_namespace, metadata_mut};
use crate::status::{self, Failure, bytes_response, json_response, page_not_found};
use crate::target::{Call, Route};
use crate::{discovery, door, lists, pod_log, reviews, watch};

/// As a real API server: no larger bodies.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// Answers every path that is not the kubelet's or the stand-in's own.
pub(crate) async fn handle(State(cluster): State<Cluster>, request: Request) -> Response {
    match Route::of(request.method(), request.uri()) {
        Route::Call(call) => {
            let answer = async {
                answer(&cluster, &call, request)
                    .await
                    .unwrap_or_else(Failure::into_response)
            };
            door::pass(&cluster, &call.kind(), Some(&call), answer).await
        }
        Route::Health => bytes_response(StatusCode::OK, "text/plain; charset=utf-8", "ok"),
        Route::Version => {
            let answer = async { json_response(StatusCode::OK, &discovery::version()) };
            door::pass(&cluster, "get /version", None, answer).await
        }
        Route::Discovery | Route::Unknown => {
            let (request, _) = request.into_parts();
            let path = request.uri.path();
            let kind = format!("{} {path}", request.method.as_str().to_lowercase());
            let answer = async {
                if let Err(failure) = cluster.authenticate(&request.headers) {
                    return failure.into_response();
                }
                let crd = cluster.state().crd;
                match discovery::answer(path, crd) {
                    Some(body) => json_response(StatusCode::OK, &body),
                    None => page_not_found(),
                }
            };
            door::pass(&cluster, &kind, None, answer).await
        }
    }
}

async fn answer(cluster: &Cluster, call: &Call, request: Request) -> Result<Response, Failure> {
    let user = cluster.authenticate(request.headers())?;
    let asked = call.attributes();
    {
        let state = cluster.state();
        // What system:basic-user gives to whoever is logged in.
        let is_about_oneself = call.resource.plural == "selfsubjectaccessreviews";
        if !is_about_oneself && !allowed(&state, &user, &asked) {
            return Err(asked.refused(&user, call.resource));
        }
        if call.resource.custom && !state.crd {
            return Ok(page_not_found());
        }
    }
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
        .to_owned();
    let body = match call.verb {
        "get" | "list" | "watch" => Value::Null,
        _ => read_body(request, call).await?,
    };
    match (call.verb, call.subresource.as_deref()) {
        ("get", Some("log")) => pod_log::answer(&cluster.state(), call, cluster.kubelet_style()),
        (_, Some("log")) => Err(Failure::method_not_allowed()),
        ("create", None) => create(cluster, call, body, &user),
        _ if !call.resource.stored => Err(Failure::method_not_allowed()),
        ("list", _) => {
            let mut state = cluster.state();
            let body = lists::list(&mut state, call)?;
            Ok(bytes_response(StatusCode::OK, "application/json", body))
        }
        ("watch", _) => watch::watch(cluster, call),
        ("get", _) => get(cluster, call),
        ("update", _) => update(cluster, call, body),
        ("patch", _) => patch(cluster, call, &content_type, &body),
        ("delete", None) => delete(cluster, call, &body),
        ("deletecollection", None) => delete_collection(cluster, call),
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn read_body(request: Request, call: &Call) -> Result<Value, Failure> {
    let bytes = to_bytes(request.into_body(), MAX_BODY)
        .await
        .map_err(|error| Failure::bad_request(format!("cannot read the body: {error}")))?;
    // A DELETE may come without options.
    if bytes.is_empty() && call.verb.starts_with("delete") {
        return Ok(Value::Null);
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {error}",
            call.resource.kind
        ))
    })?;
    if value.is_object() || (call.verb == "patch" && value.is_array()) {
        Ok(value)
    } else {
        Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            call.resource.kind
        )))
    }
}

fn part(call: &Call) -> Part {
    match call.subresource {
        Some(_) => Part::Status,
        None => Part::Main,
    }
}

fn name(call: &Call) -> &str {
    call.name.as_deref().unwrap_or("")
}

fn get(cluster: &Cluster, call: &Call) -> Result<Response, Failure> {
    let object = cluster
        .state()
        .get(call.resource, call.namespace(), name(call))
        .ok_or_else(|| Failure::not_found(call.resource, name(call)))?;
    Ok(json_response(StatusCode::OK, &object))
}

fn create(cluster: &Cluster, call: &Call, body: Value, user: &User) -> Result<Response, Failure> {
    if call.resource.namespaced && call.namespace.is_none() {
        return Err(Failure::method_not_allowed());
    }
    if !call.resource.stored {
        let review = cluster
            .with_access(|state, access| reviews::answer(call.resource, body, user, access, state));
        return Ok(json_response(StatusCode::CREATED, &review));
    }
    let dry = call.query.is_dry();
    let made = cluster.change(|state| state.create(call.resource, call.namespace(), body, dry))?;
    Ok(json_response(StatusCode::CREATED, &made))
}

fn update(cluster: &Cluster, call: &Call, mut body: Value) -> Result<Response, Failure> {
    let (namespace, name, dry) = (call.namespace(), name(call), call.query.is_dry());
    cluster.change(|state| {
        // Leases are the one resource here that a PUT may create.
        let absent = state.get(call.resource, namespace, name).is_none();
        let unconditional = body["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or("")
            .is_empty();
        if call.resource.plural == "leases" && absent && unconditional {
            metadata_mut(&mut body).insert("name".to_owned(), name.into());
            let made = state.create(call.resource, namespace, body, dry)?;
            return Ok(json_response(StatusCode::CREATED, &made));
        }
        let after = state.replace(call.resource, namespace, name, part(call), body, dry)?;
        Ok(json_response(StatusCode::OK, &after))
    })
}

fn patch(
    cluster: &Cluster,
    call: &Call,
    content_type: &str,
    body: &Value,
) -> Result<Response, Failure> {
    let kind = PatchKind::of(content_type, call.resource)?;
    let (namespace, name, dry) = (call.namespace(), name(call), call.query.is_dry());
    cluster.change(|state| {
        let present = match state.get(call.resource, namespace, name) {
            Some(present) => present,
            None if kind == PatchKind::Apply && part(call) == Part::Main => {
                let mut object = body.clone();
                metadata_mut(&mut object).insert("name".to_owned(), name.into());
                let made = state.create(call.resource, namespace, object, dry)?;
                return Ok(json_response(StatusCode::CREATED, &made));
            }
            None => return Err(Failure::not_found(call.resource, name)),
        };
        let patched = patch::apply(kind, &present, body)?;
        let after = state.replace(call.resource, namespace, name, part(call), patched, dry)?;
        Ok(json_response(StatusCode::OK, &after))
    })
}

fn delete(cluster: &Cluster, call: &Call, options: &Value) -> Result<Response, Failure> {
    let dry = call.query.is_dry() || options["dryRun"] == json!(["All"]);
    let preconditions = &options["preconditions"];
    let (namespace, name) = (call.namespace(), name(call));
    let deletion =
        cluster.change(|state| state.delete(call.resource, namespace, name, preconditions, dry))?;
    Ok(json_response(
        StatusCode::OK,
        &match deletion {
            Deletion::Held(object) => object,
            // Pods answer with themselves, as on a real server, which lets them end first.
            Deletion::Gone(object) if call.resource.plural == "pods" => object,
            Deletion::Gone(object) => {
                status::deleted(call.resource, name, &object["metadata"]["uid"])
            }
        },
    ))
}

fn delete_collection(cluster: &Cluster, call: &Call) -> Result<Response, Failure> {
    let selection = lists::Selection::of(call)?;
    let namespace = call.namespace.as_deref();
    cluster.change(|state| {
        let objects = state.objects(call.resource);
        for (key, _) in in_namespace(&objects, call.resource, namespace, "")
            .filter(|(key, stored)| selection.matches(key, stored))
        {
            let (namespace, name) = key.split_once('/').unwrap_or(("", key));
            state.delete(
                call.resource,
                namespace,
                name,
                &Value::Null,
                call.query.is_dry(),
            )?;
        }
        let done =
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
        Ok(json_response(StatusCode::OK, &done))
    })
}
