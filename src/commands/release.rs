//! `k6sync release`: takes k6sync's finalizers off TestRuns, by hand and without a database.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::progress::Bar;
use super::{output, setup};
use crate::cli::Release as Args;
use crate::cluster::{Cluster, ClusterError, Namespaces, Reach, Release, TestRun};
use crate::config::Config;
use crate::discreet;
use crate::harmless;
use crate::progress::Progress;
use crate::sync_loop::control::Action;

/// TestRuns released at a time.
const CONCURRENCY: usize = 16;
/// A loop has noticed by then that it was switched off.
const LOOP_NOTICES: Duration = Duration::from_secs(3);

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let config = setup::load(&args.common)?;
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout).await?;
    let cluster = cluster.until(Instant::now() + config.cycle_deadline);
    if args.stop {
        stop(&config, &cluster).await?;
    }
    let namespaces = setup::namespaces(&config, &cluster);
    let mut reach = Reach::of(&namespaces);
    let listed = reach.test_runs(&cluster).await?;
    let namespaces = reach.namespaces().clone();
    let closed = reach.out_of_reach();
    for (namespace, error) in &closed {
        tracing::error!("nothing is released in the namespace {namespace}: {error}");
    }
    let unknown = args
        .names
        .iter()
        .find(|name| !listed.items.iter().any(|test_run| &test_run.name == *name));
    // It may be in a namespace that is closed to us.
    if let Some(name) = unknown.filter(|_| closed.is_empty()) {
        bail!(
            "there is no TestRun {} in {}",
            discreet::name(name),
            in_words(&namespaces)
        );
    }
    let is_meant =
        |test_run: &&TestRun| args.names.is_empty() || args.names.contains(&test_run.name);
    let held: Vec<&TestRun> = listed
        .items
        .iter()
        .filter(is_meant)
        .filter(|test_run| test_run.is_held())
        .collect();
    for bad in &listed.malformed {
        tracing::warn!(
            "the TestRun {}/{} can't be read, and is left as it is: {}",
            bad.namespace,
            bad.name,
            bad.problem
        );
    }
    let failed = release(&cluster, &held, config.cycle_deadline).await?;
    if held.is_empty() {
        output::print(&format!("no TestRun is held in {}", in_words(&namespaces)))?;
    }
    let mut problems = Vec::new();
    if failed > 0 {
        problems.push(format!(
            "{failed} of {} TestRuns could not be released; try again",
            held.len()
        ));
    }
    if !closed.is_empty() {
        let names: Vec<&str> = closed.iter().map(|(name, _)| name.as_str()).collect();
        problems.push(format!(
            "TestRuns in {} may still be held; release them as somebody who may",
            names.join(", ")
        ));
    }
    if !problems.is_empty() {
        bail!(problems.join("; "));
    }
    if args.stop {
        tracing::info!(
            "sync is off: k6sync can be uninstalled; `k6sync job start` switches it on again"
        );
    } else if !held.is_empty() {
        tracing::info!(
            "a loop holds active TestRuns again at its next cycle; `k6sync release --stop` switches it off first, as before k6sync is uninstalled"
        );
    }
    Ok(())
}

/// Switches sync off, and waits until a loop has noticed.
async fn stop(config: &Config, cluster: &Cluster) -> anyhow::Result<()> {
    setup::control_map(config, cluster)
        .apply(Action::Stop)
        .await
        .context("cannot switch sync off")?;
    tracing::info!("sync is off");
    sleep(LOOP_NOTICES).await;
    Ok(())
}

/// Releases all of them, and prints what became of each; returns how many could not be released.
async fn release(
    cluster: &Cluster,
    held: &[&TestRun],
    deadline: Duration,
) -> anyhow::Result<usize> {
    let outcomes = stream::iter(0..held.len()).map(|number| async move {
        let TestRun {
            namespace,
            name,
            uid,
            ..
        } = held[number];
        let outcome = cluster
            .release(namespace, name, Some(uid), Release::All)
            .await;
        (held[number], outcome)
    });
    let mut outcomes = outcomes.buffer_unordered(CONCURRENCY);
    let bar = Bar::new("releasing", "TestRuns");
    bar.begin(u64::try_from(held.len()).unwrap_or(0));
    let mut failed = 0;
    while let Some((
        TestRun {
            namespace, name, ..
        },
        outcome,
    )) = outcomes.next().await
    {
        match outcome {
            Ok(()) => {
                let line = harmless::line(format_args!("released {namespace}/{name}"));
                bar.aside(|| output::print(&line))?;
            }
            Err(error) => {
                failed += 1;
                let error = match error {
                    ClusterError::DeadlineOver { .. } => {
                        format!("it was not done within {deadline:?} (kubernetes.cycleDeadline)")
                    }
                    error => error.to_string(),
                };
                tracing::error!("cannot release the TestRun {namespace}/{name}: {error}");
            }
        }
        bar.advance(1);
    }
    Ok(failed)
}

fn in_words(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::All => "any namespace".to_owned(),
        Namespaces::Only(names) => names.join(", "),
    }
}
