//! `k6sync sync-once`: one cycle, then exit.

use anyhow::Context;

use crate::cli::{OutputFormat, SyncOnce};
use crate::cluster::{Cluster, Namespaces};
use crate::config::Config;
use crate::control::Control;
use crate::cycle::{self, Report, RunError, Settings};
use crate::store::Store;

pub(super) async fn run(args: &SyncOnce) -> anyhow::Result<()> {
    let config = super::load(&args.common)?;
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout).await?;
    if !args.force && !is_enabled(&config, &cluster).await? {
        tracing::info!("K6 steps sync is disabled");
        return print(&Report::disabled(), args.output);
    }
    let store = Store::open(&config.database_url, args.dry_run).await?;
    let report = sync(&config, &cluster, &store, args).await;
    store.close().await;
    print(&report?, args.output)
}

async fn sync(
    config: &Config,
    cluster: &Cluster,
    store: &Store,
    args: &SyncOnce,
) -> anyhow::Result<Report> {
    match (args.dry_run, args.no_migrate) {
        (true, _) => store.check_or_imagine_schema().await?,
        (false, true) => store.check_schema().await?,
        (false, false) => {
            store.migrate().await?;
        }
    }
    let settings = settings(config, cluster, args.dry_run);
    match cycle::run(cluster, store, &settings).await {
        Ok(report) => Ok(report),
        Err(RunError::Cluster(error)) => Err(error.into()),
        Err(RunError::Store(error)) => Err(error.into()),
        Err(error @ RunError::Overdue(_)) => Err(error.into()),
    }
}

/// What people have set at runtime.
async fn is_enabled(config: &Config, cluster: &Cluster) -> anyhow::Result<bool> {
    let namespace = config
        .control_namespace
        .as_deref()
        .unwrap_or_else(|| cluster.default_namespace());
    let data = cluster
        .until(tokio::time::Instant::now() + config.cycle_deadline)
        .config_map(namespace, &config.control_config_map)
        .await
        .context("cannot tell whether sync is switched on (--force does not ask)")?;
    let (control, warnings) = Control::resolve(data.as_ref(), config.control_defaults);
    for warning in warnings {
        tracing::warn!(
            "ConfigMap {namespace}/{}: {warning}",
            config.control_config_map
        );
    }
    Ok(control.enabled)
}

fn settings(config: &Config, cluster: &Cluster, dry_run: bool) -> Settings {
    let own = cluster.default_namespace();
    let namespaces = config
        .namespaces
        .clone()
        .unwrap_or_else(|| Namespaces::Only(vec![own.to_owned()]));
    let default_namespace = match &namespaces {
        Namespaces::Only(names) if names.len() == 1 => names[0].clone(),
        _ => own.to_owned(),
    };
    Settings {
        namespaces,
        default_namespace,
        discovery: config.discovery,
        missing_after: config.missing_after,
        deadline: config.cycle_deadline,
        concurrency: config.capture_concurrency,
        dry_run,
        trigger: "sync-once",
        instance: config.instance.clone(),
    }
}

fn print(report: &Report, format: OutputFormat) -> anyhow::Result<()> {
    match format {
        OutputFormat::Text => super::print(&report.to_string()),
        OutputFormat::Json => super::print(&serde_json::to_string(report)?),
    }
}
