//! Container logs (docs/facts.md, "Container logs"), as streams of bytes: no log is ever held in memory as a whole.

use bytes::Bytes;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use tokio::time::timeout;

use super::Cluster;
use super::error::{ClusterError, chain};
use super::limiter::{Limiter, LogMemory, RequestPermit, lending, resume};
use super::request::{Request, Resource};

/// Which log to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOptions<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
    /// The life before the present one (docs/facts.md, "Only the life before is kept").
    pub(crate) previous: bool,
    /// Only lines from this whole second on, seconds since 1970 (docs/facts.md, "sinceTime is cut to whole seconds");
    /// `None`: all that there is.
    pub(crate) since_second: Option<i64>,
}

/// A log as it comes in, each line with its time.
pub(crate) struct LogStream {
    cluster: Cluster,
    request: Request,
    body: Body,
    /// Held until the log's end.
    permit: Option<RequestPermit>,
    /// Held until what was read is stored.
    memory: Option<LogMemory>,
}

impl Cluster {
    /// Begins to read a log.
    ///
    /// # Errors
    /// [`ClusterError::NotFound`]: the pod is gone. [`ClusterError::Rejected`] with code 400: the container has not
    /// started, or has no such life (docs/facts.md, "Log errors are plain Status objects").
    pub(crate) async fn log(&self, options: &LogOptions<'_>) -> Result<LogStream, ClusterError> {
        let LogOptions {
            namespace,
            pod,
            container,
            ..
        } = options;
        let mut request = Request::get_log(Resource::core("pods/log"), namespace, pod, container)
            .query("timestamps", "true");
        let since = options
            .since_second
            .and_then(|second| Timestamp::from_second(second).ok());
        if let Some(since) = since {
            request = request.query("sinceTime", since.to_string());
        }
        if options.previous {
            request = request.query("previous", "true");
        }
        let (body, permit) = self.stream_log(&request).await?;
        let memory = self.limiter.as_ref().map(Limiter::memory);
        Ok(LogStream {
            cluster: self.clone(),
            request,
            body,
            permit,
            memory,
        })
    }
}

impl LogStream {
    /// One line has come to `bytes`, all held in memory; waits until it may grow.
    pub(crate) async fn hold(&mut self, bytes: usize) {
        if let Some(memory) = &mut self.memory {
            memory.hold(bytes).await;
        }
    }

    /// To be called at the log's end. Keep the memory until what was read is stored.
    pub(crate) fn finish(self) -> Option<LogMemory> {
        self.memory
    }

    /// The next bytes; `None` at the log's end.
    ///
    /// # Errors
    /// [`ClusterError::BrokenOff`] or [`ClusterError::Timeout`]: what came so far is good, the rest is not known.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        loop {
            let limit = self.cluster.time_limit();
            // A log that holds much memory must not wait for a permit, so it keeps its own.
            let is_small = self.memory.as_ref().is_some_and(LogMemory::is_small);
            let permit = self.permit.as_mut().filter(|_| is_small);
            let frame = timeout(limit, lending(permit, self.body.frame()))
                .await
                .map_err(|_| self.cluster.timed_out(&self.request, limit))?;
            resume(self.permit.as_mut()).await;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Anything but data is trailers, which say nothing here.
                    if let Ok(data) = frame.into_data() {
                        if let Some(memory) = &mut self.memory {
                            memory.read(data.len()).await;
                        }
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    return Err(ClusterError::BrokenOff {
                        request: self.request.for_error(),
                        problem: chain(&error),
                    });
                }
            }
        }
    }
}
