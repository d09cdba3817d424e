//! What is wrong with a file, a flag, a database, a cluster or an object is told once, with what to do, and does no harm.

mod clusters;
mod databases;
mod objects;
mod secrets;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::Cluster;
use crate::support::cluster::{State, write_lines};
use crate::support::program::Run;

/// Nobody listens on this port.
const CLOSED: &str = "127.0.0.1:1";
/// A certificate, a password or a port that is refused is refused at once; retries go on for 30 seconds.
const AT_ONCE: Duration = Duration::from_secs(10);

/// `k6sync` ended with this exit code and one error, which has these words, and has left nothing behind.
fn assert_refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    for words in words {
        assert!(run.stderr.contains(words), "no `{words}` in {run:?}");
    }
    assert_eq!(run.stdout, "", "no report");
    // clap, which knows no log, begins its message so.
    let is_error = |line: &&str| line.contains(" ERROR ") || line.starts_with("error: ");
    assert_eq!(run.stderr.lines().filter(is_error).count(), 1, "{run:?}");
    assert!(!run.stderr.contains(" WARN "), "{run:?}");
    let files: Vec<&String> = run
        .files
        .iter()
        .filter(|name| !["config.yaml", "k6sync"].contains(&name.as_str()))
        .collect();
    assert!(files.is_empty(), "it left {files:?} behind");
}

/// A folder with one file of this text.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn kubeconfig_of(url: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: '{url}'}}}}]\n\
         users: [{{name: test, user: {{token: token}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test, namespace: k6}}}}]\n"
    )
}

/// A TestRun that runs, with a runner that has logged.
async fn running(cluster: &Cluster, test_run: &str) -> String {
    cluster.test_run(test_run, 1, "started").await;
    let pod = cluster.pod(test_run, "1", State::Running).await;
    write_lines(&cluster.log(&pod, "k6"), 0..3);
    pod
}
