//! `k6sync migrate`: for those who migrate apart from syncing.

use crate::cli::Migrate;
use crate::store::Store;

pub(super) async fn run(args: &Migrate) -> anyhow::Result<()> {
    let config = super::load(&args.common)?;
    let store = Store::open(&config.database_url, false).await?;
    let version = store.migrate().await;
    store.close().await;
    let version = version?;
    super::print(&format!(
        "the database {} has schema version {version}",
        config.database_url
    ))
}
