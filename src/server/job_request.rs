//! The body of `POST`: what is asked for, and what was probably meant where it is nearly right. Pure.
//!
//! A misspelt `intervalSeconds` would start the job with another interval than the one asked for, so it is refused. Other
//! unknown fields do no harm; the answer names them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::sync_loop::control::{Action, Interval};

/// How much of a wrong value an error quotes, characters.
const QUOTED: usize = 100;

/// `{"action":"start|stop|restart","intervalSeconds":15}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// What to do.
    pub action: Action,
    /// Its name.
    pub word: &'static str,
    /// Unknown fields, sorted.
    pub ignored: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    action: Option<String>,
    #[serde(default)]
    interval_seconds: Value,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl JobRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let unexpected = |what| format!("the body is not the JSON expected: {what}");
        // Serde would take a list of the values for an object.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(unexpected("it must be an object".to_owned()));
        }
        let body: Body =
            serde_json::from_slice(body).map_err(|error| unexpected(error.to_string()))?;
        let Some(action) = &body.action else {
            let near = body.others.keys().find(|name| is_nearly_action(name));
            let advice = near.map_or_else(String::new, |name| {
                format!("; it is not spelt `{}`", quoted(name))
            });
            return Err(unexpected(format!("missing field `action`{advice}")));
        };
        let interval = body.interval()?;
        let (word, action) = match action.as_str() {
            "start" => ("start", Action::Start(interval)),
            "stop" => ("stop", Action::Stop),
            "restart" => ("restart", Action::Restart(interval)),
            other => {
                return Err(format!(
                    "the action `{}` is unknown; use start, stop or restart",
                    quoted(other)
                ));
            }
        };
        Ok(Self {
            action,
            word,
            ignored: body.others.into_keys().collect(),
        })
    }
}

impl Body {
    fn interval(&self) -> Result<Option<Interval>, String> {
        let value = &self.interval_seconds;
        if value.is_null() {
            let mut others = self.others.iter();
            return match others.find(|(name, value)| is_nearly_interval(name, value)) {
                Some((name, _)) => Err(format!(
                    "`{}` is unknown; the seconds between two cycles are called `intervalSeconds`",
                    quoted(name)
                )),
                None => Ok(None),
            };
        }
        let interval = value
            .as_u64()
            .ok_or_else(|| Interval::new(0).map_or_else(|problem| problem, |_| String::new()))
            .and_then(Interval::new);
        let wrong = |problem| {
            format!(
                "intervalSeconds is {}: {problem}",
                quoted(&value.to_string())
            )
        };
        interval.map(Some).map_err(wrong)
    }
}

/// Letters and digits only, in lower case: what is left when people spell a name in different ways.
fn letters(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .take(QUOTED)
        .collect()
}

/// Whether a field was meant to be `intervalSeconds`.
fn is_nearly_interval(name: &str, value: &Value) -> bool {
    let name = letters(name);
    if name.contains("interval") {
        return true;
    }
    // A word that looks misspelt may be another one: the value must look like an interval, too.
    let is_number = match value {
        Value::Number(_) => true,
        Value::String(text) => text.trim().parse::<f64>().is_ok(),
        _ => false,
    };
    let is_near = |known: &str, most| strsim::damerau_levenshtein(&name, known) <= most;
    is_number
        && (is_near("intervalseconds", 4)
            || is_near("interval", 2)
            || ["seconds", "secs", "sec"].contains(&&*name))
}

/// Whether a field was meant to be `action`.
fn is_nearly_action(name: &str) -> bool {
    strsim::damerau_levenshtein(&letters(name), "action") <= 2
}

/// The beginning of a foreign text, short enough for a message.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_actions() {
        let interval = |seconds| Some(Interval::new(seconds).unwrap());
        for (body, expected) in [
            (r#"{"action":"start"}"#, Action::Start(None)),
            (
                r#"{"action":"start","intervalSeconds":5}"#,
                Action::Start(interval(5)),
            ),
            (r#"{"action":"stop"}"#, Action::Stop),
            (
                r#"{"action":"restart","intervalSeconds":null}"#,
                Action::Restart(None),
            ),
            (
                r#"{"action":"restart","intervalSeconds":300,"more":1}"#,
                Action::Restart(interval(300)),
            ),
        ] {
            let request = JobRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(request.action, expected, "{body}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for (body, words) in [
            ("", "not the JSON expected"),
            ("[]", "not the JSON expected"),
            (r#"["stop"]"#, "must be an object"),
            (r#"{"action":"stop","action":"start"}"#, "duplicate field"),
            (r#"{"intervalSeconds":15}"#, "action"),
            (r#"{"action":"pause"}"#, "`pause` is unknown"),
            (r#"{"action":"start","intervalSeconds":4}"#, "from 5 to 300"),
            (
                r#"{"action":"start","intervalSeconds":301}"#,
                "from 5 to 300",
            ),
            (
                r#"{"action":"start","intervalSeconds":20.5}"#,
                "from 5 to 300",
            ),
            (
                r#"{"action":"start","intervalSeconds":"15"}"#,
                "from 5 to 300",
            ),
            (
                r#"{"action":"start","intervalSeconds":-5}"#,
                "from 5 to 300",
            ),
        ] {
            let error = JobRequest::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn near_misses_are_refused_in_the_right_words() {
        for body in [
            r#"{"action":"start","interval":15}"#,
            r#"{"action":"start","interval":"15"}"#,
            r#"{"action":"start","interval":null}"#,
            r#"{"action":"restart","interval_seconds":15}"#,
            r#"{"action":"restart","interval-seconds":15}"#,
            r#"{"action":"start","intervalseconds":15}"#,
            r#"{"action":"start","IntervalSeconds":15}"#,
            r#"{"action":"start","INTERVAL_SECONDS":15}"#,
            r#"{"action":"start","intervalMs":15000}"#,
            r#"{"action":"start","interval_ms":15000}"#,
            r#"{"action":"start","Interval":15}"#,
            r#"{"action":"start","intervalSec":15}"#,
            r#"{"action":"start","intervalSecond":15}"#,
            r#"{"action":"start","syncInterval":15}"#,
            r#"{"action":"start","intervallSeconds":15}"#,
            r#"{"action":"start","intevalSeconds":15}"#,
            r#"{"action":"start","intrevalSecnds":15}"#,
            r#"{"action":"start","inteval":15}"#,
            r#"{"action":"start","seconds":15}"#,
            r#"{"action":"start","more":1,"interval":15}"#,
            r#"{"action":"start","intervalSeconds":null,"interval":15}"#,
            r#"{"interval":15,"action":"stop"}"#,
        ] {
            let error = JobRequest::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains("`intervalSeconds`"), "{body}: {error}");
        }
        for (body, near) in [
            (r#"{"Action":"start"}"#, "`Action`"),
            (r#"{"ACTION":"start"}"#, "`ACTION`"),
            (r#"{"acton":"start"}"#, "`acton`"),
            (r#"{"actions":"start"}"#, "`actions`"),
        ] {
            let error = JobRequest::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains("missing field `action`"), "{body}: {error}");
            assert!(error.contains(near), "{body}: {error}");
        }
        let long = format!(r#"{{"action":"{}"}}"#, "x".repeat(10_000));
        let error = JobRequest::parse(long.as_bytes()).unwrap_err();
        assert!(error.len() < 1_000, "{error}");
    }

    #[test]
    fn what_is_not_understood_is_named_and_breaks_nothing() {
        for (body, ignored) in [
            (r#"{"action":"stop"}"#, &[][..]),
            (r#"{"action":"start","more":1}"#, &["more"]),
            (
                r#"{"z":{"interval":3},"action":"start","a":[1],"comment":"soon"}"#,
                &["a", "comment", "z"],
            ),
            // Whose right name is there, is no miss: GET answers both.
            (
                r#"{"action":"start","intervalMs":15000,"intervalSeconds":15}"#,
                &["intervalMs"],
            ),
            (r#"{"action":"start","Action":"stop"}"#, &["Action"]),
            (
                r#"{"action":"start","internal":true,"internalId":"a","second":"one"}"#,
                &["internal", "internalId", "second"],
            ),
        ] {
            let request = JobRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(request.ignored, ignored, "{body}");
        }
    }
}
