//! Every object is one of its kind, down to the last field, and a real API server would take it.

use std::collections::BTreeSet;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Custom, NAMESPACE, PrometheusRuleSpec, Rendering, ServiceMonitorSpec, items, lost,
    plain_objects, renderings, text,
};
use crate::support::Cluster;

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
