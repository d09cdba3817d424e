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
mod rows;
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

pub use self::adopt::NewStep;
pub use self::append::{Append, Appended, StreamAppend};
pub use self::chunks::{Chunk, ChunkRow, ChunksBefore};
pub use self::clusters::{KnownNamespace, Registration, SeenNamespace};
pub use self::commit::{RunRecord, StepSummary};
pub use self::cycles::{CycleError, CycleRecord};
pub use self::error::StoreError;
pub use self::gaps::{Gap, GapRow};
pub use self::holds::HeldStep;
pub use self::ids::{RunId, StepId, StreamId};
pub use self::line_times::{LineTimes, LineTimesError};
pub use self::open::Store;
pub use self::overview::Overview;
pub use self::prune::Prunable;
pub use self::reader::Reader;
pub use self::rows::{Read, Unreadable};
pub use self::step_rows::StepRow;
pub use self::steps::{BadStep, Step, StepRecord, StepScope, StepUpdate};
pub use self::stream_facts::{StreamFacts, StreamKey};
pub use self::streams::{Proof, Recorded, Stream, StreamPosition};
pub(crate) use self::text::{sql_text, with_runs_joined};
pub use self::url::{DatabaseUrl, DatabaseUrlError};
pub use self::words::{GapCause, Role, Status, StreamState};
