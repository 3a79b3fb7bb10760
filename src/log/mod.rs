//! The log: the only truth. Everything the service knows is folded from it.
//!
//! Whoever wants to change something hands a [`Unit`] to [`Log::append`]; whoever wants to know something asks the read models
//! by [`Reader::rows`], folds a stream by [`Log::load`], or reads the events themselves by [`Reader::events`].
//!
//! Architecture invariant: events get into the table only through the groups of this folder (the writer's, and those that [`fill`]
//! an empty log) or, into an empty log and as they were recorded, through [`restore`]; and read models move only in the transaction
//! that appends the events they are folded from.
//! Architecture invariant: nothing here knows HTTP, roles or OpenID Connect.

mod beside;
mod codec;
mod connection;
mod database;
mod dialect;
pub mod fill;
mod group;
mod head;
pub mod history;
pub mod inspect;
mod keyring;
mod last_seen;
pub mod leaf;
mod nodes;
mod open;
pub mod past;
mod patience;
pub mod pending;
mod reader;
pub mod rebuild;
pub mod restore;
pub mod rotate;
pub mod snapshot;
mod sqlite;
pub mod told;
mod unit;
pub mod verify;
mod wipe;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use aggregates::{Event, KeyId, StreamId};
use cqrs_es::{Aggregate, DomainEvent};
use projections::{KeyedHasher, Metadata};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

pub use codec::{CodecError, Keys, SealedEvent, keys_of, seal};
pub use database::{Arg, Database, LoadError, Loaded, Overloaded, READS_AT_ONCE};
pub use head::{Head, Layout, TableState};
pub use keyring::{KeyRow, Keyring, KeyringError};
pub use nodes::{LONGEST_LEASE, NodeMemory, Nodes, Own};
pub use open::{Beginning, Location, OpenError, open};
pub use reader::{Reader, TableSize};
pub use unit::{AppendError, Appended, Committed, StoredEvent, StreamVersion, Unit, UnitEvent};
pub use writer::{CommitObserver, GROUP_UNITS, QUEUED_UNITS};

use crate::keys::{InstanceKeys, MasterKeyId};
use beside::Beside;
use leaf::{LeafInput, leaf_hash};
use past::Past;
use rebuild::{Company, Pace, Progress, RebuildError, Rebuilt, rebuild_in};
use wipe::Remains;
use writer::Job;

/// An open log. Cheap to clone; the last clone to go lets the writer finish and end.
#[derive(Clone)]
pub struct Log {
    reader: Reader,
    probe: Database,
    keyring: Keyring,
    hasher: KeyedHasher,
    instance_keys: Arc<InstanceKeys>,
    beside: Beside,
    queue: mpsc::Sender<Job>,
    head: watch::Receiver<i64>,
    /// On PostgreSQL, where other processes may write too.
    nodes: Option<Arc<Nodes>>,
    /// Held by a rebuild.
    rebuilding: Arc<Mutex<()>>,
    /// Held while the master key is exchanged.
    rotating: Arc<Mutex<()>>,
    remains: Remains,
}

/// Waits for the writer to have written what it was given.
#[derive(Debug)]
pub struct WriterHandle(oneshot::Receiver<()>);

impl WriterHandle {
    /// Returns when every clone of the [`Log`] is gone and every unit that was handed over has been answered.
    pub async fn finished(self) {
        if self.0.await.is_err() {
            tracing::error!("the log writer did not end well");
        }
    }
}

/// An event as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
    pub position: i64,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// 64 hex digits.
    pub leaf_hash: String,
}

/// A stored event cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} cannot be read: {reason}")]
pub struct UnreadableEvent {
    pub position: i64,
    pub reason: String,
}

impl EventRecord {
    /// What its leaf hash is taken over.
    pub fn hashed(&self) -> LeafInput<'_> {
        LeafInput {
            position: self.position,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: &self.metadata,
            recorded_at: self.recorded_at,
        }
    }

    /// Whether the leaf hash is the one of this row.
    pub fn hash_holds(&self) -> bool {
        self.leaf_hash == hex::encode(leaf_hash(&self.hashed()))
    }

    /// Parses the row; protected values stay sealed.
    ///
    /// # Errors
    /// When its type is unknown or its texts are not what they should be.
    pub fn decode(self) -> Result<SealedEvent, UnreadableEvent> {
        let Self {
            aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, ..
        } = self;
        let unreadable = |reason| UnreadableEvent { position, reason };
        let stream = StreamId::of(&aggregate_type, aggregate_id).map_err(|error| unreadable(error.to_string()))?;
        let event = Event::decode(&aggregate_type, &event_type, &event_version, &payload)
            .map_err(|error| unreadable(error.to_string()))?;
        let metadata = Metadata::decode(&metadata).map_err(|error| unreadable(error.to_string()))?;
        Ok(SealedEvent { stream, sequence, event_type, event_version, event, metadata })
    }

    fn unreadable(&self, reason: String) -> UnreadableEvent {
        UnreadableEvent { position: self.position, reason }
    }
}

impl Log {
    /// Hands a unit to the writer and waits for what becomes of it. Once handed over it runs to its end, whether or not the
    /// caller still waits.
    ///
    /// # Errors
    /// An [`AppendError`]; after [`AppendError::Moved`] the caller decides again.
    pub async fn append(&self, unit: Unit) -> Result<Appended, AppendError> {
        let (answer, outcome) = oneshot::channel();
        let unit = Arc::new(unit);
        self.queue.try_send(Job { unit: Arc::clone(&unit), answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
        })?;
        let waiting = metrics::gauge!("authlog_log_units_waiting");
        waiting.increment(1.0);
        // A writer that broke down may have done so after it committed.
        let outcome = outcome.await.unwrap_or(Err(AppendError::Unknown));
        waiting.decrement(1.0);
        if !unit.keys_destroyed.is_empty() {
            self.remains.note();
        }
        outcome
    }

    /// Returns when everybody in this process has heard of every commit that can be read by now.
    pub async fn settled(&self) {
        self.beside.settled().await;
    }

    /// Returns when the writer has broken down.
    pub async fn broken_down(&self) {
        self.queue.closed().await;
    }

    /// Whether the writer takes units: always, unless it broke down.
    pub fn takes_units(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Folds a stream into its aggregate.
    ///
    /// # Errors
    /// When the database fails or an event cannot be read.
    pub async fn load<A>(&self, stream: StreamId) -> Result<Loaded<A>, LoadError>
    where
        A: Aggregate,
        A::Event: DomainEvent,
    {
        self.reader.database.load(stream).await
    }

    /// Folds the whole log into new tables for the read models named, beside whoever goes on writing, and switches to them.
    /// `report` hears how far it has come. Dropped half-way it leaves the live tables as they are.
    ///
    /// # Errors
    /// A [`RebuildError`]; the read models are as they were then.
    pub async fn rebuild(
        &self,
        names: &[&str],
        pace: Pace,
        report: &(dyn Fn(Progress) + Sync),
    ) -> Result<Rebuilt, RebuildError> {
        let _only_one = self.rebuilding.try_lock().map_err(|_| RebuildError::Busy)?;
        let filling = self.remains.keep_sets().await;
        // However it ends: tables that were dropped, or are left, held clear rows.
        self.remains.note();
        let switched = |layout: &Layout| self.reader.learn(layout.clone());
        let gate = self.beside.gate().filter(|_| pace == Pace::InTurns);
        let company = Company { pace, gate, report, switched: &switched };
        let rebuilt = rebuild_in(company, self.beside.target(), &self.keyring, &self.hasher, names).await;
        drop(filling);
        // Whoever was erased meanwhile may have been in them, and the rebuild is done.
        if let Err(error) = self.wipe_remains().await {
            tracing::warn!(%error, "what a rebuild has left is wiped later");
        }
        rebuilt
    }

    /// Those that may write to this log; `None` where this process is the only one.
    pub fn nodes(&self) -> Option<&Arc<Nodes>> {
        self.nodes.as_ref()
    }

    /// For looking back.
    pub fn past(&self) -> Past {
        Past::of(self)
    }

    /// What can be read without writing.
    pub fn read(&self) -> &Reader {
        &self.reader
    }

    /// The head, read by a connection of its own within `limit`, so that whoever asks how things are waits behind nobody.
    ///
    /// # Errors
    /// When the database fails or does not answer in time.
    pub async fn probe(&self, limit: Duration) -> sqlx::Result<Head> {
        let answer = tokio::time::timeout(limit, reader::read_head(&self.probe)).await;
        answer.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// The read models whose tables are not there, though the layout says so: somebody has dropped them. Asked like [`Log::probe`].
    ///
    /// # Errors
    /// When the database fails or does not answer in time.
    pub async fn probe_for_lost(&self, limit: Duration) -> sqlx::Result<Vec<&'static str>> {
        let answer = tokio::time::timeout(limit, reader::lost(&self.probe)).await;
        answer.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Tells when this process has committed more events.
    pub fn watch_head(&self) -> watch::Receiver<i64> {
        self.head.clone()
    }

    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub fn hasher(&self) -> &KeyedHasher {
        &self.hasher
    }

    pub fn instance_keys(&self) -> &InstanceKeys {
        &self.instance_keys
    }

    /// Destroys the keys of the months before `month` (`2026-08`): what was known of strangers then is erased.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn destroy_strangers_keys_before(&self, month: &str) -> sqlx::Result<()> {
        let argument = serde_json::json!({ "before": KeyId::Strangers(month.to_owned()).to_string() }).to_string();
        let turn = self.beside.turn().await;
        let destroyed = turn
            .transaction_on_keys(async |connection, dialect, _| {
                connection.run(dialect.delete_old_strangers_keys(), &argument).await
            })
            .await?;
        if destroyed > 0 {
            self.remains.note();
        }
        Ok(())
    }

    /// The key of one calendar month for what is known of strangers; made when it is first needed.
    ///
    /// # Errors
    /// When the database fails or the key does not open.
    pub async fn strangers_key(&self, id: &KeyId) -> Result<(), KeyringError> {
        if !self.keyring.find(std::slice::from_ref(id)).await?.is_empty() {
            return Ok(());
        }
        loop {
            let (_, wrapped) = self.keyring.make(id)?;
            let argument = serde_json::json!([{ "id": id.to_string(), "wrapped": wrapped }]).to_string();
            let turn = self.beside.turn().await;
            let exchanged = turn.transaction_on_keys(async |connection, dialect, head| {
                if MasterKeyId::of_wrapped(&wrapped) != head.master_key {
                    return Ok(Some(head.master_key));
                }
                connection.run(dialect.insert_keys(), &argument).await?;
                Ok(None)
            });
            match exchanged.await? {
                None => return Ok(()),
                Some(exchanged) => self.keyring.use_master(&exchanged)?,
            }
        }
    }
}
