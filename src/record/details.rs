//! What a report tells of a run besides the run itself.

use jiff::Timestamp;

use super::{Details, Record, Run};
use crate::store::{Reads, StoreError};

/// Parts of a run's time, each of which says whether k6sync read in it.
const PARTS: i64 = 160;

impl Record {
    /// What a report tells of this run; with the last words of at most `most_failed` of its containers.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn details(
        &self,
        run: &Run,
        most_failed: usize,
        now: Timestamp,
    ) -> Result<Details, StoreError> {
        Ok(Details {
            gaps: match run.gaps {
                0 => Vec::new(),
                _ => self.gaps(run.row.id).await?,
            },
            said: self.error_lines(run, most_failed).await?,
            reads: self.reads(run, now).await?,
        })
    }

    /// When k6sync read while the run was under way.
    async fn reads(&self, run: &Run, now: Timestamp) -> Result<Vec<Reads>, StoreError> {
        let begins = run
            .containers()
            .filter_map(|(_, container)| container.row.started_at);
        let ends = run
            .containers()
            .filter_map(|(_, container)| container.row.finished_at);
        let Some(from) = begins.chain(run.row.started_at).min() else {
            return Ok(Vec::new());
        };
        let to = match run.outcome.ended {
            true => ends.chain(run.row.finished_at).max().unwrap_or(now),
            false => now,
        };
        match self.schema.has_line_times() && from < to {
            true => self.reader.reads(run.row.id, from, to, PARTS).await,
            // Older schemas don't tell clusters apart.
            false => Ok(Vec::new()),
        }
    }
}
