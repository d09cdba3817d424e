//! Signing in and out: `GET` and `POST /login`, `POST /logout`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use url::form_urlencoded;

use super::cross_site::{is_same_origin, local_path};
use super::{Asking, Door};
use crate::server::access::{BUSY_SECONDS, Denied};
use crate::server::refusals::Refusals;
use crate::server::{body, pages};

pub(crate) const LOGIN: &str = "/login";
pub(crate) const LOGOUT: &str = "/logout";

/// What the page to sign in shows.
pub(crate) struct SignIn {
    /// A path of ours, to go to then.
    pub(crate) next: String,
    /// Why it did not work.
    pub(crate) problem: Option<String>,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) door: Arc<Door>,
    pub(crate) refusals: Refusals,
    /// Where service accounts are that may look.
    pub(crate) namespace: String,
}

/// A field of a query or of a form: the first of that name.
fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// `GET /login`: the page.
pub(crate) async fn form(State(entrance): State<Entrance>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let next = local_path(field(query.as_bytes(), "next").as_deref());
    let problem = None;
    page(
        StatusCode::OK,
        &SignIn { next, problem },
        &entrance.namespace,
    )
}

/// `POST /login`: fields `token` and `next`.
pub(crate) async fn sign_in(
    State(entrance): State<Entrance>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !is_same_origin(&headers) {
        let denied = Denied::CrossSite("it comes from another site's page");
        return entrance.refuse(&denied, "/".to_owned());
    }
    let form = match body::whole(body).await {
        Ok(form) => form,
        Err((code, problem)) => {
            let sign_in = SignIn {
                next: "/".to_owned(),
                problem: Some(problem),
            };
            return page(code, &sign_in, &entrance.namespace);
        }
    };
    let next = local_path(field(&form, "next").as_deref());
    let token = field(&form, "token").unwrap_or_default();
    // Pasted with its line's end, or with the whole header.
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    entrance.open(token, next).await
}

/// `POST /logout`: field `csrf`.
pub(crate) async fn sign_out(
    State(entrance): State<Entrance>,
    asking: Asking,
    body: Body,
) -> Response {
    let form = body::whole(body).await.unwrap_or_default();
    let given = field(&form, "csrf");
    // Whoever has no session any more may leave.
    if let Ok(visitor) = entrance.door.visitor(&asking).await
        && let Err(denied) = entrance
            .door
            .check_wish(&asking, &visitor, given.as_deref())
    {
        return entrance.refuse(&denied, "/".to_owned());
    }
    redirect(LOGIN, &entrance.door.sign_out())
}

impl Entrance {
    async fn open(&self, token: &str, next: String) -> Response {
        match self.door.sign_in(token).await {
            Ok(cookie) => redirect(&next, &cookie),
            Err(denied) => self.refuse(&denied, next),
        }
    }

    fn refuse(&self, denied: &Denied, next: String) -> Response {
        let problem = denied.to_string();
        self.refusals.note(denied.code(), &problem);
        let problem = Some(problem);
        let mut response = page(denied.code(), &SignIn { next, problem }, &self.namespace);
        if denied.code() == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, BUSY_SECONDS.into());
        }
        response
    }
}

fn redirect(to: &str, cookie: &str) -> Response {
    let headers = [
        (LOCATION, to),
        (SET_COOKIE, cookie),
        (CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// The page to sign in.
fn page(code: StatusCode, sign_in: &SignIn, namespace: &str) -> Response {
    let page = pages::login::page(sign_in.problem.as_deref(), &sign_in.next, namespace);
    match page {
        Ok(mut page) => {
            *page.status_mut() = code;
            pages::hardened(page)
        }
        Err(problem) => pages::hardened(problem.into_response()),
    }
}
