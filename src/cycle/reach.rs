//! Which of the namespaces can be listed in this cycle. Of several, one that can't fails alone: what is in it is left as it
//! is, and the others are synced.

use std::collections::HashSet;

use super::report::Failure;
use crate::cluster::{Cluster, ClusterError, Listed, Namespaces, Pod, TestRun};
use crate::store::model::Step;

/// The namespaces that could be listed so far, and why others could not.
#[derive(Debug)]
pub(super) struct Reach {
    namespaces: Namespaces,
    out_of_reach: Vec<(String, ClusterError)>,
}

impl Reach {
    pub(super) fn of(namespaces: &Namespaces) -> Self {
        Self {
            namespaces: namespaces.clone(),
            out_of_reach: Vec::new(),
        }
    }

    /// The TestRuns of all that are in reach.
    ///
    /// # Errors
    /// The API server's; a namespace's own only if none is left.
    pub(super) async fn test_runs(
        &mut self,
        cluster: &Cluster,
    ) -> Result<Listed<TestRun>, ClusterError> {
        let mut all = Listed::default();
        for part in self.parts() {
            let listed = cluster.test_runs(&part).await;
            self.join(&part, listed, &mut all)?;
        }
        Ok(all)
    }

    /// Adds the TestRuns of steps that are not in the list yet: one that appeared after it may have been adopted by another
    /// sync before the steps were read. Only a list after them says whether it is gone.
    ///
    /// # Errors
    /// The API server's; a namespace's own only if none is left.
    pub(super) async fn add_overtaken(
        &mut self,
        cluster: &Cluster,
        steps: &[Step],
        test_runs: &mut Listed<TestRun>,
    ) -> Result<(), ClusterError> {
        let listed: HashSet<&str> = test_runs.items.iter().map(|run| run.uid.as_str()).collect();
        let missing: HashSet<&str> = steps
            .iter()
            .filter(|step| !step.record.status.is_final() && self.has(&step.namespace))
            .filter_map(|step| step.record.k6_uid.as_deref())
            .filter(|uid| !listed.contains(uid))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut later = self.test_runs(cluster).await?.items;
        later.retain(|run| missing.contains(run.uid.as_str()));
        test_runs.items.extend(later);
        Ok(())
    }

    /// The pods of all that are in reach.
    ///
    /// # Errors
    /// The API server's; a namespace's own only if none is left.
    pub(super) async fn pods(&mut self, cluster: &Cluster) -> Result<Listed<Pod>, ClusterError> {
        let mut all = Listed::default();
        for part in self.parts() {
            let listed = cluster.pods(&part).await;
            self.join(&part, listed, &mut all)?;
        }
        Ok(all)
    }

    /// Whether a namespace has not failed.
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.out_of_reach.iter().all(|(name, _)| name != namespace)
    }

    /// What went wrong, a failure each.
    pub(super) fn failures(self) -> Vec<Failure> {
        self.out_of_reach
            .into_iter()
            .map(|(namespace, error)| Failure {
                step: String::new(),
                k6_test_name: String::new(),
                error: format!(
                    "the namespace {namespace} was left as it is, the others were synced: {error}"
                ),
                namespace,
                step_id: None,
            })
            .collect()
    }

    fn parts(&self) -> Vec<Namespaces> {
        match &self.namespaces {
            Namespaces::All => vec![Namespaces::All],
            Namespaces::Only(names) => names
                .iter()
                .map(|name| Namespaces::Only(vec![name.clone()]))
                .collect(),
        }
    }

    fn join<T>(
        &mut self,
        part: &Namespaces,
        listed: Result<Listed<T>, ClusterError>,
        all: &mut Listed<T>,
    ) -> Result<(), ClusterError> {
        let error = match listed {
            Ok(listed) => {
                all.extend(listed);
                return Ok(());
            }
            Err(error) => error,
        };
        match (part, &mut self.namespaces) {
            (Namespaces::Only(failed), Namespaces::Only(names))
                if names.len() > 1 && error.is_of_namespace() =>
            {
                names.retain(|name| !failed.contains(name));
                let failed = failed.iter().cloned().collect();
                self.out_of_reach.push((failed, error));
                Ok(())
            }
            _ => Err(error),
        }
    }
}
