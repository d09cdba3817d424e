//! Which lines match a regular expression, and the lines around them. Pure.
//!
//! Lines around a match are of its own container, however the logs of several are merged.

use std::collections::{HashMap, VecDeque};

use regex::{Regex, RegexBuilder};

use super::line::{LogLine, LogLines, Position};

/// What a compiled expression may take in memory.
const PROGRAM_BYTES: usize = 4 * 1024 * 1024;
/// What the lines before a possible match may take, of all containers together; where it is not enough, fewer are shown.
const BEFORE_BYTES: usize = 4 * 1024 * 1024;
/// So many containers share it at least, so that the first do not take it all.
const LEAST_SHARES: usize = 64;

/// Looks for lines.
#[derive(Debug)]
pub(crate) struct Grep {
    regex: Regex,
    /// How many lines are shown before and after each match.
    around: usize,
    contexts: HashMap<usize, Context>,
    has_shown: bool,
}

/// A container's lines around.
#[derive(Debug, Default)]
struct Context {
    before: VecDeque<Kept>,
    /// Of the text of those.
    bytes: usize,
    /// How many lines after the last match are still to be shown.
    after: usize,
    /// The line after the last that was shown.
    next: Option<u64>,
    /// Lines so far.
    lines: u64,
}

#[derive(Debug)]
struct Kept {
    at: Position,
    text: String,
    ends: bool,
    time: Option<i64>,
    approximate: bool,
}

impl Grep {
    /// Looks for lines that match `pattern`, with as many lines around them.
    ///
    /// # Errors
    /// [`regex::Error`]: it is no regular expression, or too large a one.
    pub(crate) fn new(
        pattern: &str,
        ignore_case: bool,
        around: usize,
    ) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .size_limit(PROGRAM_BYTES)
            .dfa_size_limit(PROGRAM_BYTES)
            .build()?;
        Ok(Self {
            regex,
            around,
            contexts: HashMap::new(),
            has_shown: false,
        })
    }

    /// Whether the line itself matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Calls `show` with those of the lines that are to be shown, and with those before them that were kept. Its second argument
    /// says that lines were left out between this one and those shown before.
    pub(crate) fn each<E>(
        &mut self,
        lines: LogLines<'_>,
        mut show: impl FnMut(LogLine<'_>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.around == 0 {
            return lines
                .iter()
                .filter(|line| self.regex.is_match(line.text))
                .try_for_each(|line| show(line, false));
        }
        let share = BEFORE_BYTES / LEAST_SHARES.max(self.contexts.len());
        let context = self.contexts.entry(lines.container).or_default();
        for line in lines.iter() {
            let number = context.lines;
            context.lines += 1;
            let is_match = self.regex.is_match(line.text);
            if !is_match && context.after == 0 {
                context.keep(line, self.around, share);
                continue;
            }
            context.after = match is_match {
                true => self.around,
                false => context.after - 1,
            };
            let first = number - context.before.len() as u64;
            let mut is_new = context.next != Some(first);
            context.bytes = 0;
            for kept in std::mem::take(&mut context.before) {
                let line = LogLine {
                    container: lines.container,
                    at: kept.at,
                    text: &kept.text,
                    ends: kept.ends,
                    time: kept.time,
                    approximate: kept.approximate,
                };
                show(line, std::mem::take(&mut is_new) && self.has_shown)?;
                self.has_shown = true;
            }
            show(line, is_new && self.has_shown)?;
            self.has_shown = true;
            context.next = Some(number + 1);
        }
        Ok(())
    }
}

impl Context {
    /// Keeps a line that may be shown if one after it matches.
    fn keep(&mut self, line: LogLine<'_>, count: usize, bytes: usize) {
        self.bytes += line.text.len();
        self.before.push_back(Kept {
            at: line.at,
            text: line.text.to_owned(),
            ends: line.ends,
            time: line.time,
            approximate: line.approximate,
        });
        while self.before.len() > count || self.bytes > bytes {
            match self.before.pop_front() {
                Some(dropped) => self.bytes -= dropped.text.len(),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(container: usize, seq: i64, text: &str) -> LogLines<'_> {
        LogLines {
            container,
            at: Position { seq, line: 0 },
            text,
            times: &[],
            approximate: false,
        }
    }

    /// What is shown of these pieces: (container, text).
    fn shown(grep: &mut Grep, pieces: &[(usize, String)]) -> Vec<String> {
        let mut shown = Vec::new();
        for (seq, (container, text)) in (0..).zip(pieces) {
            let each = grep.each(lines(*container, seq, text), |line, is_apart| {
                if is_apart {
                    shown.push("--".to_owned());
                }
                shown.push(format!("{}:{}", line.container, line.text));
                Ok::<_, std::convert::Infallible>(())
            });
            let Ok(()) = each;
        }
        shown
    }

    #[test]
    fn lines_around_are_of_the_same_container() {
        let pieces = [
            (0, "a\nb\n".to_owned()),
            (1, "c\n".to_owned()),
            (0, "MATCH\n".to_owned()),
            (1, "d\nmatch\n".to_owned()),
            (0, "e\nf\ng\nh\nMATCH\ni\n".to_owned()),
        ];
        let mut grep = Grep::new("MATCH", false, 1).unwrap();
        assert_eq!(
            shown(&mut grep, &pieces),
            ["0:b", "0:MATCH", "0:e", "--", "0:h", "0:MATCH", "0:i"]
        );
        let mut grep = Grep::new("^match$", true, 0).unwrap();
        assert_eq!(shown(&mut grep, &pieces), ["0:MATCH", "1:match", "0:MATCH"]);
    }

    #[test]
    fn a_wrong_expression_is_an_error_that_shows_where() {
        let error = Grep::new("status=(5..", false, 0).unwrap_err().to_string();
        assert!(error.contains("status=(5..\n           ^"), "{error}");
        assert!(Grep::new("(a{1000}){1000}", false, 0).is_err());
    }

    #[test]
    fn long_lines_before_a_match_take_bounded_memory() {
        let long = format!("{}\n", "x".repeat(1 << 20));
        let mut grep = Grep::new("y", false, 1_000).unwrap();
        for _ in 0..10 {
            let each = grep.each(lines(0, 0, &long), |_, _| {
                Ok::<_, std::convert::Infallible>(())
            });
            let Ok(()) = each;
        }
        assert_eq!(grep.contexts[&0].bytes, 0);
    }

    proptest! {
        #[test]
        fn all_that_is_near_a_match_is_shown_once(
            pieces in prop::collection::vec((0..3_usize, prop::collection::vec(prop::sample::select(&["x", "-"][..]), 1..6)), 0..12),
            around in 0..4_usize,
        ) {
            let pieces: Vec<(usize, String)> = pieces.into_iter()
                .map(|(container, lines)| (container, lines.iter().map(|line| format!("{line}\n")).collect()))
                .collect();
            let mut grep = Grep::new("x", false, around).unwrap();
            let found = shown(&mut grep, &pieces);
            for container in 0..3 {
                let all: Vec<&str> = pieces.iter().filter(|(of, _)| *of == container)
                    .flat_map(|(_, text)| text.lines()).collect();
                let expected: Vec<String> = all.iter().enumerate()
                    .filter(|(index, _)| {
                        let near = index.saturating_sub(around)..(index + around + 1).min(all.len());
                        all[near].contains(&"x")
                    })
                    .map(|(_, text)| format!("{container}:{text}"))
                    .collect();
                let own = format!("{container}:");
                let shown: Vec<String> = found.iter().filter(|text| text.starts_with(&own)).cloned().collect();
                prop_assert_eq!(shown, expected);
            }
        }
    }
}
