//! A database URL that can be printed: its password never is.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// Where the database is. `Display` and `Debug` leave the password out.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://path` or `sqlite::memory:`
    Sqlite(String),
    /// `postgres://…` or `postgresql://…`
    Postgres(Box<Url>),
}

/// Why a database URL can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatabaseUrlError {
    /// Another database.
    #[error(
        "the database URL has the scheme `{0}`, which k6sync does not know; use sqlite://PATH, postgres://… or postgresql://…"
    )]
    UnknownScheme(String),
    /// No scheme at all.
    #[error(
        "the database URL has no scheme; use sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    NoScheme,
    /// Not a URL.
    #[error(
        "the database URL is not well-formed ({0}); write postgres://USER:PASSWORD@HOST:PORT/DATABASE and percent-encode special characters in the password"
    )]
    Malformed(url::ParseError),
    /// SQLite without a file.
    #[error("the database URL names no file; write sqlite://PATH, such as sqlite://k6sync.db")]
    NoFile,
}

impl std::str::FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or(DatabaseUrlError::NoScheme)?;
        match scheme {
            "sqlite" => {
                if rest.trim_start_matches('/').is_empty() {
                    return Err(DatabaseUrlError::NoFile);
                }
                Ok(Self::Sqlite(text.to_owned()))
            }
            "postgres" | "postgresql" => Url::parse(text)
                .map(|url| Self::Postgres(Box::new(url)))
                .map_err(DatabaseUrlError::Malformed),
            other => Err(DatabaseUrlError::UnknownScheme(other.to_owned())),
        }
    }
}

impl DatabaseUrl {
    /// The SQLite file, if it is one.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        match self {
            Self::Sqlite(text) if !text.contains(":memory:") => {
                let path = text.trim_start_matches("sqlite:");
                let path = path.strip_prefix("//").unwrap_or(path);
                Some(PathBuf::from(path.split('?').next().unwrap_or(path)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(text) => f.write_str(text),
            Self::Postgres(url) => {
                f.write_str("postgres://")?;
                if !url.username().is_empty() {
                    write!(f, "{}@", url.username())?;
                }
                f.write_str(url.host_str().unwrap_or("localhost"))?;
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
                // Parameters may hold a password too, so that they are not shown.
                f.write_str(url.path())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_the_password() {
        let url: DatabaseUrl = "postgres://user:s3cret@db:5433/k6?password=s3cret&sslmode=require"
            .parse()
            .unwrap();
        assert_eq!(url.to_string(), "postgres://user@db:5433/k6");
        assert_eq!(
            format!("{url:?}"),
            "DatabaseUrl(postgres://user@db:5433/k6)"
        );
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, expected) in [
            ("mysql://x", "scheme `mysql`"),
            ("k6sync.db", "no scheme"),
            ("sqlite://", "names no file"),
            ("postgres://u:p@host:notaport/db", "not well-formed"),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn finds_the_sqlite_file() {
        for (text, file) in [
            ("sqlite://k6sync.db", Some("k6sync.db")),
            ("sqlite:///var/k6.db?mode=rwc", Some("/var/k6.db")),
            ("sqlite:k6.db", Some("k6.db")),
            ("sqlite::memory:", None),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.sqlite_file(), file.map(PathBuf::from));
        }
    }
}
