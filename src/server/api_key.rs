//! The API key: a secret that opens the job API to whoever sends it.

use subtle::ConstantTimeEq;

/// A secret. Neither `Debug` nor anything else shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// A shorter one could be guessed.
    pub(crate) const MIN_LEN: usize = 16;

    pub(crate) fn new(key: String) -> Self {
        Self(key)
    }

    /// Compares in constant time, but for the lengths: how long it takes tells nothing of the key.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}
