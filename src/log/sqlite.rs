//! A SQLite connection on a thread of its own, for whoever reads or writes a lot.
//!
//! Statements run where the connection lives, as many as there are in one message: a row costs its insertion, not a journey.

use std::borrow::Cow;
use std::error::Error;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fmt, thread};

use projections::Value;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::oneshot;

use super::EventRecord;
use super::leaf::hex_digits;

/// How long SQLite waits for another process that writes (a backup, a shell).
pub const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of 4 KiB in the write-ahead file before they are moved into the database: four times SQLite's own choice, because
/// the ends of the trees that every unit touches are then moved once and not four times.
const SQLITE_CHECKPOINT_PAGES: u32 = 4000;
/// Pages of 4 KiB that are kept in memory while whole tables are filled, and as much again for each thread that sorts for an index.
const SQLITE_FILLING_CACHE_PAGES: u32 = 4096;
/// Statements that are kept ready.
const KEPT_STATEMENTS: usize = 64;

type Work = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the thread. When it is dropped the thread closes the connection and ends.
#[derive(Debug)]
pub struct SqliteThread {
    work: mpsc::Sender<Work>,
    ended: oneshot::Receiver<()>,
}

impl SqliteThread {
    /// Opens the file for writing, or makes it, with a flush at every commit.
    pub async fn open(file: &Path) -> sqlx::Result<Self> {
        Self::start("sqlite-writer", file, open_to_write).await
    }

    /// Opens a file that is there, for reading only.
    pub async fn open_to_read(file: &Path) -> sqlx::Result<Self> {
        Self::start("sqlite-reader", file, open_to_read).await
    }

    async fn start(name: &str, file: &Path, open: fn(&Path) -> rusqlite::Result<Connection>) -> sqlx::Result<Self> {
        let file = file.to_owned();
        let (work, queue) = mpsc::channel::<Work>();
        let (opened, is_open) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            match open(&file) {
                Ok(connection) => {
                    let _ = opened.send(Ok(()));
                    while let Ok(work) = queue.recv() {
                        work(&connection);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
            let _ = end.send(());
        })?;
        is_open.await.map_err(|_| sqlx::Error::WorkerCrashed)?.map_err(into_sqlx)?;
        Ok(Self { work, ended })
    }

    /// Lets the thread do `work` and waits for its answer. Once begun it is done to its end.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> sqlx::Result<T> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |connection: &Connection| drop(answer.send(work(connection))));
        self.work.send(work).map_err(|_| sqlx::Error::WorkerCrashed)?;
        answered.await.map_err(|_| sqlx::Error::WorkerCrashed)?.map_err(into_sqlx)
    }

    /// Returns when the file is closed.
    pub async fn close(self) {
        drop(self.work);
        let _ = self.ended.await;
    }
}

fn open_to_write(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(SQLITE_BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // What is deleted is overwritten: an erased person leaves nothing behind in free pages.
    connection.pragma_update(None, "secure_delete", "on")?;
    connection.pragma_update(None, "wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)?;
    connection.set_prepared_statement_cache_capacity(KEPT_STATEMENTS);
    Ok(connection)
}

/// Gives a connection more room for pages, and a second thread for sorting, for filling whole tables.
pub fn keep_more_pages(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "threads", 1)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4 * SQLITE_CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", SQLITE_FILLING_CACHE_PAGES)
}

/// Moves the write-ahead file into the database and cuts it to nothing; `false` when somebody still reads an older state.
pub fn empty_write_ahead_file(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(SQLITE_BUSY_TIMEOUT)?;
    busy.map(|busy| !busy)
}

fn open_to_read(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(SQLITE_BUSY_TIMEOUT)?;
    Ok(connection)
}

/// At most `limit` events after the position `after`, in order.
pub fn events(connection: &Connection, after: i64, limit: i64) -> rusqlite::Result<Vec<EventRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, leaf_hash \
           FROM events WHERE position > ?1 ORDER BY position LIMIT ?2",
    )?;
    let record = |row: &rusqlite::Row<'_>| {
        Ok(EventRecord {
            aggregate_type: row.get(0)?,
            aggregate_id: row.get(1)?,
            sequence: row.get(2)?,
            event_type: row.get(3)?,
            event_version: row.get(4)?,
            payload: row.get(5)?,
            metadata: row.get(6)?,
            position: row.get(7)?,
            recorded_at: row.get(8)?,
            leaf_hash: hex_digits(row.get_ref(9)?.as_blob()?),
        })
    };
    statement.query_map([after, limit], record)?.collect()
}

/// Rows of one text column; `json` is the argument of a statement that has one.
pub fn texts(connection: &Connection, sql: &str, json: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(sql)?;
    let text = |row: &rusqlite::Row<'_>| row.get(0);
    match json {
        Some(json) => statement.query_map([json], text)?.collect(),
        None => statement.query_map([], text)?.collect(),
    }
}

/// Runs a statement once for each row; its arguments are the row's values.
pub fn run_rows(connection: &Connection, sql: &str, rows: &[Vec<Value>]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    for row in rows {
        statement.execute(rusqlite::params_from_iter(row.iter().map(Bound)))?;
    }
    Ok(())
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// As the driver that reads would have it, so that there is one kind of failure.
fn into_sqlx(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => sqlx::Error::Database(Box::new(SqliteFailure {
            code: failure.extended_code.to_string(),
            message: message.unwrap_or_else(|| failure.to_string()),
        })),
        error => sqlx::Error::Decode(error.into()),
    }
}

/// What SQLite itself refused.
#[derive(Debug)]
struct SqliteFailure {
    /// Its extended result code.
    code: String,
    message: String,
}

impl fmt::Display for SqliteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl Error for SqliteFailure {}

impl DatabaseError for SqliteFailure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.code))
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
