//! `k6sync show`

use crate::cli::reading::Show;

pub(super) async fn run(_: &Show) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
