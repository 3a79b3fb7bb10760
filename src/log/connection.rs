//! One connection that writes, to either database.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::dialect::Dialect;

/// A statement may run so long before PostgreSQL ends it.
pub const STATEMENT_TIMEOUT_SECONDS: u64 = 10;
/// A transaction may wait so long for the head.
pub const LOCK_TIMEOUT_SECONDS: u64 = 5;
/// A node that stops in the middle of a transaction holds the head no longer than this.
pub const IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: u64 = 2;
/// How long SQLite waits for another process that writes (a backup, a shell).
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How a process reaches its database for writing.
#[derive(Clone, Debug)]
pub enum WriteTarget {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

/// A connection of its own, outside of any pool.
#[derive(Debug)]
pub enum WriteConnection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The file of a SQLite instance, opened for writing with a flush at every commit.
pub fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// A PostgreSQL server, with every limit that keeps a stuck node from holding the head.
///
/// # Errors
/// When the URL is not one of PostgreSQL.
pub fn postgres_options(url: &str) -> sqlx::Result<PgConnectOptions> {
    let milliseconds = |seconds: u64| (seconds * 1000).to_string();
    Ok(url
        .parse::<PgConnectOptions>()?
        .application_name("authlog")
        .options([
            ("synchronous_commit", "on".to_owned()),
            ("statement_timeout", milliseconds(STATEMENT_TIMEOUT_SECONDS)),
            ("lock_timeout", milliseconds(LOCK_TIMEOUT_SECONDS)),
            ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION_TIMEOUT_SECONDS)),
        ])
        .disable_statement_logging())
}

impl WriteTarget {
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(&self) -> sqlx::Result<WriteConnection> {
        match self {
            Self::Sqlite(options) => options.connect().await.map(WriteConnection::Sqlite),
            Self::Postgres(options) => options.connect().await.map(WriteConnection::Postgres),
        }
    }
}

impl WriteTarget {
    /// A connection with a transaction begun: the one given, or a new one if that has gone since it was last used. Nothing
    /// has been sent yet, so trying again hides nothing.
    pub async fn begun(&self, kept: Option<WriteConnection>) -> sqlx::Result<WriteConnection> {
        if let Some(mut connection) = kept {
            match connection.begin().await {
                Ok(()) => return Ok(connection),
                Err(error) => tracing::info!(%error, "the connection that writes is gone; making another"),
            }
        }
        let mut connection = self.connect().await?;
        connection.begin().await?;
        Ok(connection)
    }
}

impl WriteConnection {
    /// Begins a transaction that will write. On SQLite it takes the write lock at once: a deferred transaction that upgrades
    /// fails when somebody else wrote in between.
    pub async fn begin(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.execute("BEGIN IMMEDIATE").await.map(drop),
            Self::Postgres(connection) => connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map(drop),
        }
    }

    pub async fn commit(&mut self) -> sqlx::Result<()> {
        self.simple("COMMIT").await
    }

    pub async fn rollback(&mut self) -> sqlx::Result<()> {
        self.simple("ROLLBACK").await
    }

    /// Runs a statement without arguments.
    pub async fn simple(&mut self, sql: &str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(drop),
            Self::Postgres(connection) => connection.execute(sql).await.map(drop),
        }
    }

    /// Runs a statement whose one argument is a JSON text; answers how many rows it touched.
    pub async fn run(&mut self, sql: &str, json: &str) -> sqlx::Result<u64> {
        match self {
            Self::Sqlite(connection) => {
                sqlx::query(sql).bind(json).execute(connection).await.map(|done| done.rows_affected())
            }
            Self::Postgres(connection) => {
                sqlx::query(sql).bind(json).execute(connection).await.map(|done| done.rows_affected())
            }
        }
    }

    /// Rows of one text column; `json` is the argument of a statement that has one.
    pub async fn texts(&mut self, sql: &str, json: Option<&str>) -> sqlx::Result<Vec<String>> {
        match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query_scalar(sql);
                match json {
                    Some(json) => query.bind(json).fetch_all(connection).await,
                    None => query.fetch_all(connection).await,
                }
            }
            Self::Postgres(connection) => {
                let query = sqlx::query_scalar(sql);
                match json {
                    Some(json) => query.bind(json).fetch_all(connection).await,
                    None => query.fetch_all(connection).await,
                }
            }
        }
    }

    /// Ends the connection politely; errors no longer matter.
    pub async fn close(self) {
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
    }
}
