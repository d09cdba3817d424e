//! What can go wrong with the database, in words that name the database and say what to do. Never a password.

use std::path::Path;

use super::url::DatabaseUrl;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be opened.
    #[error("cannot open the database {url}: {problem}")]
    Open {
        /// Which.
        url: DatabaseUrl,
        /// Why, and what to do.
        problem: String,
    },
    /// A newer k6sync has been here.
    #[error(
        "the database {url} has schema version {found}, but this k6sync knows only up to {known}: a newer k6sync has migrated it; run that version or newer"
    )]
    SchemaNewer {
        /// Which.
        url: DatabaseUrl,
        /// The newest migration there.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// Migrations are missing, and we were told not to apply them.
    #[error(
        "the database {url} has schema version {found}, this k6sync needs {needed}: run `k6sync migrate`"
    )]
    SchemaOlder {
        /// Which.
        url: DatabaseUrl,
        /// The newest migration there; 0: none.
        found: i64,
        /// The newest that we know.
        needed: i64,
    },
    /// A migration failed.
    #[error("cannot migrate the database {url}: {source}")]
    Migrate {
        /// Which.
        url: DatabaseUrl,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("cannot {action} in the database {url}: {problem}")]
    Statement {
        /// What was being done.
        action: &'static str,
        /// Which.
        url: DatabaseUrl,
        /// Why.
        problem: String,
    },
}

impl StoreError {
    pub(super) fn open(url: &DatabaseUrl, error: &sqlx::Error) -> Self {
        Self::Open {
            url: url.clone(),
            problem: problem(url, error),
        }
    }

    pub(super) fn statement(action: &'static str, url: &DatabaseUrl, error: &sqlx::Error) -> Self {
        Self::Statement {
            action,
            url: url.clone(),
            problem: problem(url, error),
        }
    }
}

/// What is wrong and what to do about it.
fn problem(url: &DatabaseUrl, error: &sqlx::Error) -> String {
    let advice = match error {
        sqlx::Error::Database(error) => match (url, error.code().as_deref()) {
            (DatabaseUrl::Postgres(_), Some("28P01" | "28000")) => {
                "; check the user and the password in the database URL"
            }
            (DatabaseUrl::Postgres(_), Some("3D000")) => "; create it with `createdb`",
            (DatabaseUrl::Postgres(_), Some("42501")) => "; grant the user what it needs",
            (DatabaseUrl::Postgres(_), Some("42P01")) => "; run `k6sync migrate`",
            // SQLite's result codes, https://www.sqlite.org/rescode.html; extended ones in the upper bytes.
            (DatabaseUrl::Sqlite(_), Some(code)) => {
                return format!("{}{}", error.message(), sqlite_advice(url, code));
            }
            _ => "",
        },
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "; is the server running, and are host and port right?"
        }
        sqlx::Error::Io(_) => "; are host and port right, and can they be reached from here?",
        sqlx::Error::Tls(_) => {
            "; add ?sslmode=disable to the database URL if the server has no TLS, or sslrootcert=FILE if its certificate is your own"
        }
        sqlx::Error::PoolTimedOut => "; the database is slow or out of connections",
        _ => "",
    };
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    format!("{text}{advice}")
}

fn sqlite_advice(url: &DatabaseUrl, code: &str) -> String {
    let file = url.sqlite_file().unwrap_or_default();
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.display().to_string(),
        _ => ".".to_owned(),
    };
    match code.parse::<i64>().map(|code| code & 0xff) {
        Ok(14) if !Path::new(&folder).is_dir() => {
            format!("; the folder {folder} does not exist: create it, or name another file")
        }
        Ok(14) => format!("; check that {folder} is a folder that this user may write to"),
        Ok(8) => format!(
            "; this user needs write permission on {} and on the folder {folder}",
            file.display()
        ),
        Ok(5 | 6) => "; another program holds the database; try again when it is done".to_owned(),
        Ok(10) => {
            format!("; is the disk of {folder} full or failing, or a limit on file sizes reached?")
        }
        Ok(13) => format!("; make room on the disk of {folder}"),
        Ok(11 | 26) => format!("; {} is damaged or no SQLite database", file.display()),
        _ => String::new(),
    }
}

/// Worth trying again: the transaction was undone because of others or of a connection that broke, not because of what it
/// said. Whether it was committed is not known then, so that it must do no harm when it is done twice.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // PostgreSQL: serialization_failure, deadlock_detected, and unique_violation: another has just inserted what this
        // transaction, tried again, will find; admin_shutdown, crash_shutdown, cannot_connect_now: it is being restarted.
        // SQLite: SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT.
        sqlx::Error::Database(error) => matches!(
            error.code().as_deref(),
            Some("40001" | "40P01" | "23505" | "57P01" | "57P02" | "57P03" | "5" | "517")
        ),
        _ => false,
    }
}
