//! One line of a text summary: what it can be. No line is judged here without its place.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::super::objects;

pub(super) const TITLE: char = '█';
const DETAIL: char = '↳';
const GOOD: char = '✓';
const BAD: char = '✗';

/// Between a metric's name and its values, at least.
pub(super) const DOTS: &[u8] = b"...:";

/// The line without colours, as text.
pub(super) fn plain(line: &[u8]) -> Cow<'_, str> {
    if memchr(0x1b, line).is_none() {
        return String::from_utf8_lossy(line);
    }
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(escape) = memchr(0x1b, rest) {
        plain.extend_from_slice(&rest[..escape]);
        rest = &rest[escape + 1..];
        if let Some(sequence) = rest.strip_prefix(b"[") {
            let end = sequence
                .iter()
                .position(|byte| (0x40..=0x7e).contains(byte));
            rest = end.map_or(&[][..], |end| &sequence[end + 1..]);
        }
    }
    plain.extend_from_slice(rest);
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

pub(super) fn is_blank(line: &str) -> bool {
    line.trim_ascii().is_empty()
}

/// Spaces in front, and the rest.
pub(super) fn indent(line: &str) -> (usize, &str) {
    let content = line.trim_start_matches(' ');
    (line.len() - content.len(), content)
}

/// Something of the other stream in between: k6's log lines begin at the margin, and so does most of what a script prints; lines
/// of a JSON summary are known by their form.
pub(super) fn is_foreign(line: &str) -> bool {
    !line.starts_with(' ') || objects::is_line(line.trim_ascii().as_bytes())
}

/// `✓ rest` is true, `✗ rest` false.
pub(super) fn mark(content: &str) -> Option<(bool, &str)> {
    let (good, rest) = match content.strip_prefix(GOOD) {
        Some(rest) => (true, rest),
        None => (false, content.strip_prefix(BAD)?),
    };
    Some((good, rest.strip_prefix(' ')?))
}

/// `↳  66% — ✓ 78 / ✗ 40`: passes and fails.
pub(super) fn detail(content: &str) -> Option<(u64, u64)> {
    let rest = content.strip_prefix(DETAIL)?.trim_start_matches(' ');
    let (percent, counts) = rest.split_once("% — ")?;
    let (passes, fails) = counts.split_once(" / ")?;
    let passes = count(passes.strip_prefix(GOOD)?.strip_prefix(' ')?)?;
    let fails = count(fails.strip_prefix(BAD)?.strip_prefix(' ')?)?;
    let percent: u64 = percent.parse().ok()?;
    // It rounds down. Long counts meet the ends of floats in k6.
    let told = passes.checked_mul(100)? / passes.checked_add(fails).filter(|all| *all > 0)?;
    (fails > 0 && told.abs_diff(percent) <= 1).then_some((passes, fails))
}

/// `█ title`.
pub(super) fn title(content: &str) -> Option<&str> {
    content.strip_prefix(TITLE)?.strip_prefix(' ')
}

pub(super) fn count(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A metric's name, dots and values: `http_reqs......: 205 67.6/s`, `{ scenario:buy }...: …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Without the dots; of a submetric, what is in its braces.
    pub(super) name: &'a str,
    pub(super) is_sub: bool,
    pub(super) dots: usize,
    /// With the spaces that make columns.
    pub(super) values: &'a str,
}

/// `None`: it is no metric's line.
pub(super) fn row(content: &str) -> Option<Row<'_>> {
    let colon = memmem::rfind(content.as_bytes(), DOTS)? + DOTS.len() - 1;
    let (dotted, values) = (&content[..colon], &content[colon + 1..]);
    let name = dotted.trim_end_matches('.');
    let values = values.strip_prefix(' ')?;
    let inner = name
        .strip_prefix("{ ")
        .and_then(|name| name.strip_suffix(" }"));
    let row = Row {
        name: inner.unwrap_or(name),
        is_sub: inner.is_some(),
        dots: dotted.len() - name.len(),
        values,
    };
    (!row.name.is_empty() && (row.is_sub || is_name(row.name))).then_some(row)
}

/// Letters, digits and underscores today; k6 before 0.46 took more.
pub(super) fn is_name(name: &str) -> bool {
    name.chars()
        .all(|char| char.is_alphanumeric() || "._ !?/&#()<>%-".contains(char))
        && !name.starts_with(' ')
}

/// Whether it might be meant as a metric's line.
pub(super) fn has_dots(line: &str) -> bool {
    memmem::find(line.as_bytes(), DOTS).is_some()
}

/// `✓ 'p(95)<500' p(95)=43.8ms` without its mark: the expression, and what was observed.
pub(super) fn judged(rest: &str) -> Option<(&str, &str)> {
    let (expression, observed) = rest.strip_prefix('\'')?.rsplit_once("' ")?;
    let (_, value) = observed.split_once('=')?;
    (!expression.is_empty()).then_some((expression, value.trim_ascii()))
}

/// `HTTP`, `WEB_VITALS`.
pub(super) fn is_header(content: &str) -> bool {
    let header = content.trim_ascii_end();
    header.len() > 1
        && header
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}
