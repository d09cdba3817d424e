//! What the command line and the configuration ask for, as the rooms want it: a database that is open, the settings of a
//! cycle, the control ConfigMap.

use std::path::PathBuf;

use crate::cli::{Common, HoldMode};
use crate::cluster::{Cluster, Namespaces};
use crate::config::{self, Config, ConfigError};
use crate::cycle::{Effect, Holding, Settings};
use crate::store::{Store, StoreError};
use crate::sync_loop::control::ControlMap;

/// Where the manifests mount the configuration of the pod.
const CONFIG_IN_POD: &str = "/etc/k6sync/config.yaml";

pub(super) fn load(common: &Common) -> Result<Config, ConfigError> {
    let in_pod = PathBuf::from(CONFIG_IN_POD);
    match common.remote.is_some() && common.config.is_none() && in_pod.exists() {
        true => {
            let common = Common {
                config: Some(in_pod),
                ..common.clone()
            };
            Config::load(&common, &config::process_environment)
        }
        false => Config::load(common, &config::process_environment),
    }
}

/// The database, open and of our schema.
pub(super) async fn open_store(
    config: &Config,
    no_migrate: bool,
    dry_run: bool,
) -> Result<Store, StoreError> {
    let store = Store::open(&config.database_url, dry_run).await?;
    let ready = match (dry_run, no_migrate) {
        (true, _) => store.check_or_imagine_schema().await,
        (false, true) => store.check_schema().await,
        (false, false) => store.migrate().await.map(|_| ()),
    };
    match ready {
        Ok(()) => Ok(store),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// Of what is only to be read or thinned out, a missing file is no empty database.
pub(super) fn must_exist(config: &Config) -> anyhow::Result<()> {
    let file = config.database_url.sqlite_file();
    anyhow::ensure!(
        file.is_none_or(|file| file.exists()),
        "there is no database {}; check --database-url, DATABASE_URL or databaseUrl",
        config.database_url
    );
    Ok(())
}

/// The control ConfigMap, where the configuration says it is.
pub(super) fn control_map(config: &Config, cluster: &Cluster) -> ControlMap {
    let namespace = config
        .control_namespace
        .as_deref()
        .unwrap_or_else(|| cluster.default_namespace());
    ControlMap::new(
        cluster.clone(),
        namespace,
        &config.control_config_map,
        config.control_defaults,
    )
}

/// How cycles are to be run.
pub(super) fn settings(
    config: &Config,
    cluster: &Cluster,
    trigger: &'static str,
    dry_run: bool,
) -> Settings {
    let own = cluster.default_namespace();
    let namespaces = namespaces(config, cluster);
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
        // After a sync by hand nobody knows when the next one comes.
        may_rest: false,
        effect: match dry_run {
            true => Effect::DryRun,
            false => Effect::Full(match config.capture_hold {
                Some(HoldMode::All) => Holding::All,
                Some(HoldMode::Cleanup) => Holding::Cleanup,
                Some(HoldMode::None) => Holding::Nothing,
                // Said by nobody, so that a sync by hand leaves alone what a loop holds.
                None => Holding::Unsaid,
            }),
        },
        hold_timeout: config.capture_hold_timeout,
        cluster: None,
        trigger,
        instance: config.instance.clone(),
    }
}

/// The namespaces that are set, or our own.
pub(super) fn namespaces(config: &Config, cluster: &Cluster) -> Namespaces {
    let own = || Namespaces::Only(vec![cluster.default_namespace().to_owned()]);
    config.namespaces.clone().unwrap_or_else(own)
}
