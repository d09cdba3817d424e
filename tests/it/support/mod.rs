//! What the tests stand on: a cluster, a database, the binary.

pub mod api_server;
pub mod cluster;
pub mod database;
pub mod door;
pub mod postgres_server;
pub mod program;
pub mod running_loop;

use std::sync::atomic::{AtomicU64, Ordering};

pub use cluster::Cluster;
pub use database::Database;
pub use door::Door;
pub use program::Program;
pub use running_loop::RunningLoop;

/// A name that no other test has, in this process or another.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
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
