//! How findings of the doctor look: a line each, and what to do below it.

use super::table::wrapped;
use super::view::{Style, View};
use super::words::things;
use crate::doctor::{Finding, Health};

/// The findings, and how many there are of what is not well.
pub(crate) fn text(findings: &[Finding], view: &View) -> String {
    let widest = findings.iter().map(|finding| finding.check.len()).max();
    let widest = widest.unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let (sign, style) = match finding.status {
            Health::Ok => ("✓", Style::Good),
            Health::Warning => ("!", Style::Notable),
            Health::Error => ("✗", Style::Bad),
        };
        let word = match finding.status {
            Health::Ok => "ok",
            Health::Warning => "warning",
            Health::Error => "error",
        };
        let head = format!("{sign} {:<widest$}  {word:<7}  ", finding.check);
        let indent = widest + 13;
        let message = wrapped(&finding.message, indent, view);
        text.push_str(&view.paint(style, &head));
        text.push_str(message.trim_start());
        if let Some(todo) = &finding.todo {
            let todo = wrapped(&format!("→ {todo}"), indent, view);
            text.push_str(&todo);
        }
    }
    text.push_str(&format!("\n{}\n", summary(findings)));
    text
}

fn summary(findings: &[Finding]) -> String {
    let count = |status| {
        let ill = findings
            .iter()
            .filter(|finding| finding.status == status)
            .count();
        i64::try_from(ill).unwrap_or(i64::MAX)
    };
    match (count(Health::Error), count(Health::Warning)) {
        (0, 0) => "All is well.".to_owned(),
        (errors, warnings) => format!(
            "{}, {}.",
            things(errors, "error", "errors"),
            things(warnings, "warning", "warnings")
        ),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_to_do_stands_below_what_is_wrong() {
        let findings = [
            Finding::ok("database", "it is reachable"),
            Finding::error(
                "last cycle",
                "it was long ago, and longer than it should be",
                "start a loop",
            ),
        ];
        let view = View {
            width: Some(50),
            color: false,
            program: "k6sync",
            now: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(
            text(&findings, &view),
            "\
✓ database    ok       it is reachable
✗ last cycle  error    it was long ago, and longer
                       than it should be
                       → start a loop

1 error, 0 warnings.
"
        );
    }
}
