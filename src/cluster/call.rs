//! What is asked of the API server, in the words of RBAC: verb, resource, namespace. Errors and metrics name calls so.

use std::fmt;

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `list`, `get`, …
    pub verb: &'static str,
    /// API group; empty for the core one.
    pub group: &'static str,
    /// `pods`, `pods/log`, …
    pub resource: &'static str,
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    /// The object's name, where one is meant.
    pub name: Option<String>,
}

impl Call {
    /// `resource.group` as kubectl writes it.
    fn qualified(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// The RBAC rule that allows this call, as YAML on one line.
    pub fn rule(&self) -> String {
        let names = match (&self.name, self.verb) {
            (Some(name), "get" | "patch") if self.resource == "configmaps" => {
                format!(", resourceNames: [\"{name}\"]")
            }
            _ => String::new(),
        };
        format!(
            "{{apiGroups: [\"{}\"], resources: [\"{}\"]{names}, verbs: [\"{}\"]}}",
            self.group, self.resource, self.verb
        )
    }

    /// The command that tells whether one may.
    pub fn can_i(&self) -> String {
        // `can-i get pods/log` wants the subresource apart.
        let resource = match self.qualified().split_once('/') {
            Some((resource, subresource)) => format!("{resource} --subresource={subresource}"),
            None => self.qualified(),
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

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.qualified())?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}
