//! What people ask of the record: which runs there are, what became of one, what its logs say. Each question once, with its
//! answer as a type. Commands, the API and the pages all ask here.
//!
//! It only reads, by a [`Reader`] that waits for no cycle: it never creates, migrates or changes a database, and reads those of
//! older schemas too. Each answer is a few queries, however many runners a run has, and takes bounded memory, however long a log is.
//! The answers' JSON is what `-o json` and the API say (docs/api.md).

mod ask;
pub(crate) mod compare;
mod details;
mod error_lines;
mod freshness;
pub(crate) mod log;
pub(crate) mod naming;
mod outcome;
mod results;
mod run;
mod when;

use std::sync::Arc;

use serde::Serialize;

pub(crate) use self::freshness::Stall;
pub(crate) use self::naming::{NamingError, RunName};
#[cfg(test)]
pub(crate) use self::outcome::whole;
pub(crate) use self::outcome::{has_failed, judged};
pub(crate) use self::results::{CheckResult, Metric, StepMeasured, Threshold};
pub(crate) use self::run::{Container, Details, ErrorLines, Outcome, Run, Step};
pub(crate) use self::when::When;
pub(crate) use crate::store::{CycleRecord, RunRow, RunState, RunsWanted, Visible};
use crate::store::{DatabaseUrl, KnownNamespace, Reader, Schema, StoreError};

/// A database that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    reader: Arc<Reader>,
    schema: Schema,
}

/// A page of the list of runs.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct Runs {
    /// Newest first.
    pub runs: Vec<RunRow>,
    /// Runs whose rows can't be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Where the next page begins: there are older runs than these. As `before` of the next question.
    pub next: Option<i64>,
}

impl Record {
    /// Opens the database at `url` for reading.
    ///
    /// # Errors
    /// [`StoreError`]: it is not there, can't be reached, has no tables of k6sync or a newer schema.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let reader = Reader::open(url).await?;
        match reader.schema_to_read().await {
            Ok(schema) => Ok(Self {
                reader: Arc::new(reader),
                schema,
            }),
            Err(error) => {
                reader.close().await;
                Err(error)
            }
        }
    }

    /// A database that is open, and may be read.
    ///
    /// # Errors
    /// [`StoreError`]: it has no tables of k6sync or a newer schema.
    pub(crate) async fn over(reader: Arc<Reader>) -> Result<Self, StoreError> {
        let schema = reader.schema_to_read().await?;
        Ok(Self { reader, schema })
    }

    /// The namespaces that steps are in, at most a thousand.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.reader.step_namespaces().await
    }

    /// All namespaces by which clusters are known.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn known_namespaces(&self) -> Result<Vec<KnownNamespace>, StoreError> {
        self.reader.known_namespaces().await
    }

    /// Closes the database.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
    }

    /// The last `count` cycles, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn last_cycles(&self, count: i64) -> Result<Vec<CycleRecord>, StoreError> {
        match self.schema.has_line_times() {
            true => self.reader.last_cycles(count).await,
            // Older ones lack columns.
            false => Ok(Vec::new()),
        }
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn runs(&self, wanted: &RunsWanted) -> Result<Runs, StoreError> {
        // One more, to know if there are more.
        let one_more = RunsWanted {
            limit: wanted.limit.saturating_add(1),
            ..wanted.clone()
        };
        let mut rows = self.reader.list_runs(self.schema, &one_more).await?;
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).and_then(|row| match row {
            Ok(run) => Some(run.id.0),
            Err(bad) => bad.row["id"].as_i64(),
        });
        let (mut runs, mut unreadable) = (Vec::new(), Vec::new());
        for row in rows {
            match row {
                Ok(run) => runs.push(run),
                Err(bad) => unreadable.push(format!(
                    "run {} can't be read: {}",
                    bad.row["id"], bad.problem
                )),
            }
        }
        Ok(Runs {
            runs,
            unreadable,
            next,
        })
    }
}
