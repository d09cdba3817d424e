//! The objects fit together: what they refer to is there, selects what it should, and is as restricted as can be.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    CONFIG_PATH, IMAGE, NAMESPACE, Rendering, config_of, documents, environment, files_below,
    has_kubectl, items, kustomizations, kustomize_on_top, manifests, plain_objects, renderings,
    text, told_secret,
};

/// Whether `labels` has all of `selector`.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    assert!(!selector.is_empty());
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
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
            | "overlays/pages"
            | "base with organizer, pages"
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
        let has_cookie_key = items(&container["env"])
            .iter()
            .any(|variable| variable["name"] == "K6_SYNC_COOKIE_KEY");
        assert_eq!(has_cookie_key, name.contains("pages"), "{name}");
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
