//! A bar that shows how far a command is, when a person watches: on a terminal only, and gone when the work is done.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, WeakProgressBar};

use crate::progress::Progress;

/// The time that it took so far is seen to go on, however long a part takes.
const TICK: Duration = Duration::from_millis(250);

/// The bar that is on the terminal, out of whose way the log goes.
static SHOWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// A bar on standard error.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// `doing` and `parts` say what is done to what: "verifying", "container logs". Nothing is shown before
    /// [`Progress::begin`].
    pub(super) fn new(doing: &'static str, parts: &'static str) -> Self {
        let target = match io::stderr().is_terminal() {
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

    /// Does what writes to the terminal, with the bar out of its way. It must not log: the log waits for the bar.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Progress for Bar {
    fn begin(&self, total: u64) {
        self.0.set_length(total);
        if !self.0.is_hidden() {
            self.0.enable_steady_tick(TICK);
            if let Ok(mut shown) = SHOWN.lock() {
                *shown = Some(self.0.downgrade());
            }
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

/// Standard error for the log: a line does not run into the bar.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = SHOWN.lock().ok();
        match shown.and_then(|shown| shown.as_ref()?.upgrade()) {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
