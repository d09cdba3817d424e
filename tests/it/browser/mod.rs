//! The pages, as people and browsers meet them: `k6sync ui` over HTTP, and in a real headless Chromium.

mod driver;
mod http;
mod logs;
mod signed_in;
mod ui;

use serde_json::json;

use self::driver::{Browser, Theme};
use self::ui::Ui;
use crate::on_both_databases;
use crate::support::cluster::{State, line_time};
use crate::support::{Cluster, Database, Program, recorded};

on_both_databases!(
    each_page_of_a_recording_is_quiet_and_accessible,
    new_runs_appear_by_themselves,
    hostile_names_and_lines_are_only_text,
);

async fn sync(cluster: &Cluster, database: &Database) {
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
}

/// Widths of screens.
const WIDTHS: [(u32, u32); 2] = [(1280, 900), (400, 800)];

async fn each_page_of_a_recording_is_quiet_and_accessible(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let _cluster = recorded(&database).await;
    let id = database
        .texts("SELECT CAST(id AS TEXT) FROM test_runs WHERE name = 'nightly-7'")
        .await
        .remove(0);
    let other = database
        .texts("SELECT CAST(id AS TEXT) FROM test_runs WHERE name = 'slo'")
        .await
        .remove(0);
    // As people call it, for pictures.
    for table in ["test_runs", "test_run_steps"] {
        let statement = format!("UPDATE {table} SET namespace = 'k6-runs'");
        database.execute(&statement).await;
    }
    let ui = Ui::start(&database).await;
    browser.go(&ui.address).await;
    // The token is gone from the address.
    assert_eq!(
        browser.eval("location.href").await,
        format!("{}/", ui.origin)
    );

    let pages = [
        ("runs", "/".to_owned(), "nightly-7"),
        (
            "no-runs",
            "/?name=nothing".to_owned(),
            "No run is like that",
        ),
        ("run", format!("/runs/{id}"), "ThresholdsHaveFailed"),
        ("logs", format!("/runs/{id}/logs?go=start"), "nightly-7"),
        ("error", format!("/runs/{id}/logs?go=error"), "level=error"),
        (
            "compare",
            format!("/compare?run={id}&run={other}"),
            "http_req_duration",
        ),
        (
            "compare-none",
            "/compare".to_owned(),
            "Choose two to five runs",
        ),
        ("job", "/job".to_owned(), "the last cycle was completed"),
        ("missing", "/runs/99999".to_owned(), "Not found"),
    ];
    for (width, height) in WIDTHS {
        browser.size(width, height).await;
        for theme in [Theme::Light, Theme::Dark] {
            browser.theme(theme).await;
            for (name, path, text) in &pages {
                browser.go(&format!("{}{path}", ui.origin)).await;
                let about = format!("{name} {width} {theme:?}");
                let shown = browser.text("main").await;
                assert!(shown.contains(text), "{about}: {shown}");
                browser.picture(&format!("{name}-{width}-{theme:?}")).await;
                // Nothing is wider than the screen.
                let over = browser
                    .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                    .await;
                assert_eq!(over, 0, "{about}");
                browser.assert_accessible(&about).await;
                // A page that is not there is one that browsers write into the console.
                match *name {
                    "missing" => browser.forget().await,
                    _ => browser.assert_quiet(&ui.origin).await,
                }
            }
        }
    }
    // What each runner measured is behind a fold.
    browser.go(&format!("{}/runs/{id}", ui.origin)).await;
    browser.click("details.fold summary").await;
    browser
        .until("document.querySelector('details.fold .measured')?.innerText.includes('http_req_duration')")
        .await;
    browser.end().await;
}

async fn new_runs_appear_by_themselves(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = Cluster::start().await;
    sync(&cluster, &database).await;
    let ui = Ui::start(&database).await;
    browser.go(&ui.address).await;
    assert!(
        browser
            .text("main")
            .await
            .contains("No run is recorded yet")
    );
    let pods = cluster.running("shop", 1).await;
    sync(&cluster, &database).await;
    browser
        .until("document.querySelector('#rows')?.innerText.includes('running')")
        .await;
    assert_eq!(
        browser.eval("document.title").await,
        "(1) Test runs – k6sync"
    );
    // What somebody chose stays chosen when it changes.
    browser.click("#rows input").await;
    for pod in &pods {
        cluster
            .container_state(pod, State::Terminated(0, "Completed"))
            .await;
    }
    cluster.stage("shop", "finished").await;
    sync(&cluster, &database).await;
    browser
        .until("document.querySelector('#rows')?.innerText.includes('passed')")
        .await;
    assert_eq!(
        browser
            .eval("document.querySelector('#rows input').checked")
            .await,
        true
    );
    assert_eq!(browser.eval("document.title").await, "✓ Test runs – k6sync");
    browser.assert_quiet(&ui.origin).await;
    browser.end().await;
}

/// What a page might take for more than text.
const HOSTILE: &str = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u{202e}gnp.exe&amp;'\"";

async fn hostile_names_and_lines_are_only_text(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    log.write_line(line_time(0), HOSTILE.as_bytes());
    log.write_line(
        line_time(2),
        b"\x1b[31mred\x1b[0m \x1b[2J\x1b]0;owned\x07 plain",
    );
    log.write_line(line_time(4), "é".repeat(500_000).as_bytes());
    log.write_line(line_time(6), b"the last line");
    sync(&cluster, &database).await;
    let quoted = HOSTILE.replace('\'', "''");
    for statement in [
        format!("UPDATE test_runs SET name = '{quoted}'"),
        format!("UPDATE test_run_steps SET name = '{quoted}', message = '{quoted}'"),
    ] {
        database.execute(&statement).await;
    }
    let ui = Ui::start(&database).await;
    browser.go(&ui.address).await;
    for path in [
        "/",
        "/runs/1",
        "/runs/1/logs?go=start",
        "/compare?run=1&run=1&base=1&other=1",
        "/job",
    ] {
        browser.go(&format!("{}{path}", ui.origin)).await;
        browser.until("document.readyState === 'complete'").await;
        let title = browser.eval("document.title").await;
        assert!(
            title != "owned" && title.as_str().unwrap().contains("k6sync"),
            "{path}: {title}"
        );
        let foreign = "document.querySelectorAll('img, iframe, script:not([src^=\"/assets/\"]), [onerror], [style]').length";
        assert_eq!(browser.eval(foreign).await, 0, "{path}");
        let has_order = browser.eval("/[\\u202a-\\u202e\\u2066-\\u2069\\u001b]/.test(document.documentElement.innerHTML)").await;
        assert_eq!(has_order, false, "{path}");
        browser.assert_quiet(&ui.origin).await;
    }
    browser
        .go(&format!("{}/runs/1/logs?go=start", ui.origin))
        .await;
    let lines = browser.text("#lines").await;
    assert!(
        lines.contains("<script>document.title='owned'</script>"),
        "{lines}"
    );
    assert!(lines.contains("\\u{1b}[2J"), "{lines}");
    assert!(lines.contains("all 1,000,000 bytes"), "{}", lines.len());
    assert!(lines.len() < 20_000, "{}", lines.len());
    assert_eq!(
        browser
            .eval("document.querySelector('#lines .red').innerText")
            .await,
        json!("red")
    );
    browser.end().await;
}
