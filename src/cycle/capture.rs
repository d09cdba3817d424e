//! Moves one container's new log lines from the cluster into the store, in bounded memory.
//!
//! The cycle calls it for each log that the plan wants read or closed. It holds at most one chunk and one unfinished
//! line. Whatever goes wrong, what is stored is right: the cursor moves only together with the lines before it.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::cursor::{Cursor, Hole, Lines, Splitter};
use super::plan::Todo;
use crate::cluster::{Cluster, ClusterError, LogOptions};
use crate::store::model::{Append, Appended, Chunk, Gap, GapCause, Stream, StreamPosition};
use crate::store::{Store, StoreError, sql_text};

/// Just after a rotation an ended container's log can look empty (FACT 4): an empty log is believed only when its
/// container has been over for so long.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// A log that its node did not give for so long after the container's end is given up.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// A log to bring up to date.
#[derive(Clone, Debug)]
pub struct Task {
    /// The pod's namespace.
    pub namespace: String,
    /// The stream as it is in the store.
    pub stream: Stream,
    /// What to do.
    pub todo: Todo,
}

/// What a task came to.
#[derive(Debug, Default)]
pub struct Captured {
    /// Lines stored.
    pub lines: i64,
    /// Bytes stored.
    pub bytes: i64,
    /// Why gaps were marked.
    pub gaps: Vec<GapCause>,
    /// What went wrong; the lines before it are stored.
    pub error: Option<CaptureError>,
}

/// Why a log could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
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

/// Does what `task` says; reads no log after `deadline`, which `cluster` keeps too.
pub async fn capture(
    cluster: &Cluster,
    store: &Store,
    task: &Task,
    deadline: Instant,
    now: Timestamp,
) -> Captured {
    let mut capture = Capture {
        store,
        task,
        position: task.stream.position,
        captured: Captured::default(),
    };
    let outcome = match task.todo {
        Todo::Nothing => Ok(()),
        Todo::Close(cause) => capture.close(cause).await,
        Todo::Read { .. } if Instant::now() >= deadline => Err(capture.too_late()),
        Todo::Read { previous, ended } => {
            let outcome = capture.read(cluster, previous, ended, now).await;
            match outcome {
                Err(Stop::Failed(error)) if ended && capture.is_given_up(&error, now) => {
                    tracing::warn!(%error, "the log is given up");
                    capture.close(Some(GapCause::Unavailable)).await
                }
                outcome => outcome,
            }
        }
    };
    match outcome {
        Ok(()) | Err(Stop::LostRace) => {}
        Err(Stop::Failed(error)) => capture.captured.error = Some(error),
    }
    capture.captured
}

struct Capture<'a> {
    store: &'a Store,
    task: &'a Task,
    position: StreamPosition,
    captured: Captured,
}

/// Why to stop before the log's end.
enum Stop {
    /// Another sync is at this log; what it stores is as good as what we would.
    LostRace,
    Failed(CaptureError),
}

impl<E: Into<CaptureError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Capture<'_> {
    fn too_late(&self) -> Stop {
        let facts = &self.task.stream.facts;
        Stop::Failed(CaptureError::TooLate {
            pod: facts.pod_name.clone(),
            container: facts.key.container.clone(),
        })
    }

    async fn read(
        &mut self,
        cluster: &Cluster,
        previous: bool,
        ended: bool,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let facts = &self.task.stream.facts;
        let cursor = self.position.cursor_ts.map(|ts| Cursor {
            ts,
            seen: self.position.cursor_seen,
        });
        let options = LogOptions {
            namespace: &self.task.namespace,
            pod: &facts.pod_name,
            container: &facts.key.container,
            previous,
            since_second: cursor.map(Cursor::since_second),
        };
        let mut log = match cluster.log(&options).await {
            Ok(log) => log,
            Err(error) => return self.no_log(error, previous).await,
        };
        let mut splitter = Splitter::new(cursor);
        loop {
            let bytes = match log.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error) => {
                    // The lines that came whole are good, and the next cycle goes on after them.
                    self.append(splitter.finish(false).lines, None, false)
                        .await?;
                    return Err(error.into());
                }
            };
            let mut input = &bytes[..];
            while let Some(lines) = splitter.push(&mut input) {
                self.append(Some(lines), None, false).await?;
            }
        }
        let rest = splitter.finish(ended);
        if let Some(remark) = rest.remark {
            self.append(rest.lines, None, false).await?;
            return Err(Stop::Failed(CaptureError::Remark {
                pod: facts.pod_name.clone(),
                container: facts.key.container.clone(),
                remark,
            }));
        }
        let nothing_came = rest.lines.is_none() && self.captured.lines == 0;
        let is_doubtful = rest.cursor_missing || (cursor.is_none() && nothing_came);
        let complete = ended && (!is_doubtful || self.has_settled(now));
        let gap = (complete && rest.cursor_missing).then_some(Gap {
            after_ts: self.position.cursor_ts,
            before_ts: None,
            cause: GapCause::Rotated,
        });
        self.append(rest.lines, gap, complete).await
    }

    /// The log can't be had at all.
    async fn no_log(&mut self, error: ClusterError, previous: bool) -> Result<(), Stop> {
        let facts = &self.task.stream.facts;
        match error {
            // The next cycle will see that the pod is gone, or find it again.
            ClusterError::NotFound { .. } => {
                tracing::info!(
                    pod = facts.pod_name,
                    "the pod vanished before its log was read"
                );
                Ok(())
            }
            ClusterError::Rejected { code: 400, .. } if previous => {
                self.close(Some(GapCause::Restarted)).await
            }
            // The kubelet is behind the pod's status.
            ClusterError::Rejected {
                code: 400,
                ref message,
                ..
            } if message.contains("waiting to start") => Ok(()),
            other => Err(other.into()),
        }
    }

    /// Nothing more will come.
    async fn close(&mut self, cause: Option<GapCause>) -> Result<(), Stop> {
        let gap = cause.map(|cause| Gap {
            after_ts: self.position.cursor_ts,
            before_ts: None,
            cause,
        });
        self.append(None, gap, true).await
    }

    fn has_settled(&self, now: Timestamp) -> bool {
        self.has_been_over_for(SETTLED_AFTER, now)
    }

    /// The kubelet itself says that it has no such log, and goes on saying so.
    fn is_given_up(&self, error: &CaptureError, now: Timestamp) -> bool {
        let is_kubelets_word = matches!(
            error,
            CaptureError::Remark { .. }
                | CaptureError::Cluster(ClusterError::Rejected { code: 400, .. })
        );
        is_kubelets_word && self.has_been_over_for(GIVEN_UP_AFTER, now)
    }

    fn has_been_over_for(&self, age: SignedDuration, now: Timestamp) -> bool {
        let finished_at = self.task.stream.facts.finished_at;
        finished_at.is_none_or(|finished_at| now.duration_since(finished_at) >= age)
    }

    async fn append(
        &mut self,
        lines: Option<Lines>,
        gap: Option<Gap>,
        complete: bool,
    ) -> Result<(), Stop> {
        if lines.is_none() && gap.is_none() && !complete {
            return Ok(());
        }
        let append = to_append(lines, gap, complete);
        let (lines, bytes) = append
            .chunk
            .as_ref()
            .map_or((0, 0), |chunk| (chunk.lines, chunk.body.len() as i64));
        match self
            .store
            .append(self.task.stream.id, self.position, &append)
            .await?
        {
            Appended::LostRace => return Err(Stop::LostRace),
            Appended::Stored(position) => self.position = position,
        }
        self.captured.lines += lines;
        self.captured.bytes += bytes;
        if let Some(gap) = append.gap {
            self.captured.gaps.push(gap.cause);
            let facts = &self.task.stream.facts;
            tracing::warn!(
                namespace = self.task.namespace,
                pod = facts.pod_name,
                container = facts.key.container,
                cause = gap.cause.as_str(),
                after = gap.after_ts.map(time_of),
                before = gap.before_ts.map(time_of),
                "log lines may be missing"
            );
        }
        Ok(())
    }
}

fn to_append(lines: Option<Lines>, gap: Option<Gap>, complete: bool) -> Append {
    let Some(lines) = lines else {
        return Append {
            gap,
            complete,
            ..Append::default()
        };
    };
    let (body, replaced) = sql_text(lines.body);
    let hole = lines.hole.map(
        |Hole {
             after_ts,
             before_ts,
         }| Gap {
            after_ts,
            before_ts,
            cause: GapCause::Rotated,
        },
    );
    Append {
        gap: hole.or(gap),
        chunk: Some(Chunk {
            first_ts: lines.first_ts,
            last_ts: lines.last_ts,
            lines: lines.count,
            body,
        }),
        replaced,
        cursor: Some((lines.cursor.ts, lines.cursor.seen)),
        complete,
    }
}

/// For messages.
fn time_of(ts: i64) -> String {
    Timestamp::from_nanosecond(ts.into()).map_or_else(|_| ts.to_string(), |time| time.to_string())
}
