//! One file a subcommand. Each puts rooms together and prints; none decides anything.

mod job;
mod migrate;
mod progress;
mod prune;
mod release;
mod run_loop;
mod sync_once;
mod verify;

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{Cli, Command, Common, HoldMode};
use crate::cluster::{Cluster, ClusterError, Namespaces};
use crate::config::{self, Config, ConfigError};
use crate::cycle::{Effect, Holding, Settings};
use crate::harmless;
use crate::server::tls::TlsError;
use crate::signals::Signals;
use crate::store::{Store, StoreError};
use crate::sync_loop::control::ControlMap;
use crate::telemetry;

/// It could not be completed.
const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const EXIT_WRONG: u8 = 2;

/// Runs what the command line says, and tells how it went by the exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let common = match &cli.command {
        Command::SyncOnce(args) => &args.common,
        Command::Loop(args) => &args.common,
        Command::Job(args) => &args.common,
        Command::Migrate(args) => &args.common,
        Command::Release(args) => &args.common,
        Command::Verify(args) => &args.common,
        Command::Prune(args) => &args.common,
    };
    let environment = config::process_environment;
    telemetry::start(
        config::log_format(common),
        config::log_filter(&environment).as_deref(),
    );
    match execute(&cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

async fn execute(command: &Command) -> anyhow::Result<()> {
    let signals = Signals::new()?;
    // The loop ends in good order; whatever else is at work just ends.
    if let Command::Loop(args) = command {
        return run_loop::run(args, signals).await;
    }
    signals.end_the_process();
    match command {
        Command::SyncOnce(args) => sync_once::run(args).await,
        Command::Loop(_) => Ok(()),
        Command::Job(args) => job::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Release(args) => release::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Prune(args) => prune::run(args).await,
    }
}

fn load(common: &Common) -> Result<Config, ConfigError> {
    Config::load(common, &config::process_environment)
}

/// The database, open and of our schema.
async fn open_store(config: &Config, no_migrate: bool, dry_run: bool) -> Result<Store, StoreError> {
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
fn must_exist(config: &Config) -> anyhow::Result<()> {
    let file = config.database_url.sqlite_file();
    anyhow::ensure!(
        file.is_none_or(|file| file.exists()),
        "there is no database {}; check --database-url, DATABASE_URL or databaseUrl",
        config.database_url
    );
    Ok(())
}

/// The control ConfigMap, where the configuration says it is.
fn control_map(config: &Config, cluster: &Cluster) -> ControlMap {
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
fn settings(config: &Config, cluster: &Cluster, trigger: &'static str, dry_run: bool) -> Settings {
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
fn namespaces(config: &Config, cluster: &Cluster) -> Namespaces {
    let own = || Namespaces::Only(vec![cluster.default_namespace().to_owned()]);
    config.namespaces.clone().unwrap_or_else(own)
}

/// What another try could mend is 1, what only a person can is 2.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_wrong = error.is::<ConfigError>()
        || error.is::<TlsError>()
        || matches!(error.downcast_ref(), Some(ClusterError::Config(_)));
    match is_wrong {
        true => EXIT_WRONG,
        false => EXIT_FAILED,
    }
}

/// A value as JSON on standard output, harmless to terminals.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&harmless::json(&serde_json::to_string(value)?))
}

/// One line, or several, on standard output.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}").context("cannot write the report to standard output")
}
