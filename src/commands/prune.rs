//! `k6sync prune`: deletes old logs and cycles, a little at a time, so that syncs never wait long for it.

use anyhow::Context;
use jiff::Timestamp;

use super::progress::Bar;
use super::{output, setup};
use crate::cli::Prune;
use crate::progress::Progress;
use crate::store::{Prunable, Store};

pub(super) async fn run(args: &Prune) -> anyhow::Result<()> {
    let config = setup::load(&args.common)?;
    let before = Timestamp::now()
        .checked_sub(args.older_than)
        .context("--older-than reaches back too far")?;
    setup::must_exist(&config)?;
    let store = Store::open(&config.database_url, args.dry_run).await?;
    let pruned = prune(&store, before, args).await;
    store.close().await;
    let Prunable {
        logs,
        bytes,
        cycles,
    } = pruned?;
    let done = match args.dry_run {
        true => "would delete",
        false => "deleted",
    };
    output::print(&format!(
        "{done} {logs} container logs ({bytes} bytes) of runs that finished before {before:.0}, and {cycles} cycles"
    ))
}

async fn prune(store: &Store, before: Timestamp, args: &Prune) -> anyhow::Result<Prunable> {
    store.check_or_imagine_schema().await?;
    let keep_last = i64::from(args.keep_last);
    let prunable = store.prunable(before, keep_last).await?;
    if !args.dry_run {
        let bar = Bar::new("pruning", "container logs and cycles");
        bar.begin(u64::try_from(prunable.logs + prunable.cycles).unwrap_or(0));
        while let Some(logs) = store.prune_logs(before, keep_last).await? {
            bar.advance(logs);
        }
        while let Some(cycles) = store.prune_cycles(before).await? {
            bar.advance(cycles);
        }
    }
    Ok(prunable)
}
