//! What standard output is: a terminal, how wide, with colours or without.

use std::io::{self, IsTerminal};

use jiff::Timestamp;

use super::remote::remote;
use crate::cli::reading::Color;
use crate::config::process_environment;
use crate::report::view::View;

/// Narrower ones are treated as this wide: nothing could be read there.
const LEAST_WIDTH: usize = 20;

/// For whom to draw on standard output.
pub(super) fn view(color: Color) -> View {
    let (is_terminal, color) = ends_at(color);
    let width = match remote() {
        Some(remote) => remote.columns,
        None => width(is_terminal),
    };
    View {
        width: width.map(|width| width.max(LEAST_WIDTH)),
        color,
        program: match remote() {
            Some(_) => "kubectl k6sync",
            None => "k6sync",
        },
        now: Timestamp::now(),
    }
}

/// Whether what is printed ends at a terminal, here or where `kubectl k6sync` runs; and whether it may have colours.
pub(super) fn ends_at(color: Color) -> (bool, bool) {
    match remote() {
        Some(remote) => {
            let wanted = match color {
                Color::Auto => remote.color,
                said => wants_color(said, false),
            };
            (remote.columns.is_some(), wanted)
        }
        None => {
            let is_terminal = io::stdout().is_terminal();
            (is_terminal, wants_color(color, is_terminal))
        }
    }
}

/// What is passed on as it is into a file or a pipe, and gives a terminal no orders.
pub(super) fn harmless(text: String, color: Color) -> String {
    match ends_at(color).0 {
        true => crate::harmless::lines(&text),
        false => text,
    }
}

/// `COLUMNS`, where somebody has set it, or the terminal's; into a pipe or file nothing is cut.
fn width(is_terminal: bool) -> Option<usize> {
    let said = process_environment("COLUMNS").and_then(|columns| columns.parse().ok());
    let seen = || {
        let size = terminal_size::terminal_size().filter(|_| is_terminal)?;
        Some(usize::from(size.0.0))
    };
    said.or_else(seen).filter(|width| *width > 0)
}

/// By what was asked for, else by <https://no-color.org> and what the terminal can do.
fn wants_color(color: Color, is_terminal: bool) -> bool {
    let is_set = |name| process_environment(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let is_dumb = process_environment("TERM").is_some_and(|term| term == "dumb");
            is_terminal && !is_dumb && !is_set("NO_COLOR")
        }
    }
}
