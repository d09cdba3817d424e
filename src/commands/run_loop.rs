//! `k6sync loop`: the cycle every N seconds, until told to stop, with an HTTP server beside it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use super::setup;
use crate::cli::Loop;
use crate::cluster::Cluster;
use crate::config::{self, Config};
use crate::cycle::{Effect, Holding, Settings};
use crate::server;
use crate::server::Services;
use crate::server::auth::Authorizer;
use crate::server::door::Door;
use crate::server::door::rights::Rights;
use crate::server::door::session::{CookieKey, Sessions};
use crate::server::job_api::JobApi;
use crate::server::look::House;
use crate::server::pages::JobPart;
use crate::server::source::Source;
use crate::server::tls::Tls;
use crate::signals::Signals;
use crate::sync_loop::{self, Plan, SyncLoop};

/// What people wait for must not wait for a connection that has died: an attempt that is not answered by then is given up.
const PATIENCE: Duration = Duration::from_millis(400);

pub(super) async fn run(args: &Loop, mut signals: Signals) -> anyhow::Result<()> {
    let mut config = setup::load(&args.common)?;
    config.capture_hold = args.hold.or(config.capture_hold);
    let tls = load_tls(args, &config)?;
    let listen = args.listen.unwrap_or(config.listen);
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; choose another address by --listen")
    })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{}", listener.local_addr()?);
    let cluster = tokio::select! {
        cluster = Cluster::connect(config.context.as_deref(), config.request_timeout) => cluster?,
        stop = signals.next() => {
            sync_loop::broken_off(stop);
            return Ok(());
        }
    };
    let swift = cluster.with_own_connections(PATIENCE);
    let control = setup::control_map(&config, &swift);
    let plan = Plan {
        settings: settings(&config, &cluster),
        control: control.clone(),
        control_defaults: config.control_defaults,
        request_timeout: config.request_timeout,
        lease: config.lease.clone(),
        shutdown_grace: config.shutdown_grace,
    };
    let synced = plan.settings.namespaces.clone();
    let mut sync_loop = SyncLoop::new(plan, cluster, swift.clone());
    let state = sync_loop.state();
    let source = Arc::new(Source::of_loop(Arc::clone(&state.readiness)));
    let rights = Rights::new(
        Arc::clone(&source),
        (
            control.namespace().to_owned(),
            config.control_config_map.clone(),
        ),
        synced,
        config.auth_clusters.clone(),
    );
    let authorizer = Arc::new(Authorizer::new(
        swift,
        rights,
        config.api_key.clone(),
        config.auth_audiences.clone(),
    ));
    let door = door(&config, Arc::clone(&authorizer), tls.is_some());
    let services = Services {
        job: JobPart {
            control: control.clone(),
            leadership: state.leadership.clone(),
            instance: config.instance.clone(),
        },
        job_api: JobApi::new(control, authorizer),
        house: House {
            door: Arc::new(door),
            source,
        },
        followers: config.max_followers,
    };
    sync_loop.beside("the HTTP server", |stopped| async move {
        let stopped = async {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        };
        if let Err(error) = server::serve(listener, tls, state, services, stopped).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    let open = async || setup::open_store(&config, args.no_migrate, false).await;
    Ok(sync_loop.run(open, &mut signals).await?)
}

/// How cycles are to be run; a loop holds what would be gone before the next cycle, unless somebody wants it otherwise.
fn settings(config: &Config, cluster: &Cluster) -> Settings {
    let settings = setup::settings(config, cluster, "loop", false);
    Settings {
        effect: match settings.effect {
            Effect::Full(Holding::Unsaid) => Effect::Full(Holding::CleanupIfAllowed),
            said => said,
        },
        ..settings
    }
}

/// The certificate, if there is to be TLS.
fn load_tls(args: &Loop, config: &Config) -> anyhow::Result<Option<Tls>> {
    let cert = args.tls_cert.clone().or_else(|| config.tls_cert.clone());
    let key = args.tls_key.clone().or_else(|| config.tls_key.clone());
    let files = config::tls_files(cert, key)?;
    Ok(files.map(Tls::load).transpose()?)
}

/// Who may see what, by the rights that the cluster gives.
fn door(config: &Config, authorizer: Arc<Authorizer>, has_tls: bool) -> Door {
    let key = config.cookie_key.clone().unwrap_or_else(|| {
        tracing::info!(
            "K6_SYNC_COOKIE_KEY is not set: sessions in browsers end with this process, and are good with this replica alone"
        );
        CookieKey::random()
    });
    Door {
        authorizer,
        sessions: Sessions::new(&key, has_tls || config.cookie_secure),
        proxies: config.proxies.clone(),
        api_key_may_read: config.api_key_may_read,
    }
}
