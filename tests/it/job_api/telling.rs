//! What the server tells everybody: metrics, and no secret.

use serde_json::json;

use super::{ANSWERED_WITHIN, AT_ONCE, Caller, Job, KEY, rules};
use crate::support::Cluster;
use crate::support::running_loop::Signal;

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
