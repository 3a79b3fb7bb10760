//! One connection that writes, to either database.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use projections::{ColumnKind, Value};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use uuid::Uuid;

use super::dialect::Dialect;
use super::head::Head;
use super::patience::Patience;
use super::sqlite::{self, SQLITE_BUSY_TIMEOUT, SqliteThread};

/// A statement may run so long before PostgreSQL ends it.
pub const STATEMENT_TIMEOUT_SECONDS: u64 = 10;
/// A transaction may wait so long for the head.
pub const LOCK_TIMEOUT_SECONDS: u64 = 5;
/// A node that stops in the middle of a transaction holds the head no longer than this.
pub const IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: u64 = 2;

/// How a process reaches its database for writing.
#[derive(Clone, Debug)]
pub enum WriteTarget {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// A connection of its own, outside of any pool.
#[derive(Debug)]
pub enum WriteConnection {
    Sqlite(SqliteThread),
    Postgres(PgConnection, Patience),
}

/// A statement with all it needs to run.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: String,
    pub arguments: Arguments,
}

/// How a statement takes what it works on: all at once where a message is dear, row by row where it is cheap.
#[derive(Clone, Debug)]
pub enum Arguments {
    /// One JSON text.
    Json(String),
    /// On SQLite: the statement runs once for each row.
    Rows(Vec<Vec<Value>>),
    /// On PostgreSQL: an array a column, which costs it a good deal less than rows in JSON.
    Columns(Vec<ColumnValues>),
    /// On PostgreSQL: the statement is a `COPY`.
    Copy(Vec<Vec<Value>>),
}

/// What stands in one column of several rows.
#[derive(Clone, Debug)]
pub enum ColumnValues {
    Texts(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
}

impl Arguments {
    /// Rows as their database takes them; `kinds` are those of their columns.
    pub fn rows(dialect: Dialect, kinds: impl IntoIterator<Item = ColumnKind>, rows: Vec<Vec<Value>>) -> Self {
        match dialect {
            Dialect::Sqlite => Self::Rows(rows),
            Dialect::Postgres => Self::Columns(ColumnValues::of_rows(kinds, rows)),
        }
    }
}

impl ColumnValues {
    /// The columns of rows, each of its kind. What is not of its kind, which no row has, is left empty.
    fn of_rows(kinds: impl IntoIterator<Item = ColumnKind>, rows: Vec<Vec<Value>>) -> Vec<Self> {
        let empty = |kind| match kind {
            ColumnKind::Text => Self::Texts(Vec::with_capacity(rows.len())),
            ColumnKind::Integer => Self::Integers(Vec::with_capacity(rows.len())),
        };
        let mut columns: Vec<Self> = kinds.into_iter().map(empty).collect();
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                match (column, value) {
                    (Self::Texts(texts), Value::Text(text)) => texts.push(Some(text)),
                    (Self::Integers(integers), Value::Integer(integer)) => integers.push(Some(integer)),
                    (Self::Texts(texts), _) => texts.push(None),
                    (Self::Integers(integers), _) => integers.push(None),
                }
            }
        }
        columns
    }
}

impl Statement {
    pub fn json(sql: impl Into<String>, json: String) -> Self {
        Self { sql: sql.into(), arguments: Arguments::Json(json) }
    }

    fn run_on_sqlite(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        match &self.arguments {
            Arguments::Json(json) => connection.prepare_cached(&self.sql)?.execute([json]).map(drop),
            Arguments::Rows(rows) => sqlite::run_rows(connection, &self.sql, rows),
            Arguments::Columns(_) | Arguments::Copy(_) => Err(rusqlite::Error::InvalidQuery),
        }
    }

    async fn run_on_postgres(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        match self.arguments {
            Arguments::Json(json) => sqlx::query(&self.sql).bind(json).execute(connection).await.map(drop),
            Arguments::Columns(columns) => {
                let query = columns.into_iter().fold(sqlx::query(&self.sql), |query, column| match column {
                    ColumnValues::Texts(texts) => query.bind(texts),
                    ColumnValues::Integers(integers) => query.bind(integers),
                });
                query.execute(connection).await.map(drop)
            }
            Arguments::Rows(_) => Err(sqlx::Error::Protocol("rows one by one are for SQLite".to_owned())),
            Arguments::Copy(rows) => {
                let mut copy = connection.copy_in_raw(&self.sql).await?;
                copy.send(copy_text(&rows).into_bytes()).await?;
                copy.finish().await.map(drop)
            }
        }
    }
}

/// Rows as `COPY` reads them: a line each, tabs between the columns.
fn copy_text(rows: &[Vec<Value>]) -> String {
    let mut text = String::new();
    for row in rows {
        for (column, value) in row.iter().enumerate() {
            if column > 0 {
                text.push('\t');
            }
            match value {
                Value::Null => text.push_str("\\N"),
                Value::Integer(number) => text.push_str(&number.to_string()),
                Value::Text(value) => push_escaped(&mut text, value),
            }
        }
        text.push('\n');
    }
    text
}

fn push_escaped(text: &mut String, mut value: &str) {
    while let Some(at) = value.find(['\\', '\t', '\n', '\r']) {
        let (before, special) = value.split_at(at);
        text.push_str(before);
        text.push_str(match special.as_bytes()[0] {
            b'\t' => "\\t",
            b'\n' => "\\n",
            b'\r' => "\\r",
            _ => "\\\\",
        });
        value = &special[1..];
    }
    text.push_str(value);
}

/// Whether SQLite overwrites what is deleted.
#[derive(Clone, Copy, Debug)]
pub enum Overwrite {
    /// As everywhere: an erased person leaves nothing behind.
    Always,
    /// Only in pages that are written anyway.
    WhereFree,
}

/// A transaction was not seen to commit.
pub enum Unfinished {
    /// It had not got as far as that: nothing was committed.
    Before(sqlx::Error),
    /// What became of it is not known.
    Committing(sqlx::Error),
}

/// The file of a SQLite instance as whoever does not write through [`SqliteThread`] opens it.
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
        .application_name(process_name())
        .options([
            ("synchronous_commit", "on".to_owned()),
            ("statement_timeout", milliseconds(STATEMENT_TIMEOUT_SECONDS)),
            ("lock_timeout", milliseconds(LOCK_TIMEOUT_SECONDS)),
            ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION_TIMEOUT_SECONDS)),
        ])
        .disable_statement_logging())
}

/// What the connections of this process are called on a PostgreSQL server, and those of no other.
fn process_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("authlog {}", Uuid::now_v7().simple()))
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
            Self::Sqlite(file) => SqliteThread::open(file).await.map(WriteConnection::Sqlite),
            Self::Postgres(options) => {
                // Whoever writes looks rows up by their keys. A plan that was made while a table was small, and is kept, would
                // read the whole of it ever after; and what may not be scanned looks dear enough to be compiled.
                let options = PgConnectOptions::clone(options).options([("enable_seqscan", "off"), ("jit", "off")]);
                let connection = Patience::WHILE_CONNECTING.wait(options.connect()).await?;
                Ok(WriteConnection::Postgres(connection, Patience::USUAL))
            }
        }
    }
}

impl WriteTarget {
    /// A connection with a transaction begun: the one given, or a new one if that has gone since it was last used. Nothing
    /// has been sent yet, so trying again hides nothing.
    pub async fn begun(&self, kept: Option<WriteConnection>) -> sqlx::Result<WriteConnection> {
        self.opened(kept, WriteConnection::begin).await.map(|(connection, ())| connection)
    }

    /// The same, and it holds the head.
    pub async fn begun_with_head(&self, kept: Option<WriteConnection>) -> sqlx::Result<(WriteConnection, Head)> {
        self.opened(kept, WriteConnection::begin_with_head).await
    }

    async fn opened<T>(
        &self,
        kept: Option<WriteConnection>,
        begin: impl AsyncFn(&mut WriteConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<(WriteConnection, T)> {
        if let Some(mut connection) = kept {
            match begin(&mut connection).await {
                Ok(answer) => return Ok((connection, answer)),
                // It is there, and somebody else is in the way: to wait again would only make the limit twice as long.
                Err(error) if is_held(&error) => return Err(error),
                Err(error) => tracing::info!(%error, "the connection that writes is gone; making another"),
            }
        }
        let mut connection = self.connect().await?;
        let answer = begin(&mut connection).await?;
        Ok((connection, answer))
    }
}

/// Whether a lock was not to be had in time: PostgreSQL's `lock_not_available`, SQLite's `BUSY`.
fn is_held(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("55P03" | "5"))
}

impl WriteConnection {
    /// Begins a transaction that will write.
    pub async fn begin(&mut self) -> sqlx::Result<()> {
        self.simple(self.dialect().begin()).await
    }

    /// The same, and it holds the head.
    pub async fn begin_with_head(&mut self) -> sqlx::Result<Head> {
        let (begin, lock_head) = (self.dialect().begin(), self.dialect().lock_head());
        let row: String = match self {
            Self::Sqlite(connection) => {
                let begun = move |connection: &rusqlite::Connection| {
                    connection.prepare_cached(begin)?.execute([])?;
                    connection.prepare_cached(lock_head)?.query_row([], |row| row.get(0))
                };
                connection.call(begun).await?
            }
            // One message, two statements: what comes after them sees what the last holder of the head has committed.
            Self::Postgres(connection, patience) => {
                let rows = patience.wait(connection.fetch_all(format!("{begin}; {lock_head}").as_str())).await?;
                rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?
            }
        };
        Head::decode(&row).map_err(|error| sqlx::Error::Decode(error.into()))
    }

    /// Whether other processes of authlog are connected to a PostgreSQL database.
    pub async fn has_company(&mut self) -> sqlx::Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name LIKE 'authlog %' AND application_name <> current_setting('application_name'))::text";
        match self {
            Self::Sqlite(_) => Ok(false),
            Self::Postgres(..) => Ok(self.texts(sql, None).await? == ["true"]),
        }
    }

    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(..) => Dialect::Postgres,
        }
    }

    pub async fn commit(&mut self) -> sqlx::Result<()> {
        self.simple("COMMIT").await
    }

    pub async fn rollback(&mut self) -> sqlx::Result<()> {
        self.simple("ROLLBACK").await
    }

    /// Statements on PostgreSQL may take as long as they need, from here on.
    pub async fn take_all_the_time(&mut self) -> sqlx::Result<()> {
        let Self::Postgres(_, patience) = self else { return Ok(()) };
        *patience = Patience::ENDLESS;
        self.simple("SET statement_timeout = 0").await
    }

    /// Runs statements without arguments.
    pub async fn simple(&mut self, sql: &str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => {
                let sql = sql.to_owned();
                connection.call(move |connection| connection.execute_batch(&sql)).await
            }
            Self::Postgres(connection, patience) => patience.wait(connection.execute(sql)).await.map(drop),
        }
    }

    /// Runs a statement without arguments; answers how many rows it touched.
    pub async fn run_plain(&mut self, sql: &str) -> sqlx::Result<u64> {
        match self {
            Self::Sqlite(connection) => {
                let sql = sql.to_owned();
                connection.call(move |connection| Ok(connection.execute(&sql, [])? as u64)).await
            }
            Self::Postgres(connection, patience) => {
                patience.wait(connection.execute(sql)).await.map(|done| done.rows_affected())
            }
        }
    }

    /// Runs a statement whose one argument is a JSON text; answers how many rows it touched.
    pub async fn run(&mut self, sql: &str, json: &str) -> sqlx::Result<u64> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, json) = (sql.to_owned(), json.to_owned());
                connection.call(move |connection| Ok(connection.prepare_cached(&sql)?.execute([json])? as u64)).await
            }
            Self::Postgres(connection, patience) => {
                let done = patience.wait(sqlx::query(sql).bind(json).execute(connection)).await;
                done.map(|done| done.rows_affected())
            }
        }
    }

    /// Runs statements in their order; on SQLite as one message to the connection's thread.
    pub async fn run_all(&mut self, statements: Vec<Statement>) -> sqlx::Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        match self {
            Self::Sqlite(connection) => {
                let all = move |connection: &rusqlite::Connection| {
                    statements.iter().try_for_each(|statement| statement.run_on_sqlite(connection))
                };
                connection.call(all).await
            }
            Self::Postgres(connection, patience) => {
                for statement in statements {
                    patience.wait(statement.run_on_postgres(connection)).await?;
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
        self.run_all(statements).await.map_err(Unfinished::Before)?;
        // Nothing but numbers comes into the text.
        let sql = format!("UPDATE log_head SET position = {position}, recorded_at = {recorded_at}; COMMIT");
        self.simple(&sql).await.map_err(Unfinished::Committing)
    }

    /// Chooses whether SQLite overwrites what is deleted, from here on.
    pub async fn overwrite_deleted(&mut self, overwrite: Overwrite) -> sqlx::Result<()> {
        match (&self, overwrite) {
            (Self::Postgres(..), _) => Ok(()),
            (Self::Sqlite(_), Overwrite::Always) => self.simple("PRAGMA secure_delete = ON").await,
            (Self::Sqlite(_), Overwrite::WhereFree) => self.simple("PRAGMA secure_delete = FAST").await,
        }
    }

    /// Gives SQLite more room for pages in memory, for filling whole tables.
    pub async fn keep_more_pages(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.call(sqlite::keep_more_pages).await,
            Self::Postgres(..) => Ok(()),
        }
    }

    /// Leaves SQLite's write-ahead file to whoever calls [`WriteConnection::move_write_ahead_pages`].
    pub async fn leave_write_ahead_pages(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(_) => self.simple("PRAGMA wal_autocheckpoint = 0").await,
            Self::Postgres(..) => Ok(()),
        }
    }

    /// Moves what can be moved from SQLite's write-ahead file into the database; waits for nobody and keeps nobody waiting.
    pub async fn move_write_ahead_pages(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(_) => self.simple("PRAGMA wal_checkpoint(PASSIVE)").await,
            Self::Postgres(..) => Ok(()),
        }
    }

    /// Moves SQLite's write-ahead file into the database and cuts it to nothing; answers whether it could, and waits for nobody
    /// who reads an older state.
    pub async fn empty_write_ahead_file(&mut self) -> sqlx::Result<bool> {
        match self {
            Self::Sqlite(connection) => connection.call(sqlite::empty_write_ahead_file).await,
            Self::Postgres(..) => Ok(true),
        }
    }

    /// Rows of one text column; `json` is the argument of a statement that has one.
    pub async fn texts(&mut self, sql: &str, json: Option<&str>) -> sqlx::Result<Vec<String>> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, json) = (sql.to_owned(), json.map(str::to_owned));
                connection.call(move |connection| sqlite::texts(connection, &sql, json.as_deref())).await
            }
            Self::Postgres(connection, patience) => {
                let query = sqlx::query_scalar(sql);
                match json {
                    Some(json) => patience.wait(query.bind(json).fetch_all(connection)).await,
                    None => patience.wait(query.fetch_all(connection)).await,
                }
            }
        }
    }

    /// The one text of a statement that always answers with one row.
    pub async fn text(&mut self, sql: &str, json: &str) -> sqlx::Result<String> {
        self.texts(sql, Some(json)).await?.into_iter().next().ok_or(sqlx::Error::RowNotFound)
    }

    /// Ends the connection politely; errors no longer matter.
    pub async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection, patience) => drop(patience.wait(connection.close()).await),
        }
    }
}
