//! The environment, and the files that it names.

use std::path::Path;

use super::error::ConfigError;
use crate::discreet;

/// Reads the environment; tests give their own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment.
///
/// Bytes that are not UTF-8 become U+FFFD, which no setting takes: a variable that is set is never passed over silently.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A variable that is set but empty is as good as unset.
pub(super) fn given(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// A secret: the variable itself, or the content of the file that the variable `NAME_FILE` names, such as a mounted Secret.
pub(super) fn given_or_in_file(
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
