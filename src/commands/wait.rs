//! `k6sync wait`

use crate::cli::reading::Wait;
use crate::signals::Signals;

pub(super) async fn run(_: &Wait, _: Signals) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
