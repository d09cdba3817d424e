//! WATCH: a stream of what changes, one JSON event a line (docs/facts.md,
//! "A watch from too far back gets an ERROR event").

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::cluster::Cluster;
use crate::lists::Selection;
use crate::resources::Resource;
use crate::state::{Change, State, Stored, in_namespace, list_prefix};
use crate::status::{Failure, bytes_response};
use crate::target::Call;

/// How long a watch lasts when it does not say; a real server draws 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// A day: longer than any test, and no overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(86_400);

struct Watch {
    cluster: Cluster,
    resource: &'static Resource,
    prefix: String,
    selection: Selection,
    changed: watch::Receiver<u64>,
    /// The newest resourceVersion that the client has been told of.
    seen: u64,
    deadline: Instant,
    /// Events to send before anything else.
    ready: VecDeque<Bytes>,
    ended: bool,
}

/// Answers a WATCH.
pub(crate) fn watch(cluster: &Cluster, call: &Call) -> Result<Response, Failure> {
    let selection = Selection::of(call)?;
    let seconds = call
        .query
        .get("timeoutSeconds")
        .and_then(|t| t.parse().ok());
    let timeout = seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let timeout = timeout.min(LONGEST_TIMEOUT);
    let from = match call.query.get("resourceVersion").unwrap_or("0") {
        "0" => None,
        version => Some(version.parse().map_err(|_| {
            Failure::bad_request(format!("invalid resource version \"{version}\""))
        })?),
    };
    let mut watch = Watch {
        cluster: cluster.clone(),
        resource: call.resource,
        prefix: list_prefix(call.resource, call.namespace.as_deref()),
        selection,
        // Before the state is read, so that no change falls between.
        changed: cluster.changes(),
        seen: 0,
        deadline: Instant::now() + timeout,
        ready: VecDeque::new(),
        ended: false,
    };
    let state = cluster.state();
    match from {
        Some(version) => watch.seen = version,
        None => watch.start_with_the_present(&state, call.namespace.as_deref()),
    }
    drop(state);
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(bytes_response(
        StatusCode::OK,
        "application/json",
        Body::from_stream(events),
    ))
}

impl Watch {
    /// Without a resourceVersion a watch begins with an ADDED for everything there is.
    fn start_with_the_present(&mut self, state: &State, namespace: Option<&str>) {
        self.seen = state.version();
        let objects = state.objects(self.resource);
        let present = in_namespace(&objects, self.resource, namespace, "");
        for (_, stored) in present.filter(|(key, stored)| self.selection.matches(key, stored)) {
            self.ready.push_back(event(self.resource, "ADDED", stored));
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.catch_up();
            if self.ready.is_empty() && !self.ended {
                let changed = self.changed.changed();
                tokio::select! {
                    changed = changed => self.ended = changed.is_err(),
                    () = sleep_until(self.deadline) => self.ended = true,
                }
            }
        }
    }

    /// Takes over what has changed since the last time.
    fn catch_up(&mut self) {
        let cluster = self.cluster.clone();
        let state = cluster.state();
        if self.resource.custom && !state.crd {
            self.ended = true;
            return;
        }
        match state.changes_since(self.seen) {
            Ok(changes) => {
                let events = changes.filter_map(|change| self.event_of(change));
                let events: Vec<Bytes> = events.collect();
                self.ready.extend(events);
                self.seen = self.seen.max(state.version());
            }
            Err(failure) => {
                let line = json!({ "type": "ERROR", "object": failure.body() });
                self.ready.push_back(Bytes::from(format!("{line}\n")));
                self.ended = true;
            }
        }
    }

    /// What a change is to someone who sees only what is selected.
    fn event_of(&self, change: &Change) -> Option<Bytes> {
        if change.resource.plural != self.resource.plural || !change.key.starts_with(&self.prefix) {
            return None;
        }
        let selected =
            |stored: &&std::sync::Arc<Stored>| self.selection.matches(&change.key, stored);
        let before = change.before.as_ref().filter(selected);
        let after = change.after.as_ref().filter(selected);
        match (before, after) {
            (None, None) => None,
            (None, Some(now)) => Some(event(self.resource, "ADDED", now)),
            (Some(_), Some(now)) => Some(event(self.resource, "MODIFIED", now)),
            (Some(_), None) => {
                let last = change.gone.as_ref().or(change.after.as_ref())?;
                Some(event(self.resource, "DELETED", last))
            }
        }
    }
}

fn event(resource: &Resource, kind: &str, stored: &Stored) -> Bytes {
    let mut line = Vec::with_capacity(stored.json.len() + 128);
    line.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    stored.write_whole(resource, &mut line);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}
