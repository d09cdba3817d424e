//! The smallest HTTP/1.1 client that can see what a connection really did: one request a connection, read to its end.

#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test file uses a part of it, and a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use k6sync_standin::Standin;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// False when the connection ended before the body did.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request under way.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, media_type: &str, body: &Value) -> Self {
        self.body = body.to_string();
        self.header("content-type", media_type)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body)
    }

    fn text(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        text += "host: standin\r\nconnection: close\r\n";
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n{}", self.body.len(), self.body);
        text
    }

    /// As the admin.
    pub(crate) async fn send(self, standin: &Standin) -> Answer {
        let token = standin.admin_token().to_owned();
        self.token(&token).send_as_is(standin).await
    }

    pub(crate) async fn send_as_is(self, standin: &Standin) -> Answer {
        self.attempt(standin)
            .await
            .expect("the connection holds")
            .expect("an answer")
    }

    /// The answer, or None when the connection was closed without one.
    pub(crate) async fn attempt(self, standin: &Standin) -> io::Result<Option<Answer>> {
        let stream = TcpStream::connect(standin.addr()).await?;
        match standin.ca_pem() {
            None => exchange(stream, &self.text()).await,
            Some(pem) => {
                let name = ServerName::from(standin.addr().ip());
                let stream = connector(&pem).connect(name, stream).await?;
                exchange(stream, &self.text()).await
            }
        }
    }

    /// The open connection after the request was sent, for watches.
    pub(crate) async fn open(self, standin: &Standin) -> TcpStream {
        let token = standin.admin_token().to_owned();
        let mut stream = TcpStream::connect(standin.addr())
            .await
            .expect("a connection");
        let text = self.token(&token).text();
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }
}

fn connector(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<Option<Answer>> {
    stream.write_all(request.as_bytes()).await?;
    let mut raw = Vec::new();
    // A connection that breaks off is a result too.
    let _ = stream.read_to_end(&mut raw).await;
    Ok((!raw.is_empty()).then(|| parse(&raw)))
}

fn parse(raw: &[u8]) -> Answer {
    let split = raw.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, rest) = raw.split_at(split.expect("a whole head") + 4);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or("");
    let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let (body, complete) = if headers.contains_key("transfer-encoding") {
        unchunk(rest)
    } else {
        let promised = headers.get("content-length").and_then(|l| l.parse().ok());
        (
            rest.to_vec(),
            promised.is_none_or(|p: usize| p == rest.len()),
        )
    };
    Answer {
        code: code.expect("a status line"),
        headers,
        body,
        complete,
    }
}

/// Undoes the chunked encoding; false when the last chunk is missing.
pub(crate) fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..end]).unwrap_or("0");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        rest = &rest[end + 2..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if rest.len() < size + 2 {
            return (body, false);
        }
        rest = &rest[size + 2..];
    }
}

/// Where the recordings are.
pub(crate) fn recorded() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/recorded")
}

/// A recorded exchange: its status and its body.
pub(crate) fn recorded_exchange(name: &str) -> (u16, String) {
    let path = recorded().join("api").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).expect("a recording");
    let (head, body) = text.split_once("\n\n").expect("head and body");
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("HTTP/2 "))
        .expect("a status");
    let body = body.strip_suffix('\n').unwrap_or(body);
    (
        status.trim().parse().expect("a status code"),
        body.to_owned(),
    )
}
