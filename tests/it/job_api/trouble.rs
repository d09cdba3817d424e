//! An API server that fails, and rights that k6sync lacks: nobody is let in, and all are told why.

use std::path::Path;
use std::time::{Duration, Instant};

use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::{Value, json};

use super::{ANSWERED_WITHIN, Caller, Job, KEY, refusal, success};
use crate::support::Cluster;

/// Each way in answers 503 in time; all at once, since each may take its time.
async fn assert_unavailable(job: &Job, callers: &[&Caller]) -> Vec<String> {
    let requests = callers.iter().flat_map(|caller| {
        let methods = [("GET", ""), ("POST", r#"{"action":"stop"}"#)];
        methods.map(|(method, body)| job.send(method, caller, body))
    });
    let begun = Instant::now();
    let answers = futures_util::future::join_all(requests).await;
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    answers.iter().map(|answer| refusal(answer, 503)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_config_map_there_is_no_answer_but_soon_a_refusal() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let standin = job.cluster.standin_cluster();
    let key = Caller::key(KEY);
    for (action, words) in [
        (
            FaultAction::Status {
                code: 503,
                retry_after_seconds: None,
            },
            "answered 503",
        ),
        (
            FaultAction::Status {
                code: 503,
                retry_after_seconds: Some(60),
            },
            "answered 503",
        ),
        (FaultAction::ResetBeforeBody, "cannot reach the API server"),
        (FaultAction::Garbage, "can't be read"),
        (
            FaultAction::Stall {
                after_bytes: 0,
                duration: Duration::from_secs(60),
            },
            "no answer in the time that was left for it",
        ),
    ] {
        standin.fault(Fault::always("get configmaps", action.clone()));
        for error in assert_unavailable(&job, &[&key]).await {
            assert!(error.contains(words), "{action:?}: {error}");
        }
        standin.clear_faults();
    }
    success(&job.get(&key).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_told_apart_is_not_let_in() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let standin = job.cluster.standin_cluster();
    let organizer = job.caller_who_may("organizer", &["get", "update"]).await;
    for (kind, action) in [
        (
            "create tokenreviews",
            FaultAction::Status {
                code: 500,
                retry_after_seconds: None,
            },
        ),
        (
            "create subjectaccessreviews",
            FaultAction::Stall {
                after_bytes: 10,
                duration: Duration::from_secs(60),
            },
        ),
        (
            "create subjectaccessreviews",
            FaultAction::Status {
                code: 401,
                retry_after_seconds: None,
            },
        ),
    ] {
        standin.fault(Fault::always(kind, action));
        for error in assert_unavailable(&job, &[&organizer]).await {
            assert!(
                error.starts_with("it cannot be told who you are and what you may: "),
                "{error}"
            );
        }
        standin.clear_faults();
    }
    assert!(job.cluster.control_map().await.is_none());
    success(&job.get(&organizer).await);
}

/// What k6sync's own right is missing from is told to whoever asks, and not called a failure of the API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_k6sync_lacks_is_told_with_the_rule_to_add() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let standin = job.cluster.standin_cluster();
    let organizer = job.caller_who_may("organizer", &["get", "update"]).await;
    let key = Caller::key(KEY);
    let forbidden = || FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    let (read, stop) = (("GET", ""), ("POST", r#"{"action":"stop"}"#));
    let map = r#"{apiGroups: [""], resources: ["configmaps"]"#;
    let named = format!(r#"{map}, resourceNames: ["k6sync-control"]"#);
    let tokens =
        r#"{apiGroups: ["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"]}"#;
    let access = r#"{apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"], verbs: ["create"]}"#;
    for (kind, caller, (method, body), rule) in [
        ("create tokenreviews", &organizer, read, tokens.to_owned()),
        ("create tokenreviews", &organizer, stop, tokens.to_owned()),
        (
            "create subjectaccessreviews",
            &organizer,
            stop,
            access.to_owned(),
        ),
        (
            "get configmaps",
            &key,
            read,
            format!(r#"{named}, verbs: ["get"]}}"#),
        ),
        (
            "get configmaps",
            &key,
            stop,
            format!(r#"{named}, verbs: ["get"]}}"#),
        ),
        (
            "create configmaps",
            &key,
            stop,
            format!(r#"{map}, verbs: ["create"]}}"#),
        ),
    ] {
        standin.fault(Fault::always(kind, forbidden()));
        let error = refusal(&job.send(method, caller, body).await, 403);
        assert!(
            error.contains(&format!("add the rule {rule}")),
            "{kind}: {error}"
        );
        assert!(error.contains("kubectl auth can-i"), "{kind}: {error}");
        standin.clear_faults();
        assert!(job.cluster.control_map().await.is_none());
    }
    job.act(json!({"action": "start"})).await;
    standin.fault(Fault::always("patch configmaps", forbidden()));
    let error = refusal(&job.post(&key, stop.1).await, 403);
    let rule = format!(r#"add the rule {named}, verbs: ["patch"]}}"#);
    assert!(error.contains(&rule), "{error}");
    standin.clear_faults();
    success(&job.post(&organizer, stop.1).await);
}

/// The same by RBAC: what the manifests give without the overlay `organizer`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_base_manifests_rights_are_told_to_be_too_few_for_tokens() {
    let cluster = Cluster::start().await;
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base/role.yaml");
    let role: Value = serde_yaml::from_str(&std::fs::read_to_string(role).unwrap()).unwrap();
    cluster.allow("k6sync", role["rules"].clone()).await;
    let kubeconfig = cluster.kubeconfig_as("k6sync");
    let job = Job::spawn(cluster, |program| {
        program.env("K6_SYNC_API_KEY", KEY).kubeconfig(&kubeconfig)
    })
    .await;
    let organizer = job.caller_who_may("organizer", &["get", "update"]).await;
    let error = refusal(&job.get(&organizer).await, 403);
    assert!(
        error.contains("not allowed to create tokenreviews") && error.contains("add the rule"),
        "{error}"
    );
    let key = Caller::key(KEY);
    success(&job.get(&key).await);
    let error = refusal(&job.post(&key, r#"{"action":"stop"}"#).await, 403);
    assert!(
        error.contains("not allowed to create configmaps"),
        "{error}"
    );
    job.cluster.control(json!({"enabled": "true"})).await;
    success(&job.post(&key, r#"{"action":"stop"}"#).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_gone_is_told_soon() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let organizer = job.caller_who_may("organizer", &["get", "update"]).await;
    success(&job.get(&organizer).await);
    let reader = job.caller_who_may("reader", &["get"]).await;
    let Job {
        running,
        database,
        cluster,
    } = job;
    drop(cluster);
    let job = Job {
        running,
        database,
        cluster: Cluster::standin(Options::default()).await,
    };
    let callers = [&Caller::key(KEY), &organizer, &reader];
    for error in assert_unavailable(&job, &callers).await {
        assert!(error.contains("cannot reach the API server"), "{error}");
    }
}
