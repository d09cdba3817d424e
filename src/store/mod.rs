//! Everything that talks to SQL. The cycle calls it; it knows nothing of Kubernetes and decides nothing.
//!
//! Each public method is one step of the cycle and one transaction. Any number of k6syncs may use one database at once:
//! what must not happen twice is guarded here, by a unique key, a version, or the position that an append expects.

mod check;
mod connect;
mod error;
mod file;
mod migrate;
pub mod model;
mod postgres;
pub mod proof;
mod sql;
mod sqlite;
mod text;
mod time;
mod transaction;
mod url;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;
use std::time::Duration;

use self::connect::Db;
pub use self::error::StoreError;
use self::file::OpenFile;
use self::model::{
    Appended, BadStep, ChunksBefore, CycleRecord, Gap, GapRow, HeldStep, NewStep, RunRecord,
    Status, Step, StepSummary, StepUpdate, Stream, StreamAppend, StreamFacts, StreamPosition,
};
use self::proof::{Digest, SealedStep};
use self::sql::{InsertChunks, Placed, Sql};
pub use self::text::{sql_text, with_runs_joined};
pub use self::url::{DatabaseUrl, DatabaseUrlError};
use crate::retry::{Policy, Retry, retry};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Transactions undone by others, or by a connection that broke, are tried again like this.
const AGAIN: Policy = Policy {
    first_pause: Duration::from_millis(20),
    longest_pause: Duration::from_secs(1),
    total: Duration::from_secs(15),
};
/// An open database of the current schema.
#[derive(Debug)]
pub struct Store {
    db: Db,
    sql: &'static Sql,
    url: DatabaseUrl,
    /// The file, of SQLite.
    file: Option<OpenFile>,
    /// Which database it is, once that is known.
    id: OnceLock<String>,
    /// Reads everything and writes nothing.
    dry_run: bool,
    /// Exists in memory only, for a dry run without a database.
    imaginary: bool,
}

/// Runs one piece of code on whichever pool there is: both drivers take the same calls, but share no type.
macro_rules! on {
    ($store:expr, $pool:ident => $body:expr) => {
        match &$store.db {
            Db::Sqlite($pool) => $body,
            Db::Postgres($pool) => $body,
        }
    };
}
use on;

/// Runs `$body` as a transaction that may write, again if others undid it; `$action` says what it is for.
macro_rules! transaction {
    ($store:expr, $action:literal, $tx:ident => $body:expr) => {
        transaction!($store, $store.sql.begin, $action, $tx => $body)
    };
    ($store:expr, $begin:expr, $action:literal, $tx:ident => $body:expr) => {
        match $store.still_there() {
            Err(error) => Err(error),
            Ok(()) => {
                $store
                    .again($action, || async {
                        on!($store, pool => in_transaction!(pool, $begin, $tx => $body))
                    })
                    .await
            }
        }
    };
}

/// One attempt at a transaction. Only one that has ended as it should gives its connection back.
macro_rules! in_transaction {
    ($pool:expr, $begin:expr, $tx:ident => $body:expr) => {{
        let mut leased = $crate::store::transaction::Leased::new($pool.acquire().await?);
        let mut $tx = sqlx::Connection::begin_with(&mut *leased, $begin).await?;
        let outcome: Result<_, sqlx::Error> = async { Ok($body) }.await;
        match outcome {
            Ok(outcome) => {
                $tx.commit().await?;
                leased.has_ended();
                Ok(outcome)
            }
            Err(error) => {
                if $tx.rollback().await.is_ok() {
                    leased.has_ended();
                }
                Err(error)
            }
        }
    }};
}

/// The rows that a query yields; asked again if the connection breaks. Whatever is prepared is prepared and run within one
/// transaction where a pooler might part them.
macro_rules! fetch_all {
    ($store:expr, $action:literal, $query:expr) => {
        $store
            .again($action, || async {
                on!($store, pool => match $store.sql.begin_read {
                    Some(begin) => in_transaction!(pool, begin, tx => {
                        $query.fetch_all(&mut *tx).await?
                    }),
                    None => $query.fetch_all(pool).await,
                })
            })
            .await
    };
}

/// The same, each row one text.
macro_rules! rows {
    ($store:expr, $action:literal, $sql:ident $(, $bind:expr)*) => {
        fetch_all!(
            $store,
            $action,
            sqlx::query_scalar::<_, String>($store.sql.$sql)$(.bind($bind))*
        )
    };
}

// After the macros that they use.
mod clusters;
mod prune;
mod recorded;

pub use self::clusters::{KnownNamespace, Registration, SeenNamespace};
pub use self::prune::Prunable;
pub use self::recorded::{ChunkRow, Overview, Read, StepRow, Unreadable};

/// What to look at: namespaces, and which one a step without a namespace means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepScope<'a> {
    /// `None`: all.
    pub namespaces: Option<&'a [String]>,
    /// For rows whose namespace is null or empty.
    pub default_namespace: &'a str,
    /// `clusters.id`: no steps of other clusters. `None`: it is not known which cluster this is, and all steps are meant.
    pub cluster: Option<&'a str>,
}

impl Store {
    /// Opens the database at `url`, creating a SQLite file that is missing.
    ///
    /// With `dry_run` nothing is ever written: a missing SQLite file is taken for an empty database.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it can't be reached, opened or logged in to, [`StoreError::ReadOnly`].
    pub async fn open(url: &DatabaseUrl, dry_run: bool) -> Result<Self, StoreError> {
        let imaginary = dry_run && url.sqlite_file().is_some_and(|file| !file.exists());
        if !dry_run && url.has_mode("ro") {
            return Err(StoreError::ReadOnly {
                url: url.clone(),
                problem: "its URL says mode=ro; leave that out",
            });
        }
        let opened = match url {
            DatabaseUrl::Sqlite(_) if imaginary => {
                connect::open_sqlite(url, "sqlite::memory:", false).await
            }
            DatabaseUrl::Sqlite(text) => connect::open_sqlite(url, text, dry_run).await,
            DatabaseUrl::Postgres(_) => connect::open_postgres(url).await,
        };
        let (db, sql) = opened.map_err(|error| StoreError::open(url, &error))?;
        let file = url.sqlite_file().filter(|_| !imaginary);
        Ok(Self {
            db,
            sql,
            url: url.clone(),
            file: file.map(OpenFile::new),
            id: OnceLock::new(),
            dry_run,
            imaginary,
        })
    }

    /// Which database it is; without its password.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Which database this is: the same for whoever uses it, and no other's.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn database_id(&self) -> Result<&str, StoreError> {
        if self.id.get().is_none() {
            let rows = rows!(self, "read which database this is", database_id)?;
            if let Some(id) = rows.into_iter().next() {
                let _ = self.id.set(id);
            }
        }
        self.id
            .get()
            .map(String::as_str)
            .ok_or_else(|| self.failed("read which database this is", &sqlx::Error::RowNotFound))
    }

    /// The steps of `scope` that are not at their end: those without a verdict, and those whose logs are not complete. Those
    /// that name a cluster that the database does not know are among them.
    /// Rows that can't be understood come apart, each with what is wrong with it.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn active_steps(
        &self,
        scope: &StepScope<'_>,
    ) -> Result<(Vec<Step>, Vec<BadStep>), StoreError> {
        let namespaces = scope.namespaces.map(|names| json(&names));
        let rows = rows!(
            self,
            "read the active steps",
            active_steps,
            &namespaces,
            scope.default_namespace,
            scope.cluster
        )?;
        let mut steps = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        for row in rows {
            match serde_json::from_str(&row) {
                Ok(step) => steps.push(step),
                Err(error) => bad.push(bad_step(&row, &error)),
            }
        }
        Ok((steps, bad))
    }

    /// Which steps the TestRuns with these uids belong to.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn claimed(&self, uids: &[&str]) -> Result<HashMap<String, i64>, StoreError> {
        if uids.is_empty() {
            return Ok(HashMap::new());
        }
        let uids = json(&uids);
        let rows = rows!(self, "find the steps of TestRuns", claimed, &uids)?;
        claims(rows).map_err(|error| self.failed("find the steps of TestRuns", &error))
    }

    /// Makes a step, and where needed a run, of each TestRun; those that have become another step's meanwhile are left
    /// out. In a dry run the steps are made up, with negative ids.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn adopt(&self, new: &[NewStep]) -> Result<Vec<Step>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        if self.dry_run {
            return Ok(new
                .iter()
                .zip(1..)
                .map(|(step, number)| adopted(step, -number, -number))
                .collect());
        }
        let now = time::to_sql(Timestamp::now());
        let uids: Vec<&str> = new.iter().map(|step| step.k6_uid.as_str()).collect();
        let (steps, reopened) = transaction!(self, "adopt TestRuns", tx => {
            sqlx::query(self.sql.lock_adoption).execute(&mut *tx).await?;
            let taken = claims(
                sqlx::query_scalar(self.sql.claimed).bind(json(&uids)).fetch_all(&mut *tx).await?,
            )?;
            let mut steps = Vec::with_capacity(new.len());
            let mut reopened = Vec::new();
            for step in new.iter().filter(|step| !taken.contains_key(&step.k6_uid)) {
                let known: Option<(i64, String)> = match step.grouped {
                    true => {
                        sqlx::query_as(self.sql.find_run)
                            .bind(&step.run_name)
                            .bind(&step.namespace)
                            .bind(&step.cluster)
                            .fetch_optional(&mut *tx)
                            .await?
                    }
                    false => None,
                };
                let run_id: i64 = match known {
                    Some((id, status)) => {
                        if Status::parse(&status).is_some_and(Status::is_final) {
                            reopened.push((id, status, step));
                        }
                        id
                    }
                    None => {
                        sqlx::query_scalar(self.sql.insert_run)
                            .bind(&step.run_name)
                            .bind(&step.namespace)
                            .bind(time::to_sql(step.created_at))
                            .bind(&now)
                            .fetch_one(&mut *tx)
                            .await?
                    }
                };
                let id: i64 = sqlx::query_scalar(self.sql.insert_step)
                    .bind(run_id)
                    .bind(json(step))
                    .fetch_one(&mut *tx)
                    .await?;
                steps.push(adopted(step, id, run_id));
            }
            let seals: Vec<StepSeal> = steps.iter().map(StepSeal::of_new).collect();
            if !seals.is_empty() {
                sqlx::query(self.sql.seal_steps).bind(json(&seals)).execute(&mut *tx).await?;
            }
            (steps, reopened)
        })?;
        for (run, status, step) in reopened {
            tracing::info!(
                run,
                was = status,
                k6_test_name = step.k6_test_name,
                namespace = step.namespace,
                "the run {} had ended and is running again: a TestRun with its label appeared",
                step.run_name
            );
        }
        Ok(steps)
    }

    /// The log streams of these steps, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn streams(&self, step_ids: &[i64]) -> Result<Vec<Stream>, StoreError> {
        if step_ids.is_empty() {
            return Ok(Vec::new());
        }
        let step_ids = json(&step_ids);
        let rows = rows!(self, "read the log streams", streams, &step_ids)?;
        rows_of(rows).map_err(|error| self.failed("read the log streams", &error))
    }

    /// Makes streams of lives that are new, and notes the state of those that are known and had not ended.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn put_streams(&self, facts: &[&StreamFacts]) -> Result<(), StoreError> {
        if facts.is_empty() || self.dry_run {
            return Ok(());
        }
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            facts: &'a StreamFacts,
            facts_seal: Digest,
        }
        let rows: Vec<Row<'_>> = facts
            .iter()
            .map(|facts| Row {
                facts,
                facts_seal: proof::facts_seal(facts),
            })
            .collect();
        let mut step_ids: Vec<i64> = facts.iter().map(|facts| facts.step_id).collect();
        step_ids.sort_unstable();
        step_ids.dedup();
        let (rows, step_ids) = (json(&rows), json(&step_ids));
        transaction!(self, "note the state of containers", tx => {
            sqlx::query(self.sql.lock_steps).bind(&step_ids).fetch_all(&mut *tx).await?;
            // How many are made is what the number afterwards is more than the one before.
            sqlx::query(self.sql.count_streams_off).bind(&step_ids).execute(&mut *tx).await?;
            sqlx::query(self.sql.put_streams).bind(&rows).execute(&mut *tx).await?;
            sqlx::query(self.sql.count_streams_in).bind(&step_ids).execute(&mut *tx).await?;
        })
    }

    /// Stores what is new of each of these streams, or nothing of those that are no longer at the position; all in one
    /// transaction. No stream may be there twice.
    ///
    /// # Errors
    /// [`StoreError::Statement`]; nothing is stored then.
    pub async fn append(&self, appends: &[StreamAppend]) -> Result<Vec<Appended>, StoreError> {
        let noticed_at = Timestamp::now();
        let moves: Vec<StreamMove> = appends
            .iter()
            .map(|append| StreamMove::of(append, noticed_at))
            .collect();
        let moved: HashMap<i64, i64> = match self.dry_run {
            true => appends.iter().map(|append| (append.stream_id, 0)).collect(),
            false => {
                self.store_appends(appends, &json(&moves), noticed_at)
                    .await?
            }
        };
        Ok(appends
            .iter()
            .zip(moves)
            .map(
                |(append, moves)| match moved.contains_key(&append.stream_id) {
                    true => Appended::Stored(Box::new(moves.to)),
                    false => Appended::LostRace,
                },
            )
            .collect())
    }

    /// The ids of the streams that were where they were expected to be, each with its next chunk's seq.
    async fn store_appends(
        &self,
        appends: &[StreamAppend],
        moves: &str,
        noticed_at: Timestamp,
    ) -> Result<HashMap<i64, i64>, StoreError> {
        // Others may act on a log that is complete: a TestRun is let go, and its pods are deleted.
        let begin = match appends.iter().any(|append| append.new.complete) {
            true => self.sql.begin,
            false => self.sql.begin_append,
        };
        transaction!(self, begin, "append log lines", tx => {
            sqlx::query(self.sql.lock_streams).bind(moves).fetch_all(&mut *tx).await?;
            let moved: HashMap<i64, i64> = sqlx::query_as(self.sql.advance_streams)
                .bind(moves)
                .fetch_all(&mut *tx)
                .await?
                .into_iter()
                .collect();
            let stored = || appends
                .iter()
                .filter_map(|append| Some((*moved.get(&append.stream_id)?, append)));
            let gaps: Vec<GapRow> = stored()
                .flat_map(|(_, append)| gap_rows(append, noticed_at))
                .collect();
            if !gaps.is_empty() {
                sqlx::query(self.sql.insert_gaps)
                    .bind(json(&gaps))
                    .execute(&mut *tx)
                    .await?;
            }
            let chunks: Vec<Placed<'_>> = stored()
                .filter_map(|(seq, append)| {
                    let chunk = append.new.chunk.as_ref()?;
                    Some(Placed { stream_id: append.stream_id, seq, chunk })
                })
                .collect();
            tx.insert_chunks(&chunks).await?;
            moved
        })
    }

    /// Notes that these streams, which had long been quiet, had nothing new when they were read at `now`.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn note_quiet(&self, stream_ids: &[i64], now: Timestamp) -> Result<(), StoreError> {
        if stream_ids.is_empty() || self.dry_run {
            return Ok(());
        }
        let (stream_ids, now) = (json(&stream_ids), time::to_sql(now));
        transaction!(self, "note which logs are quiet", tx => {
            sqlx::query(self.sql.note_quiet).bind(&stream_ids).bind(&now).execute(&mut *tx).await?;
        })
    }

    /// The steps of `scope` whose TestRuns bear our finalizer, or may; of a known cluster its own
    /// and those that no cluster owns.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn held_steps(&self, scope: &StepScope<'_>) -> Result<Vec<HeldStep>, StoreError> {
        let namespaces = scope.namespaces.map(|names| json(&names));
        let rows = rows!(
            self,
            "read the held steps",
            held_steps,
            &namespaces,
            scope.default_namespace,
            scope.cluster
        )?;
        rows_of(rows).map_err(|error| self.failed("read the held steps", &error))
    }

    /// Notes that the TestRuns of these steps bear our finalizer, or are free of it.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn set_held(&self, step_ids: &[i64], held: bool) -> Result<(), StoreError> {
        if step_ids.is_empty() || self.dry_run {
            return Ok(());
        }
        let step_ids = json(&step_ids);
        transaction!(self, "note which TestRuns are held", tx => {
            sqlx::query(self.sql.set_held).bind(&step_ids).bind(held).execute(&mut *tx).await?;
        })
    }

    /// Those of these steps with logs that are not complete.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn with_open_logs(&self, step_ids: &[i64]) -> Result<HashSet<i64>, StoreError> {
        if step_ids.is_empty() {
            return Ok(HashSet::new());
        }
        let step_ids = json(&step_ids);
        let rows = rows!(
            self,
            "find logs that are not complete",
            open_logs,
            &step_ids
        )?;
        Ok(rows.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// The runs with this id, external_id or name.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn find_runs(&self, run: &str) -> Result<Vec<i64>, StoreError> {
        let rows = rows!(self, "find the run", find_runs, run)?;
        Ok(rows.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// The gaps of a stream.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn gaps(&self, stream_id: i64) -> Result<Vec<Gap>, StoreError> {
        let rows = rows!(self, "read the gaps of a log", gaps, stream_id)?;
        rows_of(rows).map_err(|error| self.failed("read the gaps of a log", &error))
    }

    /// The chunks at a stream's beginning that end before this time.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn chunks_before(&self, stream_id: i64, ts: i64) -> Result<ChunksBefore, StoreError> {
        let rows = rows!(self, "read a log", chunks_before, stream_id, ts)?;
        let sums: Vec<ChunksBefore> =
            rows_of(rows).map_err(|error| self.failed("read a log", &error))?;
        Ok(sums.into_iter().next().unwrap_or_default())
    }

    /// The text of the last `chunks` chunks of a stream.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn log_tail(&self, stream_id: i64, chunks: i64) -> Result<String, StoreError> {
        let mut bodies = rows!(
            self,
            "read the end of a log",
            last_chunks,
            stream_id,
            chunks
        )?;
        bodies.reverse();
        Ok(bodies.concat())
    }

    /// Stores what a cycle says of the steps, and what follows for their runs, in one transaction.
    ///
    /// `looked_at` are the (step, run) ids of all steps that the cycle saw; `roll_up` derives a run from its steps.
    /// Returns the ids of the steps that were updated: others had moved on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn commit_steps(
        &self,
        updates: &[StepUpdate],
        looked_at: &[(i64, i64)],
        now: Timestamp,
        roll_up: impl Fn(&[StepSummary]) -> Option<RunRecord>,
    ) -> Result<Vec<i64>, StoreError> {
        if looked_at.is_empty() {
            return Ok(Vec::new());
        }
        if self.dry_run {
            return Ok(updates.iter().map(|update| update.id).collect());
        }
        let now = time::to_sql(now);
        let step_ids: Vec<i64> = looked_at.iter().map(|(step, _)| *step).collect();
        let mut run_ids: Vec<i64> = looked_at.iter().map(|(_, run)| *run).collect();
        run_ids.sort_unstable();
        run_ids.dedup();
        let (step_ids, run_ids) = (json(&step_ids), json(&run_ids));
        let changing: Vec<i64> = updates.iter().map(|update| update.id).collect();
        let changing = json(&changing);
        transaction!(self, "store the status of steps", tx => {
            sqlx::query(self.sql.lock_runs).bind(&run_ids).fetch_all(&mut *tx).await?;
            let updated: Vec<Updated> = match updates.is_empty() {
                true => Vec::new(),
                false => {
                    let before: Vec<String> = sqlx::query_scalar(self.sql.steps_before)
                        .bind(&changing)
                        .fetch_all(&mut *tx)
                        .await?;
                    let rows = sealed_updates(updates, &before);
                    rows_of(
                        sqlx::query_scalar(self.sql.update_steps)
                            .bind(json(&rows))
                            .fetch_all(&mut *tx)
                            .await?,
                    )?
                }
            };
            sqlx::query(self.sql.touch_steps).bind(&step_ids).bind(&now).execute(&mut *tx).await?;
            let changed: Vec<i64> = updated.iter().map(|step| step.test_run_id).collect();
            if !changed.is_empty() {
                let steps: Vec<StepSummary> = rows_of(
                    sqlx::query_scalar(self.sql.steps_of_runs)
                        .bind(json(&changed))
                        .fetch_all(&mut *tx)
                        .await?,
                )?;
                let runs: Vec<RunRecord> = by_run(steps)
                    .values()
                    .filter_map(|steps| roll_up(steps))
                    .collect();
                sqlx::query(self.sql.update_runs)
                    .bind(json(&runs))
                    .bind(&now)
                    .execute(&mut *tx)
                    .await?;
            }
            updated.into_iter().map(|step| step.id).collect()
        })
    }

    /// Stores the row of a cycle and those of its errors, unless it is there.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn record_cycle(&self, cycle: &CycleRecord) -> Result<(), StoreError> {
        if self.dry_run {
            return Ok(());
        }
        let (row, errors) = (json(cycle), json(&cycle.errors));
        transaction!(self, "record the cycle", tx => {
            let id: Option<i64> = sqlx::query_scalar(self.sql.insert_cycle)
                .bind(&row)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(id) = id && !cycle.errors.is_empty() {
                sqlx::query(self.sql.insert_errors)
                    .bind(id)
                    .bind(&errors)
                    .execute(&mut *tx)
                    .await?;
            }
        })
    }

    /// How many errors on record of a step, in cycles before this one, begin with `text`.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn count_errors(&self, step_id: i64, text: &str) -> Result<i64, StoreError> {
        let rows = rows!(
            self,
            "read the errors of a step",
            count_errors,
            step_id,
            text
        )?;
        Ok(rows
            .first()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0))
    }

    /// The last `count` cycles, newest first, each with its errors.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub async fn last_cycles(&self, count: i64) -> Result<Vec<CycleRecord>, StoreError> {
        let rows = rows!(self, "read the last cycles", last_cycles, count)?;
        rows_of(rows).map_err(|error| self.failed("read the last cycles", &error))
    }

    fn failed(&self, action: &'static str, error: &sqlx::Error) -> StoreError {
        StoreError::statement(action, &self.url, error)
    }

    /// Runs `operation`, again with growing pauses while others keep undoing it or the connection breaks.
    async fn again<T, F>(
        &self,
        action: &'static str,
        operation: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let outcome = retry(AGAIN, operation, |error| match error::is_passing(error) {
            true => {
                tracing::debug!(action, %error, "trying again");
                Retry::Yes
            }
            false => Retry::No,
        })
        .await;
        match (outcome, &self.db) {
            (Ok(outcome), _) => Ok(outcome),
            (Err(error @ sqlx::Error::PoolTimedOut), Db::Postgres(pool)) => {
                Err(self.failed(action, &connect::why_none(pool, error).await))
            }
            (Err(error), _) => Err(self.failed(action, &error)),
        }
    }
}

#[derive(Serialize)]
struct StepSeal {
    id: i64,
    seal: Digest,
}

impl StepSeal {
    fn of_new(step: &Step) -> Self {
        let row = SealedStep::new(
            (step.id, step.version),
            &step.k6_test_name,
            Some(&step.namespace),
            step.created_at,
            &step.record,
        );
        Self {
            id: step.id,
            seal: proof::step_seal(&row),
        }
    }
}

/// The updates, each with the seal of the row that it makes of the one that there is.
fn sealed_updates<'a>(updates: &'a [StepUpdate], before: &[String]) -> Vec<SealedUpdate<'a>> {
    let before: HashMap<i64, StepRow> = before
        .iter()
        // A row that can't be read has no good seal, and gets none.
        .filter_map(|row| serde_json::from_str::<StepRow>(row).ok())
        .map(|row| (row.id, row))
        .collect();
    updates
        .iter()
        .map(|update| SealedUpdate {
            update,
            seal: before
                .get(&update.id)
                .map_or(Digest::Spoilt, |row| row.seal_after(update)),
        })
        .collect()
}

#[derive(Serialize)]
struct SealedUpdate<'a> {
    #[serde(flatten)]
    update: &'a StepUpdate,
    seal: Digest,
}

#[derive(Deserialize)]
struct Updated {
    id: i64,
    test_run_id: i64,
}

/// A value of ours as JSON: plain structs with text keys, which always can be.
fn json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value)
        .unwrap_or_else(|error| unreachable!("a row of ours is JSON: {error}"));
    text::without_nul(json)
}

fn rows_of<T: DeserializeOwned>(rows: Vec<String>) -> Result<Vec<T>, sqlx::Error> {
    let mut read = Vec::with_capacity(rows.len());
    // Each text is given back when it was read: there may be ten thousand.
    for row in rows {
        let row = serde_json::from_str(&row)
            .map_err(|error| sqlx::Error::Decode(format!("{error} in the row {row}").into()))?;
        read.push(row);
    }
    Ok(read)
}

fn claims(rows: Vec<String>) -> Result<HashMap<String, i64>, sqlx::Error> {
    #[derive(Deserialize)]
    struct Claim {
        k6_uid: String,
        id: i64,
    }
    let claims: Vec<Claim> = rows_of(rows)?;
    Ok(claims
        .into_iter()
        .map(|claim| (claim.k6_uid, claim.id))
        .collect())
}

fn by_run(steps: Vec<StepSummary>) -> BTreeMap<i64, Vec<StepSummary>> {
    let mut runs: BTreeMap<i64, Vec<StepSummary>> = BTreeMap::new();
    for step in steps {
        runs.entry(step.test_run_id).or_default().push(step);
    }
    runs
}

fn bad_step(row: &str, error: &serde_json::Error) -> BadStep {
    let row: serde_json::Value = serde_json::from_str(row).unwrap_or_default();
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let id = row["id"].as_i64();
    BadStep {
        id,
        name: text("name"),
        k6_test_name: text("k6_test_name"),
        error: format!(
            "row {} of test_run_steps can't be read: {error}; correct it",
            id.map_or_else(|| "?".to_owned(), |id| id.to_string())
        ),
    }
}

fn adopted(step: &NewStep, id: i64, test_run_id: i64) -> Step {
    Step {
        id,
        test_run_id,
        name: step.name.clone(),
        namespace: step.namespace.clone(),
        k6_test_name: step.k6_test_name.clone(),
        created_at: step.created_at,
        version: 0,
        held: false,
        record: model::StepRecord {
            cluster: step.cluster.clone(),
            k6_uid: Some(step.k6_uid.clone()),
            ..model::StepRecord::default()
        },
    }
}

/// A stream that moves on: from where, and to where.
#[derive(Serialize)]
struct StreamMove {
    id: i64,
    at_ts: Option<i64>,
    at_seen: i64,
    at_lines: i64,
    at_gaps: i64,
    #[serde(flatten)]
    to: StreamPosition,
    complete: bool,
}

impl StreamMove {
    fn of(append: &StreamAppend, noticed_at: Timestamp) -> Self {
        let StreamAppend {
            stream_id,
            position,
            new,
        } = append;
        let chunk = new.chunk.as_ref();
        let (cursor_ts, cursor_seen, cursor_stepped) = match new.cursor {
            Some((ts, seen, stepped)) => (Some(ts), seen, stepped),
            None => (
                position.cursor_ts,
                position.cursor_seen,
                position.cursor_stepped,
            ),
        };
        let mut to = StreamPosition {
            cursor_ts,
            cursor_seen,
            cursor_stepped,
            lines: position
                .lines
                .saturating_add(chunk.map_or(0, |chunk| chunk.lines)),
            gaps: position.gaps.saturating_add(new.gaps.len() as i64),
            proof: position.proof,
        };
        let proof = &mut to.proof;
        // In a log of an older database hashing begins here.
        if position.proof.seal == Digest::Unsealed {
            proof.hash_from = Some(proof.next_seq);
            proof.hash = Digest::New;
            proof.hash_base = Digest::New;
            if position.gaps == 0 {
                proof.gaps_hash = Digest::New;
            }
        }
        proof.replaced = proof.replaced.saturating_add(new.replaced);
        if let Some(chunk) = chunk {
            proof.hash = proof.hash.then(*stream_id, proof.next_seq, chunk);
            proof.next_seq = proof.next_seq.saturating_add(1);
            proof.bytes = proof.bytes.saturating_add(chunk.body.len() as i64);
        }
        if proof.gaps_hash != Digest::Unsealed {
            proof.gaps_hash =
                gap_rows(append, noticed_at).fold(proof.gaps_hash, |sum, gap| sum.plus(&gap));
        }
        to.proof.seal = proof::resealed(
            position.proof.seal,
            proof::stream_seal(*stream_id, position, false),
            || proof::stream_seal(*stream_id, &to, new.complete),
        );
        Self {
            id: *stream_id,
            at_ts: position.cursor_ts,
            at_seen: position.cursor_seen,
            at_lines: position.lines,
            at_gaps: position.gaps,
            to,
            complete: new.complete,
        }
    }
}

fn gap_rows(append: &StreamAppend, noticed_at: Timestamp) -> impl Iterator<Item = GapRow> {
    append.new.gaps.iter().map(move |gap| GapRow {
        stream_id: append.stream_id,
        gap: *gap,
        noticed_at,
    })
}
