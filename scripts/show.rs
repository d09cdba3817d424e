//! Shows what a dashboard would, from the SQLite database in the environment's `DATABASE_URL`: runs, steps and the end of a log.
//! For `scripts/demo.sh`, so that it needs no SQL client.

#![allow(clippy::print_stdout, reason = "printing is all it does")]

use anyhow::Context;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Column, Row};

const RUNS: &str =
    "SELECT name AS run, status, coalesce(substr(started_at, 1, 19), '-') AS started_at,
    coalesce(substr(finished_at, 1, 19), '-') AS finished_at FROM test_runs ORDER BY id";
const STEPS: &str = "SELECT name AS step, coalesce(stage, '-') AS stage, status, coalesce(reason, '-') AS reason,
    coalesce(substr(message, 1, 60) || CASE WHEN length(message) > 60 THEN '…' ELSE '' END, '-') AS message
    FROM test_run_steps ORDER BY id";
const LINES: &str =
    "SELECT sum(lines) || ' lines in ' || count(*) || ' container logs' AS text FROM log_streams";
const LOG: &str = "SELECT pod_name || '/' || container AS name, group_concat(body, '') AS text
    FROM (SELECT * FROM log_streams JOIN log_chunks ON id = stream_id ORDER BY stream_id, seq)
    WHERE pod_name LIKE 'slo-1-%' GROUP BY stream_id";
const TAIL: usize = 14;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let pool = SqlitePool::connect(&url).await?;
    table(&pool, RUNS).await?;
    table(&pool, STEPS).await?;
    let counts: String = sqlx::query_scalar(LINES).fetch_one(&pool).await?;
    println!("{counts}\n");
    for row in sqlx::query(LOG).fetch_all(&pool).await? {
        let (name, text): (String, String) = (row.get(0), row.get(1));
        println!("the end of {name}, {} lines:", text.lines().count());
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            println!("  │ {line}");
        }
    }
    println!();
    pool.close().await;
    Ok(())
}

async fn table(pool: &SqlitePool, query: &'static str) -> anyhow::Result<()> {
    let rows = sqlx::query(query).fetch_all(pool).await?;
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let header: Vec<String> = first
        .columns()
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    let cells = |row: &SqliteRow| (0..header.len()).map(|at| row.get(at)).collect();
    let mut lines: Vec<Vec<String>> = vec![header.clone()];
    lines.extend(rows.iter().map(cells));
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max();
    let widths: Vec<usize> = (0..header.len()).filter_map(width).collect();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("  {}", padded.join("  ").trim_end());
    }
    println!();
    Ok(())
}
