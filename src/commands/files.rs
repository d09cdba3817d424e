//! Files that a command line names: written whole or not at all.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::exit::Wrong;
use super::output;
use super::remote::{remote, tell};
use crate::discreet;
use crate::remote::Message;

/// Standard output instead of a file.
const STDOUT: &str = "-";

/// Whether a file could be written there, as far as it can be told before.
pub(super) fn check(path: &Path) -> Result<(), Wrong> {
    // Whoever is elsewhere has looked there.
    if path == Path::new(STDOUT) || remote().is_some() {
        return Ok(());
    }
    let shown = discreet::path(path);
    if path.is_dir() {
        return Err(Wrong(format!("{shown} is a folder; name a file in it")));
    }
    let folder = folder_of(path);
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Wrong(format!(
            "{shown} can't be written: the folder {} does not exist; make it first",
            discreet::path(&folder)
        ))),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The file has this text afterwards, or what it had before.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new(STDOUT) {
        return output::write(text);
    }
    if remote().is_some() {
        return send(path, text, false);
    }
    let cannot = || format!("cannot write {}", discreet::path(path));
    // A pipe or a device is written to, and not replaced by a file.
    if path.exists() && !path.is_file() {
        return std::fs::write(path, text).with_context(cannot);
    }
    let Some(name) = path.file_name() else {
        bail!("{} names no file", discreet::path(path));
    };
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = folder_of(path).join(beside);
    // Nobody else's file or link is written to, whatever its name.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)
        .with_context(cannot)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(cannot)
}

/// Adds the text to the end of the file, which is made if it is not there.
pub(super) fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new(STDOUT) {
        return output::write(text);
    }
    if remote().is_some() {
        return send(path, text, true);
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        // With one call, so that others who append don't come between.
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot append to {}", discreet::path(path)))
}

/// To be written where the command line was typed.
fn send(path: &Path, text: &str, append: bool) -> anyhow::Result<()> {
    tell(&Message::File {
        path: path.to_string_lossy().into_owned(),
        text: text.to_owned(),
        append,
    });
    Ok(())
}
