//! What can go wrong with Kubernetes, told apart as far as callers and people must act differently.

use std::error::Error;
use std::time::Duration;

use super::call::Call;

/// An error of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No kubeconfig and not in a pod, an unknown context, a broken file.
    #[error("no access to a Kubernetes cluster: {0}")]
    Config(String),
    /// No connection.
    #[error("cannot {call}: cannot reach the API server {url}: {problem}")]
    Unreachable {
        /// What was asked.
        call: Box<Call>,
        /// The API server.
        url: String,
        /// Why, and what to do.
        problem: String,
    },
    /// 401
    #[error(
        "cannot {call}: the API server {url} does not accept our credentials (401 {message}): the token or client certificate has expired or is wrong; log in again, or check the kubeconfig or service account"
    )]
    Unauthorized {
        /// What was asked.
        call: Box<Call>,
        /// The API server.
        url: String,
        /// The server's words.
        message: String,
    },
    /// 403
    #[error(
        "not allowed to {call} (403 {message}): add the rule {rule} to a {role} of k6sync's user; check with: {can_i}",
        rule = call.rule(),
        role = if call.namespace.is_some() { "Role" } else { "ClusterRole" },
        can_i = call.can_i()
    )]
    Forbidden {
        /// What was asked.
        call: Box<Call>,
        /// The server's words.
        message: String,
    },
    /// The resource itself is unknown to the API server (docs/facts.md, "A missing CRD answers in plain text").
    #[error(
        "cannot {call}: the API server {url} does not know this resource; is k6-operator installed? (its CRD testruns.k6.io is missing: kubectl get crd testruns.k6.io)"
    )]
    NotInstalled {
        /// What was asked.
        call: Box<Call>,
        /// The API server.
        url: String,
    },
    /// 404 of an object.
    #[error("cannot {call}: {message}")]
    NotFound {
        /// What was asked.
        call: Box<Call>,
        /// The server's words.
        message: String,
    },
    /// Any other answer that is not a success.
    #[error("cannot {call}: the API server answered {code} {message}")]
    Rejected {
        /// What was asked.
        call: Box<Call>,
        /// HTTP status code.
        code: u16,
        /// The server's words.
        message: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
        /// `metadata.continue` of a 410: where to go on (docs/facts.md, "An expired list goes on with a new token").
        next_page: Option<String>,
    },
    /// No answer in time.
    #[error("cannot {call}: no answer from {url} within {after:?}")]
    Timeout {
        /// What was asked.
        call: Box<Call>,
        /// The API server.
        url: String,
        /// How long we waited.
        after: Duration,
    },
    /// The time is over that this request and others before it had together.
    #[error(
        "cannot {call}: no answer in the time that was left for it; in a cycle, kubernetes.cycleDeadline sets it, and the next cycle goes on"
    )]
    DeadlineOver {
        /// What was asked.
        call: Box<Call>,
    },
    /// The connection broke while the answer came in.
    #[error("cannot {call}: the answer broke off: {problem}")]
    BrokenOff {
        /// What was asked.
        call: Box<Call>,
        /// Why.
        problem: String,
    },
    /// An answer without an end, or far longer than any that makes sense.
    #[error(
        "cannot {call}: the answer is longer than {} MiB, which no {what} is: it was not read on",
        most >> 20
    )]
    TooLong {
        /// What was asked.
        call: Box<Call>,
        /// What it should have been: `object`, …
        what: &'static str,
        /// Bytes.
        most: usize,
    },
    /// An answer that makes no sense.
    #[error("cannot {call}: the answer can't be read: {problem}")]
    Malformed {
        /// What was asked.
        call: Box<Call>,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClusterError {
    /// Whether it says something of the namespace that was asked about, and nothing of the API server.
    pub fn is_of_namespace(&self) -> bool {
        matches!(
            self,
            Self::Forbidden { .. }
                | Self::NotFound { .. }
                | Self::TooLong { .. }
                | Self::Malformed { .. }
        )
    }
}

/// An error with its causes, `outer: inner: innermost`, without what is said twice.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
