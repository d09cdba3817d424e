//! What k6sync makes of them: its arguments and its rights; and what people run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use k6sync::cluster::Namespaces;
use k6sync_standin::Options;
use serde_json::{Value, json};

use super::{
    FAREWELL, IMAGE, NAMESPACE, config_of, has_kubectl, items, lost, manifests, renderings,
    sync_once_pod, text,
};
use crate::rbac::{expected_grants, grants};
use crate::support::Cluster;

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
        if name.contains("pages") {
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
