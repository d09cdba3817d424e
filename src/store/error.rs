//! What can go wrong with the database, in words that name the database and say what to do. Never a password.

use std::path::Path;
use std::time::Duration;

use super::url::DatabaseUrl;

/// An error of the store.
#[derive(Clone, Debug, thiserror::Error)]
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
    /// It is not what was opened any more: nothing must be written until it is back.
    #[error(
        "the database {url} is gone: {problem}; nothing is written. Put it back and k6sync goes on, or restart k6sync to begin with what is there now"
    )]
    Gone {
        /// Which.
        url: DatabaseUrl,
        /// What became of it.
        problem: String,
    },
    /// It can't be written.
    #[error("the database {url} can't be written: {problem}")]
    ReadOnly {
        /// Which.
        url: DatabaseUrl,
        /// Why.
        problem: &'static str,
    },
    /// A migration failed.
    #[error("cannot migrate the database {url}: {problem}")]
    Migrate {
        /// Which.
        url: DatabaseUrl,
        /// Why.
        problem: String,
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
        /// What is to blame.
        fault: Fault,
    },
}

/// What is to blame for a statement that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The database: a full disk, a server that is down.
    Database,
    /// What was asked of it, or a right that is missing.
    Statement,
    /// What stands in a column.
    Value,
}

impl StoreError {
    /// The database did not answer within this time.
    pub(crate) fn silent(url: &DatabaseUrl, waited: Duration) -> Self {
        Self::Statement {
            action: "check the schema",
            url: url.clone(),
            problem: format!("no answer within {waited:?}"),
            fault: Fault::Database,
        }
    }

    /// Whether nothing must be written until somebody has done something about it.
    pub(crate) fn forbids_writing(&self) -> bool {
        matches!(
            self,
            Self::SchemaNewer { .. } | Self::SchemaOlder { .. } | Self::Gone { .. }
        )
    }

    /// Whether it is the database that fails, and not what was asked of it: a full disk, a server that is down.
    pub(crate) fn is_general(&self) -> bool {
        match self {
            Self::Statement { fault, .. } => *fault == Fault::Database,
            _ => true,
        }
    }

    /// Whether a value that stands in the database is to blame: it has not the type that its column should have.
    pub(crate) fn is_of_a_value(&self) -> bool {
        matches!(
            self,
            Self::Statement {
                fault: Fault::Value,
                ..
            }
        )
    }

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
            fault: fault(url, error),
        }
    }
}

/// What is wrong and what to do about it.
fn problem(url: &DatabaseUrl, error: &sqlx::Error) -> String {
    // The driver tells some of these as I/O errors.
    if let sqlx::Error::Io(_) | sqlx::Error::Tls(_) = error {
        let said = error.to_string();
        if let Some(advice) = certificate_advice(url, &said) {
            return format!("{said}{advice}");
        }
    }
    let advice = match error {
        sqlx::Error::Database(error) => match (url, error.code().as_deref()) {
            (DatabaseUrl::Postgres(_), Some("28P01" | "28000")) => {
                "; check the user and the password in the database URL"
            }
            (DatabaseUrl::Postgres(_), Some("3D000")) => "; create it with `createdb`",
            (DatabaseUrl::Postgres(_), Some("42501")) => "; grant the user what it needs",
            (DatabaseUrl::Postgres(_), Some("42P01")) => "; run `k6sync migrate`",
            (DatabaseUrl::Postgres(_), Some("53100")) => "; make room on the disk of the server",
            (DatabaseUrl::Postgres(_), Some("53300")) => {
                "; raise the server's max_connections, or put a pooler such as PgBouncer before it"
            }
            (DatabaseUrl::Postgres(_), Some("25006")) => {
                "; the server is a standby, or set to default_transaction_read_only: name the primary"
            }
            (DatabaseUrl::Postgres(_), Some("26000" | "42P05")) => {
                "; is there a pooler before the server that k6sync does not recognize? docs/database.md says which it does"
            }
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
            "; has the server TLS? If not, and the way to it is safe, say sslmode=disable in the database URL"
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

fn certificate_advice(url: &DatabaseUrl, said: &str) -> Option<String> {
    let host = match url {
        DatabaseUrl::Postgres(url) => url.host_str().unwrap_or("localhost"),
        DatabaseUrl::Sqlite(_) => return None,
    };
    if !said.contains("certificate") {
        return None;
    }
    let advice = if said.contains("NotValidForName") || said.contains("not valid for name") {
        format!(
            "; the certificate is another host's than {host}: connect by a name that it has, or use sslmode=verify-ca"
        )
    } else if said.contains("xpired") {
        format!("; renew the certificate of {host}, and check the clocks")
    } else {
        format!(
            "; the certificate of {host} is not signed by a certificate authority that is trusted here: name yours by sslrootcert=FILE in the database URL"
        )
    };
    Some(advice)
}

fn fault(url: &DatabaseUrl, error: &sqlx::Error) -> Fault {
    let error = match error {
        sqlx::Error::Database(error) => error,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => return Fault::Value,
        sqlx::Error::Encode(_) => return Fault::Statement,
        _ => return Fault::Database,
    };
    let code = error.code().unwrap_or_default();
    let is_general = match url {
        // Read-only, I/O, corrupt, full, can't open, no database.
        DatabaseUrl::Sqlite(_) => code
            .parse::<i64>()
            .is_ok_and(|code| matches!(code & 0xff, 8 | 10 | 11 | 13 | 14 | 26)),
        // Insufficient resources, operator intervention, system error, connection exception; read-only.
        DatabaseUrl::Postgres(_) => {
            ["53", "57", "58", "08"].contains(&code.get(..2).unwrap_or_default()) || code == "25006"
        }
    };
    match is_general {
        true => Fault::Database,
        false => Fault::Statement,
    }
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
