//! What is in `manifests/` is what Kubernetes, Prometheus and k6sync itself would take.
//!
//! Every kustomization is rendered by `kubectl kustomize`, and what comes of it is decoded into Kubernetes' own types; with
//! `KUBEBUILDER_ASSETS` a real API server checks it too. Where `kubectl` is missing, the files are read as they are, and tests
//! that need more than that say on standard error that they were skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use k6sync::cli::{Cli, Command as CliCommand, Common};
use k6sync::cluster::{Namespaces, Traffic};
use k6sync::config::Config;
use k6sync::telemetry::Metrics;
use k6sync_standin::Options;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rbac::{expected_grants, grants};
use crate::support::Cluster;

/// Where the manifests say that the TestRuns are.
const NAMESPACE: &str = "k6-runs";
const IMAGE: &str = concat!("ghcr.io/k6sync/k6sync:", env!("CARGO_PKG_VERSION"));
const CONFIG_PATH: &str = "/etc/k6sync/config.yaml";
/// The loop's farewell after `shutdownGrace`, seconds.
const FAREWELL: i64 = 5;

/// Everything that Prometheus may ask a loop, without what a histogram adds.
const METRICS: &[&str] = &[
    "k6sync_build_info",
    "k6sync_cycles_total",
    "k6sync_cycles_skipped_total",
    "k6sync_cycle_duration_seconds",
    "k6sync_steps",
    "k6sync_log_bytes_total",
    "k6sync_log_lines_total",
    "k6sync_log_gaps_total",
    "k6sync_holds",
    "k6sync_errors_total",
    "k6sync_kubernetes_requests_total",
    "k6sync_last_success_timestamp_seconds",
    "k6sync_leader",
    "k6sync_enabled",
    "k6sync_interval_seconds",
];
const HISTOGRAMS: &[&str] = &["k6sync_cycle_duration_seconds"];

// === What is there ===

/// Objects that are applied together, and where they come from.
struct Rendering {
    name: String,
    objects: Vec<Value>,
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

fn kustomizations(kind: &str) -> Vec<PathBuf> {
    let is_of_kind = |path: &PathBuf| {
        path.ends_with("kustomization.yaml")
            && documents(&std::fs::read_to_string(path).unwrap())[0]["kind"] == kind
    };
    let files = files_below(&manifests()).into_iter().filter(is_of_kind);
    files
        .map(|path| path.parent().unwrap().to_owned())
        .collect()
}

/// Whether `kubectl` can render; if not, says so on standard error.
fn has_kubectl(what_is_lost: &str) -> bool {
    let version = Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    let is_there = version.is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("kubectl is missing: {what_is_lost}");
    }
    is_there
}

fn kustomize(folder: &Path) -> Vec<Value> {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", folder.display());
    // Warnings are about fields that are going away.
    assert!(!error.contains("Warning"), "{}: {error}", folder.display());
    documents(std::str::from_utf8(&output.stdout).unwrap())
}

/// A kustomization as somebody writes it on top of ours.
fn kustomize_on_top(resource: &str, components: &[&str], namespace: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let ours = manifests().canonicalize().unwrap();
    let ours = format!("{up}{}", ours.strip_prefix("/").unwrap().display());
    let components: Vec<String> = components
        .iter()
        .map(|name| format!("{ours}/components/{name}"))
        .collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "namespace": namespace, "resources": [format!("{ours}/{resource}")], "components": components,
    });
    std::fs::write(here.join("kustomization.yaml"), kustomization.to_string()).unwrap();
    kustomize(&here)
}

fn sync_once_pod() -> Value {
    let text = std::fs::read_to_string(manifests().join("sync-once-pod.yaml")).unwrap();
    let mut documents = documents(&text);
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// Every overlay, and combinations of components that make sense; `None` without `kubectl`.
fn renderings() -> Option<Vec<Rendering>> {
    if !has_kubectl("the kustomizations are not rendered") {
        return None;
    }
    let relative = |folder: &Path| {
        let name = folder.strip_prefix(manifests()).unwrap();
        name.display().to_string()
    };
    let mut renderings: Vec<Rendering> = kustomizations("Kustomization")
        .iter()
        .map(|folder| Rendering {
            name: relative(folder),
            objects: kustomize(folder),
        })
        .collect();
    assert!(renderings.iter().any(|rendering| rendering.name == "base"));
    for components in [
        &[
            "postgres",
            "ha",
            "all-namespaces",
            "organizer",
            "monitoring",
        ][..],
        &["organizer", "monitoring", "all-namespaces"],
        &["cronjob", "postgres", "all-namespaces"],
        &["cronjob", "hold"],
        &["prune", "postgres"],
    ] {
        renderings.push(Rendering {
            name: format!("base with {}", components.join(", ")),
            objects: kustomize_on_top("base", components, NAMESPACE),
        });
    }
    // What it refers to is in base.
    let base = renderings.iter().find(|rendering| rendering.name == "base");
    let mut objects = base.unwrap().objects.clone();
    let mut pod = sync_once_pod();
    pod["metadata"]["namespace"] = NAMESPACE.into();
    objects.push(pod);
    renderings.push(Rendering {
        name: "base with sync-once-pod.yaml".to_owned(),
        objects,
    });
    Some(renderings)
}

/// The objects of the files as they are, without kustomizations and patches, which are none.
fn plain_objects() -> Vec<Value> {
    let is_object = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".yaml") && !name.ends_with(".patch.yaml") && name != "kustomization.yaml"
    };
    files_below(&manifests())
        .into_iter()
        .filter(is_object)
        .flat_map(|path| documents(&std::fs::read_to_string(path).unwrap()))
        .collect()
}

impl Rendering {
    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(move |object| object["kind"] == kind)
    }

    fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter().find(is_it)
    }

    /// Labels and spec of every pod that comes of it.
    fn pods(&self) -> Vec<(&Value, &Value)> {
        let templates = self
            .objects
            .iter()
            .filter_map(|object| match object["kind"].as_str() {
                Some("Deployment") => Some(&object["spec"]["template"]),
                Some("CronJob") => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
                Some("Pod") => Some(object),
                _ => None,
            });
        templates
            .map(|template| (&template["metadata"]["labels"], &template["spec"]))
            .collect()
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Whether `labels` has all of `selector`.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    assert!(!selector.is_empty());
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

// === Of their kinds ===

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Custom<Spec> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceMonitorSpec {
    selector: LabelSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
    scrape_timeout: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrometheusRuleSpec {
    groups: Vec<RuleGroup>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleGroup {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Alert {
    alert: String,
    expr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// Checks that an object is one of its kind, and that Kubernetes' type has a place for each of its fields.
fn check_kind(object: &Value) -> Result<(), String> {
    let kind = (
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
    );
    macro_rules! of {
        ($($known:ty),+ $(,)?) => {
            $(if kind == (<$known as Resource>::API_VERSION, <$known as Resource>::KIND) {
                return check_fields::<$known>(object);
            })+
        };
    }
    of![
        ClusterRole,
        ClusterRoleBinding,
        ConfigMap,
        CronJob,
        Deployment,
        Namespace,
        NetworkPolicy,
        PersistentVolumeClaim,
        Pod,
        PodDisruptionBudget,
        Role,
        RoleBinding,
        Service,
        ServiceAccount,
    ];
    match kind {
        ("monitoring.coreos.com/v1", "ServiceMonitor") => {
            check_fields::<Custom<ServiceMonitorSpec>>(object)
        }
        ("monitoring.coreos.com/v1", "PrometheusRule") => {
            check_fields::<Custom<PrometheusRuleSpec>>(object)
        }
        _ => Err(format!("the kind {kind:?} is unknown")),
    }
}

fn check_fields<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_path_to_error::deserialize(object).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(typed).unwrap();
    match lost(object, &back) {
        Some(path) => Err(format!("there is no field {path}")),
        None => Ok(()),
    }
}

/// The first field of `before` that is not the same in `after`.
fn lost(before: &Value, after: &Value) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
            let Some(kept) = after.get(key) else {
                return Some(format!(".{key}"));
            };
            lost(value, kept).map(|path| format!(".{key}{path}"))
        }),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(index, (before, after))| {
                lost(before, after).map(|path| format!("[{index}]{path}"))
            })
        }
        _ if before == after => None,
        _ => Some(format!(" (`{before}` became `{after}`)")),
    }
}

#[test]
fn every_object_is_one_of_its_kind() {
    let mut groups = renderings().unwrap_or_default();
    groups.push(Rendering {
        name: "plain files".to_owned(),
        objects: plain_objects(),
    });
    for Rendering { name, objects } in groups {
        assert!(!objects.is_empty(), "{name}");
        let mut known = BTreeSet::new();
        for object in &objects {
            check_kind(object).unwrap_or_else(|problem| panic!("{name}: {problem} in {object:#}"));
            let id = (text(&object["kind"]), text(&object["metadata"]["name"]));
            assert!(known.insert(id), "{name}: {id:?} is there twice");
        }
    }
}

#[test]
fn a_typo_would_be_noticed() {
    let objects = plain_objects();
    let find = |kind: &str| {
        objects
            .iter()
            .find(|object| object["kind"] == kind)
            .unwrap()
            .clone()
    };
    let spoil = |kind: &str, path: &str, value: Value| {
        let mut object = find(kind);
        assert_eq!(check_kind(&object), Ok(()));
        let (parent, key) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value;
        check_kind(&object).unwrap_err()
    };
    let container = "/spec/template/spec/containers/0";
    for (kind, path, value) in [
        ("Deployment", format!("{container}/livenesProbe"), json!({})),
        (
            "Deployment",
            format!("{container}/securityContext/readonlyRootFilesystem"),
            json!(true),
        ),
        ("Deployment", "/spec/replicas".to_owned(), json!("1")),
        ("ConfigMap", "/data/enabled".to_owned(), json!(true)),
        (
            "NetworkPolicy",
            "/spec/policyType".to_owned(),
            json!(["Egress"]),
        ),
        (
            "PrometheusRule",
            "/spec/groups/0/rules/0/fore".to_owned(),
            json!("3m"),
        ),
        ("Role", "/kind".to_owned(), json!("Rolle")),
    ] {
        let problem = spoil(kind, &path, value);
        assert!(!problem.is_empty(), "{path}");
    }
}

#[test]
fn every_component_is_part_of_an_overlay_and_every_file_of_a_kustomization() {
    let mut named = BTreeSet::new();
    let mut folders = kustomizations("Kustomization");
    folders.extend(kustomizations("Component"));
    for folder in &folders {
        let text = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        let kustomization = &documents(&text)[0];
        let mut paths: Vec<&str> = Vec::new();
        for key in ["resources", "components"] {
            paths.extend(items(&kustomization[key]).iter().map(self::text));
        }
        paths.extend(
            items(&kustomization["patches"])
                .iter()
                .filter_map(|patch| patch["path"].as_str()),
        );
        named.extend(
            paths
                .iter()
                .map(|path| folder.join(path).canonicalize().unwrap()),
        );
    }
    for component in kustomizations("Component") {
        assert!(
            named.contains(&component.canonicalize().unwrap()),
            "{}",
            component.display()
        );
    }
    for path in files_below(&manifests()) {
        let is_ours = path
            .extension()
            .is_some_and(|extension| extension == "yaml");
        let is_alone = path.ends_with("kustomization.yaml") || path.ends_with("sync-once-pod.yaml");
        let is_named = named.contains(&path.canonicalize().unwrap());
        assert!(!is_ours || is_alone || is_named, "{}", path.display());
    }
}

// === Fit together ===

#[test]
fn every_pod_is_as_restricted_as_pod_security_standards_go() {
    let groups = renderings().unwrap_or_else(|| {
        vec![Rendering {
            name: "plain files".to_owned(),
            objects: plain_objects(),
        }]
    });
    let mut checked = 0;
    for rendering in &groups {
        let name = &rendering.name;
        for (labels, pod) in rendering.pods() {
            checked += 1;
            assert_eq!(labels["app.kubernetes.io/name"], "k6sync", "{name}");
            assert_eq!(pod["serviceAccountName"], "k6sync", "{name}");
            // Pruning asks the database alone.
            let asks_kubernetes = labels["app.kubernetes.io/component"] != "prune";
            assert_eq!(
                pod["automountServiceAccountToken"], asks_kubernetes,
                "{name}"
            );
            let context = json!({
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            assert_eq!(pod["securityContext"], context, "{name}");
            for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(pod.get(key).is_none(), "{name}: {key}");
            }
            for volume in items(&pod["volumes"]) {
                let source = volume
                    .as_object()
                    .unwrap()
                    .keys()
                    .find(|key| *key != "name");
                let allowed = ["configMap", "persistentVolumeClaim", "emptyDir"];
                assert!(
                    allowed.contains(&source.unwrap().as_str()),
                    "{name}: {volume}"
                );
            }
            assert_eq!(items(&pod["containers"]).len(), 1, "{name}");
            let container = &pod["containers"][0];
            let context = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], context, "{name}");
            assert_eq!(container["image"], IMAGE, "{name}");
            for key in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                assert!(
                    container["resources"].pointer(key).is_some(),
                    "{name}: {key}"
                );
            }
            // SQLite and others write there.
            let is_tmp = |mount: &&Value| mount["mountPath"] == "/tmp";
            assert!(
                items(&container["volumeMounts"])
                    .iter()
                    .any(|mount| is_tmp(&mount)),
                "{name}"
            );
        }
    }
    assert!(checked >= 3, "Deployment, CronJob, Pod");
    for rendering in &groups {
        for namespace in rendering.of_kind("Namespace") {
            let labels = namespace["metadata"]["labels"].as_object();
            let is_enforced =
                labels.is_some_and(|labels| labels.keys().any(|key| key.contains("enforce")));
            assert!(!is_enforced, "the pods of TestRuns are not restricted");
        }
        for account in rendering.of_kind("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false);
        }
    }
}

#[test]
fn whatever_an_object_refers_to_is_there() {
    for rendering in renderings().unwrap_or_default() {
        let name = &rendering.name;
        let must_have = |kind: &str, named: &Value| {
            let found = rendering.find(kind, text(named));
            assert!(found.is_some(), "{name}: there is no {kind} {named}");
        };
        for (_, pod) in rendering.pods() {
            must_have("ServiceAccount", &pod["serviceAccountName"]);
            let mut volumes = BTreeSet::new();
            for volume in items(&pod["volumes"]) {
                volumes.insert(text(&volume["name"]));
                if let Some(config) = volume.get("configMap") {
                    must_have("ConfigMap", &config["name"]);
                }
                if let Some(claim) = volume.get("persistentVolumeClaim") {
                    must_have("PersistentVolumeClaim", &claim["claimName"]);
                }
            }
            let container = &pod["containers"][0];
            let mounts: Vec<&str> = items(&container["volumeMounts"])
                .iter()
                .map(|mount| text(&mount["name"]))
                .collect();
            assert_eq!(BTreeSet::from_iter(mounts), volumes, "{name}");
            for variable in items(&container["env"]) {
                if let Some(source) = variable.pointer("/valueFrom/secretKeyRef") {
                    assert!(variable.get("value").is_none(), "{name}: {variable}");
                    // Nobody but people makes it; they are told how.
                    let (secret, key) = (text(&source["name"]), text(&source["key"]));
                    assert!(told_secret(secret, key).is_some(), "{name}: {variable}");
                }
            }
        }
        // A claim that nobody uses would cost money.
        for claim in rendering.of_kind("PersistentVolumeClaim") {
            let used = rendering.pods().iter().any(|(_, pod)| {
                let mut volumes = items(&pod["volumes"]).iter();
                volumes.any(|volume| {
                    volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
                })
            });
            assert!(used, "{name}: {claim}");
        }
        for kind in ["RoleBinding", "ClusterRoleBinding"] {
            for binding in rendering.of_kind(kind) {
                let role = &binding["roleRef"];
                if role["name"] != "system:auth-delegator" {
                    must_have(text(&role["kind"]), &role["name"]);
                }
                for subject in items(&binding["subjects"]) {
                    if subject["kind"] == "ServiceAccount" {
                        must_have("ServiceAccount", &subject["name"]);
                        assert_eq!(subject["namespace"], NAMESPACE, "{name}");
                    }
                }
            }
        }
        check_selectors(&rendering);
    }
}

/// The value that the command in a manifest's comments gives this key of a Secret; `None`: nobody is told how to make it.
fn told_secret(name: &str, key: &str) -> Option<String> {
    let command = format!("kubectl -n {NAMESPACE} create secret generic {name} ");
    let option = format!(" --from-literal={key}=");
    files_below(&manifests()).iter().find_map(|path| {
        let file = std::fs::read_to_string(path).unwrap();
        let line = file.lines().find(|line| line.contains(&command))?;
        let value = line.split_once(&option)?.1;
        Some(value.trim_matches(|c| c == '\'' || c == '"').to_owned())
    })
}

/// What a kustomization ships it overwrites whenever it is applied again: a real password by a placeholder.
#[test]
fn no_kustomization_ships_a_secret() {
    let mut groups = renderings().unwrap_or_default();
    groups.push(Rendering {
        name: "plain files".to_owned(),
        objects: plain_objects(),
    });
    for rendering in groups {
        let secrets = rendering.of_kind("Secret").count();
        assert_eq!(secrets, 0, "{}", rendering.name);
        // Without the database's, a container must not start on something else.
        for (_, pod) in rendering.pods() {
            let database = items(&pod["containers"][0]["env"])
                .iter()
                .find(|variable| variable["name"] == "DATABASE_URL")
                .unwrap();
            let may_be_missing = database.pointer("/valueFrom/secretKeyRef/optional");
            assert_eq!(may_be_missing, None, "{}: {database}", rendering.name);
        }
    }
    for path in files_below(&manifests()) {
        let file = std::fs::read_to_string(&path).unwrap();
        for word in ["secretGenerator", "stringData", "kind: Secret"] {
            assert!(!file.contains(word), "{word} in {}", path.display());
        }
    }
}

fn check_selectors(rendering: &Rendering) {
    let name = &rendering.name;
    let selected = |selector: &Value| {
        let pods = rendering.pods();
        let count = pods
            .iter()
            .filter(|(labels, _)| selects(selector, labels))
            .count();
        assert!(count > 0, "{name}: {selector} selects nothing");
        count
    };
    let has_loop = rendering.find("Deployment", "k6sync").is_some();
    assert_eq!(
        rendering.of_kind("Service").count(),
        usize::from(has_loop),
        "{name}"
    );
    for deployment in rendering.of_kind("Deployment") {
        assert_eq!(
            selected(&deployment["spec"]["selector"]["matchLabels"]),
            1,
            "{name}"
        );
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container["ports"],
            json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"}])
        );
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            let asked = json!({"path": path, "port": "http"});
            assert_eq!(container[probe]["httpGet"], asked, "{name}");
        }
    }
    for service in rendering.of_kind("Service") {
        assert_eq!(selected(&service["spec"]["selector"]), 1, "{name}");
        let ports = json!([{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]);
        assert_eq!(service["spec"]["ports"], ports, "{name}");
    }
    for budget in rendering.of_kind("PodDisruptionBudget") {
        assert_eq!(
            selected(&budget["spec"]["selector"]["matchLabels"]),
            1,
            "{name}"
        );
    }
    for policy in rendering.of_kind("NetworkPolicy") {
        let spec = &policy["spec"];
        assert_eq!(
            selected(&spec["podSelector"]["matchLabels"]),
            rendering.pods().len(),
            "{name}"
        );
        assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]), "{name}");
        let ports = |rules: &Value| -> BTreeSet<u64> {
            let ports = items(rules).iter().flat_map(|rule| items(&rule["ports"]));
            ports.map(|port| port["port"].as_u64().unwrap()).collect()
        };
        assert_eq!(ports(&spec["ingress"]), BTreeSet::from([8080]), "{name}");
        assert_eq!(
            ports(&spec["egress"]),
            BTreeSet::from([53, 443, 6443, 5432]),
            "{name}"
        );
    }
    for monitor in rendering.of_kind("ServiceMonitor") {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let service = rendering.find("Service", "k6sync").unwrap();
        assert!(selects(selector, &service["metadata"]["labels"]), "{name}");
        assert_eq!(
            monitor["spec"]["endpoints"][0]["port"],
            service["spec"]["ports"][0]["name"]
        );
    }
}

#[test]
fn one_line_moves_everything_to_another_namespace() {
    if !has_kubectl("the namespace is not changed") {
        return;
    }
    for folder in kustomizations("Kustomization") {
        let resource = folder
            .strip_prefix(manifests())
            .unwrap()
            .display()
            .to_string();
        for namespace in [NAMESPACE, "elsewhere"] {
            for object in kustomize_on_top(&resource, &[], namespace) {
                let kind = text(&object["kind"]);
                let metadata = &object["metadata"];
                match kind {
                    "Namespace" => assert_eq!(metadata["name"], namespace, "{resource}"),
                    "ClusterRole" | "ClusterRoleBinding" => {
                        assert!(metadata.get("namespace").is_none(), "{resource}");
                    }
                    _ => assert_eq!(metadata["namespace"], namespace, "{resource}: {object:#}"),
                }
                for subject in items(&object["subjects"]) {
                    if subject["kind"] == "ServiceAccount" {
                        assert_eq!(subject["namespace"], namespace, "{resource}: {object:#}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_deployment_of_each_overlay_is_as_meant() {
    let plain = ["loop", "--config", CONFIG_PATH];
    let all = ["loop", "--config", CONFIG_PATH, "--all-namespaces"];
    let hold = ["loop", "--config", CONFIG_PATH, "--hold=all"];
    let hold_all = [
        "loop",
        "--config",
        CONFIG_PATH,
        "--all-namespaces",
        "--hold=all",
    ];
    let mut seen = 0;
    for rendering in renderings().unwrap_or_default() {
        let name = rendering.name.as_str();
        let (args, replicas, strategy, database) = match name {
            "base"
            | "overlays/organizer"
            | "overlays/monitoring"
            | "overlays/prune"
            | "base with sync-once-pod.yaml" => (&plain[..], 1, "Recreate", "sqlite"),
            "overlays/all-namespaces" | "base with organizer, monitoring, all-namespaces" => {
                (&all[..], 1, "Recreate", "sqlite")
            }
            "overlays/hold" => (&hold[..], 1, "Recreate", "sqlite"),
            "overlays/hold-all-namespaces" => (&hold_all[..], 1, "Recreate", "sqlite"),
            "overlays/postgres" | "base with prune, postgres" => {
                (&plain[..], 1, "RollingUpdate", "postgres")
            }
            "overlays/ha" => (&plain[..], 2, "RollingUpdate", "postgres"),
            "base with postgres, ha, all-namespaces, organizer, monitoring" => {
                (&all[..], 2, "RollingUpdate", "postgres")
            }
            "overlays/cronjob"
            | "base with cronjob, postgres, all-namespaces"
            | "base with cronjob, hold" => {
                assert_eq!(rendering.of_kind("Deployment").count(), 0, "{name}");
                check_cron_job(&rendering);
                seen += 1;
                continue;
            }
            _ => panic!("say what {name} is to be"),
        };
        seen += 1;
        let deployment = rendering.find("Deployment", "k6sync").unwrap();
        let spec = &deployment["spec"];
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(args), "{name}");
        assert_eq!(spec["replicas"], replicas, "{name}");
        assert_eq!(spec["strategy"]["type"], strategy, "{name}");
        assert_eq!(
            rendering.of_kind("PodDisruptionBudget").count(),
            usize::from(replicas > 1)
        );
        assert_eq!(
            spec["template"]["spec"]["topologySpreadConstraints"].is_array(),
            replicas > 1,
            "{name}"
        );
        let claims = rendering.of_kind("PersistentVolumeClaim").count();
        assert_eq!(claims, usize::from(database == "sqlite"), "{name}");
        assert!(
            environment(container)["DATABASE_URL"].starts_with(database),
            "{name}"
        );
        let has_key = items(&container["env"])
            .iter()
            .any(|variable| variable["name"] == "K6_SYNC_API_KEY");
        assert_eq!(has_key, name.contains("organizer"), "{name}");
    }
    assert!(seen >= 14 || !has_kubectl("the overlays are not compared"));
}

fn check_cron_job(rendering: &Rendering) {
    let spec = &rendering.find("CronJob", "k6sync").unwrap()["spec"];
    assert_eq!(spec["schedule"], "* * * * *");
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    assert_eq!(spec["jobTemplate"]["spec"]["backoffLimit"], 0);
    let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    let config = config_of(rendering, pod);
    let limit = spec["jobTemplate"]["spec"]["activeDeadlineSeconds"]
        .as_u64()
        .unwrap();
    // A cycle may take a quarter minute more to store what it has.
    assert!(limit > config.cycle_deadline.as_secs() + 15);
}

// === What k6sync makes of them ===

/// The variables as the container would see them. Secrets are made as the manifests say; one that may be missing is.
fn environment(container: &Value) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for variable in items(&container["env"]) {
        let value = match variable.pointer("/valueFrom/secretKeyRef") {
            Some(source) if source["optional"] == true => None,
            Some(source) => told_secret(text(&source["name"]), text(&source["key"])),
            None => Some(text(&variable["value"]).to_owned()),
        };
        if let Some(value) = value {
            environment.insert(text(&variable["name"]).to_owned(), value);
        }
    }
    environment
}

/// The configuration that k6sync has in this pod.
fn config_of(rendering: &Rendering, pod: &Value) -> Config {
    let container = &pod["containers"][0];
    let args = items(&container["args"]).iter().map(text);
    let cli = Cli::try_parse_from(std::iter::once("k6sync").chain(args)).unwrap();
    let common = match cli.command {
        CliCommand::SyncOnce(args) => args.common,
        CliCommand::Loop(args) => args.common,
        CliCommand::Prune(args) => args.common,
        other => panic!("{other:?}"),
    };
    // The file is where the ConfigMap is mounted.
    let path = common.config.unwrap();
    assert_eq!(path, Path::new(CONFIG_PATH));
    let mut mounts = items(&container["volumeMounts"]).iter();
    let mount = mounts
        .find(|mount| path.parent() == Some(Path::new(text(&mount["mountPath"]))))
        .unwrap();
    let mut volumes = items(&pod["volumes"]).iter();
    let volume = volumes
        .find(|volume| volume["name"] == mount["name"])
        .unwrap();
    let config_map = rendering
        .find("ConfigMap", text(&volume["configMap"]["name"]))
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text(&config_map["data"]["config.yaml"])).unwrap();

    let environment = environment(container);
    let common = Common {
        config: Some(file.path().to_owned()),
        ..common
    };
    Config::load(&common, &|name| environment.get(name).cloned()).unwrap()
}

#[test]
fn k6sync_takes_arguments_environment_and_file_of_every_pod() {
    for rendering in renderings().unwrap_or_default() {
        let name = &rendering.name;
        for (_, pod) in rendering.pods() {
            let config = config_of(&rendering, pod);
            let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
            assert!(grace > 20, "{name}");
            let shutdown = i64::try_from(config.shutdown_grace.as_secs()).unwrap();
            assert!(grace >= shutdown + FAREWELL, "{name}");
            assert_eq!(config.listen.port(), 8080, "{name}");
            assert!(config.listen.ip().is_unspecified(), "{name}");
            // Control and lease are where the pod is, under the names that the Role has.
            assert_eq!(config.control_namespace, None, "{name}");
            assert_eq!(config.control_config_map, "k6sync-control", "{name}");
            assert_eq!(config.lease.as_deref(), Some("k6sync"), "{name}");
            match name.contains("all-namespaces") {
                true => assert!(matches!(config.namespaces, Some(Namespaces::All)), "{name}"),
                false => assert!(config.namespaces.is_none(), "{name}"),
            }
            if let Some(file) = config.database_url.sqlite_file() {
                // In the volume, whose directory is there.
                assert_eq!(file, Path::new("/var/lib/k6sync/k6sync.db"), "{name}");
                let mut mounts = items(&pod["containers"][0]["volumeMounts"]).iter();
                let mount = mounts
                    .find(|mount| mount["mountPath"] == "/var/lib/k6sync")
                    .unwrap();
                let mut volumes = items(&pod["volumes"]).iter();
                let volume = volumes
                    .find(|volume| volume["name"] == mount["name"])
                    .unwrap();
                assert_eq!(
                    volume["persistentVolumeClaim"]["claimName"], "k6sync",
                    "{name}"
                );
            }
        }
        // What stood there would undo what people have set whenever the manifests are applied again.
        let control = rendering.find("ConfigMap", "k6sync-control").unwrap();
        assert_eq!(control["data"].as_object().map_or(0, |data| data.len()), 0);
    }
}

#[test]
fn roles_grant_what_the_tables_say() {
    let grant = |words: [&str; 4]| words.map(str::to_owned);
    let in_all_namespaces = BTreeSet::from([
        grant(["k6.io", "testruns", "", "list"]),
        grant(["k6.io", "testruns", "", "watch"]),
        grant(["k6.io", "testruns", "", "get"]),
        grant(["k6.io", "testruns", "", "patch"]),
        grant(["", "pods", "", "list"]),
        grant(["", "pods/log", "", "get"]),
        grant(["", "namespaces", "kube-system", "get"]),
    ]);
    let organizer = BTreeSet::from([
        grant(["", "configmaps", "k6sync-control", "get"]),
        grant(["", "configmaps", "k6sync-control", "update"]),
        grant(["", "configmaps", "k6sync-control", "patch"]),
        grant(["coordination.k8s.io", "leases", "k6sync", "get"]),
    ]);
    for rendering in renderings().unwrap_or_default() {
        let name = &rendering.name;
        assert_eq!(rendering.of_kind("Role").count(), 1, "{name}");
        assert_eq!(
            grants(rendering.find("Role", "k6sync").unwrap()),
            expected_grants(),
            "{name}"
        );
        let mut cluster_roles = BTreeMap::new();
        for role in rendering.of_kind("ClusterRole") {
            cluster_roles.insert(text(&role["metadata"]["name"]), grants(role));
        }
        let mut expected = BTreeMap::new();
        let mut bound = Vec::new();
        if name.contains("all-namespaces") {
            expected.insert("k6sync-all-namespaces", in_all_namespaces.clone());
            bound.push("k6sync-all-namespaces");
        }
        if name.contains("organizer") {
            expected.insert("k6sync-organizer", organizer.clone());
            bound.push("system:auth-delegator");
        }
        assert_eq!(cluster_roles, expected, "{name}");
        // No one but k6sync gets anything in the whole cluster.
        let bindings: BTreeSet<&str> = rendering
            .of_kind("ClusterRoleBinding")
            .map(|binding| text(&binding["roleRef"]["name"]))
            .collect();
        assert_eq!(bindings, BTreeSet::from_iter(bound), "{name}");
        for binding in rendering.of_kind("ClusterRoleBinding") {
            let subjects =
                json!([{"kind": "ServiceAccount", "name": "k6sync", "namespace": NAMESPACE}]);
            assert_eq!(binding["subjects"], subjects, "{name}");
        }
    }
}

// === Metrics ===

/// The names in an expression that begin with `k6sync_`.
fn metrics_in(expression: &str) -> Vec<&str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("k6sync_"))
        .collect()
}

fn check_metrics(expression: &str) {
    let names = metrics_in(expression);
    assert!(!names.is_empty(), "no metric of ours in {expression}");
    for name in names {
        let is_of_histogram = HISTOGRAMS.iter().any(|histogram| {
            let part = name.strip_prefix(histogram);
            part.is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part))
        });
        let is_known = METRICS.contains(&name) && !HISTOGRAMS.contains(&name);
        assert!(is_known || is_of_histogram, "{name} in {expression}");
    }
}

#[test]
fn the_metrics_are_those_that_the_loop_has() {
    // The two whose labels no value is known of are not told before there is one.
    const UNTOLD: [&str; 2] = ["k6sync_kubernetes_requests_total", "k6sync_steps"];
    let exposition = Metrics::new(Traffic::default()).text();
    let told: BTreeSet<String> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let mut known: BTreeSet<String> = METRICS.iter().map(|name| (*name).to_owned()).collect();
    known.retain(|name| told.contains(name) || !UNTOLD.contains(&name.as_str()));
    assert_eq!(told, known);
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let objects = plain_objects();
    let rule = objects
        .iter()
        .find(|object| object["kind"] == "PrometheusRule")
        .unwrap();
    let rule: Custom<PrometheusRuleSpec> = serde_json::from_value(rule.clone()).unwrap();
    let alerts: Vec<&Alert> = rule
        .spec
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .collect();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
    assert_eq!(
        names,
        [
            "K6SyncStale",
            "K6SyncErrors",
            "K6SyncLogGaps",
            "K6SyncNoLeader"
        ]
    );
    for alert in alerts {
        check_metrics(&alert.expr);
        assert!(["warning", "critical"].contains(&alert.labels["severity"].as_str()));
        let keys: Vec<&String> = alert.annotations.keys().collect();
        assert_eq!(keys, ["description", "summary"], "{}", alert.alert);
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let path = manifests().join("components/monitoring/dashboard.json");
    let file = std::fs::read_to_string(path).unwrap();
    let dashboard: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(dashboard["uid"], "k6sync");
    let mut asked = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in items(&dashboard["panels"]) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!items(&panel["targets"]).is_empty(), "{panel}");
        for target in items(&panel["targets"]) {
            let expression = text(&target["expr"]);
            check_metrics(expression);
            asked.extend(metrics_in(expression));
            // Whoever picks a data source or a namespace means every panel.
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            assert!(
                expression.contains("namespace=~\"$namespace\""),
                "{expression}"
            );
        }
    }
    for metric in METRICS {
        assert!(
            asked.iter().any(|name| name.starts_with(metric)),
            "{metric} is nowhere to be seen"
        );
    }
    for rendering in renderings().unwrap_or_default() {
        if let Some(config_map) = rendering.find("ConfigMap", "k6sync-dashboard") {
            assert_eq!(config_map["metadata"]["labels"]["grafana_dashboard"], "1");
            assert_eq!(config_map["data"]["k6sync.json"], file);
        }
    }
}

// === What people run ===

/// The `kubectl run` lines of a text, each from its first word to the quote that ends its overrides.
fn run_lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        line.strip_prefix("#  ")
            .or(line.strip_prefix('#'))
            .unwrap_or(line)
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(begin) = rest.find("kubectl -n k6-runs run k6sync-once") {
        rest = &rest[begin..];
        let open = rest.find("--overrides='").unwrap() + "--overrides='".len();
        let end = open + rest[open..].find('\'').unwrap() + 1;
        found.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    found
}

fn overrides(line: &str) -> Value {
    let (_, json) = line.split_once("--overrides='").unwrap();
    serde_json::from_str(json.trim_end_matches('\'')).unwrap()
}

fn run_line() -> String {
    let file = std::fs::read_to_string(manifests().join("sync-once-pod.yaml")).unwrap();
    let mut lines = run_lines(&file);
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

#[test]
fn the_kubectl_run_line_makes_the_pod_of_the_file() {
    let line = run_line();
    let pod = sync_once_pod();
    let mut expected = pod.clone();
    expected.as_object_mut().unwrap().remove("kind");
    expected["metadata"].as_object_mut().unwrap().remove("name");
    assert_eq!(overrides(&line), expected);
    let (flags, _) = line.split_once(" --overrides=").unwrap();
    let name = text(&pod["metadata"]["name"]);
    assert_eq!(
        flags,
        format!(
            "kubectl -n {NAMESPACE} run {name} --rm --attach --quiet --restart=Never --image={IMAGE}"
        )
    );
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let shown = run_lines(&std::fs::read_to_string(page).unwrap());
    assert_eq!(shown.len(), 1, "in docs/operating.md");
    for shown in shown {
        assert_eq!(overrides(&shown), expected, "in docs/operating.md");
        assert!(shown.starts_with(flags), "in docs/operating.md: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_takes_the_run_line() {
    if !has_kubectl("the kubectl run line is not tried") {
        return;
    }
    let cluster = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(_) => Cluster::start().await,
        // kubectl sends no token without TLS.
        None => {
            Cluster::standin(Options {
                tls: true,
                ..Options::default()
            })
            .await
        }
    };
    let line = run_line().replace("--rm --attach --quiet", "--dry-run=client --output=json");
    let output = Command::new("sh")
        .args(["-c", &line])
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lost = lost(&sync_once_pod(), &made);
    assert_eq!(lost, None, "{made:#}");
}

#[test]
fn the_image_runs_k6sync_as_the_user_of_the_pods() {
    let dockerfile = std::fs::read_to_string(manifests().join("image/Dockerfile")).unwrap();
    let lines: Vec<&str> = dockerfile.lines().collect();
    for line in [
        "USER 65532:65532",
        "ENTRYPOINT [\"/usr/local/bin/k6sync\"]",
        "CMD [\"loop\"]",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    let version = format!(
        "org.opencontainers.image.version=\"{}\"",
        env!("CARGO_PKG_VERSION")
    );
    assert!(dockerfile.contains(&version), "{version}");
    let description = format!("description=\"{}\"", env!("CARGO_PKG_DESCRIPTION"));
    assert!(dockerfile.contains(&description), "{description}");
    assert!(dockerfile.contains("cargo build --release --locked --bin k6sync"));
}

// === A real API server ===

/// The resource that stands for a kind in paths, if the server has it: `deployments`, and whether it is namespaced.
async fn served(client: &kube::Client, object: &Value) -> Option<(String, bool)> {
    let api_version = text(&object["apiVersion"]);
    let path = match api_version.contains('/') {
        true => format!("/apis/{api_version}"),
        false => format!("/api/{api_version}"),
    };
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let group: Value = match client.request(request).await {
        Ok(group) => group,
        Err(kube::Error::Api(status)) if status.code == 404 => return None,
        // A group that nobody has ever heard of is answered in plain text.
        Err(error) if error.to_string().contains("404") => return None,
        Err(error) => panic!("{error}"),
    };
    let mut resources = items(&group["resources"]).iter();
    let resource = resources.find(|resource| {
        resource["kind"] == object["kind"] && !text(&resource["name"]).contains('/')
    })?;
    Some((
        text(&resource["name"]).to_owned(),
        resource["namespaced"].as_bool().unwrap(),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_would_take_every_object() {
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        eprintln!("KUBEBUILDER_ASSETS is not set: no API server looks at the manifests");
        return;
    }
    let cluster = Cluster::start().await;
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster
        .request("POST", "/api/v1/namespaces", &namespace)
        .await;

    let groups = renderings().unwrap_or_else(|| {
        vec![Rendering {
            name: "plain files".to_owned(),
            objects: plain_objects(),
        }]
    });
    let mut taken = 0;
    let mut skipped = BTreeSet::new();
    for Rendering { name, objects } in groups {
        for object in objects {
            let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
            let Some((resource, is_namespaced)) = served(&client, &object).await else {
                skipped.insert(format!("{kind} of {api_version}"));
                continue;
            };
            let root = match api_version.contains('/') {
                true => "apis",
                false => "api",
            };
            let place = match is_namespaced {
                true => format!("namespaces/{NAMESPACE}/{resource}"),
                false => resource,
            };
            let object_name = text(&object["metadata"]["name"]);
            let path = format!(
                "/{root}/{api_version}/{place}/{object_name}?fieldManager=k6sync-test&fieldValidation=Strict&dryRun=All"
            );
            let request = http::Request::patch(path)
                .header("content-type", "application/apply-patch+yaml")
                .body(object.to_string().into_bytes())
                .unwrap();
            let applied: Value = client
                .request(request)
                .await
                .unwrap_or_else(|error| panic!("{name}: {kind} {object_name}: {error}"));
            assert_eq!(applied["kind"], kind);
            taken += 1;
        }
    }
    assert!(taken >= 10, "{taken}");
    eprintln!("the API server would take {taken} objects");
    for kind in skipped {
        eprintln!("not tried, since the API server does not serve it: {kind}");
    }
}
