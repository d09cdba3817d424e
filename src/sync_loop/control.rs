//! The control ConfigMap: whether to sync and how often, as people set it at runtime. Read, watched and changed here.
//!
//! Precedence: ConfigMap, then environment, then configuration file, then the defaults (on, 20 s). A value that makes no sense
//! is refused with a warning and the next source is used: control never stops a sync that people rely on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterError, ConfigMap, ConfigMapChange};

/// Seconds between the starts of two cycles: 5 to 300, 20 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(u64);

impl Interval {
    /// The shortest: below it the API server would feel us.
    pub const MIN: u64 = 5;
    /// The longest: beyond it dashboards are stale.
    pub const MAX: u64 = 300;

    /// # Errors
    /// Says the range, if `seconds` is not in it.
    pub(crate) fn new(seconds: u64) -> Result<Self, String> {
        match seconds {
            Self::MIN..=Self::MAX => Ok(Self(seconds)),
            _ => Err(Self::problem()),
        }
    }

    /// Seconds.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    fn problem() -> String {
        format!(
            "it must be a whole number of seconds from {} to {}",
            Self::MIN,
            Self::MAX
        )
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self(20)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl FromStr for Interval {
    type Err = String;

    /// White space around the number is forgiven.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text.trim().parse().map_err(|_| Self::problem())?;
        Self::new(seconds)
    }
}

/// Where the interval comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    #[default]
    Default,
    /// `intervalSeconds` in the configuration file.
    ConfigFile,
    /// `K6_SYNC_INTERVAL_SECONDS`
    Environment,
    /// The ConfigMap.
    Runtime,
}

/// What holds where the ConfigMap says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Whether to sync.
    pub enabled: bool,
    /// How often.
    pub interval: Interval,
    /// Who said how often.
    pub source: Source,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Interval::default(),
            source: Source::Default,
        }
    }
}

/// What holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Whether to sync.
    pub enabled: bool,
    /// How often.
    pub interval: Interval,
    /// Who said how often.
    pub source: Source,
    /// When a restart was last asked for, as written by who asked: when this changes, a cycle starts at once.
    pub restarted_at: Option<String>,
}

impl Control {
    /// Who said how often, in the words of the contract.
    pub(crate) fn configured_via(&self) -> String {
        match self.source {
            Source::Default => format!("default ({})", self.interval),
            Source::ConfigFile => "config file".to_owned(),
            Source::Environment => "K6_SYNC_INTERVAL_SECONDS".to_owned(),
            Source::Runtime => "runtime override".to_owned(),
        }
    }

    /// The ConfigMap, if there is one, over the defaults; and a warning for each value that is refused.
    pub fn resolve(map: Option<&ConfigMap>, defaults: Defaults) -> (Self, Vec<String>) {
        let mut control = Self {
            enabled: defaults.enabled,
            interval: defaults.interval,
            source: defaults.source,
            restarted_at: map.and_then(|map| map.annotations.get(RESTARTED_AT).cloned()),
        };
        let mut warnings = Vec::new();
        let Some(ConfigMap { data, .. }) = map else {
            return (control, warnings);
        };
        if let Some(value) = data.get("enabled") {
            match value.trim().to_ascii_lowercase().as_str() {
                "true" => control.enabled = true,
                "false" => control.enabled = false,
                _ => warnings.push(format!(
                    "enabled is `{value}`: it must be \"true\" or \"false\"; using {}",
                    control.enabled
                )),
            }
        }
        if let Some(value) = data.get("intervalSeconds") {
            match value.parse() {
                Ok(interval) => {
                    control.interval = interval;
                    control.source = Source::Runtime;
                }
                Err(problem) => warnings.push(format!(
                    "intervalSeconds is `{value}`: {problem}; using {}",
                    control.interval
                )),
            }
        }
        (control, warnings)
    }
}

/// The annotation that says when a restart was last asked for.
const RESTARTED_AT: &str = "k6sync.dev/restartedAt";
/// How often the ConfigMap is read: even with a dead connection in between, an edit takes effect within 2 s.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// After this, reading it is reported as failed, and begins anew.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a change is tried while others change the ConfigMap.
const TRIES: usize = 5;

/// What people may do to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Switch sync on, with this interval if one is given.
    Start(Option<Interval>),
    /// Switch it off.
    Stop,
    /// Switch it on, go back to the default interval unless one is given, and start a cycle at once.
    Restart(Option<Interval>),
}

impl Action {
    /// What was done, in the words of the contract; `control` is what then holds.
    pub(crate) fn result(self, control: &Control) -> String {
        let seconds = control.interval.seconds();
        match self {
            Self::Start(_) => format!("Sync job started with an interval of {seconds} seconds"),
            Self::Stop => "Sync job stopped".to_owned(),
            Self::Restart(_) => {
                format!("Sync job restarted with an interval of {seconds} seconds")
            }
        }
    }
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// Others change the ConfigMap all the time.
    #[error(
        "the ConfigMap {namespace}/{name} was changed by others {TRIES} times while this change was made; try again"
    )]
    LostRace {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The control ConfigMap in a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ControlMap {
    cluster: Cluster,
    namespace: String,
    name: String,
    defaults: Defaults,
}

impl ControlMap {
    /// The ConfigMap of that name; `defaults` hold where it says nothing.
    pub(crate) fn new(cluster: Cluster, namespace: &str, name: &str, defaults: Defaults) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            defaults,
        }
    }

    /// The ConfigMap's namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What holds where the ConfigMap says nothing.
    pub(crate) fn defaults(&self) -> Defaults {
        self.defaults
    }

    /// The same ConfigMap, for requests that must be done by `deadline`.
    pub(crate) fn until(&self, deadline: Instant) -> Self {
        Self {
            cluster: self.cluster.until(deadline),
            ..self.clone()
        }
    }

    /// What holds now. A value that is refused is reported in the log.
    ///
    /// # Errors
    /// [`ClusterError`]; no ConfigMap is none.
    pub(crate) async fn read(&self) -> Result<Control, ClusterError> {
        let map = self.cluster.find(&self.namespace, &self.name).await?;
        Ok(self.resolve(map.as_ref()))
    }

    /// Keeps `control` up to date until its receivers are gone. What held last goes on to hold while the API server
    /// can't be reached.
    ///
    /// It polls each second. A watch would be faster, but a watch on a dead connection is silent, and looks as if nothing had
    /// changed.
    pub(crate) async fn follow(&self, control: watch::Sender<Control>) {
        let mut last_problem = String::new();
        let mut last_map = None;
        loop {
            let look = self.until(Instant::now() + LOOK_TIMEOUT);
            let look = look.cluster.find(&self.namespace, &self.name);
            let look = tokio::select! {
                look = look => look,
                () = control.closed() => return,
            };
            match look {
                Ok(map) => {
                    last_problem.clear();
                    if last_map.as_ref() == Some(&map) {
                        sleep(LOOK_PERIOD).await;
                        continue;
                    }
                    let now = self.resolve(map.as_ref());
                    last_map = Some(map);
                    control.send_if_modified(|known| {
                        let is_news = *known != now;
                        *known = now;
                        is_news
                    });
                }
                Err(error) => {
                    let problem = error.to_string();
                    if problem != last_problem {
                        tracing::warn!(%error, "the control ConfigMap can't be read; what it said last goes on to hold");
                        last_problem = problem;
                    }
                }
            }
            sleep(LOOK_PERIOD).await;
        }
    }

    /// Does what `action` says to the ConfigMap, creating it if there is none; returns what then holds.
    ///
    /// # Errors
    /// [`ControlError`]
    pub(crate) async fn apply(&self, action: Action) -> Result<Control, ControlError> {
        for _ in 0..TRIES {
            let read = self.cluster.find(&self.namespace, &self.name).await?;
            let change = change(action, Timestamp::now());
            let written = self
                .cluster
                .write(&self.namespace, &self.name, read.as_ref(), &change)
                .await;
            match written {
                Ok(map) => return Ok(self.resolve(Some(&map))),
                // Others may have said something that matters: read it again.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::LostRace {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        })
    }

    fn resolve(&self, map: Option<&ConfigMap>) -> Control {
        let (control, warnings) = Control::resolve(map, self.defaults);
        for warning in warnings {
            tracing::warn!("ConfigMap {}/{}: {warning}", self.namespace, self.name);
        }
        control
    }
}

/// What an action changes; null removes a key.
fn change(action: Action, now: Timestamp) -> ConfigMapChange {
    let seconds = |interval: Interval| Some(interval.seconds().to_string());
    let mut change = ConfigMapChange::default();
    let data = &mut change.data;
    match action {
        Action::Start(interval) => {
            data.insert("enabled", Some("true".to_owned()));
            if let Some(interval) = interval {
                data.insert("intervalSeconds", seconds(interval));
            }
        }
        Action::Stop => {
            data.insert("enabled", Some("false".to_owned()));
        }
        Action::Restart(interval) => {
            data.insert("enabled", Some("true".to_owned()));
            data.insert("intervalSeconds", interval.and_then(seconds));
            change
                .annotations
                .insert(RESTARTED_AT, Some(format!("{now:.6}")));
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_map_goes_before_the_defaults_and_nonsense_does_not_count() {
        let defaults = Defaults {
            enabled: true,
            interval: Interval::new(30).unwrap(),
            source: Source::Environment,
        };
        for (enabled, interval, expected, warnings) in [
            (None, None, (true, 30, Source::Environment), 0),
            (Some("false"), None, (false, 30, Source::Environment), 0),
            (
                Some(" FALSE "),
                Some(" 15 "),
                (false, 15, Source::Runtime),
                0,
            ),
            (Some("no"), Some("5"), (true, 5, Source::Runtime), 1),
            (Some("true"), Some("300"), (true, 300, Source::Runtime), 0),
            (None, Some("4"), (true, 30, Source::Environment), 1),
            (None, Some("301"), (true, 30, Source::Environment), 1),
            (None, Some("20.5"), (true, 30, Source::Environment), 1),
            (None, Some(""), (true, 30, Source::Environment), 1),
            (Some(""), Some("abc"), (true, 30, Source::Environment), 2),
        ] {
            let data = [("enabled", enabled), ("intervalSeconds", interval)]
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
                .collect();
            let map = ConfigMap {
                data,
                ..ConfigMap::default()
            };
            let (control, warned) = Control::resolve(Some(&map), defaults);
            let seen = (control.enabled, control.interval.seconds(), control.source);
            assert_eq!(seen, expected, "{map:?}");
            assert_eq!(warned.len(), warnings, "{warned:?}");
        }
        let (control, _) = Control::resolve(None, defaults);
        assert_eq!(control.interval.seconds(), 30);
    }
}
