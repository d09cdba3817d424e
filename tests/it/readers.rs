//! Whoever reads never waits for a cycle, holds nothing up, and writes nothing. By the library: no command reads so yet.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k6sync::store::{CycleRecord, DatabaseUrl, Reader, Store, StoreError};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::time::timeout;

use crate::on_both_databases;
use crate::support::Database;

on_both_databases!(
    a_reader_waits_for_no_writer,
    a_reader_that_pauses_holds_nothing_up,
    a_reader_neither_makes_nor_migrates_a_database,
);

/// What waits for nothing is there by then, on a busy machine too.
const PROMPTLY: Duration = Duration::from_secs(10);
/// And what waits is not there by then.
const A_WHILE: Duration = Duration::from_millis(500);

fn url(database: &Database) -> DatabaseUrl {
    database.url().parse().unwrap()
}

fn cycle(number: i64) -> CycleRecord {
    CycleRecord {
        started_at: Timestamp::from_second(1_795_408_783 + number).unwrap(),
        duration_ms: number,
        trigger: "loop".to_owned(),
        instance: "reader-test".to_owned(),
        outcome: "completed".to_owned(),
        total: 1,
        updated: 0,
        logs_updated: 0,
        log_bytes: 0,
        looked_at: None,
        cluster: None,
        errors: Vec::new(),
    }
}

async fn store_with_one_cycle(database: &Database) -> Arc<Store> {
    let store = Store::open(&url(database), false).await.unwrap();
    store.migrate().await.unwrap();
    store.record_cycle(&cycle(0)).await.unwrap();
    Arc::new(store)
}

/// A transaction that has changed all cycles and lets nobody else write one.
enum Writer {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Writer {
    async fn begin(database: &Database) -> Self {
        match database.is_postgres() {
            true => {
                let mut connection = PgConnection::connect(database.url()).await.unwrap();
                let change = "BEGIN; LOCK TABLE sync_cycles IN EXCLUSIVE MODE; UPDATE sync_cycles SET total = 99";
                connection.execute(change).await.unwrap();
                Self::Postgres(connection)
            }
            false => {
                let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
                let change = "BEGIN IMMEDIATE; UPDATE sync_cycles SET total = 99";
                connection.execute(change).await.unwrap();
                Self::Sqlite(connection)
            }
        }
    }

    async fn commit(self) {
        match self {
            Self::Sqlite(mut connection) => drop(connection.execute("COMMIT").await.unwrap()),
            Self::Postgres(mut connection) => drop(connection.execute("COMMIT").await.unwrap()),
        }
    }
}

async fn a_reader_waits_for_no_writer(database: Database) {
    let store = store_with_one_cycle(&database).await;
    let writer = Writer::begin(&database).await;
    let waiting: Vec<_> = (1..=20)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.record_cycle(&cycle(number)).await })
        })
        .collect();
    // Until not one of the connections that write is left.
    while timeout(A_WHILE, store.last_cycles(1)).await.is_ok() {}

    let reader = store.reader().unwrap();
    let reads: Vec<_> = (0..20)
        .map(|_| {
            let reader = Arc::clone(&reader);
            tokio::spawn(async move { reader.last_cycles(50).await })
        })
        .collect();
    for read in reads {
        let cycles = timeout(PROMPTLY, read).await.unwrap().unwrap().unwrap();
        let totals: Vec<i64> = cycles.iter().map(|cycle| cycle.total).collect();
        assert_eq!(totals, [1], "what is not committed is not there");
    }
    // One of its own as well.
    let other = Reader::open(&url(&database)).await.unwrap();
    other.check_schema().await.unwrap();
    let cycles = timeout(PROMPTLY, other.last_cycles(50)).await.unwrap();
    assert_eq!(cycles.unwrap().len(), 1);

    writer.commit().await;
    for waited in waiting {
        waited.await.unwrap().unwrap();
    }
    for reader in [&*reader, &other] {
        let cycles = reader.last_cycles(50).await.unwrap();
        assert_eq!(cycles.len(), 21);
        assert_eq!(cycles[20].total, 99);
    }
    other.close().await;
    store.close().await;
}

async fn a_reader_that_pauses_holds_nothing_up(database: Database) {
    let store = store_with_one_cycle(&database).await;
    let reader = store.reader().unwrap();
    reader.last_cycles(1).await.unwrap();
    store.record_cycle(&cycle(1)).await.unwrap();
    let held_up = match database.is_postgres() {
        true => {
            let open = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'k6sync' AND xact_start IS NOT NULL";
            database.number(open).await
        }
        // Whether what is in the WAL can't be put into the file because somebody reads what was before.
        false => {
            let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
            let checkpoint = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)");
            let is_busy = checkpoint.fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            is_busy
        }
    };
    assert_eq!(held_up, 0);
    assert_eq!(reader.last_cycles(9).await.unwrap().len(), 2);
    store.close().await;
    if let Some(file) = database.sqlite_file() {
        let wal = format!("{}-wal", file.display());
        assert!(!std::fs::exists(wal).unwrap(), "all is in the file");
    }
}

async fn a_reader_neither_makes_nor_migrates_a_database(database: Database) {
    let opened = Reader::open(&url(&database)).await;
    let error = match opened {
        Ok(reader) => reader.check_schema().await.unwrap_err(),
        Err(error) => error,
    };
    match database.sqlite_file() {
        Some(file) => {
            assert!(matches!(error, StoreError::Open { .. }), "{error}");
            assert!(!file.exists());
        }
        None => {
            let is_older = matches!(error, StoreError::SchemaOlder { found: 0, .. });
            assert!(is_older, "{error}");
            assert!(database.tables().await.is_empty());
        }
    }
}

/// What a statement would write, a function that it calls, is refused by the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_told_that_a_reader_only_reads() {
    let database = Database::postgres().await;
    let store = store_with_one_cycle(&database).await;
    for statement in [
        "ALTER TABLE sync_cycles RENAME TO cycles",
        "CREATE FUNCTION note() RETURNS bigint LANGUAGE sql VOLATILE
         AS 'INSERT INTO clusters VALUES (gen_random_uuid()::text, now()) RETURNING 1::bigint'",
        "CREATE VIEW sync_cycles AS SELECT c.* FROM cycles c, note() one WHERE one = 1",
    ] {
        database.execute(statement).await;
    }
    store.last_cycles(1).await.unwrap();
    let own = Reader::open(&url(&database)).await.unwrap();
    let dry = Store::open(&url(&database), true).await.unwrap();
    for reader in [&*store.reader().unwrap(), &own, &dry] {
        let error = reader.last_cycles(1).await.unwrap_err().to_string();
        assert!(error.contains("read-only transaction"), "{error}");
    }
    let written = database.number("SELECT count(*) FROM clusters").await;
    assert_eq!(written, 1);
}

/// The file under a reader may be replaced, or lose its WAL, as that of the store itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_follows_what_becomes_of_the_file() {
    let database = Database::sqlite();
    let file = database.sqlite_file().unwrap();
    let store = store_with_one_cycle(&database).await;
    let count = async |expected: usize| {
        let reader = store.reader().unwrap();
        assert_eq!(reader.last_cycles(9).await.unwrap().len(), expected);
    };
    count(1).await;
    store.check().await.unwrap();
    std::fs::remove_file(format!("{}-wal", file.display())).unwrap();
    store.check().await.unwrap();
    count(1).await;
    store.record_cycle(&cycle(1)).await.unwrap();
    count(2).await;

    // A copy of the same database, with one cycle more.
    let copy = file.with_extension("copy");
    let vacuum = AssertSqlSafe(format!("VACUUM INTO '{}'", copy.display()));
    let mut connection = SqliteConnection::connect(database.url()).await.unwrap();
    connection.execute(vacuum).await.unwrap();
    connection.close().await.unwrap();
    let other: DatabaseUrl = format!("sqlite://{}", copy.display()).parse().unwrap();
    let other = Store::open(&other, false).await.unwrap();
    other.record_cycle(&cycle(2)).await.unwrap();
    other.close().await;
    std::fs::rename(&copy, &file).unwrap();
    assert!(matches!(store.reader(), Err(StoreError::Gone { .. })));
    store.check().await.unwrap();
    count(3).await;
    store.close().await;
}
