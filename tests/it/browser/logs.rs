//! A log in a browser: long, searched, with a gap, and live.

use super::driver::Browser;
use super::sync;
use super::ui::Ui;
use crate::on_both_databases;
use crate::support::cluster::{State, line_time, write_lines};
use crate::support::{Cluster, Database};

on_both_databases!(
    a_long_log_is_searched_and_jumped_about_in,
    a_live_log_is_followed_until_one_scrolls_up,
);

async fn a_long_log_is_searched_and_jumped_about_in(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 2).await;
    for pod in &pods {
        let log = cluster.log(pod, "k6");
        write_lines(&log, 0..3_000);
        log.write_line(line_time(3_000), b"level=error msg=\"it broke\"");
        write_lines(&log, 3_002..6_000);
        log.write_line(line_time(6_000), "     █ TOTAL RESULTS".as_bytes());
        cluster
            .container_state(pod, State::Terminated(0, "Completed"))
            .await;
    }
    cluster.stage("shop", "finished").await;
    sync(&cluster, &database).await;
    sync(&cluster, &database).await;
    let (after, before) = (line_time(2_000), line_time(2_002));
    database
        .execute(&format!(
            "INSERT INTO log_gaps (stream_id, after_ts, before_ts, cause, noticed_at)
             SELECT id, {after}, {before}, 'rotated', '2026-11-23T04:00:00Z' FROM log_streams WHERE pod_name = '{}'",
            pods[0]
        ))
        .await;
    database
        .execute(&format!(
            "UPDATE log_streams SET gaps = 1 WHERE pod_name = '{}'",
            pods[0]
        ))
        .await;
    let ui = Ui::start(&database).await;
    browser.go(&ui.address).await;
    browser.go(&format!("{}/runs/1/logs", ui.origin)).await;
    browser
        .until("document.querySelectorAll('#lines .line').length >= 400")
        .await;
    // To the end by scrolling: never more lines than a browser can take.
    let mut most = 0;
    for _ in 0..200 {
        browser
            .run("const log = document.getElementById('log'); log.scrollTop = log.scrollHeight;")
            .await;
        let lines = browser
            .eval("document.querySelectorAll('#lines .line').length")
            .await;
        most = most.max(lines.as_u64().unwrap());
        if browser
            .text("#lines .line:last-of-type")
            .await
            .contains("TOTAL RESULTS")
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(
        browser
            .text("#lines .line:last-of-type")
            .await
            .contains("TOTAL RESULTS")
    );
    assert!((1_000..=2_400).contains(&most), "{most}");
    // And back up.
    browser
        .run("document.getElementById('log').scrollTop = 0")
        .await;
    browser
        .until("!document.getElementById('lines').innerText.includes('TOTAL RESULTS') || document.querySelectorAll('#lines .line').length > 400")
        .await;

    browser.click("a[data-go=error]").await;
    browser
        .until("document.querySelector('.line.target')?.innerText.includes('it broke')")
        .await;
    browser.click("a[data-go=summary]").await;
    browser
        .until("document.querySelector('.line.target')?.innerText.includes('TOTAL RESULTS')")
        .await;
    browser.click("a[data-go=start]").await;
    browser
        .until("document.querySelector('.line')?.innerText.includes('line 0 of')")
        .await;

    // By the keyboard alone: / to the search, Enter, n and p.
    browser.run("document.getElementById('log').focus()").await;
    browser.keys("/").await;
    browser.until("document.activeElement.id === 'q'").await;
    browser.keys("line 200\u{e007}").await;
    browser
        .until("document.getElementById('said').innerText === '1 of 22 hits'")
        .await;
    browser.run("document.getElementById('log').focus()").await;
    browser.keys("n").await;
    browser
        .until("document.getElementById('said').innerText === '2 of 22 hits'")
        .await;
    browser.keys("pp").await;
    browser
        .until("document.getElementById('said').innerText === '22 of 22 hits'")
        .await;
    browser
        .until("document.querySelector('.line.current')?.innerText.includes('line 2009 ')")
        .await;
    browser.picture("search").await;
    // The gap is in its place.
    browser
        .until("document.querySelector('.gap')?.innerText.includes('rotated')")
        .await;
    let next = browser
        .eval("document.querySelector('.gap').nextElementSibling.innerText")
        .await;
    assert!(next.as_str().unwrap().contains("line 2002 "), "{next}");
    // A line has an address.
    browser.run("[...document.querySelectorAll('.line')].find((line) => line.innerText.includes('line 2007 ')).querySelector('a.at').click()").await;
    let address = browser.eval("location.href").await;
    browser.go("about:blank").await;
    browser.go(address.as_str().unwrap()).await;
    browser
        .until("document.querySelector('.line.target')?.innerText.includes('line 2007 ')")
        .await;
    browser.assert_accessible("a line").await;
    browser.assert_quiet(&ui.origin).await;
    browser.end().await;
}

async fn a_live_log_is_followed_until_one_scrolls_up(database: Database) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    let log = cluster.log(&pods[0], "k6");
    sync(&cluster, &database).await;
    let ui = Ui::start(&database).await;
    browser.go(&ui.address).await;
    browser.go(&format!("{}/runs/1/logs", ui.origin)).await;
    assert!(
        browser
            .text("#log")
            .await
            .contains("No line is recorded yet")
    );
    browser
        .until("document.getElementById('follow').innerText === 'Following'")
        .await;
    write_lines(&log, 0..100);
    sync(&cluster, &database).await;
    browser
        .until("document.getElementById('lines').innerText.includes('line 99 of')")
        .await;
    let at_bottom = "(() => { const log = document.getElementById('log'); return log.scrollHeight - log.scrollTop - log.clientHeight < 4; })()";
    browser.until(at_bottom).await;
    // Who scrolls up is left there.
    browser
        .run("document.getElementById('log').scrollTop -= 500")
        .await;
    browser
        .until("document.getElementById('follow').innerText === 'Follow'")
        .await;
    write_lines(&log, 100..200);
    sync(&cluster, &database).await;
    browser
        .until("document.getElementById('lines').innerText.includes('line 199 of')")
        .await;
    assert_eq!(browser.eval(at_bottom).await, false);
    browser.click("#follow").await;
    browser.until(at_bottom).await;
    cluster
        .container_state(&pods[0], State::Terminated(0, "Completed"))
        .await;
    cluster.stage("shop", "finished").await;
    log.write_line(line_time(200), b"the last line");
    sync(&cluster, &database).await;
    browser
        .until("document.getElementById('lines').innerText.includes('the last line')")
        .await;
    sync(&cluster, &database).await;
    browser
        .until("document.getElementById('follow').hidden")
        .await;
    // Each line once, in its order.
    let lines = browser.eval("[...document.querySelectorAll('#lines .line .text')].map((line) => line.innerText.split(' of ')[0].trim())").await;
    let mut expected: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    expected.push("the last line".to_owned());
    assert_eq!(lines, serde_json::json!(expected));
    browser.assert_quiet(&ui.origin).await;
    browser.end().await;
}
