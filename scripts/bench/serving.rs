//! What a loop costs that also serves pages: how soon they are there beside a large history, and whether those who look slow a cycle
//! down.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k6sync_standin::{Options, Spec, Stage, Standin};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::case::NEW_LINES;
use crate::database::{Database, Kind};
use crate::idle::{memory_mb, peak_memory_mb};
use crate::measure::k6sync;

/// The cases' names, for `--only`.
pub(crate) const PAGES: &str = "pages";
pub(crate) const FOLLOWERS: &str = "followers";

const KEY: &str = "0123456789abcdef";
const HISTORY: usize = 1_000_000;
const RUNNERS: usize = 1_000;
/// Of the large log, of lines of 155 bytes.
const LARGE_LINES: usize = 1_000_000_000 / 155;
const ROUNDS: usize = 9;
const RECORDED_WITHIN: Duration = Duration::from_secs(300);

const FOLLOWING: usize = 50;
const LISTS_A_SECOND: u64 = 20;
const INTERVAL: Duration = Duration::from_secs(5);
/// Cycles of a turn; the first of each is none of the measured.
const CYCLES: usize = 6;
/// Turns alone, and as many with those who look.
const TURNS: usize = 3;
/// 2026-01-10T00:00:00Z, after all lines that were made up at first.
const START: i64 = 1_768_003_200;

/// A loop that serves.
struct Serving {
    child: Child,
    address: String,
    pid: u32,
    _folder: tempfile::TempDir,
}

impl Serving {
    async fn start(standin: &Standin, database: &Database, namespaces: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir_in(crate::FOLDER)?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, standin.kubeconfig(namespaces[0]))?;
        let config = folder.path().join("config.yaml");
        std::fs::write(
            &config,
            "auth: {apiKeyMayRead: true}\nleaderElection: {enabled: false}\n",
        )?;
        let mut command = Command::new(k6sync());
        command
            .args(["loop", "--listen", "127.0.0.1:0", "--config"])
            .arg(config);
        for namespace in namespaces {
            command.args(["-n", namespace]);
        }
        let mut child = command
            .env("KUBECONFIG", kubeconfig)
            .env("DATABASE_URL", database.url())
            .env("K6_SYNC_INTERVAL_SECONDS", INTERVAL.as_secs().to_string())
            .env("K6_SYNC_API_KEY", KEY)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("the loop has ended")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = loop {
            let line = lines.next_line().await?.context("the loop has ended")?;
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().to_owned();
            }
        };
        // What it says further is read, and not needed.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            child,
            address,
            pid,
            _folder: folder,
        })
    }

    /// Status, when the first byte came, and the body.
    async fn get(&self, path: &str) -> Result<(u16, Duration, String)> {
        get(&self.address, path).await
    }

    async fn until_complete(&self, runs: usize) -> Result<()> {
        let begun = Instant::now();
        loop {
            let (_, _, body) = self
                .get("/api/v1/runs?since=52w&limit=100&name=run-*")
                .await?;
            let list: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let mut complete = 0;
            for run in list["runs"].as_array().into_iter().flatten() {
                let (_, _, run) = self.get(&format!("/api/v1/runs/{}", run["id"])).await?;
                let run: serde_json::Value = serde_json::from_str(&run)?;
                complete += usize::from(run["complete"] == true);
            }
            if complete == runs {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < RECORDED_WITHIN,
                "the runs are not recorded: {body}"
            );
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn id(&self, namespace: &str) -> Result<i64> {
        let (_, _, body) = self
            .get(&format!("/api/v1/runs?namespace={namespace}&name=run-*"))
            .await?;
        let list: serde_json::Value = serde_json::from_str(&body)?;
        list["runs"][0]["id"].as_i64().context("there is no run")
    }
}

async fn get(address: &str, path: &str) -> Result<(u16, Duration, String)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nX-API-Key: {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0];
    stream.read_exact(&mut answer).await?;
    let first = begun.elapsed();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.context("no answer")?, first, body.to_owned()))
}

/// How soon pages are there.
pub(crate) async fn pages(kind: Kind) -> Result<()> {
    let standin = Standin::start(Options::default()).await?;
    for (seed, namespace, runners, lines) in
        [(1, "k6-runs", RUNNERS, 20), (2, "k6-large", 1, LARGE_LINES)]
    {
        standin.cluster().generate(&Spec {
            seed,
            namespace: namespace.to_owned(),
            runs: 1,
            runners,
            lines,
            stage: Stage::Finished,
            ..Spec::default()
        });
    }
    let folder = tempfile::tempdir_in(crate::FOLDER)?;
    let database = Database::create(kind, folder.path()).await?;
    let migrated = Command::new(k6sync())
        .args(["migrate", "--database-url", database.url()])
        .stderr(Stdio::null())
        .status()
        .await?;
    ensure!(migrated.success(), "the database can't be migrated");
    database.fill(HISTORY).await?;
    let serving = Serving::start(&standin, &database, &["k6-runs", "k6-large"]).await?;
    serving.until_complete(2).await?;
    let (many, large) = (serving.id("k6-runs").await?, serving.id("k6-large").await?);
    for (name, path, wanted) in [
        ("list", "/".to_owned(), 100.0),
        ("list, failed ones", "/?status=failed".to_owned(), 100.0),
        (
            "list, a name that there is not",
            "/?name=none".to_owned(),
            100.0,
        ),
        (
            "list, a namespace that there is not",
            "/?namespace=none".to_owned(),
            100.0,
        ),
        ("list as JSON", "/api/v1/runs".to_owned(), 100.0),
        ("run of 1,000 runners", format!("/runs/{many}"), 300.0),
        (
            "run of 1,000 runners as JSON",
            format!("/api/v1/runs/{many}"),
            300.0,
        ),
        (
            "log of 1,000 runners, its beginning",
            format!("/runs/{many}/logs?go=start"),
            200.0,
        ),
        (
            "log of 1,000 runners, its end",
            format!("/runs/{many}/logs?go=end"),
            200.0,
        ),
        (
            "log of 1 GB, its beginning",
            format!("/runs/{large}/logs?go=start"),
            200.0,
        ),
        (
            "log of 1 GB, its end",
            format!("/runs/{large}/logs/window?go=end"),
            200.0,
        ),
        (
            "log of 1 GB as JSON, 100 lines",
            format!("/api/v1/runs/{large}/logs?limit=100"),
            200.0,
        ),
        (
            "log of 1 GB as JSON, its end",
            format!("/api/v1/runs/{large}/logs?tail=100"),
            200.0,
        ),
    ] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let (status, first, _) = serving.get(&path).await?;
            ensure!(status == 200, "{path}: {status}");
            times.push((first, begun.elapsed()));
        }
        times.sort();
        let (first, whole) = times[ROUNDS / 2];
        let (first, whole) = (1e3 * first.as_secs_f64(), 1e3 * whole.as_secs_f64());
        println!(
            "  {:56} {first:7.1} ms to the first byte, {whole:7.1} ms in all (wanted: at most {wanted:.0}{})",
            format!("{}, {name}", kind.name()),
            if whole <= wanted { "" } else { "; MISSED" },
        );
    }
    println!(
        "  {:56} {:7.1} MB",
        format!("{}, memory of the loop", kind.name()),
        memory_mb(serving.pid)?
    );
    end(serving).await?;
    database.end().await
}

/// Whether those who look slow a cycle down: a loop over 1,000 pods that write, alone and with 50 followers and 20 lists a second, in turns.
pub(crate) async fn followers(kind: Kind) -> Result<()> {
    let standin = Standin::start(Options::default()).await?;
    standin.cluster().generate(&Spec {
        namespace: "k6-runs".to_owned(),
        runs: 10,
        runners: 100,
        lines: 100,
        ..Spec::default()
    });
    standin.cluster().set_latency(Duration::from_millis(5));
    let folder = tempfile::tempdir_in(crate::FOLDER)?;
    let database = Database::create(kind, folder.path()).await?;
    let serving = Serving::start(&standin, &database, &["k6-runs"]).await?;
    let cluster = standin.cluster();
    let writing = tokio::spawn(async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let step = INTERVAL / NEW_LINES as u32;
        for now in (START..).step_by(INTERVAL.as_secs() as usize) {
            ticks.tick().await;
            cluster.append_lines("k6-runs", NEW_LINES, now * 1_000_000_000, step);
        }
    });
    sleep(3 * INTERVAL).await;
    let ids: Vec<i64> = {
        let (_, _, body) = serving.get("/api/v1/runs").await?;
        let list: serde_json::Value = serde_json::from_str(&body)?;
        let runs = list["runs"].as_array().into_iter().flatten();
        runs.filter_map(|run| run["id"].as_i64()).collect()
    };
    ensure!(ids.len() == 10, "{ids:?}");
    let mut alone_mb = 0.0;
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    let looked = Arc::new(Looked::default());
    for turn in 0..TURNS {
        alone.extend(cycles(kind, &database).await?);
        if turn == 0 {
            alone_mb = peak_memory_mb(serving.pid)?;
        }
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut looking = Vec::new();
        for number in 0..FOLLOWING {
            let path = format!(
                "/api/v1/runs/{}/logs/follow?tail=1",
                ids[number % ids.len()]
            );
            looking.push(tokio::spawn(follow(
                serving.address.clone(),
                path,
                Arc::clone(&looked),
            )));
        }
        let lists = tokio::spawn(list(
            serving.address.clone(),
            Arc::clone(&goes_on),
            Arc::clone(&looked),
        ));
        watched.extend(cycles(kind, &database).await?);
        goes_on.store(false, Ordering::Relaxed);
        lists.await??;
        for following in &looking {
            ensure!(!following.is_finished(), "a follower was dropped");
            following.abort();
        }
    }
    writing.abort();
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (alone, watched) = (median(&mut alone), median(&mut watched));
    let name = kind.name();
    println!(
        "  {:56} {alone:7.0} ms alone, {watched:7.0} ms watched: {:.2} of it (wanted: at most 1.10{})",
        format!("{name}, a cycle of 1,000 pods, {FOLLOWING} followers, {LISTS_A_SECOND} lists/s"),
        watched / alone,
        if watched / alone <= 1.10 {
            ""
        } else {
            "; MISSED"
        },
    );
    let lists = looked.lists.load(Ordering::Relaxed);
    println!(
        "  {:56} {:7.1} MB sent to followers, {lists} lists, {:.1} ms each",
        format!("{name}, meanwhile"),
        looked.bytes.load(Ordering::Relaxed) as f64 / 1e6,
        looked.micros.load(Ordering::Relaxed) as f64 / 1e3 / lists.max(1) as f64,
    );
    let peak = peak_memory_mb(serving.pid)?;
    println!(
        "  {:56} {peak:7.1} MB at most, {alone_mb:.1} MB before anybody looked (wanted: at most 64{})",
        format!("{name}, memory of the loop"),
        if peak <= 64.0 { "" } else { "; MISSED" },
    );
    end(serving).await?;
    database.end().await
}

/// What those who look have got.
#[derive(Default)]
struct Looked {
    bytes: AtomicU64,
    lists: AtomicU64,
    micros: AtomicU64,
}

async fn follow(address: String, path: String, looked: Arc<Looked>) -> Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nX-API-Key: {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "the follower was cut off");
        looked.bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Pages and API in turns.
async fn list(address: String, goes_on: Arc<AtomicBool>, looked: Arc<Looked>) -> Result<()> {
    let mut ticks = interval(Duration::from_millis(1_000 / LISTS_A_SECOND));
    let mut paths = ["/", "/api/v1/runs"].iter().cycle();
    let mut asked = tokio::task::JoinSet::new();
    while goes_on.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (address, looked) = (address.clone(), Arc::clone(&looked));
        let path = paths.next().copied().unwrap_or("/");
        asked.spawn(async move {
            let begun = Instant::now();
            let (status, ..) = get(&address, path).await?;
            ensure!(status == 200, "{path}: {status}");
            looked.lists.fetch_add(1, Ordering::Relaxed);
            let micros = begun.elapsed().as_micros() as u64;
            looked.micros.fetch_add(micros, Ordering::Relaxed);
            anyhow::Ok(())
        });
    }
    while let Some(answered) = asked.join_next().await {
        answered??;
    }
    Ok(())
}

/// How long the next cycles take, milliseconds, as the record says it.
async fn cycles(kind: Kind, database: &Database) -> Result<Vec<f64>> {
    const LAST: &str = "SELECT coalesce(max(id), 0) FROM sync_cycles";
    const SINCE: &str =
        "SELECT duration_ms FROM sync_cycles WHERE id > $1 AND outcome = 'completed' ORDER BY id";
    let wait = INTERVAL * (CYCLES as u32 + 4);
    let (last, mut times): (i64, Vec<i64>) =
        (number(kind, database, LAST, None).await?[0], Vec::new());
    let measured = async {
        while times.len() <= CYCLES {
            sleep(Duration::from_millis(500)).await;
            times = number(kind, database, SINCE, Some(last)).await?;
        }
        anyhow::Ok(())
    };
    timeout(wait, measured)
        .await
        .context("the loop completes no cycles")??;
    Ok(times[1..].iter().map(|time| *time as f64).collect())
}

async fn number(
    kind: Kind,
    database: &Database,
    sql: &'static str,
    after: Option<i64>,
) -> Result<Vec<i64>> {
    macro_rules! ask {
        ($connection:ty) => {{
            let mut connection = <$connection>::connect(database.url()).await?;
            let query = sqlx::query_scalar(sql);
            match after {
                Some(after) => query.bind(after).fetch_all(&mut connection).await?,
                None => query.fetch_all(&mut connection).await?,
            }
        }};
    }
    Ok(match kind {
        Kind::Sqlite => ask!(SqliteConnection),
        Kind::Postgres => ask!(PgConnection),
    })
}

async fn end(mut serving: Serving) -> Result<()> {
    serving.child.kill().await?;
    Ok(())
}
