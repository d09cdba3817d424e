//! The accept loop. Our own rather than axum's, so that a fault can close a connection without an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::io::InspectWriter;

use crate::cluster::Cluster;
use crate::faults::HangUp;

/// Serves until it is dropped, and every connection with it.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    cluster: Cluster,
    router: Router,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let sent = cluster.clone();
                    // Without it, small answers wait for the client's acknowledgement of the one before.
                    let _ = stream.set_nodelay(true);
                    let stream = InspectWriter::new(stream, move |bytes: &[u8]| sent.count_sent(bytes.len()));
                    connections.spawn(connection(stream, peer, tls.clone(), router.clone()));
                }
                // Such as too many open files: let some close.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection to its end. Its errors are the client's to see.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
) {
    match tls {
        None => requests(stream, peer, router).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                requests(stream, peer, router).await;
            }
        }
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    peer: SocketAddr,
    router: Router,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answer = router.call(request);
        async move {
            let response: Response<Body> = match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            // An error here makes hyper close the connection at once.
            match response.extensions().get::<HangUp>() {
                Some(_) => Err(io::Error::other("told to hang up")),
                None => Ok(response),
            }
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
