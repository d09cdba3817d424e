//! Is the SQLite file still the one that was opened?
//!
//! A file that is deleted or replaced while it is open goes on taking what is written, and nobody will ever read it.
//! And a connection that is opened later, by the same path, would write into whatever is there then.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The file, and which one it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    opened: Mutex<Option<FileId>>,
    /// Whether its `-wal` was seen: where there is none, none can be deleted.
    had_log: AtomicBool,
}

/// Device and inode: of two files that are there at once, never the same.
type FileId = (u64, u64);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there.
    Same,
    /// There is nothing at its path.
    Deleted,
    /// There is another file at its path.
    Replaced,
    /// It is there, but its log of what is not in it yet was deleted; the open connection still has that.
    LogDeleted,
}

impl OpenFile {
    /// The file that was opened just now.
    pub(super) fn new(path: PathBuf) -> Self {
        let opened = id(&path);
        Self {
            path,
            opened: Mutex::new(opened),
            had_log: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is at the path now is what is open.
    pub(super) fn opened_again(&self) {
        self.had_log.store(false, Ordering::Relaxed);
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = id(&self.path);
    }

    pub(super) fn fate(&self) -> Fate {
        let opened = *self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match id(&self.path) {
            None => Fate::Deleted,
            now if now != opened => Fate::Replaced,
            _ => Fate::Same,
        }
    }

    /// As [`OpenFile::fate`], and whether its log is there, which is so as long as a connection is open that has read.
    pub(super) fn fate_with_log(&self) -> Fate {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let has_log = id(Path::new(&log)).is_some();
        let had_log = self.had_log.swap(has_log, Ordering::Relaxed);
        match self.fate() {
            Fate::Same if had_log && !has_log => Fate::LogDeleted,
            fate => fate,
        }
    }
}

fn id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
