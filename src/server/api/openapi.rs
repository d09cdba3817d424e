//! The API's own description, made of the code (OpenAPI 3.1).

use axum::extract::{RawQuery, State};
use axum::response::Response;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::query::Query;
use super::state::Api;
use super::{answer, follow, logs, runs};
use crate::server::door::Asking;
use crate::server::refusal::{AsItWas, Error, Refusal, Refusals};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "k6sync",
        description = "What became of test runs: status, results and logs, as far as you may see them. docs/api.md says more."
    ),
    paths(
        runs::list, runs::one, runs::results, logs::read, follow::follow, runs::compare, document
    ),
    components(schemas(Error)),
    security(("token" = []), ("key" = []), ("session" = [])),
    modifiers(&Ways)
)]
struct Document;

/// The ways in.
struct Ways;

impl Modify for Ways {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let key = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        let session = ApiKey::Cookie(ApiKeyValue::new("k6sync"));
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        components.add_security_scheme("key", SecurityScheme::ApiKey(key));
        components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    }
}

/// This description
#[utoipa::path(get, path = "/api/v1/openapi.json", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object), AsItWas, Refusals
))]
pub(super) async fn document(
    State(api): State<Api>,
    asking: Asking,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = async {
        api.house.door.visitor(&asking).await?;
        Query::of(query.as_deref(), &[]).map_err(Refusal::bad)?;
        answer::json(&asking.headers, &Document::openapi(), true)
    };
    api.respond(answer.await)
}
