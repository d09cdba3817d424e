//! Tables for a terminal: columns as wide as their contents, and no wider in all than the terminal.
//!
//! Where it is too narrow, columns that may be cut are cut down to what can still be read, then the least important ones are left
//! out. Into a pipe nothing is cut or left out. Texts of others are made harmless here.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::view::{Style, View};
use crate::harmless;

/// Between two columns.
const GAP: usize = 2;
/// What stands for what is cut.
const CUT: char = '…';

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub title: &'static str,
    /// Numbers stand at its right edge.
    pub right: bool,
    /// It may be cut, to this width; 0: it may not.
    pub least: usize,
    /// The greater, the sooner it is left out; 0: never.
    pub expendable: u8,
}

/// A column that is never cut or left out.
pub(crate) const fn column(title: &'static str) -> Column {
    Column {
        title,
        right: false,
        least: 0,
        expendable: 0,
    }
}

impl Column {
    pub(crate) const fn right(self) -> Self {
        Self {
            right: true,
            ..self
        }
    }

    pub(crate) const fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    pub(crate) const fn expendable(self, expendable: u8) -> Self {
        Self { expendable, ..self }
    }
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            text: harmless::escaped(text.as_ref()),
            style,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

/// The table, a line a row, each with a line end. `indent`: spaces before each.
pub(crate) fn table(columns: &[Column], rows: &[Vec<Cell>], indent: usize, view: &View) -> String {
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cell.text.width()).max().unwrap_or(0);
            widest.max(column.title.width())
        })
        .collect();
    let shown = match view.width {
        Some(width) => fit(columns, &mut widths, width.saturating_sub(indent)),
        None => (0..columns.len()).collect(),
    };
    let mut text = String::new();
    let titles: Vec<Cell> = columns
        .iter()
        .map(|column| Cell::styled(column.title, Style::Bold))
        .collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = " ".repeat(indent);
        // Spaces at the end would only wrap.
        let mut due = 0;
        for at in &shown {
            let (Some(column), Some(width)) = (columns.get(*at), widths.get(*at)) else {
                continue;
            };
            let cell = row.get(*at).cloned().unwrap_or_default();
            let cut = cut(&cell.text, *width);
            let padding = width.saturating_sub(cut.width());
            if !cut.is_empty() {
                let before = if column.right { padding } else { 0 };
                line.push_str(&" ".repeat(due + before));
                line.push_str(&view.paint(cell.style, &cut));
                due = padding - before + GAP;
            } else {
                due += width + GAP;
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Which columns there is room for, and how wide they are then.
fn fit(columns: &[Column], widths: &mut [usize], room: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let taken = |shown: &[usize], widths: &[usize]| {
        let cells: usize = shown.iter().map(|at| widths[*at]).sum();
        cells + GAP * shown.len().saturating_sub(1)
    };
    loop {
        let excess = taken(&shown, widths).saturating_sub(room);
        if excess == 0 {
            return shown;
        }
        let spare: usize = shown
            .iter()
            .filter(|at| columns[**at].least > 0)
            .map(|at| widths[*at].saturating_sub(columns[*at].least))
            .sum();
        let least_important = shown
            .iter()
            .copied()
            .filter(|at| columns[*at].expendable > 0)
            .max_by_key(|at| columns[*at].expendable);
        match least_important {
            Some(at) if spare < excess => shown.retain(|kept| *kept != at),
            _ => {
                shrink(columns, widths, &shown, excess);
                return shown;
            }
        }
    }
}

/// Takes this much from the columns that may be cut, from the widest first.
fn shrink(columns: &[Column], widths: &mut [usize], shown: &[usize], excess: usize) {
    for _ in 0..excess {
        let widest = shown
            .iter()
            .copied()
            .filter(|at| columns[*at].least > 0 && widths[*at] > columns[*at].least)
            .max_by_key(|at| widths[*at]);
        match widest {
            Some(at) => widths[at] -= 1,
            None => return,
        }
    }
}

/// At most `width` columns of the text.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut taken = 1;
    for char in text.chars() {
        taken += char.width().unwrap_or(0);
        if taken > width {
            break;
        }
        cut.push(char);
    }
    cut.push(CUT);
    cut
}

/// Words in lines of at most the terminal's width, each after `indent` spaces, with a line end.
pub(crate) fn wrapped(text: &str, indent: usize, view: &View) -> String {
    let text = harmless::escaped(text);
    let room = view.width.map(|width| width.saturating_sub(indent).max(20));
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else {
            continue;
        };
        let is_full = room.is_some_and(|room| line.width() + 1 + word.width() > room);
        match (line.is_empty(), is_full) {
            (true, _) => line.push_str(word),
            (false, false) => {
                line.push(' ');
                line.push_str(word);
            }
            (false, true) => lines.push(word.to_owned()),
        }
    }
    let indent = " ".repeat(indent);
    lines
        .iter()
        .map(|line| format!("{}\n", format!("{indent}{line}").trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn view(width: Option<usize>) -> View {
        View {
            width,
            color: false,
            program: "k6sync",
            now: Timestamp::UNIX_EPOCH,
        }
    }

    const COLUMNS: &[Column] = &[
        column("ID").right(),
        column("NAME").at_least(8),
        column("NAMESPACE").expendable(2),
        column("ERRORS").right().expendable(1),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![
                "7".into(),
                "nightly of the shop".into(),
                "k6-runs".into(),
                "0 %".into(),
            ],
            vec!["12".into(), "日本".into(), "team-a".into(), "12 %".into()],
        ]
    }

    #[test]
    fn columns_are_cut_and_left_out_as_the_terminal_narrows() {
        for (width, expected) in [
            (
                None,
                "\
ID  NAME                 NAMESPACE  ERRORS
 7  nightly of the shop  k6-runs       0 %
12  日本                 team-a       12 %
",
            ),
            (
                Some(36),
                "\
ID  NAME           NAMESPACE  ERRORS
 7  nightly of t…  k6-runs       0 %
12  日本           team-a       12 %
",
            ),
            (
                Some(20),
                "\
ID  NAME      ERRORS
 7  nightly…     0 %
12  日本        12 %
",
            ),
            (
                Some(5),
                "\
ID  NAME
 7  nightly…
12  日本
",
            ),
        ] {
            assert_eq!(
                table(COLUMNS, &rows(), 0, &view(width)),
                expected,
                "{width:?}"
            );
        }
    }

    #[test]
    fn colour_takes_no_room() {
        let color = View {
            color: true,
            ..view(None)
        };
        let rows = vec![vec!["1".into(), Cell::styled("x", Style::Bad), "y".into()]];
        let text = table(COLUMNS, &rows, 2, &color);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line, "   1  \u{1b}[31mx\u{1b}[0m     y");
    }

    #[test]
    fn words_wrap() {
        assert_eq!(wrapped("one two", 2, &view(None)), "  one two\n");
        let text = wrapped("twelve twelve twelve\u{1b}[2J twelve", 2, &view(Some(22)));
        assert_eq!(text, "  twelve twelve\n  twelve\\u{1b}[2J\n  twelve\n");
    }

    proptest! {
        /// Whatever is in it and however narrow: one line a row, within the width if there is room for what is never cut.
        #[test]
        fn a_row_is_one_line_and_fits(
            cells in prop::collection::vec(any::<String>(), 4), width in 30_usize..100,
        ) {
            let rows = vec![cells.iter().map(Cell::from).collect()];
            let columns = [column("A").at_least(8), column("B").at_least(8), column("C").at_least(8), column("D").at_least(8)];
            let text = table(&columns, &rows, 0, &view(Some(width.max(38))));
            prop_assert_eq!(text.lines().count(), 2);
            for line in text.lines() {
                prop_assert!(line.width() <= width.max(38), "{}", line);
            }
        }
    }
}
