//! `k6sync loop` as it runs: its log, its HTTP server, its signals and its end.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Cluster, Database, Program};

/// A loop is up after much less, unless it hangs or the machine is very busy.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// No answer takes longer: the server itself gives up after 30 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The metric of completed cycles.
pub const COMPLETED: &str = "k6sync_cycles_total{outcome=\"completed\"}";
/// The metric of who leads.
pub const LEADER: &str = "k6sync_leader";

const LISTENING: &str = "listening on http";
const OPEN: &str = " is open";

/// A loop of the real binary, killed when dropped. If the test fails, its log is printed.
pub struct RunningLoop {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    log_keeper: JoinHandle<()>,
    _folder: TempDir,
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: the body is `{}`", self.body))
    }
}

/// A signal that a loop is sent.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// SIGTERM
    Terminate,
    /// SIGINT
    Interrupt,
    /// SIGKILL
    Kill,
}

/// Waits until the condition holds, and fails if it does not in time.
pub async fn wait_for(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

impl RunningLoop {
    /// `k6sync loop` of the cluster's namespace into the database, not started yet.
    pub fn program(cluster: &Cluster, database: &Database) -> Program {
        let listen = ["loop", "--listen", "127.0.0.1:0"];
        Program::new(&listen)
            .args(&["--database-url", database.url()])
            .kubeconfig(cluster.kubeconfig())
    }

    /// Starts this program, which must be a loop, and waits until its server answers and its database is open and migrated.
    pub async fn spawn(program: Program) -> Self {
        let running = Self::spawn_early(program).await;
        running.wait_for_line(OPEN, UP_WITHIN).await;
        running
    }

    /// Starts this program, which must be a loop, and waits until its server answers.
    pub async fn spawn_early(program: Program) -> Self {
        let (mut child, folder) = program.spawn();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().unwrap();
        let log_keeper = tokio::spawn(keep_log(stderr, Arc::clone(&log)));
        let mut running = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
            log_keeper,
            _folder: folder,
        };
        running.wait_for_line(LISTENING, UP_WITHIN).await;
        let line = running.lines_with(LISTENING).remove(0);
        let (scheme, address) = line.rsplit_once("://").unwrap();
        running.address = address.trim().parse().unwrap();
        // Over TLS only the test knows whom to trust.
        if !scheme.ends_with("https") {
            running.get("/healthz").await;
        }
        running
    }

    /// Where its server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far, a line each.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Those of its log's lines that contain this text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let mut lines = self.log();
        lines.retain(|line| line.contains(text));
        lines
    }

    /// Waits for a line of the log that contains this text.
    pub async fn wait_for_line(&self, text: &str, within: Duration) {
        wait_for(&format!("a log line with `{text}`"), within, async || {
            !self.lines_with(text).is_empty()
        })
        .await;
    }

    /// `GET` without headers.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    /// Any request.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let length = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n",
            self.address
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            // A server that refuses a long body need not read it.
            let _ = stream.write_all(body.as_bytes()).await;
            let mut bytes = Vec::new();
            match stream.read_to_end(&mut bytes).await {
                Err(error) if bytes.is_empty() => Err(error),
                _ => Ok(String::from_utf8(bytes).unwrap()),
            }
        };
        match timeout(ANSWERED_WITHIN, exchange).await {
            Ok(Ok(text)) => answer(&text),
            Ok(Err(error)) => panic!("{method} {path}: {error}"),
            Err(_) => panic!("{method} {path}: no answer within {ANSWERED_WITHIN:?}"),
        }
    }

    /// A metric as it is now, by its name with its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("there is no metric {name} in:\n{text}"));
        value.parse().unwrap()
    }

    /// Waits until a metric is as wanted.
    pub async fn wait_for_metric(
        &self,
        name: &str,
        within: Duration,
        is_wanted: impl Fn(f64) -> bool,
    ) {
        wait_for(&format!("the metric {name}"), within, async || {
            is_wanted(self.metric(name).await)
        })
        .await;
    }

    /// Waits until a metric is at least this.
    pub async fn wait_for_at_least(&self, name: &str, least: f64, within: Duration) {
        let is_enough = |value| value >= least;
        self.wait_for_metric(name, within, is_enough).await;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it has ended")
    }

    /// The most memory that it ever had.
    pub fn peak_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.unwrap().trim().trim_end_matches(" kB");
        kb.parse().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Kill => "KILL",
        };
        let pid = self.child.id().expect("it has ended");
        // The shell's own `kill`: the command is not everywhere.
        let status = std::process::Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end, once, and returns the exit code; of a process that a signal ended, the signal's number below zero.
    pub async fn exit_code(&mut self, within: Duration) -> i32 {
        let status = timeout(within, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it did not end within {within:?}"))
            .unwrap();
        // Its last words count, too.
        (&mut self.log_keeper).await.unwrap();
        status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or(0))
    }
}

impl Drop for RunningLoop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the log of the loop at {}:", self.address);
            for line in self.log() {
                println!("    {line}");
            }
        }
    }
}

async fn keep_log(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap().push(line);
    }
}

/// Reads an answer.
pub fn answer(text: &str) -> Answer {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("this is no answer: `{text}`"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    Answer {
        status: status.parse().unwrap(),
        headers,
        body: match is_chunked {
            true => unchunked(body),
            false => body.to_owned(),
        },
    }
}

/// A body that came in chunks, to its end.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while !body.is_empty() {
        let (length, rest) = body.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&rest[..length]);
        if length == 0 {
            return whole;
        }
        body = &rest[length + 2..];
    }
    match whole.is_empty() {
        true => whole,
        false => panic!("the body broke off after `{whole}`"),
    }
}
