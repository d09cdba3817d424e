//! The kinds of object that the stand-in serves, and how their answers differ.
//!
//! The only place that knows a group, a plural or a kind by name. It never looks at an object.

/// One served resource, as a discovery document would describe it.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    /// Has a `/status` subresource: the main resource then ignores changes of `status`.
    pub(crate) status: bool,
    /// A custom resource: its list items carry `kind` and `apiVersion`, its list has an empty `continue`
    /// (both as recorded), it has a `generation`, and its CRD can be missing.
    pub(crate) custom: bool,
    /// False for reviews, which are answered and forgotten.
    pub(crate) stored: bool,
}

const fn stored(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource {
        group,
        version,
        plural,
        kind,
        namespaced: true,
        status: false,
        custom: false,
        stored: true,
    }
}

const fn with_status(resource: Resource) -> Resource {
    Resource {
        status: true,
        ..resource
    }
}

const fn cluster_wide(resource: Resource) -> Resource {
    Resource {
        namespaced: false,
        ..resource
    }
}

const fn custom(resource: Resource) -> Resource {
    Resource {
        custom: true,
        ..resource
    }
}

const fn review(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
        namespaced,
        stored: false,
        ..stored(group, "v1", plural, kind)
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Everything served. No plural occurs twice.
pub(crate) static RESOURCES: [Resource; 14] = [
    custom(with_status(stored(
        "k6.io", "v1alpha1", "testruns", "TestRun",
    ))),
    with_status(stored("", "v1", "pods", "Pod")),
    stored("", "v1", "configmaps", "ConfigMap"),
    cluster_wide(with_status(stored("", "v1", "namespaces", "Namespace"))),
    cluster_wide(with_status(stored("", "v1", "nodes", "Node"))),
    stored("coordination.k8s.io", "v1", "leases", "Lease"),
    stored(RBAC, "v1", "roles", "Role"),
    stored(RBAC, "v1", "rolebindings", "RoleBinding"),
    cluster_wide(stored(RBAC, "v1", "clusterroles", "ClusterRole")),
    cluster_wide(stored(
        RBAC,
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
    )),
    review(
        "authentication.k8s.io",
        "tokenreviews",
        "TokenReview",
        false,
    ),
    review(
        AUTHORIZATION,
        "subjectaccessreviews",
        "SubjectAccessReview",
        false,
    ),
    review(
        AUTHORIZATION,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        false,
    ),
    review(
        AUTHORIZATION,
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        true,
    ),
];

impl Resource {
    /// The resource with this plural, whatever its group.
    pub(crate) fn named(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|r| r.plural == plural)
    }

    /// The resource at a path's group, version and plural.
    pub(crate) fn at(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        Self::named(plural).filter(|r| r.group == group && r.version == version)
    }

    /// The resource of an object, by its `apiVersion` and `kind`.
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<&'static Self> {
        RESOURCES
            .iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
    }

    /// As in an object's `apiVersion`: `v1`, `k6.io/v1alpha1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// As error messages name it: `pods`, `testruns.k6.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The key under which an object is stored, which is also the order of lists: `namespace/name` or `name`.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    }
}
