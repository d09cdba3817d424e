//! The stand-in over real connections: verbs, watches, logs, users, faults, TLS.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod client;

use std::time::{Duration, Instant};

use client::{Ask, unchunk};
use k6sync_standin::{
    Certificate, Fault, FaultAction, KubeletStyle, Options, Rule, Spec, Standin, User,
    generated_text,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const SECOND: i64 = 1_000_000_000;
/// 2026-11-23T04:34:43Z
const START: i64 = 1_795_408_483 * SECOND;
const CONFIG_MAPS: &str = "/api/v1/namespaces/ns/configmaps";
const LOG: &str = "/api/v1/namespaces/ns/pods/run-1/log";

async fn start(options: Options) -> Standin {
    Standin::start(options).await.expect("the stand-in starts")
}

fn config_map(name: &str, enabled: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "ns" }, "data": { "enabled": enabled } })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "run-1", "namespace": "ns", "labels": { "k6_cr": "run" } },
        "spec": { "nodeName": "node1", "containers": [{ "name": "k6" }] },
        "status": { "phase": "Running", "containerStatuses": [{ "name": "k6", "state": { "running": {} } }] },
    })
}

/// Reads a watch until so many events have come.
async fn events(stream: &mut TcpStream, count: usize) -> Vec<Value> {
    let mut raw = Vec::new();
    loop {
        let head = raw.windows(4).position(|four| four == b"\r\n\r\n");
        let body = head.map(|at| unchunk(&raw[at + 4..]).0).unwrap_or_default();
        let lines: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
        if lines.len() >= count && lines.iter().all(|line| line.ends_with(b"\n")) {
            let event = |line: &&[u8]| serde_json::from_slice(line).expect("an event");
            return lines.iter().map(event).collect();
        }
        let read = timeout(Duration::from_secs(5), stream.read_buf(&mut raw)).await;
        let read = read.expect("an event in time").expect("an open connection");
        assert!(read > 0, "the watch ended early");
    }
}

#[tokio::test]
async fn an_object_from_creation_to_deletion() {
    let standin = start(Options::default()).await;
    let post = Ask::new("POST", CONFIG_MAPS).json(&config_map("control", "true"));
    assert_eq!(post.send(&standin).await.code, 201);
    let path = format!("{CONFIG_MAPS}/control");
    let patch = json!({ "data": { "enabled": "false" } });
    let patch = Ask::new("PATCH", &path).body("application/merge-patch+json", &patch);
    let patched = patch.send(&standin).await.json();
    assert_eq!(patched["data"]["enabled"], "false");
    assert_eq!(Ask::get(&path).send(&standin).await.json(), patched);
    let deleted = Ask::new("DELETE", &path).send(&standin).await.json();
    assert_eq!(deleted["status"], "Success");
    assert_eq!(deleted["details"]["uid"], patched["metadata"]["uid"]);
    assert_eq!(Ask::get(&path).send(&standin).await.code, 404);
    let expected = [
        ("create configmaps", 1),
        ("delete configmaps", 1),
        ("get configmaps", 2),
        ("patch configmaps", 1),
    ];
    let expected = expected.map(|(kind, count)| (kind.to_owned(), count));
    assert_eq!(standin.cluster().requests(), expected.into());
}

#[tokio::test]
async fn a_watch_tells_of_one_object() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    cluster.put(config_map("control", "true"));
    let list = Ask::get(CONFIG_MAPS).send(&standin).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().expect("one");
    let selected = format!("{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Dcontrol");
    let from = format!("{selected}&resourceVersion={version}");
    let mut watch = Ask::get(&from).open(&standin).await;
    cluster.put(config_map("other", "true"));
    cluster.put(config_map("control", "false"));
    cluster.delete("configmaps", "ns", "control");
    cluster.put(config_map("control", "again"));
    let told = events(&mut watch, 3).await;
    let kinds: Vec<&Value> = told.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["MODIFIED", "DELETED", "ADDED"]);
    assert_eq!(told[0]["object"]["kind"], "ConfigMap");
    assert_eq!(told[2]["object"]["data"]["enabled"], "again");

    let mut present = Ask::get(&selected).open(&standin).await;
    assert_eq!(events(&mut present, 1).await[0]["type"], "ADDED");
}

#[tokio::test]
async fn a_watch_ends_in_time() {
    let standin = start(Options::default()).await;
    let started = Instant::now();
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=1");
    let answer = Ask::get(&path).send(&standin).await;
    assert!(answer.complete && answer.body.is_empty());
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_test_run_waits_for_its_finalizer() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    cluster.put(
        json!({ "apiVersion": "k6.io/v1alpha1", "kind": "TestRun", "metadata": {
        "name": "run", "namespace": "ns", "finalizers": ["k6sync.dev/logs"] } }),
    );
    cluster.put(pod());
    let log = cluster.log("ns", "run-1", "k6");
    log.write_line(START, b"last words");
    let path = "/apis/k6.io/v1alpha1/namespaces/ns/testruns/run";
    let held = Ask::new("DELETE", path).send(&standin).await.json();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(Ask::get(LOG).send(&standin).await.text(), "last words\n");
    let free = json!([
        { "op": "test", "path": "/metadata/uid", "value": held["metadata"]["uid"] },
        { "op": "remove", "path": "/metadata/finalizers/0" },
    ]);
    let free = Ask::new("PATCH", path).body("application/json-patch+json", &free);
    assert_eq!(free.send(&standin).await.code, 200);
    assert_eq!(Ask::get(path).send(&standin).await.code, 404);
    assert_eq!(Ask::get(LOG).send(&standin).await.code, 404);
    assert_eq!(log.written(), b"last words\n");
}

#[tokio::test]
async fn logs_resume_at_a_whole_second() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    cluster.put(pod());
    assert_eq!(
        Ask::get(LOG).send(&standin).await.text(),
        "",
        "not a word yet"
    );
    let log = cluster.log("ns", "run-1", "k6");
    log.write_line(START - 1, b"before");
    log.write_line(START + 7, b"early");
    log.write_line(START + 9, b"late");
    let path = format!("{LOG}?timestamps=true&sinceTime=2026-11-23T04:34:43.000000009Z");
    assert_eq!(
        Ask::get(&path).send(&standin).await.text(),
        "2026-11-23T04:34:43.000000007Z early\n2026-11-23T04:34:43.000000009Z late\n",
        "a whole second again"
    );
}

#[tokio::test]
async fn a_generated_log_is_what_it_says() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    cluster.put(pod());
    let size = 3_000_000;
    cluster
        .log("ns", "run-1", "k6")
        .generate(5, size, START, 1_000_000);
    let answer = Ask::get(LOG).send(&standin).await;
    assert!(answer.complete);
    let expected: Vec<u8> = generated_text(5, size, START, 1_000_000)
        .flatten()
        .collect();
    assert!(answer.body == expected, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn users_do_what_they_may() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    let reader = Rule::new("", &["configmaps"], &["list"]).in_namespace("ns");
    cluster.user("reader", User::with_rules("reader", [reader]));
    cluster.user("bound", User::with_rules("bound", []));
    let code = |token: &'static str, path: &'static str| {
        let ask = Ask::get(path).token(token);
        let standin = &standin;
        async move { ask.send_as_is(standin).await.code }
    };
    assert_eq!(code("reader", CONFIG_MAPS).await, 200);
    assert_eq!(code("reader", "/api/v1/configmaps").await, 403);
    assert_eq!(code("bound", CONFIG_MAPS).await, 403);
    let rbac = "rbac.authorization.k8s.io/v1";
    cluster.put(
        json!({ "apiVersion": rbac, "kind": "Role", "metadata": { "name": "r", "namespace": "ns" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] }] }),
    );
    cluster.put(json!({ "apiVersion": rbac, "kind": "RoleBinding", "metadata": { "name": "b", "namespace": "ns" },
        "roleRef": { "kind": "Role", "name": "r" }, "subjects": [{ "kind": "User", "name": "bound" }] }));
    assert_eq!(code("bound", CONFIG_MAPS).await, 200);
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    cluster.put(config_map("control", "true"));
    let whole = Ask::get(CONFIG_MAPS).send(&standin).await;
    let ask = |action: FaultAction| {
        cluster.fault(Fault::times("list configmaps", 1, action));
        let ask = Ask::get(CONFIG_MAPS).token(standin.admin_token());
        ask.attempt(&standin)
    };
    let answered = |answer: std::io::Result<Option<client::Answer>>| {
        answer.expect("a connection").expect("an answer")
    };

    let busy = FaultAction::Status {
        code: 429,
        retry_after_seconds: Some(7),
    };
    let answer = answered(ask(busy).await);
    assert_eq!(
        (answer.code, answer.headers["retry-after"].as_str()),
        (429, "7")
    );
    assert_eq!(answer.json()["reason"], "TooManyRequests");

    let silent = ask(FaultAction::ResetBeforeBody).await;
    assert!(silent.is_ok_and(|answer| answer.is_none()));

    let cut = answered(ask(FaultAction::ResetMidBody { after_bytes: 10 }).await);
    assert!(!cut.complete);
    assert_eq!(cut.body, whole.body[..10]);

    let short = answered(ask(FaultAction::ShortBody).await);
    assert!(!short.complete);
    assert_eq!(short.body, whole.body);

    let started = Instant::now();
    let duration = Duration::from_millis(300);
    let slow = answered(
        ask(FaultAction::Stall {
            after_bytes: 5,
            duration,
        })
        .await,
    );
    assert!(slow.complete && started.elapsed() >= duration);
    assert_eq!(slow.body, whole.body);

    let garbage = answered(ask(FaultAction::Garbage).await);
    assert_eq!(garbage.code, 200);
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());

    assert_eq!(answered(ask(FaultAction::NotFound).await).code, 404);
    let after = Ask::get(CONFIG_MAPS).send(&standin).await;
    assert_eq!(after.body, whole.body, "all faults are spent");
}

#[tokio::test]
async fn tls_is_trusted_until_it_expires() {
    let tls = Options {
        tls: true,
        ..Options::default()
    };
    let standin = start(tls.clone()).await;
    assert!(standin.url().starts_with("https://127.0.0.1:"));
    assert!(
        standin
            .kubeconfig("ns")
            .contains("certificate-authority-data: ")
    );
    assert_eq!(Ask::get(CONFIG_MAPS).send(&standin).await.code, 200);
    let expired = Options {
        certificate: Certificate::Expired,
        ..tls
    };
    let error = Ask::get("/healthz").attempt(&start(expired).await).await;
    let error = error.expect_err("an expired certificate").to_string();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn a_kubelet_alone() {
    let standin = start(Options {
        kubelet_only: true,
        kubelet: KubeletStyle::Repeated,
        ..Options::default()
    })
    .await;
    let path = "/containerLogs/ns/longline/k6";
    let unknown = Ask::get(path).send_as_is(&standin).await;
    assert_eq!(unknown.code, 400);
    assert_eq!(
        unknown.text(),
        "container \"k6\" in pod \"longline\" is waiting to start: ContainerCreating"
    );
    let log = standin.cluster().log("ns", "longline", "k6");
    log.write_line(START, &[b'x'; 40_000]);
    let long = Ask::get(&format!("{path}?timestamps=true"));
    let long = long.send_as_is(&standin).await.body;
    assert_eq!(long.len(), 3 * 31 + 40_001);
    let previous = Ask::get(&format!("{path}?previous=true"));
    assert_eq!(
        previous.send_as_is(&standin).await.text(),
        "previous terminated container \"k6\" in pod \"longline\" not found"
    );
    assert_eq!(
        Ask::get("/api/v1/pods").send_as_is(&standin).await.code,
        404
    );
    assert_eq!(Ask::get("/healthz").send_as_is(&standin).await.code, 200);
    assert_eq!(standin.cluster().requests()["get pods/log"], 3);
}

#[tokio::test]
async fn the_admin_paths_turn_the_handles() {
    let standin = start(Options::default()).await;
    standin.cluster().put(pod());
    let mut line = Ask::new("POST", "/standin/log/ns/run-1/k6");
    line = line.json(&json!("by hand"));
    assert_eq!(line.send_as_is(&standin).await.code, 200);
    assert_eq!(Ask::get(LOG).send(&standin).await.text(), "\"by hand\"\n");
    let counts = Ask::get("/standin/requests").send_as_is(&standin).await;
    assert_eq!(counts.json(), json!({ "get pods/log": 1 }));
    Ask::new("DELETE", "/standin/requests")
        .send_as_is(&standin)
        .await;
    assert!(standin.cluster().requests().is_empty());
    let unknown = Ask::new("POST", "/standin/recording/t1");
    assert_eq!(unknown.send_as_is(&standin).await.code, 409);
}

#[tokio::test]
async fn a_big_cluster_is_listed_in_pages() {
    let standin = start(Options::default()).await;
    let cluster = standin.cluster();
    cluster.generate(&Spec {
        namespace: "ns".to_owned(),
        runs: 100,
        runners: 8,
        ..Spec::default()
    });
    let (mut path, mut pods) = ("/api/v1/pods?limit=300".to_owned(), 0);
    loop {
        let page = Ask::get(&path).send(&standin).await.json();
        pods += page["items"].as_array().expect("items").len();
        let Some(token) = page["metadata"]["continue"].as_str() else {
            break;
        };
        path = format!("/api/v1/pods?limit=300&continue={token}");
    }
    assert_eq!(pods, 1000);
    assert_eq!(cluster.requests()["list pods"], 4);
}

#[tokio::test]
async fn a_stopped_stand_in_is_gone() {
    let standin = start(Options::default()).await;
    let addr = standin.addr();
    let mut watch = Ask::get(&format!("{CONFIG_MAPS}?watch=true"))
        .open(&standin)
        .await;
    standin.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(5), watch.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is broken off");
}
