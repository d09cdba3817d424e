//! The stand-in's answers, compared with those of a real API server to the same requests.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod client;

use client::{Answer, Ask, recorded, recorded_exchange};
use k6sync_standin::{Options, Standin, User};
use serde_json::{Value, json};

async fn standin() -> Standin {
    let standin = Standin::start(Options::default())
        .await
        .expect("the stand-in starts");
    let cluster = standin.cluster();
    cluster.put(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "longline", "namespace": "k6-runs", "labels": { "k6_cr": "odd" } },
        "spec": { "nodeName": "node1", "containers": [{ "name": "k6" }] },
        "status": { "containerStatuses": [{ "name": "k6", "state": { "terminated": { "exitCode": 0 } } }] },
    }));
    cluster.put(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "nopull", "namespace": "k6-runs", "labels": { "k6_cr": "odd" } },
        "spec": { "nodeName": "node1", "containers": [{ "name": "k6" }] },
        "status": { "containerStatuses": [{ "name": "k6", "state": { "waiting": { "reason": "ErrImageNeverPull" } } }] },
    }));
    standin
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).expect("a recorded JSON body")
}

/// Takes out what no two clusters have in common.
fn without_own(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
        ] {
            metadata.remove(field);
        }
    }
    object
}

fn assert_recorded(answer: &Answer, name: &str) {
    let (code, body) = recorded_exchange(name);
    assert_eq!(answer.code, code, "{name}");
    assert_eq!(answer.json(), json_of(&body), "{name}");
}

const PODS: &str = "/api/v1/namespaces/k6-runs/pods";
const TEST_RUNS: &str = "/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/k6-runs/leases";

#[tokio::test]
async fn refused_reads() {
    let standin = standin().await;
    for (path, name) in [
        (
            format!("{PODS}/longline/log?container=nope"),
            "log-container-not-found",
        ),
        (format!("{PODS}/nopull/log"), "log-container-waiting"),
        (format!("{PODS}/absent/log"), "log-pod-not-found"),
        (
            format!("{PODS}/longline/log?previous=true"),
            "log-previous-not-found",
        ),
        (
            format!("{PODS}?limit=2&continue=garbage"),
            "pods-list-bad-continue",
        ),
        (format!("{TEST_RUNS}/absent"), "testrun-not-found"),
    ] {
        assert_recorded(&Ask::get(&path).send(&standin).await, name);
    }
}

#[tokio::test]
async fn refused_askers() {
    let standin = standin().await;
    for ask in [Ask::get(PODS), Ask::get(PODS).token("nonsense")] {
        assert_recorded(&ask.send_as_is(&standin).await, "unauthorized");
    }
    let impersonated =
        Ask::get(PODS).header("impersonate-user", "system:serviceaccount:k6-runs:default");
    assert_recorded(&impersonated.send(&standin).await, "forbidden");
}

#[tokio::test]
async fn an_absent_crd_is_plain_text() {
    let standin = standin().await;
    let (code, body) = recorded_exchange("testruns-crd-absent");
    let nope = Ask::get("/apis/nope.io/v1/namespaces/k6-runs/things");
    let nope = nope.send(&standin).await;
    assert_eq!(Ask::get(TEST_RUNS).send(&standin).await.code, 200);
    standin.cluster().remove_crd();
    let runs = Ask::get(TEST_RUNS).send(&standin).await;
    for answer in [nope, runs] {
        assert_eq!(answer.code, code);
        assert_eq!(answer.text().trim_end(), body.trim_end());
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn leases_are_created_once_and_updated_by_version() {
    let standin = standin().await;
    let (code, body) = recorded_exchange("lease-create");
    let lease = without_own(json_of(&body));
    let made = Ask::new("POST", LEASES).json(&lease).send(&standin).await;
    assert_eq!(made.code, code);
    assert_eq!(without_own(made.json()), lease);
    let again = Ask::new("POST", LEASES).json(&lease).send(&standin).await;
    assert_recorded(&again, "lease-already-exists");

    let update = |mut lease: Value| {
        lease["spec"]["holderIdentity"] = "b".into();
        Ask::new("PUT", &format!("{LEASES}/k6sync")).json(&lease)
    };
    let first = update(made.json()).send(&standin).await;
    assert_eq!(first.code, 200);
    let late = update(made.json()).send(&standin).await;
    assert_recorded(&late, "lease-update-conflict");
}

#[tokio::test]
async fn reviews_answer_as_recorded() {
    let standin = standin().await;
    let account = User::with_rules("system:serviceaccount:k6-runs:default", []);
    standin.cluster().user("<redacted>", account);
    for (path, name) in [
        ("authentication.k8s.io/v1/tokenreviews", "tokenreview-ok"),
        ("authentication.k8s.io/v1/tokenreviews", "tokenreview-bad"),
        (
            "authorization.k8s.io/v1/subjectaccessreviews",
            "subjectaccessreview-denied",
        ),
        (
            "authorization.k8s.io/v1/selfsubjectaccessreviews",
            "selfsubjectaccessreview",
        ),
    ] {
        let (code, body) = recorded_exchange(name);
        let mut expected = without_own(json_of(&body));
        if let Some(Value::Object(user)) = expected.pointer_mut("/status/user") {
            user.remove("uid");
        }
        let question = json!({ "spec": expected["spec"] });
        let answer = Ask::new("POST", &format!("/apis/{path}")).json(&question);
        let answer = answer.send(&standin).await;
        assert_eq!(answer.code, code, "{name}");
        assert_eq!(without_own(answer.json()), expected, "{name}");
    }
}

#[tokio::test]
async fn lists_look_as_recorded() {
    let standin = Standin::start(Options::default())
        .await
        .expect("the stand-in starts");
    let cluster = standin.cluster();
    for (name, api_version, kind, path) in [
        (
            "pods-list-page",
            "v1",
            "Pod",
            format!("{PODS}?limit=2&labelSelector=k6_cr"),
        ),
        (
            "testruns-list",
            "k6.io/v1alpha1",
            "TestRun",
            TEST_RUNS.to_owned(),
        ),
    ] {
        let (_, body) = recorded_exchange(name);
        let expected = json_of(&body);
        let items = expected["items"].as_array().expect("items");
        for item in items {
            let mut item = item.clone();
            item["apiVersion"] = api_version.into();
            item["kind"] = kind.into();
            cluster.put(item);
        }
        // So that the page of pods is not the last one.
        let more = json!({ "name": "zzz", "namespace": "k6-runs", "labels": { "k6_cr": "odd" } });
        cluster.put(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": more }));

        let answer = Ask::get(&path).send(&standin).await.json();
        let keys = |list: &Value| -> Vec<String> {
            let metadata = list["metadata"].as_object().expect("metadata");
            metadata.keys().cloned().collect()
        };
        assert_eq!(keys(&answer), keys(&expected), "{name}");
        assert_eq!(answer["kind"], expected["kind"]);
        assert_eq!(answer["apiVersion"], expected["apiVersion"]);
        let without_version = |list: &Value| -> Vec<Value> {
            let items = list["items"].as_array().expect("items");
            let strip = |item: &Value| {
                let mut item = item.clone();
                item["metadata"]["resourceVersion"].take();
                item
            };
            items.iter().map(strip).collect()
        };
        assert_eq!(
            without_version(&answer),
            without_version(&expected),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_watch_from_too_far_back() {
    let standin = standin().await;
    standin.cluster().compact();
    let path = "/api/v1/namespaces/k6-runs/configmaps?watch=true&timeoutSeconds=4&resourceVersion=1\
                &fieldSelector=metadata.name%3Dk6sync-control";
    let answer = Ask::get(path).send(&standin).await;
    let (code, body) = recorded_exchange("configmap-watch-expired");
    assert_eq!(answer.code, code);
    let mut expected = json_of(&body);
    let oldest = answer.json()["object"]["message"].clone();
    let message = oldest.as_str().expect("a message");
    assert!(
        message.starts_with("too old resource version: 1 ("),
        "{message}"
    );
    expected["object"]["message"] = oldest.clone();
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_recording_is_played_back_as_it_was() {
    let standin = Standin::start(Options::default())
        .await
        .expect("the stand-in starts");
    let cluster = standin.cluster();
    let dir = recorded().join("cluster");
    for moment in ["t1", "t2", "t3"] {
        cluster
            .load_recording(&dir, moment)
            .expect("the moment is read");
        for (plural, path) in [("pods", PODS), ("testruns", TEST_RUNS)] {
            let file = dir.join(moment).join(format!("{plural}.json"));
            let expected = json_of(&std::fs::read_to_string(file).expect("a recorded list"));
            let answer = Ask::get(path).send(&standin).await.json();
            assert_eq!(answer["items"], expected["items"], "{moment} {plural}");
            assert_eq!(
                answer["metadata"]["resourceVersion"],
                expected["metadata"]["resourceVersion"]
            );
        }
        let logs = std::fs::read_dir(dir.join(moment).join("logs")).expect("recorded logs");
        for entry in logs {
            let file = entry.expect("a file").path();
            let name = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let (pod, container) = name.rsplit_once('.').expect("POD.CONTAINER");
            let path = format!("{PODS}/{pod}/log?container={container}&timestamps=true");
            let answer = Ask::get(&path).send(&standin).await;
            let expected = std::fs::read(&file).expect("a recorded log");
            assert_eq!(
                answer.text(),
                String::from_utf8_lossy(&expected),
                "{moment} {name}"
            );
        }
    }
}
