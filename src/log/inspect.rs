//! The log row by row, whatever is wrong with a row: for whoever examines it.

use std::collections::HashSet;

use aggregates::{Event, KeyId, StreamId};
use projections::Metadata;

use super::codec::{CodecError, Keys, SealedEvent, keys_of};
use super::head::Head;
use super::history::{EventSource, HistoryError, is_full};
use super::keyring::Keyring;
use super::{EventRecord, UnreadableEvent};

/// Why nothing can be made of a row.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    #[error(transparent)]
    Seal(#[from] CodecError),
}

/// A row of the log and what can be made of it.
#[derive(Debug)]
pub struct Inspected {
    pub record: EventRecord,
    /// Whether the leaf hash is the one of this row.
    pub hash_holds: bool,
    /// Personal data clear, or erased where its key is gone; secrets of the instance sealed, and found to open.
    pub opened: Result<InspectedEvent, Damage>,
}

/// What a readable row says.
#[derive(Debug)]
pub struct InspectedEvent {
    pub stream: StreamId,
    pub event: Event,
    pub metadata: Metadata,
}

/// The log as of one moment, page by page.
#[derive(Debug)]
pub struct Inspection {
    source: EventSource,
    keyring: Keyring,
    head: Head,
    /// Position of the last row that was read; `None` after the last page.
    after: Option<i64>,
}

impl Inspection {
    pub(super) async fn begin(mut source: EventSource, keyring: Keyring) -> Result<Self, HistoryError> {
        source.begin_snapshot().await?;
        let head = source.head().await?;
        Ok(Self { source, keyring, head, after: Some(i64::MIN) })
    }

    /// Where the log says that it ends.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next rows in the order of their positions; `None` after the last.
    ///
    /// # Errors
    /// When the database or a wrapped key cannot be read. A damaged row is no error.
    pub async fn next(&mut self) -> Result<Option<Vec<Inspected>>, HistoryError> {
        let Some(after) = self.after else { return Ok(None) };
        let records = self.source.page(after).await?;
        self.after = records.last().filter(|_| is_full(records.len())).map(|last| last.position);
        let (decoded, wanted) = tokio::task::spawn_blocking(move || decode(records)).await?;
        let keys = self.keyring.read_all(&wanted).await?;
        Ok(Some(tokio::task::spawn_blocking(move || inspect(decoded, &keys)).await?))
    }

    /// How many rows the log has. More than were read share a position with another.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rows(&mut self) -> Result<i64, HistoryError> {
        let count = self.source.texts("SELECT CAST(count(*) AS TEXT) FROM events").await?;
        let count = count.first().and_then(|count| count.parse().ok());
        Ok(count.ok_or(sqlx::Error::RowNotFound)?)
    }
}

type Decoded = Vec<(EventRecord, Result<SealedEvent, UnreadableEvent>)>;

fn decode(records: Vec<EventRecord>) -> (Decoded, Vec<KeyId>) {
    let mut decoded = Vec::with_capacity(records.len());
    let mut wanted = HashSet::new();
    for record in records {
        let mut event = record.clone().decode();
        if let Ok(event) = &mut event {
            wanted.extend(keys_of(&mut event.event, &mut event.metadata));
        }
        decoded.push((record, event));
    }
    (decoded, wanted.into_iter().collect())
}

fn inspect(decoded: Decoded, keys: &Keys) -> Vec<Inspected> {
    let inspected = decoded.into_iter().map(|(record, event)| Inspected {
        hash_holds: record.hash_holds(),
        opened: event.map_err(Damage::from).and_then(|event| open(event, keys)),
        record,
    });
    inspected.collect()
}

fn open(event: SealedEvent, keys: &Keys) -> Result<InspectedEvent, Damage> {
    event.try_seals(keys)?;
    let stream = event.stream.clone();
    let (event, metadata) = event.open(keys)?;
    Ok(InspectedEvent { stream, event, metadata })
}
