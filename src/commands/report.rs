//! `k6sync report`

use crate::cli::reading::Report;

pub(super) async fn run(_: &Report) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
