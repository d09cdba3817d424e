//! What an address says after its `?`, read leniently: an empty field of a form says nothing.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

/// The fields of a query, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &[u8]) -> Self {
        let fields = form_urlencoded::parse(text).into_owned();
        Self(
            fields
                .filter(|(_, value)| !value.trim().is_empty())
                .collect(),
        )
    }

    /// The first value of the field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Each value of the field.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.trim())
    }

    /// The same address with these fields changed; `None`: without it.
    pub(super) fn with(&self, changes: &[(&str, Option<&str>)]) -> String {
        let mut text = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        for (name, value) in &self.0 {
            if !changes.iter().any(|(changed, _)| changed == name) {
                text.append_pair(name, value);
            }
        }
        for (name, value) in changes {
            if let Some(value) = value {
                text.append_pair(name, value);
            }
        }
        text.finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(
            parts.uri.query().unwrap_or_default().as_bytes(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_say_nothing_and_others_can_be_changed() {
        let query = Query::parse(b"name=a+b&status=&status=failed&status=lost&before=7");
        assert_eq!(query.get("name"), Some("a b"));
        assert_eq!(query.all("status").collect::<Vec<_>>(), ["failed", "lost"]);
        assert_eq!(query.get("since"), None);
        assert_eq!(
            query.with(&[("before", Some("3&4")), ("name", None)]),
            "?status=failed&status=lost&before=3%264"
        );
    }
}
