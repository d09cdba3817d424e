//! Reads a container's log from its beginning and compares it with its record, in bounded memory.
//!
//! A record is audited before it is closed, if there is a reason to doubt it; `verify` audits all of them.

use super::compare::{Comparison, Counts};
use super::cursor::{Lines, Splitter};
use crate::cluster::{Cluster, ClusterError, LogOptions, LogStream};
use crate::store::{Gap, Reader, StoreError, StreamId, sql_text};

/// Chunks of a record read at a time.
const CHUNKS: i64 = 8;

/// What is recorded of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audited {
    /// `log_streams.id`
    pub stream_id: StreamId,
    /// Lines stored; what another sync adds meanwhile is of no account.
    pub lines: i64,
    /// Nothing will be added: what the log has beyond it is missing.
    pub complete: bool,
    /// The container is over: an unterminated last line is a line.
    pub ended: bool,
    /// Recorded lines that are older than the log's first, by their chunks' times, are passed over unread. Where a clock
    /// stepped in just the wrong places, those may be others.
    pub by_time: bool,
}

/// How log and record compare, and the holes that no gap tells of.
///
/// # Errors
/// Those of reading the log or the record.
pub(crate) async fn audit<E>(
    cluster: &Cluster,
    store: &Reader,
    log: &LogOptions<'_>,
    audited: Audited,
) -> Result<(Counts, Vec<Gap>), E>
where
    E: From<ClusterError> + From<StoreError>,
{
    let gaps = store.gaps(audited.stream_id).await?;
    let mut log = Log {
        stream: cluster.log(log).await?,
        splitter: Some(Splitter::whole(None).by_line()),
        ended: audited.ended,
        first_ts: None,
    };
    let mut record = Record {
        store,
        stream_id: audited.stream_id,
        lines_left: u64::try_from(audited.lines).unwrap_or(0),
        // Of a record that was pruned the first is another.
        next_seq: i64::MIN,
    };
    let mut comparison = Comparison::new(gaps, audited.complete);
    while log.first_ts.is_none() && comparison.wants_log() {
        log.fill(&mut comparison).await?;
    }
    if log.first_ts.is_none() {
        // Just after a rotation a log can look empty (docs/facts.md, "Only the current log file is served").
        comparison.begins_later();
    }
    record
        .skip_before(log.first_ts, audited.by_time, &mut comparison)
        .await?;
    loop {
        while comparison.wants_record() {
            record.fill(&mut comparison).await?;
        }
        while comparison.wants_log() {
            log.fill(&mut comparison).await?;
        }
        if comparison.advance() {
            return Ok(comparison.finish());
        }
    }
}

/// A record, chunk by chunk.
struct Record<'a> {
    store: &'a Reader,
    stream_id: StreamId,
    lines_left: u64,
    next_seq: i64,
}

impl Record<'_> {
    /// Passes over chunks that are all older than the log's first line: the kubelet's file begins after them.
    async fn skip_before(
        &mut self,
        first_ts: Option<i64>,
        by_time: bool,
        comparison: &mut Comparison,
    ) -> Result<(), StoreError> {
        let Some(first_ts) = first_ts else {
            return Ok(());
        };
        let before = self.store.chunks_before(self.stream_id, first_ts).await?;
        // Not just earlier: where a clock stepped back, the first line recorded may be the latest of all.
        if before.first_ts.is_some_and(|recorded| recorded != first_ts) {
            comparison.begins_later();
        }
        if !by_time {
            return Ok(());
        }
        comparison.skip_record(before.lines, before.bytes);
        self.lines_left = self.lines_left.saturating_sub(before.lines);
        self.next_seq = before.next_seq;
        Ok(())
    }

    async fn fill(&mut self, comparison: &mut Comparison) -> Result<(), StoreError> {
        let rows = self
            .store
            .chunk_rows(self.stream_id, self.next_seq, CHUNKS)
            .await?;
        let Some(last) = rows.last().filter(|_| self.lines_left > 0) else {
            comparison.end_record();
            return Ok(());
        };
        self.next_seq = last.seq.saturating_add(1);
        for line in rows
            .iter()
            .flat_map(|row| row.chunk.body.split_inclusive('\n'))
        {
            if self.lines_left == 0 {
                break;
            }
            self.lines_left -= 1;
            comparison.push_record(line);
        }
        Ok(())
    }
}

/// A log, as it comes in.
struct Log {
    stream: LogStream,
    splitter: Option<Splitter>,
    ended: bool,
    first_ts: Option<i64>,
}

impl Log {
    async fn fill(&mut self, comparison: &mut Comparison) -> Result<(), ClusterError> {
        let Some(mut splitter) = self.splitter.take() else {
            return Ok(());
        };
        match self.stream.next().await? {
            Some(bytes) => {
                let mut input = &bytes[..];
                while let Some(line) = splitter.push(&mut input) {
                    self.push(comparison, line);
                }
                self.stream.hold(splitter.unterminated().len()).await;
                self.splitter = Some(splitter);
            }
            None => {
                let last = splitter.unterminated().to_vec();
                let rest = splitter.finish(self.ended.then_some(&last[..]));
                if let Some(line) = rest.lines {
                    self.push(comparison, line);
                }
                comparison.end_log();
            }
        }
        Ok(())
    }

    fn push(&mut self, comparison: &mut Comparison, line: Lines) {
        self.first_ts.get_or_insert(line.first_ts);
        comparison.push_log(line.first_ts, &sql_text(line.body).0);
    }
}
