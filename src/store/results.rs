//! What k6 measured: a summary for each runner's log, and what all runners of a step come to together.
//!
//! A runner's log that becomes complete is due (`log_streams.summary_due`) until its end was read, the step's rows were made anew
//! from all its summaries, and the step's message says which thresholds failed. So a crash in between loses nothing, and two syncs
//! at once do no harm.

use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use super::ids::{RunId, StepId, StreamId};
use super::proof::{self, Digest};
use super::query::{fetch_all, rows, transaction};
use super::rows::{json, rows_of};
use super::statement::Statement;
use super::words::SummarySource;
use super::{Reader, Store, StoreError};
use crate::k6::combine::{CheckRow, Combination, MarkRow, MetricRow, StepResults, ThresholdRow};
use crate::k6::summary::{Kind, Summary, Unit};

/// Rows inserted with one statement: PostgreSQL takes 65,535 values.
const ROWS: usize = 1_000;

/// A runner's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RunnerLog {
    /// `log_streams.id`
    pub stream_id: StreamId,
    /// The step.
    pub step_id: StepId,
}

/// A row of `runner_summaries`: what the end of a runner's log says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunnerSummary {
    /// Whose log.
    pub stream_id: StreamId,
    /// What it was read from, or why there is none.
    pub source: SummarySource,
    /// Why it can't be read.
    pub problem: Option<String>,
    /// The version of the parser.
    pub parser: i64,
    /// As k6 says it.
    pub k6_version: Option<String>,
    /// How long the test ran, as k6 says it.
    pub duration_ms: Option<f64>,
    /// The normal form, as JSON.
    pub document: Option<String>,
}

impl RunnerSummary {
    /// `runner_summaries.seal`
    pub(crate) fn seal(&self) -> Digest {
        #[derive(Serialize)]
        struct Row<'a> {
            stream_id: StreamId,
            source: SummarySource,
            problem: &'a Option<String>,
            parser: i64,
            k6_version: &'a Option<String>,
            duration_ms: Option<f64>,
            document: &'a Option<String>,
        }
        let row = Row {
            stream_id: self.stream_id,
            source: self.source,
            problem: &self.problem,
            parser: self.parser,
            k6_version: &self.k6_version,
            duration_ms: self.duration_ms,
            document: &self.document,
        };
        proof::seal("summary", &row)
    }
}

/// A row of `runner_summaries` as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SummaryRow {
    /// What it says.
    pub summary: RunnerSummary,
    pub seal: Digest,
}

/// The columns that [`SUMMARIES`] yields.
type SummaryColumns = (
    StreamId,
    String,
    Option<String>,
    i64,
    Option<String>,
    Option<f64>,
    Option<String>,
    String,
);

/// What the tables say that all runners of a step come to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResults {
    /// The rows, in the order of [`Combination::results`].
    pub results: StepResults,
    /// `test_run_steps.results_seal`; `None`: no summary was ever read.
    pub seal: Option<Digest>,
}

/// (step ids as JSON) → [`RunnerLog`]s that are due
const DUE: Statement = Statement {
    sqlite: "
        SELECT json_object('stream_id', id, 'step_id', step_id) FROM log_streams
        WHERE summary_due AND step_id IN (SELECT value FROM json_each($1)) ORDER BY step_id, id",
    postgres: "
        SELECT json_build_object('stream_id', id, 'step_id', step_id)::text FROM log_streams
        WHERE summary_due AND step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
        ORDER BY step_id, id",
};

/// Complete logs of runners whose chunks are there, and whose summary is not a newer parser's. `$what` selects among them.
macro_rules! to_rebuild {
    ($what:literal, $from:literal, $runs:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM log_streams s JOIN test_run_steps step ON step.id = s.step_id
              LEFT JOIN runner_summaries summary ON summary.stream_id = s.id
            WHERE s.complete AND s.role = 'runner' AND ",
            $from,
            " AND ",
            $runs,
            " AND (summary.parser IS NULL OR summary.parser < $2 OR ($3 <> 0 AND summary.parser = $2))
              AND NOT EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned')"
        )
    };
}

/// (run ids as JSON or null for all, our parser, 1 for those of our parser too) → how many logs there are to read again, as text
const COUNT_TO_REBUILD: Statement = Statement {
    sqlite: to_rebuild!(
        "CAST(count(*) AS TEXT)",
        "TRUE",
        "($1 IS NULL OR test_run_id IN (SELECT value FROM json_each($1)))"
    ),
    postgres: to_rebuild!(
        "count(*)::text",
        "TRUE",
        "($1::json IS NULL OR test_run_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)))"
    ),
};

/// (run ids as JSON or null for all, our parser, 1 for those of our parser too, step id) → the next greater step id with logs
/// to read again, as text
const NEXT_TO_REBUILD: Statement = Statement {
    sqlite: concat!(
        "SELECT CAST(min(step_id) AS TEXT) FROM (",
        to_rebuild!(
            "s.step_id",
            "s.step_id > $4",
            "($1 IS NULL OR test_run_id IN (SELECT value FROM json_each($1)))"
        ),
        ") steps HAVING min(step_id) IS NOT NULL"
    ),
    postgres: concat!(
        "SELECT min(step_id)::text FROM (",
        to_rebuild!(
            "s.step_id",
            "s.step_id > $4",
            "($1::json IS NULL OR test_run_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)))"
        ),
        ") steps HAVING min(step_id) IS NOT NULL"
    ),
};

/// (run ids as JSON or null for all, our parser, 1 for those of our parser too, step id) → [`RunnerLog`]s of the step
const LOGS_TO_REBUILD: Statement = Statement {
    sqlite: concat!(
        to_rebuild!(
            "json_object('stream_id', s.id, 'step_id', s.step_id)",
            "s.step_id = $4",
            "($1 IS NULL OR test_run_id IN (SELECT value FROM json_each($1)))"
        ),
        " ORDER BY s.id"
    ),
    postgres: concat!(
        to_rebuild!(
            "json_build_object('stream_id', s.id, 'step_id', s.step_id)::text",
            "s.step_id = $4",
            "($1::json IS NULL OR test_run_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)))"
        ),
        " ORDER BY s.id"
    ),
};

/// (stream id, seq, how many): chunks before that number, last first → seq and body
const CHUNKS_BACK: Statement = Statement::both(
    "SELECT seq, body FROM log_chunks WHERE stream_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
);

/// (step id, stream id) → pods of runners whose logs are complete, not due, newer than that stream, and without a summary
const WITHOUT_SUMMARY: Statement = Statement::both(
    "
    SELECT pod_name FROM log_streams
    WHERE step_id = $1 AND id > $2 AND role = 'runner' AND complete AND NOT summary_due
      AND NOT EXISTS (SELECT 1 FROM runner_summaries WHERE stream_id = log_streams.id) ORDER BY id",
);

/// What [`INSERT_SUMMARIES`] is followed by: a newer parser's summary stays.
const ON_CONFLICT: &str = "
    ON CONFLICT (stream_id) DO UPDATE
    SET source = excluded.source, problem = excluded.problem, parser = excluded.parser, k6_version = excluded.k6_version,
        duration_ms = excluded.duration_ms, document = excluded.document, seal = excluded.seal
    WHERE runner_summaries.parser <= excluded.parser";

const INSERT_SUMMARIES: &str = "INSERT INTO runner_summaries \
    (stream_id, source, problem, parser, k6_version, duration_ms, document, seal) ";

/// (step id): waits until this transaction alone may write the step's results
const LOCK_STEP: Statement = Statement {
    // BEGIN IMMEDIATE is the lock.
    sqlite: "SELECT id FROM test_run_steps WHERE id = $1",
    postgres: "SELECT id FROM test_run_steps WHERE id = $1 FOR NO KEY UPDATE",
};

/// (step id) → [`SummaryColumns`]
const SUMMARIES: Statement = Statement {
    sqlite: "
        SELECT stream_id, source, problem, parser, k6_version, duration_ms, document, runner_summaries.seal
        FROM runner_summaries JOIN log_streams ON log_streams.id = stream_id WHERE step_id = $1 ORDER BY stream_id",
    postgres: "
        SELECT stream_id, source, problem, parser, k6_version, duration_ms, document::text, runner_summaries.seal
        FROM runner_summaries JOIN log_streams ON log_streams.id = stream_id WHERE step_id = $1 ORDER BY stream_id",
};

/// (step id, runners_reported, results_seal)
const UPDATE_STEP: Statement = Statement::both(
    "UPDATE test_run_steps SET runners_reported = $2, results_seal = $3 WHERE id = $1",
);

/// (stream ids as JSON): these logs are not due any more, if they have a summary
const NOT_DUE: Statement = Statement {
    sqlite: "
        UPDATE log_streams SET summary_due = FALSE WHERE id IN (SELECT value FROM json_each($1)) AND summary_due
          AND EXISTS (SELECT 1 FROM runner_summaries WHERE stream_id = log_streams.id)",
    postgres: "
        UPDATE log_streams SET summary_due = FALSE
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)) AND summary_due
          AND EXISTS (SELECT 1 FROM runner_summaries WHERE stream_id = log_streams.id)",
};

const DELETE_ROWS: [&str; 3] = [
    "DELETE FROM step_metrics WHERE step_id = $1",
    "DELETE FROM step_checks WHERE step_id = $1",
    "DELETE FROM step_thresholds WHERE step_id = $1",
];

/// (step id) → metric, kind, unit, stat, runners, low, high
const METRICS: Statement = Statement::both(
    "SELECT metric, kind, unit, stat, runners, low, high FROM step_metrics WHERE step_id = $1",
);

/// (step id) → path, name, passes, fails
const CHECKS: Statement =
    Statement::both("SELECT path, name, passes, fails FROM step_checks WHERE step_id = $1");

/// (step id) → metric, expression, runners, failed, observed_low, observed_high, kind, unit
const THRESHOLDS: Statement = Statement::both(
    "
    SELECT metric, expression, runners, failed, observed_low, observed_high, kind, unit
    FROM step_thresholds WHERE step_id = $1",
);

/// (step id) → runners_reported, results_seal
const RESULTS_OF: Statement =
    Statement::both("SELECT runners_reported, results_seal FROM test_run_steps WHERE id = $1");

/// The columns that [`METRICS`] yields.
pub(super) type MetricColumns = (String, String, String, String, i64, f64, f64);

/// The columns that [`CHECKS`] yields.
pub(super) type CheckColumns = (Option<String>, String, Option<i64>, i64);

/// The columns that [`THRESHOLDS`] yields.
pub(super) type ThresholdColumns = (
    String,
    Option<String>,
    i64,
    i64,
    Option<f64>,
    Option<f64>,
    Option<String>,
    String,
);

impl Reader {
    /// The runners' logs of these steps whose ends are to be read for a summary, step by step.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn due_summaries(
        &self,
        step_ids: &[StepId],
    ) -> Result<Vec<RunnerLog>, StoreError> {
        let step_ids = json(&step_ids);
        let rows = rows!(self, "find what runners reported", DUE, &step_ids)?;
        rows_of(rows).map_err(|error| self.failed("find what runners reported", &error))
    }

    /// Of a log, up to `count` chunks before number `seq`: number and text, last first.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn chunks_back(
        &self,
        stream_id: StreamId,
        seq: i64,
        count: i64,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        fetch_all!(
            self,
            "read the end of a log",
            sqlx::query_as(self.sql(CHUNKS_BACK))
                .bind(stream_id)
                .bind(seq)
                .bind(count)
        )
    }

    /// How many complete logs of runners have no summary by this parser or a newer one, or with `again` by a newer one alone:
    /// those that `results rebuild` would read. Logs that were pruned are none of them.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn count_to_rebuild(
        &self,
        runs: Option<&[RunId]>,
        parser: i64,
        again: bool,
    ) -> Result<u64, StoreError> {
        let runs = runs.map(|runs| json(&runs));
        let rows = rows!(
            self,
            "count the logs without results",
            COUNT_TO_REBUILD,
            &runs,
            parser,
            i64::from(again)
        )?;
        Ok(rows
            .first()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0))
    }

    /// The logs to read again of the first step after `step`, as [`Reader::count_to_rebuild`] counts them; none: that was the last.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn next_to_rebuild(
        &self,
        step: StepId,
        runs: Option<&[RunId]>,
        parser: i64,
        again: bool,
    ) -> Result<Vec<RunnerLog>, StoreError> {
        const ACTION: &str = "find the logs without results";
        let runs = runs.map(|runs| json(&runs));
        let again = i64::from(again);
        let next = rows!(
            self,
            "find the logs without results",
            NEXT_TO_REBUILD,
            &runs,
            parser,
            again,
            step
        )?;
        let Some(next) = next.first().and_then(|id| id.parse().ok()).map(StepId) else {
            return Ok(Vec::new());
        };
        let rows = rows!(
            self,
            "find the logs without results",
            LOGS_TO_REBUILD,
            &runs,
            parser,
            again,
            next
        )?;
        rows_of(rows).map_err(|error| self.failed(ACTION, &error))
    }

    /// The summaries of a step's runners, in the order of their streams.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn summaries(&self, step_id: StepId) -> Result<Vec<SummaryRow>, StoreError> {
        let rows: Vec<SummaryColumns> = fetch_all!(
            self,
            "read what runners reported",
            sqlx::query_as(self.sql(SUMMARIES)).bind(step_id)
        )?;
        Ok(rows.into_iter().map(SummaryRow::from).collect())
    }

    /// The pods of a step's runners whose logs should have been read for results and were not. Streams up to the id
    /// `underived` may be older than results.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn without_summary(
        &self,
        step_id: StepId,
        underived: StreamId,
    ) -> Result<Vec<String>, StoreError> {
        rows!(
            self,
            "look for logs without results",
            WITHOUT_SUMMARY,
            step_id,
            underived
        )
    }

    /// What is stored of all runners of a step together.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn step_results(&self, step_id: StepId) -> Result<StoredResults, StoreError> {
        let of_step: Vec<(i64, Option<String>)> = fetch_all!(
            self,
            "read the results of a step",
            sqlx::query_as(self.sql(RESULTS_OF)).bind(step_id)
        )?;
        let metrics: Vec<MetricColumns> = fetch_all!(
            self,
            "read the metrics of a step",
            sqlx::query_as(self.sql(METRICS)).bind(step_id)
        )?;
        let checks: Vec<CheckColumns> = fetch_all!(
            self,
            "read the checks of a step",
            sqlx::query_as(self.sql(CHECKS)).bind(step_id)
        )?;
        let (thresholds, marks) = self.step_thresholds(step_id).await?;
        let (runners_reported, seal) = of_step.into_iter().next().unwrap_or_default();
        let mut results = StepResults {
            runners_reported: count(runners_reported),
            metrics: metrics.into_iter().map(MetricRow::from).collect(),
            checks: checks.into_iter().map(CheckRow::from).collect(),
            thresholds,
            marks,
        };
        results.sort();
        Ok(StoredResults {
            results,
            seal: seal.map(|seal| digest(&seal)),
        })
    }

    /// What is stored of the thresholds of a step: those with an expression, and the metrics whose thresholds have none.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn step_thresholds(
        &self,
        step_id: StepId,
    ) -> Result<(Vec<ThresholdRow>, Vec<MarkRow>), StoreError> {
        let rows: Vec<ThresholdColumns> = fetch_all!(
            self,
            "read the thresholds of a step",
            sqlx::query_as(self.sql(THRESHOLDS)).bind(step_id)
        )?;
        let mut results = StepResults::default();
        for row in rows {
            add_threshold(&mut results, row);
        }
        Ok((results.thresholds, results.marks))
    }
}

impl Store {
    /// Stores what runners reported. Their logs stay due until [`Store::note_derived`].
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn put_summaries(
        &self,
        summaries: &[RunnerSummary],
    ) -> Result<(), StoreError> {
        if summaries.is_empty() || self.dry_run {
            return Ok(());
        }
        transaction!(self, "store what runners reported", tx => {
            for summaries in summaries.chunks(ROWS) {
                tx.insert_summaries(summaries).await?;
            }
        })
    }

    /// Makes a step's results anew from all its runners' summaries, in one transaction, and returns them. Its logs stay due until
    /// [`Store::note_derived`].
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn combine_results(&self, step_id: StepId) -> Result<StepResults, StoreError> {
        if self.dry_run {
            return Ok(StepResults::default());
        }
        transaction!(self, "store the results of a step", tx => {
            sqlx::query(self.sql(LOCK_STEP)).bind(step_id).fetch_all(&mut *tx).await?;
            let mut combined = Combined::default();
            {
                // One at a time: a thousand of them would only take room.
                let mut rows = sqlx::query_as(self.sql(SUMMARIES)).bind(step_id).fetch(&mut *tx);
                while let Some(row) = rows.try_next().await? {
                    let row: SummaryColumns = row;
                    combined.add(&SummaryRow::from(row));
                }
            }
            let seal = combined.seal(step_id);
            let results = combined.results();
            for delete in DELETE_ROWS {
                sqlx::query(delete).bind(step_id).execute(&mut *tx).await?;
            }
            tx.insert_results(step_id, &results).await?;
            sqlx::query(self.sql(UPDATE_STEP))
                .bind(step_id)
                .bind(to_sql(results.runners_reported))
                .bind(text_of(seal))
                .execute(&mut *tx)
                .await?;
            results
        })
    }

    /// Notes that these logs were read, that the results of their steps are stored, and that their steps say what follows.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn note_derived(&self, streams: &[StreamId]) -> Result<(), StoreError> {
        if streams.is_empty() || self.dry_run {
            return Ok(());
        }
        let streams = json(&streams);
        transaction!(self, "note which results are stored", tx => {
            sqlx::query(self.sql(NOT_DUE)).bind(&streams).execute(&mut *tx).await?;
        })
    }
}

/// A step's summaries on the way to its results.
#[derive(Debug, Default)]
pub(crate) struct Combined {
    combination: Combination,
    seals: Vec<(StreamId, Digest)>,
}

impl Combined {
    /// One runner more. A document that can't be read counts for nothing.
    pub(crate) fn add(&mut self, row: &SummaryRow) {
        let summary = &row.summary;
        self.seals.push((summary.stream_id, row.seal));
        let document = summary.document.as_deref();
        if let Some(Ok(document)) = document.map(serde_json::from_str::<Summary>) {
            self.combination.add(&document);
        }
    }

    /// What they come to.
    pub(crate) fn results(&self) -> StepResults {
        self.combination.results()
    }

    /// `test_run_steps.results_seal`: which summaries there are, and what they say.
    pub(crate) fn seal(&self, step_id: StepId) -> Digest {
        #[derive(Serialize)]
        struct Row<'a> {
            step_id: StepId,
            summaries: &'a [(StreamId, Digest)],
        }
        let row = Row {
            step_id,
            summaries: &self.seals,
        };
        proof::seal("results", &row)
    }
}

impl From<SummaryColumns> for SummaryRow {
    fn from(
        (stream_id, source, problem, parser, k6_version, duration_ms, document, seal): SummaryColumns,
    ) -> Self {
        Self {
            summary: RunnerSummary {
                stream_id,
                source: SummarySource::parse(&source).unwrap_or(SummarySource::Unreadable),
                problem,
                parser,
                k6_version,
                duration_ms,
                document,
            },
            seal: digest(&seal),
        }
    }
}

fn digest(text: &str) -> Digest {
    serde_json::from_value(text.into()).unwrap_or(Digest::Invalid)
}

/// A digest as its column has it.
fn text_of(digest: Digest) -> String {
    match serde_json::to_value(digest) {
        Ok(serde_json::Value::String(text)) => text,
        _ => unreachable!("a digest is a JSON string"),
    }
}

impl From<MetricColumns> for MetricRow {
    fn from((metric, kind, unit, stat, runners, low, high): MetricColumns) -> Self {
        Self {
            metric,
            kind: Kind::parse(&kind).unwrap_or(Kind::Gauge),
            unit: Unit::parse(&unit).unwrap_or(Unit::None),
            stat,
            runners: count(runners),
            low,
            high,
        }
    }
}

impl From<CheckColumns> for CheckRow {
    fn from((path, name, passes, fails): CheckColumns) -> Self {
        Self {
            path,
            name,
            passes: passes.map(count),
            fails: count(fails),
        }
    }
}

/// Adds a row of `step_thresholds`: a threshold, or where it has no expression the mark of a metric.
pub(super) fn add_threshold(
    results: &mut StepResults,
    (metric, expression, runners, failed, low, high, kind, unit): ThresholdColumns,
) {
    let (runners, failed) = (count(runners), count(failed));
    match expression {
        Some(expression) => results.thresholds.push(ThresholdRow {
            metric,
            expression,
            runners,
            failed,
            observed: low.zip(high),
            kind: kind.and_then(|kind| Kind::parse(&kind)),
            unit: Unit::parse(&unit).unwrap_or(Unit::None),
        }),
        None => results.marks.push(MarkRow {
            metric,
            runners,
            failed,
        }),
    }
}

/// A count. One that is none is a great one, which no real one equals.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn to_sql(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Many rows with one statement. Numbers are bound and not written as JSON, so that they come back to their last bit.
trait InsertResults {
    async fn insert_summaries(&mut self, rows: &[RunnerSummary]) -> Result<(), sqlx::Error>;
    async fn insert_results(
        &mut self,
        step_id: StepId,
        results: &StepResults,
    ) -> Result<(), sqlx::Error>;
}

macro_rules! insert_results {
    ($connection:ty, $json:literal) => {
        impl InsertResults for $connection {
            async fn insert_summaries(&mut self, rows: &[RunnerSummary]) -> Result<(), sqlx::Error> {
                let mut insert = QueryBuilder::new(INSERT_SUMMARIES);
                insert.push_values(rows, |mut row, summary| {
                    row.push_bind(summary.stream_id)
                        .push_bind(summary.source.as_str())
                        .push_bind(&summary.problem)
                        .push_bind(summary.parser)
                        .push_bind(&summary.k6_version)
                        .push_bind(summary.duration_ms)
                        .push_bind(&summary.document)
                        .push_unseparated($json)
                        .push_bind(text_of(summary.seal()));
                });
                insert.push(ON_CONFLICT);
                insert.build().persistent(false).execute(&mut *self).await?;
                Ok(())
            }

            async fn insert_results(
                &mut self,
                step_id: StepId,
                results: &StepResults,
            ) -> Result<(), sqlx::Error> {
                for rows in results.metrics.chunks(ROWS) {
                    QueryBuilder::new("INSERT INTO step_metrics (step_id, metric, kind, unit, stat, runners, low, high) ")
                        .push_values(rows, |mut row, metric| {
                            row.push_bind(step_id)
                                .push_bind(&metric.metric)
                                .push_bind(metric.kind.as_str())
                                .push_bind(metric.unit.as_str())
                                .push_bind(&metric.stat)
                                .push_bind(to_sql(metric.runners))
                                .push_bind(metric.low)
                                .push_bind(metric.high);
                        })
                        .build()
                        .persistent(false)
                        .execute(&mut *self)
                        .await?;
                }
                for rows in results.checks.chunks(ROWS) {
                    QueryBuilder::new("INSERT INTO step_checks (step_id, path, name, passes, fails) ")
                        .push_values(rows, |mut row, check| {
                            row.push_bind(step_id)
                                .push_bind(&check.path)
                                .push_bind(&check.name)
                                .push_bind(check.passes.map(to_sql))
                                .push_bind(to_sql(check.fails));
                        })
                        .build()
                        .persistent(false)
                        .execute(&mut *self)
                        .await?;
                }
                for rows in threshold_rows(results).chunks(ROWS) {
                    QueryBuilder::new(
                        "INSERT INTO step_thresholds \
                         (step_id, metric, expression, runners, failed, observed_low, observed_high, kind, unit) ",
                    )
                    .push_values(rows, |mut row, threshold| {
                        let (metric, expression, runners, failed, low, high, kind, unit) = threshold;
                        row.push_bind(step_id)
                            .push_bind(metric)
                            .push_bind(expression)
                            .push_bind(runners)
                            .push_bind(failed)
                            .push_bind(low)
                            .push_bind(high)
                            .push_bind(kind)
                            .push_bind(unit);
                    })
                    .build()
                    .persistent(false)
                    .execute(&mut *self)
                    .await?;
                }
                Ok(())
            }
        }
    };
}

insert_results!(sqlx::SqliteConnection, "");
insert_results!(sqlx::PgConnection, "::json");

fn threshold_rows(results: &StepResults) -> Vec<ThresholdColumns> {
    let thresholds = results.thresholds.iter().map(|row| {
        (
            row.metric.clone(),
            Some(row.expression.clone()),
            to_sql(row.runners),
            to_sql(row.failed),
            row.observed.map(|(low, _)| low),
            row.observed.map(|(_, high)| high),
            row.kind.map(|kind| kind.as_str().to_owned()),
            row.unit.as_str().to_owned(),
        )
    });
    let marks = results.marks.iter().map(|row| {
        (
            row.metric.clone(),
            None,
            to_sql(row.runners),
            to_sql(row.failed),
            None,
            None,
            None,
            Unit::None.as_str().to_owned(),
        )
    });
    thresholds.chain(marks).collect()
}
