//! What can go wrong with Kubernetes: a variant for each case in which callers or people must act differently.

use std::error::Error;
use std::time::Duration;

use super::request::Request;

/// An error of the cluster.
#[derive(Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the message of each variant says what its fields are"
)]
pub(crate) enum ClusterError {
    /// No kubeconfig and not in a pod, an unknown context, a broken file.
    #[error("no access to a Kubernetes cluster: {0}")]
    Config(String),
    /// No connection.
    #[error("cannot {request}: cannot reach the API server {url}: {problem}")]
    Unreachable {
        request: Box<Request>,
        url: String,
        problem: String,
    },
    #[error(
        "cannot {request}: the API server {url} does not accept our credentials (401 {message}): the token or client certificate has expired or is wrong; log in again, or check the kubeconfig or service account"
    )]
    Unauthorized {
        request: Box<Request>,
        url: String,
        message: String,
    },
    #[error(
        "not allowed to {request} (403 {message}): add the rule {rule} to a {role} of k6sync's user; check with: {can_i}",
        rule = request.rule(),
        role = if request.is_of_one_namespace() { "Role" } else { "ClusterRole" },
        can_i = request.can_i()
    )]
    Forbidden {
        request: Box<Request>,
        message: String,
    },
    /// The resource itself is unknown to the API server (docs/facts.md, "A missing CRD answers in plain text").
    #[error(
        "cannot {request}: the API server {url} does not know this resource; is k6-operator installed? (its CRD testruns.k6.io is missing: kubectl get crd testruns.k6.io)"
    )]
    NotInstalled { request: Box<Request>, url: String },
    /// 404 of an object.
    #[error("cannot {request}: {message}")]
    NotFound {
        request: Box<Request>,
        message: String,
    },
    /// Any other answer that is not a success.
    #[error("cannot {request}: the API server answered {code} {message}")]
    Rejected {
        request: Box<Request>,
        code: u16,
        message: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
        /// `metadata.continue` of a 410: where to go on (docs/facts.md, "An expired list goes on with a new token").
        next_page: Option<String>,
    },
    /// No answer in time.
    #[error("cannot {request}: no answer from {url} within {after:?}")]
    Timeout {
        request: Box<Request>,
        url: String,
        /// How long we waited.
        after: Duration,
    },
    /// The time is over that this request and others before it had together.
    #[error(
        "cannot {request}: no answer in the time that was left for it; in a cycle, kubernetes.cycleDeadline sets it, and the next cycle goes on"
    )]
    DeadlineOver { request: Box<Request> },
    /// The connection broke while the answer came in.
    #[error("cannot {request}: the answer broke off: {problem}")]
    BrokenOff {
        request: Box<Request>,
        problem: String,
    },
    /// An answer without an end, or far longer than any that makes sense.
    #[error(
        "cannot {request}: the answer is longer than {} MiB, which no {what} is: it was not read on",
        most >> 20
    )]
    TooLong {
        request: Box<Request>,
        /// What it should have been: `object`, …
        what: &'static str,
        most: usize,
    },
    /// An answer that makes no sense.
    #[error("cannot {request}: the answer can't be read: {problem}")]
    Malformed {
        request: Box<Request>,
        problem: String,
    },
}

impl ClusterError {
    pub(super) fn malformed(request: &Request, problem: impl ToString) -> Self {
        Self::Malformed {
            request: request.for_error(),
            problem: problem.to_string(),
        }
    }

    /// Whether somebody else has written the object since it was read, or created it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Rejected { code: 409, .. })
    }

    /// Whether it is about the namespace that was asked for, and not about the API server.
    pub(crate) fn is_of_namespace(&self) -> bool {
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
