//! Faults on demand: rules say which requests go wrong, how, and how often.
//!
//! [`Faults`] draws; [`spoil`] changes an answer's body. [`crate::door`] brings the two together.

use std::io;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};

use crate::random::Random;

/// How long the connection stays open after the last byte, so that the bytes before a fault arrive.
const FLUSH: Duration = Duration::from_millis(20);
/// Stands for a length that nobody knows yet, in a `content-length` that is never met.
const FAR: u64 = 1 << 40;

/// A rule that makes requests go wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Kinds of request as the counters name them (`list pods`); `*` = all; `get pods/log shop-1-*` = those of objects
    /// whose names begin so.
    pub kinds: Vec<String>,
    /// From 0 (never) to 1 (always).
    pub probability: f64,
    /// How often at most.
    pub times: Option<u64>,
    /// What goes wrong.
    pub action: FaultAction,
}

impl Fault {
    /// `action` at every request of this kind.
    pub fn always(kind: &str, action: FaultAction) -> Self {
        Self {
            kinds: vec![kind.to_owned()],
            probability: 1.0,
            times: None,
            action,
        }
    }

    /// `action` at the next `times` requests of this kind.
    pub fn times(kind: &str, times: u64, action: FaultAction) -> Self {
        Self {
            times: Some(times),
            ..Self::always(kind, action)
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// An error answer with a `Status` body. The request is not carried out.
    Status {
        /// The HTTP status, such as 410, 429, 500, 503.
        code: u16,
        /// Also sent as the `Retry-After` header.
        retry_after_seconds: Option<u64>,
    },
    /// The connection is closed without an answer. The request is not carried out.
    ResetBeforeBody,
    /// The connection is closed inside the body.
    ResetMidBody {
        /// How much of the body arrives.
        after_bytes: u64,
    },
    /// The body ends early, as if that were its end: what an API server makes of a kubelet that breaks off.
    CleanCut {
        /// How much of the body arrives.
        after_bytes: u64,
    },
    /// The body pauses.
    Stall {
        /// How much of the body arrives before.
        after_bytes: u64,
        /// How long.
        duration: Duration,
    },
    /// `content-length` promises more than the body has; then the connection is closed.
    ShortBody,
    /// 200 with something that is no JSON. The request is not carried out.
    Garbage,
    /// No answer at all for so long, and then none either: what asking a dead node for a log is like.
    Silence {
        /// How long.
        duration: Duration,
    },
    /// A body that never ends, as fast as it is read. The request is not carried out.
    Endless {
        /// The HTTP status.
        code: u16,
    },
    /// The answer, with this header in place of its own.
    Header {
        /// The header's name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// An error answer with this `Retry-After`, whatever it is. The request is not carried out.
    RetryAfter {
        /// The HTTP status.
        code: u16,
        /// The header.
        value: String,
    },
    /// 404, as if the object were gone. The request is not carried out.
    NotFound,
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Vec<Fault>,
    random: Random,
    injected: u64,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            rules: Vec::new(),
            random: Random::seeded(0),
            injected: 0,
        }
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = Random::seeded(seed);
    }

    pub(crate) fn add(&mut self, rule: Fault) {
        self.rules.push(rule);
    }

    pub(crate) fn injected(&self) -> u64 {
        self.injected
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Decides what goes wrong with a request of this kind: the first rule that fits and whose chance comes up.
    pub(crate) fn draw(&mut self, kind: &str, name: &str) -> Option<FaultAction> {
        let is_of_objects = |rule: &str| {
            let rest = rule
                .strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix(' '));
            let prefix = rest.and_then(|rest| rest.strip_suffix('*'));
            prefix.is_some_and(|prefix| name.starts_with(prefix))
        };
        for rule in &mut self.rules {
            let fits = rule
                .kinds
                .iter()
                .any(|k| k == "*" || k == kind || is_of_objects(k));
            if !fits || rule.times == Some(0) || self.random.unit() >= rule.probability {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            self.injected += 1;
            return Some(rule.action.clone());
        }
        None
    }
}

/// Marks an answer that must not be sent: the connection is closed instead.
#[derive(Debug, Clone)]
pub(crate) struct HangUp;

/// The answer that makes the server close the connection.
pub(crate) fn hang_up() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

/// Spoils an answer's body, for those faults that spoil bodies.
pub(crate) fn spoil(response: Response, action: &FaultAction) -> Response {
    let (mut parts, body) = response.into_parts();
    let exact = body.size_hint().exact();
    let data = body.into_data_stream();
    let body = match *action {
        FaultAction::ResetMidBody { after_bytes } => {
            Body::from_stream(up_to(data, after_bytes).chain(broken()))
        }
        FaultAction::CleanCut { after_bytes } => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::from_stream(up_to(data, after_bytes))
        }
        FaultAction::Stall {
            after_bytes,
            duration,
        } => Body::from_stream(stalled(data, after_bytes, duration)),
        FaultAction::ShortBody => {
            let promised = HeaderValue::from(exact.map_or(FAR, |length| length + 1000));
            parts.headers.insert(header::CONTENT_LENGTH, promised);
            Body::from_stream(
                data.map(|chunk| chunk.map_err(io::Error::other))
                    .chain(broken()),
            )
        }
        _ => Body::from_stream(data),
    };
    Response::from_parts(parts, body)
}

/// A body without an end.
pub(crate) fn endless() -> Body {
    static SPACES: [u8; 64 * 1024] = [b' '; 64 * 1024];
    let first = Bytes::from_static(b"{\"kind\":\"List\",\"items\":[");
    let spaces = stream::repeat(Bytes::from_static(&SPACES));
    Body::from_stream(stream::iter([first]).chain(spaces).map(Ok::<_, io::Error>))
}

/// A stream that ends in an error, after what came before it has been sent.
fn broken() -> impl Stream<Item = io::Result<Bytes>> {
    stream::once(async {
        tokio::time::sleep(FLUSH).await;
        Err(io::Error::other("the stand-in was told to break here"))
    })
}

/// The first `limit` bytes of a body.
fn up_to<E: Into<axum::BoxError>>(
    data: impl Stream<Item = Result<Bytes, E>> + Unpin,
    limit: u64,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold((data, limit), |(mut data, left)| async move {
        if left == 0 {
            return None;
        }
        let chunk = data.next().await?.map_err(io::Error::other);
        let chunk = chunk.map(|mut chunk| {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            chunk
        });
        let left = left - chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Some((chunk, (data, left)))
    })
}

/// A body that pauses once, after `after` bytes.
fn stalled<E: Into<axum::BoxError>>(
    data: impl Stream<Item = Result<Bytes, E>> + Unpin,
    after: u64,
    duration: Duration,
) -> impl Stream<Item = io::Result<Bytes>> {
    /// The bytes still to come before the pause; None after it.
    struct Stalled<S> {
        data: S,
        rest: Bytes,
        before_pause: Option<u64>,
    }
    let start = Stalled {
        data,
        rest: Bytes::new(),
        before_pause: Some(after),
    };
    stream::unfold(start, move |mut state| async move {
        if state.before_pause == Some(0) {
            tokio::time::sleep(duration).await;
            state.before_pause = None;
        }
        let mut chunk = std::mem::take(&mut state.rest);
        if chunk.is_empty() {
            chunk = match state.data.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(io::Error::other(error)), state)),
            };
        }
        if let Some(left) = &mut state.before_pause {
            let now = chunk
                .len()
                .min(usize::try_from(*left).unwrap_or(usize::MAX));
            state.rest = chunk.split_off(now);
            *left -= now as u64;
        }
        Some((Ok(chunk), state))
    })
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultAction, Faults};

    #[test]
    fn times_are_counted_and_kinds_matched() {
        let mut faults = Faults::new();
        faults.add(Fault::times("list pods", 2, FaultAction::Garbage));
        assert_eq!(faults.draw("list testruns", ""), None);
        assert_eq!(faults.draw("list pods", ""), Some(FaultAction::Garbage));
        assert_eq!(faults.draw("list pods", ""), Some(FaultAction::Garbage));
        assert_eq!(faults.draw("list pods", ""), None);
        faults.add(Fault::always("get pods/log shop-1*", FaultAction::Garbage));
        assert_eq!(faults.draw("get pods/log", "shop-2"), None);
        assert_eq!(faults.draw("get pods", "shop-1"), None);
        let drawn = faults.draw("get pods/log", "shop-12");
        assert_eq!(drawn, Some(FaultAction::Garbage));
    }

    #[test]
    fn chances_follow_from_the_seed() {
        let draws = |seed| {
            let mut faults = Faults::new();
            faults.seed(seed);
            faults.add(Fault {
                probability: 0.3,
                ..Fault::always("*", FaultAction::Garbage)
            });
            (0..1000)
                .map(|_| faults.draw("get pods", "").is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        let hits = draws(1).into_iter().filter(|hit| *hit).count();
        assert!((200..400).contains(&hits), "{hits}");
    }
}
