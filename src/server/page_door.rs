//! The door before the loop's pages: whoever is not known is shown the page to sign in.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{Method, StatusCode};
use url::form_urlencoded;

use super::access::Denied;
use super::door::cross_site::is_same_origin;
use super::door::{Asking, Peer, login};
use super::look::House;
use super::pages::{Problem, Visitor};

/// Says who asks, or turns them away.
pub(super) async fn let_in(
    State(house): State<House>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    // What a page looks like is no secret, and the page to sign in should look like one.
    if path.starts_with("/assets/") || path == "/favicon.ico" {
        return next.run(request).await;
    }
    let asking = Asking {
        headers: request.headers().clone(),
        peer: request.extensions().get::<Peer>().map(|peer| peer.0.ip()),
    };
    let visitor = match house.door.visitor(&asking).await {
        Ok(visitor) => visitor,
        Err(denied) => return turn_away(&denied, &request),
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    // A browser adds by itself what says who this is: it must be one of our own pages that asks.
    if changes && visitor.csrf.is_some() && !is_same_origin(&asking.headers) {
        return turn_away(
            &Denied::CrossSite("it comes from another site's page"),
            &request,
        );
    }
    request.extensions_mut().insert(Visitor {
        sight: (*visitor.sight).clone(),
        name: Some(visitor.name),
        csrf: visitor.csrf,
        may_sign_out: visitor.may_sign_out,
    });
    next.run(request).await
}

fn turn_away(denied: &Denied, request: &Request) -> Response {
    let is_unknown = denied.code() == StatusCode::UNAUTHORIZED;
    if is_unknown && *request.method() == Method::GET {
        let here = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let next: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
        let headers = [
            (LOCATION, format!("{}?next={next}", login::LOGIN)),
            (CACHE_CONTROL, "no-store".to_owned()),
        ];
        return (StatusCode::SEE_OTHER, headers).into_response();
    }
    let problem = denied.to_string();
    match denied.code() {
        StatusCode::SERVICE_UNAVAILABLE => Problem::Unavailable { problem }.into_response(),
        StatusCode::UNAUTHORIZED => {
            (StatusCode::UNAUTHORIZED, format!("{problem}\n")).into_response()
        }
        _ => Problem::Forbidden { problem }.into_response(),
    }
}
