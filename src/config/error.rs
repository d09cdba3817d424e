//! What is wrong with a setting, and where it is set.

use std::path::PathBuf;

use crate::discreet;
use crate::store::DatabaseUrlError;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {}: {source}", discreet::path(.path))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key that does not exist.
    #[error(
        "unknown key `{key}` in the configuration file {}{advice}; config.example.yaml has all keys",
        discreet::path(.path)
    )]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// The key, with its parents.
        key: String,
        /// The nearest right one, if any is near.
        advice: String,
    },
    /// A value of the wrong type, or no YAML at all.
    #[error("the configuration file {} is wrong: {problem}", discreet::path(.path))]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The key and what is wrong with it.
        problem: String,
    },
    /// A variable that names a file with the value.
    #[error("{variable} {problem}")]
    VariableFile {
        /// Such as `DATABASE_URL_FILE`.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value out of range.
    #[error("{setting}{}: {problem}", .value.as_ref().map(|value| format!(" is {value}")).unwrap_or_default())]
    Invalid {
        /// Flag, variable or key.
        setting: &'static str,
        /// Its value; `None`: it may be a secret.
        value: Option<String>,
        /// What is wrong with it, and what is right.
        problem: String,
    },
    /// One of certificate and key without the other.
    #[error(
        "the TLS {given} is set, but not the {missing}: set both by --tls-cert and --tls-key, or by tls.cert and tls.key in the configuration file, or none of them for plain HTTP"
    )]
    HalfTls {
        /// `certificate` or `key`.
        given: &'static str,
        /// The other.
        missing: &'static str,
    },
    /// The database URL.
    #[error(
        "{0}; set it by --database-url, DATABASE_URL, DATABASE_URL_FILE or databaseUrl in the configuration file"
    )]
    DatabaseUrl(#[from] DatabaseUrlError),
}
