//! What to do about the logs of a step's containers.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::super::clock::shifted;
use super::lives::Life;
use crate::cluster::Malformed;
use crate::store::{GapCause, Stream, StreamFacts, StreamKey, StreamState};

/// Kubelets report within this time that a container was restarted. A log is asked for by name, not by life: of a container
/// that may be restarted, what was written later than this before the pods were listed waits for the next list.
const STATUS_DELAY: SignedDuration = SignedDuration::from_secs(10);

/// A container that has written nothing for this long is quiet, and its log is not asked for in each cycle: about once a
/// minute is enough, while neither its pod nor its TestRun is being deleted. Its end shows in the list of pods, and an ended
/// container's log is always read. A rotation would need 10 MiB (docs/facts.md, "Only the current log file is served")
/// to be written in the meantime to hide anything, and then leaves a gap as any other does.
pub(super) const QUIET_AFTER: SignedDuration = SignedDuration::from_mins(10);
pub(super) const QUIET_PAUSE: SignedDuration = SignedDuration::from_secs(55);

/// Kubernetes gives an end in whole seconds, and runtimes may stamp the last lines a moment after it.
const END_PRECISION: SignedDuration = SignedDuration::from_secs(2);

/// What to do about one container life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamPlan {
    /// What the cluster shows of it, or last showed.
    pub facts: StreamFacts,
    /// The database does not know these facts yet.
    pub is_news: bool,
    /// What to do about its log.
    pub todo: Todo,
}

/// What to do about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Nothing: it has not begun, or its record is complete.
    Nothing,
    /// Read on from where it was left off.
    Read {
        /// It is the life before the present one (docs/facts.md, "Only the life before is kept").
        previous: bool,
        /// The container had ended before now: the log's end is its end.
        ended: bool,
        /// Only lines up to this time: those after it may be of another life.
        until: Option<Timestamp>,
    },
    /// There is no more to come; `Some`: and why lines may be missing.
    Close(Option<GapCause>),
}

impl Todo {
    /// The log is complete when this is done, as far as it can be had.
    pub(crate) fn ends_the_log(self) -> bool {
        matches!(self, Self::Read { ended: true, .. } | Self::Close(_))
    }
}

/// What to do about the lives that are seen, and about the streams of those that are not.
pub(super) fn plan_streams(
    lives: &[Life],
    known: &[&Stream],
    bad_pods: &[&Malformed],
    now: Timestamp,
    may_rest: bool,
) -> Vec<StreamPlan> {
    let by_key: HashMap<&StreamKey, &Stream> = known
        .iter()
        .map(|stream| (&stream.facts.key, *stream))
        .collect();
    let mut plans: Vec<StreamPlan> = lives
        .iter()
        .map(|life| plan_life(life, by_key.get(&life.facts.key).copied(), now, may_rest))
        .collect();
    let visible: HashSet<&StreamKey> = lives.iter().map(|life| &life.facts.key).collect();
    let visible_pods: HashSet<&str> = lives
        .iter()
        .map(|life| life.facts.key.pod_uid.as_str())
        .collect();
    for stream in known {
        let StreamFacts { key, pod_name, .. } = &stream.facts;
        let is_hidden = bad_pods.iter().any(|bad| &bad.name == pod_name);
        if visible.contains(key) {
            continue;
        }
        plans.push(StreamPlan {
            facts: stream.facts.clone(),
            is_news: false,
            todo: match (stream.complete, is_hidden) {
                (false, false) => {
                    Todo::Close(Some(match visible_pods.contains(key.pod_uid.as_str()) {
                        true => GapCause::Restarted,
                        false => GapCause::Deleted,
                    }))
                }
                _ => Todo::Nothing,
            },
        });
    }
    plans
}

fn plan_life(life: &Life, known: Option<&Stream>, now: Timestamp, may_rest: bool) -> StreamPlan {
    let is_complete = known.is_some_and(|stream| stream.complete);
    // What is `previous` may be another life by the time that it is read: its lines are later than this one's end.
    let until = match life.previous {
        true => life
            .facts
            .finished_at
            .map(|end| shifted(end, END_PRECISION)),
        false => life.replaceable.then(|| shifted(now, -STATUS_DELAY)),
    };
    let todo = match life.facts.state {
        _ if is_complete => Todo::Nothing,
        StreamState::Waiting if life.stillborn => Todo::Close(None),
        StreamState::Waiting => Todo::Nothing,
        StreamState::Running
            if may_rest && !life.doomed && known.is_some_and(|stream| is_resting(stream, now)) =>
        {
            Todo::Nothing
        }
        StreamState::Running => Todo::Read {
            previous: false,
            ended: false,
            until,
        },
        StreamState::Terminated => Todo::Read {
            previous: life.previous,
            ended: true,
            until,
        },
    };
    StreamPlan {
        is_news: known.is_none_or(|stream| {
            stream.facts != life.facts && stream.facts.state != StreamState::Terminated
        }),
        facts: life.facts.clone(),
        todo,
    }
}

/// It was long quiet when it was read a moment ago.
fn is_resting(stream: &Stream, now: Timestamp) -> bool {
    is_quiet(stream, now)
        && stream.quiet_read_at.is_some_and(|read_at| {
            let since = now.duration_since(read_at);
            !since.is_negative() && since < QUIET_PAUSE
        })
}

/// Nothing has been written for long, by the last line's time or the container's start.
pub(crate) fn is_quiet(stream: &Stream, now: Timestamp) -> bool {
    let last_line = stream
        .position
        .cursor_ts
        .and_then(|ts| Timestamp::from_nanosecond(ts.into()).ok());
    last_line
        .or(stream.facts.started_at)
        .is_some_and(|last| now.duration_since(last) >= QUIET_AFTER)
}
