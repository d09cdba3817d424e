//! Everything that talks to Kubernetes. The cycle calls it; it knows nothing of SQL and decides nothing.
//!
//! Small types of our own decode only what is used of an answer. An object that can't be understood is set aside with what is
//! wrong with it, and never hides the others.

mod client;
mod config_maps;
mod error;
mod holds;
mod lease;
mod limiter;
mod list;
mod logs;
mod namespaces;
mod objects;
mod pods;
mod reach;
mod request;
mod reviews;
mod send;
mod test_runs;
mod time;
mod traffic;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::config::KubeConfigOptions;
use tokio::time::Instant;

use crate::discreet;

pub use self::config_maps::ConfigMap;
pub(crate) use self::config_maps::ConfigMapChange;
pub(crate) use self::error::ClusterError;
#[cfg(test)]
pub(crate) use self::holds::OLD_FINALIZER;
pub(crate) use self::holds::{Finalizer, Hold, Release};
pub(crate) use self::lease::{Lease, LeaseSpec};
use self::limiter::Limiter;
pub(crate) use self::limiter::{LogMemory, UNANSWERED};
pub(crate) use self::list::{Listed, Malformed};
pub(crate) use self::logs::{LogOptions, LogStream};
pub use self::pods::Pod;
pub(crate) use self::pods::{Container, ContainerKind, ContainerState, Job, Terminated};
pub(crate) use self::reach::Reach;
pub(crate) use self::reviews::{Right, User};

pub(crate) use self::test_runs::Stage;
pub use self::test_runs::{TestRun, custom_resource_definition};
pub use self::traffic::Traffic;
pub(crate) use self::watch::{Change, TestRunWatch};

/// A log is late after this fraction of the request timeout.
const LATE: u32 = 10;

/// A connection to one cluster. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: kube::Client,
    /// Makes further clients.
    config: Arc<kube::Config>,
    /// For messages.
    url: String,
    request_timeout: Duration,
    /// The time limit of the first attempt at a request; each further attempt gets twice as much as the one before, up to
    /// `request_timeout`. `None`: each gets that.
    first_attempt: Option<Duration>,
    /// No request goes on beyond this.
    deadline: Option<Instant>,
    /// Of log requests; `None`: there is no limit.
    limiter: Option<Limiter>,
    traffic: Traffic,
    /// How many objects fit in a page of a list, by resource.
    page_objects: Arc<Mutex<HashMap<&'static str, usize>>>,
}

/// Which objects to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All that there are.
    All,
    /// These.
    Only(Vec<String>),
}

impl Cluster {
    /// Finds the cluster as kubectl does: kubeconfig first, then the pod's service account.
    ///
    /// `request_timeout` bounds each request, and each pause within a log.
    ///
    /// # Errors
    /// [`ClusterError::Config`]
    pub(crate) async fn connect(
        context: Option<&str>,
        request_timeout: Duration,
    ) -> Result<Self, ClusterError> {
        let mut config = match context {
            Some(context) => kube::Config::from_kubeconfig(&KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            })
            .await
            .map_err(|error| {
                let shown = discreet::name(context);
                ClusterError::Config(format!(
                    "context `{shown}`: {}; `kubectl config get-contexts` lists them",
                    said(&error).replace(context, shown)
                ))
            })?,
            None => kube::Config::infer().await.map_err(|error| {
                ClusterError::Config(format!(
                    "{}; set KUBECONFIG to a good kubeconfig file (default: ~/.kube/config), or run in a pod with a service account",
                    said(&error)
                ))
            })?,
        };
        // We retry ourselves, within the cycle's deadline.
        config.default_retry = false;
        config.connect_timeout = Some(request_timeout);
        if config.cluster_url.scheme_str() == Some("http") {
            // No certificate is checked: reading all that the system trusts would be most of a short cycle's work.
            config.root_cert.get_or_insert_default();
        }
        if config.proxy_url.is_some() {
            // Its URL may have a password.
            return Err(ClusterError::Config(
                "a proxy is set (HTTPS_PROXY, or proxy-url in the kubeconfig), and k6sync uses none; leave it out"
                    .to_owned(),
            ));
        }
        let url = without_user(&config.cluster_url);
        let client = client::client(config.clone())
            .map_err(|error| ClusterError::Config(error::chain(&error)))?;
        Ok(Self {
            client,
            config: Arc::new(config),
            url: url.trim_end_matches('/').to_owned(),
            request_timeout,
            first_attempt: None,
            deadline: None,
            limiter: None,
            traffic: Traffic::default(),
            page_objects: Arc::default(),
        })
    }

    /// The same cluster, for requests that must be done by `deadline`.
    pub(crate) fn until(&self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self.clone()
        }
    }

    /// The same cluster with connections of its own, for requests that must not wait for a dead one: the first attempt is given
    /// up after `first_attempt`, and its connection with it; the next makes a new one.
    pub(crate) fn with_own_connections(&self, first_attempt: Duration) -> Self {
        let client = client::client(kube::Config::clone(&self.config));
        Self {
            // The same configuration has made a client before.
            client: client.unwrap_or_else(|_| self.client.clone()),
            first_attempt: Some(first_attempt),
            ..self.clone()
        }
    }

    /// The same cluster, for logs: as many at a time as the API server can take, and at most `most`.
    pub(crate) fn with_log_limit(&self, most: usize) -> Self {
        Self {
            limiter: Some(Limiter::new(most, self.request_timeout / LATE)),
            ..self.clone()
        }
    }

    /// The API server, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What has been asked of the API server through this connection and its clones.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// The namespace that the kubeconfig or the service account names.
    pub(crate) fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }
}

/// What kube says of a kubeconfig, but for the lines around a mistake: there may be a token in them.
fn said(error: &dyn std::error::Error) -> String {
    const PARSE: &str = "failed to parse kubeconfig YAML";
    let text = error::chain(error);
    let Some((before, problem)) = text.split_once(PARSE) else {
        return text;
    };
    // `error: line 6 column 38: expected mapping start`, and then the lines.
    let place = problem.find("line ").map(|at| &problem[at..]);
    let digits_end = |text: &str| text.find([':', '\n']);
    match place {
        Some(place) => {
            let place = &place[..digits_end(place).unwrap_or(place.len())];
            format!("{before}{PARSE} at {}", discreet::name(place))
        }
        None => format!("{before}{PARSE}"),
    }
}

/// The URL without user and password.
fn without_user(url: &http::Uri) -> String {
    let text = url.to_string();
    let authority = url.authority().map_or("", http::uri::Authority::as_str);
    match authority.rsplit_once('@') {
        Some((_, host)) => text.replacen(authority, host, 1),
        None => text,
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.url)
    }
}
