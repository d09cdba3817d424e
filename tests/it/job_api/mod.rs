//! The doors to the loop's control: the job-control API with its roles, and `k6sync job`. Also what else the server answers.

mod actions;
mod callers;
mod telling;
mod terminal;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::running_loop::{Answer, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

const PATH: &str = "/api/dashboard/load-testing/sync-job";

/// As short as a key may be.
const KEY: &str = "0123456789abcdef";
/// An edit of the ConfigMap takes effect within this (docs/operating.md, "Switch it on and off").
const AT_ONCE: Duration = Duration::from_secs(2);
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
