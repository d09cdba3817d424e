//! Who is let in: keys, tokens and their reviews.

use std::time::{Duration, Instant};

use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::json;

use super::{ANSWERED_WITHIN, AT_ONCE, Caller, Job, KEY, refusal, rules, success};
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, RunningLoop};

/// A review is believed for 10 s; and requests take a moment.
const REVIEWED_WITHIN: Duration = Duration::from_secs(12);

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
    assert!(
        run.stderr
            .contains("auth.audiences: an audience can't be empty"),
        "{run:?}"
    );
}
