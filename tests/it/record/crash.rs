//! SIGKILL at any moment: while steps are adopted, streams noted, chunks appended, statuses committed, tables made.

use std::time::Duration;

use super::proxy::Proxy;
use super::seed;
use super::world::{Random, Rules, World};
use crate::on_both_databases;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    killed_at_random_moments_the_record_is_complete,
    killed_while_migrating_the_next_migration_completes,
);

const KILLS: u64 = 270;
/// A kill in each of so many statements, once before it reaches the server and once after.
const STATEMENTS: usize = 40;
/// At least so many kills at writes to SQLite's files.
const WRITES: u64 = 100;
const MIGRATIONS: usize = 30;

async fn killed_at_random_moments_the_record_is_complete(database: Database) {
    let cluster = Cluster::start().await;
    let mut world = World::new("crash", seed(1), cluster, database, Rules::default()).await;
    let mut duration = world.duration_of_a_sync().await;
    while world.kills < KILLS {
        world.live().await;
        for _ in 0..5 {
            world.kill_at_random(duration).await;
        }
        if world.random.one_in(4) {
            duration = world.duration_of_a_sync().await;
        }
    }
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0, "no kill costs a line");
}

/// Every statement of a sync, by turns not sent and not heard of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_each_statement_the_record_is_complete() {
    let database = Database::postgres().await;
    let cluster = Cluster::start().await;
    let mut world = World::new(
        "crash_statements",
        seed(2),
        cluster,
        database,
        Rules::default(),
    )
    .await;
    Program::migrate(&world.database).run().await;
    for statement in 1..=STATEMENTS {
        world.live().await;
        for reaches_server in [false, true] {
            let proxy = Proxy::start(world.database.url(), statement, reaches_server).await;
            let program = world.program().args(&["--database-url", &proxy.url]);
            let (mut child, _folder) = program.spawn();
            tokio::select! {
                () = proxy.reached() => {}
                _ = child.wait() => {}
                () = tokio::time::sleep(Duration::from_secs(20)) => panic!("{}", world.about()),
            }
            child.kill().await.unwrap();
            world.kills += 1;
        }
        if statement % 4 == 0 {
            world.sync().await;
        }
    }
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0, "no kill costs a line");
}

/// Writes of a sync to SQLite's files, from the first to the last: not done, half done, and done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_write_to_a_file_the_record_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("kill_at_write.so");
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/record/kill_at_write.c"
    );
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(built.unwrap().success());
    let cluster = Cluster::start().await;
    let rules = Rules::default();
    let mut world = World::new("crash_writes", seed(4), cluster, Database::sqlite(), rules).await;
    let mut syncs = 0;
    while world.kills < WRITES || syncs < 3 {
        world.live().await;
        let mut write = 0;
        loop {
            // A sync has some hundreds of them.
            write += 1 + world.random.below(5);
            let how = ["before", "torn", "after"][write as usize % 3];
            let run = world
                .program()
                .env("LD_PRELOAD", library.to_str().unwrap())
                .env("KILL_AT", &write.to_string())
                .env("KILL_HOW", how)
                .run()
                .await;
            if run.code == 0 {
                // It had fewer writes to do.
                syncs += 1;
                break;
            }
            assert_eq!(run.code, -1, "{}: {run:?}", world.about());
            world.kills += 1;
        }
    }
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0, "no kill costs a line");
}

async fn killed_while_migrating_the_next_migration_completes(database: Database) {
    let cluster = Cluster::start().await;
    let mut random = Random::new(seed(3));
    let begun = std::time::Instant::now();
    let spare = match database.is_postgres() {
        true => Database::postgres().await,
        false => Database::sqlite(),
    };
    Program::migrate(&spare).run().await;
    let duration = begun.elapsed();
    for _ in 0..MIGRATIONS {
        let (mut child, _folder) = Program::migrate(&database).spawn();
        let part = random.below(1_000) as f64 / 1_000.0;
        tokio::time::sleep(duration.mul_f64(part)).await;
        child.kill().await.unwrap();
        if random.one_in(3) {
            // From the beginning again.
            database.drop_tables().await;
        }
    }
    let migrated = Program::migrate(&database).run().await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    assert_eq!(database.tables().await, spare.tables().await);
    let mut world = World::new(
        "crash_migrations",
        seed(3),
        cluster,
        database,
        Rules::default(),
    )
    .await;
    world.kills = MIGRATIONS as u64;
    world.live().await;
    world.finish().await;
}
