//! The accept loop of the HTTP server: how many connections there may be, and how long each may take.
//!
//! Our own rather than axum's, which knows no limits: a client that is stuck, slow or hostile must cost little, and must never
//! keep a probe from its answer. The requests themselves are the router's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::door::Peer;
use super::tls::Tls;
use super::write_timeout::WriteTimeout;

/// The limit on a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// A connection is closed unless all headers of a request have come within this. On a connection that is kept open, the wait
/// for the next request is part of it.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Request line and headers together: four times as long as the longest tokens in use.
const HEADER_BYTES: usize = 32 * 1024;
/// A client must take what is sent to it within this.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Connections at a time; fewer if that is more than half of the files that the process may have open. Probes, Prometheus
/// and dashboards need a few.
const CONNECTIONS: usize = 512;
/// A connection has this long to send its request, or to take its answer, before it may be closed to let another in.
const GRACE: Duration = Duration::from_millis(100);
/// How long we go on reading what a client sends after its answer: closing at once would reset the connection, and the client
/// could lose the answer.
const LINGER: Duration = Duration::from_secs(1);
/// And how much of it, bytes.
const LINGER_BYTES: u64 = 1024 * 1024;
/// How long to wait when no connection can be accepted (too many open files), for others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The server ends when none could be accepted for this long.
const ACCEPT_GIVE_UP: Duration = Duration::from_secs(60);
/// A warning about something that goes on is repeated no more often.
const WARN_AGAIN: Duration = Duration::from_secs(60);
/// After the stop, idle connections are closed within this.
const IDLE_AFTER_STOP: Duration = Duration::from_millis(500);

/// Serves until `stop` is done, and then lets the requests that are being answered finish.
///
/// # Errors
/// When no connection can be accepted for a minute.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES);
    let tls = tls.map(Arc::new);
    let accept_loop = AcceptLoop {
        limit: connection_limit(),
        shared: Shared {
            http,
            tls: tls.clone(),
            router,
            stopping: watch::Sender::new(false),
        },
        tasks: JoinSet::new(),
        connections: HashMap::new(),
        failing_since: None,
        full_warned_at: None,
        failure_warned_at: None,
    };
    let keep_certificate = async {
        match &tls {
            Some(tls) => tls.keep_up().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = accept_loop.run(listener, stop) => ended,
        () = keep_certificate => Ok(()),
    }
}

/// [`CONNECTIONS`], or fewer where the process may open few files.
fn connection_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|limits| limits.split_whitespace().next()?.parse::<usize>().ok());
    files.map_or(CONNECTIONS, |files| (files / 2).clamp(1, CONNECTIONS))
}

/// In an answer's extensions: it may go on for as long as we do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endless;

struct AcceptLoop {
    limit: usize,
    shared: Shared,
    tasks: JoinSet<()>,
    /// Those of `tasks` that were not aborted.
    connections: HashMap<Id, (AbortHandle, Activity)>,
    /// Since when accepting has failed.
    failing_since: Option<Instant>,
    full_warned_at: Option<Instant>,
    failure_warned_at: Option<Instant>,
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    http: http1::Builder,
    tls: Option<Arc<Tls>>,
    router: Router,
    stopping: watch::Sender<bool>,
}

/// What a connection is doing.
#[derive(Clone)]
struct Activity(Arc<Mutex<State>>);

/// In the order in which connections are closed to let others in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Waiting since then for a request, or for the rest of one.
    Idle(Instant),
    /// Answering a request since then.
    Answering(Instant),
}

/// Sets the activity back to idle when it is dropped.
struct Answering(Activity);

impl AcceptLoop {
    async fn run(
        mut self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut stop = pin!(stop);
        loop {
            let is_full = self.connections.len() >= self.limit;
            if is_full && self.close_first(|_| true) {
                if is_due(&mut self.full_warned_at) {
                    tracing::warn!(
                        limit = self.limit,
                        "there are too many HTTP connections; those that have been idle for longest are closed"
                    );
                }
                continue;
            }
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                accepted = listener.accept(), if !is_full => match accepted {
                    Ok((stream, peer)) => self.admit(stream, Peer(peer)),
                    Err(error) => self.not_accepted(error).await?,
                },
                () = sleep(GRACE), if is_full => {}
            }
        }
        // New clients should be refused now, not wait.
        drop(listener);
        self.finish().await;
        Ok(())
    }

    fn admit(&mut self, stream: TcpStream, peer: Peer) {
        self.failing_since = None;
        let activity = Activity(Arc::new(Mutex::new(State::Idle(Instant::now()))));
        let shared = self.shared.clone();
        let task = self
            .tasks
            .spawn(shared.connection(stream, peer, activity.clone()));
        self.connections.insert(task.id(), (task, activity));
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.connections.remove(&id);
    }

    /// Closes the first connection of a kind, in the order of [`State`]; false if there is none, or if it came or changed just
    /// now.
    fn close_first(&mut self, is_of_kind: impl Fn(State) -> bool) -> bool {
        let first = self
            .connections
            .iter()
            .map(|(id, (_, activity))| (activity.get(), *id))
            .filter(|(state, _)| is_of_kind(*state))
            .min_by_key(|(state, _)| *state);
        let Some((State::Idle(since) | State::Answering(since), id)) = first else {
            return false;
        };
        let is_past_grace = since.elapsed() >= GRACE;
        if is_past_grace && let Some((task, _)) = self.connections.remove(&id) {
            task.abort();
        }
        is_past_grace
    }

    async fn not_accepted(&mut self, error: io::Error) -> io::Result<()> {
        let is_of_one_connection = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
        );
        if is_of_one_connection {
            return Ok(());
        }
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= ACCEPT_GIVE_UP {
            return Err(error);
        }
        if is_due(&mut self.failure_warned_at) {
            tracing::warn!(%error, "cannot accept an HTTP connection; idle ones are closed, and it is tried again");
        }
        self.close_first(|_| true);
        sleep(ACCEPT_PAUSE).await;
        Ok(())
    }

    /// Closes what is idle, and waits for the rest.
    async fn finish(&mut self) {
        self.shared.stopping.send_replace(true);
        let mut look = Instant::now() + IDLE_AFTER_STOP;
        loop {
            tokio::select! {
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended),
                    None => return,
                },
                () = tokio::time::sleep_until(look) => {
                    while self.close_first(|state| matches!(state, State::Idle(_))) {}
                    look = Instant::now() + GRACE;
                }
            }
        }
    }
}

impl Shared {
    /// Serves one connection to its end. Its errors concern nobody but its client.
    async fn connection(self, stream: TcpStream, peer: Peer, activity: Activity) {
        // With Nagle's algorithm a small answer waits for the client's acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.requests(stream, peer, activity).await,
            Some(tls) => {
                let handshake = timeout(HANDSHAKE_TIME, tls.acceptor().accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => self.requests(stream, peer, activity).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Peer,
        activity: Activity,
    ) {
        let router = TowerToHyperService::new(self.router.clone());
        let stopping = self.stopping.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let answering = activity.answering();
            request.extensions_mut().insert(peer);
            let answer = router.call(request);
            let stopping = stopping.subscribe();
            async move {
                let response: Result<Response, Infallible> = answer.await;
                response.map(|response| until_stopped(response, answering, stopping))
            }
        });
        let stream = TokioIo::new(WriteTimeout::new(stream, WRITE_TIME));
        let mut connection = self.http.serve_connection(stream, service);
        let mut stopping = self.stopping.subscribe();
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = async { let _ = stopping.wait_for(|is_stopping| *is_stopping).await; } => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection broke off");
            if error.is_timeout() {
                return;
            }
        }
        let rest = connection.into_parts().io.into_inner().take(LINGER_BYTES);
        let _ = timeout(LINGER, discard(rest)).await;
    }
}

/// The same answer, which counts as being answered to its end. One that has no end by itself is broken off when we stop: cut short
/// in good order it would look complete.
fn until_stopped(
    response: Response,
    answering: Answering,
    mut stopping: watch::Receiver<bool>,
) -> Response {
    let is_endless = response.extensions().get::<Endless>().is_some();
    response.map(|body| {
        if body.size_hint().exact().is_some() {
            // Short, and on its way.
            drop(answering);
            return body;
        }
        let stopped = Box::pin(async move {
            match is_endless {
                true => drop(stopping.wait_for(|is_stopping| *is_stopping).await),
                false => std::future::pending().await,
            }
        });
        let pieces = (body.into_data_stream(), stopped, answering);
        Body::from_stream(stream::unfold(
            pieces,
            async |(mut body, mut stopped, answering)| {
                let piece = tokio::select! {
                    biased;
                    () = &mut stopped => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                    piece = body.next() => piece?.map_err(io::Error::other),
                };
                Some((piece, (body, stopped, answering)))
            },
        ))
    })
}

async fn discard(mut rest: impl AsyncRead + Unpin) {
    let mut bytes = [0; 4096];
    while matches!(rest.read(&mut bytes).await, Ok(1..)) {}
}

impl Activity {
    fn get(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn answering(&self) -> Answering {
        self.set(State::Answering(Instant::now()));
        Answering(self.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set(State::Idle(Instant::now()));
    }
}

/// Whether it is time to warn again; if so, it counts as warned.
fn is_due(warned_at: &mut Option<Instant>) -> bool {
    let is_due = warned_at.is_none_or(|at| at.elapsed() >= WARN_AGAIN);
    if is_due {
        *warned_at = Some(Instant::now());
    }
    is_due
}
