//! Long work shows how far it is where a person watches, and nothing where the output goes anywhere else.

use std::time::Duration;

use k6sync_standin::{Fault, FaultAction, Options};
use serde_json::json;

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::{Cluster, Database, Program};

on_both_databases!(how_far_long_work_is_shows_on_a_terminal_and_nowhere_else);

/// What clears the line of a terminal.
const CLEARED: &str = "\r\x1b[2K";

/// Runs it to its good end on a terminal, or not on one; checks that the bar was there, or was not, and returns what it
/// said.
async fn run(program: Program, on_terminal: bool, bar: &str) -> String {
    if !on_terminal {
        let run = program.run().await;
        assert_eq!(run.code, 0, "{run:?}");
        assert!(!run.stderr.contains(bar), "{run:?}");
        assert!(!run.stdout.contains(bar), "{run:?}");
        return run.stdout;
    }
    let run = program.on_terminal().run().await;
    assert_eq!(run.code, 0, "{run:?}");
    let (_, after) = run
        .stdout
        .rsplit_once(bar)
        .unwrap_or_else(|| panic!("{run:?}"));
    // It is gone in the end, and no line of the report is behind it.
    let (rest, report) = after
        .split_once(CLEARED)
        .unwrap_or_else(|| panic!("{run:?}"));
    assert!(!rest.contains('\n'), "{run:?}");
    assert!(!report.contains(bar), "{run:?}");
    run.stdout
}

async fn sync(cluster: &Cluster, database: &Database) {
    let report = Program::sync_once(cluster, database, &["--hold=all"])
        .report()
        .await;
    assert_eq!(report["errors"], 0, "{report}");
}

async fn how_far_long_work_is_shows_on_a_terminal_and_nowhere_else(database: Database) {
    for on_terminal in [false, true] {
        database.drop_tables().await;
        let cluster = Cluster::start().await;
        let url = ["--database-url", database.url()];
        let program = |args: &[&str]| Program::new(args).kubeconfig(cluster.kubeconfig());

        let migrate = program(&["migrate"]).args(&url);
        let report = run(migrate, on_terminal, "migrating [").await;
        assert!(report.contains("has schema version"), "{report}");

        let pods = cluster.running("shop", 1).await;
        write_lines(&cluster.log(&pods[0], "k6"), 0..3);
        sync(&cluster, &database).await;
        let verify = program(&["verify"]).args(&url);
        let report = run(verify, on_terminal, "verifying [").await;
        assert!(report.contains("equal"), "{report}");

        let release = program(&["release"]);
        let report = run(release, on_terminal, "releasing [").await;
        let released = format!("released {}/shop", cluster.namespace());
        assert!(report.contains(&released), "{report}");

        let ended = State::Terminated(0, "Completed");
        cluster.container_state(&pods[0], ended).await;
        cluster.stage("shop", "finished").await;
        sync(&cluster, &database).await;
        let old = "UPDATE test_runs SET finished_at = '2025-01-01T00:00:00.000000Z'";
        database.execute(old).await;
        let prune = program(&["prune", "--older-than", "30d"]).args(&url);
        let report = run(prune, on_terminal, "pruning [").await;
        assert!(report.contains("deleted 1 container logs"), "{report}");
    }
}

/// What is logged and printed meanwhile has lines of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_runs_into_the_bar() {
    let cluster = Cluster::standin(Options::default()).await;
    let held = json!({"metadata": {"finalizers": ["k6sync.dev/capture-0a"]}});
    for name in ["shop", "cart"] {
        cluster.test_run(name, 1, "started").await;
        cluster.patch_test_run(name, &held).await;
    }
    let standin = cluster.standin_cluster();
    // Long enough for the bar to be there.
    standin.set_latency(Duration::from_millis(400));
    let forbidden = FaultAction::Status {
        code: 403,
        retry_after_seconds: None,
    };
    standin.fault(Fault::times("patch testruns", 1, forbidden));
    let release = Program::new(&["release"]).kubeconfig(cluster.kubeconfig());
    let run = release.on_terminal().run().await;
    assert_eq!(run.code, 1, "{run:?}");
    for words in ["released ", "cannot release the TestRun "] {
        let mut lines = run.stdout.lines().filter(|line| line.contains(words));
        let line = lines.next().unwrap_or_else(|| panic!("{run:?}"));
        let seen = line.rsplit(CLEARED).next().unwrap();
        assert!(
            seen.contains(words) && !seen.contains("releasing ["),
            "{run:?}"
        );
    }
}
