//! The door of `k6sync ui`, and what is behind it, without a browser.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::sync;
use super::ui::Ui;
use crate::on_both_databases;
use crate::support::cluster::{line_time, write_lines};
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    the_address_is_good_for_one_browser_once,
    a_log_is_the_same_whichever_way_it_is_read,
    all_hits_of_a_search_are_found,
);

async fn the_address_is_good_for_one_browser_once(database: Database) {
    let missing = Program::new(&[
        "ui",
        "--no-open",
        "--database-url",
        "sqlite:///nowhere/at/all.db",
    ]);
    assert_eq!(missing.run().await.code, 5);
    let migrated = Program::migrate(&database).run().await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let mut ui = Ui::start(&database).await;
    let status = async |method: &str, path: &str, head: &[&str]| {
        let answer = ui.request(method, path, head).await;
        assert!(!answer.head.contains("unsafe"), "{}", answer.head);
        assert!(
            answer
                .head
                .contains("content-security-policy: default-src 'none';"),
            "{}",
            answer.head
        );
        answer.status
    };
    assert_eq!(status("GET", "/", &[]).await, 403);
    assert_eq!(status("GET", "/runs/1/run.json", &[]).await, 403);
    assert_eq!(status("GET", "/?token=0000", &[]).await, 403);
    // By a name of somebody else's, even with the token, which stays good.
    let path = ui.address.strip_prefix(&ui.origin).unwrap();
    assert_eq!(status("GET", path, &["Host: evil.example"]).await, 403);
    let cookie = ui.sign_in().await;
    assert_eq!(status("GET", path, &[]).await, 403);
    assert_eq!(status("GET", "/", &[&cookie]).await, 200);
    assert_eq!(
        status("GET", "/", &[&cookie, "Host: evil.example"]).await,
        403
    );
    let port = ui.origin.rsplit(':').next().unwrap();
    assert_eq!(
        status("GET", "/", &[&cookie, &format!("Host: localhost:{port}")]).await,
        200
    );
    let other = format!("{}0", &cookie[..cookie.len() - 1]);
    if other != cookie {
        assert_eq!(status("GET", "/", &[&other]).await, 403);
    }
    for (method, path, expected) in [
        ("POST", "/job", 405),
        ("DELETE", "/runs/1", 405),
        ("HEAD", "/", 200),
        ("GET", "/runs/1", 404),
        ("GET", "/runs/x", 404),
        ("GET", "/runs/1/logs.txt", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/?status=wrong", 400),
        ("GET", "/?before=x", 400),
        ("GET", "/?since=x", 400),
        ("GET", "/compare?tolerance=x", 400),
    ] {
        assert_eq!(
            status(method, path, &[&cookie]).await,
            expected,
            "{method} {path}"
        );
    }
    // What is as it was is not sent again.
    let rows = ui.request("GET", "/?part=1", &[&cookie]).await;
    let tag = rows
        .head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let known = format!("If-None-Match: {tag}");
    assert_eq!(status("GET", "/?part=1", &[&cookie, &known]).await, 304);
    // Style and script are kept for good.
    let page = ui.request("GET", "/", &[&cookie]).await.body;
    for (begin, kind) in [
        ("/assets/style-", "text/css"),
        ("/assets/script-", "text/javascript"),
        ("/assets/icon-", "image/svg+xml"),
    ] {
        let at = page.find(begin).unwrap();
        let path = page[at..].split('"').next().unwrap();
        let asset = ui.request("GET", path, &[]).await;
        assert_eq!(asset.status, 200, "{path}");
        assert!(
            asset.head.contains(&format!("content-type: {kind}")),
            "{}",
            asset.head
        );
        assert!(asset.head.contains("immutable"), "{}", asset.head);
    }
    let id = ui.child.id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(killed.unwrap().success());
    let end = timeout(Duration::from_secs(30), ui.child.wait()).await;
    assert_eq!(end.expect("it goes on").unwrap().code(), Some(130));
}

/// The ids of the lines of a fragment, and their places.
fn marks(fragment: &str) -> Vec<String> {
    let parts = fragment.split("data-mark=\"").skip(1);
    parts
        .map(|part| part.split('"').next().unwrap().to_owned())
        .collect()
}

fn says(fragment: &str, field: &str) -> bool {
    fragment.contains(&format!("data-{field}=\"true\""))
}

/// Two runners with lines of the same times, in several chunks.
async fn two_runners(database: &Database) -> Cluster {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 2).await;
    for part in 0..3 {
        for pod in &pods {
            let log = cluster.log(pod, "k6");
            write_lines(&log, part * 50..part * 50 + 50);
            if part == 1 {
                log.write_line(line_time(100), b"level=error msg=\"it <b>broke</b>\"");
            }
        }
        sync(&cluster, database).await;
    }
    cluster
}

async fn a_log_is_the_same_whichever_way_it_is_read(database: Database) {
    let cluster = two_runners(&database).await;
    let printed = Program::new(&[
        "logs",
        "shop",
        "-o",
        "json",
        "--database-url",
        database.url(),
    ]);
    let printed = printed.run().await.stdout;
    let expected: Vec<String> = printed
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(expected.len(), 302);
    let ui = Ui::start(&database).await;
    let cookie = ui.sign_in().await;
    let window = async |query: &str| {
        let path = format!("/runs/1/logs/window?{query}");
        let answer = ui.request("GET", &path, &[&cookie]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    };
    let ids = |marks: &[String]| -> Vec<String> {
        marks
            .iter()
            .map(|mark| mark.split('@').next().unwrap().to_owned())
            .collect()
    };
    for size in [7, 50, 301, 302, 1_000] {
        let lines = format!("lines={size}");
        let mut fragment = window(&format!("go=start&{lines}")).await;
        assert!(!says(&fragment, "before"));
        let mut read = marks(&fragment);
        while says(&fragment, "after") {
            assert_eq!(marks(&fragment).len(), size);
            fragment = window(&format!("after={}&{lines}", read.last().unwrap())).await;
            read.extend(marks(&fragment));
        }
        assert_eq!(ids(&read), expected, "forward, {size}");
        let mut fragment = window(&format!("go=end&{lines}")).await;
        assert!(!says(&fragment, "after"));
        let mut read = marks(&fragment);
        while says(&fragment, "before") && !marks(&fragment).is_empty() {
            fragment = window(&format!("before={}&{lines}", read[0])).await;
            read.splice(0..0, marks(&fragment));
        }
        assert_eq!(ids(&read), expected, "backward, {size}");
    }
    // A line has some before it; the first error, and a time.
    let around = marks(&window(&format!("line={}", expected[200])).await);
    assert_eq!(ids(&around)[..], expected[140..]);
    let error = window("go=error").await;
    assert!(
        error.contains("it &#60;b&#62;broke") || error.contains("it &lt;b&gt;broke"),
        "{error}"
    );
    let time = jiff::Timestamp::from_nanosecond(i128::from(line_time(40))).unwrap();
    assert_eq!(
        ids(&marks(&window(&format!("since={time}")).await))[..],
        expected[80..]
    );
    // What is new since the end.
    let end = window("go=end&lines=1").await;
    let ends = |fragment: &str| {
        let (_, rest) = fragment.split_once("data-ends=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let nothing = window(&format!("ends={}", ends(&end))).await;
    assert_eq!(marks(&nothing), Vec::<String>::new());
    let pods = database
        .texts("SELECT DISTINCT pod_name FROM log_streams WHERE role = 'runner' ORDER BY 1")
        .await;
    write_lines(&cluster.log(&pods[0], "k6"), 150..153);
    sync(&cluster, &database).await;
    let new = window(&format!("ends={}", ends(&nothing))).await;
    assert_eq!(marks(&new).len(), 3, "{new}");
    assert_eq!(
        marks(&window(&format!("ends={}", ends(&new))).await).len(),
        0
    );
    for wrong in [
        "line=x",
        "after=1.2",
        "ends=x",
        "since=x",
        "q=%28&regex=1",
        "container=99",
    ] {
        let path = format!("/runs/1/logs/window?{wrong}");
        let status = ui.request("GET", &path, &[&cookie]).await.status;
        assert!([400, 404].contains(&status), "{wrong}: {status}");
    }
}

async fn all_hits_of_a_search_are_found(database: Database) {
    let _cluster = two_runners(&database).await;
    let ui = Ui::start(&database).await;
    let cookie = ui.sign_in().await;
    let hits = async |query: &str| {
        let path = format!("/runs/1/logs/find?{query}");
        let answer = ui.request("GET", &path, &[&cookie]).await;
        let found: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(found["next"], Value::Null);
        found["marks"].as_array().unwrap().len()
    };
    assert_eq!(hits("q=LINE+1").await, 2 * 61);
    assert_eq!(hits("q=line+%281%7C2%290+of&regex=1").await, 4);
    assert_eq!(hits("q=line+%281%7C2%290+of").await, 0);
    assert_eq!(hits("q=broke&container=runners").await, 2);
}
