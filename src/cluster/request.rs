//! A request to the API server, described once: in the words of RBAC (verb, resource, namespace, name), from which its method
//! and path follow, with query and body. Errors and metrics name it by the same words.

use std::fmt;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use url::form_urlencoded::{self, byte_serialize};

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// API group; empty for the core one.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    /// As RBAC writes it: `pods`, `pods/log`, …
    pub(super) name: &'static str,
    /// Whether its objects are in namespaces.
    pub(super) is_namespaced: bool,
}

impl Resource {
    /// One of the core group, whose objects are in namespaces.
    pub(super) const fn core(name: &'static str) -> Self {
        Self {
            group: "",
            version: "v1",
            name,
            is_namespaced: true,
        }
    }

    /// `resource.group` as kubectl writes it.
    fn qualified(&self) -> String {
        match self.group {
            "" => self.name.to_owned(),
            group => format!("{}.{group}", self.name),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
}

impl Verb {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request, which may be sent any number of times. Neither `Debug` nor `Display` shows the body: it may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(super) verb: Verb,
    pub(super) resource: Resource,
    /// `None`: all namespaces, or none.
    namespace: Option<String>,
    name: Option<String>,
    /// Of a log: which container of the pod.
    container: Option<String>,
    query: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Request {
    pub(super) fn get(resource: Resource, namespace: &str, name: &str) -> Self {
        Self::new(Verb::Get, resource, Some(namespace), Some(name))
    }

    pub(super) fn get_log(resource: Resource, namespace: &str, pod: &str, container: &str) -> Self {
        Self {
            container: Some(container.to_owned()),
            ..Self::get(resource, namespace, pod).query("container", container)
        }
    }

    pub(super) fn list(resource: Resource, namespace: Option<&str>) -> Self {
        Self::new(Verb::List, resource, namespace, None)
    }

    pub(super) fn watch(resource: Resource, namespace: Option<&str>) -> Self {
        Self::new(Verb::Watch, resource, namespace, None).query("watch", "true")
    }

    pub(super) fn create(resource: Resource, namespace: &str, name: &str, object: &Value) -> Self {
        Self::new(Verb::Create, resource, Some(namespace), Some(name)).body(object)
    }

    /// Creates an object without a name, whose answer is all that anybody wants of it.
    pub(super) fn review(resource: Resource, object: &Value) -> Self {
        Self::new(Verb::Create, resource, None, None).body(object)
    }

    pub(super) fn update(resource: Resource, namespace: &str, name: &str, object: &Value) -> Self {
        Self::new(Verb::Update, resource, Some(namespace), Some(name)).body(object)
    }

    /// A merge patch (RFC 7386): null removes a key.
    pub(super) fn patch(resource: Resource, namespace: &str, name: &str, patch: &Value) -> Self {
        Self::new(Verb::Patch, resource, Some(namespace), Some(name)).body(patch)
    }

    fn new(verb: Verb, resource: Resource, namespace: Option<&str>, name: Option<&str>) -> Self {
        Self {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            container: None,
            query: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    fn body(mut self, object: &Value) -> Self {
        self.body = object.to_string().into();
        self
    }

    /// A copy for an error, which must not keep the body.
    pub(super) fn for_error(&self) -> Box<Self> {
        Box::new(Self {
            body: Bytes::new(),
            ..self.clone()
        })
    }

    pub(super) fn is_of_one_namespace(&self) -> bool {
        self.namespace.is_some()
    }

    pub(super) fn method(&self) -> Method {
        match self.verb {
            Verb::Get | Verb::List | Verb::Watch => Method::GET,
            Verb::Create => Method::POST,
            Verb::Update => Method::PUT,
            Verb::Patch => Method::PATCH,
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.verb {
            Verb::Patch => "application/merge-patch+json",
            _ => "application/json",
        }
    }

    pub(super) fn json(&self) -> Bytes {
        self.body.clone()
    }

    /// Path and query. All names are escaped: some come from database rows, which anybody may have written.
    pub(super) fn uri(&self) -> String {
        let Resource { group, version, .. } = self.resource;
        let mut uri = match group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let mut push = |segment: &str| {
            uri.push('/');
            // A form's `+` for a space is itself in a path; a `+` of the name's own is `%2B` already.
            uri.extend(byte_serialize(segment.as_bytes()).map(|part| match part {
                "+" => "%20",
                part => part,
            }));
        };
        if self.resource.is_namespaced
            && let Some(namespace) = &self.namespace
        {
            push("namespaces");
            push(namespace);
        }
        let (plural, subresource) = match self.resource.name.split_once('/') {
            Some((plural, subresource)) => (plural, Some(subresource)),
            None => (self.resource.name, None),
        };
        push(plural);
        // An object is created in the collection.
        if self.verb != Verb::Create
            && let Some(name) = &self.name
        {
            push(name);
        }
        if let Some(subresource) = subresource {
            push(subresource);
        }
        if !self.query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&self.query)
                .finish();
            uri = format!("{uri}?{query}");
        }
        uri
    }

    /// The RBAC rule that allows it, as YAML on one line.
    pub(super) fn rule(&self) -> String {
        let names = match (&self.name, self.verb) {
            (Some(name), Verb::Get | Verb::Patch) if self.resource.name == "configmaps" => {
                format!(", resourceNames: [\"{name}\"]")
            }
            _ => String::new(),
        };
        format!(
            "{{apiGroups: [\"{}\"], resources: [\"{}\"]{names}, verbs: [\"{}\"]}}",
            self.resource.group, self.resource.name, self.verb
        )
    }

    /// The command that shows whether one may.
    pub(super) fn can_i(&self) -> String {
        // `can-i get pods/log` takes the subresource apart.
        let qualified = self.resource.qualified();
        let resource = match qualified.split_once('/') {
            Some((resource, subresource)) => format!("{resource} --subresource={subresource}"),
            None => qualified,
        };
        match &self.namespace {
            Some(namespace) => {
                format!("kubectl auth can-i {} {resource} -n {namespace}", self.verb)
            }
            None => format!(
                "kubectl auth can-i {} {resource} --all-namespaces",
                self.verb
            ),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource.qualified())?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if let Some(container) = &self.container {
            write!(f, "/{container}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({self})")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LEASES: Resource = Resource {
        group: "coordination.k8s.io",
        version: "v1",
        name: "leases",
        is_namespaced: true,
    };

    #[test]
    fn method_path_and_query_follow_from_the_words_of_rbac() {
        let pods = Resource::core("pods");
        let reviews = Resource {
            group: "authentication.k8s.io",
            name: "tokenreviews",
            is_namespaced: false,
            ..LEASES
        };
        let namespaces = Resource {
            is_namespaced: false,
            ..Resource::core("namespaces")
        };
        for (request, method, uri, words) in [
            (
                Request::list(pods, None).query("labelSelector", "a=b"),
                Method::GET,
                "/api/v1/pods?labelSelector=a%3Db",
                "list pods in all namespaces",
            ),
            (
                Request::list(pods, Some("x")),
                Method::GET,
                "/api/v1/namespaces/x/pods",
                "list pods in namespace x",
            ),
            (
                Request::get_log(Resource::core("pods/log"), "x", "p", "c"),
                Method::GET,
                "/api/v1/namespaces/x/pods/p/log?container=c",
                "get pods/log p/c in namespace x",
            ),
            (
                Request::watch(LEASES, None),
                Method::GET,
                "/apis/coordination.k8s.io/v1/leases?watch=true",
                "watch leases.coordination.k8s.io in all namespaces",
            ),
            (
                Request::create(LEASES, "x", "l", &json!({})),
                Method::POST,
                "/apis/coordination.k8s.io/v1/namespaces/x/leases",
                "create leases.coordination.k8s.io l in namespace x",
            ),
            (
                Request::update(LEASES, "x", "l", &json!({})),
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/x/leases/l",
                "update leases.coordination.k8s.io l in namespace x",
            ),
            (
                Request::patch(Resource::core("configmaps"), "x", "m", &json!({})),
                Method::PATCH,
                "/api/v1/namespaces/x/configmaps/m",
                "patch configmaps m in namespace x",
            ),
            (
                Request::review(reviews, &json!({})),
                Method::POST,
                "/apis/authentication.k8s.io/v1/tokenreviews",
                "create tokenreviews.authentication.k8s.io in all namespaces",
            ),
            (
                Request::get(namespaces, "x", "x"),
                Method::GET,
                "/api/v1/namespaces/x",
                "get namespaces x in namespace x",
            ),
            (
                Request::get(pods, "a/../b", "c d?e#f+%"),
                Method::GET,
                "/api/v1/namespaces/a%2F..%2Fb/pods/c%20d%3Fe%23f%2B%25",
                "get pods c d?e#f+% in namespace a/../b",
            ),
        ] {
            assert_eq!(request.uri(), uri);
            assert_eq!(request.method(), method, "{uri}");
            assert_eq!(request.to_string(), words);
        }
    }

    #[test]
    fn nothing_shows_the_body() {
        let request = Request::review(LEASES, &json!({"spec": {"token": "secret"}}));
        assert!(!format!("{request:?} {request}").contains("secret"));
        assert!(request.for_error().json().is_empty());
    }
}
