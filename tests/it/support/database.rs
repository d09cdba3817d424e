//! An empty database for one test, gone after it.

use std::path::PathBuf;

use k6sync::store::LineTimes;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

use super::unique;

/// A database. `k6sync` is given its URL; the test looks in by SQL that both databases know.
pub struct Database {
    url: String,
    kind: Kind,
}

enum Kind {
    Sqlite {
        _folder: TempDir,
    },
    Postgres {
        name: String,
    },
    /// A PostgreSQL database that somebody else cleans up.
    Foreign,
}

/// Where the server is that tests may make databases on.
fn server() -> String {
    std::env::var("K6SYNC_TEST_POSTGRES_URL").unwrap_or_else(|_| {
        panic!(
            "K6SYNC_TEST_POSTGRES_URL is not set: run scripts/test.sh, which starts a PostgreSQL, or set it to \
             postgres://USER:PASSWORD@HOST:PORT/DATABASE of a server where databases may be made"
        )
    })
}

impl Database {
    /// A SQLite file that does not exist yet.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            url: format!("sqlite://{}/k6sync.db", folder.path().display()),
            kind: Kind::Sqlite { _folder: folder },
        }
    }

    /// An empty database on the PostgreSQL server.
    pub async fn postgres() -> Self {
        Self::make_postgres("").await
    }

    async fn make_postgres(template: &str) -> Self {
        let server = server();
        let name = unique("k6sync-test").replace('-', "_");
        let mut connection = PgConnection::connect(&server).await.unwrap();
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}{template}")))
            .await
            .unwrap();
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        Self {
            url: url.into(),
            kind: Kind::Postgres { name },
        }
    }

    /// Another database with all that is in this one, as it is restored from a backup. Nobody else may be connected.
    pub async fn copy(&self) -> Self {
        match &self.kind {
            Kind::Sqlite { .. } => {
                let copy = Self::sqlite();
                let file = copy.sqlite_file().unwrap();
                self.execute(&format!("VACUUM INTO '{}'", file.display()))
                    .await;
                copy
            }
            Kind::Postgres { name } => Self::make_postgres(&format!(" TEMPLATE {name}")).await,
            Kind::Foreign => panic!("it is of another server"),
        }
    }

    /// The database at this URL of a PostgreSQL that goes away with it.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            kind: Kind::Foreign,
        }
    }

    /// Makes it empty again.
    pub async fn drop_tables(&self) {
        match self.sqlite_file() {
            Some(file) => {
                for end in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{end}", file.display()));
                }
            }
            None => {
                self.execute("DROP SCHEMA public CASCADE").await;
                self.execute("CREATE SCHEMA public").await;
            }
        }
    }

    /// What `--database-url` wants.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file, of SQLite.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        self.url.strip_prefix("sqlite://").map(PathBuf::from)
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        !matches!(self.kind, Kind::Sqlite { .. })
    }

    /// Makes PostgreSQL let nobody in, and throws out who is in; or lets everybody in again.
    pub async fn let_in(&self, everybody: bool) {
        let Kind::Postgres { name } = &self.kind else {
            panic!("a file lets in whoever may read it");
        };
        let mut connection = PgConnection::connect(&server()).await.unwrap();
        let statement = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {everybody}");
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
        if !everybody {
            let statement = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            );
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
    }

    /// The first column of each row, which must be text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Sqlite { .. } => {
                let pool = self.open_sqlite().await;
                let rows = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
                pool.close().await;
                rows
            }
            Kind::Postgres { .. } | Kind::Foreign => {
                let pool = PgPool::connect(&self.url).await.unwrap();
                let rows = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
                pool.close().await;
                rows
            }
        }
    }

    /// The one number that a query yields.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.texts(&format!("SELECT CAST(({sql}) AS TEXT)")).await;
        rows[0].parse().unwrap()
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Sqlite { .. } => {
                let pool = self.open_sqlite().await;
                pool.execute(sql).await.unwrap();
                pool.close().await;
            }
            Kind::Postgres { .. } | Kind::Foreign => {
                let pool = PgPool::connect(&self.url).await.unwrap();
                pool.execute(sql).await.unwrap();
                pool.close().await;
            }
        }
    }

    /// Runs statements in one transaction, or none of them.
    pub async fn try_all(&self, statements: &[String]) -> Result<(), sqlx::Error> {
        macro_rules! run {
            ($pool:expr) => {{
                let pool = $pool;
                let outcome = async {
                    let mut tx = pool.begin().await?;
                    for sql in statements {
                        tx.execute(AssertSqlSafe(sql.clone())).await?;
                    }
                    tx.commit().await
                }
                .await;
                pool.close().await;
                outcome
            }};
        }
        match self.kind {
            Kind::Sqlite { .. } => run!(self.open_sqlite().await),
            Kind::Postgres { .. } | Kind::Foreign => {
                run!(PgPool::connect(&self.url).await.unwrap())
            }
        }
    }

    /// The statements that bring the record back as it is now.
    pub async fn save(&self) -> Vec<String> {
        const TABLES: [&str; 9] = [
            "test_runs",
            "test_run_steps",
            "log_streams",
            "log_chunks",
            "log_gaps",
            "runner_summaries",
            "step_metrics",
            "step_checks",
            "step_thresholds",
        ];
        let mut statements = Vec::new();
        for table in TABLES.iter().rev() {
            statements.push(format!("DELETE FROM {table}"));
        }
        for table in TABLES {
            let rows = match self.kind {
                Kind::Sqlite { .. } => {
                    let columns = format!(
                        "SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')"
                    );
                    let row = self.texts(&columns).await.join(" || ', ' || ");
                    let rows = format!("SELECT {row} FROM {table}");
                    let rows = self.texts(&rows).await;
                    rows.into_iter()
                        .map(|row| format!("INSERT INTO {table} VALUES ({row})"))
                        .collect::<Vec<_>>()
                }
                Kind::Postgres { .. } | Kind::Foreign => {
                    let rows = format!(
                        "SELECT 'INSERT INTO {table} SELECT * FROM json_populate_record(NULL::{table}, '
                         || quote_literal(row_to_json(t)) || ')' FROM {table} t"
                    );
                    self.texts(&rows).await
                }
            };
            statements.extend(rows);
        }
        statements
    }

    /// Brings the record back as it was saved.
    pub async fn restore(&self, saved: &[String]) {
        self.try_all(saved).await.unwrap();
    }

    async fn open_sqlite(&self) -> SqlitePool {
        let options: SqliteConnectOptions = self.url.parse().unwrap();
        SqlitePool::connect_with(options).await.unwrap()
    }

    /// `k6_test_name status reason` of each step, in the order of names; `-` for no reason.
    pub async fn statuses(&self) -> Vec<String> {
        self.texts(
            "SELECT k6_test_name || ' ' || status || ' ' || coalesce(reason, '-') FROM test_run_steps
             ORDER BY k6_test_name, id",
        )
        .await
    }

    /// Asks for a run as a dashboard does: rows of (step's name, namespace, TestRun's name), in the order of positions.
    pub async fn insert_run(&self, name: &str, steps: &[(&str, Option<&str>, &str)]) {
        self.execute(&format!("INSERT INTO test_runs (name) VALUES ('{name}')"))
            .await;
        for (position, (step, namespace, test_run)) in (1..).zip(steps) {
            let namespace = namespace.map_or("NULL".to_owned(), |name| format!("'{name}'"));
            self.execute(&format!(
                "INSERT INTO test_run_steps (test_run_id, position, name, namespace, k6_test_name)
                 SELECT max(id), {position}, '{step}', {namespace}, '{test_run}' FROM test_runs WHERE name = '{name}'"
            ))
            .await;
        }
    }

    /// The tables that there are, in the order of their names.
    pub async fn tables(&self) -> Vec<String> {
        self.texts(match self.kind {
            Kind::Sqlite { .. } => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
            }
            Kind::Postgres { .. } | Kind::Foreign => {
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
            }
        })
        .await
    }

    /// The columns of each table, in the order of the tables' names.
    pub async fn columns(&self) -> Vec<(String, Vec<String>)> {
        let mut columns = Vec::new();
        for table in self.tables().await {
            let names = match self.kind {
                Kind::Sqlite { .. } => {
                    format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid")
                }
                Kind::Postgres { .. } | Kind::Foreign => format!(
                    "SELECT column_name::text FROM information_schema.columns
                     WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
                ),
            };
            columns.push((table, self.texts(&names).await));
        }
        columns
    }

    /// Every row of every table, as text: two dumps are equal if nothing has changed.
    pub async fn dump(&self) -> Vec<String> {
        self.dump_of(&self.columns().await).await
    }

    /// The same of these columns alone.
    pub async fn dump_of(&self, columns: &[(String, Vec<String>)]) -> Vec<String> {
        let mut dump = Vec::new();
        for (table, names) in columns {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            let rows = match self.kind {
                Kind::Sqlite { .. } => {
                    let values = names.iter().map(|name| format!("quote({name})"));
                    let row = values.collect::<Vec<_>>().join(" || ' ' || ");
                    format!("SELECT '{table}: ' || {row} AS dumped FROM {table} ORDER BY dumped")
                }
                Kind::Postgres { .. } | Kind::Foreign => format!(
                    "SELECT '{table}: ' || row_to_json(r)::text AS dumped FROM (SELECT {} FROM {table}) r ORDER BY dumped",
                    names.join(", ")
                ),
            };
            dump.extend(self.texts(&rows).await);
        }
        dump
    }

    /// The stored log of a container's life, its chunks joined.
    pub async fn log(&self, pod: &str, container: &str, restart_count: i64) -> String {
        self.texts(&format!(
            "SELECT body FROM log_chunks JOIN log_streams ON id = stream_id
             WHERE pod_name = '{pod}' AND container = '{container}' AND restart_count = {restart_count} ORDER BY seq"
        ))
        .await
        .concat()
    }
}

impl Database {
    /// When each stored line of a log was written, as a chunk says that has its times.
    pub async fn line_times(&self, pod: &str, container: &str) -> Vec<i64> {
        let hex = match self.is_postgres() {
            true => "encode(line_times, 'hex')",
            false => "hex(line_times)",
        };
        let chunks = self
            .texts(&format!(
                "SELECT first_ts || ' ' || last_ts || ' ' || c.lines || ' ' || {hex}
                 FROM log_chunks c JOIN log_streams s ON s.id = stream_id
                 WHERE pod_name = '{pod}' AND container = '{container}' ORDER BY seq"
            ))
            .await;
        let times_of = |chunk: &String| {
            let (numbers, hex) = chunk.rsplit_once(' ').unwrap();
            let numbers: Vec<i64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
            let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
            let bytes = digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8);
            let times = LineTimes::from(bytes.collect::<Vec<u8>>());
            times.decode(numbers[0], numbers[1], numbers[2]).unwrap()
        };
        chunks.iter().flat_map(times_of).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Kind::Postgres { name } = &self.kind else {
            return;
        };
        let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        // A runtime of its own: the test's may be ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let options: PgConnectOptions = server().parse()?;
                let mut connection = PgConnection::connect_with(&options).await?;
                connection.execute(AssertSqlSafe(statement)).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .join();
        if let Ok(Err(error)) = dropped {
            eprintln!("a test database was left behind: {error}");
        }
    }
}
