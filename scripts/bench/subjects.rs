//! What ours is compared with: the least that a cycle must cost, and the obvious way.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

/// Log requests at a time of the floor: with more it is no faster here, at no latency that is measured.
const PARALLEL: usize = 256;

async fn get(client: &kube::Client, path: &str) -> Result<Vec<u8>> {
    let request = http::Request::get(path).body(Body::empty())?;
    let response = client.send(request).await?;
    ensure!(
        response.status().is_success(),
        "{path}: {}",
        response.status()
    );
    Ok(response.into_body().collect().await?.to_bytes().to_vec())
}

/// All pages of a list, as bytes.
async fn list(client: &kube::Client, path: &str) -> Result<Vec<Vec<u8>>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let body = get(client, &format!("{path}{sign}limit=500&continue={token}")).await?;
        // The token is at the page's end or its beginning, in its metadata.
        let text = String::from_utf8_lossy(&body);
        token = text
            .split("\"continue\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned();
        pages.push(body);
        if token.is_empty() {
            return Ok(pages);
        }
    }
}

/// Fetches `pods` (a file: pod and container a line) since a second, "none" for no log at all, and inserts what came.
pub(crate) async fn floor(url: &str, pods: &str, since: &str) -> Result<()> {
    let client = kube::Client::try_default().await?;
    let lists = [
        "/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns",
        "/api/v1/namespaces/k6-runs/pods?labelSelector=k6_cr",
    ];
    list(&client, lists[0]).await?;
    if since == "none" {
        return Ok(());
    }
    list(&client, lists[1]).await?;
    let since = jiff::Timestamp::from_second(since.parse()?)?;
    let names = std::fs::read_to_string(pods)?;
    let (client, since) = (&client, &since);
    let logs: Vec<Result<(String, String)>> = stream::iter(names.lines())
        .map(|name| async move {
            let (pod, container) = name.split_once(' ').context("no container")?;
            let log = get(
                client,
                &format!("/api/v1/namespaces/k6-runs/pods/{pod}/log?container={container}&timestamps=true&sinceTime={since}"),
            )
            .await?;
            Ok((pod.to_owned(), String::from_utf8(log)?))
        })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    let logs: Vec<(String, String)> = logs.into_iter().collect::<Result<_>>()?;
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS floor (pod TEXT, body TEXT)";
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await?;
        connection.execute("PRAGMA journal_mode = WAL").await?;
        connection.execute("PRAGMA synchronous = NORMAL").await?;
        connection.execute(TABLE).await?;
        let mut transaction = connection.begin().await?;
        for (pod, body) in logs.iter().filter(|(_, body)| !body.is_empty()) {
            sqlx::query("INSERT INTO floor VALUES ($1, $2)")
                .bind(pod)
                .bind(body)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(TABLE).await?;
        // sqlx tells of all statements but this.
        tracing::debug!(target: "sqlx::query", rows_affected = logs.len());
        let mut copy = connection.copy_in_raw("COPY floor FROM STDIN").await?;
        let mut rows = String::new();
        for (pod, body) in logs.iter().filter(|(_, body)| !body.is_empty()) {
            let body = body
                .replace('\\', "\\\\")
                .replace('\n', "\\n")
                .replace('\t', "\\t")
                .replace('\r', "\\r");
            rows.push_str(&format!("{pod}\t{body}\n"));
        }
        copy.send(rows.as_bytes()).await?;
        copy.finish().await?;
    }
    Ok(())
}

/// Step by step, one request after another, each log whole.
pub(crate) async fn naive(url: &str) -> Result<()> {
    let client = kube::Client::try_default().await?;
    let url = match url.starts_with("sqlite") {
        true => format!("{url}?mode=rwc"),
        false => url.to_owned(),
    };
    let runs = get(&client, "/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns").await?;
    let runs: Value = serde_json::from_slice(&runs)?;
    let database = Naive::open(&url).await?;
    for run in runs["items"].as_array().context("no list")? {
        let name = run["metadata"]["name"].as_str().context("no name")?;
        get(
            &client,
            &format!("/apis/k6.io/v1alpha1/namespaces/k6-runs/testruns/{name}"),
        )
        .await?;
        let pods = get(
            &client,
            &format!("/api/v1/namespaces/k6-runs/pods?labelSelector=k6_cr%3D{name}"),
        )
        .await?;
        let pods: Value = serde_json::from_slice(&pods)?;
        let mut text = String::new();
        for pod in pods["items"].as_array().context("no list")? {
            let (pod, container) = (
                &pod["metadata"]["name"],
                &pod["spec"]["containers"][0]["name"],
            );
            let (pod, container) = (
                pod.as_str().context("no name")?,
                container.as_str().context("no name")?,
            );
            let log = get(&client, &format!("/api/v1/namespaces/k6-runs/pods/{pod}/log?container={container}&timestamps=true")).await?;
            text.push_str(&String::from_utf8_lossy(&log));
        }
        database.update(name, &text).await?;
    }
    Ok(())
}

/// One row a step.
enum Naive {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Naive {
    async fn open(url: &str) -> Result<Self> {
        const TABLE: &str = "CREATE TABLE IF NOT EXISTS naive (step TEXT PRIMARY KEY, log TEXT)";
        if url.starts_with("sqlite") {
            let pool = sqlx::SqlitePool::connect(url).await?;
            pool.execute(TABLE).await?;
            return Ok(Self::Sqlite(pool));
        }
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        pool.execute(TABLE).await?;
        Ok(Self::Postgres(pool))
    }

    async fn update(&self, step: &str, log: &str) -> Result<()> {
        const UPSERT: &str =
            "INSERT INTO naive VALUES ($1, $2) ON CONFLICT (step) DO UPDATE SET log = excluded.log";
        match self {
            Self::Sqlite(pool) => {
                let upsert = sqlx::query(UPSERT).bind(step).bind(log);
                upsert.execute(pool).await?;
            }
            Self::Postgres(pool) => {
                let upsert = sqlx::query(UPSERT).bind(step).bind(log);
                upsert.execute(pool).await?;
            }
        }
        Ok(())
    }
}
