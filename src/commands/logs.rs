//! `k6sync logs`

use crate::cli::reading::Logs;

pub(super) async fn run(_: &Logs) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
