//! Which database. A PostgreSQL address holds a password more often than not, so it is never shown whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Where the log lives.
#[derive(Debug, Clone)]
pub enum Database {
    /// One process, in the data directory.
    Sqlite {
        /// The directory that holds the database file.
        data_dir: PathBuf,
    },
    /// Any number of processes, each a node.
    Postgres(PostgresUrl),
}

impl Database {
    /// The database for messages: a path, or an address without its password.
    pub fn redacted(&self) -> String {
        match self {
            Self::Sqlite { data_dir } => format!("sqlite in {:?}", data_dir.display()),
            Self::Postgres(url) => url.redacted(),
        }
    }
}

/// A PostgreSQL address. `Debug` and `Display` leave the password out.
#[derive(Clone)]
pub struct PostgresUrl {
    whole: SecretString,
    redacted: String,
}

impl PostgresUrl {
    /// The whole address, password included, for the connection and for nothing else.
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }

    /// The address with `***` in place of its password.
    pub fn redacted(&self) -> String {
        self.redacted.clone()
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

/// What `database_url` says, before the data directory is known.
pub(super) enum DatabaseText {
    Sqlite,
    Postgres(PostgresUrl),
}

impl DatabaseText {
    pub(super) fn within(self, data_dir: &Path) -> Database {
        match self {
            Self::Sqlite => Database::Sqlite { data_dir: data_dir.to_path_buf() },
            Self::Postgres(url) => Database::Postgres(url),
        }
    }
}

/// A text that names no database. The text is not repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// Neither of the two databases.
    #[error("it names neither of the two databases")]
    Kind,
    /// `postgres:` without a form that can be read.
    #[error("it is not an address of that form (percent-encode /, ?, # and @ in a password)")]
    Form,
}

impl FromStr for DatabaseText {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        if text == "sqlite" {
            return Ok(Self::Sqlite);
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(DatabaseError::Kind);
        }
        let url = Url::parse(text).map_err(|_| DatabaseError::Form)?;
        // An `@` behind the host is the end of a password with a slash in it, which would be
        // taken for the database's name, and shown.
        if url.path().contains('@') || url.fragment().is_some() {
            return Err(DatabaseError::Form);
        }
        let redacted = redact(url);
        Ok(Self::Postgres(PostgresUrl { whole: SecretString::from(text), redacted }))
    }
}

/// Passwords stand before the host or among the parameters. Of those only the ones that say how to
/// connect are shown.
fn redact(mut url: Url) -> String {
    const SHOWN: [&str; 5] = ["host", "port", "dbname", "sslmode", "application_name"];
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return String::from("postgres://***");
    }
    if url.query().is_some() {
        let shown: Vec<String> = url
            .query_pairs()
            .filter(|(name, _)| SHOWN.contains(&name.as_ref()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        url.set_query((!shown.is_empty()).then(|| shown.join("&")).as_deref());
    }
    url.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn postgres(text: &str) -> PostgresUrl {
        match text.parse().ok().unwrap() {
            DatabaseText::Postgres(url) => url,
            DatabaseText::Sqlite => panic!("{text} is not SQLite"),
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://ann:pw@db:5432/log", "postgres://ann:***@db:5432/log"),
            ("postgres://ann:p%2Fw@db/log?sslmode=require", "postgres://ann:***@db/log?sslmode=require"),
            ("postgresql://db/log?user=ann&password=pw", "postgresql://db/log"),
            ("postgres://ann:p@w@db/log", "postgres://ann:***@db/log"),
            ("postgres:///log?host=/run/postgresql", "postgres:///log?host=/run/postgresql"),
        ] {
            let url = postgres(text);
            assert_eq!(url.expose(), text);
            assert_eq!(url.redacted(), shown);
            assert_eq!(format!("{url} {url:?}"), format!("{shown} {shown}"));
            assert_eq!(format!("{:?}", Database::Postgres(url)), format!("Postgres({shown})"));
        }
    }

    #[test]
    fn other_databases_and_broken_addresses_are_refused() {
        for text in ["", "mysql://a:b@c/d", "sqlite://x.db", "postgres:log", "SQLITE"] {
            assert_eq!(text.parse::<DatabaseText>().err(), Some(DatabaseError::Kind), "{text}");
        }
        for text in ["postgres://ann:p/w@db/log", "postgres://ann:12/w@db/log", "postgres://ann:pw@db/log#x"] {
            assert_eq!(text.parse::<DatabaseText>().err(), Some(DatabaseError::Form), "{text}");
        }
    }
}
