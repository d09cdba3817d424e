//! Flag > environment > file > default, checked once, into one typed [`Config`]. The only reader of the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Direction, SpanPrinter};
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cli::{Common, HoldMode};
use crate::cluster::Namespaces;
use crate::cycle::Discovery;
use crate::discreet;
use crate::server::api_key::ApiKey;
use crate::server::tls::TlsFiles;
use crate::store::{DatabaseUrl, DatabaseUrlError};
use crate::sync_loop::control::{Defaults, Interval, Source};
use crate::telemetry::LogFormat;
use crate::yaml::{self, YamlError};

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

/// What a key takes, in words.
mod takes {
    pub(super) const SECTION: &str = "keys with values";
    pub(super) const TEXT: &str = "text, if need be in quotation marks";
    pub(super) const TEXTS: &str = "a list of texts";
    pub(super) const FILE: &str = "the path of a file";
    pub(super) const SWITCH: &str = "true or false";
    pub(super) const NUMBER: &str = "a whole number";
    pub(super) const DURATION: &str = "a duration with its unit, such as 10m";
    pub(super) const DISCOVERY: &str = "all, labelled or off";
    pub(super) const HOLD: &str = "cleanup, all or none";
}

/// Every key, and what it takes.
const KEYS: &[(&str, &str)] = &[
    ("databaseUrl", takes::TEXT),
    ("context", takes::TEXT),
    ("namespaces", takes::TEXTS),
    ("allNamespaces", takes::SWITCH),
    ("discovery", takes::DISCOVERY),
    ("missingAfter", takes::DURATION),
    ("enabled", takes::SWITCH),
    ("intervalSeconds", takes::NUMBER),
    ("listen", takes::TEXT),
    ("shutdownGrace", takes::DURATION),
    ("tls", takes::SECTION),
    ("tls.cert", takes::FILE),
    ("tls.key", takes::FILE),
    ("auth", takes::SECTION),
    ("auth.audiences", takes::TEXTS),
    ("control", takes::SECTION),
    ("control.configMap", takes::TEXT),
    ("control.namespace", takes::TEXT),
    ("leaderElection", takes::SECTION),
    ("leaderElection.enabled", takes::SWITCH),
    ("leaderElection.lease", takes::TEXT),
    ("kubernetes", takes::SECTION),
    ("kubernetes.requestTimeout", takes::DURATION),
    ("kubernetes.cycleDeadline", takes::DURATION),
    ("capture", takes::SECTION),
    ("capture.concurrency", takes::NUMBER),
    ("capture.hold", takes::HOLD),
    ("capture.holdTimeout", takes::DURATION),
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
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment.
///
/// Bytes that are not UTF-8 become U+FFFD, which no setting takes: a variable that is set is never passed over silently.
pub(crate) fn process_environment(name: &str) -> Option<String> {
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
    let value = std::fs::read_to_string(&path).map_err(|error| {
        wrong(format!(
            "names {}, which can't be read: {error}",
            file_name(&path)
        ))
    })?;
    // A file ends in a newline, a value does not.
    let value = value.trim_end_matches(['\n', '\r']);
    match value.is_empty() {
        true => Err(wrong(format!("names {}, which is empty", file_name(&path)))),
        false => Ok(Some(value.to_owned())),
    }
}

/// A path in a folder that is there, and not the secret itself instead of a file's name.
fn file_name(path: &str) -> String {
    let folder = Path::new(path).parent();
    match path.starts_with('/') && folder.is_some_and(Path::is_dir) {
        true => discreet::name(path).to_owned(),
        false => "a file (it must be an absolute path in a folder that is there)".to_owned(),
    }
}

/// The log filter, which is needed before anything else can be told.
pub(crate) fn log_filter(environment: Environment<'_>) -> Option<String> {
    given(environment, "RUST_LOG")
}

/// The form of the log, likewise.
pub(crate) fn log_format(common: &Common) -> LogFormat {
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
                value: Some(written(missing_after)),
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
                value: Some(concurrency.to_string()),
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
            control_config_map: object_name(
                "control.configMap",
                file.control.config_map,
                DEFAULT_CONTROL_CONFIG_MAP,
            )?,
            control_namespace: file
                .control
                .namespace
                .map(|name| namespace("control.namespace", name))
                .transpose()?,
            control_defaults: control_defaults(file.enabled, file.interval_seconds, environment)?,
            listen: listen(file.listen)?,
            tls_cert: file.tls.cert,
            tls_key: file.tls.key,
            auth_audiences: audiences(file.auth.audiences)?,
            shutdown_grace: positive("shutdownGrace", file.shutdown_grace, DEFAULT_SHUTDOWN_GRACE)?,
            lease: match file.leader_election.enabled {
                Some(false) => None,
                _ => Some(object_name(
                    "leaderElection.lease",
                    file.leader_election.lease,
                    DEFAULT_LEASE,
                )?),
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
    let document: serde_json::Value =
        yaml::from_str(&text).map_err(|error| malformed(error.problem))?;
    if let Some(key) = unknown_key(&document) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            advice: nearest_key(&key)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default(),
            key,
        });
    }
    yaml::from_str(&text).map_err(|error| malformed(refusal(&error, &document)))
}

/// Which key has a value that it can't have, and what it takes; the value itself only where that can't be a secret.
fn refusal(error: &YamlError, document: &serde_json::Value) -> String {
    let at = error
        .line
        .map(|line| format!(", at line {line}"))
        .unwrap_or_default();
    if error.problem.contains("duplicate field") {
        return error.problem.clone();
    }
    if error.path == "." {
        let kind = kind_of(document);
        return format!("it is {kind}, expected {}{at}", takes::SECTION);
    }
    let path = &error.path;
    let (key, is_item) = match path.split_once('[') {
        Some((key, _)) => (key, true),
        None => (path.as_str(), false),
    };
    let takes = KEYS.iter().find(|(known, _)| *known == key);
    let takes = takes.map_or("another value", |(_, takes)| *takes);
    let pointer = format!("/{}", key.replace('.', "/"));
    match document.pointer(&pointer) {
        _ if is_item => format!("{path}: it is no text{at}"),
        Some(number @ serde_json::Value::Number(_)) if shows_numbers(takes) => {
            format!("{path}: it is `{number}`, expected {takes}{at}")
        }
        value => {
            let kind = value.map_or("nothing", kind_of);
            format!("{path}: it is {kind}, expected {takes}{at}")
        }
    }
}

/// Who writes a number there has mistaken it for another number.
fn shows_numbers(takes: &str) -> bool {
    [takes::SWITCH, takes::NUMBER, takes::DURATION].contains(&takes)
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "empty",
        serde_json::Value::Bool(_) => "true or false",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "some other text",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "keys with values",
    }
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
        if !is_key(key) {
            return Some(key.clone());
        }
        let children = value
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys());
        for child in children {
            let key = format!("{key}.{child}");
            if !is_key(&key) {
                return Some(key);
            }
        }
    }
    None
}

fn is_key(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

/// The known key whose last part is most like that of `key`, if any is near; of two, the one in the same place.
fn nearest_key(key: &str) -> Option<&'static str> {
    const ELSEWHERE: f64 = 0.95;
    fn parts(key: &str) -> (&str, &str) {
        key.rsplit_once('.').unwrap_or(("", key))
    }
    let (place, name) = parts(key);
    KEYS.iter()
        .map(|(known, _)| {
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
            value: Some("true".to_owned()),
            problem: format!(
                "namespaces is set too ({}); keep one of them",
                names
                    .iter()
                    .map(|name| discreet::name(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }),
        (None, true) => Ok(Some(Namespaces::All)),
        (Some(names), false) if names.is_empty() => Err(ConfigError::Invalid {
            setting: "namespaces",
            value: Some("empty".to_owned()),
            problem: "name at least one, or leave the key out for the kubeconfig's own".to_owned(),
        }),
        (Some(names), false) => only("namespaces", names).map(Some),
        (None, false) => Ok(None),
    }
}

fn only(setting: &'static str, names: Vec<String>) -> Result<Namespaces, ConfigError> {
    let names = names.into_iter().map(|name| namespace(setting, name));
    let mut names = names.collect::<Result<Vec<String>, _>>()?;
    names.sort();
    names.dedup();
    Ok(Namespaces::Only(names))
}

/// Names are part of request paths: only what can be one is let through.
fn namespace(setting: &'static str, name: String) -> Result<String, ConfigError> {
    let is_label = name.len() <= 63 && is_label(&name);
    match is_label {
        true => Ok(name),
        false => Err(ConfigError::Invalid {
            setting,
            value: Some(format!("`{}`", discreet::name(&name))),
            problem: "it is no namespace's name: lower-case letters, digits and -, at most 63"
                .to_owned(),
        }),
    }
}

/// The name of a ConfigMap or a Lease.
fn object_name(
    setting: &'static str,
    name: Option<String>,
    default: &str,
) -> Result<String, ConfigError> {
    let name = name.unwrap_or_else(|| default.to_owned());
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(name),
        false => Err(ConfigError::Invalid {
            setting,
            value: Some(format!("`{}`", discreet::name(&name))),
            problem: "it is no name of an object: lower-case letters, digits, - and ., at most 253"
                .to_owned(),
        }),
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
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
            value: Some(written(value)),
            problem: "it can't be more than 100 years; write a duration such as 10s".to_owned(),
        }),
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(ConfigError::Invalid {
            setting,
            value: Some(written(value)),
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
            value: Some(seconds.to_string()),
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
                "K6_SYNC_INTERVAL_SECONDS is `{}`: {problem}; using {}",
                discreet::word(&value),
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
        value: None,
        problem: "it must be an address and a port, such as 0.0.0.0:8080".to_owned(),
    })
}

fn audiences(audiences: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let audiences = audiences.unwrap_or_default();
    match audiences.iter().any(|audience| audience.trim().is_empty()) {
        true => Err(ConfigError::Invalid {
            setting: "auth.audiences",
            value: None,
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
            value: Some(format!("{} characters long", key.chars().count())),
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
        .filter(|host| discreet::name(host) == host)
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_else(|| "unknown".to_owned());
    format!("{}/{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests;
