//! Runs as Markdown, such as for `$GITHUB_STEP_SUMMARY`. Pure.
//!
//! Foreign text must neither break a table, nor become markup, a link or the mention of a person. So each of its characters that
//! Markdown or HTML could take for more than itself is a character reference, which both take for nothing but a character
//! (CommonMark, "Entity and numeric character references"); and names are code, in which GitHub looks for no mentions.

use std::fmt::Write as _;

use super::values::{self, things};
use super::verdict::{self, End, Tone};
use super::words;
use crate::record::{Run, Step};

/// Rows of a table; the rest is counted. GitHub takes a summary of 1 MiB.
const MOST_ROWS: usize = 50;

/// Runs as tables: all of them first, then of each what failed.
pub(crate) fn markdown(runs: &[Run]) -> String {
    let mut text = String::new();
    heading(&mut text, runs);
    overview(&mut text, runs);
    for run in runs.iter().take(MOST_ROWS) {
        details(&mut text, run);
    }
    text
}

/// Adds a line. Writing to a String can't fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {{
        let _ = writeln!($text, $($format)*);
    }};
}

const fn symbol(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✅",
        Tone::Bad => "❌",
        Tone::Unknown => "❔",
        Tone::Open => "⏳",
    }
}

fn heading(text: &mut String, runs: &[Run]) {
    match runs {
        [run] => {
            let tone = verdict::of_run(run);
            line!(
                text,
                "## {} {} {}\n",
                symbol(tone),
                code(&run.row.name),
                verdict::status(run)
            );
            if let Some(why) = verdict::why(run) {
                line!(text, "{}\n", plain(&why));
            }
        }
        _ => {
            let passed = runs.iter().filter(|run| verdict::of_run(run) == Tone::Good);
            let passed = passed.count();
            let tone = match passed == runs.len() && passed > 0 {
                true => Tone::Good,
                false => Tone::Bad,
            };
            line!(
                text,
                "## {} {passed} of {} runs passed\n",
                symbol(tone),
                runs.len()
            );
        }
    }
}

fn overview(text: &mut String, runs: &[Run]) {
    line!(
        text,
        "| | run | status | duration | runners | thresholds | error rate | p95 |"
    );
    line!(text, "|---|---|---|---|---|---|---|---|");
    for run in runs.iter().take(MOST_ROWS) {
        let row = &run.row;
        let thresholds = match (row.thresholds, row.thresholds_failed) {
            (0, _) => "none".to_owned(),
            (all, 0) => format!("{all} held"),
            (all, failed) => format!("**{failed} of {all} failed**"),
        };
        line!(
            text,
            "| {} | {} ({}) | {} | {} | {} | {thresholds} | {} | {} |",
            symbol(verdict::of_run(run)),
            code(&row.name),
            row.id,
            verdict::status(run),
            row.duration_seconds
                .map(words::duration)
                .unwrap_or_default(),
            row.runners,
            row.error_rate.map(values::share).unwrap_or_default(),
            row.p95.map(values::milliseconds).unwrap_or_default(),
        );
    }
    more(text, runs.len(), "run");
    line!(text, "");
}

fn more(text: &mut String, all: usize, what: &str) {
    let more = all.saturating_sub(MOST_ROWS);
    if more > 0 {
        let plural = if more == 1 { "" } else { "s" };
        line!(text, "\n…and {more} more {what}{plural}");
    }
}

fn details(text: &mut String, run: &Run) {
    let with_name = run.steps.len() > 1;
    for step in run.steps.iter().take(MOST_ROWS) {
        let of_step = match with_name {
            true => format!(" in {}", code(&step.row.name)),
            false => String::new(),
        };
        thresholds(text, step, &of_step);
        checks(text, step, &of_step);
        runners(text, step, &of_step);
    }
    if run.gaps > 0 {
        let places = things(run.gaps.unsigned_abs(), "place", "places");
        line!(
            text,
            "⚠️ Lines may be missing in the record of run {}, in {places}.\n",
            run.row.id
        );
    } else if run.outcome.ended && !run.complete {
        line!(
            text,
            "⚠️ The logs of run {} are not recorded to their end yet.\n",
            run.row.id
        );
    }
}

fn thresholds(text: &mut String, step: &Step, of_step: &str) {
    let failed: Vec<_> = step
        .measured
        .thresholds
        .iter()
        .filter(|threshold| threshold.failed > 0)
        .collect();
    if failed.is_empty() {
        return;
    }
    line!(text, "### Failed thresholds{of_step}\n");
    line!(text, "| threshold | observed | failed on |\n|---|---|---|");
    for threshold in failed.iter().take(MOST_ROWS) {
        let runners = match threshold.runners {
            1 => "runner",
            _ => "runners",
        };
        line!(
            text,
            "| {} | {} | {} of {} {runners} |",
            code(&values::threshold(threshold)),
            values::observed(threshold).unwrap_or_default(),
            threshold.failed,
            threshold.runners,
        );
    }
    more(text, failed.len(), "threshold");
    line!(text, "");
}

fn checks(text: &mut String, step: &Step, of_step: &str) {
    let failed: Vec<_> = step
        .measured
        .checks
        .iter()
        .filter(|check| check.fails > 0)
        .collect();
    if failed.is_empty() {
        return;
    }
    line!(text, "### Failed checks{of_step}\n");
    line!(text, "| check | |\n|---|---|");
    for check in failed.iter().take(MOST_ROWS) {
        line!(
            text,
            "| {} | {} |",
            code(&verdict::check(check)),
            verdict::fails(check)
        );
    }
    more(text, failed.len(), "check");
    line!(text, "");
}

fn runners(text: &mut String, step: &Step, of_step: &str) {
    let failed: Vec<_> = verdict::runners(step)
        .into_iter()
        .filter(|runner| matches!(End::of(step, runner), End::Badly(_) | End::Unseen))
        .collect();
    if failed.is_empty() {
        return;
    }
    line!(text, "### Runners that failed{of_step}\n");
    line!(text, "| runner | pod | |\n|---|---|---|");
    for runner in failed.iter().take(MOST_ROWS) {
        line!(
            text,
            "| {} | {} | {} |",
            verdict::who(runner),
            code(&runner.row.pod_name),
            plain(&verdict::end(step, runner)),
        );
    }
    more(text, failed.len(), "runner");
    line!(text, "");
}

/// A foreign name.
fn code(text: &str) -> String {
    format!("<code>{}</code>", referred(&values::name(text), ""))
}

/// A sentence with foreign text in it. What would mention somebody or something has a space of no width behind.
fn plain(text: &str) -> String {
    referred(&values::message(text), "&#8203;")
}

fn referred(text: &str, behind_a_mention: &str) -> String {
    let mut markdown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            ' ' | ',' | '%' | ';' => markdown.push(char),
            char if char.is_ascii_alphanumeric() || !char.is_ascii() => markdown.push(char),
            // Within a word it is no list, line or heading.
            '-' if markdown.ends_with(char::is_alphanumeric) => markdown.push(char),
            char => {
                let _ = write!(markdown, "&#{};", u32::from(char));
                if matches!(char, '@' | '#') {
                    markdown.push_str(behind_a_mention);
                }
            }
        }
    }
    markdown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::samples::{self, hostile};
    use super::*;

    #[test]
    fn a_failed_run_shows_what_failed_first() {
        let text = markdown(&[samples::failed()]);
        assert!(
            text.starts_with("## ❌ <code>nightly</code> failed\n"),
            "{text}"
        );
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("no {what}: {text}"))
        };
        assert!(at("### Failed thresholds") < at("### Failed checks"));
        assert!(at("### Failed checks") < at("### Runners that failed"));
        assert!(text.contains("| 612–840 ms | 1 of 2 runners |"), "{text}");
        assert!(text.contains("3 of 120 failed"), "{text}");
        assert!(
            text.contains("Lines may be missing in the record of run 7, in 1 place"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_over_has_not_passed() {
        let text = markdown(&[samples::passed(), samples::running()]);
        assert!(text.starts_with("## ❌ 1 of 2 runs passed\n"), "{text}");
        assert!(markdown(&[]).starts_with("## ❌ 0 of 0 runs passed\n"));
        assert!(
            markdown(&[samples::running()])
                .starts_with("## ⏳ <code>nightly</code> running, not over\n")
        );
    }

    #[test]
    fn many_rows_are_counted() {
        let text = markdown(&[samples::many(1_000)]);
        assert!(text.contains("…and 950 more runners"), "{text}");
        assert!(text.len() < 100_000, "{}", text.len());
    }

    proptest! {
        #[test]
        fn foreign_text_is_only_text(text in hostile()) {
            for shown in [referred(&values::name(&text), ""), plain(&text)] {
                let harmful = ['|', '`', '<', '>', '\n', '\r', '*', '_', '[', ']', '(', ')', '!', '\\', '@', ':', '.', '~', '+', '='];
                prop_assert!(!shown.contains(harmful), "{}", shown);
                prop_assert!(!shown.starts_with('-') && !shown.contains("--") && !shown.contains(" -"), "{}", shown);
                // `&` and `#` only in our own references.
                for rest in shown.split('&').skip(1) {
                    prop_assert!(rest.starts_with('#') && rest.contains(';'), "{}", shown);
                }
                prop_assert_eq!(shown.matches('#').count(), shown.matches("&#").count());
            }
            // A table has as many columns as its head, whatever is in it.
            let whole = markdown(&[samples::of_hostile(&text)]);
            let rows: Vec<&str> = whole.lines().filter(|line| line.starts_with('|')).collect();
            prop_assert!(rows.iter().all(|row| [3, 4, 9].contains(&row.matches('|').count())), "{}", whole);
        }
    }
}
