//! A log that is open for looking back: its events with their keys, and the position that belongs to a moment.

use std::sync::Arc;

use aggregates::{KeyId, StreamId, UserId};
use projections::KeyedHasher;

use super::connection::WriteTarget;
use super::history::{EventSource, History, HistoryError, OpenedEvent, PAGE_EVENTS, open};
use super::inspect::Inspection;
use super::keyring::Keyring;
use super::reader::Reader;
use super::rebuild::Progress;
use super::told::{Told, tell};
use super::verify::{Verified, VerifyError, verify};
use super::{EventRecord, Location, Log, OpenError};
use crate::keys::{InstanceKeys, MasterKeySource, MasterKeys};

/// What it takes to fold a log again. Nothing here writes.
#[derive(Clone, Debug)]
pub struct Past {
    target: Arc<WriteTarget>,
    reader: Reader,
    keyring: Keyring,
    hasher: KeyedHasher,
}

impl Past {
    pub(super) fn of(log: &Log) -> Self {
        let target = Arc::new(log.beside.target().clone());
        Self { target, reader: log.reader.clone(), keyring: log.keyring.clone(), hasher: log.hasher.clone() }
    }

    /// Opens a log that is there, beside whoever writes to it.
    ///
    /// # Errors
    /// An [`OpenError`] with one clear line.
    pub async fn open(location: &Location, master_key: &MasterKeySource) -> Result<Self, OpenError> {
        let reader = Reader::open(location).await?;
        let keyring = Keyring::new(MasterKeys::load(master_key, false)?, reader.database().clone());
        let instance_key = keyring.read(&KeyId::Instance).await?.ok_or(OpenError::NoInstanceKey)?;
        let hasher = KeyedHasher::new(InstanceKeys::derive(&instance_key).unique.bytes());
        Ok(Self { target: Arc::new(location.target()?), reader, keyring, hasher })
    }

    pub fn hasher(&self) -> &KeyedHasher {
        &self.hasher
    }

    /// Gives back the connections that read rows.
    pub async fn close(&self) {
        self.reader.database().close().await;
    }

    /// The position of the last event.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn head(&self) -> sqlx::Result<i64> {
        Ok(self.reader.read_head().await?.position)
    }

    /// The log after a position.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn history(&self, after: i64) -> Result<History, HistoryError> {
        History::open(&self.target, &self.keyring, after).await
    }

    /// At most [`PAGE_EVENTS`] events after a position, as they are stored; none where the log ends.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn records(&self, after: i64) -> sqlx::Result<Vec<EventRecord>> {
        self.reader.events(after, PAGE_EVENTS.into(), None, None).await
    }

    /// Events with personal data opened.
    ///
    /// # Errors
    /// When the database fails or an event cannot be read.
    pub async fn open_all(&self, records: Vec<EventRecord>) -> Result<Vec<OpenedEvent>, HistoryError> {
        Ok(open(records, &self.keyring).await?.events)
    }

    /// All events of these users' streams, in the order of the log.
    ///
    /// # Errors
    /// When the database fails or an event cannot be read.
    pub async fn users(&self, users: &[UserId]) -> Result<Vec<OpenedEvent>, HistoryError> {
        let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
        self.open_all(self.reader.streams("user", &ids).await?).await
    }

    /// Events as one person may read them.
    ///
    /// # Errors
    /// When the database fails or an event cannot be read.
    pub async fn tell(&self, person: UserId, records: Vec<EventRecord>) -> Result<Vec<Told>, HistoryError> {
        let id = KeyId::Person(person);
        let key = self.keyring.read(&id).await?;
        records.into_iter().map(|record| tell(record, &id, key.as_ref())).collect()
    }

    /// Compares read models with a fresh fold, beside whoever writes; `report` hears how far it has come.
    ///
    /// # Errors
    /// When the log or the rows cannot be read.
    pub async fn verify(&self, names: &[&str], report: &(dyn Fn(Progress) + Sync)) -> Result<Verified, VerifyError> {
        loop {
            let destructions = self.keyring.destructions().await?;
            let source = EventSource::open(&self.target).await?;
            let outcome = verify(source, &self.keyring, &self.hasher, names, report).await;
            let is_clean = outcome.as_ref().is_ok_and(|verified| verified.differences.is_empty());
            // Rows are read as of one moment, keys are not: somebody who was erased meanwhile looks like a difference.
            if is_clean || self.keyring.destructions().await? == destructions {
                return outcome;
            }
        }
    }

    /// The log as it is now, row by row, whatever is wrong with a row.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn inspect(&self) -> Result<Inspection, HistoryError> {
        Inspection::begin(EventSource::open(&self.target).await?, self.keyring.clone()).await
    }

    /// The events of one stream up to a position, in order. Streams are short.
    ///
    /// # Errors
    /// When the database fails or an event cannot be read.
    pub async fn stream(&self, stream: &StreamId, up_to: i64) -> Result<Vec<OpenedEvent>, HistoryError> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let page = self.reader.events(after, PAGE_EVENTS.into(), Some(stream), None).await?;
            let Some(last) = page.last() else { return Ok(events) };
            after = last.position;
            let page = page.into_iter().filter(|event| event.position <= up_to).collect();
            events.extend(open(page, &self.keyring).await?.events);
            if after >= up_to {
                return Ok(events);
            }
        }
    }

    /// [`Reader::position_at`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn position_at(&self, unix_micros: i64) -> sqlx::Result<i64> {
        self.reader.position_at(unix_micros).await
    }

    /// When an event was recorded, in microseconds since 1970.
    ///
    /// # Errors
    /// When the database fails or there is no such event.
    pub async fn recorded_at(&self, position: i64) -> sqlx::Result<i64> {
        let events = self.reader.events(position - 1, 1, None, None).await?;
        let event = events.first().filter(|event| event.position == position);
        event.map(|event| event.recorded_at).ok_or(sqlx::Error::RowNotFound)
    }
}
