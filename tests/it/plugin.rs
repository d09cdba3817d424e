//! `kubectl k6sync`: the real kubectl runs the real k6sync in a pod. The pod is a process here, and what is between them speaks as
//! an API server does: discovery, the Deployment, its pod, and `exec` over a WebSocket (`v5.channel.k8s.io`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::on_both_databases;
use crate::support::program::Run;
use crate::support::{Database, not_shown, recorded};

on_both_databases!(
    commands_run_in_the_pod_and_files_are_written_here,
    when_the_plugin_ends_so_does_what_it_runs,
    what_nobody_knows_is_no_verdict,
    the_pipelines_of_the_docs_do_what_they_say,
);

/// The namespace of the manifests, which is the plugin's default.
const NAMESPACE: &str = "k6-runs";
const POD: &str = "k6sync-7d9c5b6f4-x2x9q";

/// Where `exec` runs k6sync.
struct Pod {
    database: String,
    /// Told when what ran there has ended.
    ended: mpsc::UnboundedSender<Option<i32>>,
}

/// What kubectl takes for a cluster.
struct Kubernetes {
    server: JoinHandle<()>,
    folder: tempfile::TempDir,
    ended: mpsc::UnboundedReceiver<Option<i32>>,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Kubernetes {
    async fn start(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, ended) = mpsc::unbounded_channel();
        let pod = Arc::new(Pod {
            database: database.url().to_owned(),
            ended: told,
        });
        let namespaced = |rest: &str| format!("/api/v1/namespaces/{NAMESPACE}/{rest}");
        let router = Router::new()
            .route("/api", get(async || Json(json!({"kind": "APIVersions", "versions": ["v1"]}))))
            .route("/apis", get(async || Json(groups())))
            .route("/api/v1", get(async || Json(resources("v1", "pods", "Pod"))))
            .route(
                "/apis/apps/v1",
                get(async || Json(resources("apps/v1", "deployments", "Deployment"))),
            )
            .route(
                &format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/k6sync"),
                get(async || Json(deployment())),
            )
            .route(&namespaced("pods"), get(async || Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [the_pod()]}))))
            .route(&namespaced(&format!("pods/{POD}")), get(async || Json(the_pod())))
            .route(&namespaced(&format!("pods/{POD}/exec")), get(exec))
            .with_state(pod);
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, current-context: here, contexts: [{{name: here, context: {{cluster: here, user: me, namespace: default}}}}],
              clusters: [{{name: here, cluster: {{server: 'http://{address}'}}}}], users: [{{name: me, user: {{}}}}]}}"
        );
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        Self {
            server,
            folder,
            ended,
        }
    }

    /// `kubectl k6sync` with these arguments, in a folder of its own.
    fn plugin(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-k6sync"));
        command
            .arg("k6sync")
            .args(args)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env(
                "PATH",
                format!(
                    "{}:{}:/usr/bin:/bin",
                    plugin.parent().unwrap().display(),
                    kubectl_folder().display()
                ),
            )
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Run {
        let output = self.plugin(args).output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await;
        Run::from(output.expect("it did not end").unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn find_kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file())
}

fn kubectl_folder() -> PathBuf {
    find_kubectl().unwrap().parent().unwrap().to_owned()
}

fn groups() -> Value {
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps", "versions": [version], "preferredVersion": version}]})
}

fn resources(group: &str, name: &str, kind: &str) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": [
        {"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list"]}
    ]})
}

fn deployment() -> Value {
    let labels = json!({"app.kubernetes.io/name": "k6sync"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "k6sync", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}}
    })
}

fn the_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": POD, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": "k6sync"}},
        "spec": {"containers": [{"name": "k6sync", "image": "k6sync"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    })
}

async fn exec(
    State(pod): State<Arc<Pod>>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    let query = query.unwrap_or_default();
    let command: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "command")
        .map(|(_, value)| value.into_owned())
        .collect();
    upgrade
        .protocols(["v5.channel.k8s.io"])
        .on_upgrade(async move |socket| in_pod(socket, &pod, &command).await)
        .into_response()
}

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;

/// A process in the pod, with its streams on the socket.
async fn in_pod(mut socket: WebSocket, pod: &Pod, command: &[String]) {
    assert_eq!(command[0], "/usr/local/bin/k6sync", "{command:?}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_k6sync"))
        .args(&command[1..])
        .env_clear()
        .env("DATABASE_URL", &pod.database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut out, mut err) = ([0; 8192], [0; 8192]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            read = stdout.read(&mut out), if out_open => match read {
                Ok(1..) => send(&mut socket, STDOUT, &out[..read.unwrap()]).await,
                _ => out_open = false,
            },
            read = stderr.read(&mut err), if err_open => match read {
                Ok(1..) => send(&mut socket, STDERR, &err[..read.unwrap()]).await,
                _ => err_open = false,
            },
            message = socket.recv(), if stdin.is_some() => match message {
                Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&STDIN) => {
                    if let Some(stdin) = &mut stdin {
                        let _ = stdin.write_all(&bytes[1..]).await;
                    }
                }
                Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&CLOSE) => stdin = None,
                Some(Ok(_)) => {}
                // As a kubelet does when its client has gone.
                _ => stdin = None,
            },
        }
    }
    let code = child.wait().await.unwrap().code();
    let status = match code {
        Some(0) => json!({"metadata": {}, "status": "Success"}),
        code => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: {code:?}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.unwrap_or(137).to_string()}]}
        }),
    };
    send(&mut socket, ERROR, status.to_string().as_bytes()).await;
    let _ = socket.send(Message::Close(None)).await;
    let _ = pod.ended.send(code);
}

async fn send(socket: &mut WebSocket, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    // Whoever is gone has seen enough.
    let _ = socket.send(Message::Binary(message.into())).await;
}

async fn commands_run_in_the_pod_and_files_are_written_here(database: Database) {
    if find_kubectl().is_none() {
        return not_shown("kubectl is not installed");
    }
    let _cluster = recorded(&database).await;
    let kubernetes = Kubernetes::start(&database).await;
    for (args, code) in [
        (&["runs"][..], 0),
        (&["-n", "elsewhere", "runs"], 0),
        (&["wait", "no-initializer"], 0),
        (&["wait", "slo"], 99),
        (&["wait", "no-login"], 107),
        (&["show", "nothing"], 3),
        (&["show", "slo", "--exit-status"], 99),
        (&["wait", "slo", "--frob"], 2),
    ] {
        let run = kubernetes.run(args).await;
        assert_eq!(run.code, code, "{args:?}: {run:?}");
        assert!(!run.stderr.contains('\u{1e}'), "{run:?}");
    }
    // Byte for byte what k6sync says there.
    let here = crate::support::Program::new(&[
        "logs",
        "slo",
        "--role",
        "runner",
        "--database-url",
        database.url(),
    ]);
    let here = here.run().await;
    let there = kubernetes.run(&["logs", "slo", "--role", "runner"]).await;
    assert_eq!(there.stdout, here.stdout);
    assert!(there.stdout.len() > 1_000);

    let run = kubernetes
        .run(&[
            "wait",
            "slo",
            "--junit",
            "out.xml",
            "--markdown=sum.md",
            "--context",
            "here",
        ])
        .await;
    assert_eq!(run.code, 99, "{run:?}");
    let junit = std::fs::read_to_string(kubernetes.file("out.xml")).unwrap();
    assert!(junit.contains("<testsuite "), "{junit}");
    let markdown = std::fs::read_to_string(kubernetes.file("sum.md")).unwrap();
    assert!(markdown.contains("slo"), "{markdown}");
    // Appended, as to $GITHUB_STEP_SUMMARY.
    kubernetes.run(&["wait", "slo", "--markdown=sum.md"]).await;
    let twice = std::fs::read_to_string(kubernetes.file("sum.md")).unwrap();
    assert_eq!(twice.len(), 2 * markdown.len());
    let run = kubernetes
        .run(&["report", "slo", "--html", "slo.html", "--junit", "-"])
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("<testsuite "), "{run:?}");
    assert!(
        std::fs::read_to_string(kubernetes.file("slo.html"))
            .unwrap()
            .contains("<!DOCTYPE html>")
    );

    let run = kubernetes
        .run(&["wait", "slo", "--junit", "nowhere/out.xml"])
        .await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("the folder nowhere does not exist"),
        "{run:?}"
    );
    let run = kubernetes.run(&["prune", "--older-than", "1m"]).await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr
            .contains("is none of the commands that this plugin runs"),
        "{run:?}"
    );
    let run = kubernetes.run(&[]).await;
    assert!(
        run.code == 0 && run.stdout.contains("Usage: kubectl k6sync"),
        "{run:?}"
    );
    let run = kubernetes.run(&["wait", "--help"]).await;
    assert!(
        run.code == 0 && run.stdout.contains("--for-appearance"),
        "{run:?}"
    );
}

async fn when_the_plugin_ends_so_does_what_it_runs(database: Database) {
    if find_kubectl().is_none() {
        return not_shown("kubectl is not installed");
    }
    let cluster = crate::support::Cluster::start().await;
    cluster.moment_of("operator", "t1").await;
    crate::support::Program::sync_once(&cluster, &database, &[])
        .report()
        .await;
    let mut kubernetes = Kubernetes::start(&database).await;
    let mut waiting = kubernetes
        .plugin(&["wait", "slo"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until it runs there; there is nothing to see of that but time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(kubernetes.ended.try_recv().is_err(), "it has ended already");
    waiting.kill().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), kubernetes.ended.recv()).await;
    assert_eq!(ended.expect("it still runs"), Some(Some(130)));
}

async fn what_nobody_knows_is_no_verdict(database: Database) {
    if find_kubectl().is_none() {
        return not_shown("kubectl is not installed");
    }
    let kubernetes = Kubernetes::start(&database).await;
    // No database there.
    let run = kubernetes.run(&["wait", "slo"]).await;
    assert_eq!(run.code, 5, "{run:?}");
    // No k6sync there, or no cluster: kubectl says 1, which as a verdict would be a failed test.
    let run = kubernetes
        .run(&["wait", "slo", "--k6sync-namespace", "elsewhere"])
        .await;
    assert_eq!(run.code, 5, "{run:?}");
    assert!(
        run.stderr
            .contains("nothing is known. Is k6sync installed there"),
        "{run:?}"
    );
    let run = kubernetes
        .run(&["wait", "slo", "--context", "nowhere"])
        .await;
    assert_eq!(run.code, 5, "{run:?}");
}

/// The shell lines of a pipeline: those of the test, and those that come after it whatever became of it.
struct Pipeline {
    file: &'static str,
    test: String,
    after: String,
}

fn strings(value: &Value) -> String {
    let lines: Vec<&str> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    lines.join("\n")
}

fn pipelines() -> Vec<Pipeline> {
    let read = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs/ci")
            .join(file);
        std::fs::read_to_string(path).unwrap()
    };
    let yaml = |file: &str| -> Value { serde_yaml::from_str(&read(file)).unwrap() };
    let github = yaml("github-actions.yaml");
    let step = |name: &str| {
        let steps = github["jobs"]["load-test"]["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["name"] == name).unwrap();
        step["run"].as_str().unwrap().to_owned()
    };
    // What one step puts into $GITHUB_ENV is a variable of the next ones.
    let with_env = |steps: &[&str]| {
        steps
            .iter()
            .map(|name| format!(". \"$GITHUB_ENV\"\n{}", step(name)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let gitlab = &yaml("gitlab-ci.yaml")["load-test"];
    let jenkins = read("Jenkinsfile");
    let blocks: Vec<&str> = jenkins.split("'''").skip(1).step_by(2).collect();
    let argo = yaml("argo-workflow.yaml");
    let template = |name: &str| {
        let templates = argo["spec"]["templates"].as_array().unwrap();
        templates
            .iter()
            .find(|template| template["name"] == name)
            .unwrap()
            .clone()
    };
    let start = template("start")["script"]["source"]
        .as_str()
        .unwrap()
        .to_owned();
    let wait = strings(&template("wait")["container"]["args"]).replace('\n', " ");
    let wait = wait
        .replace("{{inputs.parameters.uid}}", "$uid")
        .replace("/tmp/k6sync.xml", "k6sync.xml");
    vec![
        Pipeline {
            file: "github-actions.yaml",
            test: with_env(&["Start the test", "Wait for the verdict"]),
            after: with_env(&["What failed", "Write the report"]),
        },
        Pipeline {
            file: "gitlab-ci.yaml",
            test: strings(&gitlab["script"]),
            after: strings(&gitlab["after_script"]),
        },
        Pipeline {
            file: "Jenkinsfile",
            test: blocks[0].to_owned(),
            after: blocks[1].to_owned(),
        },
        Pipeline {
            file: "argo-workflow.yaml",
            test: format!("uid=$({start})\nk6sync {wait}"),
            after: "true".to_owned(),
        },
    ]
}

async fn the_pipelines_of_the_docs_do_what_they_say(database: Database) {
    let Some(kubectl) = find_kubectl() else {
        return not_shown("kubectl is not installed");
    };
    let _cluster = recorded(&database).await;
    for pipeline in pipelines() {
        for (test_run, code) in [("no-initializer", 0), ("slo", 99), ("no-login", 107)] {
            let kubernetes = Kubernetes::start(&database).await;
            let uid =
                format!("SELECT k6_uid FROM test_run_steps WHERE k6_test_name = '{test_run}'");
            let uid = database.texts(&uid).await.remove(0);
            // Making and deleting TestRuns is the cluster's: all else goes to the real kubectl.
            let shim = format!(
                "#!/bin/sh\ncase $1 in delete) ;; apply) printf %s {uid} ;; *) exec {} \"$@\" ;; esac\n",
                kubectl.display()
            );
            let bin = kubernetes.file("bin");
            std::fs::create_dir(&bin).unwrap();
            let install = |name: &str, text: &str| {
                let written = std::process::Command::new("sh")
                    .args([
                        "-c",
                        "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"",
                        "sh",
                        text,
                    ])
                    .arg(bin.join(name))
                    .status();
                assert!(written.unwrap().success());
            };
            install("kubectl", &shim);
            std::fs::write(kubernetes.file("env"), "").unwrap();
            let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-k6sync"))
                .parent()
                .unwrap();
            let shell = async |script: &str| {
                let output = Command::new("bash")
                    .args(["-euc", script])
                    .env_clear()
                    .env("HOME", kubernetes.folder.path())
                    .env("KUBECONFIG", kubernetes.file("kubeconfig"))
                    .env("DATABASE_URL", database.url())
                    .env("GITHUB_ENV", kubernetes.file("env"))
                    .env("GITHUB_STEP_SUMMARY", kubernetes.file("summary.md"))
                    .env(
                        "PATH",
                        format!("{}:{}:/usr/bin:/bin", bin.display(), plugin.display()),
                    )
                    .current_dir(kubernetes.folder.path())
                    .stdin(Stdio::null())
                    .kill_on_drop(true)
                    .output();
                Run::from(output.await.unwrap())
            };
            let run = shell(&pipeline.test).await;
            assert_eq!(run.code, code, "{}, {test_run}: {run:?}", pipeline.file);
            assert!(kubernetes.file("k6sync.xml").is_file(), "{}", pipeline.file);
            let run = shell(&pipeline.after).await;
            assert_eq!(run.code, 0, "{}, {test_run}: {run:?}", pipeline.file);
            let has_report = kubernetes.file("k6sync.html").is_file();
            assert_eq!(
                has_report,
                pipeline.file != "argo-workflow.yaml",
                "{}",
                pipeline.file
            );
            if pipeline.file == "github-actions.yaml" {
                assert!(kubernetes.file("summary.md").is_file());
            }
        }
    }
}
