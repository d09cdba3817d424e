//! Reading a log: what `merge` wants is fetched, one query at a time, the next while whoever reads is at work.

use std::collections::{HashMap, VecDeque};

use futures_util::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::begin;
use super::error::LogError;
use super::head::Damage;
use super::line::{Begin, LineId, LogEnd, LogGap, LogItem, LogLines};
use super::merge::{Merge, Step};
use super::places::Places;
use super::selection::{LogContainer, LogWanted};
use crate::record::Record;
use crate::record::run::containers_of;
use crate::store::{ChunkRow, GapCause, RunGap, RunId, RunState, StoreError, StreamId};

/// What the beginnings of all logs together may take.
const BUDGET: usize = 16 * 1024 * 1024;
/// Chunks a query, of a container that is alone.
const CHUNKS: i64 = 4;
/// Unless they are larger than this together.
const LARGE: usize = 3 * 1024 * 1024;
/// With more containers than this no chunk is fetched before it is wanted.
const AHEAD: usize = 8;
/// Queries at a time, where many chunks are wanted: a reader has as many connections.
const QUERIES: usize = 4;

type Rows = Result<Vec<ChunkRow>, StoreError>;

/// The log of a run, or of some of its containers, being read.
#[derive(Debug)]
pub(crate) struct Log {
    record: Record,
    run: RunId,
    wanted: LogWanted,
    containers: Vec<LogContainer>,
    indices: HashMap<StreamId, usize>,
    merge: Merge,
    /// Chunks that were fetched together with one before.
    fetched: HashMap<usize, VecDeque<ChunkRow>>,
    /// What is being fetched before it is wanted, and from which chunk on.
    ahead: HashMap<usize, (i64, JoinHandle<Rows>)>,
    state: Option<RunState>,
    /// Of each log that was pruned: how many lines.
    pruned: HashMap<StreamId, i64>,
}

/// What a look at a run that is followed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The run has ended and its logs are complete, or it is gone: nothing more will come.
    pub has_ended: bool,
    /// The run itself has not ended.
    pub is_active: bool,
    /// The run is not in the database any more.
    pub is_gone: bool,
}

impl Log {
    /// What is wanted of the log of this run.
    ///
    /// # Errors
    /// [`LogError`]
    pub(crate) async fn open(
        record: &Record,
        run: RunId,
        wanted: LogWanted,
    ) -> Result<Self, LogError> {
        let mut log = Self {
            record: record.clone(),
            run,
            merge: Merge::new(wanted.budget.unwrap_or(BUDGET), wanted.timed),
            wanted,
            containers: Vec::new(),
            indices: HashMap::new(),
            fetched: HashMap::new(),
            ahead: HashMap::new(),
            state: None,
            pruned: HashMap::new(),
        };
        log.refresh(true).await?;
        // Who comes later is shown from its beginning.
        log.wanted.is_tail = log.wanted.tail.take().is_some()
            || log.wanted.from.take().is_some()
            || log.wanted.from_line.take().is_some();
        Ok(log)
    }

    /// The containers whose logs are read, by the index that items have. There may be more after a [`Log::look`].
    pub(crate) fn containers(&self) -> &[LogContainer] {
        &self.containers
    }

    /// Where reading stands in each container: at its end, where nothing comes next.
    pub(super) fn ends(&self) -> Vec<LogEnd> {
        self.containers
            .iter()
            .enumerate()
            .map(|(index, container)| {
                let (stream, at) = self.merge.place(index);
                LogEnd {
                    at: LineId { stream, at },
                    lines: container.lines,
                }
            })
            .collect()
    }

    /// What comes next; `None`: nothing, for now. An error leaves everything in its place: the next call goes on.
    ///
    /// # Errors
    /// [`LogError`]
    pub(crate) async fn next(&mut self) -> Result<Option<LogItem<'_>>, LogError> {
        let (container, run) = loop {
            match self.merge.step() {
                Step::Wants => self.fetch().await?,
                Step::Lines(container, run) => break (container, run),
                Step::Gap(container, gap) => {
                    let lines = match gap.cause {
                        GapCause::Pruned => self.pruned.get(&gap.stream_id).copied(),
                        _ => None,
                    };
                    return Ok(Some(LogItem::Gap(LogGap {
                        container,
                        gap,
                        lines,
                    })));
                }
                Step::Idle => return Ok(None),
            }
        };
        let (text, times, approximate) = self.merge.view(container, run);
        Ok(Some(LogItem::Lines(LogLines {
            container,
            at: run.at,
            text,
            times,
            approximate,
        })))
    }

    /// Lets go of all that is in memory and was not given out: it is read again when it is wanted.
    pub(crate) fn rest(&mut self) {
        self.merge.rest();
        self.fetched.clear();
        for (_, (_, query)) in self.ahead.drain() {
            query.abort();
        }
    }

    /// How far it was read: what was given out last counts as read. Only of a log that was opened with times.
    pub(crate) fn places(&self) -> Places {
        self.merge.places()
    }

    /// Looks how far the run is. If it has gone on, there may be more to read, and more containers.
    ///
    /// # Errors
    /// [`LogError::Store`]
    pub(crate) async fn look(&mut self) -> Result<Seen, LogError> {
        // What was opened goes on answering, and nothing new would ever come.
        self.record.reader.still_there()?;
        let states = self.record.states(&[self.run]).await?;
        self.see(states.first().copied()).await
    }

    /// The same where somebody else has looked; `None`: the run is gone.
    ///
    /// # Errors
    /// [`LogError::Store`]
    pub(crate) async fn see(&mut self, state: Option<RunState>) -> Result<Seen, LogError> {
        let Some(state) = state else {
            return Ok(Seen {
                has_ended: true,
                is_active: false,
                is_gone: true,
            });
        };
        if self.state != Some(state) {
            self.refresh(false).await?;
            self.state = Some(state);
        }
        let is_over = state.status.is_final() && state.steps_ended == state.steps;
        Ok(Seen {
            has_ended: is_over && state.logs_complete == state.logs,
            is_active: !is_over,
            is_gone: false,
        })
    }

    /// After the last line of logs that were read whole: what of them was not there, though it was recorded. Those that `prune` has
    /// deleted while they were read, which no gap has told yet.
    ///
    /// # Errors
    /// [`LogError::Missing`], [`LogError::Store`]
    pub(crate) async fn ended(&mut self) -> Result<Vec<LogGap>, LogError> {
        let mut pruned = Vec::new();
        if self.wanted.since.is_some() || self.wanted.is_tail {
            return Ok(pruned);
        }
        for missing in self.record.reader.missing_lines(self.run).await? {
            let Some(index) = self.indices.get(&missing.stream_id) else {
                continue;
            };
            if !missing.pruned {
                return Err(LogError::Missing {
                    container: self.containers[*index].name(),
                    lines: missing.lines,
                });
            }
            if !self.pruned.contains_key(&missing.stream_id) {
                pruned.push(LogGap {
                    container: *index,
                    gap: RunGap {
                        stream_id: missing.stream_id,
                        after_ts: None,
                        before_ts: None,
                        cause: GapCause::Pruned,
                    },
                    lines: Some(missing.lines),
                });
            }
        }
        Ok(pruned)
    }

    /// Reads which containers there are, and goes on with those of which there is more.
    async fn refresh(&mut self, is_first: bool) -> Result<(), LogError> {
        let record = self.record.clone();
        let (reader, schema, run) = (&record.reader, record.schema, self.run);
        let Some(row) = reader.run_row(schema, run).await? else {
            return Ok(());
        };
        let steps = reader.run_steps(schema, run).await?;
        let mut rows: HashMap<_, Vec<_>> = HashMap::new();
        for row in reader.run_containers(schema, run).await? {
            rows.entry(row.step_id).or_default().push(row);
        }
        let mut found = Vec::new();
        for step in &steps {
            let containers = containers_of(step, rows.remove(&step.id).unwrap_or_default());
            found.extend(
                containers
                    .iter()
                    .map(|container| LogContainer::of(&row.name, step, container)),
            );
        }
        if is_first {
            self.wanted.check(&steps, &found)?;
        }
        found.retain(|container| self.wanted.takes(container));
        let gaps = self.gaps(&found).await?;
        let none = Vec::new();
        let mut new = Vec::new();
        for container in found {
            match self.indices.get(&container.id) {
                Some(index) => {
                    let known = &mut self.containers[*index];
                    if *known != container {
                        *known = container;
                        let gaps = gaps.get(&known.id).unwrap_or(&none);
                        self.merge.reopen(*index, gaps);
                    }
                }
                None => new.push(container),
            }
        }
        let starts = begin::starts(&record, &new, &self.wanted).await?;
        for (container, start) in new.into_iter().zip(starts) {
            let gaps = gaps.get(&container.id).unwrap_or(&none);
            self.merge.add(container.id, start, gaps);
            self.indices.insert(container.id, self.containers.len());
            self.containers.push(container);
        }
        Ok(())
    }

    /// The gaps of these containers' logs.
    async fn gaps(
        &mut self,
        containers: &[LogContainer],
    ) -> Result<HashMap<StreamId, Vec<RunGap>>, LogError> {
        let mut gaps: HashMap<StreamId, Vec<RunGap>> = HashMap::new();
        if containers.iter().all(|container| container.gaps == 0) {
            return Ok(gaps);
        }
        for gap in self.record.gaps(self.run).await? {
            gaps.entry(gap.stream_id).or_default().push(gap);
        }
        let pruned: Vec<StreamId> = containers
            .iter()
            .map(|container| container.id)
            .filter(|id| {
                let is_pruned = |gap: &RunGap| gap.cause == GapCause::Pruned;
                gaps.get(id).is_some_and(|gaps| gaps.iter().any(is_pruned))
            })
            .collect();
        if !pruned.is_empty() {
            let mut stored: HashMap<StreamId, i64> = HashMap::new();
            for row in self.record.reader.stored_lines(&pruned).await? {
                stored.insert(row.stream_id, row.lines);
            }
            for container in containers {
                if pruned.contains(&container.id) {
                    let there = stored.get(&container.id).copied().unwrap_or(0);
                    self.pruned.insert(container.id, container.lines - there);
                }
            }
        }
        Ok(gaps)
    }

    /// Fetches what is wanted before anything can be told.
    async fn fetch(&mut self) -> Result<(), LogError> {
        let wanting = self.merge.wanting();
        if let [one] = wanting[..] {
            let rows = self.rows(one).await?;
            return self.feed(one, rows);
        }
        let mut queries = Vec::new();
        for index in wanting {
            match self.at_hand(index) {
                Some(row) => self.feed(index, vec![row])?,
                None if self.has_nothing(index) => self.feed(index, Vec::new())?,
                None => {
                    let (reader, schema) = (self.record.reader.clone(), self.record.schema);
                    let (stream, at) = self.merge.place(index);
                    queries.push(async move {
                        let rows = reader.chunk_rows_of(schema, stream, at.seq, 1).await;
                        (index, rows)
                    });
                }
            }
        }
        let mut answers = stream::iter(queries).buffer_unordered(QUERIES);
        while let Some((index, rows)) = answers.next().await {
            self.feed(index, rows?)?;
        }
        Ok(())
    }

    /// The container has no lines, or none but those before the place where reading begins.
    fn has_nothing(&self, index: usize) -> bool {
        let container = &self.containers[index];
        let known = match &self.wanted.begin {
            Begin::Ends(ends) => ends.get(&container.id).map_or(0, |end| end.lines),
            _ => 0,
        };
        container.lines == known
    }

    /// A chunk that was fetched before it was wanted.
    fn at_hand(&mut self, index: usize) -> Option<ChunkRow> {
        let (_, at) = self.merge.place(index);
        let rows = self.fetched.get_mut(&index)?;
        while rows.front().is_some_and(|row| row.seq < at.seq) {
            rows.pop_front();
        }
        let is_next = rows
            .front()
            .is_some_and(|row| row.seq == at.seq || (row.seq > at.seq && at.line == 0));
        match is_next {
            true => rows.pop_front(),
            false => None,
        }
    }

    /// The chunks that come next in a container's log; none: it is at its end.
    async fn rows(&mut self, index: usize) -> Rows {
        if let Some(row) = self.at_hand(index) {
            return Ok(vec![row]);
        }
        let (stream, at) = self.merge.place(index);
        if let Some((seq, ahead)) = self.ahead.remove(&index)
            && (seq, 0) == (at.seq, at.line)
            && let Ok(rows) = ahead.await
        {
            let rows = rows?;
            // What was the end then may not be the end now.
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        self.fetched.remove(&index);
        let count = match self.merge.active() == 1 && !self.has_little_room() {
            true => CHUNKS,
            false => 1,
        };
        let (reader, schema) = (&self.record.reader, self.record.schema);
        reader.chunk_rows_of(schema, stream, at.seq, count).await
    }

    /// Nothing is fetched before it is wanted.
    fn has_little_room(&self) -> bool {
        self.wanted.budget.is_some_and(|budget| budget < LARGE)
    }

    /// Hands over what was fetched, and fetches what will be wanted next.
    fn feed(&mut self, index: usize, rows: Vec<ChunkRow>) -> Result<(), LogError> {
        let Some(last) = rows.last().map(|row| row.seq) else {
            let may_grow = self.wanted.follow && !self.containers[index].complete;
            self.merge.end(index, may_grow);
            return Ok(());
        };
        let size: usize = rows.iter().map(|row| row.chunk.size()).sum();
        let mut rows = rows.into_iter();
        if let Some(row) = rows.next() {
            let container = &self.containers[index];
            self.merge
                .feed(index, row)
                .map_err(|Damage { seq, problem }| LogError::Damaged {
                    container: container.name(),
                    seq,
                    problem,
                })?;
        }
        let active = self.merge.active();
        let may_fetch = active <= AHEAD && !self.has_little_room();
        let fetched = self.fetched.entry(index).or_default();
        let was_batch = rows.len() > 0;
        fetched.extend(rows);
        let is_due = !self.ahead.contains_key(&index) && (was_batch || fetched.is_empty());
        if is_due && may_fetch {
            let next = fetched.back().map_or(last, |row| row.seq).saturating_add(1);
            let count = if active == 1 && size <= LARGE {
                CHUNKS
            } else {
                1
            };
            let (reader, schema) = (self.record.reader.clone(), self.record.schema);
            let (stream, _) = self.merge.place(index);
            let query = async move { reader.chunk_rows_of(schema, stream, next, count).await };
            self.ahead.insert(index, (next, tokio::spawn(query)));
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for (_, query) in self.ahead.values() {
            query.abort();
        }
    }
}
