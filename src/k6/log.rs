//! What a k6 log says about a test that went wrong: its last error, as a sentence for a step's message, how many VUs the script
//! has, and how bad each line is.
//!
//! k6 writes logfmt (`time="…" level=error msg="…" source=…`) or, with `--log-format json`, one JSON object a line; its
//! messages are Go-quoted in the first case.

use serde::Deserialize;

use crate::harmless;

/// Longer messages are cut: it is a summary, the log itself is in the database.
const MESSAGE_CHARS: usize = 1_000;

/// How bad a line of k6's own log is, in logrus's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
    Panic,
}

impl Level {
    const ALL: [Self; 7] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Fatal,
        Self::Panic,
    ];

    /// The word that k6 writes.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panic => "panic",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        if word == "warn" {
            return Some(Self::Warning);
        }
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// Error or worse.
    pub(crate) fn is_error(self) -> bool {
        self >= Self::Error
    }
}

/// The level that a line says of itself; `None`: it says none. Words in a message are none: only `level=` at the line's beginning
/// or after its time, and the key `level` of a JSON object.
pub(crate) fn level(line: &str) -> Option<Level> {
    if line.starts_with('{') {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            level: std::borrow::Cow<'a, str>,
        }
        // Cheap first.
        if !line.contains("\"level\"") {
            return None;
        }
        return Level::parse(&serde_json::from_str::<Line<'_>>(line).ok()?.level);
    }
    // A summary as JSON may have been printed without a newline after it.
    let line = line.strip_prefix('}').unwrap_or(line);
    let after_time = match line.strip_prefix("time=") {
        Some(rest) => match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\" ")?.1,
            None => rest.split_once(' ')?.1,
        },
        None => line,
    };
    let word = after_time.strip_prefix("level=")?;
    Level::parse(word.split(' ').next()?)
}

/// The message of the last line of level error or worse, on one line; `None`: there is none.
pub(crate) fn last_error(log: &str) -> Option<String> {
    log.lines().rev().find_map(error_of)
}

/// The script's `maxVUs`, from an initializer's log; `None`: it does not say.
///
/// `k6 inspect --execution-requirements` ends by printing one JSON object, indented by two spaces a level (docs/facts.md,
/// "Too many runners show only in maxVUs"). Lines of standard error may be among its own, and the script may have printed
/// objects of its own before.
pub(crate) fn max_vus(log: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Requirements {
        #[serde(rename = "totalDuration")]
        _total_duration: String,
        #[serde(rename = "maxVUs")]
        max_vus: u64,
    }
    let mut found = None;
    let mut object: Option<String> = None;
    for line in log.lines() {
        if line == "{" {
            object = Some(line.to_owned());
        } else if line.starts_with("  ") {
            object.iter_mut().for_each(|object| object.push_str(line));
        } else if line.starts_with('}')
            && let Some(mut text) = object.take()
        {
            text.push('}');
            if let Ok(Requirements { max_vus, .. }) = serde_json::from_str(&text) {
                found = Some(max_vus);
            }
        }
    }
    found
}

fn error_of(line: &str) -> Option<String> {
    let message = match line.starts_with('{') {
        true => json_error(line)?,
        false => logfmt_error(line)?,
    };
    let words: Vec<&str> = message.split_whitespace().collect();
    if words.is_empty() {
        return None;
    }
    let message = harmless::escaped(&words.join(" "));
    Some(message.chars().take(MESSAGE_CHARS).collect())
}

fn is_bad(level: &str) -> bool {
    matches!(level, "error" | "fatal" | "panic")
}

fn json_error(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    is_bad(&line.level).then_some(line.msg)
}

fn logfmt_error(line: &str) -> Option<String> {
    // Cheap first: most lines are not errors.
    let (_, level) = line.split_once("level=")?;
    if !is_bad(level.split(' ').next()?) {
        return None;
    }
    let (_, value) = level.split_once(" msg=")?;
    match value.strip_prefix('"') {
        Some(quoted) => unquote(quoted),
        None => Some(value.split(' ').next()?.to_owned()),
    }
}

/// Reads a Go string literal up to its closing quote; `None` if there is none.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'x' => text.push(code_point(&mut chars, 2)?),
                'u' => text.push(code_point(&mut chars, 4)?),
                'U' => text.push(code_point(&mut chars, 8)?),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

fn code_point(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let hex: String = chars.take(digits).collect();
    let code = u32::from_str_radix(&hex, 16).ok()?;
    Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_error() {
        for (log, expected) in [
            (
                r#"time="2026-11-23T04:39:41Z" level=error msg="Error: setup exploded: cannot reach auth service\n\tat setup (file:///test/throws.js:2:33(3))\n" hint="script exception" source=stacktrace"#,
                Some(
                    "Error: setup exploded: cannot reach auth service at setup (file:///test/throws.js:2:33(3))",
                ),
            ),
            (
                "level=error msg=\"first\"\nlevel=error msg=\"second \\\"quoted\\\" \\u00e9\"\nlevel=info msg=\"later\"\n",
                Some("second \"quoted\" é"),
            ),
            ("time=x level=fatal msg=word other=1", Some("word")),
            (
                r#"{"level":"error","msg":"in JSON","time":"2026-11-23T04:39:41Z"}"#,
                Some("in JSON"),
            ),
            (
                r#"level=error msg="\x1b[2Jgone\r\u202e""#,
                Some("\\u{1b}[2Jgone \\u{202e}"),
            ),
            (r#"level=warning msg="no error""#, None),
            (r#"level=error msg="cut off"#, None),
            (r#"{"level":"info","msg":"level=error"}"#, None),
            ("plain text", None),
            ("", None),
        ] {
            assert_eq!(last_error(log).as_deref(), expected, "{log}");
        }
    }

    #[test]
    fn a_line_says_how_bad_it_is() {
        for (line, expected) in [
            (
                r#"time="2026-11-23T04:39:41Z" level=error msg="x""#,
                Some(Level::Error),
            ),
            (
                "time=2026-11-23T04:39:41Z level=warning msg=x",
                Some(Level::Warning),
            ),
            ("level=warn msg=x", Some(Level::Warning)),
            (
                r#"}time="2026-11-25T08:10:48Z" level=error msg="x""#,
                Some(Level::Error),
            ),
            ("level=fatal", Some(Level::Fatal)),
            (r#"{"level":"panic","msg":"x"}"#, Some(Level::Panic)),
            (
                r#"{"time":"x","msg":"\"level\"","level": "info"}"#,
                Some(Level::Info),
            ),
            // Words of a message.
            (
                r#"time="x" level=info msg="level=error""#,
                Some(Level::Info),
            ),
            (r#"msg="x" level=error"#, None),
            ("my level=error", None),
            (r#"{"msg":"level=error"}"#, None),
            (r#"{"level":"#, None),
            (r#"{"level":7}"#, None),
            ("level=loud", None),
            ("level=", None),
            ("time=", None),
            ("", None),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
        assert!(Level::Panic.is_error() && Level::Error.is_error());
        assert!(!Level::Warning.is_error());
    }

    const REQUIREMENTS: &str = "{\n  \"vus\": 2,\n  \"scenarios\": {\n    \"default\": {\n      \"maxVUs\": 7\n    }\n  },\n  \"totalDuration\": \"45s\",\n  \"maxVUs\": 2\n}";

    #[test]
    fn finds_what_the_script_requires() {
        let recorded = include_str!(
            "../../tests/data/recorded/operator/t1/logs/too-many-runners-initializer-5hhbr.k6.log"
        );
        let recorded: Vec<&str> = recorded
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.1))
            .collect();
        let own = "{\n  \"totalDuration\": \"1s\",\n  \"maxVUs\": 1\n}\n";
        let warning = "time=\"2026-11-25T08:10:28Z\" level=warning msg=\"maxVUs\"\n";
        for (log, expected) in [
            (recorded.join("\n"), Some(2)),
            (recorded.join("\n") + "\n", Some(2)),
            (REQUIREMENTS.to_owned(), Some(2)),
            (
                REQUIREMENTS.replace("  \"vus\"", &format!("{warning}  \"vus\"")),
                Some(2),
            ),
            (format!("{REQUIREMENTS}{warning}"), Some(2)),
            (format!("{own}{REQUIREMENTS}"), Some(2)),
            (format!("{warning}{{\n{REQUIREMENTS}"), Some(2)),
            // Not yet whole, or no object of k6's.
            (REQUIREMENTS.trim_end_matches('}').to_owned(), None),
            (
                format!("{{\"totalDuration\":\"1s\",\"maxVUs\":1}}\n{warning}"),
                None,
            ),
            ("{\n  \"maxVUs\": 1\n}\n".to_owned(), None),
            (own.replace('1', "-1"), None),
            (own.replace("1\n", "1.5\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(max_vus(&log), expected, "{log}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(log in "(level=error msg=)?[\"\\\\a-zu0-9\n {}]{0,80}") {
            last_error(&log);
            max_vus(&log);
            level(&log);
        }
    }
}
