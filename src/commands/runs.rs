//! `k6sync runs`

use crate::cli::reading::Runs;

pub(super) async fn run(_: &Runs) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
