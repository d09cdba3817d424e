//! Annotations for GitHub Actions: lines that its runner takes from the output of a step. Pure.
//!
//! What begins a line with `::` is a command to that runner, so foreign text must never begin one: it is on one line, and what
//! ends a property or a line is escaped as GitHub's own toolkit does (`@actions/core`, `command.ts`).

use std::fmt::Write as _;

use super::values::{self, name};
use super::verdict::{self, Tone};
use crate::record::Run;

/// One line for each run, and one for each failed threshold of it. Those of runs first: GitHub shows ten of a step.
pub(crate) fn annotations(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let title = format!("{} {}", name(&run.row.name), verdict::status(run));
        let (command, otherwise) = match verdict::of_run(run) {
            Tone::Good => ("notice", "all of it passed"),
            Tone::Open => ("error", "the run is not over"),
            Tone::Bad | Tone::Unknown => ("error", "it is not known why"),
        };
        let why = verdict::why(run).unwrap_or_else(|| otherwise.to_owned());
        annotate(&mut text, command, &title, &why);
    }
    for run in runs {
        for step in &run.steps {
            let failed = step.measured.thresholds.iter().filter(|row| row.failed > 0);
            for threshold in failed {
                let title = format!("{}: {}", name(&step.row.name), values::threshold(threshold));
                annotate(&mut text, "error", &title, &values::failure(threshold));
            }
        }
    }
    text
}

fn annotate(text: &mut String, command: &str, title: &str, message: &str) {
    let (title, message) = (property(title), data(message));
    // Writing to a String can't fail.
    let _ = writeln!(text, "::{command} title={title}::{message}");
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::samples::{self, hostile};
    use super::*;

    #[test]
    fn a_failed_run_and_its_thresholds_are_errors() {
        let text = annotations(&[samples::failed()]);
        assert_eq!(
            text,
            "::error title=nightly failed::ThresholdsHaveFailed: http_req_duration p(95)<500: 612–840 ms, failed on 1 of 2 runners\n\
             ::error title=shop%3A http_req_duration p(95)<500::612–840 ms, failed on 1 of 2 runners\n"
        );
    }

    #[test]
    fn only_what_is_known_to_have_passed_is_a_notice() {
        let text = annotations(&[samples::passed(), samples::running()]);
        assert_eq!(
            text,
            "::notice title=nightly passed::all of it passed\n\
             ::error title=nightly running%2C not over::the run is not over\n"
        );
    }

    proptest! {
        #[test]
        fn no_foreign_text_begins_a_command(text in hostile()) {
            let run = samples::of_hostile(&text);
            let lines = annotations(std::slice::from_ref(&run));
            prop_assert_eq!(lines.lines().count(), 2);
            prop_assert!(!lines.contains('\r'));
            for line in lines.lines() {
                let rest = line.strip_prefix("::error title=").unwrap();
                let (title, _) = rest.split_once("::").unwrap();
                prop_assert!(!title.contains([',', ':']), "{}", title);
            }
        }
    }
}
