//! Foreign text made fit for a line of a log or a terminal. Pure.
//!
//! Names in database rows, messages of kubelets, of k6 and of API servers, values of a ConfigMap: whoever writes them must not
//! be able to make up log lines, to give orders to a terminal, or to fill a disk. The log's format makes every line harmless
//! by this; what is stored or printed as a message is made so where it becomes one.

use std::fmt::{self, Display, Write};

/// The most bytes of a line.
pub(crate) const MOST_BYTES: usize = 1024;

const CUT: char = '…';

/// `text` on one line of at most [`MOST_BYTES`]: what breaks lines is a space, what a terminal might obey is escaped
/// (`\u{1b}`), and `…` stands for what is left out.
pub(crate) fn line(text: impl Display) -> String {
    let mut line = Line::default();
    // An error says that the line is full, and ends the formatting of what would not be seen.
    let _ = write!(line, "{text}");
    line.0
}

/// The same, however long it is.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        push(&mut escaped, char);
    }
    escaped
}

/// JSON with escapes for what a terminal might obey and JSON allows in strings; it reads back as the same.
pub(crate) fn json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        match is_harmful(char) {
            // None of them is beyond 16 bits.
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(char))),
            false => escaped.push(char),
        }
    }
    escaped
}

/// Several lines, which end as they do; whatever else is harmful is escaped.
pub fn lines(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => escaped.push('\n'),
            char => push(&mut escaped, char),
        }
    }
    escaped
}

#[derive(Default)]
struct Line(String);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            push(&mut self.0, char);
            if self.0.len() > MOST_BYTES {
                let end = self.0.floor_char_boundary(MOST_BYTES - CUT.len_utf8());
                self.0.truncate(end);
                self.0.push(CUT);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

fn push(text: &mut String, char: char) {
    match char {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => text.push(' '),
        // As everywhere on record.
        '\0' => text.push(char::REPLACEMENT_CHARACTER),
        char if is_harmful(char) => text.extend(char.escape_unicode()),
        char => text.push(char),
    }
}

/// Control characters, ends of lines, and what makes text run the other way.
pub(crate) fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_forges_lines_or_moves_a_cursor_is_only_text() {
        for (text, expected) in [
            ("all is well: é 日本 🦀 \\n", "all is well: é 日本 🦀 \\n"),
            (
                "one\n2026-11-25T00:00:00Z ERROR two",
                "one 2026-11-25T00:00:00Z ERROR two",
            ),
            (
                "one\r\ntwo\u{85}three\u{2028}four\u{2029}",
                "one  two three four ",
            ),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J\u{7f}\0\u{8}", "\\u{9b}2J\\u{7f}\u{fffd}\\u{8}"),
            (
                "a\u{202e}b\u{2066}c\u{200f}d",
                "a\\u{202e}b\\u{2066}c\\u{200f}d",
            ),
        ] {
            assert_eq!(line(text), expected);
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_where_a_character_begins() {
        assert_eq!(line("x".repeat(MOST_BYTES)), "x".repeat(MOST_BYTES));
        let cut = line("x".repeat(MOST_BYTES + 1));
        assert_eq!(cut, format!("{}…", "x".repeat(MOST_BYTES - 3)));
        let cut = line("é".repeat(MOST_BYTES));
        assert_eq!(cut, format!("{}…", "é".repeat((MOST_BYTES - 3) / 2)));
        // Nothing is formatted that would not be seen.
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("on and on ")?;
                }
            }
        }
        assert!(line(Endless).ends_with('…'));
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_and_stays_as_it_is(text in any::<String>()) {
            let once = line(&text);
            prop_assert!(once.len() <= MOST_BYTES && !once.chars().any(is_harmful));
            prop_assert_eq!(line(&once), once.clone());
            prop_assert_eq!(escaped(&once), once);
        }

        #[test]
        fn json_reads_back_as_the_same(text in any::<String>()) {
            let printed = json(&serde_json::to_string(&text).unwrap());
            prop_assert!(!printed.chars().any(is_harmful));
            prop_assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), text);
        }
    }
}
