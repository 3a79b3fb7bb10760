//! The log from some position on, opened event by event: for whoever folds it anew.
//!
//! Reading, parsing, opening and folding go on at the same time, each some pages ahead of the next.

use std::collections::{HashMap, HashSet};

use aggregates::{Event, KeyId, StreamId};
use projections::{Metadata, Recorded};
use sqlx::postgres::PgRow;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _};
use tokio::sync::mpsc;

use super::codec::{CodecError, Keys};
use super::connection::WriteTarget;
use super::dialect::Dialect;
use super::head::Head;
use super::keyring::{Keyring, KeyringError};
use super::leaf::hex_digits;
use super::sqlite::{self, SqliteThread};
use super::{EventRecord, SealedEvent, UnreadableEvent};
use crate::keys::Key;

/// Events that are read and opened at once.
pub const PAGE_EVENTS: u16 = 500;
/// Pages that wait to be opened, and pages that wait to be folded, so that neither waits for the other: some megabytes each.
const PAGES_AHEAD: usize = 4;
/// So many keys are kept while a log is read before all are read anew.
const KNOWN_KEYS: usize = 16_384;

/// The log cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    #[error(
        "the log is damaged: the event at position {0} is missing; `authlog replay --check` finds all that is wrong"
    )]
    Missing(i64),
    #[error(
        "the log is damaged: the event at position {0} is not as it was written; \
         `authlog replay --check` finds all that is wrong"
    )]
    Damaged(i64),
    #[error("reading the log broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl HistoryError {
    /// Whether it is the log itself that is wrong.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Damaged(_))
    }
}

/// An event, opened as far as folds look: personal data clear, or erased where its key is gone; secrets of the instance sealed.
#[derive(Clone, Debug)]
pub struct OpenedEvent {
    pub position: i64,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    pub stream: StreamId,
    pub sequence: i64,
    /// As it is stored, as the version.
    pub event_type: String,
    pub event_version: String,
    pub event: Event,
    pub metadata: Metadata,
}

impl OpenedEvent {
    /// As folds take it.
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.position,
            recorded_at_micros: self.recorded_at,
            stream: &self.stream,
            sequence: self.sequence,
            event: &self.event,
            metadata: &self.metadata,
        }
    }
}

/// Some events in their order, and the keys of persons that were looked for to open them.
#[derive(Debug, Default)]
pub struct OpenedPage {
    pub events: Vec<OpenedEvent>,
    /// Those that were there.
    pub opened: Vec<KeyId>,
    /// Those that are gone.
    pub erased: Vec<KeyId>,
}

/// Whether a page of so many events may have another behind it.
pub(super) fn is_full(events: usize) -> bool {
    events >= usize::from(PAGE_EVENTS)
}

/// A connection that reads events.
#[derive(Debug)]
pub(super) enum EventSource {
    Sqlite(SqliteThread),
    Postgres(Box<PgConnection>),
}

impl EventSource {
    pub(super) async fn open(target: &WriteTarget) -> sqlx::Result<Self> {
        match target {
            WriteTarget::Sqlite(file) => SqliteThread::open_to_read(file).await.map(Self::Sqlite),
            WriteTarget::Postgres(options) => options.connect().await.map(Box::new).map(Self::Postgres),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// From the first thing that is read on, everything is as it was at that moment.
    pub(super) async fn begin_snapshot(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(thread) => thread.call(|connection| connection.execute_batch("BEGIN")).await,
            Self::Postgres(connection) => {
                // It may take longer than any statement of a server should, and rests while events are folded.
                let sql = "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; \
                           BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
                connection.execute(sql).await.map(drop)
            }
        }
    }

    /// Where the log ends.
    pub(super) async fn head(&mut self) -> sqlx::Result<Head> {
        let rows = self.texts(self.dialect().read_head()).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        Head::decode(row).map_err(|error| sqlx::Error::Decode(error.into()))
    }

    /// Rows of one text column.
    pub(super) async fn texts(&mut self, sql: &str) -> sqlx::Result<Vec<String>> {
        match self {
            Self::Sqlite(thread) => {
                let sql = sql.to_owned();
                thread.call(move |connection| sqlite::texts(connection, &sql, None)).await
            }
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_all(&mut **connection).await,
        }
    }

    /// The same for whoever goes on from page to page: none is missing.
    pub(super) async fn next_page(&mut self, after: i64) -> Result<Vec<EventRecord>, HistoryError> {
        let records = self.page(after).await?;
        let expected = after + 1..;
        match expected.zip(&records).find(|(expected, record)| record.position != *expected) {
            Some((missing, _)) => Err(HistoryError::Missing(missing)),
            None => Ok(records),
        }
    }

    /// At most [`PAGE_EVENTS`] events after the position `after`, in order.
    pub(super) async fn page(&mut self, after: i64) -> sqlx::Result<Vec<EventRecord>> {
        match self {
            Self::Sqlite(thread) => {
                thread.call(move |connection| sqlite::events(connection, after, PAGE_EVENTS.into())).await
            }
            Self::Postgres(connection) => {
                let sql = "SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, \
                           metadata::text, position, recorded_at, leaf_hash \
                           FROM events WHERE position > $1 ORDER BY position LIMIT $2";
                let rows =
                    sqlx::query(sql).bind(after).bind(i64::from(PAGE_EVENTS)).fetch_all(&mut **connection).await?;
                rows.iter().map(record).collect()
            }
        }
    }
}

fn record(row: &PgRow) -> sqlx::Result<EventRecord> {
    Ok(EventRecord {
        aggregate_type: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        sequence: row.try_get(2)?,
        event_type: row.try_get(3)?,
        event_version: row.try_get(4)?,
        payload: row.try_get(5)?,
        metadata: row.try_get(6)?,
        position: row.try_get(7)?,
        recorded_at: row.try_get(8)?,
        leaf_hash: hex_digits(row.try_get(9)?),
    })
}

/// Pages of the log after a position, up to where it ends when it is read: the last page has fewer than [`PAGE_EVENTS`] events,
/// and may have none.
#[derive(Debug)]
pub struct History {
    pages: mpsc::Receiver<Result<OpenedPage, HistoryError>>,
}

impl History {
    /// Begins to read a log after the position `after`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(super) async fn open(target: &WriteTarget, keyring: &Keyring, after: i64) -> Result<Self, HistoryError> {
        let source = EventSource::open(target).await?;
        Ok(Self::read(source, keyring.clone(), after))
    }

    pub(super) fn read(source: EventSource, keyring: Keyring, after: i64) -> Self {
        let (read, records) = mpsc::channel(PAGES_AHEAD);
        let (decode, sealed) = mpsc::channel(1);
        let (unseal, pages) = mpsc::channel(PAGES_AHEAD);
        tokio::spawn(read_all(source, after, read));
        tokio::spawn(decode_all(records, decode));
        tokio::spawn(unseal_all(sealed, keyring, unseal));
        Self { pages }
    }

    /// The next page; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<OpenedPage, HistoryError>> {
        self.pages.recv().await
    }
}

async fn read_all(
    mut source: EventSource,
    mut after: i64,
    pages: mpsc::Sender<Result<Vec<EventRecord>, HistoryError>>,
) {
    loop {
        let page = source.next_page(after).await;
        let is_full = page.as_ref().is_ok_and(|page| is_full(page.len()));
        after = page.as_ref().ok().and_then(|page| page.last()).map_or(after, |event| event.position);
        if pages.send(page).await.is_err() || !is_full {
            return;
        }
    }
}

async fn decode_all(
    mut records: mpsc::Receiver<Result<Vec<EventRecord>, HistoryError>>,
    pages: mpsc::Sender<Result<SealedPage, HistoryError>>,
) {
    while let Some(page) = records.recv().await {
        let decoded = match page {
            Ok(page) => decode_by(page).await,
            Err(error) => Err(error),
        };
        if pages.send(decoded).await.is_err() {
            return;
        }
    }
}

async fn unseal_all(
    mut sealed: mpsc::Receiver<Result<SealedPage, HistoryError>>,
    keyring: Keyring,
    pages: mpsc::Sender<Result<OpenedPage, HistoryError>>,
) {
    let mut keys = KnownKeys::new(keyring);
    while let Some(page) = sealed.recv().await {
        let opened = match page {
            Ok(page) => unseal_by(page, &mut keys).await,
            Err(error) => Err(error),
        };
        if pages.send(opened).await.is_err() {
            return;
        }
    }
}

/// Keys that have been read already. They count for as long as none has been destroyed, by whomever.
struct KnownKeys {
    keyring: Keyring,
    destructions: i64,
    /// `None` for one that is gone.
    keys: HashMap<KeyId, Option<Key>>,
}

impl KnownKeys {
    fn new(keyring: Keyring) -> Self {
        Self { keyring, destructions: 0, keys: HashMap::new() }
    }

    /// The keys with these ids that are there.
    async fn find(&mut self, wanted: &[KeyId]) -> Result<Keys, KeyringError> {
        let destructions = self.keyring.destructions().await?;
        if destructions != self.destructions || self.keys.len() > KNOWN_KEYS {
            self.keys.clear();
            self.destructions = destructions;
        }
        let unknown: Vec<KeyId> = wanted.iter().filter(|id| !self.keys.contains_key(*id)).cloned().collect();
        if !unknown.is_empty() {
            // Past the keyring's memory: another process may have destroyed a key that this one has used.
            let mut found = self.keyring.read_all(&unknown).await?;
            for id in unknown {
                let key = found.remove(&id);
                self.keys.insert(id, key);
            }
        }
        let known = wanted.iter().filter_map(|id| Some((id.clone(), self.keys.get(id)?.clone()?)));
        Ok(known.collect())
    }
}

/// Opens personal data. What was sealed with a key that is gone is erased.
pub(super) async fn open(records: Vec<EventRecord>, keyring: &Keyring) -> Result<OpenedPage, HistoryError> {
    unseal_by(decode_by(records).await?, &mut KnownKeys::new(keyring.clone())).await
}

async fn decode_by(records: Vec<EventRecord>) -> Result<SealedPage, HistoryError> {
    tokio::task::spawn_blocking(move || decode(records)).await?
}

async fn unseal_by(page: SealedPage, keys: &mut KnownKeys) -> Result<OpenedPage, HistoryError> {
    let keys = keys.find(&page.wanted).await?;
    tokio::task::spawn_blocking(move || unseal(page, &keys)).await?
}

/// The same with all the keys that there are.
pub(super) fn open_with(records: Vec<EventRecord>, keys: &Keys) -> Result<OpenedPage, HistoryError> {
    unseal(decode(records)?, keys)
}

/// Some events in their order, and the keys that they are sealed with. Their texts, which are most of a page, are let go of by now.
struct SealedPage {
    /// Each with its position and when it was recorded.
    events: Vec<(i64, i64, SealedEvent)>,
    wanted: Vec<KeyId>,
}

fn decode(records: Vec<EventRecord>) -> Result<SealedPage, HistoryError> {
    let mut events = Vec::with_capacity(records.len());
    let mut wanted = HashSet::new();
    for record in records {
        let (position, recorded_at) = (record.position, record.recorded_at);
        if !record.hash_holds() {
            return Err(HistoryError::Damaged(position));
        }
        let mut event = record.decode()?;
        wanted.extend(event.keys());
        events.push((position, recorded_at, event));
    }
    Ok(SealedPage { events, wanted: wanted.into_iter().collect() })
}

fn unseal(sealed: SealedPage, keys: &Keys) -> Result<OpenedPage, HistoryError> {
    let SealedPage { events, wanted } = sealed;
    let persons = wanted.into_iter().filter(|id| matches!(id, KeyId::Person(_)));
    let (opened, erased) = persons.partition(|id| keys.contains_key(id));
    let mut page = OpenedPage { events: Vec::with_capacity(events.len()), opened, erased };
    for (position, recorded_at, mut event) in events {
        event.open_in_place(keys)?;
        let SealedEvent { stream, sequence, event_type, event_version, event, metadata } = event;
        page.events.push(OpenedEvent {
            position,
            recorded_at,
            stream,
            sequence,
            event_type,
            event_version,
            event,
            metadata,
        });
    }
    Ok(page)
}
