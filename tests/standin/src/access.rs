//! Who may do what: bearer tokens, impersonation and RBAC.
//!
//! [`Access`] knows the users; roles and bindings are objects like others and are read from the [`State`] at each question.
//! Called at the start of every request and by the reviews.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use serde_json::Value;

use crate::resources::Resource;
use crate::state::State;
use crate::status::Failure;

/// Someone with a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// As Kubernetes names users: `alice`, `system:serviceaccount:k6-runs:default`.
    pub name: String,
    /// `system:authenticated` is always added.
    pub groups: Vec<String>,
    /// What the user may do beside what roles and bindings say; `None` = everything.
    pub rules: Option<Vec<Rule>>,
    /// Whom the user's tokens are meant for; empty: the API server.
    pub audiences: Vec<String>,
}

impl User {
    /// A user who may do everything.
    pub fn all(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A user who may do what `rules` say, and what roles and bindings say.
    pub fn with_rules(name: &str, rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            name: name.to_owned(),
            rules: Some(rules.into_iter().collect()),
            ..Self::default()
        }
    }

    /// All groups, `system:authenticated` and those of a service account included.
    pub(crate) fn all_groups(&self) -> Vec<String> {
        let mut groups = self.groups.clone();
        if let Some((namespace, _)) = service_account(&self.name) {
            groups.push("system:serviceaccounts".to_owned());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        groups.push("system:authenticated".to_owned());
        groups.dedup();
        groups
    }
}

/// An RBAC rule. `*` in a list means everything; subresources are written `pods/log`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// `""` is the core group.
    pub api_groups: Vec<String>,
    /// Plurals.
    pub resources: Vec<String>,
    /// Empty = all names.
    pub resource_names: Vec<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`.
    pub verbs: Vec<String>,
    /// `None` = in every namespace and cluster-wide.
    pub namespace: Option<String>,
}

impl Rule {
    /// A rule for one API group in every namespace.
    pub fn new(api_group: &str, resources: &[&str], verbs: &[&str]) -> Self {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Self {
            api_groups: vec![api_group.to_owned()],
            resources: owned(resources),
            verbs: owned(verbs),
            ..Self::default()
        }
    }

    /// The same rule, in one namespace only.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    fn from_role(rule: &Value) -> Self {
        Self {
            api_groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            resource_names: texts(&rule["resourceNames"]),
            verbs: texts(&rule["verbs"]),
            namespace: None,
        }
    }

    fn allows(&self, asked: &Attributes) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|x| x == "*" || x == wanted);
        let resource_allowed = match asked.subresource.as_deref() {
            None => has(&self.resources, &asked.resource),
            Some(subresource) => {
                has(
                    &self.resources,
                    &format!("{}/{subresource}", asked.resource),
                ) || self.resources.contains(&format!("*/{subresource}"))
            }
        };
        let name_allowed = self.resource_names.is_empty()
            || asked
                .name
                .as_ref()
                .is_some_and(|name| self.resource_names.contains(name));
        let place_allowed = self
            .namespace
            .as_ref()
            .is_none_or(|namespace| asked.namespace.as_ref() == Some(namespace));
        has(&self.verbs, &asked.verb)
            && has(&self.api_groups, &asked.group)
            && resource_allowed
            && name_allowed
            && place_allowed
    }
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some(item.as_str()?.to_owned()))
        .collect()
}

/// What a request wants to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl Attributes {
    /// The refusal, with the sentence of a real API server.
    pub(crate) fn refused(&self, user: &User, resource: &Resource) -> Failure {
        let what = match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        };
        let place = match &self.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let sentence = format!(
            "User \"{}\" cannot {} resource \"{what}\" in API group \"{}\" {place}",
            user.name, self.verb, self.group
        );
        Failure::forbidden(resource, self.name.as_deref(), &sentence)
    }
}

/// The users and their tokens.
#[derive(Debug)]
pub(crate) struct Access {
    users: BTreeMap<String, User>,
}

impl Access {
    pub(crate) fn new(admin_token: &str) -> Self {
        let admin = User {
            groups: vec!["system:masters".to_owned()],
            ..User::all("kubernetes-admin")
        };
        Self {
            users: BTreeMap::from([(admin_token.to_owned(), admin)]),
        }
    }

    pub(crate) fn add(&mut self, token: &str, user: User) {
        self.users.insert(token.to_owned(), user);
    }

    pub(crate) fn remove(&mut self, token: &str) {
        self.users.remove(token);
    }

    pub(crate) fn by_token(&self, token: &str) -> Option<&User> {
        self.users.get(token)
    }

    /// A user by name; one whom nobody introduced has only what roles and bindings say.
    pub(crate) fn by_name(&self, name: &str, groups: &[String]) -> User {
        let mut user = match self.users.values().find(|user| user.name == name) {
            Some(user) => user.clone(),
            None => User::with_rules(name, []),
        };
        for group in groups {
            if !user.groups.contains(group) {
                user.groups.push(group.clone());
            }
        }
        user
    }

    /// Who is asking: the token's user, or whom that user impersonates.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, state: &State) -> Result<User, Failure> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let user = token
            .and_then(|token| self.by_token(token.trim()))
            .ok_or_else(Failure::unauthorized)?;
        let Some(name) = header_text(headers, "impersonate-user") else {
            return Ok(user.clone());
        };
        let groups: Vec<String> = headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|value| Some(value.to_str().ok()?.to_owned()))
            .collect();
        let may = |resource: &str, namespace: Option<&str>, name: &str| {
            let asked = Attributes {
                verb: "impersonate".to_owned(),
                resource: resource.to_owned(),
                namespace: namespace.map(str::to_owned),
                name: Some(name.to_owned()),
                ..Attributes::default()
            };
            if allowed(state, user, &asked) {
                return Ok(());
            }
            Err(Failure::forbidden_otherwise(format!(
                "{resource} \"{name}\" is forbidden: User \"{}\" cannot impersonate resource \"{resource}\" in API group \"\" {}",
                user.name,
                namespace.map_or("at the cluster scope".to_owned(), |n| format!(
                    "in the namespace \"{n}\""
                )),
            )))
        };
        match service_account(name) {
            Some((namespace, account)) => may("serviceaccounts", Some(namespace), account)?,
            None => may("users", None, name)?,
        }
        for group in &groups {
            may("groups", None, group)?;
        }
        Ok(self.by_name(name, &groups))
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|v| !v.is_empty())
}

/// Splits `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Whether the user may do it, by their own rules, roles and bindings.
pub(crate) fn allowed(state: &State, user: &User, asked: &Attributes) -> bool {
    let Some(rules) = &user.rules else {
        return true;
    };
    let groups = user.all_groups();
    groups.iter().any(|group| group == "system:masters")
        || rules.iter().any(|rule| rule.allows(asked))
        || bound_rules(state, user, &groups, asked.namespace.as_deref())
            .iter()
            .any(|rule| rule.allows(asked))
}

/// The rules that bindings give the user, cluster-wide or in that namespace.
fn bound_rules(
    state: &State,
    user: &User,
    groups: &[String],
    namespace: Option<&str>,
) -> Vec<Rule> {
    let list = |plural: &str, namespace: Option<&str>| match Resource::named(plural) {
        Some(resource) => state.list(resource, namespace),
        None => Vec::new(),
    };
    let mut bindings = list("clusterrolebindings", None);
    if namespace.is_some() {
        bindings.extend(list("rolebindings", namespace));
    }
    bindings
        .iter()
        .filter(|binding| {
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            subjects
                .into_iter()
                .any(|subject| is_subject(subject, binding, user, groups))
        })
        .flat_map(|binding| role_rules(state, binding))
        .collect()
}

fn is_subject(subject: &Value, binding: &Value, user: &User, groups: &[String]) -> bool {
    let name = subject["name"].as_str().unwrap_or("");
    match subject["kind"].as_str() {
        Some("User") => name == user.name,
        Some("Group") => groups.iter().any(|group| group == name),
        Some("ServiceAccount") => {
            let own = &binding["metadata"]["namespace"];
            let namespace = subject["namespace"].as_str().or(own.as_str());
            service_account(&user.name) == namespace.map(|namespace| (namespace, name))
        }
        _ => false,
    }
}

fn role_rules(state: &State, binding: &Value) -> Vec<Rule> {
    let role = &binding["roleRef"];
    let name = role["name"].as_str().unwrap_or("");
    let namespace = binding["metadata"]["namespace"].as_str().unwrap_or("");
    let plural = match role["kind"].as_str() {
        Some("Role") => "roles",
        _ => "clusterroles",
    };
    let role = Resource::named(plural).and_then(|r| state.get(r, namespace, name));
    let rules = role.as_ref().and_then(|role| role["rules"].as_array());
    rules.into_iter().flatten().map(Rule::from_role).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::{Access, Attributes, Rule, User, allowed};
    use crate::random::Random;
    use crate::resources::Resource;
    use crate::state::State;

    fn asks(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (resource, None),
        };
        Attributes {
            verb: verb.to_owned(),
            group: Resource::named(resource).map_or("", |r| r.group).to_owned(),
            resource: resource.to_owned(),
            subresource,
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: (!name.is_empty()).then(|| name.to_owned()),
        }
    }

    #[test]
    fn rules_are_as_in_rbac() {
        let rule = Rule {
            resource_names: vec!["k6sync-control".to_owned()],
            ..Rule::new("", &["configmaps"], &["get", "patch"])
        };
        for (rule, asked, expected) in [
            (
                &rule,
                asks("get", "configmaps", "ns", "k6sync-control"),
                true,
            ),
            (&rule, asks("get", "configmaps", "ns", "other"), false),
            (&rule, asks("list", "configmaps", "ns", ""), false),
            (
                &Rule::new("", &["pods"], &["get"]),
                asks("get", "pods/log", "ns", "x"),
                false,
            ),
            (
                &Rule::new("", &["pods/log"], &["get"]),
                asks("get", "pods/log", "ns", "x"),
                true,
            ),
            (
                &Rule::new("", &["*/log"], &["get"]),
                asks("get", "pods/log", "ns", "x"),
                true,
            ),
            (
                &Rule::new("", &["*"], &["*"]),
                asks("get", "pods/log", "ns", "x"),
                true,
            ),
            (
                &Rule::new("", &["*"], &["*"]),
                asks("get", "testruns", "ns", "x"),
                false,
            ),
            (
                &Rule::new("k6.io", &["testruns"], &["list"]).in_namespace("a"),
                asks("list", "testruns", "b", ""),
                false,
            ),
            (
                &Rule::new("k6.io", &["testruns"], &["list"]).in_namespace("a"),
                asks("list", "testruns", "", ""),
                false,
            ),
        ] {
            assert_eq!(rule.allows(&asked), expected, "{rule:?} {asked:?}");
        }
    }

    #[test]
    fn bindings_give_roles_to_users_groups_and_service_accounts() {
        let mut state = State::new(Random::seeded(1));
        for object in [
            json!({ "kind": "Role", "metadata": { "name": "reader", "namespace": "ns" },
                "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] }] }),
            json!({ "kind": "ClusterRole", "metadata": { "name": "runs" },
                "rules": [{ "apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list"] }] }),
            json!({ "kind": "RoleBinding", "metadata": { "name": "a", "namespace": "ns" },
                "roleRef": { "kind": "Role", "name": "reader" },
                "subjects": [{ "kind": "ServiceAccount", "name": "k6sync", "namespace": "ns" }] }),
            json!({ "kind": "ClusterRoleBinding", "metadata": { "name": "b" },
                "roleRef": { "kind": "ClusterRole", "name": "runs" },
                "subjects": [{ "kind": "Group", "name": "testers" }, { "kind": "User", "name": "ann" }] }),
        ] {
            let kind = object["kind"].as_str().expect("a kind").to_owned();
            let resource = Resource::of("rbac.authorization.k8s.io/v1", &kind).expect("served");
            state.put(resource, object);
        }
        let account = User::with_rules("system:serviceaccount:ns:k6sync", []);
        let tester = User {
            groups: vec!["testers".to_owned()],
            ..User::with_rules("bob", [])
        };
        let ann = User::with_rules("ann", []);
        let pods = asks("list", "pods", "ns", "");
        assert!(allowed(&state, &account, &pods));
        assert!(!allowed(
            &state,
            &account,
            &asks("list", "pods", "other", "")
        ));
        assert!(!allowed(&state, &tester, &pods));
        let runs = asks("list", "testruns", "", "");
        assert!(allowed(&state, &tester, &runs) && allowed(&state, &ann, &runs));
        assert!(!allowed(&state, &account, &runs));
    }

    #[test]
    fn impersonation_needs_the_right_to_it() {
        let state = State::new(Random::seeded(1));
        let mut access = Access::new("admin");
        access.add("weak", User::with_rules("weak", []));
        let ask = |token: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("Bearer {token}").parse().expect("a header value");
            headers.insert("authorization", value);
            headers.insert("impersonate-user", "eve".parse().expect("a header value"));
            access.authenticate(&headers, &state)
        };
        assert_eq!(ask("admin"), Ok(User::with_rules("eve", [])));
        assert_eq!(ask("weak").expect_err("refused").code, 403);
        assert_eq!(ask("unknown").expect_err("refused").code, 401);
    }
}
