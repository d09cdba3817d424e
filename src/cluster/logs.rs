//! Container logs (docs/facts.md, "Container logs"), as a stream of bytes: no log is ever held in memory.

use bytes::Bytes;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use tokio::time::timeout;

use super::Cluster;
use super::Pace;
use super::error::{ClusterError, chain};
use super::pace::{Place, Room, patiently, resume};
use super::request::{Request, Resource};

/// Which log to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOptions<'a> {
    /// The pod's namespace.
    pub(crate) namespace: &'a str,
    /// The pod's name.
    pub(crate) pod: &'a str,
    /// The container's name.
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
    /// Until the log's end.
    place: Option<Place>,
    /// Until what was read is stored.
    room: Option<Room>,
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
        let (body, place) = self.stream_log(&request).await?;
        let room = self.pace.as_ref().map(Pace::room);
        Ok(LogStream {
            cluster: self.clone(),
            request,
            body,
            place,
            room,
        })
    }
}

impl LogStream {
    /// So many bytes of one line are held in memory; waits until there is room for so long a line.
    pub(crate) async fn hold(&mut self, bytes: usize) {
        if let Some(room) = &mut self.room {
            room.hold(bytes).await;
        }
    }

    /// The log is read; the room is to be kept until what was read is stored.
    pub(crate) fn finish(self) -> Option<Room> {
        self.room
    }

    /// The next bytes; `None` at the log's end.
    ///
    /// # Errors
    /// [`ClusterError::BrokenOff`] or [`ClusterError::Timeout`]: what came so far is good, the rest is not known.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        loop {
            let limit = self.cluster.time_limit();
            // Who holds room in memory waits for no place, and so keeps its own.
            let is_small = self.room.as_ref().is_some_and(Room::is_small);
            let place = self.place.as_mut().filter(|_| is_small);
            let frame = timeout(limit, patiently(place, self.body.frame()))
                .await
                .map_err(|_| self.cluster.timed_out(&self.request, limit))?;
            resume(self.place.as_mut()).await;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Anything but data is trailers, which say nothing here.
                    if let Ok(data) = frame.into_data() {
                        if let Some(room) = &mut self.room {
                            room.read(data.len()).await;
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
