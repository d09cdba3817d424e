//! What the pages share: where the record is, and what a loop knows.

use tokio::sync::watch;

use super::source::Source;
use crate::sync_loop::control::ControlMap;
use crate::sync_loop::election::Leadership;

/// What the pages share.
pub(crate) struct Pages {
    /// Where the record is.
    pub source: Source,
    /// The job, where there is a loop.
    pub job: Option<JobPart>,
    /// New lines of logs are told at `/api/v1/runs/{id}/logs/follow`; else they are asked for every second.
    pub follow: bool,
}

/// What a loop knows of the job.
pub(crate) struct JobPart {
    pub control: ControlMap,
    pub leadership: watch::Receiver<Leadership>,
    /// What this instance is called.
    pub instance: String,
}
