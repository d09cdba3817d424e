//! Label and field selectors, as LIST and WATCH take them.
//!
//! Parsed once per request, then matched against each object's labels or key. No I/O.

use std::collections::BTreeMap;

use crate::status::Failure;

#[derive(Debug, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A `labelSelector`; the empty one matches everything.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Labels(Vec<Requirement>);

impl Labels {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let requirements = split_outside_brackets(text).into_iter().map(str::trim);
        let requirements = requirements.filter(|r| !r.is_empty()).map(|requirement| {
            parse_requirement(requirement).ok_or_else(|| {
                Failure::bad_request(format!(
                    "unable to parse requirement: couldn't parse the selector string \"{text}\""
                ))
            })
        });
        Ok(Self(requirements.collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            // As in Kubernetes: an object without the label is not in the set.
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

/// The commas inside `in (a,b)` part no requirements.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(text: &str) -> Option<Requirement> {
    let one = |(key, value): (&str, &str)| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    let requirement = if let Some(pair) = text.split_once("!=") {
        let (key, values) = one(pair);
        Requirement::NotIn(key, values)
    } else if let Some(pair) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (key, values) = one(pair);
        Requirement::In(key, values)
    } else if let Some((head, values)) =
        text.strip_suffix(')').and_then(|text| text.split_once('('))
    {
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let (key, operator) = head.trim().split_once(char::is_whitespace)?;
        match operator.trim() {
            "in" => Requirement::In(key.to_owned(), values),
            "notin" => Requirement::NotIn(key.to_owned(), values),
            _ => return None,
        }
    } else if let Some(key) = text.strip_prefix('!') {
        Requirement::Absent(key.trim().to_owned())
    } else {
        Requirement::Exists(text.to_owned())
    };
    let (Requirement::In(key, _)
    | Requirement::NotIn(key, _)
    | Requirement::Exists(key)
    | Requirement::Absent(key)) = &requirement;
    let plain = !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || "()!=".contains(c));
    plain.then_some(requirement)
}

/// A `fieldSelector` on `metadata.name` and `metadata.namespace`; others are refused, as by most resources.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fields(Vec<(Field, bool, String)>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Field {
    Name,
    Namespace,
}

impl Fields {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut conditions = Vec::new();
        for condition in text.split(',').filter(|c| !c.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = condition.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = condition
                .split_once("==")
                .or_else(|| condition.split_once('='))
            {
                (field, true, value)
            } else {
                return Err(Failure::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{condition}'"
                )));
            };
            let field = match field {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                other => {
                    return Err(Failure::bad_request(format!(
                        "field label not supported: {other}"
                    )));
                }
            };
            conditions.push((field, equal, value.to_owned()));
        }
        Ok(Self(conditions))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one name that this selector allows: access rules treat such a list as a request for that name.
    pub(crate) fn single_name(&self) -> Option<&str> {
        self.0.iter().find_map(|(field, equal, value)| {
            (*field == Field::Name && *equal).then_some(value.as_str())
        })
    }

    /// Matches an object by its key (`namespace/name` or `name`).
    pub(crate) fn matches(&self, key: &str) -> bool {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        self.0.iter().all(|(field, equal, value)| {
            let found = match field {
                Field::Name => name,
                Field::Namespace => namespace,
            };
            (found == value) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Fields, Labels};

    #[test]
    fn label_selectors() {
        let labels: BTreeMap<String, String> = [("app", "k6"), ("k6_cr", "a"), ("runner", "true")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        for (selector, expected) in [
            ("", true),
            ("app=k6", true),
            ("app==k6,runner=true", true),
            ("app = k6 , runner = true", true),
            ("app=k6,runner=false", false),
            ("app!=k6", false),
            ("other!=k6", true),
            ("k6_cr", true),
            ("!k6_cr", false),
            ("!other", true),
            ("k6_cr in (a, b)", true),
            ("k6_cr in (b,c),app", false),
            ("k6_cr notin (b,c)", true),
            ("other notin (b)", true),
            ("other in (b)", false),
        ] {
            let parsed = Labels::parse(selector).expect("a good selector");
            assert_eq!(parsed.matches(&labels), expected, "{selector}");
        }
    }

    #[test]
    fn bad_label_selectors_are_refused() {
        for selector in ["a b", "a in b", "a nope (b)", "=x", "!", "a=(b"] {
            // A bracket in a value is the one that a lenient parser lets through.
            if let Err(failure) = Labels::parse(selector) {
                assert_eq!(failure.code, 400, "{selector}");
            } else {
                assert_eq!(selector, "a=(b");
            }
        }
    }

    #[test]
    fn field_selectors() {
        for (selector, key, expected) in [
            ("metadata.name=x", "ns/x", true),
            ("metadata.name==x,metadata.namespace=ns", "ns/x", true),
            ("metadata.name!=x", "ns/x", false),
            ("metadata.namespace!=ns", "ns/x", false),
            ("metadata.name=x", "x", true),
        ] {
            let parsed = Fields::parse(selector).expect("a good selector");
            assert_eq!(parsed.matches(key), expected, "{selector} {key}");
        }
        assert!(Fields::parse("status.phase=Running").is_err());
        assert_eq!(
            Fields::parse("metadata.name=x")
                .expect("good")
                .single_name(),
            Some("x")
        );
    }
}
