//! `k6sync migrate`: for those who migrate apart from syncing, for the first sync of another cluster, and for copies.

use anyhow::bail;
use tokio::time::Instant;

use super::progress::Bar;
use super::{output, setup};
use crate::cli::Migrate;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::cycle::{identity, results};
use crate::discreet;
use crate::store::{Registration, Store};

pub(super) async fn run(args: &Migrate) -> anyhow::Result<()> {
    let config = setup::load(&args.common)?;
    if args.new_identity {
        setup::must_exist(&config)?;
    }
    let store = Store::open(&config.database_url, false).await?;
    let done = migrate(args, &config, &store).await;
    store.close().await;
    output::print(&done?)
}

/// What was done, in lines.
async fn migrate(args: &Migrate, config: &Config, store: &Store) -> anyhow::Result<String> {
    let version = store
        .migrate_watched(&Bar::new("migrating", "migrations"))
        .await?;
    let mut migrated = format!(
        "the database {} has schema version {version}",
        config.database_url
    );
    let logs = results::without_results(store).await?;
    if logs > 0 {
        migrated.push_str(&format!(
            "\n{logs} recorded logs of runners were not read for what k6 measured: `k6sync results rebuild` does"
        ));
    }
    if args.new_identity {
        let (id, held) = store.renew_identity().await?;
        return Ok(format!(
            "{migrated}\nand is a database of its own from now on: its id is {id}, and {held} steps are marked as not held, since their holds are the original's"
        ));
    }
    let same;
    let registration = match &args.same_cluster {
        Some(id) => {
            same = known_cluster(store, id).await?;
            Registration::Same(&same)
        }
        None if args.new_cluster => Registration::Another,
        None => return Ok(migrated),
    };
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout)
        .await?
        .until(Instant::now() + config.cycle_deadline);
    let namespaces = setup::namespaces(config, &cluster);
    let id = identity::register(&cluster, store, &namespaces, registration).await?;
    Ok(format!(
        "{migrated}\nand knows the cluster at {} as {id}",
        cluster.url()
    ))
}

/// The cluster of this id, or the only one if no id is given.
async fn known_cluster(store: &Store, id: &str) -> anyhow::Result<String> {
    let mut ids: Vec<String> = store
        .known_namespaces()
        .await?
        .into_iter()
        .map(|known| known.cluster)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    match (id, ids.as_slice()) {
        (_, []) => bail!("the database knows no cluster yet: the next sync makes this one known"),
        ("", [only]) => Ok(only.clone()),
        ("", _) => bail!(
            "the database knows several clusters; say which one this is by --same-cluster=ID, one of {}",
            ids.join(", ")
        ),
        (id, known) if known.iter().any(|known| known == id) => Ok(id.to_owned()),
        (id, _) => bail!(
            "the database knows no cluster {}; --same-cluster=ID takes one of {}",
            discreet::name(id),
            ids.join(", ")
        ),
    }
}
