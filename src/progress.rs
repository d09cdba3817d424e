//! How far long work is: told by the room that does it, and shown, or not, by whoever asked for it.

/// Told how much there is to do, and of each part that is done.
pub(crate) trait Progress {
    /// How much there is in all; nothing of it is done yet.
    fn begin(&self, total: u64);
    /// How much more is done.
    fn advance(&self, by: u64);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unwatched;

impl Progress for Unwatched {
    fn begin(&self, _: u64) {}

    fn advance(&self, _: u64) {}
}
