//! Our finalizers on TestRuns (docs/facts.md, "A finalizer keeps pods and logs"): while one is there, neither the
//! TestRun nor its pods go away.
//!
//! Only one finalizer is added or removed; other finalizers and the rest of the object are never touched. Each database has a
//! finalizer of its own, so k6syncs with different databases leave each other's holds alone.

use serde_json::json;

use super::request::Request;
use super::test_runs::{TEST_RUNS, TestRun};
use super::{Cluster, ClusterError};

/// The finalizer of k6sync 0.1.0, whatever its database. All others are this, a dash and a database's id.
pub(crate) const OLD_FINALIZER: &str = "k6sync.dev/capture";

/// How often a write is tried while others change the TestRun; then the next cycle tries again.
const ATTEMPTS: usize = 5;

/// Keeps a TestRun until its logs are recorded in one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finalizer(String);

impl Finalizer {
    /// The finalizer of the database with this id.
    pub(crate) fn of_database(id: &str) -> Self {
        Self(format!("{OLD_FINALIZER}-{id}"))
    }

    /// As it stands in `metadata.finalizers`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this finalizer is one of k6sync's, of whatever database and version.
fn is_k6syncs(finalizer: &str) -> bool {
    finalizer
        .strip_prefix(OLD_FINALIZER)
        .is_some_and(|id| id.is_empty() || id.starts_with('-'))
}

/// Which of k6sync's finalizers to take off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release<'a> {
    /// This one.
    Own(&'a Finalizer),
    /// This one, and 0.1.0's.
    OwnAndOld(&'a Finalizer),
    /// Those of all databases.
    All,
}

impl Release<'_> {
    fn takes(self, finalizer: &str) -> bool {
        match self {
            Self::Own(own) => finalizer == own.as_str(),
            Self::OwnAndOld(own) => finalizer == own.as_str() || finalizer == OLD_FINALIZER,
            Self::All => is_k6syncs(finalizer),
        }
    }
}

/// Whether a TestRun is held after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The TestRun has the finalizer.
    Held,
    /// It does not have it: it is gone or being deleted, or was released.
    Free,
}

impl TestRun {
    /// Whether it has this finalizer.
    pub(crate) fn has_finalizer(&self, finalizer: &Finalizer) -> bool {
        self.finalizers
            .iter()
            .any(|name| name == finalizer.as_str())
    }

    /// Whether it has the finalizer of 0.1.0, which does not say whose it is.
    pub(crate) fn has_old_finalizer(&self) -> bool {
        self.finalizers.iter().any(|name| name == OLD_FINALIZER)
    }

    /// Whether it has a finalizer of any k6sync.
    pub fn is_held(&self) -> bool {
        self.finalizers.iter().any(|name| is_k6syncs(name))
    }
}

impl Cluster {
    /// Adds the finalizer to a TestRun, given as it was listed.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if others change it all the time.
    pub(crate) async fn hold(
        &self,
        listed: &TestRun,
        finalizer: &Finalizer,
    ) -> Result<Hold, ClusterError> {
        let mut test_run = listed.clone();
        let mut attempt = 1;
        loop {
            if test_run.has_finalizer(finalizer) {
                return Ok(Hold::Held);
            }
            if test_run.deletion_timestamp.is_some() {
                return Ok(Hold::Free);
            }
            let mut finalizers = test_run.finalizers.clone();
            finalizers.push(finalizer.as_str().to_owned());
            match self.patch_finalizers(&test_run, &finalizers).await {
                Ok(()) => return Ok(Hold::Held),
                // Changed, or deleted: the API server refuses new finalizers then.
                Err(ClusterError::Rejected {
                    code: 409 | 422, ..
                }) if attempt < ATTEMPTS => {}
                Err(ClusterError::NotFound { .. }) => return Ok(Hold::Free),
                Err(error) => return Err(error),
            }
            match self.find(&test_run.namespace, &test_run.name).await? {
                // One of the same name may be another.
                Some(TestRun { uid, .. }) if uid != test_run.uid => return Ok(Hold::Free),
                Some(newer) => test_run = newer,
                None => return Ok(Hold::Free),
            }
            attempt += 1;
        }
    }

    /// Removes finalizers from the TestRun of this name and uid (`None`: any uid), if it has them and `only_if` agrees. A
    /// TestRun with another uid is left alone.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if others change it all the time.
    pub(crate) async fn release_if(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        release: Release<'_>,
        only_if: impl Fn(&TestRun) -> bool,
    ) -> Result<Hold, ClusterError> {
        let mut attempt = 1;
        loop {
            let test_run = match self.find::<TestRun>(namespace, name).await? {
                Some(test_run) if uid.is_none_or(|uid| test_run.uid == uid) => test_run,
                Some(_) | None => return Ok(Hold::Free),
            };
            let mut finalizers = test_run.finalizers.clone();
            finalizers.retain(|finalizer| !release.takes(finalizer));
            if finalizers == test_run.finalizers {
                return Ok(Hold::Free);
            }
            if !only_if(&test_run) {
                return Ok(Hold::Held);
            }
            match self.patch_finalizers(&test_run, &finalizers).await {
                Err(ClusterError::Rejected { code: 409, .. }) if attempt < ATTEMPTS => attempt += 1,
                Ok(()) | Err(ClusterError::NotFound { .. }) => return Ok(Hold::Free),
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Cluster::release_if`], without a condition.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if others change it all the time.
    pub(crate) async fn release(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        release: Release<'_>,
    ) -> Result<(), ClusterError> {
        self.release_if(namespace, name, uid, release, |_| true)
            .await
            .map(|_| ())
    }

    async fn patch_finalizers(
        &self,
        test_run: &TestRun,
        finalizers: &[String],
    ) -> Result<(), ClusterError> {
        // With the version it fails if anybody has changed the list since.
        let patch = json!({"metadata": {
            "resourceVersion": test_run.resource_version,
            "uid": test_run.uid,
            "finalizers": finalizers,
        }});
        let request = Request::patch(TEST_RUNS, &test_run.namespace, &test_run.name, &patch);
        self.send(&request).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_ours_is_told_from_those_of_others() {
        let own = Finalizer::of_database("1f");
        for (finalizer, is_ours, own_only, own_and_old) in [
            ("k6sync.dev/capture", true, false, true),
            ("k6sync.dev/capture-1f", true, true, true),
            ("k6sync.dev/capture-2e", true, false, false),
            ("k6sync.dev/captured", false, false, false),
            ("example.com/capture-1f", false, false, false),
        ] {
            assert_eq!(is_k6syncs(finalizer), is_ours, "{finalizer}");
            assert_eq!(Release::All.takes(finalizer), is_ours, "{finalizer}");
            assert_eq!(Release::Own(&own).takes(finalizer), own_only, "{finalizer}");
            let old = Release::OwnAndOld(&own).takes(finalizer);
            assert_eq!(old, own_and_old, "{finalizer}");
        }
    }
}
