//! LIST: selectors, pages, and continue tokens (docs/facts.md, "An expired list goes on with a new token",
//! "resourceVersion=0 reads the cache").
//!
//! Later pages show the objects as they were at the first one, as a real API server's do.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resources::Resource;
use crate::selectors::{Fields, Labels};
use crate::state::{Objects, State, Stored, in_namespace, list_prefix};
use crate::status::Failure;
use crate::target::Call;

/// Tokens are written without padding and read as leniently as Go reads them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// The resourceVersion of a token that goes on with today's objects.
const INCONSISTENT: i64 = -1;

/// A continue token, as etcd3-backed API servers make them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    /// The first key of the next page, without the list's prefix.
    start: String,
}

impl Token {
    fn encode(rv: i64, start: &str) -> String {
        let token = Self {
            v: TOKEN_VERSION.to_owned(),
            rv,
            start: start.to_owned(),
        };
        // Three plain fields always become JSON.
        BASE64.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Self, Failure> {
        let invalid = |why: &str| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = BASE64
            .decode(text)
            .map_err(|_| invalid("illegal base64 data at input byte 0"))?;
        let token: Self =
            serde_json::from_slice(&bytes).map_err(|_| invalid(&go_json_error(&bytes)))?;
        if token.v != TOKEN_VERSION {
            return Err(invalid(&format!(
                "server does not recognize this encoded version \"{}\"",
                token.v
            )));
        }
        Ok(token)
    }
}

/// How Go's encoding/json complains of text that does not begin like JSON.
fn go_json_error(bytes: &[u8]) -> String {
    match bytes.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(b'{') => "unexpected end of JSON input".to_owned(),
        // Go shows the byte as the rune of that number, quoted.
        Some(byte @ 0x20..=0x7e) => format!(
            "invalid character '{}' looking for beginning of value",
            char::from(*byte)
        ),
        Some(byte @ (..=0x1f | 0x7f..=0x9f)) => {
            format!("invalid character '\\x{byte:02x}' looking for beginning of value")
        }
        Some(byte) => format!(
            "invalid character '{}' looking for beginning of value",
            char::from(*byte)
        ),
    }
}

/// The selectors of a LIST or WATCH.
#[derive(Debug)]
pub(crate) struct Selection {
    labels: Labels,
    fields: Fields,
}

impl Selection {
    pub(crate) fn of(call: &Call) -> Result<Self, Failure> {
        let text = |name| call.query.get(name).unwrap_or("");
        Ok(Self {
            labels: Labels::parse(text("labelSelector"))?,
            fields: Fields::parse(text("fieldSelector"))?,
        })
    }

    fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, key: &str, stored: &Stored) -> bool {
        self.fields.matches(key) && self.labels.matches(&stored.labels)
    }
}

/// Where a page's objects come from.
struct Source {
    objects: Arc<Objects>,
    version: u64,
    start: String,
}

/// Answers a LIST.
pub(crate) fn list(state: &mut State, call: &Call) -> Result<Bytes, Failure> {
    let selection = Selection::of(call)?;
    let version = call.query.get("resourceVersion").unwrap_or("");
    let limit = call.query.get("limit").and_then(|l| l.parse().ok());
    // docs/facts.md, "resourceVersion=0 reads the cache": an answer from the cache is never paged.
    let limit: usize = if version == "0" { None } else { limit }.unwrap_or(0);
    let source = source(state, call, version)?;

    let namespace = call.namespace.as_deref();
    let mut items = in_namespace(&source.objects, call.resource, namespace, &source.start)
        .filter(|(key, stored)| selection.matches(key, stored));
    let page: Vec<_> = if limit > 0 {
        items.by_ref().take(limit).collect()
    } else {
        items.by_ref().collect()
    };
    let remaining = items.count();

    let mut metadata = Map::new();
    metadata.insert(
        "resourceVersion".to_owned(),
        source.version.to_string().into(),
    );
    if call.resource.custom {
        // As recorded: lists of custom resources have it even when it is empty.
        metadata.insert("continue".to_owned(), "".into());
    }
    if remaining > 0
        && let Some((last, _)) = page.last()
    {
        let prefix = list_prefix(call.resource, namespace);
        let start = format!("{}\0", &last[prefix.len()..]);
        let version = i64::try_from(source.version).unwrap_or(INCONSISTENT);
        metadata.insert("continue".to_owned(), Token::encode(version, &start).into());
        if selection.is_everything() {
            metadata.insert("remainingItemCount".to_owned(), remaining.into());
        }
    }
    let more = remaining > 0;
    let body = write_list(call.resource, metadata, &page);
    drop(page);
    if more {
        state.keep_snapshot(call.resource);
    }
    Ok(body)
}

/// The present objects, or those that the continue token's list began with.
fn source(state: &State, call: &Call, version: &str) -> Result<Source, Failure> {
    let present = |start: String| Source {
        objects: state.objects(call.resource),
        version: state.version(),
        start,
    };
    let Some(token) = call.query.get("continue") else {
        return Ok(present(String::new()));
    };
    let token = Token::decode(token)?;
    if !matches!(version, "" | "0") {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    if token.rv == INCONSISTENT {
        return Ok(present(token.start));
    }
    let expired = || Failure::expired_continue(Token::encode(INCONSISTENT, &token.start));
    let version = u64::try_from(token.rv).map_err(|_| expired())?;
    let objects = state.snapshot(call.resource, version).ok_or_else(expired)?;
    Ok(Source {
        objects,
        version,
        start: token.start,
    })
}

fn write_list(
    resource: &Resource,
    metadata: Map<String, Value>,
    page: &[(&Arc<str>, &Arc<Stored>)],
) -> Bytes {
    let size: usize = page.iter().map(|(_, stored)| stored.json.len() + 64).sum();
    let mut out = Vec::with_capacity(size + 256);
    let (api_version, kind) = (resource.api_version(), resource.kind);
    let metadata = Value::Object(metadata);
    out.extend_from_slice(
        format!(
            r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{metadata},"items":["#
        )
        .as_bytes(),
    );
    for (index, (_, stored)) in page.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if resource.custom {
            stored.write_whole(resource, &mut out);
        } else {
            out.extend_from_slice(&stored.json);
        }
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};
    use serde_json::{Value, json};

    use super::{Token, list};
    use crate::random::Random;
    use crate::resources::Resource;
    use crate::state::State;
    use crate::status::Failure;
    use crate::target::{Call, Route};

    fn call(path: &str) -> Call {
        let uri: Uri = path.parse().expect("a URI");
        match Route::of(&Method::GET, &uri) {
            Route::Call(call) => *call,
            other => panic!("{path} is no call: {other:?}"),
        }
    }

    fn ask(state: &mut State, path: &str) -> Result<Value, Failure> {
        let body = list(state, &call(path))?;
        Ok(serde_json::from_slice(&body).expect("JSON"))
    }

    fn names(list: &Value) -> Vec<&str> {
        let items = list["items"].as_array().expect("items");
        let name = |item: &Value| item["metadata"]["name"].as_str().map(str::len);
        assert!(items.iter().all(|item| name(item).is_some()));
        items
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect()
    }

    fn pods(count: usize) -> State {
        let mut state = State::new(Random::seeded(1));
        for index in 0..count {
            put(&mut state, &format!("p{index}"));
        }
        state
    }

    fn put(state: &mut State, name: &str) {
        let pods = Resource::named("pods").expect("served");
        let labels = json!({ "k6_cr": "run" });
        state.put(
            pods,
            json!({ "metadata": { "name": name, "namespace": "ns", "labels": labels } }),
        );
    }

    #[test]
    fn pages_show_what_was_there_at_the_first() {
        let mut state = pods(5);
        let first = ask(&mut state, "/api/v1/namespaces/ns/pods?limit=2").expect("a page");
        assert_eq!(names(&first), ["p0", "p1"]);
        assert_eq!(first["metadata"]["remainingItemCount"], 3);
        put(&mut state, "p3-new");
        let pods = Resource::named("pods").expect("served");
        state.remove_now(pods, "ns", "p4");
        let token = first["metadata"]["continue"].as_str().expect("a token");
        let path = format!("/api/v1/namespaces/ns/pods?limit=5&continue={token}");
        let rest = ask(&mut state, &path).expect("a page");
        assert_eq!(names(&rest), ["p2", "p3", "p4"]);
        assert_eq!(
            rest["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        assert_eq!(rest["metadata"].get("continue"), None);
    }

    #[test]
    fn an_expired_token_comes_with_a_new_one() {
        let mut state = pods(3);
        let first = ask(&mut state, "/api/v1/pods?limit=1&labelSelector=k6_cr").expect("a page");
        assert_eq!(first["metadata"].get("remainingItemCount"), None);
        state.compact();
        put(&mut state, "p1-new");
        let token = first["metadata"]["continue"].as_str().expect("a token");
        let path = format!("/api/v1/pods?limit=1&continue={token}");
        let failure = ask(&mut state, &path).expect_err("expired");
        assert_eq!((failure.code, failure.reason), (410, "Expired"));
        let token = failure.body()["metadata"]["continue"].clone();
        let token = token.as_str().expect("a new token");
        let rest = ask(&mut state, &format!("/api/v1/pods?continue={token}")).expect("a page");
        assert_eq!(names(&rest), ["p1", "p1-new", "p2"]);
    }

    #[test]
    fn resource_version_0_ignores_the_limit() {
        let mut state = pods(3);
        let all = ask(&mut state, "/api/v1/pods?limit=1&resourceVersion=0").expect("a list");
        assert_eq!(names(&all).len(), 3);
    }

    #[test]
    fn tokens_are_as_recorded() {
        let recorded = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NzYwLCJzdGFydCI6Im5vcHVsbFx1MDAwMCJ9";
        let token = Token::decode(recorded).expect("a good token");
        let expected = Token {
            v: "meta.k8s.io/v1".to_owned(),
            rv: 760,
            start: "nopull\0".to_owned(),
        };
        assert_eq!(token, expected);
        assert_eq!(Token::encode(760, "nopull\0"), recorded);
    }
}
