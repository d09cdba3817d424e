//! A bar that shows how far a command is, when a person watches: on a terminal only, and gone when the work is done.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::Progress;

/// The time that it took so far is seen to go on, however long a part takes.
const TICK: Duration = Duration::from_millis(250);

/// A bar on standard error.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// `doing` and `parts` say what is done to what: "verifying", "container logs". Nothing is shown before
    /// [`Progress::begin`].
    pub(super) fn new(doing: &'static str, parts: &'static str) -> Self {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let mut bar = ProgressBar::with_draw_target(None, target)
            .with_prefix(doing)
            .with_message(parts);
        let template = "{prefix} [{bar:30}] {human_pos}/{human_len} {msg}, {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar = bar.with_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// Does what writes to the terminal, with the bar out of its way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Progress for Bar {
    fn begin(&self, total: u64) {
        self.0.set_length(total);
        if !self.0.is_hidden() {
            self.0.enable_steady_tick(TICK);
        }
    }

    fn advance(&self, by: u64) {
        self.0.inc(by);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
