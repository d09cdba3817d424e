//! Single objects, which others write too: read one, decide, and write it only if nobody else has written it since.
//!
//! ConfigMaps and Leases are written this way. The API server compares versions, and refuses whoever comes second
//! ([`ClusterError::is_conflict`]).

use super::request::{Request, Resource};
use super::{Cluster, ClusterError};

/// A kind of object, as far as we use it.
pub(crate) trait Object: Sized {
    /// Where such objects are.
    const RESOURCE: Resource;

    /// Reads the answer to a GET, or to a write.
    fn decode(answer: &[u8]) -> Result<Self, String>;
}

/// A kind of object that we write.
pub(crate) trait WritableObject: Object {
    /// What to write.
    type Change: ?Sized;

    /// The request that writes `change` into the object as it was read, and fails if it is another by now; `None`: that
    /// creates it.
    fn write(namespace: &str, name: &str, read: Option<&Self>, change: &Self::Change) -> Request;
}

impl Cluster {
    /// The object of that name; `None` if there is none.
    pub(crate) async fn find<T: Object>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<T>, ClusterError> {
        let request = Request::get(T::RESOURCE, namespace, name);
        match self.object(&request, T::decode).await {
            Ok(object) => Ok(Some(object)),
            Err(ClusterError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes `change` into the object as it was `read` (`None`: creates it), and returns it as it then is.
    ///
    /// # Errors
    /// [`ClusterError::is_conflict`] if somebody else has written or created it since.
    pub(crate) async fn write<T: WritableObject>(
        &self,
        namespace: &str,
        name: &str,
        read: Option<&T>,
        change: &T::Change,
    ) -> Result<T, ClusterError> {
        let request = T::write(namespace, name, read, change);
        self.object(&request, T::decode).await
    }
}
