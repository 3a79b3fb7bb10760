//! One connection that writes, to either database.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::dialect::Dialect;
use super::group::blames_the_data;
use super::head::Head;

/// A statement may run so long before PostgreSQL ends it.
pub const STATEMENT_TIMEOUT_SECONDS: u64 = 10;
/// A transaction may wait so long for the head.
pub const LOCK_TIMEOUT_SECONDS: u64 = 5;
/// A node that stops in the middle of a transaction holds the head no longer than this.
pub const IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: u64 = 2;
/// How long SQLite waits for another process that writes (a backup, a shell).
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of 4 KiB in the write-ahead file before they are moved into the database: four times SQLite's own choice, because
/// the ends of the trees that every unit touches are then moved once and not four times.
const SQLITE_CHECKPOINT_PAGES: u32 = 4000;

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

/// A statement and its one argument.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: String,
    pub json: String,
}

/// A transaction was not seen to commit.
pub enum Unfinished {
    /// It had not got as far as that: nothing was committed.
    Before(sqlx::Error),
    /// What became of it is not known.
    Committing(sqlx::Error),
}

/// Several statements as one, for SQLite, where each `$1` becomes a number of its own.
#[derive(Default)]
struct SqliteScript {
    sql: String,
    json: Vec<String>,
}

impl SqliteScript {
    fn of(statements: Vec<Statement>) -> Self {
        let mut script = Self::default();
        for Statement { sql, json } in statements {
            script.add(&sql);
            script.json.push(json);
        }
        script
    }

    fn add(&mut self, sql: &str) {
        self.sql.push_str(&sql.replace("$1", &format!("${}", self.json.len() + 1)));
        self.sql.push(';');
    }

    async fn execute(self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let query = self.json.into_iter().fold(sqlx::query(&self.sql), sqlx::query::Query::bind);
        query.execute(connection).await.map(drop)
    }
}

/// The file of a SQLite instance, opened for writing with a flush at every commit.
pub fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES.to_string())
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
            Self::Postgres(options) => {
                // Whoever writes looks rows up by their keys. A plan that was made while a table was small, and is kept, would
                // read the whole of it ever after; and what may not be scanned looks dear enough to be compiled.
                let options = options.clone().options([("enable_seqscan", "off"), ("jit", "off")]);
                options.connect().await.map(WriteConnection::Postgres)
            }
        }
    }
}

impl WriteTarget {
    /// A connection with a transaction begun: the one given, or a new one if that has gone since it was last used. Nothing
    /// has been sent yet, so trying again hides nothing.
    pub async fn begun(&self, kept: Option<WriteConnection>) -> sqlx::Result<WriteConnection> {
        self.opened(kept, self.dialect().begin()).await.map(|(connection, _)| connection)
    }

    /// The same, and it holds the head.
    pub async fn begun_with_head(&self, kept: Option<WriteConnection>) -> sqlx::Result<(WriteConnection, Head)> {
        let (connection, answer) = self.opened(kept, &self.dialect().begin_with_head()).await?;
        Ok((connection, head_of(answer)?))
    }

    async fn opened(
        &self,
        kept: Option<WriteConnection>,
        begin: &str,
    ) -> sqlx::Result<(WriteConnection, Option<String>)> {
        if let Some(mut connection) = kept {
            match connection.script(begin).await {
                Ok(answer) => return Ok((connection, answer)),
                // It is there, and somebody else is in the way: to wait again would only make the limit twice as long.
                Err(error) if is_held(&error) => return Err(error),
                Err(error) => tracing::info!(%error, "the connection that writes is gone; making another"),
            }
        }
        let mut connection = self.connect().await?;
        let answer = connection.script(begin).await?;
        Ok((connection, answer))
    }
}

fn head_of(answer: Option<String>) -> sqlx::Result<Head> {
    let row = answer.ok_or(sqlx::Error::RowNotFound)?;
    Head::decode(&row).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Whether a lock was not to be had in time: PostgreSQL's `lock_not_available`, SQLite's `BUSY`.
fn is_held(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("55P03" | "5"))
}

impl WriteConnection {
    /// Begins a transaction that will write.
    pub async fn begin(&mut self) -> sqlx::Result<()> {
        self.script(self.dialect().begin()).await.map(drop)
    }

    /// The same, and it holds the head.
    pub async fn begin_with_head(&mut self) -> sqlx::Result<Head> {
        let answer = self.script(&self.dialect().begin_with_head()).await?;
        head_of(answer)
    }

    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs statements in one message; answers the first text of the first row, if there is one.
    async fn script(&mut self, sql: &str) -> sqlx::Result<Option<String>> {
        match self {
            Self::Sqlite(connection) => {
                let row = connection.fetch_all(sql).await?;
                row.first().map(|row| row.try_get(0)).transpose()
            }
            Self::Postgres(connection) => {
                let row = connection.fetch_all(sql).await?;
                row.first().map(|row| row.try_get(0)).transpose()
            }
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

    /// Runs statements in their order; on SQLite as one message to the connection's thread.
    pub async fn run_all(&mut self, statements: Vec<Statement>) -> sqlx::Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        match self {
            Self::Sqlite(connection) => SqliteScript::of(statements).execute(connection).await,
            Self::Postgres(connection) => {
                for Statement { sql, json } in statements {
                    sqlx::query(&sql).bind(json).execute(&mut *connection).await?;
                }
                Ok(())
            }
        }
    }

    /// Runs statements, moves the head of a layout that stays as it is, and commits.
    pub async fn finish(
        &mut self,
        statements: Vec<Statement>,
        position: i64,
        recorded_at: i64,
    ) -> Result<(), Unfinished> {
        match self {
            Self::Sqlite(connection) => {
                let mut script = SqliteScript::of(statements);
                script.add("UPDATE log_head SET position = $1->>'position', recorded_at = $1->>'recorded_at'; COMMIT");
                script.json.push(serde_json::json!({ "position": position, "recorded_at": recorded_at }).to_string());
                // Two numbers and a COMMIT give nothing to object to: what is refused is in the statements before.
                script.execute(connection).await.map_err(|error| {
                    if blames_the_data(&error) { Unfinished::Before(error) } else { Unfinished::Committing(error) }
                })
            }
            Self::Postgres(_) => {
                self.run_all(statements).await.map_err(Unfinished::Before)?;
                // Nothing but numbers comes into the text.
                let sql = format!("UPDATE log_head SET position = {position}, recorded_at = {recorded_at}; COMMIT");
                self.script(&sql).await.map(drop).map_err(Unfinished::Committing)
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

    /// The one text of a statement that always answers with one row.
    pub async fn text(&mut self, sql: &str, json: &str) -> sqlx::Result<String> {
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).bind(json).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(sql).bind(json).fetch_one(connection).await,
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
