//! The rights in `manifests/` are enough, and none is idle.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Cluster, Database, Program, unique};

/// API group, resource, name (empty: all) and verbs.
type Rule = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

/// What `sync-once` needs in a namespace.
const SYNC_ONCE: &[Rule] = &[
    ("k6.io", "testruns", "", &["list"]),
    ("", "pods", "", &["list"]),
    ("", "pods/log", "", &["get"]),
    ("", "namespaces", "", &["get"]),
    ("", "configmaps", "k6sync-control", &["get"]),
];

/// What only the loop needs: to watch and hold TestRuns, to change the control ConfigMap for the job API, and to hold the
/// lease.
const LOOP_ONLY: &[Rule] = &[
    ("k6.io", "testruns", "", &["watch", "get", "patch"]),
    ("", "configmaps", "k6sync-control", &["patch"]),
    (
        "coordination.k8s.io",
        "leases",
        "k6sync",
        &["get", "update"],
    ),
    // No name: a request to create can't be tied to one.
    ("coordination.k8s.io", "leases", "", &["create"]),
];

/// One verb on one resource: API group, resource, name (empty: all), verb.
pub type Grant = [String; 4];

/// What the Role is to grant, and nothing else.
pub fn expected_grants() -> BTreeSet<Grant> {
    grants_of(SYNC_ONCE)
        .union(&grants_of(LOOP_ONLY))
        .cloned()
        .collect()
}

/// What a Role or ClusterRole grants.
pub fn grants(role: &Value) -> BTreeSet<Grant> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let words = rule[key].as_array().map(Vec::as_slice).unwrap_or_default();
        words
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let mut grants = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
        let mut names = words(rule, "resourceNames");
        if rule.get("resourceNames").is_none() {
            names.push(String::new());
        }
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for name in &names {
                    for verb in words(rule, "verbs") {
                        grants.insert([group.clone(), resource.clone(), name.clone(), verb]);
                    }
                }
            }
        }
    }
    grants
}

fn grants_of(rules: &[Rule]) -> BTreeSet<Grant> {
    let grants = rules.iter().flat_map(|(group, resource, name, verbs)| {
        verbs
            .iter()
            .map(|verb| [*group, *resource, *name, *verb].map(str::to_owned))
    });
    grants.collect()
}

pub fn rules_of(grants: &BTreeSet<Grant>) -> Value {
    let rules = grants.iter().map(|[group, resource, name, verb]| {
        let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
        if !name.is_empty() {
            rule["resourceNames"] = json!([name]);
        }
        rule
    });
    rules.collect()
}

fn role() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base/role.yaml");
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn sync_with(grants: &BTreeSet<Grant>) -> (i32, String) {
    let cluster = Cluster::start().await;
    cluster.moment("t1").await;
    let user = unique("user");
    cluster.allow(&user, rules_of(grants)).await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[])
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .run()
        .await;
    (run.code, run.stdout + &run.stderr)
}

#[test]
fn the_role_in_manifests_is_what_sync_once_and_the_loop_need() {
    assert_eq!(grants(&role()), expected_grants());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_in_manifests_lets_sync_once_sync() {
    for granted in [grants(&role()), grants_of(SYNC_ONCE)] {
        let (code, output) = sync_with(&granted).await;
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("\"errors\":0"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_sync_once_is_granted_is_idle() {
    for idle in grants_of(SYNC_ONCE) {
        let mut fewer = grants(&role());
        assert!(fewer.remove(&idle), "not in the role: {idle:?}");
        let (code, output) = sync_with(&fewer).await;
        assert!(
            code == 1
                || output.contains("not allowed to get pods/log")
                || output.contains("it can't be told which cluster this is"),
            "not needed: {idle:?}"
        );
    }
}
