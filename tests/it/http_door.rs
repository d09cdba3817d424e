//! The loop's HTTP server against clients that are stuck, slow, many or hostile; and its TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use k6sync_standin::Options;
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::running_loop::{Answer, Signal, answer, wait_for};
use crate::support::{Cluster, Database, Program, RunningLoop};

const JOB: &str = "/api/dashboard/load-testing/sync-job";
const KEY: &str = "0123456789abcdef";
const READY_WITHIN: Duration = Duration::from_secs(30);
/// A probe of the kubelet's has five seconds by our manifests; that is for the server's trouble, not for ours.
const PROBED_WITHIN: Duration = Duration::from_secs(2);
/// Headers have five seconds, and the machine may be busy.
const HEADERS_WITHIN: Duration = Duration::from_secs(12);
/// Bodies and answers have ten.
const EXCHANGED_WITHIN: Duration = Duration::from_secs(25);

/// A loop that is ready, the cluster that it syncs, and the database that it fills.
struct Server {
    running: RunningLoop,
    _database: Database,
    _cluster: Cluster,
}

impl Server {
    async fn start() -> Self {
        Self::spawn(|program| program).await
    }

    async fn spawn(change: impl FnOnce(Program) -> Program) -> Self {
        let cluster = Cluster::standin(Options::default()).await;
        let database = Database::sqlite();
        let program = RunningLoop::program(&cluster, &database).env("K6_SYNC_API_KEY", KEY);
        let server = Self {
            running: RunningLoop::spawn(change(program)).await,
            _database: database,
            _cluster: cluster,
        };
        wait_for("it is ready", READY_WITHIN, async || {
            server.running.get("/readyz").await.status == 200
        })
        .await;
        server
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.address()).await.unwrap()
    }

    /// A connection on which these bytes were sent.
    async fn connect_and_send(&self, bytes: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// Both probes answer well, and soon.
    async fn probe(&self) {
        for path in ["/healthz", "/readyz"] {
            let begun = Instant::now();
            let answer = self.running.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert!(
                begun.elapsed() < PROBED_WITHIN,
                "{path}: {:?}",
                begun.elapsed()
            );
        }
    }

    /// The processor time that it took, in ticks of 10 ms.
    fn processor_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.running.id())).unwrap()
    }
}

/// As many as wanted, if this process may open them: it is the client of all of them.
fn affordable(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let files: usize = line
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    wanted.min(files / 2)
}

/// All that comes until the other side closes, in whatever way.
async fn rest(stream: &mut (impl AsyncRead + Unpin), within: Duration) -> String {
    let mut bytes = Vec::new();
    let closed = timeout(within, async {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..length]);
        }
    });
    let is_closed = closed.await.is_ok();
    assert!(is_closed, "it is still open after {within:?}");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_headers_cost_little() {
    let server = Server::start().await;
    let endless = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}",
        "x".repeat(400 * 1024)
    );
    let clients = (0..400).map(|_| async {
        let mut stream = server.connect().await;
        // It is cut off before its end, if all is well.
        let _ = timeout(HEADERS_WITHIN, stream.write_all(endless.as_bytes())).await;
        stream
    });
    let (streams, ()) = tokio::join!(join_all(clients), server.probe());
    server.probe().await;
    let peak = server.running.peak_memory_kb() * 1024;
    assert!(peak < 128 << 20, "{} MiB", peak >> 20);
    drop(streams);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_are_too_long_are_told_so() {
    let server = Server::start().await;
    let long = "x".repeat(100 * 1024);
    let many = "X: y\r\n".repeat(2_000);
    for headers in [format!("X-Long: {long}\r\n"), many] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let mut stream = server.connect_and_send(&request).await;
        let text = rest(&mut stream, HEADERS_WITHIN).await;
        assert_eq!(answer(&text).status, 431);
    }
    // The longest tokens that are about have 16 KiB.
    let token = format!("Bearer {}", "x".repeat(16 * 1024));
    let headers = [("Authorization", &*token)];
    let answer = server
        .running
        .request("GET", "/healthz", &headers, "")
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_and_keep_nobody_out() {
    const CLOSED_WITHIN: Duration = Duration::from_secs(30);
    let server = Server::start().await;
    let used = server
        .connect_and_send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut idle = vec![used];
    for number in 0..affordable(2_000) {
        idle.push(server.connect().await);
        if number % 400 == 0 {
            server.probe().await;
        }
    }
    let begun = Instant::now();
    server.probe().await;
    let closed = idle.iter_mut().map(|stream| rest(stream, CLOSED_WITHIN));
    let probes = async {
        for _ in 0..10 {
            server.probe().await;
            sleep(Duration::from_millis(300)).await;
        }
    };
    let (answers, ()) = tokio::join!(join_all(closed), probes);
    assert!(begun.elapsed() < CLOSED_WITHIN, "{:?}", begun.elapsed());
    assert!(answers[0].starts_with("HTTP/1.1 200"), "{}", answers[0]);
    assert_eq!(
        server.running.lines_with("too many HTTP connections").len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_all_answered() {
    let server = Server::start().await;
    for _ in 0..3 {
        let answers = join_all((0..300).map(|_| server.running.get("/healthz"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_slowly_is_not_waited_for() {
    let server = Server::start().await;
    let slow_headers = async {
        let mut stream = server.connect().await;
        let (mut reader, mut writer) = stream.split();
        let request = format!(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: {}",
            "x".repeat(1_000)
        );
        tokio::select! {
            text = rest(&mut reader, HEADERS_WITHIN) => assert_eq!(text, ""),
            () = drip(&mut writer, &request) => panic!("it took all"),
        }
    };
    let slow_body = async |key: &str, status: u16| {
        let head = format!(
            "POST {JOB} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 1000\r\n\r\n"
        );
        let mut stream = server.connect_and_send(&head).await;
        let (mut reader, mut writer) = stream.split();
        let body = " ".repeat(1_000);
        let text = tokio::select! {
            text = rest(&mut reader, EXCHANGED_WITHIN) => text,
            () = drip(&mut writer, &body) => panic!("it took all"),
        };
        let answer = answer(&text);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["success"], false);
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    let (_, stranger, organizer) = tokio::join!(
        slow_headers,
        slow_body("wrong-but-long-enough", 401),
        slow_body(KEY, 408)
    );
    assert_eq!(stranger, "the API key is not accepted");
    assert_eq!(organizer, "the body did not come within 10s");
    server.probe().await;
}

/// A byte each half second.
async fn drip(writer: &mut (impl AsyncWrite + Unpin), text: &str) {
    for byte in text.bytes() {
        let _ = writer.write_all(&[byte]).await;
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_hung_up_on() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let begun = Instant::now();
    // Until the server takes no more, since its answers aren't taken; and then until it hangs up.
    let hung_up = timeout(EXCHANGED_WITHIN, async {
        while stream.write_all(requests.as_bytes()).await.is_ok() {}
    });
    assert!(
        hung_up.await.is_ok(),
        "still open after {EXCHANGED_WITHIN:?}"
    );
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let peak = server.running.peak_memory_kb() * 1024;
    assert!(peak < 128 << 20, "{} MiB", peak >> 20);
    server.probe().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_files_neither_end_nor_spin_the_server() {
    let server = Server::spawn(|program| program.limit_open_files(64)).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(server.connect().await);
    }
    let before = server.processor_ticks();
    let begun = Instant::now();
    for _ in 0..10 {
        server.probe().await;
        // Whoever was closed comes back.
        for stream in idle.iter_mut().take(100) {
            *stream = server.connect().await;
        }
    }
    sleep(Duration::from_secs(2)).await;
    let ticks = server.processor_ticks() - before;
    let most = u64::try_from(begun.elapsed().as_millis() / 10).unwrap();
    assert!(ticks < most / 2, "{ticks} of {most} ticks");
    server.probe().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_answers_and_not_for_the_idle() {
    let mut server = Server::start().await;
    let begun = "POST /api/dashboard/load-testing/sync-job HTTP/1.1\r\nHost: x\r\n";
    let mut idle = vec![server.connect_and_send(begun).await];
    for _ in 0..20 {
        idle.push(server.connect().await);
    }
    let head = format!("{begun}X-API-Key: {KEY}\r\nContent-Length: 17\r\n\r\n");
    let mut asking = server.connect_and_send(&head).await;
    // It waits for the body by then.
    server.probe().await;
    server.running.signal(Signal::Terminate);
    let address = server.running.address();
    wait_for("nobody is let in", Duration::from_secs(2), async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    asking.write_all(br#"{"action":"stop"}"#).await.unwrap();
    let text = rest(&mut asking, Duration::from_secs(5)).await;
    assert_eq!(answer(&text).status, 200, "{text}");
    assert_eq!(server.running.exit_code(Duration::from_secs(5)).await, 0);
    assert!(server.running.lines_with("still open").is_empty());
}

/// A folder with `tls.crt` and `tls.key`, as a mounted Secret has them, and who made them.
struct Secret {
    folder: TempDir,
}

impl Secret {
    fn new(name: &str) -> (Self, CertificateDer<'static>) {
        let secret = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let (cert, pem, key) = certificate(name);
        secret.mount(&pem, &key);
        (secret, cert)
    }

    /// The kubelet's way: a new folder, and a symbolic link that is replaced at once.
    fn mount(&self, cert: &str, key: &str) {
        let folder = tempfile::Builder::new()
            .tempdir_in(self.folder.path())
            .unwrap()
            .keep();
        std::fs::write(folder.join("tls.crt"), cert).unwrap();
        std::fs::write(folder.join("tls.key"), key).unwrap();
        let link = self.folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        std::fs::rename(&link, self.folder.path().join("..data")).unwrap();
    }

    fn cert(&self) -> PathBuf {
        self.folder.path().join("..data/tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("..data/tls.key")
    }

    fn args(&self) -> [String; 4] {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        [
            "--tls-cert".to_owned(),
            text(self.cert()),
            "--tls-key".to_owned(),
            text(self.key()),
        ]
    }
}

/// A certificate for 127.0.0.1, as it is and as PEM, and its key as PEM.
fn certificate(name: &str) -> (CertificateDer<'static>, String, String) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.der().clone(), cert.pem(), key.serialize_pem())
}

/// A client that trusts this certificate.
async fn handshake(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// One request over TLS.
async fn get(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    path: &str,
) -> std::io::Result<Answer> {
    let mut stream = handshake(address, trusted).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(answer(&text))
}

/// A loop with this certificate.
async fn start_with_tls(secret: &Secret) -> (RunningLoop, Cluster, Database) {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let args = secret.args();
    let args = args.each_ref().map(String::as_str);
    let program = RunningLoop::program(&cluster, &database).args(&args);
    let program = program.env("K6_SYNC_API_KEY", KEY);
    (RunningLoop::spawn(program).await, cluster, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_served_over_tls() {
    let (secret, cert) = Secret::new("first");
    let (running, _cluster, _database) = start_with_tls(&secret).await;
    let address = running.address();
    assert_eq!(running.lines_with("listening on https://").len(), 1);
    wait_for("it is ready", READY_WITHIN, async || {
        matches!(
            get(address, &cert, "/readyz").await,
            Ok(Answer { status: 200, .. })
        )
    })
    .await;
    for (path, words) in [
        ("/healthz", "ok\n"),
        ("/metrics", "k6sync_build_info"),
        (JOB, "\"isRunning\":true"),
    ] {
        let answer = get(address, &cert, path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.body.contains(words), "{path}: {answer:?}");
    }

    // Who does not speak TLS, or not soon enough, is turned away, and keeps nobody out.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut idle = handshake(address, &cert).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(HEADERS_WITHIN, plain.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
    assert_eq!(get(address, &cert, "/healthz").await.unwrap().status, 200);
    tokio::join!(
        rest(&mut silent, HEADERS_WITHIN),
        rest(&mut idle, HEADERS_WITHIN)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    const TAKEN_UP_WITHIN: Duration = Duration::from_secs(15);
    let (secret, first) = Secret::new("first");
    let (running, _cluster, _database) = start_with_tls(&secret).await;
    let address = running.address();
    let is_good = async |cert: &CertificateDer<'static>| {
        matches!(
            get(address, cert, "/healthz").await,
            Ok(Answer { status: 200, .. })
        )
    };
    assert!(is_good(&first).await);
    // A connection goes on with what it began with.
    let mut open = handshake(address, &first).await.unwrap();

    let (second, pem, key) = certificate("second");
    secret.mount(&pem, &key);
    wait_for("the second is taken up", TAKEN_UP_WITHIN, async || {
        is_good(&second).await
    })
    .await;
    assert!(!is_good(&first).await);
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    // It may have been idle for too long by now.
    let _ = rest(&mut open, HEADERS_WITHIN).await;

    let (third, third_pem, third_key) = certificate("third");
    const KEPT: &str = "the certificate in use stays so";
    secret.mount(&third_pem, &key);
    running.wait_for_line(KEPT, TAKEN_UP_WITHIN).await;
    // Long enough for it to be said again.
    sleep(Duration::from_secs(7)).await;
    assert_eq!(running.lines_with(KEPT).len(), 1);
    assert!(running.lines_with(KEPT)[0].contains("the key is not that of the certificate"));
    assert!(is_good(&second).await);

    std::fs::remove_file(secret.key()).unwrap();
    wait_for("it is said", TAKEN_UP_WITHIN, async || {
        running.lines_with(KEPT).len() == 2
    })
    .await;
    assert!(is_good(&second).await);

    secret.mount(&third_pem, &third_key);
    wait_for("the third is taken up", TAKEN_UP_WITHIN, async || {
        is_good(&third).await
    })
    .await;
    let secrets = [&key, &third_key].map(|pem| pem.lines().nth(1).unwrap().to_owned());
    for line in running.log() {
        assert!(
            !secrets.iter().any(|secret| line.contains(secret)),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tls_files_are_told_at_the_start() {
    let cluster = Cluster::standin(Options::default()).await;
    let database = Database::sqlite();
    let (secret, _) = Secret::new("good");
    let (other, _) = Secret::new("other");
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (cert, key) = (text(secret.cert()), text(secret.key()));
    let file = |content: &str| {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, content).unwrap();
        path
    };
    let pem = std::fs::read_to_string(&cert).unwrap();
    let empty = file("");
    let cut = file(&pem[..pem.len() / 2]);
    let spoilt = file(&pem.replace("MII", "!!!"));
    let nonsense = file("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let path = |path: &tempfile::TempPath| text(Path::to_owned(path));
    let pair = |cert: &str, key: &str| {
        vec![
            "--tls-cert".to_owned(),
            cert.to_owned(),
            "--tls-key".to_owned(),
            key.to_owned(),
        ]
    };
    for (args, words) in [
        (
            pair(&cert, &key)[..2].to_vec(),
            "the TLS certificate is set, but not the key",
        ),
        (
            pair(&cert, &key)[2..].to_vec(),
            "the TLS key is set, but not the certificate",
        ),
        (
            pair("/no/such/file", &key),
            "cannot read the file /no/such/file",
        ),
        (
            pair(&cert, "/no/such/file"),
            "cannot read the file /no/such/file",
        ),
        (
            pair(&cert, &text(other.key())),
            "the key is not that of the certificate",
        ),
        (pair(&key, &cert), "is no certificate"),
        (pair(&cert, &cert), "is no private key"),
        (pair(&path(&empty), &key), "is no certificate"),
        (pair(&cert, &path(&empty)), "is no private key"),
        (pair(&path(&cut), &key), "is no certificate"),
        (pair(&path(&spoilt), &key), "is no certificate"),
        (pair(&path(&nonsense), &key), "can't be used for TLS"),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = RunningLoop::program(&cluster, &database)
            .args(&args)
            .run()
            .await;
        assert_eq!(run.code, 2, "{args:?}: {run:?}");
        assert!(run.stderr.contains(words), "{args:?}: {run:?}");
        let key = std::fs::read_to_string(secret.key()).unwrap();
        assert!(!run.stderr.contains(key.lines().nth(1).unwrap()), "{run:?}");
    }
    assert!(!database.sqlite_file().unwrap().exists());

    // The flags go before the file, each by itself.
    let config = format!("tls:\n  cert: /no/such/file\n  key: {key}\n");
    let program = RunningLoop::program(&cluster, &database).config(&config);
    let running = RunningLoop::spawn(program.args(&["--tls-cert", &cert])).await;
    assert_eq!(running.lines_with("listening on https://").len(), 1);
}
