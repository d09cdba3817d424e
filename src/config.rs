//! Flag > environment > file > default, checked once, into one typed [`Config`]. The only reader of the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Direction, SpanPrinter};
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cli::{Common, HoldMode, LogFormat};
use crate::cluster::Namespaces;
use crate::control::{Defaults, Interval, Source};
use crate::cycle::Discovery;
use crate::server::api_key::ApiKey;
use crate::server::tls::TlsFiles;
use crate::store::{DatabaseUrl, DatabaseUrlError};
use crate::yaml;

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database_url: DatabaseUrl,
    /// Kubeconfig context; `None`: the current one.
    pub context: Option<String>,
    /// Namespaces; `None`: the kubeconfig's or the pod's own.
    pub namespaces: Option<Namespaces>,
    /// Which TestRuns are adopted.
    pub discovery: Discovery,
    /// A step whose TestRun has not appeared after this is lost.
    pub missing_after: SignedDuration,
    /// Bounds each request to Kubernetes.
    pub request_timeout: Duration,
    /// Bounds a cycle.
    pub cycle_deadline: Duration,
    /// Logs read at a time.
    pub capture_concurrency: usize,
    /// Which TestRuns are held until their logs are recorded; `None`: nobody said.
    pub capture_hold: Option<HoldMode>,
    /// A TestRun is held no longer than this after its deletion was asked for.
    pub capture_hold_timeout: Duration,
    /// Name of the control ConfigMap.
    pub control_config_map: String,
    /// Its namespace; `None`: the kubeconfig's or the pod's own.
    pub control_namespace: Option<String>,
    /// What holds where the control ConfigMap says nothing.
    pub control_defaults: Defaults,
    /// Where the loop's HTTP server listens.
    pub listen: SocketAddr,
    /// Its certificate file; `None`: plain HTTP.
    pub tls_cert: Option<PathBuf>,
    /// Its key file.
    pub tls_key: Option<PathBuf>,
    /// A bearer token must be meant for one of these; empty: for the API server.
    pub auth_audiences: Vec<String>,
    /// How long the loop lets a running cycle go on after it was told to stop.
    pub shutdown_grace: Duration,
    /// Name of the Lease that one of several loops holds; `None`: each syncs.
    pub lease: Option<String>,
    /// A key that makes an organizer of whoever knows it.
    pub(crate) api_key: Option<ApiKey>,
    /// Who we are, in `sync_cycles.instance` and in the lease.
    pub instance: String,
}

impl<'de> Deserialize<'de> for HoldMode {
    /// `true` and `false` are `all` and `none`, as in 0.1.0.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = HoldMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cleanup, all or none")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<HoldMode, E> {
                Ok(match value {
                    true => HoldMode::All,
                    false => HoldMode::None,
                })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<HoldMode, E> {
                match word {
                    "cleanup" => Ok(HoldMode::Cleanup),
                    "all" => Ok(HoldMode::All),
                    "none" => Ok(HoldMode::None),
                    _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
                }
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key that does not exist.
    #[error(
        "unknown key `{key}` in the configuration file {path}{advice}; config.example.yaml has all keys"
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
    #[error("the configuration file {path} is wrong: {problem}")]
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
    #[error("{setting} is {value}: {problem}")]
    Invalid {
        /// Flag, variable or key.
        setting: &'static str,
        /// Its value.
        value: String,
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

/// The file, key by key. `KEYS` must name the same.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct File {
    database_url: Option<String>,
    context: Option<String>,
    namespaces: Option<Vec<String>>,
    all_namespaces: Option<bool>,
    discovery: Option<Discovery>,
    missing_after: Option<SignedDuration>,
    enabled: Option<bool>,
    interval_seconds: Option<u64>,
    listen: Option<String>,
    shutdown_grace: Option<SignedDuration>,
    tls: TlsFile,
    auth: AuthFile,
    control: ControlFile,
    leader_election: LeaderElectionFile,
    kubernetes: KubernetesFile,
    capture: CaptureFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct TlsFile {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct AuthFile {
    audiences: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct ControlFile {
    config_map: Option<String>,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct LeaderElectionFile {
    enabled: Option<bool>,
    lease: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct KubernetesFile {
    request_timeout: Option<SignedDuration>,
    cycle_deadline: Option<SignedDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "keys with values")]
struct CaptureFile {
    concurrency: Option<usize>,
    hold: Option<HoldMode>,
    hold_timeout: Option<SignedDuration>,
}

const KEYS: &[&str] = &[
    "databaseUrl",
    "context",
    "namespaces",
    "allNamespaces",
    "discovery",
    "missingAfter",
    "enabled",
    "intervalSeconds",
    "listen",
    "shutdownGrace",
    "tls",
    "tls.cert",
    "tls.key",
    "auth",
    "auth.audiences",
    "control",
    "control.configMap",
    "control.namespace",
    "leaderElection",
    "leaderElection.enabled",
    "leaderElection.lease",
    "kubernetes",
    "kubernetes.requestTimeout",
    "kubernetes.cycleDeadline",
    "capture",
    "capture.concurrency",
    "capture.hold",
    "capture.holdTimeout",
];

const DEFAULT_DATABASE_URL: &str = "sqlite://k6sync.db";
const DEFAULT_CONTROL_CONFIG_MAP: &str = "k6sync-control";
const DEFAULT_LISTEN: &str = "0.0.0.0:8080";
const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
const DEFAULT_LEASE: &str = "k6sync";
const DEFAULT_MISSING_AFTER: SignedDuration = SignedDuration::from_mins(10);
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_CYCLE_DEADLINE: Duration = Duration::from_secs(120);
const DEFAULT_CAPTURE_CONCURRENCY: usize = 128;
const MAX_CAPTURE_CONCURRENCY: usize = 1_000;
const DEFAULT_HOLD_TIMEOUT: Duration = Duration::from_mins(10);

/// Reads the environment; tests give their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment.
///
/// Bytes that are not UTF-8 become U+FFFD, which no setting takes: a variable that is set is never passed over silently.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A variable that is set but empty is as good as unset.
fn given(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// A secret: the variable itself, or the content of the file that the variable `NAME_FILE` names, such as a mounted Secret.
fn given_or_in_file(
    environment: Environment<'_>,
    name: &str,
) -> Result<Option<String>, ConfigError> {
    let variable = format!("{name}_FILE");
    let wrong = |problem: String| ConfigError::VariableFile {
        variable: variable.clone(),
        problem,
    };
    let Some(path) = given(environment, &variable) else {
        return Ok(given(environment, name));
    };
    if given(environment, name).is_some() {
        return Err(wrong(format!("and {name} are both set; keep one of them")));
    }
    let value = std::fs::read_to_string(&path)
        .map_err(|error| wrong(format!("names {path}, which can't be read: {error}")))?;
    // A file ends in a newline, a value does not.
    let value = value.trim_end_matches(['\n', '\r']);
    match value.is_empty() {
        true => Err(wrong(format!("names {path}, which is empty"))),
        false => Ok(Some(value.to_owned())),
    }
}

/// The log filter, which is needed before anything else can be told.
pub fn log_filter(environment: Environment<'_>) -> Option<String> {
    given(environment, "RUST_LOG")
}

/// The form of the log, likewise.
pub fn log_format(common: &Common) -> LogFormat {
    common.log_format.unwrap_or_default()
}

impl Config {
    /// Puts the sources together.
    ///
    /// # Errors
    /// [`ConfigError`], naming the source and the setting.
    pub fn load(common: &Common, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let file = match &common.config {
            Some(path) => read_file(path)?,
            None => File::default(),
        };
        let database_url = match &common.database_url {
            Some(url) => Some(url.clone()),
            None => given_or_in_file(environment, "DATABASE_URL")?,
        };
        let database_url = database_url
            .or(file.database_url)
            .unwrap_or_else(|| DEFAULT_DATABASE_URL.to_owned())
            .parse()?;
        let missing_after = file.missing_after.unwrap_or(DEFAULT_MISSING_AFTER);
        if missing_after.is_negative() {
            return Err(ConfigError::Invalid {
                setting: "missingAfter",
                value: written(missing_after),
                problem: "it can't be negative; write a duration such as 10m".to_owned(),
            });
        }
        let concurrency = file
            .capture
            .concurrency
            .unwrap_or(DEFAULT_CAPTURE_CONCURRENCY);
        if !(1..=MAX_CAPTURE_CONCURRENCY).contains(&concurrency) {
            return Err(ConfigError::Invalid {
                setting: "capture.concurrency",
                value: concurrency.to_string(),
                problem: format!("it must be from 1 to {MAX_CAPTURE_CONCURRENCY}"),
            });
        }
        Ok(Self {
            database_url,
            context: common.context.clone().or(file.context),
            namespaces: namespaces(common, file.namespaces, file.all_namespaces)?,
            discovery: file.discovery.unwrap_or_default(),
            missing_after,
            request_timeout: positive(
                "kubernetes.requestTimeout",
                file.kubernetes.request_timeout,
                DEFAULT_REQUEST_TIMEOUT,
            )?,
            cycle_deadline: positive(
                "kubernetes.cycleDeadline",
                file.kubernetes.cycle_deadline,
                DEFAULT_CYCLE_DEADLINE,
            )?,
            capture_concurrency: concurrency,
            capture_hold: file.capture.hold,
            capture_hold_timeout: positive(
                "capture.holdTimeout",
                file.capture.hold_timeout,
                DEFAULT_HOLD_TIMEOUT,
            )?,
            control_config_map: file
                .control
                .config_map
                .unwrap_or_else(|| DEFAULT_CONTROL_CONFIG_MAP.to_owned()),
            control_namespace: file.control.namespace,
            control_defaults: control_defaults(file.enabled, file.interval_seconds, environment)?,
            listen: listen(file.listen)?,
            tls_cert: file.tls.cert,
            tls_key: file.tls.key,
            auth_audiences: audiences(file.auth.audiences)?,
            shutdown_grace: positive("shutdownGrace", file.shutdown_grace, DEFAULT_SHUTDOWN_GRACE)?,
            lease: match file.leader_election.enabled {
                Some(false) => None,
                _ => Some(
                    file.leader_election
                        .lease
                        .unwrap_or_else(|| DEFAULT_LEASE.to_owned()),
                ),
            },
            api_key: api_key(environment)?,
            instance: instance(environment),
        })
    }
}

/// Both or none.
///
/// # Errors
/// [`ConfigError::HalfTls`]
pub(crate) fn tls_files(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<TlsFiles>, ConfigError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfTls {
            given: "certificate",
            missing: "key",
        }),
        (None, Some(_)) => Err(ConfigError::HalfTls {
            given: "key",
            missing: "certificate",
        }),
    }
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let malformed = |problem| ConfigError::Malformed {
        path: path.to_owned(),
        problem,
    };
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(File::default());
    }
    let document: serde_json::Value = yaml::from_str(&text).map_err(malformed)?;
    // A URL where no URL belongs may hold a password, and is not shown.
    if document.as_str().is_some_and(|text| text.contains("://")) {
        return Err(malformed(
            "it holds a URL and no keys; write databaseUrl: URL".to_owned(),
        ));
    }
    if let Some(key) = unknown_key(&document) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            advice: nearest_key(&key)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default(),
            key,
        });
    }
    if document["databaseUrl"].is_object() || document["databaseUrl"].is_array() {
        return Err(malformed(
            "databaseUrl: it must be text; put it in quotation marks".to_owned(),
        ));
    }
    yaml::from_str(&text).map_err(malformed)
}

/// The first key that does not exist, or that is no key at all but part of a value and is not shown.
fn unknown_key(document: &serde_json::Value) -> Option<String> {
    let key = find_unknown_key(document)?;
    let is_key = key
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
    Some(if is_key { key } else { "…".to_owned() })
}

fn find_unknown_key(document: &serde_json::Value) -> Option<String> {
    for (key, value) in document.as_object()? {
        if !KEYS.contains(&key.as_str()) {
            return Some(key.clone());
        }
        let children = value
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys());
        for child in children {
            let key = format!("{key}.{child}");
            if !KEYS.contains(&key.as_str()) {
                return Some(key);
            }
        }
    }
    None
}

/// The known key whose last part is most like that of `key`, if any is near; of two, the one in the same place.
fn nearest_key(key: &str) -> Option<&'static str> {
    const ELSEWHERE: f64 = 0.95;
    fn parts(key: &str) -> (&str, &str) {
        key.rsplit_once('.').unwrap_or(("", key))
    }
    let (place, name) = parts(key);
    KEYS.iter()
        .map(|known| {
            let (known_place, known_name) = parts(known);
            let likeness = strsim::jaro_winkler(&name.to_lowercase(), &known_name.to_lowercase());
            match known_place == place {
                true => (likeness, *known),
                false => (likeness * ELSEWHERE, *known),
            }
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn namespaces(
    common: &Common,
    in_file: Option<Vec<String>>,
    all_in_file: Option<bool>,
) -> Result<Option<Namespaces>, ConfigError> {
    if common.all_namespaces {
        return Ok(Some(Namespaces::All));
    }
    if !common.namespace.is_empty() {
        return only("--namespace", common.namespace.clone()).map(Some);
    }
    match (in_file, all_in_file.unwrap_or(false)) {
        (Some(names), true) => Err(ConfigError::Invalid {
            setting: "allNamespaces",
            value: "true".to_owned(),
            problem: format!(
                "namespaces is set too ({}); keep one of them",
                names.join(", ")
            ),
        }),
        (None, true) => Ok(Some(Namespaces::All)),
        (Some(names), false) if names.is_empty() => Err(ConfigError::Invalid {
            setting: "namespaces",
            value: "empty".to_owned(),
            problem: "name at least one, or leave the key out for the kubeconfig's own".to_owned(),
        }),
        (Some(names), false) => only("namespaces", names).map(Some),
        (None, false) => Ok(None),
    }
}

/// Namespaces are part of request paths: only what can be the name of one is let through.
fn only(setting: &'static str, mut names: Vec<String>) -> Result<Namespaces, ConfigError> {
    for name in &names {
        let is_label = (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !is_label {
            return Err(ConfigError::Invalid {
                setting,
                value: format!("`{name}`"),
                problem: "it is no namespace's name: lower-case letters, digits and -, at most 63"
                    .to_owned(),
            });
        }
    }
    names.sort();
    names.dedup();
    Ok(Namespaces::Only(names))
}

/// No duration is longer: who wants "for ever" has it, and nothing that is reckoned with it overflows.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

fn positive(
    setting: &'static str,
    value: Option<SignedDuration>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(value) = value else {
        return Ok(default);
    };
    match Duration::try_from(value) {
        Ok(duration) if duration > LONGEST => Err(ConfigError::Invalid {
            setting,
            value: written(value),
            problem: "it can't be more than 100 years; write a duration such as 10s".to_owned(),
        }),
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(ConfigError::Invalid {
            setting,
            value: written(value),
            problem: "it must be more than nothing; write a duration such as 10s".to_owned(),
        }),
    }
}

/// A duration as people write it in the file, `-1m` and not `1m ago`.
fn written(duration: SignedDuration) -> String {
    SpanPrinter::new()
        .direction(Direction::Sign)
        .duration_to_string(&duration)
}

/// What holds below the ConfigMap: the environment, then the file, then on and 20 s. A wrong variable is refused with a
/// warning, and the next source is used; a wrong key in the file is an error, as every wrong key is.
fn control_defaults(
    enabled: Option<bool>,
    interval_seconds: Option<u64>,
    environment: Environment<'_>,
) -> Result<Defaults, ConfigError> {
    let mut defaults = Defaults::default();
    if let Some(enabled) = enabled {
        defaults.enabled = enabled;
    }
    if let Some(seconds) = interval_seconds {
        defaults.interval = Interval::new(seconds).map_err(|problem| ConfigError::Invalid {
            setting: "intervalSeconds",
            value: seconds.to_string(),
            problem,
        })?;
        defaults.source = Source::ConfigFile;
    }
    if let Some(value) = given(environment, "K6_AUTO_SYNC_ENABLED") {
        defaults.enabled = !value.trim().eq_ignore_ascii_case("false");
    }
    // Empty, it is no number: whoever set it meant one.
    if let Some(value) = environment("K6_SYNC_INTERVAL_SECONDS") {
        match value.parse() {
            Ok(interval) => {
                defaults.interval = interval;
                defaults.source = Source::Environment;
            }
            Err(problem) => tracing::warn!(
                "K6_SYNC_INTERVAL_SECONDS is `{value}`: {problem}; using {}",
                defaults.interval
            ),
        }
    }
    Ok(defaults)
}

fn listen(address: Option<String>) -> Result<SocketAddr, ConfigError> {
    let address = address.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    address.parse().map_err(|_| ConfigError::Invalid {
        setting: "listen",
        value: format!("`{address}`"),
        problem: "it must be an address and a port, such as 0.0.0.0:8080".to_owned(),
    })
}

fn audiences(audiences: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let audiences = audiences.unwrap_or_default();
    match audiences.iter().any(|audience| audience.trim().is_empty()) {
        true => Err(ConfigError::Invalid {
            setting: "auth.audiences",
            value: format!("{audiences:?}"),
            problem: "an audience can't be empty; write one such as [\"https://k6sync.example.com\"], or [] for the API server's"
                .to_owned(),
        }),
        false => Ok(audiences),
    }
}

fn api_key(environment: Environment<'_>) -> Result<Option<ApiKey>, ConfigError> {
    // A Secret that was made of a file ends in a newline, which no header can.
    let key = given_or_in_file(environment, "K6_SYNC_API_KEY")?.map(|key| key.trim().to_owned());
    match key {
        Some(key) if key.chars().count() < ApiKey::MIN_LEN => Err(ConfigError::Invalid {
            setting: "K6_SYNC_API_KEY",
            value: format!("{} characters long", key.chars().count()),
            problem: format!(
                "it must have at least {} characters, or not be set",
                ApiKey::MIN_LEN
            ),
        }),
        key => Ok(key.map(ApiKey::new)),
    }
}

/// Host name and process id: in a pod, the pod's name.
fn instance(environment: Environment<'_>) -> String {
    let host = given(environment, "HOSTNAME")
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_else(|| "unknown".to_owned());
    format!("{}/{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests;
