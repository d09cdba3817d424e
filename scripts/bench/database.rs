//! A database for one subject.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// PostgreSQL too, if there is a server to measure on.
    pub(crate) fn all() -> Vec<Self> {
        let mut kinds = vec![Self::Sqlite];
        kinds.extend(std::env::var_os(SERVER).map(|_| Self::Postgres));
        kinds
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

const SERVER: &str = "K6SYNC_TEST_POSTGRES_URL";

/// Databases of this process are numbered.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct Database {
    kind: Kind,
    url: String,
    /// On PostgreSQL.
    name: String,
}

impl Database {
    pub(crate) async fn create(kind: Kind, folder: &Path) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", prefix());
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}/k6sync.db", folder.display()),
            Kind::Postgres => {
                let mut url = url::Url::parse(&server()?)?;
                url.set_path(&name);
                url.into()
            }
        };
        let database = Self { kind, url, name };
        database.empty(folder).await?;
        Ok(database)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Takes everything out of it.
    pub(crate) async fn empty(&self, folder: &Path) -> Result<()> {
        if self.kind == Kind::Postgres {
            let mut connection = PgConnection::connect(&server()?).await?;
            drop_database(&mut connection, &self.name).await?;
            let create = AssertSqlSafe(format!("CREATE DATABASE {}", self.name));
            connection.execute(create).await?;
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.to_string_lossy().contains("k6sync.db") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub(crate) async fn end(self) -> Result<()> {
        if self.kind == Kind::Postgres {
            drop_database(&mut PgConnection::connect(&server()?).await?, &self.name).await?;
        }
        Ok(())
    }

    /// To PostgreSQL's write-ahead log since ever; SQLite has no server to ask.
    pub(crate) async fn bytes_written(&self) -> Result<Option<u64>> {
        if self.kind == Kind::Sqlite {
            return Ok(None);
        }
        let mut connection = PgConnection::connect(&server()?).await?;
        let bytes: i64 =
            sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
                .fetch_one(&mut connection)
                .await?;
        Ok(Some(bytes.try_into()?))
    }

    /// Adds so many finished steps, ten a run, each with a log that is complete.
    pub(crate) async fn fill(&self, steps: usize) -> Result<()> {
        match self.kind {
            Kind::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await?;
                let mut transaction = connection.begin().await?;
                for statement in FILL_SQLITE {
                    let statement = statement.replace("STEPS", &steps.to_string());
                    transaction.execute(AssertSqlSafe(statement)).await?;
                }
                transaction.commit().await?;
                connection
                    .execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    .await?;
            }
            Kind::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await?;
                for statement in FILL_POSTGRES {
                    let statement = statement.replace("STEPS", &steps.to_string());
                    connection.execute(AssertSqlSafe(statement)).await?;
                }
            }
        }
        Ok(())
    }
}

/// Drops what an interrupted measurement left.
pub(crate) async fn drop_all() -> Result<()> {
    if std::env::var_os(SERVER).is_none() {
        return Ok(());
    }
    let mut connection = PgConnection::connect(&server()?).await?;
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
            .bind(prefix())
            .fetch_all(&mut connection)
            .await?;
    for name in names {
        drop_database(&mut connection, &name).await?;
    }
    Ok(())
}

async fn drop_database(connection: &mut PgConnection, name: &str) -> Result<()> {
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    connection.execute(AssertSqlSafe(drop)).await?;
    Ok(())
}

fn prefix() -> String {
    format!("k6sync_bench_{}_", std::process::id())
}

fn server() -> Result<String> {
    std::env::var(SERVER).with_context(|| format!("{SERVER} is not set"))
}

const FILL_SQLITE: [&str; 4] = [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < STEPS / 10)
     INSERT INTO test_runs (name, namespace, status, started_at, finished_at)
     SELECT 'old-' || i, 'k6-runs', 'passed', '2026-01-01T00:00:00.000000Z', '2026-01-01T01:00:00.000000Z' FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < STEPS)
     INSERT INTO test_run_steps (test_run_id, name, namespace, k6_test_name, k6_uid, parallelism, stage, status)
     SELECT 1 + (i - 1) / 10, 'old-' || i, 'k6-runs', 'old-' || i, hex(randomblob(16)), 1, 'finished', 'passed' FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < STEPS)
     INSERT INTO log_streams (step_id, pod_name, pod_uid, container, role, restart_count, state, lines, complete)
     SELECT i, 'old-' || i || '-1-abcde', hex(randomblob(16)), 'k6', 'runner', 0, 'terminated', 2, TRUE FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < STEPS)
     INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body)
     SELECT i, 0, 1, 2, 2, hex(randomblob(100)) FROM n",
];

const FILL_POSTGRES: [&str; 5] = [
    "INSERT INTO test_runs (name, namespace, status, started_at, finished_at)
     SELECT 'old-' || i, 'k6-runs', 'passed', '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z'
     FROM generate_series(1, STEPS / 10) i",
    "INSERT INTO test_run_steps (test_run_id, name, namespace, k6_test_name, k6_uid, parallelism, stage, status)
     SELECT 1 + (i - 1) / 10, 'old-' || i, 'k6-runs', 'old-' || i, gen_random_uuid()::text, 1, 'finished', 'passed'
     FROM generate_series(1, STEPS) i",
    "INSERT INTO log_streams (step_id, pod_name, pod_uid, container, role, restart_count, state, lines, complete)
     SELECT i, 'old-' || i || '-1-abcde', gen_random_uuid()::text, 'k6', 'runner', 0, 'terminated', 2, TRUE
     FROM generate_series(1, STEPS) i",
    "INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body)
     SELECT i, 0, 1, 2, 2, repeat('log ', 50) FROM generate_series(1, STEPS) i",
    "VACUUM ANALYZE",
];
