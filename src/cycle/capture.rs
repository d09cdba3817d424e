//! Moves one container's new log lines from the cluster into the store, in bounded memory.
//!
//! The cycle calls it for each log that the plan wants read or closed. It holds at most one chunk and one unfinished
//! line. Whatever goes wrong, what is stored is right: the cursor moves only together with the lines before it.
//!
//! No answer says whether it is whole: an API server ends its answer like any other when the kubelet's breaks off. So the
//! end of a log is believed only when two reads in a row found it.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::audit::{Audited, audit};
use super::clock::nanoseconds;
use super::cursor::{Cursor, Halt, Lines, Rest, Splitter};
use super::plan::{Todo, is_quiet};
use super::recorder::Recorder;
use crate::cluster::{Cluster, ClusterError, LogMemory, LogOptions};
use crate::harmless;
use crate::isolate::{Bug, isolated_future};
use crate::store::{
    Append, Appended, Chunk, Gap, GapCause, Step, Store, StoreError, Stream, StreamId,
    StreamPosition, sql_text,
};

/// Just after a rotation an ended container's log can look empty (docs/facts.md,
/// "Only the current log file is served"): an empty log is believed only this long after its container ended.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// A log that its node has not given this long after the container's end is given up.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// No node's clock is so far ahead of the API server's.
const FAR_AHEAD: SignedDuration = SignedDuration::from_hours(24 * 366);
/// When its container has ended, a log of at most this many stored lines is read from its beginning once more: an answer by
/// time shows no line that a clock stamped too early. Kubelets keep 10 MiB of a log (docs/facts.md,
/// "Only the current log file is served"); where they were told to keep far more, one cycle might never be long enough
/// to read it all again.
const REREAD_LINES: i64 = 2_000_000;
/// A log is asked for so often before the rest is left to the next cycle.
const MOST_READS: usize = 6;

/// A log to bring up to date.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    /// The step that the container belongs to.
    pub step: &'a Step,
    /// The stream as it is in the store.
    pub stream: &'a Stream,
    /// What to do.
    pub todo: Todo,
}

/// What a task came to.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// Lines stored.
    pub lines: i64,
    /// Bytes stored.
    pub bytes: i64,
    /// Why gaps were marked.
    pub gaps: Vec<GapCause>,
    /// The stream, if it has long been quiet and there was nothing new.
    pub quiet_stream: Option<StreamId>,
    /// What went wrong; the lines before it are stored.
    pub error: Option<CaptureError>,
}

impl Captured {
    /// The database itself failed, and with it the cycle.
    pub(super) fn database_failure(&self) -> Option<StoreError> {
        match &self.error {
            Some(CaptureError::Store(error)) if error.is_general() => Some(error.clone()),
            _ => None,
        }
    }
}

/// Why a log could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cycle's time was over before its turn came.
    #[error(
        "the log of {pod}/{container} was not read: the cycle's deadline was over; the next cycle goes on (kubernetes.cycleDeadline)"
    )]
    TooLate {
        /// The pod's name.
        pod: String,
        /// The container's name.
        container: String,
    },
    /// It panicked.
    #[error("the log of {pod}/{container} was not read to its end: {bug}")]
    Bug {
        /// The pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// What happened.
        bug: Bug,
    },
    /// The kubelet answered with words of its own in place of a log.
    #[error("cannot read the log of {pod}/{container}: the kubelet says: {remark}")]
    Remark {
        /// The pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// The kubelet's words.
        remark: String,
    },
}

/// Does what `task` says; reads no log after `deadline`, which `cluster` keeps too. `now` is the API server's time. A panic is
/// the log's own failure: what was stored before it is right.
pub(super) async fn capture(
    cluster: &Cluster,
    store: &Store,
    recorder: &Recorder,
    task: Task<'_>,
    deadline: Instant,
    now: Timestamp,
) -> Captured {
    // Boxed, since hundreds are under way and each would be held twice: here, and in what keeps its panic apart.
    let work = Box::pin(bring_up_to_date(
        cluster, store, recorder, task, deadline, now,
    ));
    isolated_future(work).await.unwrap_or_else(|bug| {
        let facts = &task.stream.facts;
        Captured {
            error: Some(CaptureError::Bug {
                pod: facts.pod_name.clone(),
                container: facts.key.container.clone(),
                bug,
            }),
            ..Captured::default()
        }
    })
}

async fn bring_up_to_date(
    cluster: &Cluster,
    store: &Store,
    recorder: &Recorder,
    task: Task<'_>,
    deadline: Instant,
    now: Timestamp,
) -> Captured {
    let mut capture = Capture {
        cluster,
        store,
        recorder,
        task,
        now,
        position: task.stream.position,
        captured: Captured::default(),
    };
    let outcome = match task.todo {
        Todo::Nothing => Ok(()),
        Todo::Close(cause) => capture.close(cause).await,
        Todo::Read { .. } if Instant::now() >= deadline => Err(capture.too_late()),
        Todo::Read {
            previous,
            ended: false,
            until,
        } => capture.read_on(previous, until).await,
        Todo::Read {
            previous,
            ended: true,
            until,
        } => capture.read_to_end_or_give_up(previous, until).await,
    };
    match outcome {
        Ok(()) | Err(Stop::LostRace | Stop::Later) => {}
        Err(Stop::Failed(error)) => capture.captured.error = Some(error),
    }
    capture.captured
}

struct Capture<'a> {
    cluster: &'a Cluster,
    store: &'a Store,
    recorder: &'a Recorder,
    task: Task<'a>,
    now: Timestamp,
    position: StreamPosition,
    captured: Captured,
}

/// Why to stop before the log's end.
enum Stop {
    /// Another sync is at this log; what it stores is as good as what we would.
    LostRace,
    /// There is nothing to read yet, or no longer; the next cycle will know.
    Later,
    Failed(CaptureError),
}

impl<E: Into<CaptureError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How much of a log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// What was written since the cursor.
    Since,
    /// All that there is.
    Whole,
}

/// What an answer showed of a log's end.
#[derive(PartialEq, Eq)]
struct End {
    /// The last line, if it had no newline.
    unterminated: Option<Vec<u8>>,
    /// Not even the lines at the cursor.
    cursor_missing: bool,
    /// Nothing at all, and nothing is stored.
    is_empty: bool,
}

/// What one read found, its last lines not yet stored.
struct Found {
    rest: Rest,
    /// It was the whole log, and the lines up to the cursor are not those that are stored, or that can't be told.
    is_doubtful: bool,
    /// Lines that were not stored before, but for an unterminated one that was taken.
    is_more: bool,
    /// Held until the last lines are stored.
    room: Option<LogMemory>,
}

impl Capture<'_> {
    fn too_late(&self) -> Stop {
        let facts = &self.task.stream.facts;
        Stop::Failed(CaptureError::TooLate {
            pod: facts.pod_name.clone(),
            container: facts.key.container.clone(),
        })
    }

    /// Stores what is new of a log that goes on.
    async fn read_on(&mut self, previous: bool, until: Option<Timestamp>) -> Result<(), Stop> {
        let Found { rest, room, .. } = self.read(Extent::Since, previous, until, None).await?;
        let halt = rest.halt;
        let is_whole = halt.is_none() && !rest.cursor_missing;
        self.append(rest.lines, Vec::new(), false).await?;
        drop(room);
        if halt == Some(Halt::Hidden) {
            let found = self.read(Extent::Whole, previous, until, None).await?;
            self.append(found.rest.lines, Vec::new(), false).await?;
        }
        let stream = self.task.stream;
        if is_whole && self.captured.lines == 0 && is_quiet(stream, self.now) {
            self.captured.quiet_stream = Some(stream.id);
        }
        Ok(())
    }

    /// Answers may be wrong for a while, as just after a node's start: a log is given up when two say in this cycle that it
    /// can't be had, as they did in an earlier one. Those are on record, as errors of the step.
    async fn read_to_end_or_give_up(
        &mut self,
        previous: bool,
        until: Option<Timestamp>,
    ) -> Result<(), Stop> {
        match self.read_to_end(previous, until).await {
            Err(Stop::Failed(error)) if self.is_given_up(&error) => {}
            outcome => return outcome,
        }
        match self.read_to_end(previous, until).await {
            Err(Stop::Failed(error))
                if self.is_given_up(&error)
                    && Box::pin(self.was_refused_before(&error)).await? =>
            {
                tracing::warn!(%error, "the log is given up");
                self.close(Some(GapCause::Unavailable)).await
            }
            outcome => outcome,
        }
    }

    /// Stores what is new of a log whose container has ended, and closes the record once two reads agree on its end.
    async fn read_to_end(&mut self, previous: bool, until: Option<Timestamp>) -> Result<(), Stop> {
        let mut extent = match self.position.lines <= REREAD_LINES {
            true => Extent::Whole,
            false => Extent::Since,
        };
        let mut before: Option<End> = None;
        let mut is_doubtful = false;
        for _ in 0..MOST_READS {
            let closed = before.as_ref().and_then(|end| end.unterminated.as_deref());
            let mut found = self.read(extent, previous, until, closed).await?;
            is_doubtful |= found.is_doubtful;
            let Rest {
                is_closed,
                cursor_missing,
                halt,
                ..
            } = found.rest;
            let is_empty = self.position.cursor_ts.is_none() && found.rest.lines.is_none();
            let end = End {
                unterminated: found.rest.unterminated.take(),
                cursor_missing,
                is_empty,
            };
            let is_same_end = is_closed || before.as_ref() == Some(&end);
            let agrees = is_same_end && !found.is_more && halt.is_none();
            let is_believed = match cursor_missing || is_empty {
                true => self.has_settled() && (previous || until.is_none()),
                false => until.is_none_or(|until| self.has_ended_before(until)),
            };
            if agrees && is_believed {
                let gap = cursor_missing.then_some(Gap {
                    after_ts: self.position.cursor_ts,
                    before_ts: None,
                    cause: GapCause::Rotated,
                });
                let mut gaps = match is_doubtful {
                    true => {
                        // Another log is opened, and who holds room waits for no place.
                        drop(found.room.take());
                        Box::pin(self.hidden(previous)).await?
                    }
                    false => Vec::new(),
                };
                gaps.extend(gap);
                return self.append(found.rest.lines, gaps, true).await;
            }
            self.append(found.rest.lines, Vec::new(), false).await?;
            if agrees || halt == Some(Halt::TooLate) {
                break;
            }
            extent = match cursor_missing || halt == Some(Halt::Hidden) {
                true => Extent::Whole,
                false => Extent::Since,
            };
            before = Some(end);
        }
        Ok(())
    }

    /// Reads a log once and stores what is new, but for the last lines. `closed`: an unterminated last line that is
    /// taken for a line if it is there still.
    async fn read(
        &mut self,
        extent: Extent,
        previous: bool,
        until: Option<Timestamp>,
        closed: Option<&[u8]>,
    ) -> Result<Found, Stop> {
        let cursor = self.position.cursor_ts.map(|ts| Cursor {
            ts,
            seen: self.position.cursor_seen,
            stepped: self.position.cursor_stepped,
        });
        let resumed = cursor
            .filter(|_| extent == Extent::Since)
            .and_then(|cursor| Some((cursor, cursor.since_second()?)));
        let (splitter, since_second) = match resumed {
            Some((cursor, since)) => (Splitter::since(cursor), Some(since)),
            None => (Splitter::whole(cursor), None),
        };
        let mut splitter = splitter.until(until.map(nanoseconds));
        let mut log = match self
            .cluster
            .log(&self.options(previous, since_second))
            .await
        {
            Ok(log) => log,
            Err(error) => return Err(self.no_log(error, previous).await),
        };
        let lines_before = self.position.lines;
        while !splitter.is_done() {
            let bytes = match log.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error) => {
                    // The lines that came whole are good, and the next cycle goes on after them.
                    self.append(splitter.finish(None).lines, Vec::new(), false)
                        .await?;
                    return Err(error.into());
                }
            };
            let mut input = &bytes[..];
            while let Some(lines) = splitter.push(&mut input) {
                self.append(Some(lines), Vec::new(), false).await?;
            }
            log.hold(splitter.unterminated().len()).await;
        }
        let room = log.finish();
        let mut rest = splitter.finish(closed);
        if let Some(remark) = rest.remark.take() {
            self.append(rest.lines, Vec::new(), false).await?;
            let facts = &self.task.stream.facts;
            return Err(Stop::Failed(CaptureError::Remark {
                pod: facts.pod_name.clone(),
                container: facts.key.container.clone(),
                remark,
            }));
        }
        let last_lines = rest.lines.as_ref().map_or(0, |lines| lines.count);
        let is_as_stored = self.position.gaps == 0 && rest.delivered_again == lines_before;
        Ok(Found {
            is_more: self.position.lines > lines_before || last_lines > i64::from(rest.is_closed),
            is_doubtful: since_second.is_none() && cursor.is_some() && !is_as_stored,
            rest,
            room,
        })
    }

    fn options(&self, previous: bool, since_second: Option<i64>) -> LogOptions<'_> {
        let facts = &self.task.stream.facts;
        LogOptions {
            namespace: &self.task.step.namespace,
            pod: &facts.pod_name,
            container: &facts.key.container,
            previous,
            since_second,
        }
    }

    /// Holes among the stored lines: what a clock that stepped back hid when it was new.
    async fn hidden(&self, previous: bool) -> Result<Vec<Gap>, Stop> {
        let audited = Audited {
            stream_id: self.task.stream.id,
            lines: self.position.lines,
            complete: false,
            ended: true,
            by_time: true,
        };
        let log = self.options(previous, None);
        let (_, unmarked) = audit::<CaptureError>(self.cluster, self.store, &log, audited).await?;
        Ok(unmarked)
    }

    /// The log can't be had at all.
    async fn no_log(&mut self, error: ClusterError, previous: bool) -> Stop {
        let facts = &self.task.stream.facts;
        match error {
            // The next cycle will see that the pod is gone, or find it again.
            ClusterError::NotFound { .. } => {
                tracing::info!(
                    pod = facts.pod_name,
                    "the pod vanished before its log was read"
                );
                Stop::Later
            }
            ClusterError::Rejected { code: 400, .. } if previous => {
                match self.close(Some(GapCause::Restarted)).await {
                    Ok(()) => Stop::Later,
                    Err(stop) => stop,
                }
            }
            // The kubelet is behind the pod's status.
            ClusterError::Rejected {
                code: 400,
                ref message,
                ..
            } if message.contains("waiting to start") => Stop::Later,
            other => other.into(),
        }
    }

    /// Nothing more will come.
    async fn close(&mut self, cause: Option<GapCause>) -> Result<(), Stop> {
        let gap = cause.map(|cause| Gap {
            after_ts: self.position.cursor_ts,
            before_ts: None,
            cause,
        });
        self.append(None, gap.into_iter().collect(), true).await
    }

    fn has_settled(&self) -> bool {
        self.has_been_over_for(SETTLED_AFTER)
    }

    /// The kubelet itself says that it has no such log, and goes on saying so.
    fn is_given_up(&self, error: &CaptureError) -> bool {
        let is_kubelets_word = matches!(
            error,
            CaptureError::Remark { .. }
                | CaptureError::Cluster(ClusterError::Rejected { code: 400, .. })
        );
        is_kubelets_word && self.has_been_over_for(GIVEN_UP_AFTER)
    }

    /// An earlier cycle met the same error, but for the words of the other side.
    async fn was_refused_before(&self, error: &CaptureError) -> Result<bool, Stop> {
        let text = error.to_string();
        let words = match error {
            CaptureError::Remark { remark, .. } => remark,
            CaptureError::Cluster(ClusterError::Rejected { message, .. }) => message,
            _ => "",
        };
        // As it stands on record.
        let beginning = harmless::line(text.strip_suffix(words).unwrap_or(&text));
        let step_id = self.task.step.id;
        Ok(self.store.count_errors(step_id, &beginning).await? > 0)
    }

    fn has_been_over_for(&self, age: SignedDuration) -> bool {
        let finished_at = self.task.stream.facts.finished_at;
        finished_at.is_none_or(|finished_at| {
            let ago = self.now.duration_since(finished_at);
            // What lies far ahead is no time: waiting for it would be for ever.
            ago >= age || ago < -FAR_AHEAD
        })
    }

    fn has_ended_before(&self, time: Timestamp) -> bool {
        let finished_at = self.task.stream.facts.finished_at;
        finished_at.is_some_and(|finished_at| finished_at < time)
    }

    async fn append(
        &mut self,
        lines: Option<Lines>,
        gaps: Vec<Gap>,
        complete: bool,
    ) -> Result<(), Stop> {
        if lines.is_none() && gaps.is_empty() && !complete {
            return Ok(());
        }
        let append = to_append(lines, gaps, complete);
        let gaps = append.gaps.clone();
        let (lines, bytes) = append
            .chunk
            .as_ref()
            .map_or((0, 0), |chunk| (chunk.lines, chunk.body.len() as i64));
        match self
            .recorder
            .append(self.task.stream.id, self.position, append)
            .await?
        {
            Appended::LostRace => return Err(Stop::LostRace),
            Appended::Stored(position) => self.position = *position,
        }
        self.captured.lines += lines;
        self.captured.bytes += bytes;
        for gap in gaps {
            self.captured.gaps.push(gap.cause);
            self.warn(gap);
        }
        Ok(())
    }

    fn warn(&self, gap: Gap) {
        let Task { step, stream, .. } = self.task;
        tracing::warn!(
            run = step.test_run_id.0,
            step = step.name,
            namespace = step.namespace,
            k6_test_name = step.k6_test_name,
            pod = stream.facts.pod_name,
            container = stream.facts.key.container,
            restart_count = stream.facts.key.restart_count,
            cause = gap.cause.as_str(),
            after = gap.after_ts.map(time_of),
            before = gap.before_ts.map(time_of),
            "log lines may be missing"
        );
    }
}

fn to_append(lines: Option<Lines>, mut gaps: Vec<Gap>, complete: bool) -> Append {
    let Some(lines) = lines else {
        return Append {
            gaps,
            complete,
            ..Append::default()
        };
    };
    let (body, replaced) = sql_text(lines.body);
    let Cursor { ts, seen, stepped } = lines.cursor;
    gaps.extend(lines.gaps);
    Append {
        gaps,
        chunk: Some(Chunk {
            first_ts: lines.first_ts,
            last_ts: lines.last_ts,
            lines: lines.count,
            body,
            line_times: Some(lines.times),
        }),
        replaced,
        cursor: Some((ts, seen, stepped)),
        complete,
    }
}

/// For messages.
fn time_of(ts: i64) -> String {
    Timestamp::from_nanosecond(ts.into()).map_or_else(|_| ts.to_string(), |time| time.to_string())
}
