//! A namespace in a cluster for one test: the stand-in, or a real API server with the stand-in as the node's kubelet.
//!
//! Objects are made over HTTP in both, so that a test can't do what a real API server would refuse.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k6sync_standin::{KubeletStyle, Log, Options, Standin};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api_server::ApiServer;
use super::{Database, unique};

/// New roles hold after much less, unless something is wrong.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(30);

/// A cluster as one test sees it.
pub struct Cluster {
    standin: Arc<Standin>,
    /// The stand-in is only the kubelet.
    is_real: bool,
    client: kube::Client,
    namespace: String,
    node: String,
    folder: TempDir,
    kubeconfig: PathBuf,
}

/// How a container stands, in the words of its status.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// `waiting` with this reason.
    Waiting(&'static str),
    /// `running`
    Running,
    /// `terminated` with this exit code and reason.
    Terminated(i64, &'static str),
}

impl State {
    /// As in `containerStatuses[].state`.
    pub fn json(self) -> Value {
        match self {
            Self::Waiting(reason) => {
                json!({"waiting": {"reason": reason, "message": format!("because of {reason}")}})
            }
            Self::Running => json!({"running": {"startedAt": "2026-11-23T04:39:49Z"}}),
            Self::Terminated(exit_code, reason) => json!({"terminated": {
                "exitCode": exit_code, "reason": reason,
                "startedAt": "2026-11-23T04:39:49Z", "finishedAt": "2026-11-23T04:40:07Z",
            }}),
        }
    }
}

impl Cluster {
    /// A fresh namespace, in a real API server if there is one.
    pub async fn start() -> Self {
        Self::with_style(KubeletStyle::Joined).await
    }

    /// With a kubelet of this style.
    pub async fn with_style(kubelet: KubeletStyle) -> Self {
        match ApiServer::shared().await {
            Some(server) => Self::real(server, kubelet).await,
            None => {
                Self::standin(Options {
                    kubelet,
                    ..Options::default()
                })
                .await
            }
        }
    }

    /// A stand-in, even if there is a real API server: for what that can't be made to do.
    pub async fn standin(options: Options) -> Self {
        Self::standin_in(&unique("k6"), options).await
    }

    /// A stand-in with a namespace of this name: for objects that were recorded in it, with their uids.
    pub async fn standin_in(namespace: &str, options: Options) -> Self {
        let standin = Standin::start(options).await.unwrap();
        let text = standin.kubeconfig(namespace);
        let cluster = Self::new(Arc::new(standin), false, namespace.to_owned(), &text).await;
        cluster.prepare(0).await;
        cluster
    }

    async fn real(server: &ApiServer, kubelet: KubeletStyle) -> Self {
        let standin = Standin::start(Options {
            kubelet_only: true,
            tls: true,
            kubelet,
            ..Options::default()
        })
        .await
        .unwrap();
        let namespace = unique("k6");
        let text = server.kubeconfig(&namespace);
        let port = standin.addr().port();
        let cluster = Self::new(Arc::new(standin), true, namespace, &text).await;
        cluster.prepare(port).await;
        cluster
    }

    /// Another namespace of the same cluster.
    pub async fn another_namespace(&self) -> Self {
        let namespace = unique("k6");
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let text = text.replace(&self.namespace, &namespace);
        let mut cluster =
            Self::new(Arc::clone(&self.standin), self.is_real, namespace, &text).await;
        cluster.node.clone_from(&self.node);
        cluster.make_namespace().await;
        cluster
    }

    async fn new(
        standin: Arc<Standin>,
        is_real: bool,
        namespace: String,
        kubeconfig: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).unwrap();
        let parsed = Kubeconfig::from_yaml(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .unwrap();
        Self {
            standin,
            is_real,
            client: kube::Client::try_from(config).unwrap(),
            node: unique("node"),
            namespace,
            folder,
            kubeconfig: path,
        }
    }

    /// The namespace, and the node that logs come from (docs/facts.md,
    /// "The API server gets logs from the node's kubelet").
    async fn prepare(&self, kubelet_port: u16) {
        self.make_namespace().await;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}});
        self.request("POST", "/api/v1/nodes", &node).await;
        if self.is_real {
            let status = json!({"status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}},
            }});
            self.patch(&format!("/api/v1/nodes/{}/status", self.node), &status)
                .await;
        }
    }

    async fn make_namespace(&self) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.request("POST", "/api/v1/namespaces", &namespace).await;
    }

    /// Deletes the namespace, with all that is in it.
    pub async fn delete_namespace(&self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.request("DELETE", &path, &json!({})).await;
    }

    /// Whether the namespace is there, be it that it is going.
    pub async fn has_namespace(&self) -> bool {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let found = self
            .try_request("GET", &path, "application/json", &Value::Null)
            .await;
        found.is_ok()
    }

    /// A kubeconfig for this namespace, of somebody who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same, acting as a user who may do only what roles say.
    pub fn kubeconfig_as(&self, user: &str) -> PathBuf {
        self.changed_kubeconfig(user, |info| info.impersonate = Some(user.to_owned()))
    }

    /// The same with a token that nobody has.
    pub fn kubeconfig_with_wrong_token(&self) -> PathBuf {
        self.changed_kubeconfig("wrong-token", |info| {
            info.token = Some("nobody-has-this-token".to_owned().into());
        })
    }

    fn changed_kubeconfig(&self, name: &str, change: impl Fn(&mut AuthInfo)) -> PathBuf {
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let mut config = Kubeconfig::from_yaml(&text).unwrap();
        for auth in &mut config.auth_infos {
            if let Some(info) = &mut auth.auth_info {
                change(info);
            }
        }
        let path = self.folder.path().join(name);
        std::fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
        path
    }

    /// Where the stand-in listens.
    pub fn address(&self) -> SocketAddr {
        self.standin.addr()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The stand-in: the whole cluster, or only its kubelet.
    pub fn standin_cluster(&self) -> k6sync_standin::Cluster {
        self.standin.cluster()
    }

    /// A container's log.
    pub fn log(&self, pod: &str, container: &str) -> Log {
        self.standin.cluster().log(&self.namespace, pod, container)
    }

    /// Log requests so far: the one kind that can be counted in both clusters.
    pub fn log_requests(&self) -> u64 {
        self.standin
            .cluster()
            .requests()
            .get("get pods/log")
            .copied()
            .unwrap_or(0)
    }

    /// Sends a request with a JSON body and returns the answer, which must be a success.
    pub async fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_request(method, path, "application/json", body)
            .await
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    async fn try_request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(serde_json::to_vec(body).unwrap())
            .unwrap();
        self.client.request(request).await
    }

    async fn patch(&self, path: &str, body: &Value) -> Value {
        self.try_request("PATCH", path, "application/merge-patch+json", body)
            .await
            .unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    fn test_runs(&self) -> String {
        format!(
            "/apis/k6.io/v1alpha1/namespaces/{}/testruns",
            self.namespace
        )
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    /// Makes a TestRun and sets its stage; returns it.
    pub async fn test_run(&self, name: &str, parallelism: i64, stage: &str) -> Value {
        self.labelled_test_run(name, parallelism, stage, json!({}))
            .await
    }

    /// The same with labels.
    pub async fn labelled_test_run(
        &self,
        name: &str,
        parallelism: i64,
        stage: &str,
        labels: Value,
    ) -> Value {
        let object = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": {"parallelism": parallelism, "script": {"configMap": {"name": "scripts", "file": "test.js"}}},
        });
        self.request("POST", &self.test_runs(), &object).await;
        self.stage(name, stage).await
    }

    /// Makes a TestRun with this spec, that k6-operator has not looked at yet.
    pub async fn test_run_with(&self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        self.request("POST", &self.test_runs(), &object).await;
    }

    /// Sets a TestRun's stage.
    pub async fn stage(&self, name: &str, stage: &str) -> Value {
        let path = format!("{}/{name}/status", self.test_runs());
        self.patch(&path, &json!({"status": {"stage": stage}}))
            .await
    }

    /// The TestRun as it is; `None`: there is none.
    pub async fn find_test_run(&self, name: &str) -> Option<Value> {
        let path = format!("{}/{name}", self.test_runs());
        match self
            .try_request("GET", &path, "application/json", &Value::Null)
            .await
        {
            Ok(test_run) => Some(test_run),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    /// Merges this into a TestRun.
    pub async fn patch_test_run(&self, name: &str, patch: &Value) -> Value {
        self.patch(&format!("{}/{name}", self.test_runs()), patch)
            .await
    }

    /// Deletes a TestRun, but not its pods: that is the garbage collector's job.
    pub async fn delete_test_run(&self, name: &str) {
        let path = format!("{}/{name}", self.test_runs());
        self.request("DELETE", &path, &json!({})).await;
    }

    /// Deletes a TestRun and its pods, as the garbage collector would.
    pub async fn delete_test_run_and_pods(&self, name: &str) {
        self.delete_test_run(name).await;
        let path = format!("{}?labelSelector=k6_cr%3D{name}", self.pods());
        self.request("DELETE", &path, &at_once()).await;
    }

    /// Makes a pod of a TestRun with the main container `k6`; `job` is `initializer`, `starter` or a runner's number.
    pub async fn pod(&self, test_run: &str, job: &str, state: State) -> String {
        let name = format!("{test_run}-{job}-abcde");
        let statuses = json!([container_status("k6", &state.json())]);
        self.pod_with(
            &name,
            test_run,
            job,
            &["k6"],
            &[],
            json!({"containerStatuses": statuses}),
        )
        .await;
        name
    }

    /// Makes a pod with these containers and init containers, and this status; the phase follows from its containers.
    pub async fn pod_with(
        &self,
        name: &str,
        test_run: &str,
        job: &str,
        containers: &[&str],
        init_containers: &[&str],
        status: Value,
    ) {
        let pod = self.pod_object(name, test_run, job, containers, init_containers);
        self.request("POST", &self.pods(), &pod).await;
        self.pod_status(name, status).await;
    }

    /// Makes a pod that looks like a runner of the TestRun, but has these owners.
    pub async fn pod_of(&self, name: &str, test_run: &str, owners: Value, state: State) {
        let mut pod = self.pod_object(name, test_run, "1", &["k6"], &[]);
        pod["metadata"]["ownerReferences"] = owners;
        self.request("POST", &self.pods(), &pod).await;
        self.container_state(name, state).await;
    }

    /// As [`Cluster::pod`], of a runner whose container the kubelet restarts when it fails.
    pub async fn restartable_pod(&self, test_run: &str, job: &str) -> String {
        let name = format!("{test_run}-{job}-abcde");
        self.runner(&name, test_run, job, true).await;
        name
    }

    /// Makes a running runner's pod of this name.
    pub async fn runner(&self, name: &str, test_run: &str, job: &str, restartable: bool) {
        let mut pod = self.pod_object(name, test_run, job, &["k6"], &[]);
        if restartable {
            pod["spec"]["restartPolicy"] = json!("OnFailure");
        }
        self.request("POST", &self.pods(), &pod).await;
        self.container_state(name, State::Running).await;
    }

    /// A pod's uid.
    pub async fn pod_uid(&self, name: &str) -> String {
        let path = format!("{}/{name}", self.pods());
        let pod = self.request("GET", &path, &Value::Null).await;
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    fn pod_object(
        &self,
        name: &str,
        test_run: &str,
        job: &str,
        containers: &[&str],
        init_containers: &[&str],
    ) -> Value {
        let mut labels = json!({"app": "k6", "k6_cr": test_run});
        if job.parse::<u32>().is_ok() {
            labels["runner"] = json!("true");
        }
        let specs = |names: &[&str]| -> Vec<Value> {
            names
                .iter()
                .map(|name| json!({"name": name, "image": "k6"}))
                .collect()
        };
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": self.namespace, "labels": labels,
                "ownerReferences": [owner_job(&format!("{test_run}-{job}"))],
            },
            "spec": {
                "nodeName": self.node, "restartPolicy": "Never",
                "containers": specs(containers), "initContainers": specs(init_containers),
            },
        })
    }

    /// Merges this into a pod's status; the phase follows from its containers if it is not given.
    pub async fn pod_status(&self, name: &str, mut status: Value) {
        if status.get("phase").is_none() {
            status["phase"] = json!(phase(&status));
        }
        // A container that has run has a log, if an empty one; the stand-in as a mere kubelet knows no states.
        let statuses =
            ["containerStatuses", "initContainerStatuses"].map(|list| status[list].as_array());
        for container in statuses.into_iter().flatten().flatten() {
            if container["state"].get("waiting").is_none()
                && let Some(container) = container["name"].as_str()
            {
                self.log(name, container);
            }
        }
        let path = format!("{}/{name}/status", self.pods());
        self.patch(&path, &json!({"status": status})).await;
    }

    /// Sets the state of the container `k6`, as it is while a pod lives.
    pub async fn container_state(&self, pod: &str, state: State) {
        let statuses = json!([container_status("k6", &state.json())]);
        self.pod_status(pod, json!({"containerStatuses": statuses}))
            .await;
    }

    /// Deletes a pod at once.
    pub async fn delete_pod(&self, name: &str) {
        let path = format!("{}/{name}", self.pods());
        self.request("DELETE", &path, &at_once()).await;
    }

    /// Deletes those of these pods that are there still: a real API server without controllers leaves them.
    pub async fn collect_garbage(&self, pods: &[String]) {
        for name in pods {
            let path = format!("{}/{name}", self.pods());
            let deleted = self
                .try_request("DELETE", &path, "application/json", &at_once())
                .await;
            match deleted {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted.unwrap()),
            }
        }
    }

    /// Makes or replaces the control ConfigMap.
    pub async fn control(&self, data: Value) {
        let path = format!("/api/v1/namespaces/{}/configmaps", self.namespace);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "k6sync-control", "namespace": self.namespace}, "data": data,
        });
        let named = format!("{path}/k6sync-control");
        let updated = self
            .try_request("PUT", &named, "application/json", &object)
            .await;
        if updated.is_err() {
            self.request("POST", &path, &object).await;
        }
    }

    /// Deletes the control ConfigMap.
    pub async fn remove_control(&self) {
        let path = format!(
            "/api/v1/namespaces/{}/configmaps/k6sync-control",
            self.namespace
        );
        self.request("DELETE", &path, &json!({})).await;
    }

    /// The `spec` of a Lease.
    pub async fn lease(&self, name: &str) -> Value {
        let path = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{name}",
            self.namespace
        );
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let lease: Value = self.client.request(request).await.unwrap();
        lease["spec"].clone()
    }

    /// The control ConfigMap, if there is one.
    pub async fn control_map(&self) -> Option<Value> {
        let path = format!(
            "/api/v1/namespaces/{}/configmaps?fieldSelector=metadata.name%3Dk6sync-control",
            self.namespace
        );
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let list: Value = self.client.request(request).await.unwrap();
        list["items"].get(0).cloned()
    }

    /// Lets a user do what these RBAC rules say, in this namespace.
    pub async fn allow(&self, user: &str, rules: Value) {
        let subject =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
        self.bind(user, subject, user, rules).await;
    }

    /// Makes a service account that may do what these RBAC rules say, in this namespace; returns a token of it.
    pub async fn service_account(&self, name: &str, rules: Value) -> String {
        let user = format!("system:serviceaccount:{}:{name}", self.namespace);
        let token = match self.is_real {
            true => self.account_token(name).await,
            // It has no service accounts, only users with tokens.
            false => {
                let token = unique("token-of-a-service-account");
                let user = k6sync_standin::User::with_rules(&user, []);
                self.standin_cluster().user(&token, user);
                token
            }
        };
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": self.namespace});
        self.bind(name, subject, &user, rules).await;
        token
    }

    /// A token of somebody who may do everything, everywhere.
    pub async fn administrator(&self) -> String {
        let name = unique("admin");
        if !self.is_real {
            let token = unique("token-of-an-admin");
            let user = k6sync_standin::User::all(&name);
            self.standin_cluster().user(&token, user);
            return token;
        }
        let token = self.account_token(&name).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.request("POST", path, &binding).await;
        let user = format!("system:serviceaccount:{}:{name}", self.namespace);
        let everything =
            json!({"apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list"]});
        self.wait_until_in_force(&user, &everything).await;
        token
    }

    async fn account_token(&self, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        self.request("POST", &path, &account).await;
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        });
        let answer = self
            .request("POST", &format!("{path}/{name}/token"), &request)
            .await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A role of this name and its binding to a subject, which other requests know as `user`.
    async fn bind(&self, name: &str, subject: Value, user: &str, rules: Value) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "namespace": self.namespace}, "rules": rules,
        });
        self.request("POST", &self.rbac("roles"), &role).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": self.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [subject],
        });
        self.request("POST", &self.rbac("rolebindings"), &binding)
            .await;
        if let Some(rule) = role["rules"].as_array().and_then(|rules| rules.last()) {
            self.wait_until_in_force(user, rule).await;
        }
    }

    /// Lets a user who was disallowed do what these RBAC rules say, in this namespace.
    pub async fn allow_again(&self, user: &str, rules: Value) {
        let path = format!("{}/{user}", self.rbac("roles"));
        self.request("DELETE", &path, &json!({})).await;
        self.allow(user, rules).await;
    }

    /// Makes the token of a service account nobody's.
    pub async fn revoke(&self, name: &str, token: &str) {
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{name}",
            self.namespace
        );
        match self.is_real {
            true => drop(self.request("DELETE", &path, &json!({})).await),
            false => self.standin_cluster().revoke(token),
        }
    }

    /// Takes from a user or service account what it was allowed.
    pub async fn disallow(&self, name: &str) {
        let path = format!("{}/{name}", self.rbac("rolebindings"));
        self.request("DELETE", &path, &json!({})).await;
    }

    fn rbac(&self, resource: &str) -> String {
        format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{resource}",
            self.namespace
        )
    }

    /// A real API server takes up new roles a moment later.
    async fn wait_until_in_force(&self, user: &str, rule: &Value) {
        let resource = rule["resources"][0].as_str().unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {
                "namespace": self.namespace, "verb": rule["verbs"][0], "group": rule["apiGroups"][0],
                "resource": resource, "subresource": subresource,
                "name": rule["resourceNames"][0].as_str().unwrap_or_default(),
            }},
        });
        let begun = Instant::now();
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        while self.request("POST", path, &review).await["status"]["allowed"] != true {
            assert!(
                begun.elapsed() < IN_FORCE_WITHIN,
                "{user} is never allowed {rule}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a TestRun with so many running runners; returns their pods.
    pub async fn running(&self, test_run: &str, runners: i64) -> Vec<String> {
        self.test_run(test_run, runners, "started").await;
        let mut pods = Vec::new();
        for number in 1..=runners {
            let job = number.to_string();
            pods.push(self.pod(test_run, &job, State::Running).await);
        }
        pods
    }

    /// The stored logs of these pods are what was written, byte for byte and without gaps, and the counters agree.
    pub async fn assert_as_written(&self, database: &Database, pods: &[String]) {
        for pod in pods {
            let written = String::from_utf8(self.log(pod, "k6").written()).unwrap();
            let stored = database.log(pod, "k6", 0).await;
            assert!(
                stored == written,
                "{pod}: {} bytes are stored, {} were written",
                stored.len(),
                written.len()
            );
            let counts = database
                .texts(&format!(
                    "SELECT CAST(lines AS TEXT) || ' ' || CAST(bytes AS TEXT) FROM log_streams WHERE pod_name = '{pod}'"
                ))
                .await;
            let expected = format!("{} {}", written.lines().count(), written.len());
            assert_eq!(counts, [expected], "{pod}");
        }
        assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
    }

    /// Makes the namespace show a moment of the recording: TestRuns, pods and logs.
    pub async fn moment(&self, moment: &str) {
        self.moment_of("cluster", moment).await;
    }

    /// The same of another recording in `tests/data/recorded`.
    pub async fn moment_of(&self, recording: &str, moment: &str) {
        let folder = recordings().join(recording).join(moment);
        let list = |name: &str| -> Vec<Value> {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            let list: Value = serde_json::from_str(&text).unwrap();
            list["items"].as_array().unwrap().clone()
        };
        for test_run in list("testruns.json") {
            let name = test_run["metadata"]["name"].as_str().unwrap();
            let object = json!({
                "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
                "metadata": {
                    "name": name, "namespace": self.namespace, "labels": test_run["metadata"]["labels"],
                },
                "spec": test_run["spec"],
            });
            // From the second moment on it is there already.
            let _ = self
                .try_request("POST", &self.test_runs(), "application/json", &object)
                .await;
            if let Some(stage) = test_run["status"]["stage"].as_str() {
                self.stage(name, stage).await;
            }
        }
        for pod in list("pods.json") {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let containers: Vec<&str> = pod["spec"]["containers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|container| container["name"].as_str().unwrap())
                .collect();
            let images = containers.iter();
            let images = images.map(|name| json!({"name": name, "image": "k6"}));
            let object = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": self.namespace, "labels": pod["metadata"]["labels"],
                    "ownerReferences": pod["metadata"]["ownerReferences"],
                },
                "spec": {
                    "nodeName": self.node, "restartPolicy": "Never",
                    "containers": images.collect::<Vec<_>>(),
                },
            });
            let _ = self
                .try_request("POST", &self.pods(), "application/json", &object)
                .await;
            self.pod_status(name, pod["status"].clone()).await;
            for container in containers {
                let file = folder.join("logs").join(format!("{name}.{container}.log"));
                if let Ok(log) = std::fs::read(file) {
                    self.log(name, container).load_timestamped(&log);
                }
            }
        }
    }
}

/// As k6-operator's Jobs own their pods. (No Job is there: nothing asks for it.)
pub fn owner_job(job: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": unique("job"),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// There is no kubelet that would end a pod's containers. (An API server that gets a body does not look at the query.)
fn at_once() -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0})
}

/// One of `containerStatuses`, of a container that was never restarted.
pub fn container_status(name: &str, state: &Value) -> Value {
    json!({
        "name": name, "image": "k6", "imageID": "", "ready": false, "restartCount": 0, "lastState": {},
        "state": state,
    })
}

/// 2026-11-23T04:39:50Z, in nanoseconds since 1970: when the first line of `write_lines` is written.
pub const FIRST_LINE: i64 = 1_795_408_790_000_000_000;

/// Writes the lines of these numbers, 100 bytes each, a millisecond apart but for twins of the same time
/// (docs/facts.md, "Two lines can have the same time").
pub fn write_lines(log: &Log, numbers: Range<i64>) {
    for number in numbers {
        let text = format!("{:<99}", format!("line {number} of a test"));
        log.write_line(line_time(number), text.as_bytes());
    }
}

/// When `write_lines` says that this line was written.
pub fn line_time(number: i64) -> i64 {
    FIRST_LINE + number / 2 * 1_000_000
}

fn phase(status: &Value) -> &'static str {
    let states: Vec<&Value> = status["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| &container["state"])
        .collect();
    let ended = |state: &&Value| state.get("terminated").is_some();
    if states.is_empty() || states.iter().any(|state| state.get("waiting").is_some()) {
        "Pending"
    } else if !states.iter().all(ended) {
        "Running"
    } else if states
        .iter()
        .all(|state| state["terminated"]["exitCode"] == 0)
    {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// Where the recordings are.
pub fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded")
}

/// Where the first recording of a cluster is.
pub fn recording() -> PathBuf {
    recordings().join("cluster")
}

/// The recorded answer of a log request, with its times.
pub fn recorded_log(moment: &str, pod: &str) -> Vec<u8> {
    std::fs::read(
        recording()
            .join(moment)
            .join("logs")
            .join(format!("{pod}.k6.log")),
    )
    .unwrap()
}
