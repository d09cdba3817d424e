//! Watching TestRuns: what changes, as it changes, for as long as somebody listens.
//!
//! A dead connection looks like a silent one. So a watch asks the API server to end it after a few seconds, and gives up if it
//! does not end. The next one goes on at the version of the last event, so no event is missed. Events are hints and may come
//! twice; a list is the truth.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::error::chain;
use super::objects::Object;
use super::request::Request;
use super::test_runs::{TEST_RUNS, TestRun};
use super::{Cluster, ClusterError};

/// How long a watch lasts, seconds.
const SECONDS: &str = "5";
/// A watch that has not ended by then is dead.
const DEAD_AFTER: Duration = Duration::from_secs(7);
/// Longer than any object: etcd takes 1.5 MiB.
const LONGEST_EVENT: usize = 8 * 1024 * 1024;

/// Something that happened to a TestRun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new or has changed.
    There(TestRun),
    /// It is gone; this is how it was last.
    Gone(TestRun),
}

/// A watch of the TestRuns of one namespace or of all. It never ends.
#[derive(Debug)]
pub(crate) struct TestRunWatch {
    cluster: Cluster,
    /// But for the version to go on at.
    request: Request,
    /// Where to go on; `None`: at the present, beginning with all that there is.
    version: Option<String>,
    open: Option<OpenWatch>,
}

/// A watch as the API server answers it.
#[derive(Debug)]
struct OpenWatch {
    body: Body,
    dead_at: Instant,
    buffer: BytesMut,
    /// How much of the buffer is known to have no end of line.
    searched: usize,
    lines: VecDeque<Bytes>,
}

impl Cluster {
    /// Watches the TestRuns of a namespace (`None`: of all), beginning with those that are there.
    pub(crate) fn watch_test_runs(&self, namespace: Option<&str>) -> TestRunWatch {
        TestRunWatch {
            cluster: self.clone(),
            request: Request::watch(TEST_RUNS, namespace)
                .query("allowWatchBookmarks", "true")
                .query("timeoutSeconds", SECONDS),
            version: None,
            open: None,
        }
    }
}

impl TestRunWatch {
    /// The next change. After an error, call it again after a pause.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub(crate) async fn next(&mut self) -> Result<Change, ClusterError> {
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.begin().await?,
            };
            let Some(line) = open.line(&self.request).await? else {
                continue;
            };
            self.open = Some(open);
            if let Some(change) = self.change(&line)? {
                return Ok(change);
            }
        }
    }

    async fn begin(&mut self) -> Result<OpenWatch, ClusterError> {
        // "0" is whatever the API server's cache holds: cheap, and what changes from there on follows (docs/facts.md,
        // "resourceVersion=0 reads the cache").
        let version = self.version.as_deref().unwrap_or("0");
        let request = self.request.clone().query("resourceVersion", version);
        let begun = Instant::now();
        match self.cluster.stream(&request).await {
            Ok(body) => Ok(OpenWatch {
                body,
                dead_at: begun.max(Instant::now()) + DEAD_AFTER,
                buffer: BytesMut::new(),
                searched: 0,
                lines: VecDeque::new(),
            }),
            Err(error) => {
                // The version may be what is wrong.
                self.version = None;
                Err(error)
            }
        }
    }

    /// `None`: a bookmark, or a TestRun that can't be understood, which the cycle reports.
    fn change(&mut self, line: &[u8]) -> Result<Option<Change>, ClusterError> {
        let request = &self.request;
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|error| ClusterError::malformed(request, error))?;
        if event.kind == "ERROR" {
            // Most likely the version is too old (docs/facts.md, "A watch from too far back gets an ERROR event").
            let problem = format!("the watch ended with {}", event.object.get());
            let problem: String = problem.chars().take(500).collect();
            let error = ClusterError::malformed(request, problem);
            (self.version, self.open) = (None, None);
            return Err(error);
        }
        let object = event.object.get().as_bytes();
        let any: AnyObject = serde_json::from_slice(object)
            .map_err(|error| ClusterError::malformed(request, error))?;
        self.version = any.metadata.resource_version;
        let Ok(test_run) = TestRun::decode(object) else {
            return Ok(None);
        };
        Ok(match event.kind {
            "ADDED" | "MODIFIED" => Some(Change::There(test_run)),
            "DELETED" => Some(Change::Gone(test_run)),
            _ => None,
        })
    }
}

impl OpenWatch {
    /// The next line; `None` at the end of the watch, which is its ordinary one or that of a dead connection.
    async fn line(&mut self, request: &Request) -> Result<Option<Bytes>, ClusterError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let Ok(frame) = timeout_at(self.dead_at, self.body.frame()).await else {
                tracing::debug!(
                    "the watch of TestRuns is silent; another connection takes its place"
                );
                return Ok(None);
            };
            let data = match frame {
                None => return Ok(None),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    return Err(ClusterError::BrokenOff {
                        request: request.for_error(),
                        problem: chain(&error),
                    });
                }
            };
            self.buffer.extend_from_slice(&data);
            self.take_lines();
            if self.buffer.len() > LONGEST_EVENT {
                let problem = format!("an event has more than {LONGEST_EVENT} bytes");
                return Err(ClusterError::malformed(request, problem));
            }
        }
    }

    fn take_lines(&mut self) {
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let line = self.buffer.split_to(self.searched + end).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if !line.is_empty() {
                self.lines.push_back(line);
            }
        }
        self.searched = self.buffer.len();
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What every event has, bookmarks too.
#[derive(Deserialize)]
struct AnyObject {
    metadata: AnyMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyMetadata {
    resource_version: Option<String>,
}
