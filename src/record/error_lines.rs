//! The last words of containers that failed: their logs from the first error near the end on.

use super::outcome::has_failed;
use super::{Container, ErrorLines, Record, Run};
use crate::k6;
use crate::store::{StepId, StoreError, StreamId};

/// The end of a log that is searched for errors, in chunks.
const TAIL_CHUNKS: i64 = 4;

/// Lines of a container.
const MOST_LINES: usize = 20;

/// Lines behind the last error among them: what comes there may explain it, or be k6's summary.
const AFTER_THE_LAST: usize = 5;

/// Where no line is an error: so many of the last.
const LAST_LINES: usize = 10;

/// Longer lines are cut: the log itself has them whole.
const LINE_BYTES: usize = 2_000;

impl Record {
    /// What those containers said that failed, of at most `most`: those of a run's beginning first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn error_lines(
        &self,
        run: &Run,
        most: usize,
    ) -> Result<Vec<ErrorLines>, StoreError> {
        let failed = run
            .containers()
            .filter(|(_, container)| has_failed(container));
        let failed: Vec<&Container> = failed.map(|(_, container)| container).take(most).collect();
        let mut found = Vec::new();
        for container in failed {
            let tail = self.reader.log_tail(container.row.id, TAIL_CHUNKS).await?;
            let said = of_tail(container.row.step_id, container.row.id, &tail);
            found.extend((!said.lines.is_empty()).then_some(said));
        }
        Ok(found)
    }
}

fn of_tail(step_id: StepId, stream_id: StreamId, tail: &str) -> ErrorLines {
    let lines: Vec<&str> = tail.lines().collect();
    let first = lines.iter().position(|line| says_error(line));
    let from = first.unwrap_or(lines.len().saturating_sub(LAST_LINES));
    let said = lines.get(from..).unwrap_or_default();
    let said = &said[..said.len().min(MOST_LINES)];
    let last_error = said.iter().rposition(|line| says_error(line));
    let end = last_error.map_or(said.len(), |last| {
        (last + 1 + AFTER_THE_LAST).min(said.len())
    });
    let shown = said[..end].iter();
    let cut = |line: &str| line[..line.floor_char_boundary(LINE_BYTES)].to_owned();
    ErrorLines {
        step_id,
        stream_id,
        from_an_error: first.is_some(),
        lines: shown
            .map(|line| match line.len() > LINE_BYTES {
                true => format!("{}…", cut(line)),
                false => cut(line),
            })
            .collect(),
        more: lines.len().saturating_sub(from + end),
    }
}

/// Whether the line says of itself that it is of level error or worse.
fn says_error(line: &str) -> bool {
    k6::level(line).is_some_and(k6::Level::is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tail: &str) -> ErrorLines {
        of_tail(StepId(1), StreamId(2), tail)
    }

    #[test]
    fn they_begin_with_the_first_error() {
        let error = "time=\"x\" level=error msg=\"it broke\"";
        let tail = format!("one\ntwo\n{error}\nthree\n{}", "later\n".repeat(30));
        let said = of(&tail);
        assert!(said.from_an_error);
        assert_eq!(
            said.lines,
            [error, "three", "later", "later", "later", "later"]
        );
        assert_eq!(said.more, 26);
        let said = of(&format!("{error}\n").repeat(100));
        assert_eq!((said.lines.len(), said.more), (MOST_LINES, 80));
    }

    #[test]
    fn without_an_error_they_are_the_last() {
        let tail = (1..=50)
            .map(|number| format!("{number}\n"))
            .collect::<String>();
        let said = of(&tail);
        assert!(!said.from_an_error);
        assert_eq!(said.lines.first().map(String::as_str), Some("41"));
        assert_eq!((said.lines.len(), said.more), (LAST_LINES, 0));
        assert!(of("").lines.is_empty());
    }

    #[test]
    fn a_line_of_a_megabyte_is_cut() {
        let said = of(&"é".repeat(500_000));
        assert_eq!(said.lines[0].len(), LINE_BYTES + '…'.len_utf8());
    }
}
