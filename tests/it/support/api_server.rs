//! A real API server for all tests of this process: `etcd` and `kube-apiserver` of the folder `KUBEBUILDER_ASSETS`.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::sync::OnceCell;

/// A slow machine with two cores needs half of it.
const READY_WITHIN: Duration = Duration::from_secs(120);
const TOKEN: &str = "k6sync-test-admin";

/// A running API server.
pub struct ApiServer {
    url: String,
}

impl ApiServer {
    /// The process's API server, started on first use; `None` without `KUBEBUILDER_ASSETS`.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Result<ApiServer, String>> = OnceCell::const_new();
        let assets = std::env::var_os("KUBEBUILDER_ASSETS")?;
        let shared = SHARED
            .get_or_init(|| Self::start(Path::new(&assets)))
            .await
            .as_ref();
        Some(shared.unwrap_or_else(|error| panic!("{error}")))
    }

    async fn start(assets: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let [client, peer, secure] = free_ports();
        let pair = rcgen::KeyPair::generate().unwrap();
        let private_key = folder.path().join("sa.key");
        std::fs::write(&private_key, pair.serialize_pem()).unwrap();
        let public_key = folder.path().join("sa.pub");
        std::fs::write(&public_key, pair.public_key_pem()).unwrap();
        let tokens = folder.path().join("tokens.csv");
        std::fs::write(&tokens, format!("{TOKEN},admin,admin,\"system:masters\"\n")).unwrap();

        let etcd_url = format!("http://127.0.0.1:{client}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let mut etcd = Command::new(assets.join("etcd"));
        etcd.arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .args([
                "--unsafe-no-fsync",
                &format!("--listen-client-urls={etcd_url}"),
                &format!("--advertise-client-urls={etcd_url}"),
                &format!("--listen-peer-urls={peer_url}"),
                &format!("--initial-advertise-peer-urls={peer_url}"),
                &format!("--initial-cluster=default={peer_url}"),
            ]);
        let path = |flag: &str, path: &PathBuf| format!("--{flag}={}", path.display());
        let mut server = Command::new(assets.join("kube-apiserver"));
        server.args([
            &format!("--etcd-servers={etcd_url}"),
            "--bind-address=127.0.0.1",
            &format!("--secure-port={secure}"),
            &path("cert-dir", &folder.path().join("certs")),
            &path("token-auth-file", &tokens),
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            &path("service-account-key-file", &public_key),
            &path("service-account-signing-key-file", &private_key),
        ]);
        guarded(&etcd, folder.path());
        guarded(&server, folder.path());
        let log = folder.keep().join("log");

        let server = Self {
            url: format!("https://127.0.0.1:{secure}"),
        };
        server.wait_until_ready(&log).await?;
        server.install_crd().await;
        Ok(server)
    }

    /// A kubeconfig for somebody who may do everything.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: '{}', insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: test, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test, namespace: {namespace}}}}}]\n",
            self.url
        )
    }

    async fn client(&self) -> kube::Client {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig("default")).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
        kube::Client::try_from(config).unwrap()
    }

    async fn wait_until_ready(&self, log: &Path) -> Result<(), String> {
        let client = self.client().await;
        let begun = Instant::now();
        let request = || http::Request::get("/readyz").body(Vec::new()).unwrap();
        while client.request_text(request()).await.is_err() {
            let has_ended = log.with_file_name("ended").exists();
            if has_ended || begun.elapsed() > READY_WITHIN {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!(
                    "the API server of KUBEBUILDER_ASSETS is not ready; the log:\n{log}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn install_crd(&self) {
        let client = self.client().await;
        let crd = serde_json::to_vec(&k6sync::cluster::custom_resource_definition()).unwrap();
        let request =
            http::Request::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
                .header("content-type", "application/json")
                .body(crd)
                .unwrap();
        client.request::<Value>(request).await.unwrap();
        let begun = Instant::now();
        let list = || {
            http::Request::get("/apis/k6.io/v1alpha1/testruns")
                .body(Vec::new())
                .unwrap()
        };
        while client.request::<Value>(list()).await.is_err() {
            assert!(begun.elapsed() < READY_WITHIN, "TestRuns are not served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn free_ports() -> [u16; 3] {
    // All are taken before any is given up, so that they differ.
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Starts `command` under a shell that outlives this process for a moment: when this process is gone, however it went, the
/// shell ends the command and removes the folder. (Rust drops no statics.)
#[allow(
    clippy::zombie_processes,
    reason = "it outlives this process, which is its point"
)]
fn guarded(command: &Command, folder: &Path) {
    const SCRIPT: &str = r#"
        { "$@" >> "$FOLDER/log" 2>&1 & echo $! > "$FOLDER/$$.pid"; wait; touch "$FOLDER/ended"; } &
        while kill -0 "$PARENT" 2> /dev/null; do sleep 0.2; done
        kill -9 "$(cat "$FOLDER/$$.pid")" 2> /dev/null
        wait
        rm -rf "$FOLDER"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env("PARENT", std::process::id().to_string())
        .env("FOLDER", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in a terminal is for the tests; the servers follow them.
        .process_group(0)
        .spawn()
        .expect("sh can be started");
}
