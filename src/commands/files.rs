//! Files that a command line names: here, or where `kubectl k6sync` was typed.

use std::path::Path;

use anyhow::Context;

use super::exit::Wrong;
use super::output;
use super::remote::{remote, tell};
use crate::remote::Message;
use crate::{discreet, files};

/// Standard output instead of a file.
const STDOUT: &str = "-";

/// Whether it is written by somebody who has looked after that.
fn is_elsewhere(path: &Path) -> bool {
    path == Path::new(STDOUT) || remote().is_some()
}

/// Whether a file could be written there, as far as it can be told before.
pub(super) fn check(path: &Path) -> Result<(), Wrong> {
    if is_elsewhere(path) {
        return Ok(());
    }
    let cannot = |problem| {
        Wrong(format!(
            "{} can't be written: {problem}",
            discreet::path(path)
        ))
    };
    files::check(path).map_err(cannot)
}

/// Removes the file that an earlier command may have left.
pub(super) fn forget(path: &Path) -> anyhow::Result<()> {
    if is_elsewhere(path) {
        return Ok(());
    }
    files::forget(path).with_context(|| format!("cannot remove the old {}", discreet::path(path)))
}

/// The file has this text afterwards, or what it had before.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new(STDOUT) {
        return output::write_beside(text);
    }
    if remote().is_some() {
        return send(path, text);
    }
    files::replace(path, text).with_context(|| format!("cannot write {}", discreet::path(path)))
}

/// Adds the text to the end of the file, which is made if it is not there.
pub(super) fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new(STDOUT) {
        return output::write_beside(text);
    }
    if remote().is_some() {
        return send(path, text);
    }
    files::append(path, text).with_context(|| format!("cannot append to {}", discreet::path(path)))
}

/// To be written where the command line was typed, which says how.
fn send(path: &Path, text: &str) -> anyhow::Result<()> {
    tell(&Message::File {
        path: path.to_string_lossy().into_owned(),
        text: text.to_owned(),
    });
    Ok(())
}
