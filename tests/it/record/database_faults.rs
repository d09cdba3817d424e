//! Databases that go away, lock up, contradict and are full.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};

use super::seed;
use super::world::{Rules, World};
use crate::support::postgres_server::Server;
use crate::support::{Cluster, Database, not_shown};

/// At least so many connections are killed.
const CONNECTIONS: u64 = 25;

async fn world(scenario: &'static str, own_seed: u64, database: Database) -> World {
    let cluster = Cluster::start().await;
    World::new(
        scenario,
        seed(own_seed),
        cluster,
        database,
        Rules::default(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_killed() {
    let mut world = world("connections_killed", 50, Database::postgres().await).await;
    world.sync().await;
    let admin = world.database.url().to_owned();
    let mut killed = 0;
    while killed < CONNECTIONS {
        world.live().await;
        let sync = world.sync();
        tokio::pin!(sync);
        loop {
            tokio::select! {
                _ = &mut sync => break,
                () = tokio::time::sleep(Duration::from_millis(15)) => {
                    let mut connection = PgConnection::connect(&admin).await.unwrap();
                    killed += connection
                        .execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                             WHERE datname = current_database() AND application_name = 'k6sync' AND random() < 0.3",
                        )
                        .await
                        .unwrap()
                        .rows_affected();
                }
            }
        }
    }
    world.faults = killed;
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0);
}

/// Every transaction is serializable, eight syncs collide, and somebody locks rows in the opposite order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_collide() {
    let mut world = world("transactions_collide", 51, Database::postgres().await).await;
    world.sync().await;
    for setting in [
        "default_transaction_isolation = serializable",
        "deadlock_timeout = '20ms'",
    ] {
        world
            .database
            .execute(&format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {}', current_database()); END $$",
                setting.replace('\'', "''")
            ))
            .await;
    }
    let url = world.database.url().to_owned();
    let (mut serialization_failures, mut deadlocks) = (0, 0);
    for _ in 0..10 {
        world.live().await;
        let collider = tokio::spawn(collide(url.clone()));
        let syncs = (0..8).map(|_| world.program().env("RUST_LOG", "k6sync=debug").run());
        for run in join_all(syncs).await {
            world.check_exit(&run);
            serialization_failures += run.stderr.matches("could not serialize access").count();
            deadlocks += run.stderr.matches("deadlock detected").count();
        }
        collider.abort();
        let _ = collider.await;
    }
    assert!(
        serialization_failures > 0 && deadlocks > 0,
        "{serialization_failures} serialization failures, {deadlocks} deadlocks: {}",
        world.about()
    );
    world.faults = (serialization_failures + deadlocks) as u64;
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0);
}

/// Touches steps from the last to the first, one by one, in one transaction, again and again.
async fn collide(url: String) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    loop {
        let _ = connection
            .execute(
                "DO $$ DECLARE step bigint; BEGIN
                     FOR step IN SELECT id FROM test_run_steps ORDER BY id DESC LOOP
                         UPDATE test_run_steps SET position = position WHERE id = step;
                         UPDATE log_streams SET role = role WHERE step_id = step;
                         PERFORM pg_sleep(0.01);
                     END LOOP;
                     UPDATE test_runs SET name = name;
                 END $$",
            )
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_restarted_in_the_middle_of_a_cycle() {
    let Some(server) = Server::start(&[]) else {
        not_shown("there are no PostgreSQL programs here to start a server with");
        return;
    };
    let database = Database::at(&server.url());
    let mut world = world("postgresql_restarted", 52, database).await;
    world.sync().await;
    for round in 0..8_u64 {
        world.live().await;
        let sync = world.sync();
        let restart = async {
            tokio::time::sleep(Duration::from_millis(30 + round * 25)).await;
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.control(&["-m", "immediate", "restart"]))
                .await
                .unwrap();
        };
        tokio::join!(sync, restart);
        world.faults += 1;
    }
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0);
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_is_locked_by_another_writer() {
    let mut world = world("sqlite_locked", 53, Database::sqlite()).await;
    world.sync().await;
    let options: SqliteConnectOptions = world.database.url().parse().unwrap();
    for _ in 0..2 {
        world.live().await;
        let mut other = options.connect().await.unwrap();
        let lock = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            other.execute("BEGIN IMMEDIATE").await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
            other.execute("ROLLBACK").await.unwrap();
        };
        let (run, ()) = tokio::join!(world.sync(), lock);
        assert_eq!(run.code, 0, "{}: {run:?}", world.about());
        other.close().await.unwrap();
        world.faults += 1;
    }
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0);
}

/// No file may grow beyond a limit, which is a little higher each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() {
    let mut world = world("disk_full", 54, Database::sqlite()).await;
    let mut refused = 0;
    for kilobytes in [8, 40, 150, 200, 300, 400, 600] {
        world.live().await;
        let run = world
            .program()
            .limit_file_size(kilobytes * 1024)
            .run()
            .await;
        world.check_exit(&run);
        let said = format!("{}{}", run.stdout, run.stderr);
        if said.contains("disk I/O error") || said.contains("is full") {
            refused += 1;
            world.faults += 1;
            assert!(
                said.contains("is the disk of") || said.contains("make room"),
                "{}: {said}",
                world.about()
            );
        }
    }
    assert!(
        refused >= 3,
        "{}: the limit was felt {refused} times",
        world.about()
    );
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0);
}
