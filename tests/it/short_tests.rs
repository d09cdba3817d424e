//! Tests that are shorter than the interval, as k6-operator runs and deletes them: nothing of them is lost.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k6sync_standin::{Log, Options};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::on_both_databases;
use crate::support::cluster::container_status;
use crate::support::running_loop::wait_for;
use crate::support::{Cluster, Database, RunningLoop};

on_both_databases!(tests_of_1_3_and_8_seconds_are_recorded_whole);

const SOON: Duration = Duration::from_secs(20);

/// k6-operator with one TestRun: makes its pods, ends them, and deletes what has `cleanup: post`. The stand-in is the garbage
/// collector: with the TestRun its pods are gone at once, and their logs.
struct Operator<'a> {
    cluster: &'a Cluster,
    name: String,
    logs: Vec<(String, Log)>,
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn write(log: &Log, text: &str) {
    let now = Timestamp::now().as_nanosecond();
    log.write_line(i64::try_from(now).unwrap(), text.as_bytes());
}

impl<'a> Operator<'a> {
    async fn create(cluster: &'a Cluster, name: &str, cleanup: Option<&str>) -> Self {
        let mut spec = json!({"parallelism": 2});
        if let Some(cleanup) = cleanup {
            spec["cleanup"] = json!(cleanup);
        }
        cluster.test_run_with(name, spec).await;
        Self {
            cluster,
            name: name.to_owned(),
            logs: Vec::new(),
        }
    }

    async fn pod(&mut self, job: &str, state: &Value) -> String {
        let pod = format!("{}-{job}-abcde", self.name);
        let status = json!({"containerStatuses": [container_status("k6", state)]});
        self.cluster
            .pod_with(&pod, &self.name, job, &["k6"], &[], status)
            .await;
        self.logs.push((pod.clone(), self.cluster.log(&pod, "k6")));
        pod
    }

    /// Initializes and starts it; returns the runners' pods.
    async fn start(&mut self) -> Vec<String> {
        let running = json!({"running": {"startedAt": now()}});
        self.cluster.stage(&self.name, "initialization").await;
        for job in ["initializer", "starter"] {
            let pod = self.pod(job, &running).await;
            write(&self.logs.last().unwrap().1, "{\"maxVUs\": 2}");
            self.end(&pod, 0).await;
        }
        let runners = vec![self.pod("1", &running).await, self.pod("2", &running).await];
        self.cluster.stage(&self.name, "started").await;
        runners
    }

    async fn end(&self, pod: &str, exit_code: i64) {
        let ended = json!({"terminated": {
            "exitCode": exit_code, "reason": "Completed", "startedAt": now(), "finishedAt": now(),
        }});
        let status = json!({"containerStatuses": [container_status("k6", &ended)]});
        self.cluster.pod_status(pod, status).await;
    }

    fn log(&self, text: &str) {
        for (_, log) in &self.logs[2..] {
            write(log, text);
        }
    }

    /// A whole life, but for the deletion at its end.
    async fn live(&mut self, life: Duration) {
        let runners = self.start().await;
        let end = Instant::now() + life;
        while Instant::now() < end {
            self.log("a line of a runner");
            sleep(Duration::from_millis(20)).await;
        }
        for runner in &runners {
            self.log("the last words");
            self.end(runner, 0).await;
        }
        self.cluster.stage(&self.name, "finished").await;
    }

    async fn assert_recorded(&self, database: &Database) {
        for (pod, log) in &self.logs {
            let stored = database.log(pod, "k6", 0).await;
            let written = String::from_utf8(log.written()).unwrap();
            assert!(
                stored == written,
                "{pod}: {} bytes are stored, {} were written",
                stored.len(),
                written.len()
            );
        }
    }
}

async fn status(database: &Database, name: &str) -> String {
    let sql = format!("SELECT status FROM test_run_steps WHERE k6_test_name = '{name}'");
    database.texts(&sql).await.pop().unwrap_or_default()
}

async fn tests_of_1_3_and_8_seconds_are_recorded_whole(database: Database) {
    let cluster = Cluster::standin(Options::default()).await;
    let running = RunningLoop::spawn(RunningLoop::program(&cluster, &database)).await;
    let mut latencies = Vec::new();
    for (number, seconds) in [1, 3, 8, 1, 3, 8, 1, 3, 1, 3].into_iter().enumerate() {
        let name = format!("test-{number}");
        let mut operator = Operator::create(&cluster, &name, Some("post")).await;
        operator.live(Duration::from_secs(seconds)).await;
        let ended = Instant::now();
        let clean_up = async {
            sleep(Duration::from_secs(1)).await;
            cluster.delete_test_run(&name).await;
        };
        let verdict = wait_for("the verdict", SOON, async || {
            status(&database, &name).await == "passed"
        });
        let latency = async {
            verdict.await;
            ended.elapsed()
        };
        let ((), latency) = tokio::join!(clean_up, latency);
        latencies.push(latency);
        wait_for("its end", SOON, async || {
            cluster.find_test_run(&name).await.is_none()
        })
        .await;
        operator.assert_recorded(&database).await;
        sleep(Duration::from_secs(4)).await;
    }
    latencies.sort();
    println!("from a test's end to its verdict: {latencies:?}");
    let median = latencies[latencies.len() / 2];
    assert!(median < Duration::from_secs(2), "{latencies:?}");
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
    let held = "SELECT count(*) FROM test_run_steps WHERE held";
    assert_eq!(database.number(held).await, 0);
    let open = "SELECT count(*) FROM log_streams WHERE NOT complete";
    assert_eq!(database.number(open).await, 0);
    // Never two within 5 s.
    let starts = running.lines_with("Starting scheduled K6 steps sync");
    let starts: Vec<Timestamp> = starts
        .iter()
        .map(|line| line.split_once(' ').unwrap().0.parse().unwrap())
        .collect();
    for two in starts.windows(2) {
        let apart = two[1].duration_since(two[0]);
        assert!(apart.as_secs_f64() > 4.9, "{starts:?}");
    }
    let watches =
        "k6sync_kubernetes_requests_total{verb=\"watch\",resource=\"testruns\",code=\"200\"}";
    assert!(running.metric(watches).await >= 1.0);
}

/// Whoever deletes a TestRun while its runners run wants the load to stop, also while a long cycle is running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_while_it_runs_it_is_let_go_within_5_seconds() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let program = RunningLoop::program(&cluster, &database).args(&["--hold"]);
    let running = RunningLoop::spawn(program).await;
    let mut operator = Operator::create(&cluster, "shop", None).await;
    operator.start().await;
    wait_for("the hold", SOON, async || {
        let shop = cluster.find_test_run("shop").await.unwrap();
        shop["metadata"]["finalizers"].is_array()
    })
    .await;
    for _ in 0..50 {
        operator.log("a line of a runner");
    }
    // A cycle that reads another log for long.
    let stall = k6sync_standin::FaultAction::Stall {
        after_bytes: 100,
        duration: Duration::from_secs(9),
    };
    let other = cluster.running("cart", 1).await;
    crate::support::cluster::write_lines(&cluster.log(&other[0], "k6"), 0..50);
    let fault = k6sync_standin::Fault::times("get pods/log", 1, stall);
    cluster.standin_cluster().fault(fault);
    cluster.control(json!({"intervalSeconds": "5"})).await;
    wait_for("a cycle that reads", SOON, async || {
        let starts = running.lines_with("Starting scheduled").len();
        starts > running.lines_with("K6 steps sync completed").len()
            && cluster.standin_cluster().faults_injected() > 0
    })
    .await;
    let deleted = Instant::now();
    cluster.delete_test_run("shop").await;
    wait_for("it is let go", Duration::from_secs(5), async || {
        cluster.find_test_run("shop").await.is_none()
    })
    .await;
    println!("let go after {:?}", deleted.elapsed());
    operator.assert_recorded(&database).await;
    wait_for("the verdict", Duration::from_secs(30), async || {
        database
            .statuses()
            .await
            .contains(&"shop aborted TestRunDeleted".to_owned())
    })
    .await;
    let held = "SELECT count(*) FROM test_run_steps WHERE held AND k6_test_name = 'shop'";
    assert_eq!(database.number(held).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_the_loop_lets_go_of_what_is_being_deleted() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let program = RunningLoop::program(&cluster, &database).args(&["--hold"]);
    let mut running = RunningLoop::spawn(program).await;
    // Its log can't be read, so that it stays held when it is deleted.
    let fault = k6sync_standin::FaultAction::Status {
        code: 500,
        retry_after_seconds: None,
    };
    let fault = k6sync_standin::Fault::always("get pods/log", fault);
    cluster.standin_cluster().fault(fault);
    let mut operator = Operator::create(&cluster, "shop", None).await;
    cluster.running("cart", 1).await;
    let is_held = async |name: &str| {
        let test_run = cluster.find_test_run(name).await;
        test_run.is_some_and(|test_run| test_run["metadata"]["finalizers"].is_array())
    };
    wait_for("the holds", SOON, async || {
        is_held("shop").await && is_held("cart").await
    })
    .await;
    operator.live(Duration::from_millis(100)).await;
    cluster.delete_test_run("shop").await;
    assert!(is_held("shop").await);
    running.signal(crate::support::running_loop::Signal::Terminate);
    assert_eq!(running.exit_code(Duration::from_secs(40)).await, 0);
    assert!(!is_held("shop").await, "{:?}", running.log());
    assert!(
        is_held("cart").await,
        "it is nobody's wish that this one goes"
    );
}
