//! A door before an API server whose connections can die: no byte passes any more, and nobody is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Cluster;

/// The door. Dropped, it is closed.
pub struct Door {
    /// A kubeconfig of the same user, through the door.
    pub kubeconfig: PathBuf,
    /// Connections below this number are dead.
    first_alive: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Door {
    /// A door before the stand-in, which serves plain HTTP.
    pub async fn before(cluster: &Cluster) -> Self {
        let server = cluster.address();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let text = text.replace(&server.to_string(), &through.to_string());
        assert!(text.contains(&through.to_string()), "{text}");
        std::fs::write(&kubeconfig, text).unwrap();
        let (first_alive, opened) = (Arc::default(), Arc::default());
        let task = tokio::spawn(serve(
            listener,
            server,
            Arc::clone(&first_alive),
            Arc::clone(&opened),
        ));
        Self {
            kubeconfig,
            first_alive,
            opened,
            task,
            _folder: folder,
        }
    }

    /// All connections that are open now are dead from now on; new ones live.
    pub fn kill_all(&self) {
        let opened = self.opened.load(Ordering::SeqCst);
        self.first_alive.store(opened, Ordering::SeqCst);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    first_alive: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let number = opened.fetch_add(1, Ordering::SeqCst);
        let first_alive = Arc::clone(&first_alive);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let is_alive = move || number >= first_alive.load(Ordering::SeqCst);
            let there = pass(from_client, to_server, is_alive.clone());
            let back = pass(from_server, to_client, is_alive);
            tokio::join!(there, back);
        });
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    is_alive: impl Fn() -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // What comes is swallowed.
        if is_alive() && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    if is_alive() {
        let _ = to.shutdown().await;
    }
}
