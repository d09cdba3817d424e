//! What the tests stand on: a cluster, a database, the binary.

pub mod api_server;
pub mod cluster;
pub mod database;
pub mod door;
pub mod golden;
pub mod postgres_server;
pub mod program;
pub mod running_loop;

use std::sync::atomic::{AtomicU64, Ordering};

pub use cluster::Cluster;
pub use database::Database;
pub use door::Door;
pub use program::Program;
pub use running_loop::RunningLoop;

/// A recording of the real k6-operator (`tests/data/recorded/operator`) at its end, synced at each of its moments.
pub async fn recorded(database: &Database) -> Cluster {
    let cluster = Cluster::start().await;
    sync_recorded(&cluster, database).await;
    cluster
}

/// The same in this cluster.
pub async fn sync_recorded(cluster: &Cluster, database: &Database) {
    for moment in ["t1", "t2", "t3"] {
        cluster.moment_of("operator", moment).await;
        let report = Program::sync_once(cluster, database, &[]).report().await;
        assert_eq!(report["errors"], 0, "{moment}: {report}");
    }
}

/// A name that no other test has, in this process or another.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}

/// A test can't be shown without something that is not here: that is said, and in CI, which installs it, it is a failure.
pub fn not_shown(what_is_missing: &str) {
    let ci = std::env::var("CI").ok();
    assert!(
        !must_show_all(ci.as_deref()),
        "CI shows all tests, but {what_is_missing}"
    );
    println!("not shown: {what_is_missing}");
}

/// By the variable `CI`, as CI systems set it.
fn must_show_all(ci: Option<&str>) -> bool {
    ci.is_some_and(|value| !["", "0", "false"].contains(&value))
}

#[test]
fn in_ci_nothing_passes_without_being_shown() {
    for (ci, expected) in [
        (None, false),
        (Some(""), false),
        (Some("false"), false),
        (Some("true"), true),
        (Some("1"), true),
    ] {
        assert_eq!(must_show_all(ci), expected, "{ci:?}");
    }
}

/// Makes two tests of one: `mod name { sqlite, postgres }`, each with an empty database of its own.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name($crate::support::Database::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name($crate::support::Database::postgres().await).await;
            }
        })+
    };
}
