//! What a request is about, read from its method, path and query as an API server does.
//!
//! Pure: whether the target exists, and whether the asker may, is for others to say.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::access::Attributes;
use crate::resources::Resource;
use crate::selectors::Fields;

/// A request's query parameters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is set to true, as Kubernetes reads it.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(key, value)| key == name && !matches!(value.as_str(), "false" | "0"))
    }

    /// `dryRun=All`.
    pub(crate) fn is_dry(&self) -> bool {
        self.get("dryRun") == Some("All")
    }
}

/// A request to a served resource.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    pub(crate) query: Query,
}

impl Call {
    /// As the counters and the fault rules name it: `list pods`, `get pods/log`.
    pub(crate) fn kind(&self) -> String {
        let (verb, plural) = (self.verb, self.resource.plural);
        match &self.subresource {
            Some(subresource) => format!("{verb} {plural}/{subresource}"),
            None => format!("{verb} {plural}"),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// What access rules judge. A list or watch of a single name counts as a request for that name.
    pub(crate) fn attributes(&self) -> Attributes {
        let selected = || {
            let fields = Fields::parse(self.query.get("fieldSelector")?).ok()?;
            Some(fields.single_name()?.to_owned())
        };
        let name = match self.verb {
            "list" | "watch" | "deletecollection" => selected(),
            _ => self.name.clone(),
        };
        Attributes {
            verb: self.verb.to_owned(),
            group: self.resource.group.to_owned(),
            resource: self.resource.plural.to_owned(),
            subresource: self.subresource.clone(),
            // A namespace is in itself.
            namespace: match self.resource.plural {
                "namespaces" => name.clone(),
                _ => self.namespace.clone(),
            },
            name,
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    Call(Box<Call>),
    /// `/api`, `/apis` and below, without a resource.
    Discovery,
    Version,
    Health,
    Unknown,
}

impl Route {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Self {
        let path: Vec<String> = uri
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["healthz" | "readyz" | "livez", ..] => Self::Health,
            ["version"] => Self::Version,
            ["api"] | ["api", _] | ["apis"] | ["apis", _] | ["apis", _, _] => Self::Discovery,
            ["api", version, rest @ ..] => Self::resource(method, uri, "", version, rest),
            ["apis", group, version, rest @ ..] => {
                Self::resource(method, uri, group, version, rest)
            }
            _ => Self::Unknown,
        }
    }

    fn resource(method: &Method, uri: &Uri, group: &str, version: &str, path: &[&str]) -> Self {
        let query = Query::of(uri);
        // `namespaces/x/status` is about the namespace, `namespaces/x/pods` about what is in it.
        let (namespace, path) = match path {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) =>
            {
                (Some(*namespace), rest)
            }
            _ => (None, path),
        };
        let (plural, name, subresource) = match *path {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, subresource] => (plural, Some(name), Some(subresource)),
            _ => return Self::Unknown,
        };
        let Some(resource) = Resource::at(group, version, plural) else {
            return Self::Unknown;
        };
        let known_subresource = match subresource {
            None => true,
            Some("status") => resource.status,
            Some("log") => resource.plural == "pods",
            Some(_) => false,
        };
        // A name without a namespace, or the other way round, is nobody's path.
        let fits = match (resource.namespaced, namespace, name) {
            (true, None, Some(_)) | (false, Some(_), _) => false,
            _ => known_subresource,
        };
        let Some(verb) = verb(method, name.is_some(), query.is_true("watch")).filter(|_| fits)
        else {
            return Self::Unknown;
        };
        Self::Call(Box::new(Call {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
            query,
        }))
    }
}

fn verb(method: &Method, named: bool, watch: bool) -> Option<&'static str> {
    Some(match (method.as_str(), named) {
        ("GET", true) => "get",
        ("GET", false) if watch => "watch",
        ("GET", false) => "list",
        ("POST", false) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

    use super::Route;

    #[test]
    fn paths_are_read_as_an_api_server_does() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/pods", "list pods / "),
            (
                "GET",
                "/api/v1/namespaces/a/pods?watch=true",
                "watch pods a/ ",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/x/log?container=k6",
                "get pods/log a/x ",
            ),
            ("GET", "/api/v1/namespaces", "list namespaces / "),
            ("GET", "/api/v1/namespaces/a", "get namespaces /a "),
            (
                "PATCH",
                "/apis/k6.io/v1alpha1/namespaces/a/testruns/r/status",
                "patch testruns/status a/r ",
            ),
            (
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews",
                "create tokenreviews / ",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dc",
                "list configmaps a/ c",
            ),
        ] {
            let method: Method = method.parse().expect("a method");
            let uri: Uri = uri.parse().expect("a URI");
            let Route::Call(call) = Route::of(&method, &uri) else {
                panic!("{uri} is a call");
            };
            let single = match call.verb {
                "list" => call.attributes().name.unwrap_or_default(),
                _ => String::new(),
            };
            let name = call.name.as_deref().unwrap_or("");
            let found = format!("{} {}/{name} {single}", call.kind(), call.namespace());
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn other_paths_are_nobodys() {
        for uri in [
            "/apis/nope.io/v1/namespaces/a/things",
            "/api/v1/pods/x",
            "/api/v1/namespaces/a/pods/x/exec",
            "/nope",
        ] {
            let uri: Uri = uri.parse().expect("a URI");
            assert!(
                matches!(Route::of(&Method::GET, &uri), Route::Unknown),
                "{uri}"
            );
        }
    }
}
