//! YAML; the only user of the crate `serde_yaml`.

use serde::de::DeserializeOwned;

/// Reads `text`; the error names the field, what is wrong with it, and the line.
///
/// # Errors
/// When `text` is no YAML or not of the type `T`.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let document = serde_yaml::Deserializer::from_str(text);
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner().to_string();
        // serde_yaml names the path itself where it knows one.
        match path == "." || problem.starts_with(&path) {
            true => problem,
            false => format!("{path}: {problem}"),
        }
    })
}
