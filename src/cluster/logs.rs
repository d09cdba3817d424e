//! Container logs (docs/facts.md, "Container logs"), as a stream of bytes: no log is ever held in memory.

use bytes::Bytes;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use tokio::time::timeout;
use url::form_urlencoded::byte_serialize;

use super::Cluster;
use super::Pace;
use super::call::Call;
use super::error::{ClusterError, chain};
use super::pace::{Place, Room, patiently, resume};
use super::request::Send;

/// Which log to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The container's name.
    pub container: &'a str,
    /// The life before the present one (docs/facts.md, "Only the life before is kept").
    pub previous: bool,
    /// Only lines from this whole second on, seconds since 1970 (docs/facts.md, "sinceTime is cut to whole seconds");
    /// `None`: all that there is.
    pub since_second: Option<i64>,
}

/// A log as it comes in, each line with its time.
pub struct LogStream {
    cluster: Cluster,
    call: Call,
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
    pub async fn log(&self, options: &LogOptions<'_>) -> Result<LogStream, ClusterError> {
        let LogOptions {
            namespace,
            pod,
            container,
            ..
        } = options;
        let call = Call {
            verb: "get",
            group: "",
            resource: "pods/log",
            namespace: Some((*namespace).to_owned()),
            name: Some(format!("{pod}/{container}")),
        };
        let since = options
            .since_second
            .and_then(|second| Timestamp::from_second(second).ok())
            .map(|time| time.to_string());
        let mut query = vec![("container", *container), ("timestamps", "true")];
        query.extend(since.as_deref().map(|since| ("sinceTime", since)));
        if options.previous {
            query.push(("previous", "true"));
        }
        // The names may come from a database row that anybody wrote.
        let [namespace, pod] =
            [namespace, pod].map(|name| byte_serialize(name.as_bytes()).collect::<String>());
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log");
        let (body, place) = self
            .stream_log(&call, Send::get(&path).query(&query))
            .await?;
        let room = self.pace.as_ref().map(Pace::room);
        Ok(LogStream {
            cluster: self.clone(),
            call,
            body,
            place,
            room,
        })
    }
}

impl LogStream {
    /// So many bytes of one line are held in memory; waits until there is room for so long a line.
    pub async fn hold(&mut self, bytes: usize) {
        if let Some(room) = &mut self.room {
            room.hold(bytes).await;
        }
    }

    /// The log is read; the room is to be kept until what was read is stored.
    pub fn finish(self) -> Option<Room> {
        self.room
    }

    /// The next bytes; `None` at the log's end.
    ///
    /// # Errors
    /// [`ClusterError::BrokenOff`] or [`ClusterError::Timeout`]: what came so far is good, the rest is not known.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        loop {
            let limit = self.cluster.time_limit();
            // Who holds room in memory waits for no place, and so keeps its own.
            let is_small = self.room.as_ref().is_some_and(Room::is_small);
            let place = self.place.as_mut().filter(|_| is_small);
            let frame = timeout(limit, patiently(place, self.body.frame()))
                .await
                .map_err(|_| self.cluster.timed_out(&self.call, limit))?;
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
                        call: Box::new(self.call.clone()),
                        problem: chain(&error),
                    });
                }
            }
        }
    }
}
