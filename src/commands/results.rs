//! `k6sync results`: what k6 measured, read again from the stored logs.

use anyhow::ensure;

use super::progress::Bar;
use super::{output, setup};
use crate::cli::{Results, ResultsAction};
use crate::cycle::results::{self, Sources};
use crate::discreet;
use crate::store::Store;

pub(super) async fn run(args: &Results) -> anyhow::Result<()> {
    let config = setup::load(&args.common)?;
    setup::must_exist(&config)?;
    let store = Store::open(&config.database_url, false).await?;
    let rebuilt = rebuild(&args.action, &store).await;
    store.close().await;
    output::print(&in_words(&rebuilt?))
}

async fn rebuild(action: &ResultsAction, store: &Store) -> anyhow::Result<Sources> {
    let ResultsAction::Rebuild { run, all } = action;
    store.check_schema().await?;
    let runs = match run {
        Some(run) => {
            let runs = store.find_runs(run).await?;
            ensure!(
                !runs.is_empty(),
                "no test run has the id, the external_id or the name `{}`",
                discreet::name(run)
            );
            Some(runs)
        }
        None => None,
    };
    let again = *all || runs.is_some();
    let bar = Bar::new("reading", "runners' logs");
    Ok(results::rebuild(store, runs.as_deref(), again, &bar).await?)
}

fn in_words(sources: &Sources) -> String {
    let count: u64 = sources.values().sum();
    if count == 0 {
        return "no log was read: all that are there have been read by this version or a newer one"
            .to_owned();
    }
    let each: Vec<String> = sources
        .iter()
        .map(|(source, count)| format!("{count} {source}"))
        .collect();
    format!(
        "read {count} runners' logs for results: {}",
        each.join(", ")
    )
}
