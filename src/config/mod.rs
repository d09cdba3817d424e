//! Flag > environment > file > default, checked once, into one typed [`Config`]. The only reader of the environment.

mod checks;
mod environment;
mod error;
mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use self::checks::{namespace, object_name, only, positive, written};
pub(crate) use self::environment::{Environment, log_filter, process_environment};
use self::environment::{given, given_or_in_file};
pub use self::error::ConfigError;
use self::file::{File, Setting};
use crate::cli::{Common, HoldMode};
use crate::cluster::Namespaces;
use crate::cycle::Discovery;
use crate::discreet;
use crate::server::api_key::ApiKey;
use crate::server::door::proxy::{Proxies, network};
use crate::server::door::rights::Clusters;
use crate::server::door::session::CookieKey;
use crate::server::tls::TlsFiles;
use crate::store::DatabaseUrl;
use crate::sync_loop::control::{Defaults, Interval, Source};
use crate::telemetry::LogFormat;

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
    /// The API key opens reading, too.
    pub api_key_may_read: bool,
    /// Whose runs the server shows besides its own cluster's.
    pub(crate) auth_clusters: Clusters,
    /// Browsers reach the server by HTTPS alone, whatever it speaks itself.
    pub cookie_secure: bool,
    /// What sessions are encrypted with; `None`: a key that dies with the process.
    pub(crate) cookie_key: Option<CookieKey>,
    /// Reverse proxies that say who somebody is.
    pub(crate) proxies: Proxies,
    /// How many may follow logs at a time.
    pub max_followers: usize,
    /// How long the loop lets a running cycle go on after it was told to stop.
    pub shutdown_grace: Duration,
    /// Name of the Lease that one of several loops holds; `None`: each syncs.
    pub lease: Option<String>,
    /// A key that makes an organizer of whoever knows it.
    pub(crate) api_key: Option<ApiKey>,
    /// Who we are, in `sync_cycles.instance` and in the lease.
    pub instance: String,
}

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
const DEFAULT_MAX_FOLLOWERS: usize = 200;
const MAX_FOLLOWERS: usize = 10_000;
const DEFAULT_HOLD_TIMEOUT: Duration = Duration::from_mins(10);

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
            Some(path) => file::read(path)?,
            None => File::default(),
        };
        let database_url = match &common.database_url {
            Some(url) => Some(url.clone()),
            None => given_or_in_file(environment, "DATABASE_URL")?,
        };
        let database_url = database_url
            .or(file.database_url.value)
            .unwrap_or_else(|| DEFAULT_DATABASE_URL.to_owned())
            .parse()?;
        let missing_after = file.missing_after.value.unwrap_or(DEFAULT_MISSING_AFTER);
        if missing_after.is_negative() {
            return Err(ConfigError::Invalid {
                setting: file.missing_after.key,
                value: Some(written(missing_after)),
                problem: "it can't be negative; write a duration such as 10m".to_owned(),
            });
        }
        let concurrency = file
            .capture
            .concurrency
            .value
            .unwrap_or(DEFAULT_CAPTURE_CONCURRENCY);
        if !(1..=MAX_CAPTURE_CONCURRENCY).contains(&concurrency) {
            return Err(ConfigError::Invalid {
                setting: file.capture.concurrency.key,
                value: Some(concurrency.to_string()),
                problem: format!("it must be from 1 to {MAX_CAPTURE_CONCURRENCY}"),
            });
        }
        Ok(Self {
            database_url,
            context: common.context.clone().or(file.context.value),
            namespaces: namespaces(common, file.namespaces, file.all_namespaces)?,
            discovery: file.discovery.value.unwrap_or_default(),
            missing_after,
            request_timeout: positive(file.kubernetes.request_timeout, DEFAULT_REQUEST_TIMEOUT)?,
            cycle_deadline: positive(file.kubernetes.cycle_deadline, DEFAULT_CYCLE_DEADLINE)?,
            capture_concurrency: concurrency,
            capture_hold: file.capture.hold.value,
            capture_hold_timeout: positive(file.capture.hold_timeout, DEFAULT_HOLD_TIMEOUT)?,
            control_config_map: object_name(file.control.config_map, DEFAULT_CONTROL_CONFIG_MAP)?,
            control_namespace: control_namespace(file.control.namespace)?,
            control_defaults: control_defaults(file.enabled, file.interval_seconds, environment)?,
            listen: listen(file.listen)?,
            tls_cert: file.tls.cert.value,
            tls_key: file.tls.key.value,
            auth_audiences: audiences(file.auth.audiences)?,
            api_key_may_read: file.auth.api_key_may_read.value.unwrap_or(false),
            auth_clusters: file
                .auth
                .clusters
                .value
                .map(|clusters| clusters.0)
                .unwrap_or_default(),
            cookie_secure: file.auth.cookie.secure.value.unwrap_or(false),
            cookie_key: cookie_key(environment)?,
            proxies: proxies(file.auth.proxy)?,
            max_followers: max_followers(file.api.max_followers)?,
            shutdown_grace: positive(file.shutdown_grace, DEFAULT_SHUTDOWN_GRACE)?,
            lease: match file.leader_election.enabled.value {
                Some(false) => None,
                _ => Some(object_name(file.leader_election.lease, DEFAULT_LEASE)?),
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

fn namespaces(
    common: &Common,
    in_file: Setting<Vec<String>>,
    all_in_file: Setting<bool>,
) -> Result<Option<Namespaces>, ConfigError> {
    if common.all_namespaces {
        return Ok(Some(Namespaces::All));
    }
    if !common.namespace.is_empty() {
        return only("--namespace", common.namespace.clone()).map(Some);
    }
    match (in_file.value, all_in_file.value.unwrap_or(false)) {
        (Some(names), true) => Err(ConfigError::Invalid {
            setting: all_in_file.key,
            value: Some("true".to_owned()),
            problem: format!(
                "{} is set too ({}); keep one of them",
                in_file.key,
                names
                    .iter()
                    .map(|name| discreet::name(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }),
        (None, true) => Ok(Some(Namespaces::All)),
        (Some(names), false) if names.is_empty() => Err(ConfigError::Invalid {
            setting: in_file.key,
            value: Some("empty".to_owned()),
            problem: "name at least one, or leave the key out for the kubeconfig's own".to_owned(),
        }),
        (Some(names), false) => only(in_file.key, names).map(Some),
        (None, false) => Ok(None),
    }
}

/// What holds below the ConfigMap: the environment, then the file, then on and 20 s. A wrong variable is refused with a
/// warning, and the next source is used; a wrong key in the file is an error, as every wrong key is.
fn control_defaults(
    enabled: Setting<bool>,
    interval_seconds: Setting<u64>,
    environment: Environment<'_>,
) -> Result<Defaults, ConfigError> {
    let mut defaults = Defaults::default();
    if let Some(enabled) = enabled.value {
        defaults.enabled = enabled;
    }
    if let Some(seconds) = interval_seconds.value {
        defaults.interval = Interval::new(seconds).map_err(|problem| ConfigError::Invalid {
            setting: interval_seconds.key,
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

fn control_namespace(setting: Setting<String>) -> Result<Option<String>, ConfigError> {
    let name = setting.value.map(|name| namespace(setting.key, name));
    name.transpose()
}

fn listen(address: Setting<String>) -> Result<SocketAddr, ConfigError> {
    let key = address.key;
    let address = address.value.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    address.parse().map_err(|_| ConfigError::Invalid {
        setting: key,
        value: None,
        problem: "it must be an address and a port, such as 0.0.0.0:8080".to_owned(),
    })
}

fn audiences(setting: Setting<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let audiences = setting.value.unwrap_or_default();
    match audiences.iter().any(|audience| audience.trim().is_empty()) {
        true => Err(ConfigError::Invalid {
            setting: setting.key,
            value: None,
            problem: "an audience can't be empty; write one such as [\"https://k6sync.example.com\"], or [] for the API server's"
                .to_owned(),
        }),
        false => Ok(audiences),
    }
}

fn max_followers(setting: Setting<usize>) -> Result<usize, ConfigError> {
    let followers = setting.value.unwrap_or(DEFAULT_MAX_FOLLOWERS);
    match followers <= MAX_FOLLOWERS {
        true => Ok(followers),
        false => Err(ConfigError::Invalid {
            setting: setting.key,
            value: Some(followers.to_string()),
            problem: format!("it must be from 0 to {MAX_FOLLOWERS}"),
        }),
    }
}

fn proxies(section: file::Proxy) -> Result<Proxies, ConfigError> {
    let defaults = Proxies::default();
    let addresses = section.trusted_addresses;
    let trusted = addresses.value.unwrap_or_default();
    let trusted = trusted.iter().map(|text| {
        network(text).ok_or_else(|| ConfigError::Invalid {
            setting: addresses.key,
            value: Some(format!("`{}`", discreet::word(text))),
            problem: "it must be an address or a network, such as 10.1.2.3 or 10.1.0.0/16"
                .to_owned(),
        })
    });
    let header = |setting: Setting<String>, default| match setting.value {
        None => Ok(default),
        Some(name) => name.parse().map_err(|_| ConfigError::Invalid {
            setting: setting.key,
            value: Some(format!("`{}`", discreet::word(&name))),
            problem: "it must be the name of a header, such as X-Forwarded-User".to_owned(),
        }),
    };
    Ok(Proxies {
        trusted: trusted.collect::<Result<_, _>>()?,
        user: header(section.user_header, defaults.user)?,
        groups: header(section.groups_header, defaults.groups)?,
    })
}

fn cookie_key(environment: Environment<'_>) -> Result<Option<CookieKey>, ConfigError> {
    let key = given_or_in_file(environment, "K6_SYNC_COOKIE_KEY")?;
    match key {
        Some(key) if key.len() < CookieKey::MIN_LEN => Err(ConfigError::Invalid {
            setting: "K6_SYNC_COOKIE_KEY",
            value: Some(format!("{} bytes long", key.len())),
            problem: format!(
                "it must have at least {} bytes, or not be set; `openssl rand -hex 32` makes one",
                CookieKey::MIN_LEN
            ),
        }),
        key => Ok(key.as_deref().map(CookieKey::new)),
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
