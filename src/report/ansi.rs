//! Foreign lines on a terminal: colours stay, and nothing else that a terminal might obey. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use crate::harmless::is_harmful;

/// Longer sequences are no colours.
const MOST_PARAMETERS: usize = 48;

/// Ends all colours.
pub(super) const RESET: &str = "\x1b[0m";

/// A line of a log, harmless to a terminal. What sets colours (SGR, `ESC [ … m`) is kept if `color`, and ended at the line's end;
/// without `color` it is left out. What else a terminal might obey is escaped (`\u{1b}`), but for tabs, and for a carriage return
/// at the line's end.
pub(super) fn harmless_line(line: &str, color: bool) -> Cow<'_, str> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if !line.chars().any(is_touched) {
        return Cow::Borrowed(line);
    }
    let mut harmless = String::with_capacity(line.len() + 16);
    let mut is_colored = false;
    let mut rest = line;
    while let Some(at) = rest.find(is_touched) {
        harmless.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = color_sequence(rest) {
            if color {
                harmless.push_str(&rest[..length]);
                is_colored = true;
            }
            rest = &rest[length..];
        } else if let Some(char) = rest.chars().next() {
            // Writing to a text never fails.
            let _ = write!(harmless, "{}", char.escape_unicode());
            rest = &rest[char.len_utf8()..];
        }
    }
    harmless.push_str(rest);
    if is_colored {
        harmless.push_str(RESET);
    }
    Cow::Owned(harmless)
}

/// Whether the line sets colours of its own.
pub(super) fn has_colors(line: &str) -> bool {
    line.match_indices('\x1b')
        .any(|(at, _)| color_sequence(&line[at..]).is_some())
}

fn is_touched(char: char) -> bool {
    char != '\t' && is_harmful(char)
}

/// The length of the sequence that sets a colour at the beginning of `text`.
fn color_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters
        .bytes()
        .take(MOST_PARAMETERS)
        .position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters.as_bytes()[end] == b'm').then_some("\x1b[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_stay_and_orders_do_not() {
        for (line, colored, plain) in [
            (
                "plain\ttext é 日本",
                "plain\ttext é 日本",
                "plain\ttext é 日本",
            ),
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m", "red"),
            (
                "\x1b[38;5;208mx\x1b[38:2::1:2:3my",
                "\x1b[38;5;208mx\x1b[38:2::1:2:3my\x1b[0m",
                "xy",
            ),
            ("\x1b[mx", "\x1b[mx\x1b[0m", "x"),
            // Clears the screen, sets the title, asks for an answer, moves up.
            ("\x1b[2Jx", "\\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("\x1b]0;t\x07x", "\\u{1b}]0;t\\u{7}x", "\\u{1b}]0;t\\u{7}x"),
            ("\x1b[6n", "\\u{1b}[6n", "\\u{1b}[6n"),
            ("\x1b[1;1Hm", "\\u{1b}[1;1Hm", "\\u{1b}[1;1Hm"),
            ("\x1b[?25lm", "\\u{1b}[?25lm", "\\u{1b}[?25lm"),
            ("\u{9b}31mx", "\\u{9b}31mx", "\\u{9b}31mx"),
            ("\x1b[31", "\\u{1b}[31", "\\u{1b}[31"),
            ("\x1b", "\\u{1b}", "\\u{1b}"),
            ("a\rb\r", "a\\u{d}b", "a\\u{d}b"),
            ("a\u{202e}b", "a\\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(harmless_line(line, true), colored);
            assert_eq!(harmless_line(line, false), plain);
        }
        assert!(has_colors("a\x1b[31mb") && !has_colors("a\x1b[2Jb"));
    }

    /// Without the sequences of colours, if there are any.
    fn without_colors(text: &str) -> String {
        let mut rest = text;
        let mut without = String::new();
        while let Some(at) = rest.find('\x1b') {
            without.push_str(&rest[..at]);
            let length = color_sequence(&rest[at..]).unwrap();
            rest = &rest[at + length..];
        }
        without + rest
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_a_terminal_obeys(
            line in "([ -~]|\x1b|\x1b\\[|[0-9;:]{0,4}m|\u{9b}|\u{7}|\r|\t|\u{202e}|é){0,30}", color: bool,
        ) {
            let harmless = harmless_line(&line, color);
            prop_assert!(!without_colors(&harmless).chars().any(is_touched), "{harmless:?}");
            prop_assert!(color || !harmless.contains('\x1b'));
        }
    }
}
