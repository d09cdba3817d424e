//! Tables for what becomes of objects.

use serde_json::{Value, json};

use super::{Deletion, Part, State};
use crate::random::Random;
use crate::resources::Resource;

fn resource(plural: &str) -> &'static Resource {
    Resource::named(plural).expect("a served resource")
}

fn state() -> State {
    State::new(Random::seeded(1))
}

fn run(finalizers: &[&str]) -> Value {
    json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
        "metadata": { "name": "run", "namespace": "ns", "finalizers": finalizers },
        "spec": { "parallelism": 1 }, "status": { "stage": "started" },
    })
}

#[test]
fn post_makes_what_the_server_owns() {
    let mut state = state();
    let mut body = run(&[]);
    body["metadata"]["uid"] = "mine".into();
    body["metadata"]["resourceVersion"] = "77".into();
    let made = state
        .create(resource("testruns"), "ns", body, false)
        .expect("created");
    assert_ne!(made["metadata"]["uid"], "mine");
    assert_ne!(made["metadata"]["resourceVersion"], "77");
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(
        made.get("status"),
        None,
        "status is a subresource of its own"
    );
}

#[test]
fn generate_name_adds_five_letters() {
    let mut state = state();
    let body = json!({ "metadata": { "generateName": "probe-" } });
    let made = state.create(resource("configmaps"), "ns", body, false);
    let name = made.expect("created")["metadata"]["name"].clone();
    assert_eq!(name.as_str().map(str::len), Some(11));
}

#[test]
fn the_main_resource_ignores_status_and_status_ignores_the_rest() {
    let mut state = state();
    let runs = resource("testruns");
    state.put(runs, run(&[]));
    let mut body = run(&[]);
    body["status"]["stage"] = "finished".into();
    body["spec"]["parallelism"] = 9.into();
    let after = state
        .replace(runs, "ns", "run", Part::Main, body.clone(), false)
        .expect("replaced");
    assert_eq!(after["status"]["stage"], "started");
    assert_eq!(after["spec"]["parallelism"], 9);
    body["spec"]["parallelism"] = 2.into();
    let after = state
        .replace(runs, "ns", "run", Part::Status, body, false)
        .expect("replaced");
    assert_eq!(after["status"]["stage"], "finished");
    assert_eq!(after["spec"]["parallelism"], 9);
}

#[test]
fn what_changes_nothing_keeps_the_resource_version() {
    let mut state = state();
    let runs = resource("testruns");
    state.put(runs, run(&[]));
    let before = state.version();
    let object = state.get(runs, "ns", "run").expect("there");
    state
        .replace(runs, "ns", "run", Part::Main, object, false)
        .expect("replaced");
    assert_eq!(state.version(), before);
}

#[test]
fn finalizers_hold_a_deleted_object_until_the_last_is_gone() {
    let mut state = state();
    let (runs, pods) = (resource("testruns"), resource("pods"));
    state.put(runs, run(&["k6sync.dev/logs"]));
    state.put(
        pods,
        json!({ "metadata": { "name": "run-1-x", "namespace": "ns", "labels": { "k6_cr": "run" } } }),
    );
    let held = state.delete(runs, "ns", "run", &Value::Null, false);
    assert!(
        matches!(&held, Ok(Deletion::Held(o)) if o["metadata"]["deletionTimestamp"].is_string())
    );
    assert!(
        state.get(pods, "ns", "run-1-x").is_some(),
        "the pods are held too"
    );
    let mut late = state.get(runs, "ns", "run").expect("held");
    late["metadata"]["finalizers"] = json!(["k6sync.dev/logs", "late"]);
    let refused = state.replace(runs, "ns", "run", Part::Main, late, false);
    assert_eq!(refused.expect_err("too late").code, 422);
    let mut free = state.get(runs, "ns", "run").expect("held");
    free["metadata"]["finalizers"] = json!([]);
    state
        .replace(runs, "ns", "run", Part::Main, free, false)
        .expect("released");
    assert!(state.get(runs, "ns", "run").is_none());
    assert!(state.get(pods, "ns", "run-1-x").is_none());
}

#[test]
fn another_uid_or_version_is_a_conflict() {
    let mut state = state();
    let runs = resource("testruns");
    state.put(runs, run(&[]));
    for wrong in [
        json!({ "uid": "other" }),
        json!({ "resourceVersion": "999" }),
    ] {
        let failure = state.delete(runs, "ns", "run", &wrong, false);
        assert_eq!(failure.expect_err("refused").code, 409);
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut state = state();
    let runs = resource("testruns");
    state
        .create(runs, "ns", run(&[]), true)
        .expect("would be created");
    assert!(state.get(runs, "ns", "run").is_none());
}
