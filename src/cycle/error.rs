//! Why a cycle could not be completed.

use std::time::Duration;

use crate::cluster::ClusterError;
use crate::store::StoreError;

/// Why a cycle could not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is another cluster's.
    #[error(
        "the database {database} knows only other clusters than the one at {cluster} (here: {seen}; known: {known}), and nothing was written: is --context or --database-url wrong? If this cluster is to share the database with them, say so once with `k6sync migrate --new-cluster`; if it is the one that the database knows, built or its namespace made anew, with `k6sync migrate --same-cluster`"
    )]
    OtherCluster {
        /// Which database.
        database: String,
        /// The API server.
        cluster: String,
        /// Namespaces and uids of this cluster.
        seen: String,
        /// Those that the database knows.
        known: String,
    },
    /// The database did not answer, long after the deadline.
    #[error(
        "the cycle did not end within {0:?}, though its deadline for Kubernetes was over: the database does not answer; what was stored is right, and the next cycle goes on"
    )]
    Overdue(Duration),
}
