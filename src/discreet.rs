//! What of a setting may be shown in a message. Pure.
//!
//! Passwords end up in the wrong place: a database's URL in the key above or in a flag, a key in the variable that names a file.
//! So a message names the setting and says what belongs there. It shows the value only where that can't be a secret: a name
//! without `://` and `@`, or a plain word.

use std::path::Path;

/// Stands for what is not shown.
pub(crate) const HIDDEN: &str = "…";

/// The longest text with letters and digits that is no key and no password.
const SHORT: usize = 4;

/// Where a name belongs: the value, unless it may be a URL or a part of one.
pub(crate) fn name(value: &str) -> &str {
    match value.contains("://") || value.contains('@') {
        true => HIDDEN,
        false => value,
    }
}

/// Where the path of a file belongs, likewise.
pub(crate) fn path(value: &Path) -> String {
    name(&value.to_string_lossy()).to_owned()
}

/// Where anything may have been written: the value if it is a word, a number or short.
pub(crate) fn word(value: &str) -> &str {
    let is_plain = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    let has_letters = value.contains(|c: char| c.is_ascii_alphabetic());
    let has_digits = value.contains(|c: char| c.is_ascii_digit());
    let is_short = value.len() <= SHORT && !value.contains([':', '@']);
    match is_short || (is_plain && !(has_letters && has_digits)) {
        true => value,
        false => HIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_unless_it_may_be_a_url() {
        for value in ["k6-runs", "prod", "Team_A", "arn:aws:eks:eu:1:cluster/x"] {
            assert_eq!(name(value), value);
        }
        for value in ["postgres://u:p@h/d", "sqlite://k6.db", "u:p@h", "@"] {
            assert_eq!(name(value), HIDDEN);
            assert_eq!(path(Path::new(value)), HIDDEN);
        }
    }

    #[test]
    fn a_word_is_shown_unless_it_may_be_a_password() {
        for value in [
            "soon",
            "sync-twice",
            "--frob",
            "4",
            "-20.5",
            "5x",
            "",
            " ",
            "k6",
        ] {
            assert_eq!(word(value), value);
        }
        for value in [
            "hunter2",
            "k6sync.db",
            "/etc/key",
            "u:p",
            "correct horse",
            "a=bcd",
        ] {
            assert_eq!(word(value), HIDDEN);
        }
    }
}
