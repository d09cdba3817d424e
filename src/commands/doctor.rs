//! `k6sync doctor`

use crate::cli::reading::Doctor;

pub(super) async fn run(_: &Doctor) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
