//! The loop's pages: who is let in, what they see, and what they may do.

use std::time::Duration;

use serde_json::{Value, json};

use super::WIDTHS;
use super::driver::{Browser, Theme};
use crate::on_both_databases;
use crate::support::cluster::write_lines;
use crate::support::running_loop::{Signal, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

on_both_databases!(
    people_sign_in_look_act_and_sign_out,
    a_page_that_is_left_open_says_when_it_is_old,
    whoever_is_not_known_sees_the_page_to_sign_in,
);

const WITHIN: Duration = Duration::from_secs(60);

fn runs_rule() -> Value {
    json!({"apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list"]})
}

fn logs_rule() -> Value {
    json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]})
}

fn job_rule() -> Value {
    json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "update"]})
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

/// A loop with a run that has two runners, whose logs have some lines.
async fn world(database: &Database) -> (Cluster, RunningLoop, String) {
    let cluster = cluster().await;
    let program = RunningLoop::program(&cluster, database).env("K6_SYNC_INTERVAL_SECONDS", "5");
    let running = RunningLoop::spawn(program).await;
    let id = recorded(database).await;
    (cluster, running, id)
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    for pod in cluster.running("mine", 2).await {
        write_lines(&cluster.log(&pod, "k6"), 0..50);
        // A log that has long been quiet is not read in every cycle.
        cluster.log(&pod, "k6").write_line(now(), b"just now");
    }
    cluster
}

/// Waits until the run is on record; returns its id.
async fn recorded(database: &Database) -> String {
    wait_for("the run is recorded", WITHIN, async || {
        database
            .number("SELECT coalesce(sum(lines), 0) FROM log_streams")
            .await
            >= 102
    })
    .await;
    database
        .texts("SELECT CAST(id AS TEXT) FROM test_runs WHERE name = 'mine'")
        .await
        .remove(0)
}

async fn sign_in(browser: &Browser, token: &str) {
    browser
        .run(&format!(
            "document.querySelector('#token').value = {token:?}"
        ))
        .await;
    browser.click("form.login button").await;
}

async fn people_sign_in_look_act_and_sign_out(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, running, id) = world(&database).await;
    let organizer = cluster
        .service_account("organizer", json!([runs_rule(), logs_rule(), job_rule()]))
        .await;
    let origin = format!("http://{}", running.address());
    // Where one wanted to go is where one comes to.
    browser.go(&format!("{origin}/runs/{id}")).await;
    browser.until("location.pathname == '/login'").await;
    for (width, height) in WIDTHS {
        browser.size(width, height).await;
        for theme in [Theme::Light, Theme::Dark] {
            browser.theme(theme).await;
            let about = format!("login-{width}-{theme:?}");
            browser.assert_accessible(&about).await;
            browser.picture(&about).await;
        }
    }
    sign_in(&browser, "no-token-of-anybody").await;
    browser
        .until("document.querySelector('[role=alert]')")
        .await;
    // An answer that says no is one that browsers write into the console.
    browser.forget().await;
    sign_in(&browser, &organizer).await;
    browser
        .until(&format!("location.pathname == '/runs/{id}'"))
        .await;
    assert!(browser.text("main").await.contains("mine"));
    assert!(browser.text("header").await.contains("organizer"));
    // Scripts can't read who this is.
    assert_eq!(browser.eval("document.cookie").await, "");
    browser.assert_quiet(&origin).await;

    browser.go(&format!("{origin}/")).await;
    assert!(browser.text("main").await.contains("mine"));
    browser.go(&format!("{origin}/runs/{id}/logs?go=end")).await;
    browser
        .until("document.querySelectorAll('[id^=L]').length > 10")
        .await;
    browser.assert_quiet(&origin).await;
    // New lines are told as they are recorded.
    let pods = database
        .texts("SELECT pod_name FROM log_streams WHERE role = 'runner' ORDER BY 1")
        .await;
    cluster
        .log(&pods[0], "k6")
        .write_line(now(), b"the newest line of all");
    browser
        .until("document.querySelector('main').innerText.includes('the newest line of all')")
        .await;

    browser.go(&format!("{origin}/job")).await;
    browser.assert_accessible("job").await;
    let control = async |key: &str| -> Option<Value> {
        let map = cluster.control_map().await?;
        map["data"].get(key).cloned()
    };
    browser.click("button[value=stop]").await;
    wait_for("it is stopped", WITHIN, async || {
        control("enabled").await == Some(json!("false"))
    })
    .await;
    browser
        .until("document.querySelector('button[value=start]')")
        .await;
    browser.click("button[value=start]").await;
    wait_for("it is started", WITHIN, async || {
        control("enabled").await == Some(json!("true"))
    })
    .await;

    browser
        .until("document.querySelector('form.out button')")
        .await;
    browser.click("form.out button").await;
    browser.until("location.pathname == '/login'").await;
    browser.go(&format!("{origin}/")).await;
    browser.until("location.pathname == '/login'").await;
    browser.end().await;
}

/// A loop whose sessions outlive it, at an address that stays.
async fn steady_loop(cluster: &Cluster, database: &Database, listen: &str) -> RunningLoop {
    let program = Program::new(&["loop", "--listen", listen])
        .args(&["--database-url", database.url()])
        .kubeconfig(cluster.kubeconfig())
        .config("{leaderElection: {enabled: false}}")
        .env("K6_SYNC_INTERVAL_SECONDS", "5")
        .env("K6_SYNC_COOKIE_KEY", &"x".repeat(32));
    RunningLoop::spawn(program).await
}

async fn a_page_that_is_left_open_says_when_it_is_old(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = cluster().await;
    let mut running = steady_loop(&cluster, &database, "127.0.0.1:0").await;
    let address = running.address().to_string();
    let id = recorded(&database).await;
    let token = cluster
        .service_account("ann", json!([runs_rule(), logs_rule()]))
        .await;
    let origin = format!("http://{address}");
    browser.go(&format!("{origin}/runs/{id}/logs")).await;
    sign_in(&browser, &token).await;
    browser
        .until("document.getElementById('follow')?.innerText === 'Following'")
        .await;
    assert!(browser.eval("document.getElementById('away').hidden").await == true);
    browser.assert_quiet(&origin).await;

    // The loop is killed; what is written meanwhile comes as soon as there is another one, each line once.
    let pod = database
        .texts("SELECT pod_name FROM log_streams WHERE role = 'runner' ORDER BY 1")
        .await
        .remove(0);
    let log = cluster.log(&pod, "k6");
    let write = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            log.write_line(now(), format!("number {number}").as_bytes());
        }
    };
    write(0..20);
    browser
        .until("document.getElementById('lines').innerText.includes('number 19')")
        .await;
    for round in 1..=2 {
        running.signal(Signal::Kill);
        running.exit_code(WITHIN).await;
        browser
            .until("document.getElementById('away').innerText.includes('k6sync has not answered since')")
            .await;
        write(round * 20..round * 20 + 20);
        running = steady_loop(&cluster, &database, &address).await;
        let last = round * 20 + 19;
        browser
            .until(&format!(
                "document.getElementById('lines').innerText.includes('number {last}')"
            ))
            .await;
        browser
            .until("document.getElementById('away').hidden")
            .await;
    }
    let numbers =
        "[...document.querySelectorAll('#lines .line .text')].map((line) => line.innerText.trim())
        .filter((line) => line.startsWith('number '))";
    let expected: Vec<String> = (0..60).map(|number| format!("number {number}")).collect();
    assert_eq!(browser.eval(numbers).await, json!(expected));
    // A server that is away is one that browsers write into the console.
    browser.forget().await;

    // Nobody syncs any more.
    browser.go(&format!("{origin}/runs/{id}")).await;
    assert_eq!(browser.text("#notice").await, "");
    cluster.control(json!({"enabled": "false"})).await;
    running.wait_for_line("sync is off", WITHIN).await;
    database
        .execute("UPDATE sync_cycles SET started_at = '2026-01-01T00:00:00.000000Z'")
        .await;
    browser
        .until("document.getElementById('notice').innerText.includes('may be old: the last cycle was completed at 202')")
        .await;
    browser.assert_accessible("a page that is old").await;
    browser.picture("old").await;
    cluster.control(json!({"enabled": "true"})).await;
    browser
        .until("document.getElementById('notice').innerText === ''")
        .await;

    // Who is known no more is asked to sign in, and comes back here.
    cluster.revoke("ann", &token).await;
    browser.until("location.pathname == '/login'").await;
    let next = browser
        .eval("document.querySelector('[name=next]').value")
        .await;
    assert_eq!(next, json!(format!("/runs/{id}")));
    browser.end().await;
}

async fn whoever_is_not_known_sees_the_page_to_sign_in(database: Database) {
    let (cluster, running, id) = world(&database).await;
    let blind = cluster.service_account("blind", json!([])).await;
    let reader = cluster
        .service_account("reader", json!([runs_rule()]))
        .await;
    let organizer = cluster
        .service_account("organizer", json!([runs_rule(), logs_rule(), job_rule()]))
        .await;
    let of_run = |part: &str| format!("/runs/{id}{part}");
    let status_of_run = ["", "/run.json", "/junit.xml", "/summary.md", "/report.html"];
    let logs_of_run = ["/logs", "/logs/window", "/logs/find?q=x", "/logs.txt"];
    let general = ["/", "/compare", "/job", "/notice"].map(str::to_owned);
    let all = general
        .iter()
        .cloned()
        .chain(status_of_run.map(of_run))
        .chain(logs_of_run.map(of_run));
    for path in all {
        let answer = running.get(&path).await;
        assert_eq!(answer.status, 303, "{path}: {answer:?}");
        let to = answer.header("location").unwrap();
        assert!(to.starts_with("/login?next=%2F"), "{path}: {to}");
        let junk = [("Authorization", "Bearer junk-of-nobody")];
        let answer = running.request("GET", &path, &junk, "").await;
        assert_eq!(answer.status, 303, "{path}: {answer:?}");
        assert!(!answer.body.contains("mine"), "{path}");
    }
    let answer = running.request("POST", "/job", &[], "action=stop").await;
    assert_eq!(answer.status, 401, "{answer:?}");

    for (token, runs, logs) in [
        (&blind, 404, 404),
        (&reader, 200, 403),
        (&organizer, 200, 200),
    ] {
        let bearer = format!("Bearer {token}");
        let caller = [("Authorization", &*bearer)];
        for part in status_of_run {
            let answer = running.request("GET", &of_run(part), &caller, "").await;
            assert_eq!(answer.status, runs, "{part}: {answer:?}");
        }
        for part in logs_of_run {
            let answer = running.request("GET", &of_run(part), &caller, "").await;
            let is_refused = matches!(answer.status, 403 | 404);
            assert_eq!(is_refused, logs != 200, "{part}: {answer:?}");
        }
        let list = running.request("GET", "/", &caller, "").await;
        assert_eq!(list.status, 200);
        assert_eq!(list.body.contains("mine"), runs == 200, "{list:?}");
        // Nobody acts without a page of ours, whatever they may.
        let answer = running
            .request("POST", "/job", &caller, "action=stop")
            .await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    // A session of a browser, from another site's page.
    let form = format!("token={organizer}&next=/");
    let same = [
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let answer = running.request("POST", "/login", &same, &form).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap();
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = running
        .request("GET", "/job", &[("Cookie", &cookie)], "")
        .await;
    assert_eq!(page.status, 200, "{page:?}");
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap();
    assert!(!csrf.is_empty());
    let body = format!("action=stop&csrf={csrf}");
    for (site, expected) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 303),
    ] {
        let heads = [
            ("Cookie", &*cookie),
            ("Sec-Fetch-Site", site),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let answer = running.request("POST", "/job", &heads, &body).await;
        assert_eq!(answer.status, expected, "{site}: {answer:?}");
    }
    let heads = [("Cookie", &*cookie), ("Sec-Fetch-Site", "same-origin")];
    let answer = running
        .request("POST", "/job", &heads, "action=stop&csrf=wrong")
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
}
