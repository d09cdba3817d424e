//! Who sees what: tokens, sessions, keys, proxies, clusters.

use std::time::Duration;

use k6sync_standin::Options;
use serde_json::json;

use super::logs::Follower;
use super::{KEY, SYNCED_WITHIN, World, logs_rule, names, runs_rule};
use crate::on_both_databases;
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, Program, RunningLoop};

/// A review is trusted for 10 seconds.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(60);
/// Whoever follows is reviewed twice a minute.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(90);

on_both_databases!(
    everybody_sees_what_kubernetes_lets_them_see,
    other_clusters_runs_are_shown_where_the_configuration_says_so,
);

const OF_A_RUN: [&str; 4] = ["", "/results", "/logs", "/logs/follow"];

async fn everybody_sees_what_kubernetes_lets_them_see(database: Database) {
    let world = World::start(database, "enabled: true").await;
    let (here, there) = (&world.cluster, &world.elsewhere);
    world
        .database
        .insert_run(
            "both",
            &[
                ("a", Some(here.namespace()), "a"),
                ("b", Some(there.namespace()), "b"),
            ],
        )
        .await;
    let blind = here.service_account("blind", json!([])).await;
    let reader = here.service_account("reader", json!([runs_rule()])).await;
    let logs = here
        .service_account("logs", json!([logs_rule(), runs_rule()]))
        .await;
    // Who may read logs, and may not see that there are runs, sees nothing.
    let only_logs = here
        .service_account("only-logs", json!([logs_rule()]))
        .await;
    let theirs = there
        .service_account("theirs", json!([runs_rule(), logs_rule()]))
        .await;
    let admin = here.administrator().await;

    for (token, listed, seen, hidden, log) in [
        (
            &*blind,
            &[][..],
            &[][..],
            &["mine", "theirs", "both"][..],
            404,
        ),
        (&only_logs, &[], &[], &["mine", "theirs", "both"], 404),
        (&reader, &["mine"], &["mine"], &["theirs", "both"], 403),
        (&logs, &["mine"], &["mine"], &["theirs", "both"], 200),
        (&theirs, &["theirs"], &["theirs"], &["mine", "both"], 200),
        (
            &admin,
            &["both", "mine", "theirs"],
            &["mine", "theirs", "both"],
            &[],
            200,
        ),
    ] {
        let bearer = format!("Bearer {token}");
        let caller = [("Authorization", &*bearer)];
        assert_eq!(
            names(&world.get(&caller, "/api/v1/runs").await),
            listed,
            "{token}"
        );
        // Full pages, though others' runs are between.
        let page = world.get(&caller, "/api/v1/runs?limit=1").await;
        assert_eq!(
            page.json()["runs"].as_array().unwrap().len(),
            listed.len().min(1)
        );
        for name in seen {
            let run = world.get(&caller, &format!("/api/v1/runs/{name}")).await;
            assert_eq!(run.json()["name"], *name);
            for part in OF_A_RUN {
                let expected = if part.starts_with("/logs") { log } else { 200 };
                let path = format!("/api/v1/runs/{name}{part}");
                assert_eq!(
                    world.status(&caller, &path).await,
                    expected,
                    "{token} {path}"
                );
            }
            let path = format!("/api/v1/compare?base={name}&other={name}");
            assert_eq!(world.status(&caller, &path).await, 200);
        }
        for name in hidden {
            // Neither by its name nor by its id, and in the same words as what is not there.
            for name in [(*name).to_owned(), world.id(name).await] {
                for part in OF_A_RUN {
                    let path = format!("/api/v1/runs/{name}{part}");
                    assert_eq!(world.status(&caller, &path).await, 404, "{token} {path}");
                }
                let answer = world.get(&caller, &format!("/api/v1/runs/{name}")).await;
                let nothing = world.get(&caller, "/api/v1/runs/987654321").await;
                assert_eq!(answer.body, nothing.body.replace("987654321", &name));
                let path = format!("/api/v1/compare?base={name}&other={name}");
                assert_eq!(world.status(&caller, &path).await, 404);
            }
        }
        assert_eq!(world.status(&caller, "/api/v1/openapi.json").await, 200);
        assert_eq!(world.status(&caller, "/api/v1/nothing").await, 404);
    }
    let latest = world
        .get(
            &[("Authorization", &format!("Bearer {reader}"))],
            "/api/v1/runs/@latest",
        )
        .await;
    assert_eq!(latest.json()["name"], "mine", "the newest that may be seen");

    let strangers = [
        (&[][..], 401),
        (&[("Authorization", "Bearer nobodys")], 401),
        (&[("Authorization", "Bearer {}")], 401),
        (&[("Authorization", "Basic eDp5")], 401),
        (&[("X-API-Key", "0123456789abcdeX")], 401),
        (&[("Cookie", "k6sync=abc")], 401),
        // Nobody said that proxies are to be believed.
        (&[("X-Forwarded-User", "an-admin")], 401),
        // The key opens the job API.
        (&[("X-API-Key", KEY)], 403),
    ];
    for (caller, expected) in strangers {
        for path in [
            "/api/v1/runs",
            "/api/v1/runs/mine",
            "/api/v1/runs/mine/results",
            "/api/v1/runs/mine/logs",
            "/api/v1/runs/mine/logs/follow",
            "/api/v1/compare?base=a&other=b",
            "/api/v1/openapi.json",
            "/api/v1/nothing",
            "/api/v1/runs?junk=1",
            "/api/v1/runs/nobodys",
        ] {
            let answer = world.get(caller, path).await;
            assert_eq!(answer.status, expected, "{caller:?} {path}: {answer:?}");
            assert!(answer.json()["error"].is_string());
            let is_asked = answer.header("www-authenticate") == Some("Bearer");
            assert_eq!(is_asked, expected == 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_proxy_open_what_the_configuration_says() {
    let config = "{auth: {apiKeyMayRead: true, proxy: {trustedAddresses: [127.0.0.0/8], groupsHeader: X-Groups}}}";
    let world = World::start(Database::sqlite(), config).await;
    world.cluster.allow("ann", json!([runs_rule()])).await;
    let bearer = format!("Bearer {}", world.cluster.administrator().await);
    for (caller, listed) in [
        (&[("X-API-Key", KEY)][..], &["mine", "theirs"][..]),
        (&[("X-Forwarded-User", "ann")], &["mine"]),
        (&[("X-Forwarded-User", "bob")], &[]),
        (
            &[("X-Forwarded-User", "bob"), ("X-Groups", "system:masters")],
            &[],
        ),
        // The proxy has its say before what somebody sends through it.
        (
            &[("X-Forwarded-User", "ann"), ("Authorization", &bearer)],
            &["mine"],
        ),
        (&[("Authorization", &bearer)], &["mine", "theirs"]),
    ] {
        assert_eq!(
            names(&world.get(caller, "/api/v1/runs").await),
            listed,
            "{caller:?}"
        );
    }
    for user in ["", "system:admin"] {
        let answer = world
            .get(&[("X-Forwarded-User", user)], "/api/v1/runs")
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // From elsewhere nobody is believed.
    let config = "{auth: {proxy: {trustedAddresses: [10.0.0.1]}}}";
    let world = World::start(Database::sqlite(), config).await;
    let answer = world
        .get(&[("X-Forwarded-User", "ann")], "/api/v1/runs")
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_a_cookie_that_nobody_else_can_use() {
    let world = World::start(Database::sqlite(), "enabled: true").await;
    let token = world
        .cluster
        .service_account("ann", json!([runs_rule()]))
        .await;
    let host = world.running.address().to_string();
    let origin = format!("http://{host}");
    let own = [
        ("Origin", &*origin),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let form = format!("token=+{token}%0A&next=%2Fruns%2F7");
    let sign_in = async |headers: &[(&str, &str)], form: &str| {
        world.running.request("POST", "/login", headers, form).await
    };

    let page = world.get(&[], "/login?next=%2Fruns%2F7").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("value=\"/runs/7\""), "{page:?}");
    let page = world.get(&[], "/login?next=%22%3E%3Cscript%3E").await;
    assert!(!page.body.contains("\"><script>"), "{page:?}");

    let answer = sign_in(&own, &form).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/runs/7")),
        "{answer:?}"
    );
    let cookie = answer.header("set-cookie").unwrap();
    for flag in ["; Path=/;", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    // Eight hours, or as long as the token is good.
    let age = cookie.split_once("; Max-Age=").unwrap().1;
    let age: u64 = age.split(';').next().unwrap().parse().unwrap();
    assert!((3_000..=28_800).contains(&age), "{cookie}");
    assert!(
        !cookie.contains("Secure") && !cookie.contains(&token),
        "{cookie}"
    );
    let cookie = cookie.split_once(';').unwrap().0;
    assert_eq!(
        names(&world.get(&[("Cookie", cookie)], "/api/v1/runs").await),
        ["mine"]
    );
    let mut tampered = cookie.to_owned();
    let last = if tampered.pop() == Some('A') {
        'B'
    } else {
        'A'
    };
    tampered.insert(tampered.len() - 4, last);
    assert_eq!(
        world.status(&[("Cookie", &tampered)], "/api/v1/runs").await,
        401
    );

    // Not by another site's form, nor to another site.
    for headers in [
        &[("Origin", "http://evil.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", &origin)],
        &[],
    ] {
        let answer = sign_in(headers, &form).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (403, None),
            "{headers:?}"
        );
    }
    let answer = sign_in(&own, &format!("token={token}&next=%2F%2Fevil.example")).await;
    assert_eq!(answer.header("location"), Some("/"));
    for wrong in ["token=nobodys", "token=", "", "token=%00", "next=%2F"] {
        let answer = sign_in(&own, wrong).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (401, None),
            "{wrong}"
        );
    }
    assert_eq!(sign_in(&own, &"x".repeat(100_000)).await.status, 400);

    let leave = [("Origin", &*origin), ("Cookie", cookie)];
    for form in ["", "csrf=wrong"] {
        let answer = world.running.request("POST", "/logout", &leave, form).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    }
    // Who has no session may leave, too.
    let answer = world.running.request("POST", "/logout", &own, "").await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_a_process_with_the_same_key_alone() {
    let cluster = Cluster::standin(Options::default()).await;
    let token = cluster.service_account("ann", json!([runs_rule()])).await;
    let spawn = async |key: Option<&str>| {
        let database = Database::sqlite();
        let mut program = RunningLoop::program(&cluster, &database)
            .config("{auth: {cookie: {secure: true}}, leaderElection: {enabled: false}}");
        if let Some(key) = key {
            program = program.env("K6_SYNC_COOKIE_KEY", key);
        }
        (RunningLoop::spawn(program).await, database)
    };
    let key = "x".repeat(32);
    let (first, _one) = spawn(Some(&key)).await;
    assert!(first.lines_with("K6_SYNC_COOKIE_KEY").is_empty());
    let own = [("Sec-Fetch-Site", "same-origin")];
    let answer = first
        .request("POST", "/login", &own, &format!("token={token}"))
        .await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-k6sync=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let cookie = [("Cookie", cookie.split_once(';').unwrap().0)];
    let (second, _two) = spawn(Some(&key)).await;
    assert_eq!(
        second
            .request("GET", "/api/v1/runs", &cookie, "")
            .await
            .status,
        200
    );
    let (stranger, _three) = spawn(None).await;
    assert_eq!(
        stranger.lines_with("K6_SYNC_COOKIE_KEY is not set").len(),
        1
    );
    assert_eq!(
        stranger
            .request("GET", "/api/v1/runs", &cookie, "")
            .await
            .status,
        401
    );

    let database = Database::sqlite();
    let short = RunningLoop::program(&cluster, &database).env("K6_SYNC_COOKIE_KEY", "too-short");
    let run = short.run().await;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("at least 32 bytes") && !run.stderr.contains("too-short"),
        "{run:?}"
    );
}

async fn other_clusters_runs_are_shown_where_the_configuration_says_so(database: Database) {
    let other = Cluster::standin(Options::default()).await;
    other.running("foreign", 1).await;
    let run = Program::sync_once(&other, &database, &[]).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    let others = database.texts("SELECT id FROM clusters").await.remove(0);
    // Its namespace has the name of one of ours.
    let ours = Cluster::standin_in(other.namespace(), Options::default()).await;
    ours.running("own", 1).await;
    let run = Program::migrate(&database)
        .kubeconfig(ours.kubeconfig())
        .args(&["--new-cluster"])
        .run()
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    let run = Program::sync_once(&ours, &database, &[]).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    let rules = json!([runs_rule(), logs_rule()]);
    let reader = ours.service_account("reader", rules).await;
    let elsewhere = ours.another_namespace().await;
    let stranger = elsewhere
        .service_account("stranger", json!([runs_rule()]))
        .await;
    let [reader, stranger] = [reader, stranger].map(|token| format!("Bearer {token}"));
    let caller = [("Authorization", &*reader)];

    for (clusters, listed, unknown) in [
        ("[]".to_owned(), &["own"][..], 0),
        (format!("[{others}]"), &["foreign", "own"], 0),
        ("all".to_owned(), &["foreign", "own"], 0),
        ("[mistyped]".to_owned(), &["own"], 1),
    ] {
        let config = format!(
            "{{auth: {{clusters: {clusters}, apiKeyMayRead: true}}, leaderElection: {{enabled: false}}}}"
        );
        let program = RunningLoop::program(&ours, &database)
            .args(&["--namespace", ours.namespace()])
            .env("K6_SYNC_API_KEY", KEY)
            .config(&config);
        let running = RunningLoop::spawn(program).await;
        let get = async |caller: &[(&str, &str)], path: &str| {
            running.request("GET", path, caller, "").await
        };
        wait_for("the record can be read", SYNCED_WITHIN, async || {
            get(&caller, "/api/v1/runs").await.status == 200
        })
        .await;
        assert_eq!(
            names(&get(&caller, "/api/v1/runs").await),
            listed,
            "{clusters}"
        );
        assert_eq!(
            names(&get(&[("X-API-Key", KEY)], "/api/v1/runs").await),
            listed,
            "{clusters}"
        );
        let expected = if listed.contains(&"foreign") {
            200
        } else {
            404
        };
        for path in ["", "/results", "/logs"] {
            let path = format!("/api/v1/runs/foreign{path}");
            assert_eq!(
                get(&caller, &path).await.status,
                expected,
                "{clusters} {path}"
            );
        }
        // Who has no rights in the namespace sees no other cluster's runs in it.
        let nothing = get(&[("Authorization", &stranger)], "/api/v1/runs").await;
        assert_eq!(names(&nothing), [""; 0], "{clusters}");
        let told = running.lines_with("auth.clusters names");
        assert_eq!(told.len(), unknown, "{told:?}");
    }
}

/// While the record is away it can't be told what somebody may see: an empty list would look as if there was nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_record_no_list_is_empty() {
    let cluster = Cluster::standin(Options::default()).await;
    let reader = cluster
        .service_account("reader", json!([runs_rule()]))
        .await;
    let reader = format!("Bearer {reader}");
    // Nobody listens there.
    let program = Program::new(&["loop", "--listen", "127.0.0.1:0"])
        .args(&["--database-url", "postgres://nobody@127.0.0.1:1/nothing"])
        .kubeconfig(cluster.kubeconfig())
        .env("K6_SYNC_API_KEY", KEY)
        .config("{auth: {apiKeyMayRead: true}}");
    let running = RunningLoop::spawn_early(program).await;
    for caller in [("Authorization", &*reader), ("X-API-Key", KEY)] {
        for path in ["/api/v1/runs", "/api/v1/runs/mine", "/", "/job"] {
            let answer = running.request("GET", path, &[caller], "").await;
            assert_eq!(answer.status, 503, "{caller:?} {path}: {answer:?}");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_loses_a_right_or_the_token_sees_no_more() {
    let world = World::start(Database::sqlite(), "enabled: true").await;
    let rules = json!([runs_rule(), logs_rule()]);
    let ann = world.cluster.service_account("ann", rules.clone()).await;
    let bob = world.cluster.service_account("bob", rules).await;
    let sign_in = async |token: &str| {
        let own = [("Sec-Fetch-Site", "same-origin")];
        let form = format!("token={token}");
        let answer = world.running.request("POST", "/login", &own, &form).await;
        let cookie = answer.header("set-cookie").unwrap();
        cookie.split_once(';').unwrap().0.to_owned()
    };
    let [ann_cookie, bob_cookie] = [sign_in(&ann).await, sign_in(&bob).await];
    let [ann_session, bob_session] =
        [&ann_cookie, &bob_cookie].map(|cookie| [("Cookie", &**cookie)]);
    let mut followers = Vec::new();
    for session in [&ann_session, &bob_session] {
        assert_eq!(names(&world.get(session, "/api/v1/runs").await), ["mine"]);
        let mut follower = Follower::start_as(&world, session[0], None).await;
        follower.event().await;
        followers.push(follower);
    }

    world.cluster.revoke("ann", &ann).await;
    world.cluster.disallow("bob").await;
    wait_for("the session is nobody's", FORGOTTEN_WITHIN, async || {
        world.status(&ann_session, "/api/v1/runs").await == 401
    })
    .await;
    wait_for("the runs are hidden", FORGOTTEN_WITHIN, async || {
        names(&world.get(&bob_session, "/api/v1/runs").await).is_empty()
    })
    .await;
    // A page asks to sign in again, and says why.
    let page = world.get(&ann_session, "/runs/mine").await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/login?next=%2Fruns%2Fmine")),
        "{page:?}"
    );
    assert_eq!(world.status(&bob_session, "/runs/mine").await, 404);
    // What they follow ends, too.
    for follower in followers {
        follower.until_cut_off(CUT_OFF_WITHIN).await;
    }
}
