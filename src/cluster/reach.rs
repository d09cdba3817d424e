//! Which of the namespaces can be listed now. Of several, one that can't fails alone: what is in it is left as it is, and the
//! others are worked on.

use super::{Cluster, ClusterError, Listed, Namespaces, Pod, TestRun};

/// The namespaces that could be listed so far, and why others could not.
#[derive(Debug)]
pub(crate) struct Reach {
    namespaces: Namespaces,
    out_of_reach: Vec<(String, ClusterError)>,
}

impl Reach {
    /// All of them, until one fails.
    pub(crate) fn of(namespaces: &Namespaces) -> Self {
        Self {
            namespaces: namespaces.clone(),
            out_of_reach: Vec::new(),
        }
    }

    /// The TestRuns of all that are in reach.
    ///
    /// # Errors
    /// The API server's; a namespace's own only if none is left.
    pub(crate) async fn test_runs(
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

    /// The pods of all that are in reach.
    ///
    /// # Errors
    /// The API server's; a namespace's own only if none is left.
    pub(crate) async fn pods(&mut self, cluster: &Cluster) -> Result<Listed<Pod>, ClusterError> {
        let mut all = Listed::default();
        for part in self.parts() {
            let listed = cluster.pods(&part).await;
            self.join(&part, listed, &mut all)?;
        }
        Ok(all)
    }

    /// Whether a namespace has not failed.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.out_of_reach.iter().all(|(name, _)| name != namespace)
    }

    /// Those that are in reach.
    pub(crate) const fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Those that are not, each with the reason.
    pub(crate) fn out_of_reach(self) -> Vec<(String, ClusterError)> {
        self.out_of_reach
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
