//! Which run is meant: by id, external_id, TestRun uid or name, or `@latest` and `@previous`.
//!
//! Names recur: the newest run of a name is meant. What can be two runs is an error that names both, never a guess.

use std::str::FromStr;

use jiff::Timestamp;

use super::Record;
use crate::discreet;
use crate::store::{Candidate, RunId, StoreError, Visible};

/// How a person names a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunName {
    /// `@latest`: the newest of all.
    Latest,
    /// `@previous`: the one before another, of the same name. Only where there is another.
    Previous,
    /// An id, an external_id, a TestRun's uid or a name.
    Text(String),
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "@latest" => Ok(Self::Latest),
            "@previous" => Ok(Self::Previous),
            "" => Err(
                "a run is named by its id, name, external_id or TestRun uid, or by @latest"
                    .to_owned(),
            ),
            _ if text.starts_with('@') => {
                Err("it is none of @latest and @previous; a run is named by its id, name, external_id or TestRun uid".to_owned())
            }
            _ => Ok(Self::Text(text.to_owned())),
        }
    }
}

impl std::fmt::Display for RunName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Latest => "@latest",
            Self::Previous => "@previous",
            Self::Text(text) => discreet::name(text),
        })
    }
}

/// Why it is not known which run is meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamingError {
    /// None is.
    #[error("{0}")]
    NoSuchRun(String),
    /// More than one may be.
    #[error("`{name}` may be any of {}; name one by its id", of(.candidates))]
    Ambiguous {
        name: String,
        candidates: Vec<Candidate>,
    },
    /// It can't be told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NamingError {
    /// There is no such run, yet.
    pub(crate) const fn is_absence(&self) -> bool {
        matches!(self, Self::NoSuchRun(_))
    }
}

fn of(candidates: &[Candidate]) -> String {
    let each = candidates.iter().map(|candidate| {
        let namespace = match &candidate.namespace {
            Some(namespace) => format!(" in {namespace}"),
            None => String::new(),
        };
        let by = match candidate.by.as_str() {
            "name" => String::new(),
            "uid" => ", by the uid of a TestRun".to_owned(),
            by => format!(", by its {by}"),
        };
        format!("{} ({}{namespace}{by})", candidate.id, candidate.name)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Where to look for a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Among<'a> {
    /// `None`: in all namespaces.
    pub namespaces: Option<&'a [String]>,
    /// Only runs whose row was made at that time or later.
    pub after: Option<Timestamp>,
    /// Only what somebody may see: another run is as good as none.
    pub visible: Visible,
}

impl Record {
    /// The run that is named so.
    ///
    /// # Errors
    /// [`NamingError`]
    pub(crate) async fn find(
        &self,
        name: &RunName,
        among: &Among<'_>,
    ) -> Result<RunId, NamingError> {
        match name {
            RunName::Latest => {
                let latest = self
                    .reader
                    .latest_run(self.schema, among.namespaces, among.after, &among.visible)
                    .await?;
                latest.ok_or_else(|| NamingError::NoSuchRun(none_at_all(among)))
            }
            RunName::Previous => Err(NamingError::NoSuchRun(
                "@previous is the run before another one: it can only be the first of two"
                    .to_owned(),
            )),
            RunName::Text(text) => {
                let candidates = self
                    .reader
                    .candidates(
                        self.schema,
                        text,
                        among.namespaces,
                        among.after,
                        &among.visible,
                    )
                    .await?;
                one_of(text, candidates, among)
            }
        }
    }

    /// The run before this one that has its name and namespace.
    ///
    /// # Errors
    /// [`NamingError`]
    pub(crate) async fn previous(
        &self,
        run: RunId,
        visible: &Visible,
    ) -> Result<RunId, NamingError> {
        let previous = self.reader.previous_run(self.schema, run, visible).await?;
        previous.ok_or_else(|| {
            NamingError::NoSuchRun(format!(
                "there is no run before {run} that has its name and namespace"
            ))
        })
    }
}

fn none_at_all(among: &Among<'_>) -> String {
    let namespaces = match among.namespaces {
        Some(names) => format!(" in {}", names.join(", ")),
        None => " in the record yet".to_owned(),
    };
    format!("there is no run{namespaces}{}", made_after(among))
}

fn made_after(among: &Among<'_>) -> String {
    match among.after {
        Some(after) => format!(" that was created after {after:.0}"),
        None => String::new(),
    }
}

/// The one that is meant, if there is only one.
fn one_of(
    text: &str,
    mut candidates: Vec<Candidate>,
    among: &Among<'_>,
) -> Result<RunId, NamingError> {
    candidates.dedup_by_key(|candidate| candidate.id);
    let name = discreet::name(text);
    match candidates.as_slice() {
        [] => {
            let after = made_after(among);
            let namespaces = match among.namespaces {
                Some(names) => format!(" in {}", names.join(", ")),
                None => String::new(),
            };
            Err(NamingError::NoSuchRun(format!(
                "no run{namespaces} has the id, name, external_id or TestRun uid `{name}`{after}; `k6sync runs` lists those that there are"
            )))
        }
        [one] => Ok(one.id),
        _ => Err(NamingError::Ambiguous {
            name: name.to_owned(),
            candidates,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, by: &str) -> Candidate {
        Candidate {
            id: RunId(id),
            name: "nightly".to_owned(),
            namespace: Some("k6-runs".to_owned()),
            external_id: None,
            by: by.to_owned(),
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!("@latest".parse(), Ok(RunName::Latest));
        assert_eq!("@previous".parse(), Ok(RunName::Previous));
        assert_eq!("7".parse(), Ok(RunName::Text("7".to_owned())));
        for wrong in ["", "@newest", "@"] {
            assert!(wrong.parse::<RunName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_may_be_two_runs_is_neither() {
        let among = Among::default();
        let found = one_of("7", vec![candidate(7, "id")], &among).unwrap();
        assert_eq!(found, RunId(7));
        // The same run by two of its names.
        let both = vec![candidate(7, "id"), candidate(7, "external_id")];
        assert_eq!(one_of("7", both, &among).unwrap(), RunId(7));
        let two = vec![candidate(9, "name"), candidate(7, "id")];
        let error = one_of("7", two, &among).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`7` may be any of 9 (nightly in k6-runs), 7 (nightly in k6-runs, by its id); name one by its id"
        );
        assert!(!error.is_absence());
        let none = one_of("7", Vec::new(), &among).unwrap_err();
        assert!(none.is_absence());
    }
}
