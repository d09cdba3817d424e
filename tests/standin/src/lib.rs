//! A stand-in Kubernetes API server (and kubelet) for k6sync's tests, demo and benchmarks.
//!
//! [`Standin`] is a running server, [`Cluster`] what is behind it: TestRuns, pods, ConfigMaps, leases, container logs, users, and
//! faults on demand. It behaves as recorded from real clusters where k6sync could tell the difference. Never linked into the product.
#![allow(
    clippy::panic,
    reason = "a mistaken test is best told so at once, where it is mistaken"
)]
#![cfg_attr(
    test,
    allow(clippy::expect_used, reason = "a failed expectation is a failed test")
)]

mod access;
mod admin;
mod api;
mod cluster;
mod counters;
mod discovery;
mod door;
mod faults;
mod generate;
mod generated;
mod kubeconfig;
mod kubelet;
mod lists;
mod logs;
mod patch;
mod pod_log;
mod random;
mod recording;
mod resources;
mod reviews;
mod selectors;
mod server;
mod state;
mod status;
mod target;
mod tls;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use access::{Rule, User};
pub use cluster::Cluster;
pub use faults::{Fault, FaultAction};
pub use generate::{Spec, Stage};
pub use generated::generated_text;
pub use logs::{KubeletStyle, Log, WrittenLine};
pub use tls::Certificate;

/// How a stand-in is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// HTTPS with certificates of our own making.
    pub tls: bool,
    /// What is the matter with the TLS certificate.
    pub certificate: Certificate,
    /// Serve a kubelet's log endpoint only (always HTTPS, no tokens), to put behind a real API server (docs/facts.md,
    /// "The API server gets logs from the node's kubelet").
    pub kubelet_only: bool,
    /// How log lines over 16 KiB bear their timestamps (docs/facts.md, "Long lines come in parts").
    pub kubelet: KubeletStyle,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            certificate: Certificate::Good,
            kubelet_only: false,
            kubelet: KubeletStyle::Joined,
        }
    }
}

/// A running server. Stops when dropped: its port is closed and every connection broken off.
#[derive(Debug)]
pub struct Standin {
    addr: SocketAddr,
    cluster: Cluster,
    admin_token: String,
    ca_pem: Option<String>,
    task: JoinHandle<()>,
}

impl Standin {
    /// Starts a server with an empty cluster on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, or no certificate can be made.
    pub async fn start(options: Options) -> Result<Self> {
        let tls = match options.tls || options.kubelet_only {
            true => Some(tls::make(options.certificate)?),
            false => None,
        };
        let mut random = random::Random::fresh();
        let admin_token = format!("admin-{:016x}{:016x}", random.next(), random.next());
        let cluster = Cluster::new(&admin_token, options.kubelet);
        // Every cluster has it.
        cluster.put(serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"},
        }));
        let router = router(options.kubelet_only).with_state(cluster.clone());
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let addr = listener.local_addr().context("cannot see the own port")?;
        let (config, ca_pem) = tls.map(|tls| (tls.config, tls.ca_pem)).unzip();
        Ok(Self {
            addr,
            task: tokio::spawn(server::run(listener, config, cluster.clone(), router)),
            cluster,
            admin_token,
            ca_pem,
        })
    }

    /// `http(s)://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        let scheme = match self.ca_pem {
            Some(_) => "https",
            None => "http",
        };
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("{scheme}://{addr}")
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The cluster behind it.
    pub fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    /// The certificate authority to trust, with TLS.
    pub fn ca_pem(&self) -> Option<String> {
        self.ca_pem.clone()
    }

    /// The token of a user who may do everything.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        self.kubeconfig_as(&self.admin_token, namespace)
    }

    /// A kubeconfig with this token, valid or not.
    pub fn kubeconfig_as(&self, token: &str, namespace: &str) -> String {
        kubeconfig::text(&self.url(), self.ca_pem.as_deref(), token, namespace)
    }

    /// Stops the server and waits until its port is closed and its connections are gone.
    pub async fn stop(mut self) {
        self.task.abort();
        // The only outcome is that it was cancelled, as just asked.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(kubelet_only: bool) -> Router<Cluster> {
    let router = admin::routes().merge(kubelet::routes());
    if kubelet_only {
        router
            .route("/healthz", get(|| async { "ok" }))
            .fallback(|| async { status::page_not_found() })
    } else {
        router.fallback(api::handle)
    }
}
