//! `k6sync release`: takes the finalizer off TestRuns, by hand and without a database.

use anyhow::bail;

use crate::cli::Release;
use crate::cluster::{Cluster, Namespaces, TestRun};
use crate::harmless;

pub(super) async fn run(args: &Release) -> anyhow::Result<()> {
    let config = super::load(&args.common)?;
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout).await?;
    let namespaces = super::namespaces(&config, &cluster);
    let listed = cluster.test_runs(&namespaces).await?;
    let unknown = args
        .names
        .iter()
        .find(|name| !listed.items.iter().any(|test_run| &test_run.name == *name));
    if let Some(name) = unknown {
        bail!("there is no TestRun {name} in {}", in_words(&namespaces));
    }
    let is_meant =
        |test_run: &&TestRun| args.names.is_empty() || args.names.contains(&test_run.name);
    let held: Vec<&TestRun> = listed
        .items
        .iter()
        .filter(is_meant)
        .filter(|test_run| test_run.is_held())
        .collect();
    if held.is_empty() {
        return super::print(&format!("no TestRun is held in {}", in_words(&namespaces)));
    }
    let mut failed = 0;
    for TestRun {
        namespace,
        name,
        uid,
        ..
    } in held
    {
        match cluster.release(namespace, name, Some(uid)).await {
            Ok(()) => super::print(&harmless::line(format_args!("released {namespace}/{name}")))?,
            Err(error) => {
                failed += 1;
                tracing::error!(%error, "cannot release the TestRun {namespace}/{name}");
            }
        }
    }
    match failed {
        0 => {
            tracing::info!(
                "a loop that runs with --hold holds active TestRuns again at its next cycle; `k6sync job stop` first prevents it"
            );
            Ok(())
        }
        failed => bail!("{failed} TestRuns could not be released"),
    }
}

fn in_words(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::All => "any namespace".to_owned(),
        Namespaces::Only(names) => names.join(", "),
    }
}
