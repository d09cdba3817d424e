//! The database: is it there, of our schema, and can it be written? It is never created or changed.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::check::check;
use super::finding::Finding;
use crate::store::{DatabaseUrl, Reader, StoreError, Writable};

/// Less free space than this is an error: a night of logs may be more.
const LITTLE: u64 = 100 << 20;
/// Less than this is worth a word.
const SCARCE: u64 = 1 << 30;

/// What was found, and the database, if its schema is ours.
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    pub(super) reader: Option<Reader>,
}

pub(super) async fn examine(url: &DatabaseUrl) -> Examined {
    let mut reader = None;
    let opened = check("database", async {
        reader = Some(open(url).await?);
        Ok(vec![Finding::ok("database", format!("{url} is reachable"))])
    });
    let mut findings = opened.await;
    if let Some(file) = url.sqlite_file() {
        findings.extend(check("disk", async { disk(&file) }).await);
    }
    let Some(reader) = reader else {
        return Examined {
            findings,
            reader: None,
        };
    };
    let mut is_ours = false;
    let schema = check("schema", async {
        let found = schema(&reader).await?;
        is_ours = true;
        Ok(vec![found])
    });
    findings.extend(schema.await);
    if !is_ours {
        reader.close().await;
        return Examined {
            findings,
            reader: None,
        };
    }
    findings.extend(check("writing", writing(url, &reader)).await);
    if reader.is_behind_pooler() {
        findings.push(Finding::ok(
            "pooler",
            "there is a pooler such as PgBouncer before PostgreSQL, which k6sync copes with; transaction mode will do",
        ));
    }
    Examined {
        findings,
        reader: Some(reader),
    }
}

async fn open(url: &DatabaseUrl) -> Result<Reader, Finding> {
    let missing = url.sqlite_file().filter(|file| !file.exists());
    if missing.is_some() {
        return Err(Finding::error(
            "database",
            format!("there is no database {url}"),
            "check --database-url, DATABASE_URL or databaseUrl; `k6sync migrate` or the first cycle makes a new one",
        ));
    }
    Reader::open(url).await.map_err(|error| {
        Finding::error(
            "database",
            error.to_string(),
            "check the URL, the server, and the network between",
        )
    })
}

async fn schema(reader: &Reader) -> Result<Finding, Finding> {
    match reader.check_schema().await {
        Ok(()) => Ok(Finding::ok("schema", "it is this k6sync's")),
        Err(StoreError::SchemaOlder { found: 0, .. }) => Err(Finding::error(
            "schema",
            "the database has no tables of k6sync",
            "run `k6sync migrate`; a loop does that when it starts",
        )),
        Err(StoreError::SchemaOlder { found, needed, .. }) => Err(Finding::warning(
            "schema",
            format!(
                "it is version {found}, of an older k6sync, and this one needs {needed}: the record was not looked at further"
            ),
            "run `k6sync migrate`; a loop does that when it starts",
        )),
        Err(StoreError::SchemaNewer { found, known, .. }) => Err(Finding::error(
            "schema",
            format!(
                "it is version {found}, of a newer k6sync, and this one knows only up to {known}"
            ),
            "run the version that has migrated it, or a newer one",
        )),
        Err(error) => Err(Finding::error(
            "schema",
            error.to_string(),
            "see whether the database is whole",
        )),
    }
}

async fn writing(url: &DatabaseUrl, reader: &Reader) -> Result<Vec<Finding>, Finding> {
    if let Some(file) = url.sqlite_file() {
        if url.has_mode("ro") {
            return Err(Finding::error(
                "writing",
                "the database URL says mode=ro",
                "leave that out: a loop can't write so",
            ));
        }
        let folder = folder_of(&file);
        for path in [file.as_path(), folder] {
            if access(path, Access::WRITE_OK).is_err() {
                return Err(Finding::error(
                    "writing",
                    format!("{} can't be written by this user", path.display()),
                    "give k6sync's user the right to write the file and its folder, which SQLite makes its -wal in",
                ));
            }
        }
    }
    match reader.writable().await {
        Ok(Writable::Yes) => Ok(vec![Finding::ok("writing", "the database can be written")]),
        Ok(Writable::Standby) => Err(Finding::error(
            "writing",
            "the server is a standby, which can't be written",
            "name the primary in the database URL",
        )),
        Ok(Writable::Denied) => Err(Finding::error(
            "writing",
            "the database's role may not write the tables",
            "GRANT it SELECT, INSERT, UPDATE and DELETE on all of k6sync's tables, or use their owner",
        )),
        Err(error) => Err(Finding::error(
            "writing",
            error.to_string(),
            "see whether the role may use the tables",
        )),
    }
}

/// Free space, and whether the file system keeps locks as SQLite needs them.
fn disk(file: &Path) -> Result<Vec<Finding>, Finding> {
    let folder = folder_of(file);
    let mut findings = Vec::new();
    if let Some(network) = network_file_system(folder) {
        findings.push(Finding::warning(
            "disk",
            format!(
                "{} is on {network}, a network file system, on which SQLite may damage its file",
                folder.display()
            ),
            "put the database on a local disk or a block device, or use PostgreSQL",
        ));
    }
    let space = statvfs(folder).map_err(|error| {
        Finding::warning(
            "disk",
            format!(
                "how much room {} has is not known: {error}",
                folder.display()
            ),
            "see whether the folder is there and may be read",
        )
    })?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let told = format!("{} has {} free", folder.display(), bytes(free));
    let todo = "make room, or delete old logs with `k6sync prune`";
    findings.push(match free {
        free if free < LITTLE => Finding::error("disk", told, todo),
        free if free < SCARCE => Finding::warning("disk", told, todo),
        _ => Finding::ok("disk", told),
    });
    Ok(findings)
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        n => format!("{} MiB", n >> 20),
    }
}

/// The magic numbers of statfs(2).
#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(folder).ok()?.f_type;
    // As 32 bits, whatever the width and sign of the type.
    match kind as u32 {
        0x0000_6969 => Some("NFS"),
        0xFF53_4D42 | 0xFE53_4D42 => Some("SMB"),
        0x00C3_6400 => Some("CephFS"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}
