//! A door before PostgreSQL that tells when the n-th statement comes by, and lets it through or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub struct Proxy {
    /// The database's URL through this door.
    pub url: String,
    reached: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Counts what clients send, of all connections together: a statement is one packet. From number `stop_at` on nothing
    /// passes, and that one only if `reaches_server`.
    pub async fn start(url: &str, stop_at: usize, reaches_server: bool) -> Self {
        let mut through = url::Url::parse(url).unwrap();
        let server = format!(
            "{}:{}",
            through.host_str().unwrap(),
            through.port().unwrap_or(5432)
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        through.set_host(Some("127.0.0.1")).unwrap();
        through
            .set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let reached = Arc::new(Notify::new());
        let notify = Arc::clone(&reached);
        let count = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let (notify, count) = (Arc::clone(&notify), Arc::clone(&count));
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let answers = tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                    });
                    let mut buffer = vec![0; 1 << 20];
                    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                        let passes = number < stop_at || (number == stop_at && reaches_server);
                        if passes && to_server.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                        if number >= stop_at {
                            notify.notify_one();
                        }
                    }
                    answers.abort();
                });
            }
        });
        Self {
            url: through.into(),
            reached,
            task,
        }
    }

    /// Number `stop_at` has come by.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
