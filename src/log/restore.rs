//! Restoring a log from a copy: events go in as they were recorded, in one transaction together with their keys and with the read
//! models that are folded from them. What is not whole is not there.
//!
//! Every event is checked before it goes in (position, sequence, time, leaf hash) and read back after, so that what is committed
//! is what was copied, byte by byte.
//!
//! Architecture invariant: only an empty log is restored; the triggers that refuse to change a log stay in force.

use std::collections::HashMap;

use aggregates::{KeyId, KeyIdError, StreamId};
use projections::{FoldError, KeyedHasher, ReadModels, TABLES};

use super::connection::{WriteConnection, WriteTarget};
use super::dialect::Dialect;
use super::group::{AUDIT, Amount, RowStatements, insert_events, load_missing, row_statements, set_audit_aside};
use super::history::{HistoryError, OpenedEvent, open_with};
use super::keyring::{KeyRow, Keyring, KeyringError};
use super::open::{hasher_of, migrate, prepare_tables};
use super::reader::Reader;
use super::{EventRecord, Head, Keys, Location, OpenError};
use crate::keys::{MasterKeyId, MasterKeys};

/// Rows of read models are written when so many events have been folded: what a row went through meanwhile is written once.
const BATCH_EVENTS: usize = 10_000;
/// Keys that are inserted by one statement.
const KEYS_AT_ONCE: usize = 1000;

/// A log was not restored; nothing of it is there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("there is a log of {0} events already; name an empty data directory or database")]
    NotEmpty(i64),
    #[error("the event at position {expected} is missing: {found} comes after {}", expected - 1)]
    Gap { expected: i64, found: i64 },
    #[error("the event at position {0} is damaged: its leaf hash is another")]
    Damaged(i64),
    #[error("the event at position {position} is out of step: event {found} of {stream}, where {expected} is next")]
    OutOfStep { position: i64, stream: StreamId, expected: i64, found: i64 },
    #[error("the event at position {0} was recorded before the one ahead of it")]
    BackInTime(i64),
    #[error("the database does not give back the events after position {0} as they were written")]
    NotAsWritten(i64),
    #[error("the log cannot be folded: {0}")]
    Fold(FoldError),
    #[error("a key has no known form: {0}")]
    KeyId(#[from] KeyIdError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<sqlx::Error> for RestoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Open(error.into())
    }
}

impl From<serde_json::Error> for RestoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::from(sqlx::Error::Decode(error.into()))
    }
}

/// A log on its way in. Dropped, it leaves the database as it was.
#[derive(Debug)]
pub struct Restoring {
    connection: WriteConnection,
    dialect: Dialect,
    head: Head,
    keys: Keys,
    hasher: KeyedHasher,
    /// The sequence of the last event of each stream.
    sequences: HashMap<StreamId, i64>,
    batch: Batch,
}

/// What events have made of the rows they touch, and that is not written yet.
#[derive(Debug, Default)]
struct Batch {
    models: ReadModels,
    events: usize,
}

impl Restoring {
    /// Begins with the keys. All are opened: a wrong master key is found before anything is written. On SQLite the caller holds
    /// the right to write to the file.
    ///
    /// # Errors
    /// [`RestoreError::NotEmpty`], [`RestoreError::Keyring`], or when the database fails.
    pub async fn begin(
        location: &Location,
        master_keys: MasterKeys,
        in_force: &MasterKeyId,
        rows: &[KeyRow],
    ) -> Result<Self, RestoreError> {
        let database = location.database()?;
        let keyring = Keyring::new(master_keys, database.clone());
        let keys = unwrapped(&keyring, rows);
        // Before anything is made. A database that does not answer says so again below.
        if let Ok(reader) = Reader::open(location).await {
            is_empty(reader.read_head().await?.position)?;
        }
        database.close().await;
        let keys = keys?;
        let hasher = hasher_of(keys.get(&KeyId::Instance).ok_or(OpenError::NoInstanceKey)?);

        let target = location.target()?;
        migrate(&target).await?;
        let mut connection = begun(&target).await?;
        is_empty(prepare_tables(&target, &mut connection).await?.position)?;
        let mut head = connection.begin_with_head().await?;
        is_empty(head.position)?;
        let dialect = target.dialect();
        for rows in rows.chunks(KEYS_AT_ONCE) {
            connection.run(dialect.insert_keys(), &serde_json::to_string(rows)?).await?;
        }
        head.master_key = in_force.clone();
        Ok(Self { connection, dialect, head, keys, hasher, sequences: HashMap::new(), batch: Batch::default() })
    }

    /// Puts the next events in, in their order.
    ///
    /// # Errors
    /// A [`RestoreError`]; then it is of no use any more.
    pub async fn add(&mut self, records: Vec<EventRecord>) -> Result<(), RestoreError> {
        let before = self.head.position;
        for record in &records {
            self.follows(record)?;
        }
        self.connection.run_all(vec![insert_events(self.dialect, &records)]).await?;
        let sql = format!(
            "{} WHERE position > {before} AND position <= {} ORDER BY position",
            self.dialect.select_events(),
            self.head.position
        );
        let back = self.connection.texts(&sql, None).await?;
        let back: Vec<EventRecord> = back.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>()?;
        if back != records {
            return Err(RestoreError::NotAsWritten(before));
        }
        let events = open_with(back, &self.keys)?.events;
        for event in &events {
            self.continues_its_stream(event)?;
        }
        self.fold(&events).await?;
        if self.batch.events >= BATCH_EVENTS {
            self.write_batch().await?;
        }
        Ok(())
    }

    /// Commits, and answers where the log ends. `recorded_at` is the head's, in microseconds since 1970.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commit(mut self, recorded_at: i64) -> Result<Head, RestoreError> {
        self.write_batch().await?;
        self.head.recorded_at = self.head.recorded_at.max(recorded_at);
        self.connection.run(self.dialect.set_head(), &self.head.encode()?).await?;
        self.connection.commit().await?;
        self.connection.close().await;
        Ok(self.head)
    }

    fn follows(&mut self, record: &EventRecord) -> Result<(), RestoreError> {
        let expected = self.head.position + 1;
        if record.position != expected {
            return Err(RestoreError::Gap { expected, found: record.position });
        }
        if !record.hash_holds() {
            return Err(RestoreError::Damaged(expected));
        }
        if record.recorded_at < self.head.recorded_at {
            return Err(RestoreError::BackInTime(expected));
        }
        self.head.position = expected;
        self.head.recorded_at = record.recorded_at;
        Ok(())
    }

    fn continues_its_stream(&mut self, event: &OpenedEvent) -> Result<(), RestoreError> {
        let OpenedEvent { position, stream, sequence: found, .. } = event;
        let last = self.sequences.entry(stream.clone()).or_default();
        let (expected, found) = (*last + 1, *found);
        if found != expected {
            return Err(RestoreError::OutOfStep { position: *position, stream: stream.clone(), expected, found });
        }
        *last = found;
        Ok(())
    }

    async fn fold(&mut self, events: &[OpenedEvent]) -> Result<(), RestoreError> {
        let Batch { models, events: folded } = &mut self.batch;
        for event in events {
            models.need(&event.recorded(), &self.hasher);
        }
        load_missing(&mut self.connection, self.dialect, models, &self.head.layout).await?;
        for event in events {
            match models.fold(&[event.recorded()], &self.hasher) {
                Ok(()) => {}
                Err(error @ FoldError::Audit { .. }) => {
                    tracing::error!(%error, "the audit trail is set aside until it is rebuilt");
                    let written = self.head.position - i64::try_from(*folded + events.len()).unwrap_or(i64::MAX);
                    set_audit_aside(&mut self.head.layout, written + 1);
                }
                Err(error) => return Err(RestoreError::Fold(error)),
            }
        }
        *folded += events.len();
        Ok(())
    }

    async fn write_batch(&mut self) -> sqlx::Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        let RowStatements { rows, audit } =
            row_statements(self.dialect, &mut batch.models, &self.head.layout, Amount::Many);
        self.connection.run_all(rows).await?;
        self.connection.run_all(audit).await?;
        if self.head.layout.is_aside(AUDIT) {
            let live = TABLES.map(|table| table.name).into_iter().filter(|name| *name != AUDIT);
            self.batch.models = ReadModels::only(&live.collect::<Vec<_>>());
        }
        Ok(())
    }
}

/// Leaves nothing in the write-ahead file of a SQLite database that was restored; on PostgreSQL there is nothing to do.
///
/// # Errors
/// When somebody else reads the file all the time.
pub async fn settle(location: &Location) -> Result<(), RestoreError> {
    if let Location::Sqlite { .. } = location {
        let mut connection = location.target()?.connect().await?;
        let is_empty = connection.empty_write_ahead_file().await?;
        connection.close().await;
        if !is_empty {
            return Err(
                sqlx::Error::Protocol("the write-ahead file of the restored database is in use".to_owned()).into()
            );
        }
    }
    Ok(())
}

/// A connection whose one transaction may take as long as it needs.
async fn begun(target: &WriteTarget) -> sqlx::Result<WriteConnection> {
    let mut connection = target.connect().await?;
    if target.dialect() == Dialect::Postgres {
        connection.take_all_the_time().await?;
        connection.simple("SET idle_in_transaction_session_timeout = 0").await?;
    }
    Ok(connection)
}

fn unwrapped(keyring: &Keyring, rows: &[KeyRow]) -> Result<Keys, RestoreError> {
    let mut keys = Keys::with_capacity(rows.len());
    for row in rows {
        let id: KeyId = row.id.parse()?;
        let key = keyring.unwrap_key(&id, &row.wrapped)?;
        keys.insert(id, key);
    }
    Ok(keys)
}

fn is_empty(position: i64) -> Result<(), RestoreError> {
    if position > 0 { Err(RestoreError::NotEmpty(position)) } else { Ok(()) }
}
