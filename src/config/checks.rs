//! What values can be.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Direction, SpanPrinter};

use super::error::ConfigError;
use super::file::Setting;
use crate::cluster::Namespaces;
use crate::discreet;

pub(super) fn only(setting: &'static str, names: Vec<String>) -> Result<Namespaces, ConfigError> {
    let names = names.into_iter().map(|name| namespace(setting, name));
    let mut names = names.collect::<Result<Vec<String>, _>>()?;
    names.sort();
    names.dedup();
    Ok(Namespaces::Only(names))
}

/// Names are part of request paths: only what can be one is let through.
pub(super) fn namespace(setting: &'static str, name: String) -> Result<String, ConfigError> {
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
pub(super) fn object_name(
    Setting { key, value }: Setting<String>,
    default: &str,
) -> Result<String, ConfigError> {
    let name = value.unwrap_or_else(|| default.to_owned());
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(name),
        false => Err(ConfigError::Invalid {
            setting: key,
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

pub(super) fn positive(
    Setting { key, value }: Setting<SignedDuration>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(value) = value else {
        return Ok(default);
    };
    match Duration::try_from(value) {
        Ok(duration) if duration > LONGEST => Err(ConfigError::Invalid {
            setting: key,
            value: Some(written(value)),
            problem: "it can't be more than 100 years; write a duration such as 10s".to_owned(),
        }),
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(ConfigError::Invalid {
            setting: key,
            value: Some(written(value)),
            problem: "it must be more than nothing; write a duration such as 10s".to_owned(),
        }),
    }
}

/// A duration as people write it in the file, `-1m` and not `1m ago`.
pub(super) fn written(duration: SignedDuration) -> String {
    SpanPrinter::new()
        .direction(Direction::Sign)
        .duration_to_string(&duration)
}
