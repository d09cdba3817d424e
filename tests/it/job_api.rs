//! The doors to the loop's control: the job-control API with its roles, and `k6sync job`. Also what else the server answers.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::{Value, json};

use crate::support::program::Run;
use crate::support::running_loop::{Answer, Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

const PATH: &str = "/api/dashboard/load-testing/sync-job";
/// As short as a key may be.
const KEY: &str = "0123456789abcdef";
/// An edit of the ConfigMap takes effect within this (docs/operating.md, "Switch it on and off").
const AT_ONCE: Duration = Duration::from_secs(2);
/// A review is believed for 10 s; and requests take a moment.
const REVIEWED_WITHIN: Duration = Duration::from_secs(12);
/// Nobody waits longer for an answer, however the API server fails.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
const CYCLES: &str = "SELECT count(*) FROM sync_cycles";

/// A loop, the cluster that it syncs, and the database that it fills.
struct Job {
    running: RunningLoop,
    database: Database,
    cluster: Cluster,
}

/// What a request says of who sends it.
struct Caller(Vec<(&'static str, String)>);

impl Caller {
    fn nobody() -> Self {
        Self(Vec::new())
    }

    fn key(key: &str) -> Self {
        Self::nobody().and("X-API-Key", key)
    }

    fn token(token: &str) -> Self {
        Self::nobody().and("Authorization", &format!("Bearer {token}"))
    }

    fn and(mut self, header: &'static str, value: &str) -> Self {
        self.0.push((header, value.to_owned()));
        self
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let headers = self.0.iter();
        headers.map(|(name, value)| (*name, &**value)).collect()
    }
}

impl Job {
    /// With `KEY`.
    async fn start(cluster: Cluster) -> Self {
        Self::spawn(cluster, |program| program.env("K6_SYNC_API_KEY", KEY)).await
    }

    async fn spawn(cluster: Cluster, change: impl FnOnce(Program) -> Program) -> Self {
        let database = Database::sqlite();
        let program = change(RunningLoop::program(&cluster, &database));
        Self {
            running: RunningLoop::spawn(program).await,
            database,
            cluster,
        }
    }

    async fn send(&self, method: &str, caller: &Caller, body: &str) -> Answer {
        let headers = caller.headers();
        self.running.request(method, PATH, &headers, body).await
    }

    async fn get(&self, caller: &Caller) -> Answer {
        self.send("GET", caller, "").await
    }

    async fn post(&self, caller: &Caller, body: &str) -> Answer {
        self.send("POST", caller, body).await
    }

    /// `POST` by somebody who may; returns the answer but for its time.
    async fn act(&self, body: Value) -> Value {
        success(&self.post(&Caller::key(KEY), &body.to_string()).await)
    }

    async fn cycles(&self) -> i64 {
        self.database.number(CYCLES).await
    }

    /// Waits until more than so many cycles are recorded.
    async fn wait_for_cycle_after(&self, cycles: i64, within: Duration) {
        let what = format!("a cycle after the first {cycles}");
        wait_for(&what, within, async || self.cycles().await > cycles).await;
    }

    async fn wait_for_metric(&self, name: &str, value: f64) {
        let is_wanted = |now: f64| (now - value).abs() < f64::EPSILON;
        self.running.wait_for_metric(name, AT_ONCE, is_wanted).await;
    }

    /// A service account that may do so much with the control ConfigMap.
    async fn caller_who_may(&self, name: &str, verbs: &[&str]) -> Caller {
        Caller::token(&self.cluster.service_account(name, rules(verbs)).await)
    }
}

fn rules(verbs: &[&str]) -> Value {
    match verbs {
        [] => json!([]),
        _ => json!([{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["k6sync-control"], "verbs": verbs,
        }]),
    }
}

/// The body but for its time, which must be now in the form of `2025-01-08T15:30:00.000Z`.
fn body(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut body = answer.json();
    let fields = body.as_object_mut().unwrap();
    let text = fields.remove("timestamp").expect("a timestamp");
    let text = text.as_str().unwrap();
    let time: Timestamp = text.parse().unwrap();
    assert_eq!(text, format!("{time:.3}"));
    let age = Timestamp::now().duration_since(time).unsigned_abs();
    assert!(age < Duration::from_secs(60), "{text}");
    body
}

/// The body of a success, but for its time.
fn success(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    body(answer)
}

/// The words of a refusal with this status, which says nothing else.
fn refusal(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = body(answer);
    let error = body["error"].as_str().expect("an error").to_owned();
    assert_eq!(body, json!({"success": false, "error": error}));
    error
}

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

/// Neither reads nor acts, and hears that it is not known who they are, in these words.
async fn assert_unknown(job: &Job, caller: &Caller, words: &str) {
    let too_long = "x".repeat(100_000);
    for (method, body) in [
        ("GET", ""),
        ("POST", r#"{"action":"stop"}"#),
        // Strangers hear nothing of what is wrong with their requests.
        ("POST", &too_long),
    ] {
        let answer = job.send(method, caller, body).await;
        let error = refusal(&answer, 401);
        assert!(error.contains(words), "{:?}: {error}", caller.0);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_turned_away() {
    let job = Job::start(Cluster::start().await).await;
    let organizer = job.caller_who_may("organizer", &["get", "update"]).await;
    success(&job.get(&organizer).await);
    let [(_, good_token)] = &organizer.0[..] else {
        unreachable!("a token is one header");
    };
    let nobody = "authentication is required: send Authorization: Bearer TOKEN, or X-API-Key";
    let authorization = |value| Caller::nobody().and("Authorization", value);
    let longer = format!("{KEY}0");
    for (caller, words) in [
        (Caller::nobody(), nobody),
        (authorization("Bearer "), nobody),
        (authorization("Bearer"), nobody),
        (authorization(""), nobody),
        (authorization("Basic b3JnYW5pemVyOm9yZ2FuaXplcg=="), nobody),
        (authorization(KEY), nobody),
        (Caller::token("nobodys"), "the token is not accepted"),
        (Caller::token(KEY), "the token is not accepted"),
        (
            Caller::token("ey\u{e4}"),
            nobody, // Header values that are no ASCII are no tokens.
        ),
        (Caller::key(""), "the API key is not accepted"),
        (Caller::key(&KEY[1..]), "the API key is not accepted"),
        (Caller::key(&longer), "the API key is not accepted"),
        (
            Caller::key(&KEY.to_uppercase()),
            "the API key is not accepted",
        ),
        // A good token does not make up for a bad key.
        (
            Caller::key("wrong-but-long-enough").and("Authorization", good_token),
            "the API key is not accepted",
        ),
    ] {
        assert_unknown(&job, &caller, words).await;
    }
    assert!(job.cluster.control_map().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_good_where_none_is_configured() {
    for variable in [None, Some("")] {
        let job = Job::spawn(Cluster::start().await, |program| match variable {
            Some(value) => program.env("K6_SYNC_API_KEY", value),
            None => program,
        })
        .await;
        for key in [KEY, ""] {
            assert_unknown(&job, &Caller::key(key), "the API key is not accepted").await;
        }
        let reader = job.caller_who_may("reader", &["get"]).await;
        let shown = success(&job.get(&reader).await);
        assert_eq!(shown["job"]["apiKeyConfigured"], false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_could_be_guessed_is_refused() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for key in [&KEY[1..], "k3y!"] {
        let program = RunningLoop::program(&cluster, &database);
        let run = program.env("K6_SYNC_API_KEY", key).run().await;
        assert_eq!(run.code, 2, "{run:?}");
        for words in ["K6_SYNC_API_KEY", "at least 16 characters"] {
            assert!(run.stderr.contains(words), "{run:?}");
        }
        assert!(!run.stderr.contains(key), "{run:?}");
    }
    assert!(!database.sqlite_file().unwrap().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizers_act_and_readers_read() {
    let job = Job::start(Cluster::start().await).await;
    let stop = r#"{"action":"stop"}"#;
    let namespace = job.cluster.namespace();
    for (name, verbs, reads, acts) in [
        ("organizer", &["get", "update"][..], true, true),
        ("reader", &["get"], true, false),
        // Kubernetes knows writers who may not read; whoever may update may stop the job.
        ("writer", &["update"], false, true),
        // What is asked for is `update`, as the contract says.
        ("patcher", &["patch", "list", "watch"], false, false),
        ("nobody", &[], false, false),
    ] {
        let caller = job.caller_who_may(name, verbs).await;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let may_not = |verb| {
            format!(
                "{user} may not {verb} the ConfigMap {namespace}/k6sync-control, which this needs"
            )
        };
        let answer = job.get(&caller).await;
        match reads {
            true => assert_eq!(success(&answer)["job"]["intervalSeconds"], 20),
            false => assert_eq!(refusal(&answer, 403), may_not("get")),
        }
        let answer = job.post(&caller, stop).await;
        match acts {
            true => {
                assert_eq!(success(&answer)["result"], "Sync job stopped");
                let map = job.cluster.control_map().await.unwrap();
                assert_eq!(map["data"], json!({"enabled": "false"}), "{name}");
                job.cluster.remove_control().await;
            }
            false => {
                assert_eq!(refusal(&answer, 403), may_not("update"));
                // Nor do they hear what is wrong with their requests.
                assert_eq!(
                    refusal(&job.post(&caller, "{").await, 403),
                    may_not("update")
                );
                assert!(job.cluster.control_map().await.is_none(), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_in_another_namespace_do_not_count() {
    let job = Job::start(Cluster::start().await).await;
    let elsewhere = job.cluster.another_namespace().await;
    let token = elsewhere
        .service_account("organizer", rules(&["get", "update"]))
        .await;
    let stranger = Caller::token(&token);
    refusal(&job.get(&stranger).await, 403);
    refusal(&job.post(&stranger, r#"{"action":"stop"}"#).await, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_given_or_taken_count_within_ten_seconds() {
    let job = Job::start(Cluster::start().await).await;
    let start = r#"{"action":"start"}"#;
    let leaving = job.caller_who_may("leaving", &["get", "update"]).await;
    success(&job.get(&leaving).await);
    success(&job.post(&leaving, start).await);
    let coming = job.caller_who_may("coming", &[]).await;
    refusal(&job.get(&coming).await, 403);

    job.cluster.disallow("leaving").await;
    job.cluster.disallow("coming").await;
    let begun = Instant::now();
    let user = format!("system:serviceaccount:{}:coming", job.cluster.namespace());
    job.cluster.allow(&user, rules(&["get"])).await;
    for (caller, method, status) in [
        (&leaving, "GET", 403),
        (&leaving, "POST", 403),
        (&coming, "GET", 200),
    ] {
        let what = format!("{status} to {method}");
        let left = REVIEWED_WITHIN.saturating_sub(begun.elapsed());
        wait_for(&what, left, async || {
            let answer = job.send(method, caller, start).await;
            assert!([200, 403].contains(&answer.status), "{answer:?}");
            answer.status == status
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_is_not_asked_at_each_request_who_it_is() {
    // Only the stand-in counts.
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let organizer = job.caller_who_may("organizer", &["get", "update"]).await;
    let asked = || {
        let requests = job.cluster.standin_cluster().requests();
        ["create tokenreviews", "create subjectaccessreviews"]
            .map(|kind| requests.get(kind).copied().unwrap_or(0))
    };
    // Making the account asked once whether its rights hold.
    let [_, before] = asked();
    let begun = Instant::now();
    for _ in 0..10 {
        success(&job.get(&organizer).await);
    }
    assert_eq!(asked(), [1, before + 1]);
    for _ in 0..10 {
        refusal(&job.post(&organizer, "{").await, 400);
    }
    assert_eq!(asked(), [2, before + 2]);
    for _ in 0..10 {
        refusal(&job.get(&Caller::token("nobodys")).await, 401);
    }
    assert_eq!(asked(), [3, before + 2], "the answer no is one too");
    success(&job.get(&Caller::key(KEY)).await);
    assert_eq!(asked(), [3, before + 2], "a key is nothing to ask for");
    assert!(begun.elapsed() < Duration::from_secs(10), "too slow to say");
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
        ("GET", "/", 404),
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

/// How often the API server was asked whose a token is.
fn token_reviews(job: &Job) -> u64 {
    let requests = job.cluster.standin_cluster().requests();
    requests.get("create tokenreviews").copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_token_is_not_asked_about() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let long = "x".repeat(16 * 1024 + 1);
    for token in [
        "a b",
        "a,b",
        "\"quoted\"",
        "{}",
        "a=b",
        "===",
        "<script>",
        "a:b",
        "a%20b",
        &long,
    ] {
        assert_unknown(&job, &Caller::token(token), "the token is not accepted").await;
    }
    assert_eq!(token_reviews(&job), 0);
    // What may be one is asked about: the form of tokens is the cluster's matter.
    for token in ["abcdef.0123456789abcdef", "a/b+c~d_e-f.g==", &long[1..]] {
        refusal(&job.get(&Caller::token(token)).await, 401);
    }
    assert_eq!(token_reviews(&job), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_token_the_api_server_is_asked_once_at_a_time() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let organizer = job.caller_who_may("organizer", &["get"]).await;
    job.cluster
        .standin_cluster()
        .set_latency(Duration::from_millis(300));
    let stranger = Caller::token("nobodys");
    let answers = |caller| futures_util::future::join_all((0..20).map(|_| job.get(caller)));
    let (good, bad) = tokio::join!(answers(&organizer), answers(&stranger));
    good.iter().for_each(|answer| drop(success(answer)));
    bad.iter().for_each(|answer| drop(refusal(answer, 401)));
    assert_eq!(token_reviews(&job), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn junk_takes_no_room_from_good_tokens() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let organizer = job.caller_who_may("organizer", &["get"]).await;
    let begun = Instant::now();
    for batch in 0..20 {
        let callers: Vec<Caller> = (0..60)
            .map(|number| Caller::token(&format!("junk-{batch}-{number}")))
            .collect();
        let answers = callers.iter().map(|caller| job.get(caller));
        for answer in futures_util::future::join_all(answers).await {
            assert!([401, 503].contains(&answer.status), "{answer:?}");
        }
        if begun.elapsed() > Duration::from_secs(8) {
            break;
        }
    }
    success(&job.get(&organizer).await);
    let asked = token_reviews(&job);
    let first = Instant::now();
    for number in 0..5 {
        refusal(
            &job.get(&Caller::token(&format!("more-junk-{number}")))
                .await,
            401,
        );
        success(&job.get(&organizer).await);
    }
    assert_eq!(token_reviews(&job), asked + 5);
    assert!(first.elapsed() < Duration::from_secs(10), "too slow to say");
    let lines = job.running.lines_with("refused");
    let windows = begun.elapsed().as_secs() / 10 + 1;
    assert!(lines.len() as u64 <= 2 * (windows + 1), "{lines:#?}");
    let summary = Duration::from_secs(15);
    job.running
        .wait_for_line("more requests in the last 10s", summary)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_reviews_are_under_way_at_once_and_nobody_else_waits_for_them() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let organizer = job.caller_who_may("organizer", &["get"]).await;
    success(&job.get(&organizer).await);
    let before = token_reviews(&job);
    let stall = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(60),
    };
    job.cluster
        .standin_cluster()
        .fault(Fault::always("create tokenreviews", stall));
    let strangers: Vec<Caller> = (0..200)
        .map(|number| Caller::token(&format!("junk-{number}")))
        .collect();
    let refused = async {
        let answers = strangers.iter().map(|caller| job.get(caller));
        futures_util::future::join_all(answers).await
    };
    let others = async {
        wait_for("they are asked about", ANSWERED_WITHIN, async || {
            token_reviews(&job) > before
        })
        .await;
        let begun = Instant::now();
        assert_eq!(job.running.get("/healthz").await.status, 200);
        success(&job.get(&Caller::key(KEY)).await);
        success(&job.get(&organizer).await);
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert!(token_reviews(&job) <= before + 4, "{}", token_reviews(&job));
    };
    let begun = Instant::now();
    let (answers, ()) = tokio::join!(refused, others);
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    let mut later = 0;
    for answer in &answers {
        let error = refusal(answer, 503);
        assert!(
            error.starts_with("it cannot be told who you are and what you may: "),
            "{error}"
        );
        if error.contains("too many tokens are being reviewed") {
            assert_eq!(answer.header("retry-after"), Some("2"));
            later += 1;
        }
    }
    assert!(later > 100, "{later}");
    assert!(job.running.lines_with("refused").len() <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_strangers_does_not_keep_those_out_who_are_known() {
    let job = Job::start(Cluster::standin(Options::default()).await).await;
    let organizer = job.caller_who_may("organizer", &["get"]).await;
    success(&job.get(&organizer).await);
    job.cluster
        .standin_cluster()
        .set_latency(Duration::from_millis(100));
    let begun = Instant::now();
    // Longer than a review is believed.
    let is_over = || begun.elapsed() > REVIEWED_WITHIN;
    let flood = (0..100).map(|flooder| {
        let job = &job;
        async move {
            let mut number = 0;
            while !is_over() {
                let token = format!("junk-{flooder}-{number}");
                let answer = job.get(&Caller::token(&token)).await;
                assert!([401, 503].contains(&answer.status), "{answer:?}");
                number += 1;
            }
        }
    });
    let known = async {
        while !is_over() {
            success(&job.get(&organizer).await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::join!(futures_util::future::join_all(flood), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_must_be_meant_for_the_audiences_that_are_set() {
    let cluster = Cluster::standin(Options::default()).await;
    let mut tokens = Vec::new();
    for audiences in [
        &[][..],
        &["https://k6sync"],
        &["other", "dashboard"],
        &["other"],
    ] {
        let name = format!("reader-{}", tokens.len());
        cluster.service_account(&name, rules(&["get"])).await;
        let token = format!("token-of-{name}");
        let user = k6sync_standin::User {
            audiences: audiences
                .iter()
                .map(|&audience| audience.to_owned())
                .collect(),
            ..k6sync_standin::User::with_rules(
                &format!("system:serviceaccount:{}:{name}", cluster.namespace()),
                [],
            )
        };
        cluster.standin_cluster().user(&token, user);
        tokens.push(token);
    }
    let mut job = Job::start(cluster).await;
    for (config, statuses) in [
        (
            "auth:\n  audiences: [https://k6sync, dashboard]\n",
            [401, 200, 200, 401],
        ),
        (
            "auth:\n  audiences: [https://kubernetes.default.svc]\n",
            [200, 401, 401, 401],
        ),
        ("auth:\n  audiences: []\n", [200, 401, 401, 401]),
        ("auth: {}\n", [200, 401, 401, 401]),
    ] {
        job = Job::spawn(job.cluster, |program| program.config(config)).await;
        for (token, status) in tokens.iter().zip(statuses) {
            let answer = job.get(&Caller::token(token)).await;
            assert_eq!(answer.status, status, "{config}: {token}: {answer:?}");
        }
    }
    let program = RunningLoop::program(&job.cluster, &job.database);
    let run = program.config("auth:\n  audiences: [\"\"]\n").run().await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("auth.audiences is [\"\"]"), "{run:?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_log_line_and_no_answer() {
    let cluster = Cluster::start().await;
    let mut job = Job::spawn(cluster, |program| {
        program.env("K6_SYNC_API_KEY", KEY).env("RUST_LOG", "trace")
    })
    .await;
    let token = job
        .cluster
        .service_account("organizer", rules(&["get", "update"]))
        .await;
    let powerless = job.cluster.service_account("nobody", json!([])).await;
    let secrets = [
        KEY,
        &token,
        &powerless,
        "a-token-that-nobody-has",
        "a-key-that-opens-nothing",
    ];
    let callers = [
        Caller::key(KEY),
        Caller::token(&token),
        Caller::token(&powerless),
        Caller::token("a-token-that-nobody-has"),
        Caller::key("a-key-that-opens-nothing"),
    ];
    let mut answers = Vec::new();
    for caller in &callers {
        answers.push(job.get(caller).await);
        for body in [r#"{"action":"start"}"#, "{", "{}"] {
            answers.push(job.post(caller, body).await);
        }
        answers.push(job.send("PUT", caller, "").await);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        answers.push(job.running.get(path).await);
    }
    job.running.signal(Signal::Terminate);
    assert_eq!(job.running.exit_code(ANSWERED_WITHIN).await, 0);
    job.running.wait_for_line("stopped", AT_ONCE).await;

    let log = job.running.log();
    assert!(
        log.iter().any(|line| line.contains("TRACE")),
        "nothing was to be seen"
    );
    assert!(
        log.iter().any(|line| line.contains("tokenreviews")),
        "nothing was to be seen"
    );
    let kubeconfig = std::fs::read_to_string(job.cluster.kubeconfig()).unwrap();
    let own_token = own_token(&kubeconfig);
    for secret in secrets.into_iter().chain([own_token.as_str()]) {
        for line in &log {
            assert!(!line.contains(secret), "{secret} is in: {line}");
        }
        for answer in &answers {
            assert!(!format!("{answer:?}").contains(secret), "{answer:?}");
        }
    }
}

fn own_token(kubeconfig: &str) -> String {
    let config = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    let user = config.auth_infos[0].auth_info.clone().unwrap();
    let kubeconfig = serde_json::to_value(user).unwrap();
    let token = kubeconfig["token"].as_str().expect("a token");
    assert!(token.len() > 10, "{token}");
    token.to_owned()
}

/// A metric's line: `name{label="value",…} 1.5`.
fn assert_is_sample(line: &str) {
    let (name, value) = line.rsplit_once(' ').unwrap();
    assert!(value.parse::<f64>().is_ok(), "{line}");
    let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    assert!(name.starts_with("k6sync_") && is_word(name), "{line}");
    let labels = labels.strip_suffix('}').expect(line);
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').expect(line);
        assert!(is_word(name), "{line}");
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        assert!(value.is_some_and(|value| !value.contains('"')), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_can_be_read_by_prometheus() {
    let job = Job::start(Cluster::start().await).await;
    job.wait_for_cycle_after(0, ANSWERED_WITHIN).await;
    let completed = "k6sync_cycles_total{outcome=\"completed\"}";
    job.wait_for_metric(completed, 1.0).await;
    let answer = job.running.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text;"), "{kind}");
    let text = answer.body.strip_suffix("# EOF\n").expect("an end");
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "HELP" | "TYPE", name, _, ..] => assert!(name.starts_with("k6sync_"), "{line}"),
            ["#", ..] => panic!("{line}"),
            _ => assert_is_sample(line),
        }
    }
    for sample in [
        completed,
        "k6sync_cycles_total{outcome=\"failed\"}",
        "k6sync_cycles_total{outcome=\"panicked\"}",
        "k6sync_cycles_skipped_total",
        "k6sync_cycle_duration_seconds_bucket{le=\"+Inf\"}",
        "k6sync_cycle_duration_seconds_sum",
        "k6sync_cycle_duration_seconds_count",
        "k6sync_steps{status=\"running\"}",
        "k6sync_log_bytes_total",
        "k6sync_log_lines_total",
        "k6sync_log_gaps_total{cause=\"rotated\"}",
        "k6sync_errors_total{kind=\"step\"}",
        "k6sync_errors_total{kind=\"cycle\"}",
        "k6sync_last_success_timestamp_seconds",
        "k6sync_leader",
        "k6sync_enabled",
        "k6sync_interval_seconds",
        "k6sync_build_info{version=\"",
        "k6sync_kubernetes_requests_total{",
    ] {
        let exists = text.lines().any(|line| {
            let rest = line.strip_prefix(sample);
            rest.is_some_and(|rest| rest.starts_with(' ') || sample.ends_with(['{', '"']))
        });
        assert!(exists, "{sample} is not in:\n{text}");
    }
}

/// `k6sync job …` for a cluster and a database.
fn job_command(cluster: &Cluster, database: &Database, args: &[&str]) -> Program {
    Program::new(&["job"])
        .args(args)
        .args(&["--database-url", database.url()])
        .kubeconfig(cluster.kubeconfig())
}

async fn done(program: Program) -> String {
    let run = program.run().await;
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout
}

async fn status(cluster: &Cluster, database: &Database) -> Value {
    let text = done(job_command(cluster, database, &["status", "-o", "json"])).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_does_what_the_api_does() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for (args, answer, data) in [
        (
            &["stop"][..],
            "Sync job stopped\n",
            json!({"enabled": "false"}),
        ),
        (
            &["start", "--interval", "5"],
            "Sync job started with an interval of 5 seconds\n",
            json!({"enabled": "true", "intervalSeconds": "5"}),
        ),
        (
            &["start"],
            "Sync job started with an interval of 5 seconds\n",
            json!({"enabled": "true", "intervalSeconds": "5"}),
        ),
        (
            &["restart", "--interval", "300", "-o", "json"],
            "{\"configuredVia\":\"runtime override\",\"intervalSeconds\":300,\"isRunning\":true}\n",
            json!({"enabled": "true", "intervalSeconds": "300"}),
        ),
        (
            &["restart"],
            "Sync job restarted with an interval of 20 seconds\n",
            json!({"enabled": "true"}),
        ),
        (
            &["stop", "-o", "json"],
            "{\"configuredVia\":\"default (20s)\",\"intervalSeconds\":20,\"isRunning\":false}\n",
            json!({"enabled": "false"}),
        ),
    ] {
        assert_eq!(done(job_command(&cluster, &database, args)).await, answer);
        let map = cluster.control_map().await.unwrap();
        assert_eq!(map["data"], data, "{args:?}");
    }
    assert!(!database.sqlite_file().unwrap().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_means_the_job_of_the_namespace_that_it_is_told() {
    let cluster = Cluster::start().await;
    let other = cluster.another_namespace().await;
    let database = Database::sqlite();
    let namespace = ["stop", "-n", other.namespace()];
    done(job_command(&cluster, &database, &namespace)).await;
    let map = other.control_map().await.unwrap();
    assert_eq!(map["data"], json!({"enabled": "false"}));
    assert!(cluster.control_map().await.is_none());
    assert_eq!(status(&cluster, &database).await["isRunning"], true);
    assert_eq!(status(&other, &database).await["isRunning"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_starts_cycles_of_a_running_loop() {
    let cluster = Cluster::start().await;
    cluster.control(json!({"intervalSeconds": "300"})).await;
    let job = Job::start(cluster).await;
    job.wait_for_cycle_after(0, ANSWERED_WITHIN).await;
    let cycles = job.cycles().await;
    done(job_command(&job.cluster, &job.database, &["restart"])).await;
    job.wait_for_cycle_after(cycles, AT_ONCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_refuses_intervals_out_of_range() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    for action in ["start", "restart"] {
        for interval in ["4", "301", "-5", "20.5", "abc", ""] {
            let interval = format!("--interval={interval}");
            let run = job_command(&cluster, &database, &[action, &interval])
                .run()
                .await;
            assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
            assert!(run.stderr.contains("from 5 to 300"), "{run:?}");
        }
    }
    let run = job_command(&cluster, &database, &["stop", "--interval", "5"])
        .run()
        .await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(cluster.control_map().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_who_holds_the_lease_and_the_last_cycles() {
    let cluster = Cluster::start().await;
    cluster.control(json!({"intervalSeconds": "300"})).await;
    let mut job = Job::spawn(cluster, |program| program.env("HOSTNAME", "pod-a")).await;
    job.wait_for_cycle_after(0, ANSWERED_WITHIN).await;
    let (cluster, database) = (&job.cluster, &job.database);
    let shown = status(cluster, database).await;
    let holder = shown["leaseHolder"].as_str().unwrap().to_owned();
    assert!(holder.starts_with("pod-a/"), "{holder}");
    assert_eq!(cluster.lease("k6sync").await["holderIdentity"], holder);
    assert_eq!(shown["lastCycles"][0]["instance"], holder);
    assert_eq!(shown["lastCycles"][0]["trigger"], "loop");
    let text = done(job_command(cluster, database, &["status"])).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "sync       on",
            "interval   300s, by runtime override",
            &format!("lease      held by {holder}"),
            "cycles"
        ]
    );
    assert!(
        lines[4].ends_with(&format!(
            " ms  0 active, 0 updated, 0 with new lines (0 bytes), 0 errors, by {holder} (loop)"
        )),
        "{text}"
    );
    assert_eq!(lines[5..], ["errors", "  none in these cycles"]);

    job.running.signal(Signal::Terminate);
    job.running.exit_code(ANSWERED_WITHIN).await;
    let shown = status(&job.cluster, &job.database).await;
    assert_eq!(shown["leaseHolder"], Value::Null);
    let text = done(job_command(&job.cluster, &job.database, &["status"])).await;
    assert!(text.contains("lease      held by nobody\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_what_cycles_did_and_what_went_wrong() {
    // A real API server can't be made to refuse one log.
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    cluster.running("shop", 1).await;
    let forbidden = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    let fault = Fault::times("get pods/log", 1, forbidden);
    cluster.standin_cluster().fault(fault);
    let mut reports = Vec::new();
    for _ in 0..6 {
        reports.push(Program::sync_once(&cluster, &database, &[]).report().await);
        let shown = status(&cluster, &database).await;
        let cycles = shown["lastCycles"].as_array().unwrap();
        assert_eq!(cycles.len(), reports.len().min(5));
        for (cycle, report) in cycles.iter().zip(reports.iter().rev()) {
            for figure in ["outcome", "total", "updated", "logsUpdated", "logBytes"] {
                assert_eq!(cycle[figure], report[figure], "{figure}");
            }
            let errors = cycle["errors"].as_array().unwrap();
            assert_eq!(report["errors"], errors.len());
        }
    }
    assert_eq!(reports[0]["errors"], 1, "{}", reports[0]);

    // Of seven cycles five are shown: the failing one is among them only if it is young enough.
    let text = done(job_command(&cluster, &database, &["status"])).await;
    assert!(
        text.ends_with("\nerrors\n  none in these cycles\n"),
        "{text}"
    );
    let forbidden = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    let fault = Fault::times("get pods/log", 1, forbidden);
    cluster.standin_cluster().fault(fault);
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    let failure = &report["failures"][0];
    let shown = status(&cluster, &database).await;
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "configuredVia",
            "intervalSeconds",
            "isRunning",
            "lastCycles",
            "leaseHolder"
        ]
    );
    let last = &shown["lastCycles"][0];
    assert_eq!(
        last["errors"],
        json!([{"step": "shop", "k6TestName": "shop", "error": failure["error"]}])
    );
    let keys: Vec<&String> = last.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "durationMs",
            "errors",
            "instance",
            "logBytes",
            "logsUpdated",
            "outcome",
            "startedAt",
            "total",
            "trigger",
            "updated"
        ]
    );
    let started: Timestamp = last["startedAt"].as_str().unwrap().parse().unwrap();
    let text = done(job_command(&cluster, &database, &["status"])).await;
    let error = failure["error"].as_str().unwrap();
    assert!(
        text.ends_with(&format!("\nerrors\n  {started:.0}  shop: {error}\n")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_database_that_does_not_exist_makes_none() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let text = done(job_command(&cluster, &database, &["status"])).await;
    assert_eq!(
        text,
        "sync       on\ninterval   20s, by default (20s)\nlease      held by nobody\ncycles     none yet\n"
    );
    assert_eq!(
        status(&cluster, &database).await,
        json!({
            "isRunning": true, "intervalSeconds": 20, "configuredVia": "default (20s)", "leaseHolder": null,
            "lastCycles": [],
        })
    );
    let folder = database.sqlite_file().unwrap();
    let folder = folder.parent().unwrap();
    assert_eq!(folder.read_dir().unwrap().count(), 0);

    // Nor where nobody says which database.
    let program = Program::new(&["job", "status"]).kubeconfig(cluster.kubeconfig());
    let run = program.run().await;
    assert_eq!((run.code, run.files), (0, Vec::new()));
    assert!(cluster.control_map().await.is_none());
}

/// The status of somebody who sees not everything, as text and as JSON; it is a success.
async fn partial_status(program: impl Fn(&[&str]) -> Program) -> (String, Value) {
    let text = done(program(&["status"])).await;
    let json = done(program(&["status", "-o", "json"])).await;
    (text, serde_json::from_str(&json).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_what_it_cannot_tell() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    Program::sync_once(&cluster, &database, &[]).report().await;
    cluster.allow("reader", rules(&["get"])).await;
    let reader = cluster.kubeconfig_as("reader");
    let (text, json) =
        partial_status(|args| job_command(&cluster, &database, args).kubeconfig(&reader)).await;
    let problem = json["leaseError"].as_str().unwrap();
    assert!(problem.starts_with("not allowed to get leases"), "{json}");
    assert!(json.get("leaseHolder").is_none(), "{json}");
    assert_eq!(json["lastCycles"].as_array().unwrap().len(), 1);
    assert!(
        text.contains(&format!("\nlease      not known: {problem}\ncycles\n")),
        "{text}"
    );

    let file = database.sqlite_file().unwrap();
    std::fs::write(
        &file,
        "this is no database, and long enough to be read as one",
    )
    .unwrap();
    let (text, json) = partial_status(|args| job_command(&cluster, &database, args)).await;
    let problem = json["lastCyclesError"].as_str().unwrap();
    assert!(problem.contains("not a database"), "{json}");
    assert!(json.get("lastCycles").is_none(), "{json}");
    assert!(
        text.ends_with(&format!("\ncycles     not known: {problem}\n")),
        "{text}"
    );
}

fn assert_failed(run: &Run, words: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.contains(words), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_the_terminal_fails() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let stranger = cluster.kubeconfig_as("stranger");
    for (args, words) in [
        (&["status"][..], "not allowed to get configmaps"),
        (&["stop"], "not allowed to get configmaps"),
    ] {
        let program = job_command(&cluster, &database, args).kubeconfig(&stranger);
        assert_failed(&program.run().await, words);
    }
    cluster.allow("reader", rules(&["get"])).await;
    let reader = cluster.kubeconfig_as("reader");
    let stop = || job_command(&cluster, &database, &["stop"]).kubeconfig(&reader);
    assert_failed(&stop().run().await, "not allowed to create configmaps");
    cluster.control(json!({"enabled": "true"})).await;
    assert_failed(&stop().run().await, "not allowed to patch configmaps");
    let map = cluster.control_map().await.unwrap();
    assert_eq!(map["data"], json!({"enabled": "true"}));
}
