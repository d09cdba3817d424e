//! The parameters of a request, each read once; what is not known is refused, with what was probably meant. Pure.
//!
//! A misspelt filter would answer with more than was asked for, and nobody would notice.

use std::fmt::Display;
use std::str::FromStr;

use url::form_urlencoded;

/// How much of a wrong value an error quotes, characters.
const QUOTED: usize = 60;

/// Parameters as they were sent.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Of a query string, in which only these may be.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(super) fn of(query: Option<&str>, known: &[&str]) -> Result<Self, String> {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let pairs: Vec<(String, String)> = pairs.into_owned().collect();
        for (name, value) in &pairs {
            if !known.contains(&name.as_str()) {
                return Err(unknown(name, known));
            }
            if value.contains('\0') {
                return Err(format!("{name}: it can't have a NUL character"));
            }
        }
        Ok(Self(pairs))
    }

    /// Each value of a parameter that may be there several times; commas part values, too.
    pub(super) fn all<T: FromStr>(&self, name: &str) -> Result<Vec<T>, String>
    where
        T::Err: Display,
    {
        let values = self.0.iter().filter(|(key, _)| key == name);
        let values = values.flat_map(|(_, value)| value.split(','));
        values.map(|value| read(name, value)).collect()
    }

    /// Each value as it is.
    pub(super) fn each(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// The value of a parameter that may be there once.
    pub(super) fn one<T: FromStr>(&self, name: &str) -> Result<Option<T>, String>
    where
        T::Err: Display,
    {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => read(name, value).map(Some),
            (Some(_), Some(_)) => Err(format!("{name}: it is there twice; keep one of them")),
        }
    }

    /// `true`; not there or `false`: it is not.
    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.one::<String>(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(format!("{name}: it must be true or false")),
        }
    }
}

fn read<T: FromStr>(name: &str, value: &str) -> Result<T, String>
where
    T::Err: Display,
{
    let problem = |problem: T::Err| format!("{name} is `{}`: {problem}", quoted(value));
    value.parse().map_err(problem)
}

fn unknown(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase()),
                known,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let name = quoted(name);
    match (near, known) {
        (Some((_, near)), _) => {
            format!("the parameter `{name}` is unknown; did you mean `{near}`?")
        }
        (None, []) => format!("the parameter `{name}` is unknown; there are none here"),
        (None, known) => format!(
            "the parameter `{name}` is unknown; there are {}",
            known.join(", ")
        ),
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["status", "since", "limit", "failed"];

    fn error(query: &str) -> String {
        Query::of(Some(query), KNOWN).err().unwrap_or_default()
    }

    #[test]
    fn what_is_unknown_is_named_with_what_was_meant() {
        assert_eq!(
            error("stauts=passed"),
            "the parameter `stauts` is unknown; did you mean `status`?"
        );
        assert_eq!(
            error("Limit=1"),
            "the parameter `Limit` is unknown; did you mean `limit`?"
        );
        assert!(error("x=1").contains("there are status, since"));
        assert!(error(&format!("{}=1", "y".repeat(5_000))).len() < 300);
        assert!(error("since=%00").contains("NUL"));
    }

    #[test]
    fn values_are_read() {
        let query = Query::of(
            Some("status=a,b&status=c&limit=7&failed=true&since=x%20y+z"),
            KNOWN,
        )
        .unwrap();
        assert_eq!(query.all::<String>("status").unwrap(), ["a", "b", "c"]);
        assert_eq!(query.one::<u32>("limit"), Ok(Some(7)));
        assert_eq!(query.one::<String>("since"), Ok(Some("x y z".to_owned())));
        assert_eq!(query.flag("failed"), Ok(true));
        let query = Query::of(Some("limit=a&since=1&since=2&failed=maybe"), KNOWN).unwrap();
        assert!(
            query
                .one::<u32>("limit")
                .unwrap_err()
                .starts_with("limit is `a`: ")
        );
        assert!(query.one::<String>("since").unwrap_err().contains("twice"));
        assert!(query.flag("failed").is_err());
        assert_eq!(Query::of(None, KNOWN).unwrap().flag("failed"), Ok(false));
    }
}
