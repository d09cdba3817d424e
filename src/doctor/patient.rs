//! What the doctor is to look at.

use std::time::Duration;

use crate::cluster::Namespaces;
use crate::store::DatabaseUrl;
use crate::sync_loop::control::Defaults;

/// What is to be examined.
#[derive(Debug)]
pub(crate) struct Patient {
    pub database_url: DatabaseUrl,
    /// Kubeconfig context; `None`: the current one.
    pub context: Option<String>,
    pub request_timeout: Duration,
    /// `None`: the kubeconfig's or the pod's own.
    pub namespaces: Option<Namespaces>,
    /// Where the control ConfigMap and the lease are; `None`: as above.
    pub control_namespace: Option<String>,
    pub control_config_map: String,
    pub control_defaults: Defaults,
    /// `None`: there is no election.
    pub lease: Option<String>,
    /// TestRuns are held in a loop.
    pub holds: bool,
    /// A TestRun is held no longer than this after its deletion was asked for.
    pub hold_timeout: Duration,
}
