//! `k6sync compare`

use crate::cli::reading::Compare;

pub(super) async fn run(_: &Compare) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
