//! Our finalizer on TestRuns (FACT 18): while it is there, neither the TestRun nor its pods go away.
//!
//! One finalizer is put on or taken off; others are never touched, and neither is anything else of the object.

use serde_json::json;

use super::call::Call;
use super::request::Send;
use super::test_runs::{self, GROUP, PLURAL, TestRun};
use super::{Cluster, ClusterError};

/// Keeps a TestRun until its logs are recorded.
pub const FINALIZER: &str = "k6sync.dev/capture";

/// Others may change a TestRun at the same time; after so many times the next cycle tries again.
const ATTEMPTS: usize = 5;

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The TestRun bears the finalizer.
    Held,
    /// It does not, since it is being deleted or gone: too late for a hold, or its end.
    Free,
}

impl Cluster {
    /// Puts the finalizer on a TestRun, as it was listed.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if others change it all the time.
    pub async fn hold(&self, listed: &TestRun) -> Result<Hold, ClusterError> {
        let mut test_run = listed.clone();
        let mut attempt = 1;
        loop {
            if test_run.is_held() {
                return Ok(Hold::Held);
            }
            if test_run.deletion_timestamp.is_some() {
                return Ok(Hold::Free);
            }
            let mut finalizers = test_run.finalizers.clone();
            finalizers.push(FINALIZER.to_owned());
            match self.patch_finalizers(&test_run, &finalizers).await {
                Ok(()) => return Ok(Hold::Held),
                // Deleted since it was read: an API server takes no new finalizers then.
                Err(ClusterError::Rejected {
                    code: 409 | 422, ..
                }) if attempt < ATTEMPTS => {}
                Err(ClusterError::NotFound { .. }) => return Ok(Hold::Free),
                Err(error) => return Err(error),
            }
            match self.test_run_again(&test_run).await? {
                Some(newer) => test_run = newer,
                None => return Ok(Hold::Free),
            }
            attempt += 1;
        }
    }

    /// Takes the finalizer off the TestRun of this name and uid (`None`: whichever has the name), if it is there; whoever
    /// has another uid is left alone.
    ///
    /// # Errors
    /// [`ClusterError`]; a conflict if others change it all the time.
    pub async fn release(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ClusterError> {
        let mut attempt = 1;
        loop {
            let test_run = match self.test_run(namespace, name).await {
                Ok(test_run) if uid.is_none_or(|uid| test_run.uid == uid) && test_run.is_held() => {
                    test_run
                }
                Ok(_) | Err(ClusterError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut finalizers = test_run.finalizers.clone();
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            match self.patch_finalizers(&test_run, &finalizers).await {
                Err(ClusterError::Rejected { code: 409, .. }) if attempt < ATTEMPTS => attempt += 1,
                Ok(()) | Err(ClusterError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The TestRun as it is now; `None`: it is gone, and one of its name is another.
    async fn test_run_again(&self, known: &TestRun) -> Result<Option<TestRun>, ClusterError> {
        match self.test_run(&known.namespace, &known.name).await {
            Ok(test_run) => Ok(Some(test_run).filter(|newer| newer.uid == known.uid)),
            Err(ClusterError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn patch_finalizers(
        &self,
        test_run: &TestRun,
        finalizers: &[String],
    ) -> Result<(), ClusterError> {
        let call = Call {
            verb: "patch",
            group: GROUP,
            resource: PLURAL,
            namespace: Some(test_run.namespace.clone()),
            name: Some(test_run.name.clone()),
        };
        // The version makes it fail if anybody has changed the list since.
        let patch = json!({"metadata": {
            "resourceVersion": test_run.resource_version,
            "uid": test_run.uid,
            "finalizers": finalizers,
        }});
        let path = test_runs::path(&test_run.namespace, &test_run.name);
        self.send(&call, Send::merge(&path, &patch))
            .await
            .map(|_| ())
    }
}
