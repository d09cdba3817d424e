//! Our finalizers on TestRuns (docs/facts.md, "A finalizer keeps pods and logs"): while one is there, neither the
//! TestRun nor its pods go away.
//!
//! One finalizer is put on or taken off; others are never touched, and neither is anything else of the object. Each
//! database has a finalizer of its own, so that k6syncs with different databases leave each other's holds alone.

use serde_json::json;

use super::request::Request;
use super::test_runs::{TEST_RUNS, TestRun};
use super::{Cluster, ClusterError};

/// What k6sync 0.1.0 put on, whatever its database; and, with a database's id behind it, the beginning of all others.
pub(crate) const OLD_FINALIZER: &str = "k6sync.dev/capture";

/// Others may change a TestRun at the same time; after so many times the next cycle tries again.
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

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The TestRun bears the finalizer.
    Held,
    /// It does not, since it is being deleted or gone: too late for a hold, or its end.
    Free,
}

impl TestRun {
    /// Whether it bears this finalizer.
    pub(crate) fn bears(&self, finalizer: &Finalizer) -> bool {
        self.finalizers
            .iter()
            .any(|name| name == finalizer.as_str())
    }

    /// Whether it bears the finalizer of 0.1.0, which does not say whose it is.
    pub(crate) fn bears_old(&self) -> bool {
        self.finalizers.iter().any(|name| name == OLD_FINALIZER)
    }

    /// Whether it bears a finalizer of any k6sync.
    pub fn is_held(&self) -> bool {
        self.finalizers.iter().any(|name| is_k6syncs(name))
    }
}

impl Cluster {
    /// Puts the finalizer on a TestRun, as it was listed.
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
            if test_run.bears(finalizer) {
                return Ok(Hold::Held);
            }
            if test_run.deletion_timestamp.is_some() {
                return Ok(Hold::Free);
            }
            let mut finalizers = test_run.finalizers.clone();
            finalizers.push(finalizer.as_str().to_owned());
            match self.patch_finalizers(&test_run, &finalizers).await {
                Ok(()) => return Ok(Hold::Held),
                // Deleted since it was read: an API server takes no new finalizers then.
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

    /// Takes finalizers off the TestRun of this name and uid (`None`: whichever has the name), if they are there and
    /// `only_if` the TestRun is as it should be; whoever has another uid is left alone.
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

    /// Takes finalizers off a TestRun, as [`Cluster::release_if`] does, however it is.
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
        // The version makes it fail if anybody has changed the list since.
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
