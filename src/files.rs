//! Files that a command line names: written whole or not at all.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is wrong with `path` as the name of a file to write, as far as it can be told before.
///
/// # Errors
/// In words, without the path: it is a folder, or there is no folder for it.
pub fn check(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err("it is a folder; name a file in it".to_owned());
    }
    let folder = folder_of(path);
    match folder.is_dir() {
        true => Ok(()),
        false => Err(format!(
            "the folder {} does not exist; make it first",
            folder.display()
        )),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The file has this text afterwards, or what it had before. A link is followed; a pipe or a device is written to.
///
/// # Errors
/// Those of the file system.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    if path.exists() && !path.is_file() {
        return OpenOptions::new()
            .write(true)
            .open(&path)?
            .write_all(text.as_bytes());
    }
    let Some(name) = path.file_name() else {
        return Err(io::Error::other("it names no file"));
    };
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = folder_of(&path).join(beside);
    // Nobody else's file or link is written to, whatever its name.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Adds the text to the end of the file, which is made if it is not there.
///
/// # Errors
/// Those of the file system.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    // With one call, so that others who append don't come between.
    file.write_all(text.as_bytes())
}

/// Removes a file that an earlier command may have left; pipes and devices stay.
///
/// # Errors
/// Those of the file system.
pub fn forget(path: &Path) -> io::Result<()> {
    match path.canonicalize() {
        Ok(path) if path.is_file() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_where_a_link_leads() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        replace(&file, "one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
        assert!(link.is_symlink());
        append(&link, " three").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two three");
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "something was left");
        forget(&link).unwrap();
        assert!(!file.exists());
        forget(&link).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_told_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(&folder.path().join("file")).is_ok());
        assert!(check(folder.path()).unwrap_err().contains("it is a folder"));
        let nowhere = folder.path().join("nowhere/file");
        assert!(check(&nowhere).unwrap_err().contains("does not exist"));
        assert!(replace(&nowhere, "x").is_err());
        assert!(replace(Path::new("/dev/full"), "x").is_err());
        replace(Path::new("/dev/null"), "x").unwrap();
    }
}
