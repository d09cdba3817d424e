//! `k6sync sync-once`: one cycle, then exit.

use anyhow::Context;
use tokio::time::Instant;

use super::{output, setup};
use crate::cli::{OutputFormat, SyncOnce};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::cycle::{self, Report, RunError};
use crate::store::StoreError;

pub(super) async fn run(args: &SyncOnce) -> anyhow::Result<()> {
    let mut config = setup::load(&args.common)?;
    config.capture_hold = args.hold.or(config.capture_hold);
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout).await?;
    if !args.force && !is_enabled(&config, &cluster).await? {
        tracing::info!("K6 steps sync is disabled");
        if !args.dry_run && has_database(&config) {
            release_all(&config, &cluster, args.no_migrate).await?;
        }
        return print(&Report::disabled(), args.output);
    }
    let store = setup::open_store(&config, args.no_migrate, args.dry_run).await?;
    let settings = setup::settings(&config, &cluster, "sync-once", args.dry_run);
    let report = cycle::run(&cluster, &store, &settings).await;
    store.close().await;
    match report {
        Ok(report) => print(&report, args.output),
        // The cause alone, so that the exit code can be told by its type.
        Err(RunError::Cluster(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

/// A missing file is not made to find that it holds nothing.
fn has_database(config: &Config) -> bool {
    config
        .database_url
        .sqlite_file()
        .is_none_or(|file| file.exists())
}

/// Nothing is read any more, so that nothing is to be held.
async fn release_all(config: &Config, cluster: &Cluster, no_migrate: bool) -> anyhow::Result<()> {
    let store = match setup::open_store(config, true, false).await {
        // Nobody has been here yet.
        Err(StoreError::SchemaOlder { found: 0, .. }) => return Ok(()),
        Err(StoreError::SchemaOlder { .. }) => setup::open_store(config, no_migrate, false).await?,
        opened => opened?,
    };
    let settings = setup::settings(config, cluster, "sync-once", false);
    let released = cycle::hold::release_all(cluster, &store, &settings).await;
    store.close().await;
    released.context("cannot release the TestRuns that are held")?;
    Ok(())
}

/// What people have set at runtime.
async fn is_enabled(config: &Config, cluster: &Cluster) -> anyhow::Result<bool> {
    let control = setup::control_map(config, cluster)
        .until(Instant::now() + config.cycle_deadline)
        .read()
        .await
        .context("cannot tell whether sync is switched on (--force does not ask)")?;
    Ok(control.enabled)
}

fn print(report: &Report, format: OutputFormat) -> anyhow::Result<()> {
    match format {
        OutputFormat::Text => output::print(&report.to_string()),
        OutputFormat::Json => output::print_json(report),
    }
}
