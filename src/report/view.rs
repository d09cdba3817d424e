//! For whom an answer is drawn: how wide, with or without colour, and at what time.

use jiff::Timestamp;

/// What whoever draws needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Columns of the terminal; `None`: as wide as it takes, since it is no terminal.
    pub width: Option<usize>,
    /// Escape sequences for colours may be used.
    pub color: bool,
    /// How whoever reads it calls k6sync: `k6sync`, or `kubectl k6sync`.
    pub program: &'static str,
    /// What is `3m ago` is so from here.
    pub now: Timestamp,
}

/// How a piece of text stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Of less importance.
    Dim,
    Good,
    Bad,
    /// Neither good nor bad, and to be seen.
    Notable,
    /// Under way.
    Active,
}

impl Style {
    /// The parameters of an SGR sequence: of the eight colours that every terminal has, so that dark and light themes choose how
    /// they look.
    const fn parameters(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Notable => "33",
            Self::Active => "36",
        }
    }
}

impl View {
    /// `text` in this style, if there are colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        match self.color && style != Style::Plain && !text.is_empty() {
            true => format!("\u{1b}[{}m{text}\u{1b}[0m", style.parameters()),
            false => text.to_owned(),
        }
    }
}
