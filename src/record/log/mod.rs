//! The log of a run: the lines of any selection of its containers, merged by the times at which they were written.
//!
//! [`Log`] is asked for one item after another: lines that follow one another in one container, or a gap. Within a container
//! their order is always that in which they were stored. It takes bounded memory, however many containers there are and however
//! long their lines: `head` and `merge` (pure) hold only the beginnings of what comes next, and `reader` fetches it, one query
//! at a time and no transaction between two of them. `begin` finds where to begin, `gaps` (pure) where lines are missing,
//! `selection` (pure) whose log is wanted, and `filter` (pure) which lines match. `window` reads a few lines around a place, forward
//! or backward, and looks for lines, for whoever shows a part of a long log.

mod begin;
mod error;
mod filter;
mod gaps;
mod head;
mod line;
mod merge;
mod places;
mod reader;
mod selection;
mod window;

pub(crate) use self::error::LogError;
pub(crate) use self::filter::Grep;
#[cfg(test)]
pub(crate) use self::line::Position;
pub(crate) use self::line::{Begin, LineId, LogEnd, LogGap, LogItem, LogLine, LogLines, Mark};
pub(crate) use self::places::Places;
pub(crate) use self::reader::{Log, Seen};
pub(crate) use self::selection::{Labels, LogContainer, LogWanted};
pub(crate) use self::window::{Found, Part, Place, Sought, Window, WindowLine};
