//! The rows of the database contract as types. Every word here is the same word in SQL, JSON and the docs.
//!
//! Filled by `store`, decided on by `cycle`; no behaviour beyond reading and writing the words.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::proof::Digest;
use super::time;

/// Defines an enum whose variants are words of the database contract.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every word, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands in the database.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// `None` for a word that is not of the contract.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Self::parse(&word).ok_or_else(|| {
                    serde::de::Error::custom(format!(
                        "`{word}` is none of {}",
                        Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ")
                    ))
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// The status of a step and, derived from its steps, of a test run.
    Status {
        /// No TestRun yet.
        Pending = "pending",
        /// The TestRun is being set up (stages initialization, initialized, created).
        Initializing = "initializing",
        /// Runners are running (stage started).
        Running = "running",
        /// Runners are stopping (stage stopped).
        Finishing = "finishing",
        /// The test said yes.
        Passed = "passed",
        /// The test said no.
        Failed = "failed",
        /// The test could not be run properly.
        Errored = "errored",
        /// Somebody or something stopped the test.
        Aborted = "aborted",
        /// The TestRun vanished before its end was seen.
        Lost = "lost",
        /// It ended, and nobody can say how.
        Finished = "finished",
    }
}

impl Status {
    /// The end of a step: it never becomes another status.
    pub const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Initializing | Self::Running | Self::Finishing
        )
    }
}

words! {
    /// Which part of a test run a container plays. Init and sidecar containers are `other`, whatever pod they are in.
    Role {
        /// k6-operator's check of the script.
        Initializer = "initializer",
        /// Tells the runners to begin.
        Starter = "starter",
        /// k6 itself.
        Runner = "runner",
        /// Init, sidecar and unknown containers.
        Other = "other",
    }
}

words! {
    /// The state of a container life.
    StreamState {
        /// Not started yet.
        Waiting = "waiting",
        /// Running.
        Running = "running",
        /// Ended.
        Terminated = "terminated",
    }
}

words! {
    /// Why lines may be missing.
    GapCause {
        /// The kubelet's log file was rotated or replaced between two reads (docs/facts.md,
        /// "Only the current log file is served").
        Rotated = "rotated",
        /// The container restarted more than once between two reads (docs/facts.md, "Only the life before is kept").
        Restarted = "restarted",
        /// The pod was deleted before its log had been read to the end.
        Deleted = "deleted",
        /// The pod is there, but its node no longer has the log of a container that ended.
        Unavailable = "unavailable",
        /// The node's clock stepped back, and lines that it stamped earlier than what was stored were not seen in time.
        Clock = "clock",
        /// A line was so long that only its beginning was kept.
        Truncated = "truncated",
        /// The log was recorded, and deleted by `k6sync prune` since.
        Pruned = "pruned",
    }
}

/// A row of `test_run_steps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `id`.
    pub id: i64,
    /// `test_run_id`.
    pub test_run_id: i64,
    /// `name`.
    pub name: String,
    /// `namespace`; empty in the table means the default one, filled in when read.
    pub namespace: String,
    /// `k6_test_name`: the TestRun's name.
    pub k6_test_name: String,
    /// When the row was made.
    #[serde(with = "time")]
    pub created_at: Timestamp,
    /// Optimistic lock: counts the updates of this row.
    pub version: i64,
    /// The TestRun bears our finalizer, or may.
    pub held: bool,
    /// What a sync may change.
    #[serde(flatten)]
    pub record: StepRecord,
}

/// A step whose TestRun bears our finalizer, or may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HeldStep {
    /// `id`.
    pub id: i64,
    /// `namespace`.
    pub namespace: String,
    /// `k6_test_name`.
    pub k6_test_name: String,
    /// `k6_uid`.
    pub k6_uid: Option<String>,
    /// `cluster`.
    pub cluster: Option<String>,
}

/// What a sync says of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The cluster that the TestRun was seen in: `clusters.id`, or any uid of it where a dashboard set it.
    pub cluster: Option<String>,
    /// The TestRun's uid, pinned when first seen.
    pub k6_uid: Option<String>,
    /// Runners asked for.
    pub parallelism: Option<i64>,
    /// k6-operator's word.
    pub stage: Option<String>,
    /// Our word.
    pub status: Status,
    /// A CamelCase word that says why.
    pub reason: Option<String>,
    /// A sentence that a person can act on.
    pub message: Option<String>,
    /// When the first runner started.
    #[serde(with = "time::optional")]
    pub started_at: Option<Timestamp>,
    /// When the last runner ended.
    #[serde(with = "time::optional")]
    pub finished_at: Option<Timestamp>,
}

/// A step of which nothing is known yet.
impl Default for StepRecord {
    fn default() -> Self {
        Self {
            cluster: None,
            k6_uid: None,
            parallelism: None,
            stage: None,
            status: Status::Pending,
            reason: None,
            message: None,
            started_at: None,
            finished_at: None,
        }
    }
}

/// One container life; the key of a log stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// The pod's uid.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// How often it had been restarted before this life.
    pub restart_count: i64,
}

/// What the cluster shows of a container life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// Which life.
    #[serde(flatten)]
    pub key: StreamKey,
    /// The step it belongs to.
    pub step_id: i64,
    /// `pod_name`.
    pub pod_name: String,
    /// `role`.
    pub role: Role,
    /// `state`.
    pub state: StreamState,
    /// `exit_code` of one that has ended.
    pub exit_code: Option<i64>,
    /// Why it waits or ended, in the kubelet's words.
    pub reason: Option<String>,
    /// `started_at`.
    #[serde(with = "time::optional")]
    pub started_at: Option<Timestamp>,
    /// `finished_at`.
    #[serde(with = "time::optional")]
    pub finished_at: Option<Timestamp>,
}

/// How far a log has been recorded. Compared as a whole before anything is appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// The latest time of a stored line, nanoseconds since 1970.
    pub cursor_ts: Option<i64>,
    /// Stored lines to skip from the first with that time on.
    pub cursor_seen: i64,
    /// The node's clock stepped back: the log is to be read from its beginning.
    pub cursor_stepped: bool,
    /// Lines stored.
    pub lines: i64,
    /// Gap rows.
    pub gaps: i64,
    /// What proves that all this is as it was stored.
    #[serde(flatten)]
    pub proof: Proof,
}

impl StreamPosition {
    /// Of a stream to which nothing was ever added.
    pub(super) fn fresh() -> Self {
        Self {
            proof: Proof {
                next_seq: 0,
                hash_from: Some(0),
                hash: Digest::New,
                hash_base: Digest::New,
                gaps_hash: Digest::New,
                seal: Digest::New,
                ..Proof::default()
            },
            ..Self::default()
        }
    }
}

/// The counters and hashes of a stream; all but `next_seq` of streams of older databases begin at the first append since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proof {
    /// Bytes stored.
    pub bytes: i64,
    /// Bytes that were replaced by U+FFFD.
    pub replaced: i64,
    /// The number of the next chunk.
    pub next_seq: i64,
    /// The first chunk that `hash` covers; those before it were pruned, or are older than hashes.
    pub hash_from: Option<i64>,
    /// The running hash over the chunks.
    pub hash: Digest,
    /// What it was before the chunk `hash_from`.
    pub hash_base: Digest,
    /// The sum of the hashes of all gap rows.
    pub gaps_hash: Digest,
    /// The hash of the row.
    pub seal: Digest,
}

/// A row of a step that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadStep {
    /// `id`.
    pub id: Option<i64>,
    /// `name`.
    pub name: Option<String>,
    /// `k6_test_name`.
    pub k6_test_name: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

/// What the roll-up needs to know of a step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StepSummary {
    /// Its run.
    pub test_run_id: i64,
    /// `status`.
    pub status: Status,
    /// `started_at`; one that can't be read counts for nothing.
    #[serde(deserialize_with = "time::lenient")]
    pub started_at: Option<Timestamp>,
    /// `finished_at`.
    #[serde(deserialize_with = "time::lenient")]
    pub finished_at: Option<Timestamp>,
}

/// A run's status as its steps say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunRecord {
    /// `id`.
    pub id: i64,
    /// `status`.
    pub status: Status,
    /// The earliest start of its steps.
    #[serde(with = "time::optional")]
    pub started_at: Option<Timestamp>,
    /// The latest end of its steps, once all have ended.
    #[serde(with = "time::optional")]
    pub finished_at: Option<Timestamp>,
}

/// A row of `log_streams`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// `id`.
    pub id: i64,
    /// What the cluster showed when it was last looked at.
    #[serde(flatten)]
    pub facts: StreamFacts,
    /// How far its log has been recorded.
    #[serde(flatten)]
    pub position: StreamPosition,
    /// The record is at its end; the log is never read again.
    pub complete: bool,
    /// When it was last read and had nothing new, though it had long been quiet.
    #[serde(with = "time::optional")]
    pub quiet_read_at: Option<Timestamp>,
}

/// A whole row of `log_streams`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recorded {
    /// The stream.
    #[serde(flatten)]
    pub stream: Stream,
    /// The hash of what the cluster showed.
    pub facts_seal: Digest,
}

/// Chunks at the beginning of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChunksBefore {
    /// Time of the stream's first line; `None`: nothing is stored.
    pub first_ts: Option<i64>,
    /// The number of the chunk after them.
    pub next_seq: i64,
    /// Their lines.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A row of `log_chunks`, but for its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Time of the first line, nanoseconds since 1970.
    pub first_ts: i64,
    /// Time of the last line.
    pub last_ts: i64,
    /// How many lines.
    pub lines: i64,
    /// The lines.
    pub body: String,
}

/// A row of `log_gaps`, but for its time of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Time of the last line before the gap, nanoseconds since 1970; `None`: nothing was stored. Where a clock stepped
    /// back, times between are earlier.
    pub after_ts: Option<i64>,
    /// Time of the first line after it; `None`: nothing came yet.
    pub before_ts: Option<i64>,
    /// Why.
    pub cause: GapCause,
}

/// A row of `log_gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRow {
    /// Whose.
    pub stream_id: i64,
    /// Where, and why.
    #[serde(flatten)]
    pub gap: Gap,
    /// When it was noticed.
    #[serde(with = "time")]
    pub noticed_at: Timestamp,
}

/// Everything new of one stream, stored in one transaction or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// Gaps before and in the chunk.
    pub gaps: Vec<Gap>,
    /// New lines.
    pub chunk: Option<Chunk>,
    /// Runs of bytes that were replaced by U+FFFD in the chunk.
    pub replaced: i64,
    /// The cursor after the chunk (time, lines seen from it on, stepped).
    pub cursor: Option<(i64, i64, bool)>,
    /// Nothing will follow.
    pub complete: bool,
}

/// An append, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAppend {
    /// `log_streams.id`
    pub stream_id: i64,
    /// Where the stream must still be left off.
    pub position: StreamPosition,
    /// What is new.
    pub new: Append,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is stored; the log is now left off here.
    Stored(Box<StreamPosition>),
    /// Another sync had moved the stream on since it was read; nothing was stored.
    LostRace,
}

/// A TestRun that no step claims, to become a step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewStep {
    /// The run's name; with `grouped`, steps with one run name and namespace share the run.
    pub run_name: String,
    /// The TestRun was labelled with a run.
    pub grouped: bool,
    /// The step's name.
    pub name: String,
    /// The TestRun's namespace.
    pub namespace: String,
    /// The TestRun's name.
    pub k6_test_name: String,
    /// The cluster, if it is known which it is.
    pub cluster: Option<String>,
    /// The TestRun's uid.
    pub k6_uid: String,
    /// When the TestRun was created.
    #[serde(with = "time")]
    pub created_at: Timestamp,
}

/// A step's new record, to be stored if the step is still at `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepUpdate {
    /// Which step.
    pub id: i64,
    /// Its run.
    pub test_run_id: i64,
    /// Where its TestRun is: what a row without a namespace is to say once it has a TestRun.
    pub namespace: String,
    /// The version that the decision was made on.
    pub version: i64,
    /// The new record.
    #[serde(flatten)]
    pub record: StepRecord,
}

/// A row of `sync_cycles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleRecord {
    /// When it began.
    #[serde(with = "time")]
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: i64,
    /// `sync-once` or `loop`.
    pub trigger: String,
    /// Host name and process id of the one who ran it.
    pub instance: String,
    /// `completed` or `failed`.
    pub outcome: String,
    /// Active steps.
    pub total: i64,
    /// Steps whose record changed.
    pub updated: i64,
    /// Steps with new log lines.
    pub logs_updated: i64,
    /// New bytes of log.
    pub log_bytes: i64,
    /// When it listed the cluster's objects, by the API server's clock, which stamps them too.
    #[serde(with = "time::optional")]
    pub looked_at: Option<Timestamp>,
    /// `clusters.id`, where that is known.
    pub cluster: Option<String>,
    /// What went wrong; written as its count, read from its rows.
    #[serde(serialize_with = "count")]
    pub errors: Vec<CycleError>,
}

fn count<S: serde::Serializer>(errors: &[CycleError], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(errors.len() as u64)
}

/// A row of `sync_errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleError {
    /// `None`: of no step, but of the cycle.
    pub step_id: Option<i64>,
    /// The step's name.
    pub step_name: Option<String>,
    /// The TestRun's name.
    pub k6_test_name: Option<String>,
    /// What was tried, on what, what went wrong.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_themselves() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(*status));
        }
        assert_eq!(Status::parse("Passed"), None);
        assert_eq!(
            Status::ALL.iter().filter(|s| s.is_final()).count(),
            6,
            "passed, failed, errored, aborted, lost, finished"
        );
    }
}
