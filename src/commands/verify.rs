//! `k6sync verify`: compares the record with logs and with its own hashes.

use anyhow::bail;

use super::progress::Bar;
use super::{output, setup};
use crate::cli::{OutputFormat, Verify};
use crate::cluster::{Cluster, Namespaces};
use crate::config::Config;
use crate::cycle::{RunError, identity};
use crate::store::Store;
use crate::verify::{self, Live, Scope, Verdict, Verification, VerifyError};

pub(super) async fn run(args: &Verify) -> anyhow::Result<()> {
    let config = setup::load(&args.common)?;
    let cluster = match args.offline {
        true => None,
        false => Some(Cluster::connect(config.context.as_deref(), config.request_timeout).await?),
    };
    setup::must_exist(&config)?;
    // Opened as for a dry run: nothing is written.
    let store = Store::open(&config.database_url, true).await?;
    let verified = verify(args, &config, cluster.as_ref(), &store).await;
    store.close().await;
    let verification = match verified {
        Ok(verification) => verification,
        // The cause alone, so that the exit code can be told by its type.
        Err(VerifyError::Cluster(error)) => return Err(error.into()),
        Err(error) => return Err(error.into()),
    };
    match args.output {
        OutputFormat::Text => output::print(&verification.to_string())?,
        OutputFormat::Json => output::print_json(&verification)?,
    }
    match (verification.outcome, args.offline) {
        (Verdict::Equal, _) => Ok(()),
        (Verdict::Nothing, true) => bail!(
            "nothing was verified: {} has no recorded container{}; is it the right database?",
            config.database_url,
            if args.run.is_some() {
                " of that run"
            } else {
                ""
            }
        ),
        (Verdict::Nothing, false) => bail!(
            "nothing was verified: the cluster shows no pod of a TestRun that {} could have; are --namespace, --context and the database right? `--offline` verifies the record of pods that are gone",
            config.database_url
        ),
        _ => bail!("the record is not what the logs say, or not what was stored"),
    }
}

async fn verify(
    args: &Verify,
    config: &Config,
    cluster: Option<&Cluster>,
    store: &Store,
) -> Result<Verification, VerifyError> {
    store.check_schema().await?;
    let live = match cluster {
        Some(cluster) => {
            let settings = setup::settings(config, cluster, "verify", true);
            let identity = identity::identify(cluster, store, &settings)
                .await
                .map_err(|error| match error {
                    RunError::Cluster(error) => VerifyError::Cluster(error),
                    RunError::Store(error) => VerifyError::Store(error),
                    other => VerifyError::OtherCluster(other.to_string()),
                })?;
            Some(Live {
                cluster,
                scope: scope(config, cluster),
                id: identity.map(|identity| identity.id),
            })
        }
        None => None,
    };
    let bar = Bar::new("verifying", "container logs");
    let run = args.run.as_deref();
    verify::run(store, live, run, config.capture_concurrency, &bar).await
}

fn scope(config: &Config, cluster: &Cluster) -> Scope {
    let namespaces = setup::namespaces(config, cluster);
    Scope {
        default_namespace: match &namespaces {
            Namespaces::Only(names) if names.len() == 1 => names[0].clone(),
            _ => cluster.default_namespace().to_owned(),
        },
        namespaces,
        discovery: config.discovery,
    }
}
