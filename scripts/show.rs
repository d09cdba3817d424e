//! Shows what a dashboard would, from the SQLite database in the environment's `DATABASE_URL`: runs, steps and the end of a log,
//! or with the argument `results` what k6 measured. For `scripts/demo.sh`, so that it needs no SQL client.

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
const RESULTS: &str = "SELECT name AS run, verdict, runners_reported || ' of ' || runners AS runners,
    coalesce(CAST(CAST(requests AS INTEGER) AS TEXT), '-') AS requests,
    CASE WHEN error_rate_high IS NULL THEN '-' ELSE printf('%.1f %%', error_rate_high * 100) END AS errors,
    CASE WHEN p95_low IS NULL THEN '-' WHEN p95_low = p95_high THEN printf('%.2f ms', p95_low)
         ELSE printf('%.2f to %.2f ms', p95_low, p95_high) END AS \"p95 over all runners\"
    FROM runs_v WHERE runners_reported > 0 ORDER BY run_id";
const THRESHOLDS: &str = "SELECT step.name AS step, metric || ': ' || expression AS threshold,
    CASE failed WHEN 0 THEN 'held' ELSE 'failed on ' || failed || ' of ' || runners END AS judged
    FROM step_thresholds JOIN test_run_steps step ON step.id = step_id ORDER BY failed = 0, step.id, metric LIMIT 10";
const CHECKS: &str = "SELECT step.name AS step, replace(substr(coalesce(path, '::' || step_checks.name), 3), '::', ' › ') AS \"check\",
    coalesce(CAST(passes AS TEXT), '-') AS passes, CAST(fails AS TEXT) AS fails
    FROM step_checks JOIN test_run_steps step ON step.id = step_id ORDER BY fails = 0, step.id LIMIT 10";
const TAIL: usize = 14;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let pool = SqlitePool::connect(&url).await?;
    if std::env::args().any(|argument| argument == "results") {
        for query in [RESULTS, THRESHOLDS, CHECKS] {
            table(&pool, query).await?;
        }
        pool.close().await;
        return Ok(());
    }
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
