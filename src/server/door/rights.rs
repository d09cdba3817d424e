//! What somebody may see, by the rights that Kubernetes gives them.
//!
//! Asked in all namespaces first: whoever may there is asked about no more. Else in each namespace that steps are in or that is synced.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError, Namespaces, Right, User};
use crate::cycle::identity;
use crate::server::sight::{Seen, Sight};
use crate::server::source::Source;
use crate::store::{KnownNamespace, StoreError};

/// How long the list of namespaces is good: a new one is seen that much later.
const NAMESPACES_AGE: Duration = Duration::from_secs(5);
/// How long it is believed which cluster this is.
const CLUSTER_AGE: Duration = Duration::from_secs(60);
/// Access reviews of one person at a time.
const REVIEWS: usize = 8;

/// Whose runs are shown besides our own cluster's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clusters {
    /// Of these, by their ids (`clusters.id`).
    Also(Vec<String>),
    /// Of any that the database knows.
    All,
    /// Nobody's.
    #[default]
    Own,
}

/// Why it can't be told what somebody may see. To show nothing then would look as if there was nothing.
#[derive(Debug)]
pub(in crate::server) enum NoSight {
    /// The API server does not answer, or does not let us ask.
    Cluster(ClusterError),
    /// The record can't be read, which knows clusters and namespaces.
    Record(String),
}

impl From<ClusterError> for NoSight {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl From<StoreError> for NoSight {
    fn from(error: StoreError) -> Self {
        Self::Record(error.to_string())
    }
}

/// Asks what somebody may see.
pub(crate) struct Rights {
    pub(crate) source: Arc<Source>,
    /// The control ConfigMap: namespace and name.
    pub(crate) control: (String, String),
    pub(crate) synced: Namespaces,
    pub(crate) clusters: Clusters,
    known: Mutex<Known>,
}

/// What is the same for all.
#[derive(Default)]
struct Known {
    namespaces: Option<(Instant, Vec<String>)>,
    clusters: Option<(Instant, Vec<String>)>,
    /// It was said which clusters the database does not know.
    has_told: bool,
}

impl Rights {
    pub(crate) fn new(
        source: Arc<Source>,
        control: (String, String),
        synced: Namespaces,
        clusters: Clusters,
    ) -> Self {
        Self {
            source,
            control,
            synced,
            clusters,
            known: Mutex::default(),
        }
    }

    /// What this user may see.
    ///
    /// # Errors
    /// [`NoSight`]
    pub(in crate::server) async fn sight(
        &self,
        cluster: &Cluster,
        user: &User,
    ) -> Result<Sight, NoSight> {
        let control = self.control_right("update");
        let (runs, logs) = (runs_right(None), logs_right(None));
        let (organizes, all_runs, all_logs) = tokio::try_join!(
            cluster.may(user, &control),
            cluster.may(user, &runs),
            cluster.may(user, &logs),
        )?;
        let clusters = self.clusters(cluster).await?;
        let namespaces = match all_runs && all_logs {
            true => Vec::new(),
            false => self.namespaces().await?,
        };
        let runs = match all_runs {
            true => Seen::All,
            false => Seen::Only(allowed(cluster, user, &namespaces, runs_right).await?),
        };
        let logs = match (all_logs, &runs) {
            (true, _) => Seen::All,
            // Of what is not seen no log is, either.
            (false, Seen::Only(names)) => {
                Seen::Only(allowed(cluster, user, names, logs_right).await?)
            }
            (false, Seen::All) => {
                Seen::Only(allowed(cluster, user, &namespaces, logs_right).await?)
            }
        };
        Ok(Sight {
            runs,
            logs,
            clusters,
            organizes,
        })
    }

    /// All of what is shown here at all.
    ///
    /// # Errors
    /// [`NoSight`]
    pub(in crate::server) async fn everything(&self, cluster: &Cluster) -> Result<Sight, NoSight> {
        Ok(Sight {
            clusters: self.clusters(cluster).await?,
            organizes: true,
            ..Sight::of_everything()
        })
    }

    pub(in crate::server) fn control_right(&self, verb: &'static str) -> Right {
        let (namespace, name) = self.control.clone();
        Right {
            group: "",
            resource: "configmaps",
            verb,
            namespace: Some(namespace),
            name: Some(name),
        }
    }

    /// Those that steps are in and those that are synced.
    async fn namespaces(&self) -> Result<Vec<String>, NoSight> {
        if let Some((at, namespaces)) = &self.known().namespaces
            && at.elapsed() < NAMESPACES_AGE
        {
            return Ok(namespaces.clone());
        }
        let mut namespaces: BTreeSet<String> = match &self.synced {
            Namespaces::Only(names) => names.iter().cloned().collect(),
            Namespaces::All => BTreeSet::new(),
        };
        let record = self.source.record().await.map_err(NoSight::Record)?;
        namespaces.extend(record.namespaces().await?);
        let namespaces: Vec<String> = namespaces
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        self.known().namespaces = Some((Instant::now(), namespaces.clone()));
        Ok(namespaces)
    }

    /// The ids of the clusters whose steps are shown; `None`: of all. Where it can't be told which cluster this is, only steps that
    /// were seen in none are.
    async fn clusters(&self, cluster: &Cluster) -> Result<Option<Vec<String>>, NoSight> {
        if self.clusters == Clusters::All {
            return Ok(None);
        }
        if let Some((at, ids)) = &self.known().clusters
            && at.elapsed() < CLUSTER_AGE
        {
            return Ok(Some(ids.clone()));
        }
        let record = self.source.record().await.map_err(NoSight::Record)?;
        let known = record.known_namespaces().await?;
        let own = identity::recognize(cluster, &known, &self.synced).await?;
        let mut ids: BTreeSet<String> = own.into_iter().collect();
        if let Clusters::Also(others) = &self.clusters {
            let of_others = known.iter().filter(|known| others.contains(&known.cluster));
            ids.extend(of_others.map(|known| known.uid.clone()));
            ids.extend(others.iter().cloned());
        }
        let ids: Vec<String> = ids.into_iter().collect();
        // The first cycle may just be about to make it known.
        if !known.is_empty() {
            self.tell_of_strangers(&known);
            self.known().clusters = Some((Instant::now(), ids.clone()));
        }
        Ok(Some(ids))
    }

    /// A mistyped id would hide a cluster's runs without a word.
    fn tell_of_strangers(&self, known: &[KnownNamespace]) {
        let Clusters::Also(others) = &self.clusters else {
            return;
        };
        let is_known = |id: &String| known.iter().any(|known| known.cluster == *id);
        let strangers: Vec<&str> = others
            .iter()
            .filter(|id| !is_known(id))
            .map(String::as_str)
            .collect();
        if !strangers.is_empty() && !std::mem::replace(&mut self.known().has_told, true) {
            tracing::warn!(
                "auth.clusters names {}, which the database does not know: nothing more is shown for it; `SELECT id FROM clusters` lists those that are known",
                strangers.join(", ")
            );
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of the namespaces in which the user has the right.
async fn allowed(
    cluster: &Cluster,
    user: &User,
    namespaces: &[String],
    right: impl Fn(Option<String>) -> Right,
) -> Result<Vec<String>, ClusterError> {
    let mut reviews = Vec::new();
    for name in namespaces {
        let right = right(Some(name.clone()));
        reviews.push(async move {
            let may = cluster.may(user, &right).await?;
            Ok::<_, ClusterError>(may.then(|| name.clone()))
        });
    }
    let answers = stream::iter(reviews).buffered(REVIEWS);
    let allowed: Vec<Option<String>> = answers.try_collect().await?;
    Ok(allowed.into_iter().flatten().collect())
}

/// To see status and results.
const fn runs_right(namespace: Option<String>) -> Right {
    Right {
        group: "k6.io",
        resource: "testruns",
        verb: "list",
        namespace,
        name: None,
    }
}

/// To read logs.
const fn logs_right(namespace: Option<String>) -> Right {
    Right {
        group: "",
        resource: "pods/log",
        verb: "get",
        namespace,
        name: None,
    }
}
