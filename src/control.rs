//! The control ConfigMap: whether to sync and how often, as people set it at runtime.
//!
//! Precedence: ConfigMap, then environment, then configuration file, then on and 20 s. A value that makes no sense is
//! refused with a warning and the next source is used: control never stops a sync that people rely on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

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
    pub fn new(seconds: u64) -> Result<Self, String> {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Whether to sync.
    pub enabled: bool,
    /// How often.
    pub interval: Interval,
    /// Who said how often.
    pub source: Source,
}

impl Control {
    /// `data` of the ConfigMap, if there is one, over the defaults; and a warning for each value that is refused.
    pub fn resolve(
        data: Option<&BTreeMap<String, String>>,
        defaults: Defaults,
    ) -> (Self, Vec<String>) {
        let mut control = Self {
            enabled: defaults.enabled,
            interval: defaults.interval,
            source: defaults.source,
        };
        let mut warnings = Vec::new();
        let Some(data) = data else {
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
            let (control, warned) = Control::resolve(Some(&data), defaults);
            let seen = (control.enabled, control.interval.seconds(), control.source);
            assert_eq!(seen, expected, "{data:?}");
            assert_eq!(warned.len(), warnings, "{warned:?}");
        }
        let (control, _) = Control::resolve(None, defaults);
        assert_eq!(control.interval.seconds(), 30);
    }
}
