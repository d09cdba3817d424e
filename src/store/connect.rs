//! Opening a database: the pools, how long to wait, and what stands between us and PostgreSQL.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor, Row};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::transaction::Begin;
use super::url::DatabaseUrl;
use crate::discreet;

/// Other processes may be writing; each write is short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const PAGE_BYTES: u32 = 16 * 1024;
/// A server that does not answer is given up on after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// And asked for its reasons after this.
const LONG_CONNECT: Duration = Duration::from_millis(250);
/// The same number on every Unix that we run on.
const SIGXFSZ: i32 = 25;
/// Enough to keep PostgreSQL busy while bodies stream in, few enough for a small server.
const POSTGRES_CONNECTIONS: u32 = 8;
/// Those who read beside it, few at a time.
const READERS: u32 = 4;
/// KiB of pages that each of them keeps, as SQLite wants it written; the system keeps them, too.
const READER_CACHE: &str = "-256";
/// Nobody reads most of the time.
const READER_IDLE: Duration = Duration::from_secs(60);
/// What makes a session of PostgreSQL refuse to write.
const READ_ONLY: (&str, &str) = ("default_transaction_read_only", "on");
/// A setting of our own that comes along with each connection to PostgreSQL. Poolers refuse it, or leave it behind.
const DIRECT: (&str, &str) = ("k6sync.direct", "on");
const IS_DIRECT: &str = "SELECT current_setting('k6sync.direct', true)";

/// A pool of connections. Both drivers take the same calls, but share no type: see `on!`.
#[derive(Debug)]
pub(super) enum Db {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Write,
    /// Reading, several at a time.
    Read,
}

/// How a k6sync database is opened.
fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    Ok(url
        .parse::<SqliteConnectOptions>()?
        .create_if_missing(true)
        // Of a new file. Lines of log are large: with SQLite's own 4 KiB most of them would need an overflow page.
        .page_size(PAGE_BYTES)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode a power cut may undo the last commits but never splits one; the next sync reads those lines again.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT))
}

/// How a database is opened for reading: without all that would change the file.
pub(super) fn sqlite_options_to_read(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    Ok(url
        .parse::<SqliteConnectOptions>()?
        .create_if_missing(false)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT))
}

/// The SQLite database at this URL.
pub(super) async fn open_sqlite(
    url: &DatabaseUrl,
    text: &str,
    access: Access,
) -> Result<(Db, Begin), sqlx::Error> {
    let must_exist = url.has_mode("rw");
    let options = match access {
        Access::Write => sqlite_options(text)?.create_if_missing(!must_exist),
        Access::Read => sqlite_options_to_read(text)?,
    };
    // Writing beyond a limit on file sizes must be an error of SQLite, not the end of the process.
    drop(signal(SignalKind::from_raw(SIGXFSZ))?);
    let pool = SqlitePoolOptions::new()
        .max_connections(match access {
            // SQLite has one writer, and tasks of ours wait better in a queue than for a lock.
            Access::Write => 1,
            Access::Read => READERS,
        })
        // It costs nothing, and each new one might find another file.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await?;
    // Connections to come belong to the file that is there now: a new, empty one would be a silent loss.
    pool.set_connect_options(options.create_if_missing(false));
    Ok((Db::Sqlite(pool), Begin::SQLITE))
}

/// Readers of the SQLite database at this URL, which is open. It connects when it is first used.
pub(super) fn sqlite_readers(text: &str) -> Result<SqlitePool, sqlx::Error> {
    Ok(SqlitePoolOptions::new()
        .max_connections(READERS)
        .idle_timeout(READER_IDLE)
        .connect_lazy_with(sqlite_options_to_read(text)?.pragma("cache_size", READER_CACHE)))
}

/// Readers of the PostgreSQL database that `pool` is open to. It connects when it is first used.
pub(super) fn postgres_readers(pool: &PgPool, is_direct: bool) -> PgPool {
    let options = PgConnectOptions::clone(&pool.connect_options());
    postgres_pool(Access::Read).connect_lazy_with(match is_direct {
        true => options.options([READ_ONLY]),
        // It begins a transaction for each query, which says so itself.
        false => options,
    })
}

/// The PostgreSQL database at this URL, directly or behind a pooler.
pub(super) async fn open_postgres(
    url: &DatabaseUrl,
    access: Access,
) -> Result<(Db, Begin), sqlx::Error> {
    for parameter in url.foreign_parameters() {
        tracing::warn!("the database URL's parameter {parameter} is passed over");
    }
    for (parameter, file) in url.certificate_files() {
        if let Err(error) = std::fs::File::open(&file) {
            let problem = format!(
                "{parameter} names {}, which can't be read: {error}",
                discreet::name(&file)
            );
            return Err(sqlx::Error::Configuration(problem.into()));
        }
    }
    let options = url
        .postgres_options()
        .unwrap_or_else(|| Err(sqlx::Error::Configuration("no PostgreSQL URL".into())))?
        .application_name("k6sync")
        // Nothing of ours depends on it, and poolers refuse it.
        .extra_float_digits(None);
    let direct = options.clone().options([DIRECT]);
    let direct = match access {
        Access::Write => direct,
        Access::Read => direct.options([READ_ONLY]),
    };
    match connect(direct, access).await {
        Ok(pool) => {
            if is_direct(&pool).await? {
                return Ok((Db::Postgres(pool), Begin::POSTGRES));
            }
            pool.close().await;
        }
        Err(error) if is_startup_refused(&error) => {}
        Err(error) => return Err(error),
    }
    tracing::info!(
        "there is a pooler such as PgBouncer before PostgreSQL: no prepared statement outlasts a transaction"
    );
    // What is prepared is on one of the server's connections, and the next transaction may be on another.
    let pooled = options.statement_cache_capacity(0);
    let pool = connect(pooled, access).await?;
    Ok((Db::Postgres(pool), Begin::POOLED))
}

fn postgres_pool(access: Access) -> PgPoolOptions {
    let options = PgPoolOptions::new().acquire_timeout(CONNECT_TIMEOUT);
    match access {
        Access::Write => options.max_connections(POSTGRES_CONNECTIONS),
        Access::Read => options.max_connections(READERS).idle_timeout(READER_IDLE),
    }
}

async fn connect(options: PgConnectOptions, access: Access) -> Result<PgPool, sqlx::Error> {
    let pool = postgres_pool(access).connect_with(options.clone());
    tokio::select! {
        pool = pool => match pool {
            Err(sqlx::Error::PoolTimedOut) => Err(timed_out()),
            pool_or_error => pool_or_error,
        },
        error = refusal(&options) => Err(error),
    }
}

fn timed_out() -> sqlx::Error {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Why there is no connection to be had. A pool that is refused one tries on until its timeout, and then has forgotten
/// why; so where it takes long, a single connection finds out. Each costs a login, which is no small part of a short cycle.
async fn refusal(options: &PgConnectOptions) -> sqlx::Error {
    tokio::time::sleep(LONG_CONNECT).await;
    match options.connect().await {
        Ok(connection) => {
            // The pool will have its own in a moment.
            drop(connection.close().await);
            std::future::pending().await
        }
        Err(error) => error,
    }
}

/// Why the pool had no connection in time: the error that a connection of our own gets, if it gets one.
pub(super) async fn why_none(pool: &PgPool, otherwise: sqlx::Error) -> sqlx::Error {
    let options = pool.connect_options();
    match timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(Ok(connection)) => {
            drop(connection.close().await);
            otherwise
        }
        Ok(Err(error)) => error,
        Err(_) => timed_out(),
    }
}

/// Whether our own setting has come along. By the simple protocol, which needs no prepared statement.
async fn is_direct(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let row = pool.fetch_one(IS_DIRECT).await?;
    Ok(row.try_get::<Option<String>, _>(0)?.as_deref() == Some(DIRECT.1))
}

/// PgBouncer takes only the startup parameters that it knows.
fn is_startup_refused(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("08P01") && error.message().contains("startup parameter")
    })
}

/// Leaves the connection to a file that is no longer at its path open until the process ends: by closing it SQLite would
/// delete the `-wal` that is at the path now, which is another's.
pub(super) fn abandon(pool: &SqlitePool) {
    if let Some(connection) = pool.try_acquire() {
        std::mem::forget(connection.detach());
    }
}
