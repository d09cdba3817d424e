//! What can be asked of the job, and what is refused as it makes no sense.

use std::time::Duration;

use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::{Value, json};

use super::{ANSWERED_WITHIN, AT_ONCE, Caller, Job, KEY, PATH, refusal, success};
use crate::support::Cluster;

/// `job` in the answer to an action, of a job that is on.
fn running_job(seconds: u64, via: &str) -> Value {
    json!({
        "isRunning": true, "intervalMs": seconds * 1000, "intervalSeconds": seconds,
        "nextRunIn": format!("< {seconds}s"), "configuredVia": via,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_read_sees_the_job() {
    let job = Job::spawn(Cluster::start().await, |program| program).await;
    let reader = job.caller_who_may("reader", &["get"]).await;
    let answer = job.get(&reader).await;
    assert_eq!(
        success(&answer),
        json!({"success": true, "job": {
            "isRunning": true, "intervalMs": 20000, "intervalSeconds": 20, "nextRunIn": "< 20s",
            "configuredVia": "default (20s)", "autoSyncEnabled": true, "apiKeyConfigured": false,
        }})
    );
    assert!(job.cluster.control_map().await.is_none(), "reading made it");

    let data = json!({"enabled": "false", "intervalSeconds": "300"});
    job.cluster.control(data).await;
    let answer = job.get(&reader).await;
    assert_eq!(
        success(&answer)["job"],
        json!({
            "isRunning": false, "intervalMs": 300_000, "intervalSeconds": 300, "nextRunIn": null,
            "configuredVia": "runtime override", "autoSyncEnabled": true, "apiKeyConfigured": false,
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_says_what_it_is_configured_via() {
    let cluster = Cluster::start().await;
    cluster.control(json!({"enabled": "true"})).await;
    let job = Job::spawn(cluster, |program| {
        program
            .env("K6_SYNC_API_KEY", KEY)
            .env("K6_SYNC_INTERVAL_SECONDS", "45")
            .env("K6_AUTO_SYNC_ENABLED", "false")
    })
    .await;
    let shown = success(&job.get(&Caller::key(KEY)).await);
    assert_eq!(
        shown["job"],
        json!({
            "isRunning": true, "intervalMs": 45000, "intervalSeconds": 45, "nextRunIn": "< 45s",
            "configuredVia": "K6_SYNC_INTERVAL_SECONDS", "autoSyncEnabled": false, "apiKeyConfigured": true,
        })
    );
    job.cluster.remove_control().await;
    let shown = success(&job.get(&Caller::key(KEY)).await);
    let shown = &shown["job"];
    assert_eq!(
        (&shown["isRunning"], &shown["nextRunIn"]),
        (&false.into(), &Value::Null),
        "the variable holds where the ConfigMap says nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_are_answered_and_are_in_the_config_map() {
    let job = Job::start(Cluster::start().await).await;
    let default = "default (20s)";
    let stopped = json!({
        "isRunning": false, "intervalMs": 15000, "intervalSeconds": 15, "nextRunIn": null,
        "configuredVia": "runtime override",
    });
    for (action, seconds, result, shown, data) in [
        (
            "start",
            None,
            "Sync job started with an interval of 20 seconds",
            running_job(20, default),
            json!({"enabled": "true"}),
        ),
        (
            "start",
            Some(15),
            "Sync job started with an interval of 15 seconds",
            running_job(15, "runtime override"),
            json!({"enabled": "true", "intervalSeconds": "15"}),
        ),
        (
            "stop",
            None,
            "Sync job stopped",
            stopped,
            json!({"enabled": "false", "intervalSeconds": "15"}),
        ),
        (
            "start",
            None,
            "Sync job started with an interval of 15 seconds",
            running_job(15, "runtime override"),
            json!({"enabled": "true", "intervalSeconds": "15"}),
        ),
        (
            "restart",
            Some(300),
            "Sync job restarted with an interval of 300 seconds",
            running_job(300, "runtime override"),
            json!({"enabled": "true", "intervalSeconds": "300"}),
        ),
        (
            "restart",
            None,
            "Sync job restarted with an interval of 20 seconds",
            running_job(20, default),
            json!({"enabled": "true"}),
        ),
    ] {
        let request = match seconds {
            Some(seconds) => json!({"action": action, "intervalSeconds": seconds}),
            None => json!({"action": action}),
        };
        assert_eq!(
            job.act(request).await,
            json!({"success": true, "action": action, "result": result, "job": shown})
        );
        let map = job.cluster.control_map().await.unwrap();
        assert_eq!(map["data"], data, "{action}");
        let mut read = success(&job.get(&Caller::key(KEY)).await);
        let read = read["job"].as_object_mut().unwrap();
        assert_eq!(read.remove("autoSyncEnabled"), Some(true.into()));
        assert_eq!(read.remove("apiKeyConfigured"), Some(true.into()));
        assert_eq!(json!(read), shown, "who reads sees it too");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_action_makes_the_config_map_if_there_is_none() {
    let job = Job::start(Cluster::start().await).await;
    for (action, data) in [
        ("start", json!({"enabled": "true", "intervalSeconds": "60"})),
        ("stop", json!({"enabled": "false"})),
        (
            "restart",
            json!({"enabled": "true", "intervalSeconds": "60"}),
        ),
    ] {
        job.act(json!({"action": action, "intervalSeconds": 60}))
            .await;
        let map = job.cluster.control_map().await.unwrap();
        assert_eq!(map["data"], data, "{action}");
        job.cluster.remove_control().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_wrote_into_the_config_map_stays() {
    let cluster = Cluster::start().await;
    let path = format!("/api/v1/namespaces/{}/configmaps", cluster.namespace());
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "k6sync-control",
            "labels": {"app": "dashboard"}, "annotations": {"example.com/owner": "team-a"},
        },
        "data": {"enabled": "true", "intervalSeconds": "60", "note": "do not touch"},
        "binaryData": {"blob": "AAEC"},
    });
    cluster.request("POST", &path, &map).await;
    let job = Job::start(cluster).await;
    for action in ["start", "stop", "restart"] {
        job.act(json!({"action": action})).await;
        let map = job.cluster.control_map().await.unwrap();
        let metadata = &map["metadata"];
        assert_eq!(metadata["labels"], json!({"app": "dashboard"}));
        assert_eq!(metadata["annotations"]["example.com/owner"], "team-a");
        assert_eq!(map["data"]["note"], "do not touch");
        assert_eq!(map["binaryData"], json!({"blob": "AAEC"}));
        let expected = match action {
            "restart" => Value::Null,
            _ => "60".into(),
        };
        assert_eq!(map["data"]["intervalSeconds"], expected, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    const LIMIT: usize = 64 * 1024;
    let job = Job::start(Cluster::start().await).await;
    let key = Caller::key(KEY);
    let padded = |length| {
        let stop = r#"{"action":"stop"}"#;
        stop.to_owned() + &" ".repeat(length - stop.len())
    };
    let too_long = padded(LIMIT + 1);
    for (body, words) in [
        (r#"{"action":"pause"}"#, "`pause` is unknown"),
        (r#"{"action":"Start"}"#, "`Start` is unknown"),
        (r#"{"action":7}"#, "not the JSON expected"),
        (r#"{"intervalSeconds":15}"#, "missing field `action`"),
        ("", "not the JSON expected"),
        ("{", "not the JSON expected"),
        (r#"["stop"]"#, "not the JSON expected"),
        (r#"{"action":"stop"} {}"#, "not the JSON expected"),
        (
            r#"{"action":"start","intervalSeconds":4}"#,
            "intervalSeconds is 4: it must be a whole number of seconds from 5 to 300",
        ),
        (
            r#"{"action":"restart","intervalSeconds":301}"#,
            "intervalSeconds is 301: it must",
        ),
        (
            r#"{"action":"start","intervalSeconds":0}"#,
            "intervalSeconds is 0: it must",
        ),
        (
            r#"{"action":"start","intervalSeconds":-15}"#,
            "intervalSeconds is -15: it must",
        ),
        (
            r#"{"action":"start","intervalSeconds":20.5}"#,
            "intervalSeconds is 20.5: it must",
        ),
        (
            r#"{"action":"start","intervalSeconds":99999999999999999999}"#,
            "it must be a whole number of seconds from 5 to 300",
        ),
        (
            r#"{"action":"start","intervalSeconds":"15"}"#,
            "intervalSeconds is \"15\": it must",
        ),
        (&too_long, "longer than 65536 bytes"),
    ] {
        let error = refusal(&job.post(&key, body).await, 400);
        assert!(error.contains(words), "{error}");
    }
    assert!(job.cluster.control_map().await.is_none());

    for (seconds, text) in [(5, "5"), (300, "300")] {
        job.act(json!({"action": "start", "intervalSeconds": seconds}))
            .await;
        let map = job.cluster.control_map().await.unwrap();
        assert_eq!(map["data"]["intervalSeconds"], text);
    }
    success(&job.post(&key, &padded(LIMIT)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_methods_and_paths_are_refused() {
    let job = Job::start(Cluster::start().await).await;
    let key = Caller::key(KEY);
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = job.send(method, &key, r#"{"action":"stop"}"#).await;
        assert!(refusal(&answer, 405).contains("GET and POST"), "{method}");
        let mut allowed = answer.headers.clone();
        allowed.retain(|(name, _)| name == "allow");
        assert_eq!(allowed, [("allow".to_owned(), "GET, POST".to_owned())]);
    }
    assert!(job.cluster.control_map().await.is_none());

    for (method, path, status) in [
        ("HEAD", PATH, 200),
        ("HEAD", "/healthz", 200),
        // A page, which a key for the job does not open.
        ("GET", "/", 403),
        ("GET", "/metrics/more", 404),
        ("GET", "/api/dashboard/load-testing", 404),
        ("HEAD", "/unknown", 404),
        ("POST", "/unknown", 404),
        ("POST", "/metrics", 405),
    ] {
        let headers = key.headers();
        let answer = job.running.request(method, path, &headers, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        if method == "HEAD" {
            assert_eq!(answer.body, "", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_that_is_lost_again_and_again_is_a_conflict() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let standin = job.cluster.standin_cluster();
    let conflict = FaultAction::Status {
        code: 409,
        retry_after_seconds: None,
    };
    job.act(json!({"action": "start"})).await;
    standin.fault(Fault::times("patch configmaps", 3, conflict.clone()));
    job.act(json!({"action": "start", "intervalSeconds": 50}))
        .await;

    standin.fault(Fault::always("patch configmaps", conflict.clone()));
    let key = Caller::key(KEY);
    let error = refusal(&job.post(&key, r#"{"action":"stop"}"#).await, 409);
    assert!(
        error.contains("k6sync-control was changed by others") && error.contains("try again"),
        "{error}"
    );
    let map = job.cluster.control_map().await.unwrap();
    assert_eq!(
        map["data"],
        json!({"enabled": "true", "intervalSeconds": "50"})
    );

    standin.clear_faults();
    job.cluster.remove_control().await;
    standin.fault(Fault::always("create configmaps", conflict));
    refusal(&job.post(&key, r#"{"action":"stop"}"#).await, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_actions_at_the_same_time_each_is_done_or_refused() {
    let job = Job::start(Cluster::start().await).await;
    let key = Caller::key(KEY);
    let actions = (10..18).map(|seconds| {
        let body = json!({"action": "start", "intervalSeconds": seconds}).to_string();
        let (job, key) = (&job, &key);
        async move { (seconds, job.post(key, &body).await) }
    });
    let mut done = Vec::new();
    for (seconds, answer) in futures_util::future::join_all(actions).await {
        match answer.status {
            200 => {
                // What it says is what it did, not what others did right after.
                assert_eq!(success(&answer)["job"]["intervalSeconds"], seconds);
                done.push(seconds.to_string());
            }
            _ => assert!(refusal(&answer, 409).contains("try again")),
        }
    }
    let map = job.cluster.control_map().await.unwrap();
    let held = map["data"]["intervalSeconds"].as_str().unwrap().to_owned();
    assert!(done.contains(&held), "{held} of {done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_near_miss_is_refused_and_other_unknown_fields_are_named() {
    let job = Job::start(Cluster::start().await).await;
    let key = Caller::key(KEY);
    for body in [
        r#"{"action":"start","interval":15}"#,
        r#"{"action":"restart","interval_seconds":15}"#,
        r#"{"action":"start","IntervalSeconds":"15"}"#,
        r#"{"action":"start","intervalMs":15000,"more":1}"#,
        r#"{"action":"start","intrevalSeconds":15}"#,
    ] {
        let error = refusal(&job.post(&key, body).await, 400);
        assert!(error.contains("`intervalSeconds`"), "{body}: {error}");
    }
    let error = refusal(&job.post(&key, r#"{"Action":"start"}"#).await, 400);
    assert!(error.contains("missing field `action`"), "{error}");
    assert!(job.cluster.control_map().await.is_none());

    let request =
        json!({"action": "start", "intervalSeconds": 15, "note": "soon", "by": {"who": "me"}});
    assert_eq!(
        job.act(request).await,
        json!({
            "success": true, "action": "start", "ignored": ["by", "note"],
            "result": "Sync job started with an interval of 15 seconds",
            "job": running_job(15, "runtime override"),
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_does_what_the_api_says() {
    let cluster = Cluster::start().await;
    cluster.control(json!({"intervalSeconds": "5"})).await;
    let job = Job::start(cluster).await;
    job.wait_for_cycle_after(0, ANSWERED_WITHIN).await;

    job.act(json!({"action": "stop"})).await;
    job.wait_for_metric("k6sync_enabled", 0.0).await;
    job.running
        .wait_for_line("K6 steps sync is off", AT_ONCE)
        .await;
    let stopped_at = job.cycles().await;
    // Longer than the interval: what must not happen has the time to.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(job.cycles().await, stopped_at);

    job.act(json!({"action": "start", "intervalSeconds": 300}))
        .await;
    job.wait_for_cycle_after(stopped_at, AT_ONCE).await;
    job.wait_for_metric("k6sync_enabled", 1.0).await;
    job.wait_for_metric("k6sync_interval_seconds", 300.0).await;

    // A start of what runs is no reason for a cycle, a restart is.
    let running_at = job.cycles().await;
    job.act(json!({"action": "start"})).await;
    job.act(json!({"action": "start", "intervalSeconds": 299}))
        .await;
    job.wait_for_metric("k6sync_interval_seconds", 299.0).await;
    assert_eq!(job.cycles().await, running_at);
    job.act(json!({"action": "restart", "intervalSeconds": 300}))
        .await;
    job.wait_for_cycle_after(running_at, AT_ONCE).await;
    let restarted_at = job.cycles().await;
    job.act(json!({"action": "restart"})).await;
    job.wait_for_cycle_after(restarted_at, AT_ONCE).await;
    job.wait_for_metric("k6sync_interval_seconds", 20.0).await;
    let map = job.cluster.control_map().await.unwrap();
    assert_eq!(map["data"], json!({"enabled": "true"}));
    assert_eq!(job.cycles().await, restarted_at + 1);
}
