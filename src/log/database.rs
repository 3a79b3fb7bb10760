//! Reading, from either database. SQLite is opened read-only here: whoever writes goes through the log writer.

use std::path::Path;
use std::sync::Arc;

use aggregates::{StreamId, upcasters};
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventStore as _};
use postgres_es::PostgresEventRepository;
use sqlite_es::SqliteEventRepository;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::sync::Semaphore;

use super::connection::{postgres_options, sqlite_options};
use super::dialect::Dialect;
use super::patience::{Doubt, shows_life};

/// Connections that read, a process.
pub const SQLITE_READERS: u32 = 4;
pub const POSTGRES_CONNECTIONS: u32 = 16;
/// A reader waits so long for a connection.
pub const ACQUIRE_TIMEOUT_SECONDS: u64 = 5;

/// An argument of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    Text(String),
    Integer(i64),
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// Calls that read, or wait for a connection to read with, a process; the next is refused at once.
pub const READS_AT_ONCE: usize = 512;

/// There is no room for one more call that reads.
#[derive(Debug, thiserror::Error)]
#[error("{READS_AT_ONCE} calls are reading already")]
pub struct Overloaded;

impl Overloaded {
    /// Whether it is the cause of what the database is said to have answered.
    pub fn is_cause_of(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::AnyDriverError(cause) if cause.is::<Self>())
    }
}

/// A pool of connections that read, and the room before it.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
    room: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool, Doubt),
}

/// An aggregate as its stream says, and the stream's version.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    pub aggregate: A,
    pub stream: StreamId,
    /// Sequence of the last event, 0 for a stream without one.
    pub version: i64,
}

/// A stream could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the database failed: {0}")]
    Store(Arc<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("the stream {stream} cannot be read: {reason}")]
    Unreadable { stream: StreamId, reason: String },
}

impl Database {
    fn new(pool: Pool) -> Self {
        Self { pool, room: Arc::new(Semaphore::new(READS_AT_ONCE)) }
    }

    /// Opens a SQLite file for reading, by so many connections; it must be there.
    pub fn sqlite(file: &Path, connections: u32) -> Self {
        let options = sqlite_options(file).read_only(true).create_if_missing(false);
        Self::new(Pool::Sqlite(
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(std::time::Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS))
                // There is no server that could have gone away meanwhile.
                .test_before_acquire(false)
                .connect_lazy_with(options),
        ))
    }

    /// Connects to PostgreSQL when first asked, by so many connections.
    ///
    /// # Errors
    /// When the URL is not one of PostgreSQL.
    pub fn postgres(url: &str, connections: u32) -> sqlx::Result<Self> {
        let doubt = Doubt::default();
        let returning = doubt.clone();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(std::time::Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS))
            // The pool's own test has no end on a silent network.
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(shows_life(connection)))
            .after_release(move |connection, _| {
                let doubted = returning.is_there();
                Box::pin(async move { if doubted { shows_life(connection).await } else { Ok(true) } })
            })
            // An answer of several parts comes in their order as long as one process gives it.
            .connect_lazy_with(postgres_options(url)?.options([("max_parallel_workers_per_gather", "0")]));
        Ok(Self::new(Pool::Postgres(pool, doubt)))
    }

    pub fn dialect(&self) -> Dialect {
        match self.pool {
            Pool::Sqlite(_) => Dialect::Sqlite,
            Pool::Postgres(..) => Dialect::Postgres,
        }
    }

    /// Rows of one text column.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn texts(&self, sql: &str, args: &[Arg]) -> sqlx::Result<Vec<String>> {
        let _room = self.room.try_acquire().map_err(|_| sqlx::Error::AnyDriverError(Overloaded.into()))?;
        match &self.pool {
            Pool::Sqlite(pool) => {
                let query = args.iter().fold(sqlx::query_scalar(sql), |query, arg| match arg {
                    Arg::Text(text) => query.bind(text.clone()),
                    Arg::Integer(number) => query.bind(*number),
                });
                query.fetch_all(pool).await
            }
            Pool::Postgres(pool, doubt) => {
                let query = args.iter().fold(sqlx::query_scalar(sql), |query, arg| match arg {
                    Arg::Text(text) => query.bind(text.clone()),
                    Arg::Integer(number) => query.bind(*number),
                });
                doubt.wait(query.fetch_all(pool)).await?
            }
        }
    }

    /// Folds a stream.
    ///
    /// # Errors
    /// When the database fails or an event cannot be read.
    pub async fn load<A>(&self, stream: StreamId) -> Result<Loaded<A>, LoadError>
    where
        A: Aggregate,
        A::Event: DomainEvent,
    {
        let _room = self.room.try_acquire().map_err(|_| Overloaded)?;
        let id = stream.aggregate_id.as_str();
        let context = match &self.pool {
            Pool::Sqlite(pool) => {
                let repository = SqliteEventRepository::new(pool.clone());
                let store = PersistedEventStore::<_, A>::new_event_store(repository).with_upcasters(upcasters());
                store.load_aggregate(id).await
            }
            Pool::Postgres(pool, doubt) => {
                let repository = PostgresEventRepository::new(pool.clone());
                let store = PersistedEventStore::<_, A>::new_event_store(repository).with_upcasters(upcasters());
                let loaded = doubt.wait(store.load_aggregate(id)).await;
                loaded.map_err(|error| LoadError::Store(Arc::new(error)))?
            }
        };
        match context {
            Ok(context) => {
                let version = i64::try_from(context.current_sequence).unwrap_or(i64::MAX);
                Ok(Loaded { aggregate: context.aggregate, stream, version })
            }
            Err(AggregateError::DeserializationError(source)) => {
                Err(LoadError::Unreadable { stream, reason: source.to_string() })
            }
            Err(AggregateError::DatabaseConnectionError(source) | AggregateError::UnexpectedError(source)) => {
                Err(LoadError::Store(source.into()))
            }
            Err(AggregateError::UserError(_) | AggregateError::AggregateConflict) => {
                Err(LoadError::Unreadable { stream, reason: "loading decided something".to_owned() })
            }
        }
    }

    /// Closes the pool when its connections are back.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool, _) => pool.close().await,
        }
    }
}
