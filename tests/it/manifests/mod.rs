//! What is in `manifests/` is what Kubernetes, Prometheus and k6sync itself would take.
//!
//! Every kustomization is rendered by `kubectl kustomize`, and what comes of it is decoded into Kubernetes' own types; with
//! `KUBEBUILDER_ASSETS` a real API server checks it too. Where `kubectl` is missing, the files are read as they are, and tests
//! that need more than that say on standard error that they were skipped.

mod fit;
mod kinds;
mod metrics;
mod use_of_them;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use clap::Parser;
use k6sync::cli::{Cli, Command as CliCommand, Common};
use k6sync::config::Config;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where the manifests say that the TestRuns are.
const NAMESPACE: &str = "k6-runs";
const IMAGE: &str = concat!("ghcr.io/k6sync/k6sync:", env!("CARGO_PKG_VERSION"));

const CONFIG_PATH: &str = "/etc/k6sync/config.yaml";
/// The loop's farewell after `shutdownGrace`, seconds.
const FAREWELL: i64 = 5;

/// Objects that are applied together, and where they come from.
#[derive(Clone)]
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

/// Every overlay, and combinations of components that make sense, rendered once for all tests; `None` without `kubectl`.
fn renderings() -> Option<Vec<Rendering>> {
    static RENDERED: OnceLock<Option<Vec<Rendering>>> = OnceLock::new();
    let rendered = RENDERED
        .get_or_init(|| has_kubectl("the kustomizations are not rendered").then(render_all));
    rendered.clone()
}

fn render_all() -> Vec<Rendering> {
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
        &["organizer", "pages"],
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
    renderings
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
