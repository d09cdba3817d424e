//! A log in windows, and as it comes.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{KEY, SYNCED_WITHIN, World};
use crate::on_both_databases;
use crate::support::Database;
use crate::support::cluster::{State, line_time, write_lines};
use crate::support::running_loop::wait_for;

on_both_databases!(
    windows_have_every_line_once,
    a_log_is_followed_through_broken_connections,
);

/// What is recorded comes within a second; the machine may be busy.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Lines of a log as JSON: those that are lines.
fn ids(body: &str) -> Vec<String> {
    let lines = body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| Some(line["id"].as_str()?.to_owned()))
        .collect()
}

async fn windows_have_every_line_once(database: Database) {
    let world = World::start(database, "{auth: {apiKeyMayRead: true}}").await;
    let caller = [("X-API-Key", KEY)];
    let all = ids(&world.get(&caller, "/api/v1/runs/mine/logs").await.body);
    assert_eq!(all.len(), 150);
    for (query, limit) in [
        ("", 7),
        ("", 50),
        ("", 1_000),
        ("&runner=2", 7),
        ("&grep=7", 3),
    ] {
        let whole = world
            .get(
                &caller,
                &format!("/api/v1/runs/mine/logs?failed=false{query}"),
            )
            .await;
        let whole = ids(&whole.body);
        let mut found = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/api/v1/runs/mine/logs?limit={limit}{query}{from}");
            let answer = world.get(&caller, &path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let window = ids(&answer.body);
            assert!(window.len() <= limit);
            found.extend(window);
            let last: Value = serde_json::from_str(answer.body.lines().last().unwrap()).unwrap();
            match last["next"].as_str() {
                Some(next) => from = format!("&from={next}"),
                None => break,
            }
        }
        assert_eq!(found, whole, "{query} {limit}");
    }
    // From any line on.
    for index in [0, 70, 149] {
        let path = format!("/api/v1/runs/mine/logs?from={}", all[index]);
        let rest = ids(&world.get(&caller, &path).await.body);
        // Other containers' lines of the same time may come before it; of its own none does.
        let own = all[index].split_once('.').unwrap().0;
        let first = rest.iter().find(|id| id.split_once('.').unwrap().0 == own);
        assert_eq!(first, Some(&all[index]));
        let missing: Vec<_> = all[index..]
            .iter()
            .filter(|id| !rest.contains(id))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

/// What a follower hears, until it is cut off.
pub struct Follower(BufReader<TcpStream>);

/// An event: its name, id and data.
#[derive(Debug, Default)]
pub struct Event {
    name: String,
    id: String,
    data: String,
}

impl Follower {
    async fn start(world: &World, last: Option<&str>) -> Self {
        Self::start_as(world, ("X-API-Key", KEY), last).await
    }

    /// Follows as whoever this header makes one.
    pub async fn start_as(world: &World, (name, value): (&str, &str), last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(world.running.address()).await.unwrap();
        let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        // By HTTP/1.0 without chunks.
        let request =
            format!("GET /api/v1/runs/mine/logs/follow HTTP/1.0\r\n{name}: {value}\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut follower = Self(BufReader::new(stream));
        let head = follower.until_empty().await.join("\n");
        assert!(
            head.contains(" 200 ") && head.contains("text/event-stream"),
            "{head}"
        );
        follower
    }

    async fn until_empty(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = timeout(TOLD_WITHIN, self.0.read_line(&mut line)).await;
            assert!(
                read.expect("it says nothing").unwrap() > 0,
                "it ended after {lines:?}"
            );
            match line.trim_end() {
                "" => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// Waits until the connection is ended by the other side.
    pub async fn until_cut_off(mut self, within: Duration) {
        let mut rest = Vec::new();
        let ended = timeout(within, self.0.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "it was not cut off");
    }

    /// The next event that has data.
    pub async fn event(&mut self) -> Event {
        loop {
            let mut event = Event::default();
            for line in self.until_empty().await {
                match line.split_once(": ") {
                    Some(("event", name)) => event.name = name.to_owned(),
                    Some(("id", id)) => event.id = id.to_owned(),
                    Some(("data", data)) => event.data += data,
                    _ => {}
                }
            }
            if !event.data.is_empty() {
                return event;
            }
        }
    }
}

async fn a_log_is_followed_through_broken_connections(database: Database) {
    const LINES: i64 = 400;
    let world = World::start(database, "{auth: {apiKeyMayRead: true}}").await;
    let mut follower = Follower::start(&world, None).await;
    let mut heard: Vec<String> = Vec::new();
    let mut last = String::new();
    let mut written = 50;
    let mut is_ended = false;
    let mut ended_told = false;
    while !ended_told {
        let event = follower.event().await;
        match &*event.name {
            "end" => {
                let end: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(end["status"], "passed");
                ended_told = true;
                continue;
            }
            _ => {
                last = event.id;
                let lines: Vec<Value> = serde_json::from_str(&event.data).unwrap();
                heard.extend(
                    lines
                        .iter()
                        .filter_map(|line| Some(line["id"].as_str()?.to_owned())),
                );
            }
        }
        if written < LINES {
            for pod in &world.pods {
                write_lines(&world.cluster.log(pod, "k6"), written..written + 70);
            }
            written += 70;
            // The connection breaks; lines come meanwhile or not.
            drop(follower);
            follower = Follower::start(&world, Some(&last)).await;
        } else if !is_ended {
            for pod in &world.pods {
                world
                    .cluster
                    .container_state(pod, State::Terminated(0, "Completed"))
                    .await;
            }
            world.cluster.stage("mine", "finished").await;
            is_ended = true;
        }
    }
    // Nothing follows.
    let mut rest = String::new();
    follower.0.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest.trim(), "");
    let caller = [("X-API-Key", KEY)];
    let mut all = ids(&world.get(&caller, "/api/v1/runs/mine/logs").await.body);
    assert_eq!(all.len() as i64, 3 * written);
    let once = heard.len();
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), once, "lines came twice");
    all.sort();
    assert!(heard == all, "{} of {}", heard.len(), all.len());
    // Whoever comes back once more hears the end at once.
    let event = Follower::start(&world, Some(&last)).await.event().await;
    assert_eq!(event.name, "end");
}

/// Who takes nothing is not buffered for, and makes room for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_does_not_read_is_dropped() {
    const LINES: i64 = 10_000;
    let config = "{auth: {apiKeyMayRead: true}, api: {maxFollowers: 1}}";
    let world = World::start(Database::sqlite(), config).await;
    let text = "x".repeat(1_000);
    for pod in &world.pods {
        let log = world.cluster.log(pod, "k6");
        for number in 0..LINES {
            log.write_line(line_time(1_000 + number), text.as_bytes());
        }
    }
    let lines = "SELECT coalesce(sum(lines), 0) FROM log_streams";
    wait_for("30 MB are recorded", SYNCED_WITHIN, async || {
        world.database.number(lines).await == 150 + 3 * LINES
    })
    .await;
    let before = world.running.peak_memory_kb();
    let idle = Follower::start(&world, None).await;
    let caller = [("X-API-Key", KEY)];
    let path = "/api/v1/runs/mine/logs/follow";
    assert_eq!(world.status(&caller, path).await, 503, "there is one place");
    wait_for("its place is free", TOLD_WITHIN, async || {
        world.status(&caller, path).await == 200
    })
    .await;
    let grown = world.running.peak_memory_kb() - before;
    assert!(grown < 20 * 1024, "{grown} KB");
    // And what it did not read breaks off: nobody takes it for all.
    let mut rest = Vec::new();
    let mut idle = idle.0;
    let cut = timeout(TOLD_WITHIN, idle.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "it is still connected");
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("event: end"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_are_few_and_end_with_the_loop() {
    let config = "{auth: {apiKeyMayRead: true}, api: {maxFollowers: 1}}";
    let mut world = World::start(Database::sqlite(), config).await;
    let mut follower = Follower::start(&world, None).await;
    follower.event().await;
    let caller = [("X-API-Key", KEY)];
    let answer = world.get(&caller, "/api/v1/runs/mine/logs/follow").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5")),
        "{answer:?}"
    );
    world
        .running
        .signal(crate::support::running_loop::Signal::Terminate);
    assert_eq!(world.running.exit_code(Duration::from_secs(20)).await, 0);
    let open = world.running.lines_with("connections were still open");
    assert!(open.is_empty(), "{open:?}");
}
