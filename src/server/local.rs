//! The pages for one person on their own machine: `k6sync ui`.
//!
//! Whoever has the address that was printed may read everything, once: the token in it is exchanged for a cookie at the first request
//! and is void from then on. Other pages in the same browser must not get in: the name of the host is checked, since a name of theirs
//! can be made to lead here (DNS rebinding), and the cookie is sent from nowhere else. Nothing can be changed.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, COOKIE, HOST, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_rustls::rustls::crypto::ring;

use super::connections;
use super::pages::{self, Pages, Problem, Visitor, harden};
use super::sight::Sight;

/// Of secrets.
const BYTES: usize = 32;

/// The door of one person.
struct Door {
    address: SocketAddr,
    /// What the address has that was printed; `None`: it was used.
    token: Mutex<Option<String>>,
    session: String,
}

/// Pages that are ready to be served.
pub(crate) struct LocalPages {
    listener: TcpListener,
    door: Arc<Door>,
    router: Router,
}

impl LocalPages {
    /// For whoever connects to `listener`, which must be on this machine alone.
    ///
    /// # Errors
    /// When the socket is none, or there is no randomness.
    pub(crate) fn new(listener: TcpListener, pages: Pages) -> io::Result<Self> {
        let door = Arc::new(Door {
            address: listener.local_addr()?,
            token: Mutex::new(Some(secret()?)),
            session: secret()?,
        });
        Ok(Self {
            router: pages::router(pages)
                .layer(from_fn_with_state(Arc::clone(&door), enter))
                .layer(map_response(harden)),
            listener,
            door,
        })
    }

    /// The address to open, with its token.
    pub(crate) fn address(&self) -> String {
        let token = self.door.token().clone().unwrap_or_default();
        format!("http://{}/?token={token}", self.door.address)
    }

    /// Serves until `stop` is done.
    ///
    /// # Errors
    /// When the socket fails.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        connections::serve(self.listener, None, self.router, stop).await
    }
}

/// Letters that nobody can guess.
fn secret() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("there is no randomness for the token of the address"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

impl Door {
    fn token(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Others on this machine have cookies of other ports.
    fn cookie(&self) -> String {
        format!("k6sync-ui-{}", self.address.port())
    }

    fn is_our_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let port = self.address.port();
        host.is_some_and(|host| {
            host == format!("127.0.0.1:{port}") || host == format!("localhost:{port}")
        })
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie();
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(of, value)| of == name && is_same(value, &self.session))
    }

    /// Whether it is the token of the address; it is void then.
    fn takes(&self, given: &str) -> bool {
        let mut token = self.token();
        let is_it = token.as_ref().is_some_and(|token| is_same(token, given));
        if is_it {
            *token = None;
        }
        is_it
    }
}

async fn enter(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    let forbidden = |problem: &str| {
        Problem::Forbidden {
            problem: problem.to_owned(),
        }
        .into_response()
    };
    if !door.is_our_host(request.headers()) {
        return (
            StatusCode::FORBIDDEN,
            "this is not the host that was asked\n",
        )
            .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allowed = [(ALLOW, "GET, HEAD")];
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            allowed,
            "it can only be read\n",
        )
            .into_response();
    }
    if door.has_session(request.headers()) {
        request.extensions_mut().insert(Visitor {
            sight: Sight::of_everything(),
            name: None,
            csrf: None,
            may_sign_out: false,
        });
        return next.run(request).await;
    }
    let query = request.uri().query().unwrap_or_default();
    if request.uri().path() == "/"
        && let Some(given) = query.strip_prefix("token=")
        && door.takes(given)
    {
        let cookie = format!(
            "{}={}; HttpOnly; SameSite=Strict; Path=/",
            door.cookie(),
            door.session
        );
        let headers = [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())];
        return (StatusCode::SEE_OTHER, headers).into_response();
    }
    // What a page looks like is no secret, and this one should look like one.
    if request.uri().path().starts_with("/assets/") || request.uri().path() == "/favicon.ico" {
        return next.run(request).await;
    }
    forbidden(
        "Open the address that `k6sync ui` printed, in one browser. It can be used once; start `k6sync ui` again for a new one.",
    )
}
