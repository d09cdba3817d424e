//! YAML; the only user of the crate `serde_yaml`. No value of a text is part of an error.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::discreet::HIDDEN;
use crate::harmless;

/// Why a text can't be read. None of it shows a value of the text.
#[derive(Debug)]
pub(crate) struct YamlError {
    /// Which field, such as `namespaces[1]`; `.`: the whole.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// The line, from 1.
    pub(crate) line: Option<usize>,
}

/// Reads `text`.
///
/// # Errors
/// When `text` is no YAML or not of the type `T`.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let document = serde_yaml::Deserializer::from_str(text);
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        YamlError {
            path,
            problem: without_quoted(&error.to_string()),
            line: error.location().map(|location| location.line()),
        }
    })
}

/// `value` as YAML, harmless to terminals.
///
/// # Errors
/// When it can't be YAML, such as a map whose keys are maps.
pub(crate) fn to_string(value: &impl Serialize) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(value).map(|text| harmless::lines(&text))
}

/// Whatever an error shows of the text stands in quotation marks; but a field that is there twice is one of ours.
fn without_quoted(problem: &str) -> String {
    if problem.contains("duplicate field `") {
        return problem.to_owned();
    }
    let mut problem = problem.to_owned();
    for mark in ['"', '`'] {
        if let (Some(first), Some(last)) = (problem.find(mark), problem.rfind(mark)) {
            problem.replace_range(first..=last, HIDDEN);
        }
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_shows_a_value() {
        for text in [
            "a: [",
            "a: secret: b",
            "a: *secret",
            "!secret {a: b}",
            "\"secret",
            "{\"secret\": }",
            "? [secret]\n: x",
            "%secret",
            "a: @secret",
        ] {
            if let Err(error) = from_str::<serde_json::Value>(text) {
                assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            }
            let error = from_str::<Vec<u8>>(text).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
