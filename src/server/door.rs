//! The accept loop of the HTTP server: how many connections there may be, and how long each may take over what.
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
use axum::extract::Request;
use axum::response::Response;
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

use super::patient::Patient;
use super::tls::Tls;

/// A TLS handshake takes no longer.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// All headers of a request are there within this, or the connection is closed; the wait for the first and for the next request
/// on a connection that is kept open is part of it.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Request line and headers are no longer together: four times the longest tokens that are about.
const HEADER_BYTES: usize = 32 * 1024;
/// A client takes what is sent to it within this.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// No more connections at a time, and no more than half of the files that the process may have open: probes, Prometheus
/// and dashboards need a few.
const CONNECTIONS: usize = 512;
/// A connection is given this to send its request, or to be sent its answer, before it is closed for another.
const SETTLED: Duration = Duration::from_millis(100);
/// What a client still sends after its answer is read for so long, lest the answer be lost by a reset of the connection.
const LINGER: Duration = Duration::from_secs(1);
/// And no more of it, bytes.
const LINGER_BYTES: u64 = 1024 * 1024;
/// When no connection can be accepted (too many open files), others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// If none can be for so long, there is no server any more.
const ACCEPT_GIVE_UP: Duration = Duration::from_secs(60);
/// What goes on and on is said no more often.
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// After the stop an idle connection is closed within this.
const FAREWELL: Duration = Duration::from_millis(500);

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
    let door = Door {
        limit: connection_limit(),
        room: Room {
            http,
            tls: tls.clone(),
            router,
            stopping: watch::Sender::new(false),
        },
        tasks: JoinSet::new(),
        connections: HashMap::new(),
        failing_since: None,
        full_said: None,
        failure_said: None,
    };
    let keep_certificate = async {
        match &tls {
            Some(tls) => tls.keep_up().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = door.run(listener, stop) => ended,
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

struct Door {
    limit: usize,
    room: Room,
    tasks: JoinSet<()>,
    /// Those of `tasks` that were not told to end.
    connections: HashMap<Id, (AbortHandle, Activity)>,
    /// Since when no connection could be accepted.
    failing_since: Option<Instant>,
    full_said: Option<Instant>,
    failure_said: Option<Instant>,
}

/// What every connection needs.
#[derive(Clone)]
struct Room {
    http: http1::Builder,
    tls: Option<Arc<Tls>>,
    router: Router,
    stopping: watch::Sender<bool>,
}

/// What a connection is at.
#[derive(Clone)]
struct Activity(Arc<Mutex<State>>);

/// In the order in which connections make room for others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// No request is there, or not all of one, since then.
    Idle(Instant),
    /// A request is being answered, since then.
    Answering(Instant),
}

/// Dropped, it says that there is an answer.
struct Answering(Activity);

impl Door {
    async fn run(
        mut self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut stop = pin!(stop);
        loop {
            let is_full = self.connections.len() >= self.limit;
            if is_full && self.close_first(|_| true) {
                if is_due(&mut self.full_said) {
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
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) => self.not_accepted(error).await?,
                },
                () = sleep(SETTLED), if is_full => {}
            }
        }
        // New clients are to be refused, not to wait.
        drop(listener);
        self.finish().await;
        Ok(())
    }

    fn admit(&mut self, stream: TcpStream) {
        self.failing_since = None;
        let activity = Activity(Arc::new(Mutex::new(State::Idle(Instant::now()))));
        let room = self.room.clone();
        let task = self.tasks.spawn(room.connection(stream, activity.clone()));
        self.connections.insert(task.id(), (task, activity));
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.connections.remove(&id);
    }

    /// Closes the first in the order of [`State`] that is of a kind; false if there is none, or if it came or changed just now.
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
        let is_settled = since.elapsed() >= SETTLED;
        if is_settled && let Some((task, _)) = self.connections.remove(&id) {
            task.abort();
        }
        is_settled
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
        if is_due(&mut self.failure_said) {
            tracing::warn!(%error, "cannot accept an HTTP connection; idle ones are closed, and it is tried again");
        }
        self.close_first(|_| true);
        sleep(ACCEPT_PAUSE).await;
        Ok(())
    }

    /// Closes what is idle, and waits for the rest.
    async fn finish(&mut self) {
        self.room.stopping.send_replace(true);
        let mut look = Instant::now() + FAREWELL;
        loop {
            tokio::select! {
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended),
                    None => return,
                },
                () = tokio::time::sleep_until(look) => {
                    while self.close_first(|state| matches!(state, State::Idle(_))) {}
                    look = Instant::now() + SETTLED;
                }
            }
        }
    }
}

impl Room {
    /// Serves one connection to its end. What goes wrong with it is its client's to see.
    async fn connection(self, stream: TcpStream, activity: Activity) {
        // Without it, small answers wait for the client's acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.requests(stream, activity).await,
            Some(tls) => {
                let handshake = timeout(HANDSHAKE_TIME, tls.acceptor().accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => self.requests(stream, activity).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin, activity: Activity) {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let answering = activity.answering();
            let answer = router.call(request);
            async move {
                let response: Result<Response, Infallible> = answer.await;
                drop(answering);
                response
            }
        });
        let stream = TokioIo::new(Patient::new(stream, WRITE_TIME));
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

/// Whether something may be said again, and if so, that it is.
fn is_due(said: &mut Option<Instant>) -> bool {
    let is_due = said.is_none_or(|at| at.elapsed() >= SAID_AGAIN);
    if is_due {
        *said = Some(Instant::now());
    }
    is_due
}
