//! A database URL that can be printed: its password never is, nor any part of it.
//!
//! A special character that is not percent-encoded makes a part of the password a host, a path or a parameter. So what
//! can be read in two ways is refused, and the refusal shows nothing of it. Both drivers get what is parsed here.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

/// Where the database is. `Display` and `Debug` leave the password out.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://path` or `sqlite::memory:`
    Sqlite(String),
    /// `postgres://…` or `postgresql://…`
    Postgres(Box<Url>),
}

/// Why a database URL can't be used. None shows what may be part of a password.
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
    /// It could be read in another way, too.
    #[error(
        "the database URL has {0}; percent-encode special characters in user, password and parameters (@ is %40, : %3A, / %2F, ? %3F, # %23, & %26, + %2B, % %25)"
    )]
    Ambiguous(&'static str),
    /// A parameter of PostgreSQL's that is none.
    #[error(
        "the database URL has a parameter that k6sync does not know; it knows {known}; percent-encode special characters in values (& is %26)",
        known = PARAMETERS.join(", ")
    )]
    UnknownParameter,
    /// A parameter with a value that it can't have.
    #[error("the database URL's parameter {0} must be {1}")]
    Parameter(&'static str, &'static str),
    /// SQLite without a file.
    #[error("the database URL names no file; write sqlite://PATH, such as sqlite://k6sync.db")]
    NoFile,
    /// SQLite with a path that is not UTF-8, or that may be another URL.
    #[error(
        "the database URL can't be used: {0}; write sqlite://PATH, with ? as %3F, @ as %40 and % as %25 in the path"
    )]
    Sqlite(&'static str),
    /// A parameter of SQLite's that is none. It is not shown, since it may be a piece of a password with a ? in it; what it is
    /// close to is.
    #[error(
        "the database URL has an unknown query parameter{}; SQLite's are mode, cache, immutable and vfs; ? is %3F in the path",
        .0.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default()
    )]
    UnknownSqliteParameter(Option<&'static str>),
}

/// PostgreSQL's that are used.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// Other words for them, and `options[NAME]`.
const ALIASES: &[&str] = &[
    "ssl-mode",
    "ssl-root-cert",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "statement-cache-capacity",
];
/// Those that other programs know, in URLs that are meant for them too; they are passed over.
const FOREIGN: &[&str] = &[
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "load_balance_hosts",
    "pgbouncer",
    "pool_timeout",
    "require_auth",
    "ssl_min_protocol_version",
    "sslnegotiation",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];
const SSL_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

impl std::str::FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(DatabaseUrlError::NoScheme)?;
        match scheme {
            "sqlite" => {
                if rest.trim_start_matches('/').is_empty() {
                    return Err(DatabaseUrlError::NoFile);
                }
                check_sqlite(rest)?;
                match sqlite_options(text) {
                    Ok(_) => Ok(Self::Sqlite(text.to_owned())),
                    // What the driver says shows values.
                    Err(_) => Err(DatabaseUrlError::Sqlite("it can't be decoded")),
                }
            }
            "postgres" | "postgresql" => {
                let rest = rest.strip_prefix("//").ok_or(DatabaseUrlError::NoScheme)?;
                unambiguous(rest)?;
                let url = Url::parse(text).map_err(DatabaseUrlError::Malformed)?;
                check_parameters(&url)?;
                let url = Self::Postgres(Box::new(url));
                // What the driver can't decode, such as bytes that are not UTF-8.
                match url.postgres_options() {
                    Some(Err(_)) => Err(DatabaseUrlError::Ambiguous("a % that encodes no UTF-8")),
                    _ => Ok(url),
                }
            }
            // Without `//` it may be anything, such as a user before a password.
            other
                if rest.starts_with("//")
                    && other.chars().all(|c| c.is_ascii_alphabetic() || c == '+') =>
            {
                Err(DatabaseUrlError::UnknownScheme(other.to_owned()))
            }
            _ => Err(DatabaseUrlError::NoScheme),
        }
    }
}

/// A URL's text after `//` must have each of its separators once, and where they belong.
fn unambiguous(rest: &str) -> Result<(), DatabaseUrlError> {
    use DatabaseUrlError::Ambiguous;
    // URL parsers drop some of these without a word.
    if rest.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\u{FFFD}') {
        return Err(Ambiguous("a space, a control character or no valid UTF-8"));
    }
    if rest.contains('#') {
        return Err(Ambiguous("a #"));
    }
    let encodes = |piece: &str| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !rest.split('%').skip(1).all(encodes) {
        return Err(Ambiguous("a % without two hexadecimal digits after it"));
    }
    let (authority, others) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if others.contains('@') {
        return Err(Ambiguous("an @ after a / or a ?"));
    }
    if others.matches('?').count() > 1 {
        return Err(Ambiguous("more than one ?"));
    }
    if authority.matches('@').count() > 1 {
        return Err(Ambiguous("more than one @"));
    }
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user
        .to_ascii_lowercase()
        .split(':')
        .next()
        .unwrap_or_default()
        .contains("%3a")
    {
        return Err(Ambiguous("a user with a : in it"));
    }
    let is_address = host.starts_with('[') && !host.contains('%');
    let is_name = host.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%')
    }) && host.matches(':').count() <= 1;
    match is_address || is_name {
        true => Ok(()),
        false => Err(Ambiguous("a host with characters that no host has")),
    }
}

/// The driver passes over parameters that it does not know, and logs them with their values.
fn check_parameters(url: &Url) -> Result<(), DatabaseUrlError> {
    let is_spaced = |pair: &str| pair.starts_with("password=") && pair.contains('+');
    if url
        .query()
        .is_some_and(|query| query.split('&').any(is_spaced))
    {
        return Err(DatabaseUrlError::Ambiguous(
            "a + in a parameter, which means a space",
        ));
    }
    for (key, value) in url.query_pairs() {
        let key: &str = &key;
        let is_option = key.starts_with("options[") && key.ends_with(']');
        if !is_option && ![PARAMETERS, ALIASES, FOREIGN].concat().contains(&key) {
            return Err(DatabaseUrlError::UnknownParameter);
        }
        match key {
            "sslmode" | "ssl-mode" if !SSL_MODES.contains(&&*value) => {
                return Err(DatabaseUrlError::Parameter(
                    "sslmode",
                    "disable, allow, prefer, require, verify-ca or verify-full",
                ));
            }
            "port" if value.parse::<u16>().is_err() => {
                return Err(DatabaseUrlError::Parameter("port", "a number up to 65535"));
            }
            "hostaddr" if value.parse::<std::net::IpAddr>().is_err() => {
                return Err(DatabaseUrlError::Parameter("hostaddr", "an IP address"));
            }
            "statement-cache-capacity" if value.parse::<usize>().is_err() => {
                return Err(DatabaseUrlError::Parameter(
                    "statement-cache-capacity",
                    "a number",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// SQLite's parameters, and the values that they can have; any, if none is named.
const SQLITE_PARAMETERS: &[(&str, &[&str], &str)] = &[
    (
        "mode",
        &["rwc", "rw", "ro", "memory"],
        "rwc, rw, ro or memory",
    ),
    ("cache", &["shared", "private"], "shared or private"),
    ("immutable", &["true", "1", "false", "0"], "true or false"),
    ("vfs", &[], ""),
];

/// What is written after `sqlite:` must be a path and parameters, and no URL with a password.
fn check_sqlite(rest: &str) -> Result<(), DatabaseUrlError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.trim_start_matches('/').contains("://") {
        return Err(DatabaseUrlError::Sqlite("there is another URL in it"));
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_login = |part: &str| part.split_once(':').is_some_and(|(_, p)| p.contains('@'));
    if (!path.starts_with('/') && path.contains('@')) || is_login(path) {
        return Err(DatabaseUrlError::Sqlite("there is an @ in its path"));
    }
    if query.contains('@') {
        return Err(DatabaseUrlError::Sqlite("there is an @ after a ?"));
    }
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let known = SQLITE_PARAMETERS.iter().find(|(known, ..)| *known == key);
        let Some((known, values, in_words)) = known else {
            let near = SQLITE_PARAMETERS
                .iter()
                .map(|(known, ..)| *known)
                .find(|known| strsim::damerau_levenshtein(known, &key) <= known.len().min(4) / 2);
            return Err(DatabaseUrlError::UnknownSqliteParameter(near));
        };
        if !values.is_empty() && !values.contains(&&*value) {
            return Err(DatabaseUrlError::Parameter(known, in_words));
        }
    }
    Ok(())
}

fn sqlite_options(text: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    text.parse()
}

impl DatabaseUrl {
    /// The SQLite file, if it is one.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let Self::Sqlite(text) = self else {
            return None;
        };
        // As the driver decodes it.
        let options = sqlite_options(text).ok()?;
        let path = text.trim_start_matches("sqlite:").trim_start_matches("//");
        let path = path.split('?').next().unwrap_or_default();
        let is_in_memory = self.has_mode("memory") || path == ":memory:";
        (!is_in_memory).then(|| options.get_filename().to_owned())
    }

    /// Whether the SQLite URL has this `mode`.
    pub(crate) fn has_mode(&self, mode: &str) -> bool {
        let Self::Sqlite(text) = self else {
            return false;
        };
        let (_, query) = text.split_once('?').unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes())
            .any(|(key, value)| key == "mode" && value == mode)
    }

    /// Its parameters that name files, with these.
    pub(super) fn certificate_files(&self) -> Vec<(&'static str, String)> {
        let Self::Postgres(url) = self else {
            return Vec::new();
        };
        url.query_pairs()
            .filter(|(_, value)| !value.contains("-----BEGIN"))
            .filter_map(|(key, value)| {
                let parameter = match &*key {
                    "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "sslrootcert",
                    "sslcert" | "ssl-cert" => "sslcert",
                    "sslkey" | "ssl-key" => "sslkey",
                    _ => return None,
                };
                Some((parameter, value.into_owned()))
            })
            .collect()
    }

    /// Its parameters that are passed over.
    pub(super) fn foreign_parameters(&self) -> Vec<&'static str> {
        let Self::Postgres(url) = self else {
            return Vec::new();
        };
        let is_there = |foreign: &&&str| url.query_pairs().any(|(key, _)| key == **foreign);
        FOREIGN.iter().filter(is_there).copied().collect()
    }

    /// What the driver makes of a PostgreSQL URL, without what only other programs know.
    pub(super) fn postgres_options(&self) -> Option<Result<PgConnectOptions, sqlx::Error>> {
        let Self::Postgres(url) = self else {
            return None;
        };
        let is_ours = |(key, _): &(Cow<'_, str>, Cow<'_, str>)| !FOREIGN.contains(&&**key);
        let ours: Vec<_> = url.query_pairs().filter(is_ours).collect();
        let mut stripped = Url::clone(url);
        stripped.set_query(None);
        if !ours.is_empty() {
            stripped.query_pairs_mut().extend_pairs(ours);
        }
        Some(stripped.as_str().parse())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Parameters are not shown, of neither: who knows what was meant to be one.
            Self::Sqlite(text) => f.write_str(text.split('?').next().unwrap_or_default()),
            Self::Postgres(url) => {
                f.write_str("postgres://")?;
                if !url.username().is_empty() {
                    write!(f, "{}@", url.username())?;
                }
                f.write_str(url.host_str().unwrap_or("localhost"))?;
                // Without an @ this may be a user, and a password with a / in it.
                if url.username().is_empty() && url.port().is_some() {
                    return f.write_str(":…");
                }
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
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
    use proptest::prelude::*;

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
            ("user:secret@host/db", "no scheme"),
            ("sqlite://", "names no file"),
            ("sqlite://k6.db?mood=ro", "did you mean `mode`?"),
            ("sqlite://u:pass?vfs=@h/d", "an @ after a ?"),
            ("sqlite://k6%ff.db", "as %25 in the path"),
            (
                "sqlite://k6.db?mode=fast",
                "mode must be rwc, rw, ro or memory",
            ),
            ("sqlite:postgres://u:p@h/d", "another URL in it"),
            ("sqlite://postgres://u:p@h/d", "another URL in it"),
            ("sqlite://u:p@h/d", "an @ in its path"),
            ("sqlite:///x/u:p@h/d", "an @ in its path"),
            ("sqlite://k6.db?p%40x", "unknown query parameter;"),
            ("postgres://u:p%zz@h/d", "two hexadecimal digits"),
            ("postgres://u:p%4@h/d", "two hexadecimal digits"),
            ("postgres://h/d?password=p%", "two hexadecimal digits"),
            ("postgres://u:p@host:notaport/db", "not well-formed"),
            ("postgres://u:p@host/db?sslmode=yes", "sslmode must be"),
            ("postgres://u:p@host/db?paswort=x", "a parameter"),
            ("postgres://u:p@host/db?port=x", "port must be"),
            ("postgres://u:p%ff@host/db", "percent-encode"),
            ("postgres://u:p/w@host/db", "percent-encode"),
            ("postgres://u:p?w@host/db", "percent-encode"),
            ("postgres://u:p#w@host/db", "percent-encode"),
            ("postgres://u:p@w@host/db", "percent-encode"),
            ("postgres://u:p w@host/db", "percent-encode"),
            ("postgres://u:p@host/db?password=x#y", "percent-encode"),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn takes_what_is_well_formed() {
        for text in [
            "postgres://db/k6",
            "postgres://u@db",
            "postgres://u:p%40%2F%3F%23%25@db:5432/k6?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql://u:p@[::1]:5432/k6",
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/k6",
            "postgres:///k6?host=/var/run/postgresql&user=u&password=p",
            "postgres://u:p$w!d*(x)^~[y]|;,=+'@db/k6",
            "postgres://u:p@db/k6?sslmode=require&channel_binding=require&connect_timeout=10",
            "postgres://u:p@db/k6?options=-c%20search_path%3Dk6&options[statement_timeout]=5000",
        ] {
            if let Err(error) = text.parse::<DatabaseUrl>() {
                panic!("{text}: {error}");
            }
        }
    }

    #[test]
    fn shows_only_what_can_be_no_password() {
        for (text, shown) in [
            ("sqlite://k6.db?mode=rwc", "sqlite://k6.db"),
            ("sqlite:///data/@home/k6.db", "sqlite:///data/@home/k6.db"),
            ("postgres://u:12/hunter2", "postgres://u:…"),
            ("postgres://db:5432/k6", "postgres://db:…"),
            ("postgres://db/k6", "postgres://db/k6"),
            ("postgres://u:p@db:5433/k6", "postgres://u@db:5433/k6"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn finds_the_sqlite_file() {
        for (text, file) in [
            ("sqlite://k6sync.db", Some("k6sync.db")),
            ("sqlite:///var/k6.db?mode=rwc", Some("/var/k6.db")),
            ("sqlite:k6.db", Some("k6.db")),
            ("sqlite:///a%20b/c%3Fd%25.db", Some("/a b/c?d%.db")),
            (
                "sqlite:///my:memory:folder/k6.db",
                Some("/my:memory:folder/k6.db"),
            ),
            ("sqlite://k6.db?mode=memory", None),
            ("sqlite::memory:", None),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.sqlite_file(), file.map(PathBuf::from));
        }
    }

    /// Letters that no message of ours has three of in a row.
    const PASSWORD: &str = r"[qxzjQXZJ@/?#%&=+:;\\\[\] \t|<>'!$^~{}`,.()*]{3,16}";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        /// Pasted as it is, whatever it is: an error or the URL's own text shows no three characters of it.
        #[test]
        fn no_part_of_a_raw_password_is_ever_shown(
            password in PASSWORD,
            form in prop::sample::select(vec![
                "postgres://user:PASSWORD@host.example:5432/base",
                "postgresql://user:PASSWORD@host.example/base?sslmode=require",
                "postgres://user:PASSWORD@host.example",
                "postgres://:PASSWORD@host.example/base",
                "postgres://host.example/base?user=user&password=PASSWORD",
                "postgres://host.example/base?password=PASSWORD&sslmode=require",
                "user:PASSWORD@host.example/base",
                "mysql://user:PASSWORD@host.example/base",
                "sqlite:postgres://user:PASSWORD@host.example/base",
                "sqlite://user:PASSWORD@host.example/base",
                "sqlite://k6.db?password=PASSWORD",
                "sqlite://k6.db?mode=PASSWORD",
                "sqlite://k6.db?PASSWORD",
            ]),
        ) {
            let shown = match form.replace("PASSWORD", &password).parse::<DatabaseUrl>() {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            let characters: Vec<char> = password.chars().collect();
            for piece in characters.windows(3) {
                let piece: String = piece.iter().collect();
                let is_a_separator = !piece.contains(|c: char| c.is_alphabetic());
                prop_assert!(is_a_separator || !shown.contains(&piece), "`{}` is in {}", piece, shown);
            }
        }
    }
}
