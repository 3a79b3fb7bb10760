//! A unit: what one call decided, taken by the log whole or not at all.

use std::sync::Arc;

use aggregates::{Event, KeyId, StreamId};
use projections::{ClaimKind, Metadata, ReadModels};
use uuid::Uuid;

use crate::keys::MasterKeyId;

/// The version of a stream that a decision was based on: the sequence of its last event, 0 when it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamVersion {
    pub stream: StreamId,
    pub version: i64,
}

/// One event of a unit, sealed and ready to be stored.
#[derive(Clone, Debug)]
pub struct UnitEvent {
    pub stream: StreamId,
    pub sequence: i64,
    /// As folds see it: personal data clear, secrets of the instance sealed.
    pub event: Event,
    pub metadata: Metadata,
    pub stored: StoredEvent,
}

/// The texts that go into the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
}

/// What one call hands to the log writer.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Stands in the metadata of each event, so that a unit whose COMMIT answer was lost can be looked up.
    pub id: Uuid,
    /// Every stream the decision read, also those it does not write to.
    pub reads: Vec<StreamVersion>,
    /// Streams that begin with this unit, their ids being new: nobody looks for them, the primary key of the events decides.
    pub begun: Vec<StreamId>,
    pub events: Vec<UnitEvent>,
    /// Wrapped keys that come into being with this unit.
    pub keys_made: Vec<(KeyId, String)>,
    pub keys_destroyed: Vec<KeyId>,
}

/// Where a unit stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Position of its last event.
    pub position: i64,
    /// Microseconds since 1970.
    pub recorded_at_micros: i64,
}

/// A unit that was taken, and every row that it and those who shared its commit changed, as they were then.
#[derive(Clone, Debug)]
pub struct Appended {
    pub committed: Committed,
    pub rows: Arc<ReadModels>,
}

/// Why a unit was not taken. Nothing of it has happened, except after [`AppendError::Unknown`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Something the decision was based on has moved: decide again.
    #[error("the stream {0} has moved")]
    Moved(StreamId),
    /// A key of the unit is wrapped with another master key than is in force by now: make it again.
    #[error("keys are wrapped with the master key {0} by now")]
    MasterKeyExchanged(MasterKeyId),
    /// Somebody else holds an address or an identity that the unit claims.
    #[error("{0:?} is taken")]
    Claimed(ClaimKind),
    /// A read model cannot take the unit.
    #[error("a read model cannot take the unit: {0}")]
    Refused(String),
    #[error("the database failed: {0}")]
    Store(Arc<sqlx::Error>),
    /// The COMMIT's answer was lost and the database could not be asked since.
    #[error("it is not known whether the unit was committed")]
    Unknown,
    /// Another release of authlog has rebuilt the read models.
    #[error("another release of authlog has taken over this database")]
    Superseded,
    /// The queue is full.
    #[error("too many units wait to be written")]
    Overloaded,
    #[error("the log is closed")]
    Closed,
}
