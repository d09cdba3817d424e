//! `k6sync verify`: compares logs with their record.

use anyhow::bail;

use crate::cli::{OutputFormat, Verify};
use crate::cluster::Cluster;
use crate::store::Store;
use crate::verify::{self, Verdict};

pub(super) async fn run(args: &Verify) -> anyhow::Result<()> {
    let config = super::load(&args.common)?;
    let cluster = Cluster::connect(config.context.as_deref(), config.request_timeout).await?;
    let namespaces = super::namespaces(&config, &cluster);
    // Opened as for a dry run: nothing is written.
    let store = Store::open(&config.database_url, true).await?;
    let verified = async {
        store.check_or_imagine_schema().await?;
        verify::run(
            &cluster,
            &store,
            &namespaces,
            args.run.as_deref(),
            config.capture_concurrency,
        )
        .await
    }
    .await;
    store.close().await;
    let verification = match verified {
        Ok(verification) => verification,
        // The cause alone, so that the exit code can be told by its type.
        Err(verify::VerifyError::Cluster(error)) => return Err(error.into()),
        Err(error) => return Err(error.into()),
    };
    match args.output {
        OutputFormat::Text => super::print(&verification.to_string())?,
        OutputFormat::Json => super::print_json(&verification)?,
    }
    if verification.outcome == Verdict::Differs {
        bail!("the record is not what the logs say");
    }
    Ok(())
}
