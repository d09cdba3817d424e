//! Everything that talks to SQL. The cycle calls it; it knows nothing of Kubernetes and decides nothing.
//!
//! A file is a subject: the types of its rows, its statements for both databases, and the methods that send them: of
//! [`Reader`], which only read, and of [`Store`], which write. Each method that writes is one step of the cycle and one
//! transaction. Any number of k6syncs may use one database at once: what must not happen twice is guarded here, by a
//! unique key, a version, or the position that an append expects.

mod adopt;
mod append;
mod check;
mod chunks;
mod clusters;
mod commit;
mod connect;
mod cycles;
mod error;
mod file;
mod gaps;
mod health;
mod holds;
mod ids;
mod line_times;
mod migrate;
mod open;
mod overview;
pub(crate) mod proof;
mod prune;
mod query;
mod reader;
mod results;
mod rows;
mod run_results;
mod run_steps;
mod runs;
mod statement;
mod step_rows;
mod steps;
mod stream_facts;
mod streams;
mod text;
mod time;
mod transaction;
mod url;
mod words;

pub(crate) use self::adopt::NewStep;
pub(crate) use self::append::{Append, Appended, StreamAppend};
pub(crate) use self::chunks::{Chunk, ChunkRow, LinePlace};
pub(crate) use self::clusters::{KnownNamespace, Registration, SeenNamespace};
pub(crate) use self::commit::{RunRecord, StepSummary};
pub(crate) use self::cycles::Reads;
pub use self::cycles::{CycleError, CycleRecord};
pub use self::error::StoreError;
pub(crate) use self::gaps::{Gap, GapRow};
pub(crate) use self::health::Writable;
pub(crate) use self::holds::HeldStep;
pub(crate) use self::ids::{RunId, StepId, StreamId};
pub use self::line_times::LineTimes;
pub(crate) use self::migrate::Schema;
pub use self::open::Store;
pub(crate) use self::overview::Overview;
pub(crate) use self::prune::Prunable;
pub use self::reader::Reader;
pub(crate) use self::results::{Combined, RunnerLog, RunnerSummary, SummaryRow};
pub(crate) use self::rows::{Read, Unreadable};
pub(crate) use self::run_steps::{RunContainer, RunGap, RunState, RunStep};
pub(crate) use self::runs::{Candidate, Interval, RunRow, RunsWanted, Visible};
pub(crate) use self::step_rows::StepRow;
pub(crate) use self::steps::{BadStep, Step, StepRecord, StepScope, StepUpdate};
pub(crate) use self::stream_facts::{StreamFacts, StreamKey};
pub(crate) use self::streams::{Recorded, Stream, StreamPosition};
pub(crate) use self::text::{sql_text, with_runs_joined};
pub use self::url::DatabaseUrl;
pub(crate) use self::url::DatabaseUrlError;
pub(crate) use self::words::{GapCause, Role, Status, StreamState, SummarySource};
