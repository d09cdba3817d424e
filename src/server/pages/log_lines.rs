//! Lines of a log as a page has them: text and classes, nothing else. Pure.

use askama::Template;
use jiff::Timestamp;

use crate::k6::{self, Level};
use crate::record::log::{LogContainer, Part, Window, WindowLine};
use crate::report::ansi::{Piece, pieces};
use crate::report::{lines, values};

/// Bytes of a line that are shown. The rest is a click away.
const SHOWN_BYTES: usize = 4 * 1024;

/// Lines as a fragment of a page.
#[derive(Template)]
#[template(path = "lines.html", config = "src/server/askama.toml")]
pub(super) struct LinesAlone<'a> {
    pub lines: &'a Lines,
}

/// Lines that follow one another.
pub(super) struct Lines {
    pub parts: Vec<LinePart>,
    /// Several containers: each line says whose it is.
    pub are_named: bool,
    /// Where the log ends, if these are its last lines: where new ones will follow.
    pub ends: Option<String>,
    pub has_before: bool,
    pub has_after: bool,
    /// More may come.
    pub is_live: bool,
    /// The line that was asked for.
    pub target: Option<String>,
    /// What is to be said of them.
    pub said: Option<String>,
    /// Where whole lines are.
    pub pages: String,
}

/// A line, or a gap.
pub(super) enum LinePart {
    Line(Box<LineView>),
    Gap { who: String, text: String },
}

pub(super) struct LineView {
    pub id: String,
    pub mark: String,
    pub class: &'static str,
    pub clock: String,
    pub machine: String,
    pub who: String,
    pub who_color: usize,
    pub who_long: String,
    pub pieces: Vec<Piece>,
    /// How long it is, if it is cut.
    pub cut: Option<String>,
}

impl Lines {
    pub(super) fn of(window: &Window, pages: &str, is_live: bool) -> Self {
        let names: Vec<String> = window.containers.iter().map(lines::short_name).collect();
        let parts = window.parts.iter().map(|part| match part {
            Part::Line(line) => {
                let container = &window.containers[line.container];
                LinePart::Line(Box::new(view(line, container, &names[line.container])))
            }
            Part::Gap(gap) => LinePart::Gap {
                who: names[gap.container].clone(),
                text: lines::missing(gap),
            },
        });
        let ends = window.ends.as_ref().map(|ends| {
            let ends: Vec<String> = ends.iter().map(ToString::to_string).collect();
            ends.join(",")
        });
        Self {
            parts: parts.collect(),
            are_named: window.containers.len() > 1,
            ends,
            has_before: window.has_before,
            has_after: window.has_after,
            is_live,
            target: None,
            said: None,
            pages: pages.to_owned(),
        }
    }

    /// The place of the first line.
    pub(super) fn first(&self) -> Option<&str> {
        self.parts.iter().find_map(mark)
    }

    /// And of the last.
    pub(super) fn last(&self) -> Option<&str> {
        self.parts.iter().rev().find_map(mark)
    }
}

fn mark(part: &LinePart) -> Option<&str> {
    match part {
        LinePart::Line(line) => Some(&line.mark),
        LinePart::Gap { .. } => None,
    }
}

fn view(line: &WindowLine, container: &LogContainer, name: &str) -> LineView {
    let time = line
        .time
        .and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok());
    let about = if line.approximate { "~" } else { "" };
    let end = line.text.floor_char_boundary(SHOWN_BYTES);
    LineView {
        id: line.mark.id.to_string(),
        mark: line.mark.to_string(),
        class: match k6::level(&line.text) {
            Some(level) if level.is_error() => "error",
            Some(Level::Warning) => "warning",
            _ => "",
        },
        clock: time.map_or_else(String::new, |time| {
            format!("{about}{}", time.strftime("%H:%M:%S%.3f"))
        }),
        machine: time.map_or_else(String::new, |time| format!("{time:.9}")),
        who: name.to_owned(),
        who_color: lines::color_number(name),
        who_long: values::name(&container.name()),
        pieces: pieces(&line.text[..end]),
        cut: (end < line.bytes).then(|| values::things(line.bytes as u64, "byte", "bytes")),
    }
}
