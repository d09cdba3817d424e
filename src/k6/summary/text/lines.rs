//! The lines of a log, from both ends.

use memchr::{memchr, memrchr};

use super::line;

/// Lines of a log, without their ends. A last line of spaces only, without an end, is left out: it may be half of any line.
#[derive(Clone)]
pub(super) struct Lines<'a> {
    log: &'a [u8],
    from: usize,
    to: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(log: &'a [u8], from: usize, to: usize) -> Self {
        let from = from.min(to);
        let last = memrchr(b'\n', &log[from..to]).map_or(from, |newline| from + newline + 1);
        let half = to == log.len() && last < to && line::is_blank(&line::plain(&log[last..to]));
        let to = if half { last } else { to };
        Self { log, from, to }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    /// Where a line begins, and the line.
    fn next(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        let begin = self.from;
        let rest = &self.log[begin..self.to];
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        self.from = begin + length + 1;
        Some((begin, &rest[..length]))
    }
}

impl DoubleEndedIterator for Lines<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        let rest = &self.log[self.from..self.to];
        let body = rest.strip_suffix(b"\n").unwrap_or(rest);
        let begin = memrchr(b'\n', body).map_or(0, |newline| newline + 1);
        self.to = self.from + begin;
        Some((self.to, &body[begin..]))
    }
}

pub(super) fn line_begin(log: &[u8], at: usize) -> usize {
    memrchr(b'\n', &log[..at]).map_or(0, |newline| newline + 1)
}
