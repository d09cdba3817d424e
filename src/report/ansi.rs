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

/// A part of a line with the look that its colours say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Words for a stylesheet: `red bold`; none of them is foreign.
    pub class: String,
    /// Harmless text.
    pub text: String,
}

/// The look of what follows, as far as it is kept: grounds are not, since with them nobody knows what can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    color: Option<&'static str>,
    bold: bool,
    italic: bool,
    underlined: bool,
}

const COLORS: [&str; 8] = [
    "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
];

impl Look {
    fn apply(&mut self, parameters: &str) {
        let mut codes = parameters
            .split([';', ':'])
            .map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                3 => self.italic = true,
                4 => self.underlined = true,
                22 => self.bold = false,
                23 => self.italic = false,
                24 => self.underlined = false,
                30..=37 => self.color = Some(COLORS[usize::from(code) - 30]),
                90..=97 => self.color = Some(COLORS[usize::from(code) - 90]),
                39 => self.color = None,
                38 | 48 => {
                    let color = match codes.next() {
                        Some(5) => codes.next().and_then(of_palette),
                        Some(2) => {
                            let mut part = || codes.next().unwrap_or(0);
                            Some(nearest(part(), part(), part()))
                        }
                        _ => None,
                    };
                    if code == 38 {
                        self.color = color;
                    }
                }
                _ => {}
            }
        }
    }

    fn class(self) -> String {
        let words = [
            self.color,
            self.bold.then_some("bold"),
            self.italic.then_some("italic"),
            self.underlined.then_some("underlined"),
        ];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        words.join(" ")
    }
}

/// One of the 256 colours as one of the eight.
fn of_palette(number: u16) -> Option<&'static str> {
    match number {
        0..=15 => Some(COLORS[usize::from(number % 8)]),
        16..=231 => {
            let number = number - 16;
            let part = |part: u16| part % 6 * 51;
            Some(nearest(part(number / 36), part(number / 6), part(number)))
        }
        _ => None,
    }
}

fn nearest(red: u16, green: u16, blue: u16) -> &'static str {
    let most = red.max(green).max(blue);
    let has = |part: u16| usize::from(u32::from(part) * 3 > u32::from(most) * 2 && most > 40);
    COLORS[has(red) + 2 * has(green) + 4 * has(blue)]
}

/// A line of a log as pieces of text for a page: what sets colours becomes classes, and all else that is not text is escaped.
pub(crate) fn pieces(line: &str) -> Vec<Piece> {
    let mut rest = line.strip_suffix('\r').unwrap_or(line);
    let mut look = Look::default();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut add = |look: Look, text: &str| {
        if text.is_empty() {
            return;
        }
        let class = look.class();
        match pieces.last_mut().filter(|last| last.class == class) {
            Some(last) => last.text.push_str(text),
            None => pieces.push(Piece {
                class,
                text: text.to_owned(),
            }),
        }
    };
    while let Some(at) = rest.find(is_touched) {
        add(look, &rest[..at]);
        rest = &rest[at..];
        if let Some(length) = color_sequence(rest) {
            look.apply(&rest["\x1b[".len()..length - 1]);
            rest = &rest[length..];
        } else if let Some(char) = rest.chars().next() {
            add(look, &char.escape_unicode().to_string());
            rest = &rest[char.len_utf8()..];
        }
    }
    add(look, rest);
    pieces
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

    #[test]
    fn colours_become_classes() {
        let classes = |line: &str| -> Vec<(String, String)> {
            let pieces = pieces(line).into_iter();
            pieces.map(|piece| (piece.class, piece.text)).collect()
        };
        let of = |pieces: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = pieces.iter();
            owned
                .map(|(class, text)| ((*class).to_owned(), (*text).to_owned()))
                .collect()
        };
        for (line, expected) in [
            ("plain", &[("", "plain")][..]),
            ("", &[]),
            (
                "a\x1b[1;31mb\x1b[0mc\r",
                &[("", "a"), ("red bold", "b"), ("", "c")],
            ),
            (
                "\x1b[38;5;208mx\x1b[38;2;0;0;200my\x1b[39mz",
                &[("red", "x"), ("blue", "y"), ("", "z")],
            ),
            ("\x1b[48;5;1;3mx", &[("italic", "x")]),
            ("\x1b[2Jx\u{202e}", &[("", "\\u{1b}[2Jx\\u{202e}")]),
            ("<b>\x1b[41m&", &[("", "<b>&")]),
        ] {
            assert_eq!(classes(line), of(expected), "{line:?}");
        }
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
            let text: String = pieces(&line).into_iter().map(|piece| piece.text).collect();
            prop_assert_eq!(text, harmless_line(&line, false));
        }
    }
}
