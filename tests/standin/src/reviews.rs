//! TokenReview and the access reviews: questions about others' rights, answered and not stored.

use serde_json::{Value, json};

use crate::access::{Access, Attributes, User, allowed};
use crate::resources::Resource;
use crate::state::State;

/// Answers one review; `asker` is who sent it.
pub(crate) fn answer(
    resource: &Resource,
    mut review: Value,
    asker: &User,
    access: &Access,
    state: &State,
) -> Value {
    let spec = &review["spec"];
    let status = match resource.plural {
        "tokenreviews" => token_status(spec, access),
        "selfsubjectaccessreviews" => access_status(spec, asker, state),
        _ => access_status(spec, &subject(spec, access), state),
    };
    review["status"] = status;
    review["apiVersion"] = resource.api_version().into();
    review["kind"] = resource.kind.into();
    // As recorded: reviews have the metadata of an object that was never created.
    crate::state::metadata_mut(&mut review).insert("creationTimestamp".to_owned(), Value::Null);
    review
}

/// As of Kubernetes' own authenticators: whoever asks for no audience means the API server's.
fn token_status(spec: &Value, access: &Access) -> Value {
    const API_SERVER: &str = "https://kubernetes.default.svc";
    let texts = |list: &Value| -> Vec<String> {
        let texts = list.as_array().into_iter().flatten();
        texts
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect()
    };
    let or_api_server = |audiences: Vec<String>| match audiences.is_empty() {
        true => vec![API_SERVER.to_owned()],
        false => audiences,
    };
    let asked = or_api_server(texts(&spec["audiences"]));
    let Some(user) = access.by_token(spec["token"].as_str().unwrap_or("")) else {
        return json!({ "user": {}, "error": "invalid bearer token" });
    };
    let mut audiences = or_api_server(user.audiences.clone());
    audiences.retain(|audience| asked.contains(audience));
    match audiences.is_empty() {
        true => {
            json!({ "user": {}, "error": "token audiences are invalid for the target audiences" })
        }
        false => json!({
            "authenticated": true,
            "user": { "username": user.name, "groups": user.all_groups() },
            "audiences": audiences,
        }),
    }
}

/// The user whom a SubjectAccessReview asks about.
fn subject(spec: &Value, access: &Access) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten();
    let groups: Vec<String> = groups
        .filter_map(|group| Some(group.as_str()?.to_owned()))
        .collect();
    access.by_name(spec["user"].as_str().unwrap_or(""), &groups)
}

fn access_status(spec: &Value, user: &User, state: &State) -> Value {
    let asked = &spec["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or("").to_owned();
    let some = |field: &str| Some(text(field)).filter(|value| !value.is_empty());
    let attributes = Attributes {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: some("subresource"),
        namespace: some("namespace"),
        name: some("name"),
    };
    // Paths (nonResourceAttributes) are open to those who may do everything.
    json!({ "allowed": allowed(state, user, &attributes) })
}
