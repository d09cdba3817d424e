//! Which cluster this is, by the uids of its namespaces: a record belongs to the cluster that it was made of.
//!
//! The cycle asks here before it does anything else, since whoever takes one cluster for another finds all running tests
//! vanished. The namespaces that are synced identify it, and `kube-system` where it may be read; any that is known will do.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cluster::{Cluster, ClusterError, Namespaces, Reach};
use crate::store::{KnownNamespace, Registration, SeenNamespace, Store};

use super::error::RunError;
use super::settings::Settings;

/// Every cluster has it, and it is never made anew.
const KUBE_SYSTEM: &str = "kube-system";

/// A cluster that the database knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `clusters.id`
    pub id: String,
    /// All uids by which it is known; steps may name it by any of them.
    pub uids: HashSet<String>,
}

/// Finds out which cluster this is, and notes what is new of it; `None`: its namespaces' uids are not to be seen.
///
/// # Errors
/// [`RunError::OtherCluster`] if the database knows only others: nothing is written then.
pub(crate) async fn identify(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
) -> Result<Option<Identity>, RunError> {
    let known = store.known_namespaces().await?;
    let mut seen = Vec::new();
    let mut found = None;
    for name in own_namespaces(&settings.namespaces) {
        seen.extend(see(cluster, name).await?);
        found = find(&known, &seen);
        if found.is_some() {
            break;
        }
    }
    let is_new = |name: &&str| {
        !known.iter().any(|known| {
            Some(known.cluster.as_str()) == found.as_deref() && known.namespace == **name
        })
    };
    let wanted = own_namespaces(&settings.namespaces).chain([KUBE_SYSTEM]);
    for name in wanted.filter(is_new) {
        if !seen.iter().any(|seen| seen.namespace == name) {
            seen.extend(see(cluster, name).await?);
        }
    }
    if seen.is_empty() {
        return Ok(None);
    }
    let found = found.or_else(|| find(&known, &seen));
    let is_known = |seen: &SeenNamespace| known.iter().any(|known| known.uid == seen.uid);
    let id = match found {
        Some(id) if settings.is_dry_run() || seen.iter().all(is_known) => id,
        Some(id) => note(store, &seen, Registration::Same(&id))
            .await?
            .unwrap_or(id),
        None => {
            let registration = match may_register(cluster, store, settings, &known, &seen).await? {
                true if known.is_empty() => Registration::First,
                true => Registration::Another,
                false => return Err(other(cluster, store, &known, &seen)),
            };
            match settings.is_dry_run() {
                true => seen[0].uid.clone(),
                false => match note(store, &seen, registration).await? {
                    Some(id) => id,
                    // Another cluster was faster.
                    None => {
                        return Err(other(
                            cluster,
                            store,
                            &store.known_namespaces().await?,
                            &seen,
                        ));
                    }
                },
            }
        }
    };
    let uids = known
        .into_iter()
        .filter(|known| known.cluster == id)
        .map(|known| known.uid)
        .chain(seen.into_iter().map(|seen| seen.uid))
        .collect();
    Ok(Some(Identity { id, uids }))
}

/// All ids by which steps may name this cluster, as far as it can be told; notes nothing. None: its namespaces' uids are not to
/// be seen.
///
/// # Errors
/// [`ClusterError`]
pub(crate) async fn recognize(
    cluster: &Cluster,
    known: &[KnownNamespace],
    namespaces: &Namespaces,
) -> Result<HashSet<String>, ClusterError> {
    let mut seen = Vec::new();
    for name in own_namespaces(namespaces).chain([KUBE_SYSTEM]) {
        seen.extend(see(cluster, name).await?);
        if let Some(id) = find(known, &seen) {
            let uids = known.iter().filter(|known| known.cluster == id);
            let uids = uids.map(|known| known.uid.clone());
            let seen = seen.into_iter().map(|seen| seen.uid);
            return Ok(uids.chain(seen).chain([id.clone()]).collect());
        }
    }
    Ok(seen.into_iter().map(|seen| seen.uid).collect())
}

/// Makes this cluster known, for `k6sync migrate --new-cluster` and `--same-cluster`; returns its id.
///
/// # Errors
/// [`RunError::Cluster`] if not one of its namespaces may be read.
pub(crate) async fn register(
    cluster: &Cluster,
    store: &Store,
    namespaces: &Namespaces,
    registration: Registration<'_>,
) -> Result<String, RunError> {
    let mut seen = Vec::new();
    let mut refusal = None;
    for name in own_namespaces(namespaces).chain([KUBE_SYSTEM]) {
        match cluster.namespace_uid(name).await {
            Ok(uid) => seen.push(seen_namespace(name, uid)),
            Err(error) => drop(refusal.get_or_insert(error)),
        }
    }
    match (store.note_cluster(&seen, registration).await?, refusal) {
        (Some(id), _) => Ok(id),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(other(
            cluster,
            store,
            &store.known_namespaces().await?,
            &seen,
        )),
    }
}

async fn note(
    store: &Store,
    seen: &[SeenNamespace],
    registration: Registration<'_>,
) -> Result<Option<String>, RunError> {
    let id = store.note_cluster(seen, registration).await?;
    if let (Some(id), Registration::First | Registration::Another) = (&id, registration) {
        tracing::info!(cluster = id, "the database knows this cluster from now on");
    }
    Ok(id)
}

/// Those that are synced; of all namespaces none is sure to be there for long.
fn own_namespaces(namespaces: &Namespaces) -> impl Iterator<Item = &str> {
    let names: &[String] = match namespaces {
        Namespaces::All => &[],
        Namespaces::Only(names) => names,
    };
    names.iter().map(String::as_str)
}

/// The namespace, unless it is not there or not ours to see.
async fn see(cluster: &Cluster, name: &str) -> Result<Option<SeenNamespace>, ClusterError> {
    // Roles in one namespace never give it (docs/facts.md, "A Role can allow reading its own namespace"): asked once,
    // not in every cycle of a loop.
    static NO_KUBE_SYSTEM: AtomicBool = AtomicBool::new(false);
    if name == KUBE_SYSTEM && NO_KUBE_SYSTEM.load(Ordering::Relaxed) {
        return Ok(None);
    }
    match cluster.namespace_uid(name).await {
        Ok(uid) => Ok(Some(seen_namespace(name, uid))),
        Err(
            ClusterError::Forbidden { .. }
            | ClusterError::NotFound { .. }
            | ClusterError::NotInstalled { .. },
        ) => {
            if name == KUBE_SYSTEM {
                NO_KUBE_SYSTEM.store(true, Ordering::Relaxed);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn seen_namespace(name: &str, uid: String) -> SeenNamespace {
    SeenNamespace {
        namespace: name.to_owned(),
        uid,
    }
}

fn find(known: &[KnownNamespace], seen: &[SeenNamespace]) -> Option<String> {
    seen.iter()
        .find_map(|seen| known.iter().find(|known| known.uid == seen.uid))
        .map(|known| known.cluster.clone())
}

/// A cluster may join on its own if it is the first, or if it shared the database before clusters were told apart: steps have
/// its TestRuns, or its namespaces have steps from then and no other cluster is known by one of these names.
async fn may_register(
    cluster: &Cluster,
    store: &Store,
    settings: &Settings,
    known: &[KnownNamespace],
    seen: &[SeenNamespace],
) -> Result<bool, RunError> {
    if known.is_empty() {
        return Ok(true);
    }
    let mut reach = Reach::of(&settings.namespaces);
    let test_runs = reach.test_runs(cluster).await?.items;
    let uids: Vec<&str> = test_runs.iter().map(|run| run.uid.as_str()).collect();
    if !store.claimed(&uids).await?.is_empty() {
        return Ok(true);
    }
    let is_taken =
        |seen: &SeenNamespace| known.iter().any(|known| known.namespace == seen.namespace);
    match &settings.namespaces {
        Namespaces::Only(names) if !seen.iter().any(is_taken) => {
            Ok(store.has_unowned_steps(names).await?)
        }
        _ => Ok(false),
    }
}

fn other(
    cluster: &Cluster,
    store: &Store,
    known: &[KnownNamespace],
    seen: &[SeenNamespace],
) -> RunError {
    let list = |names: Vec<String>| names.join(", ");
    RunError::OtherCluster {
        database: store.url().to_string(),
        cluster: cluster.url().to_owned(),
        seen: list(
            seen.iter()
                .map(|seen| format!("{} with uid {}", seen.namespace, seen.uid))
                .collect(),
        ),
        known: list(
            known
                .iter()
                .map(|known| format!("{} with uid {}", known.namespace, known.uid))
                .collect(),
        ),
    }
}

/// Says that clusters can't be told apart, and which right is missing. Once: a loop would say it in every cycle.
pub(super) fn warn_of_no_identity(settings: &Settings) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        let name = own_namespaces(&settings.namespaces)
            .next()
            .unwrap_or(KUBE_SYSTEM);
        tracing::warn!(
            "it can't be told which cluster this is, so that no other cluster may share the database: let k6sync `get` the namespace {name} (rule: {{apiGroups: [\"\"], resources: [namespaces], resourceNames: [{name}], verbs: [get]}})"
        );
    }
}
