//! Requests that other sites make a browser send. Pure.
//!
//! A browser adds what it knows of somebody to whatever request a page asks it for. So a request that changes something must come
//! from a page of ours, by what the browser says of it, and bring along what only such a page knows.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use subtle::ConstantTimeEq;

/// Whether the browser says that the request is from a page of this very server.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text(HOST.as_str());
    let origin = text(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

/// Compares in constant time.
pub(super) fn is_same(given: &str, expected: &str) -> bool {
    given.as_bytes().ct_eq(expected.as_bytes()).into()
}

/// Where to go after signing in: a path of ours, or the first page. `next` is from the URL, and may want people to land elsewhere.
pub(crate) fn local_path(next: Option<&str>) -> String {
    let next = next.unwrap_or_default();
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && next.len() <= 2_000
        && next.bytes().all(|byte| byte.is_ascii_graphic());
    match is_local {
        true => next.to_owned(),
        false => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_ours_is_told_from_others() {
        for (headers, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://a:1"),
                    ("host", "a:1"),
                ],
                false,
            ),
            (&[("origin", "http://a:1"), ("host", "a:1")], true),
            (
                &[("origin", "https://A.example"), ("host", "a.example")],
                true,
            ),
            (&[("origin", "http://a:2"), ("host", "a:1")], false),
            (&[("origin", "http://evil/a:1"), ("host", "a:1")], false),
            (&[("origin", "null"), ("host", "a:1")], false),
            (&[("host", "a:1")], false),
            (&[], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(is_same_origin(&map), expected, "{headers:?}");
        }
    }

    #[test]
    fn nobody_is_led_elsewhere() {
        for path in ["/", "/runs/7", "/runs/7/logs?from=a&b=%2F#x"] {
            assert_eq!(local_path(Some(path)), path);
        }
        for elsewhere in [
            "",
            "runs",
            "//evil",
            "/\\evil",
            "\\\\evil",
            "https://evil",
            "/a\\b",
            "/a b",
            "/\t/evil",
            "/\r\nSet-Cookie: a",
            "javascript:alert(1)",
            "/\u{e4}",
        ] {
            assert_eq!(local_path(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(local_path(None), "/");
    }
}
