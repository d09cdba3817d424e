//! What standard output is: a terminal, how wide, with colours or without.

use std::io::{self, IsTerminal};

use jiff::Timestamp;

use crate::cli::reading::Color;
use crate::config::process_environment;
use crate::report::view::View;

/// Narrower ones are treated as this wide: nothing could be read there.
const LEAST_WIDTH: usize = 20;

/// For whom to draw on standard output.
pub(super) fn view(color: Color) -> View {
    let is_terminal = io::stdout().is_terminal();
    View {
        width: width(is_terminal),
        color: wants_color(color, is_terminal),
        now: Timestamp::now(),
    }
}

/// `COLUMNS`, where somebody has set it, or the terminal's; into a pipe or file nothing is cut.
fn width(is_terminal: bool) -> Option<usize> {
    let said = process_environment("COLUMNS").and_then(|columns| columns.parse().ok());
    let seen = || {
        let size = terminal_size::terminal_size().filter(|_| is_terminal)?;
        Some(usize::from(size.0.0))
    };
    said.or_else(seen)
        .filter(|width| *width > 0)
        .map(|width| width.max(LEAST_WIDTH))
}

/// By what was asked for, else by <https://no-color.org> and what the terminal can do.
pub(super) fn wants_color(color: Color, is_terminal: bool) -> bool {
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
