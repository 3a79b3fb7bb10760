//! Rebuilding read models from the log alone (promise P6): state is disposable.
//!
//! Beside the live set of tables (`users_1`) a new one is filled (`users_2`), in pages by position, each page one transaction.
//! When fewer than a page of events is missing, the last stretch is folded under the head's lock, and there the switch happens:
//! a change of `log_head.layout`, which every writer learns with the lock.
//!
//! ```text
//! rebuild   make users_2 ── page ── page ── page ── indexes ── lock head ── last stretch ── layout: 2 ── COMMIT ── drop users_1
//! writers                 users_1   users_1                                                        users_2
//! ```
//!
//! Limits: a running process keeps the layout it began with for *reading*, so tables are rebuilt while nothing else serves this
//! log: at start, or by whoever has stopped all servers. How far a rebuild has come is not stored: one that is cut off leaves
//! the live set as it is, and the next one begins anew.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use aggregates::{Event, KeyId, StreamId};
use projections::{FoldError, KeyedHasher, Metadata, ReadModels, Recorded, TABLES, Table};

use super::codec::{CodecError, keys_of};
use super::connection::{STATEMENT_TIMEOUT_SECONDS, WriteConnection, WriteTarget};
use super::dialect::{Dialect, table_name};
use super::group::{AUDIT, RowStatements, blames_the_data, load_missing, row_statements};
use super::head::{Head, Layout, TableState};
use super::keyring::{Keyring, KeyringError};
use super::{EventRecord, Location, UnreadableEvent};

/// Events that are folded in one transaction at most, and one more than may be missing when the head is locked.
pub const PAGE_EVENTS: usize = 500;
/// Names the right to rebuild among the advisory locks of a PostgreSQL database.
const TURN: i64 = 0x6175_7468_6c6f_6701;
/// How often a node asks whether another one has finished rebuilding.
const TURN_PAUSE: Duration = Duration::from_millis(100);

/// A rebuild failed; the live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is no read model {0:?}")]
    UnknownModel(String),
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    #[error("the log cannot be folded: {0}")]
    Fold(FoldError),
}

/// Why a rebuild does not simply go on.
enum Setback {
    /// The audit trail refuses a page. It alone may be set aside.
    Audit(String),
    /// This key was there for an earlier page and is not there for this one: what the earlier page made of its values, a later
    /// event could no longer take away.
    Erased(KeyId),
    Failed(RebuildError),
}

impl<E: Into<RebuildError>> From<E> for Setback {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Folds the whole log into new tables for the read models named, switches to them and drops the old ones; the old ones may be
/// damaged or gone. Answers the head at the switch. On SQLite the caller holds the data directory's lock.
///
/// # Errors
/// A [`RebuildError`]; the read models are as they were then.
pub async fn rebuild(
    location: &Location,
    keyring: &Keyring,
    hasher: &KeyedHasher,
    names: &[&str],
) -> Result<Head, RebuildError> {
    if let Some(unknown) = names.iter().find(|name| TABLES.iter().all(|table| table.name != **name)) {
        return Err(RebuildError::UnknownModel((*unknown).to_owned()));
    }
    run(&location.target()?, keyring, hasher, |_, table| names.contains(&table.name)).await
}

/// Rebuilds what [`is_outdated`]. Nodes that start together take turns, and the later ones find nothing left to do.
pub(super) async fn rebuild_outdated(
    target: &WriteTarget,
    keyring: &Keyring,
    hasher: &KeyedHasher,
) -> Result<Head, RebuildError> {
    run(target, keyring, hasher, is_outdated).await
}

/// Whether a read model's table is not there or was filled by another version of its fold.
pub(super) fn is_outdated(layout: &Layout, table: &Table) -> bool {
    layout.0.get(table.name).is_none_or(|state| state.version != table.version)
}

/// The set of tables that comes after the live one.
pub(super) fn next_set(layout: &Layout, table: &Table) -> TableState {
    let set = layout.0.get(table.name).map_or(1, |state| state.set + 1);
    TableState { set, version: table.version, aside_since: None }
}

async fn run(
    target: &WriteTarget,
    keyring: &Keyring,
    hasher: &KeyedHasher,
    selected: impl Fn(&Layout, &Table) -> bool,
) -> Result<Head, RebuildError> {
    let dialect = target.dialect();
    let mut connection = target.connect().await?;
    take_turn(&mut connection).await?;
    let head = read_head(&mut connection, dialect.read_head()).await?;
    let tables: Vec<&'static Table> = TABLES.into_iter().filter(|table| selected(&head.layout, table)).collect();
    if tables.is_empty() {
        connection.close().await;
        return Ok(head);
    }
    let new = tables.iter().map(|table| (table.name.to_owned(), next_set(&head.layout, table)));
    let layout = Layout(new.collect());
    let opened = HashSet::new();
    let mut rebuild = Rebuild { connection, dialect, keyring, hasher, tables, layout, checkpoint: 0, opened };
    let head = rebuild.until_done().await?;
    rebuild.drop_old_sets().await;
    rebuild.connection.close().await;
    Ok(head)
}

/// Waits until no other node rebuilds. A rebuild may take longer than any statement of a server should.
async fn take_turn(connection: &mut WriteConnection) -> sqlx::Result<()> {
    if matches!(connection, WriteConnection::Sqlite(_)) {
        return Ok(());
    }
    connection.simple("SET statement_timeout = 0").await?;
    let sql = format!("SELECT pg_try_advisory_lock({TURN})::text");
    while connection.texts(&sql, None).await? != ["true"] {
        tokio::time::sleep(TURN_PAUSE).await;
    }
    Ok(())
}

async fn read_head(connection: &mut WriteConnection, sql: &str) -> sqlx::Result<Head> {
    let rows = connection.texts(sql, None).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Head::decode(row).map_err(|error| sqlx::Error::Decode(error.into()))
}

struct Rebuild<'a> {
    connection: WriteConnection,
    dialect: Dialect,
    keyring: &'a Keyring,
    hasher: &'a KeyedHasher,
    tables: Vec<&'static Table>,
    /// Of the new tables, and of no others.
    layout: Layout,
    /// Position of the last event in the new tables.
    checkpoint: i64,
    /// The keys of persons that have opened something so far.
    opened: HashSet<KeyId>,
}

/// An event, opened.
struct Opened {
    record: EventRecord,
    stream: StreamId,
    event: Event,
    metadata: Metadata,
}

impl Opened {
    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.record.position,
            recorded_at_micros: self.record.recorded_at,
            stream: &self.stream,
            sequence: self.record.sequence,
            event: &self.event,
            metadata: &self.metadata,
        }
    }
}

impl Rebuild<'_> {
    async fn until_done(&mut self) -> Result<Head, RebuildError> {
        self.start().await?;
        loop {
            match self.proceed().await {
                Ok(head) => return Ok(head),
                Err(Setback::Failed(error)) => return Err(error),
                Err(Setback::Audit(reason)) => {
                    tracing::error!(%reason, after = self.checkpoint, "the audit trail stays set aside");
                    self.roll_back().await;
                    if let Some(state) = self.layout.0.get_mut(AUDIT) {
                        state.aside_since = Some(self.checkpoint + 1);
                    }
                }
                Err(Setback::Erased(key)) => {
                    tracing::info!(%key, "somebody was erased meanwhile; the rebuild begins anew");
                    self.roll_back().await;
                    self.start().await?;
                }
            }
        }
    }

    /// Empty tables without indexes, in place of what a rebuild that was cut off may have left.
    async fn start(&mut self) -> sqlx::Result<()> {
        self.checkpoint = 0;
        self.opened.clear();
        for state in self.layout.0.values_mut() {
            state.aside_since = None;
        }
        for table in &self.tables {
            let set = self.layout.set_of(table.name);
            self.connection.simple(&format!("DROP TABLE IF EXISTS {}", table_name(table, set))).await?;
            if let Some(create) = self.dialect.create(table, set).first() {
                self.connection.simple(create).await?;
            }
        }
        Ok(())
    }

    /// A setback may come in a transaction or outside of one, where there is nothing to take back.
    async fn roll_back(&mut self) {
        let _ = self.connection.rollback().await;
    }

    async fn proceed(&mut self) -> Result<Head, Setback> {
        loop {
            loop {
                let events = self.next_events().await?;
                if events.len() < PAGE_EVENTS {
                    break;
                }
                let events = self.open(events).await?;
                self.connection.begin().await?;
                self.fold(&events).await?;
                self.connection.commit().await?;
                self.fold_reached(&events);
            }
            self.make_indexes().await?;
            if let Some(head) = self.switch().await? {
                return Ok(head);
            }
        }
    }

    async fn next_events(&mut self) -> sqlx::Result<Vec<EventRecord>> {
        let after = self.checkpoint;
        let events = self.dialect.select_events();
        let sql = format!("{events} WHERE position > {after} ORDER BY position LIMIT {PAGE_EVENTS}");
        let rows = self.connection.texts(&sql, None).await?;
        rows.iter().map(|row| serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
    }

    /// Opens personal data. What was sealed with a key that is gone is erased, but a key must not go half-way.
    async fn open(&mut self, records: Vec<EventRecord>) -> Result<Vec<Opened>, Setback> {
        let mut sealed = Vec::with_capacity(records.len());
        let mut wanted = BTreeSet::new();
        for record in records {
            let event = record.decode()?;
            wanted.extend(keys_of(&event.event, &event.metadata).iter().map(ToString::to_string));
            sealed.push((record, event));
        }
        let wanted: Vec<KeyId> = wanted.iter().filter_map(|id| id.parse().ok()).collect();
        let keys = self.keyring.find(&wanted).await?;
        for id in wanted.into_iter().filter(|id| matches!(id, KeyId::Person(_))) {
            if keys.contains_key(&id) {
                self.opened.insert(id);
            } else if self.opened.contains(&id) {
                return Err(Setback::Erased(id));
            }
        }
        let mut opened = Vec::with_capacity(sealed.len());
        for (record, event) in sealed {
            let stream = event.stream.clone();
            let (event, metadata) = event.open(&keys)?;
            opened.push(Opened { record, stream, event, metadata });
        }
        Ok(opened)
    }

    /// Folds events into the new tables, within the transaction that is open.
    async fn fold(&mut self, events: &[Opened]) -> Result<(), Setback> {
        let names: Vec<&str> =
            self.tables.iter().map(|table| table.name).filter(|name| !self.layout.is_aside(name)).collect();
        let mut models = ReadModels::only(&names);
        for event in events {
            models.need(&event.recorded(), self.hasher);
        }
        load_missing(&mut self.connection, self.dialect, &mut models, &self.layout).await?;
        for event in events {
            models.fold(&[event.recorded()], self.hasher).map_err(|error| match error {
                FoldError::Audit { .. } => Setback::Audit(error.to_string()),
                FoldError::Claimed(_) | FoldError::Broken { .. } => Setback::Failed(RebuildError::Fold(error)),
            })?;
        }
        let RowStatements { rows, audit } = row_statements(self.dialect, &mut models, &self.layout);
        self.connection.run_all(rows).await?;
        self.connection
            .run_all(audit)
            .await
            .map_err(|error| if blames_the_data(&error) { Setback::Audit(error.to_string()) } else { error.into() })
    }

    fn fold_reached(&mut self, events: &[Opened]) {
        self.checkpoint = events.last().map_or(self.checkpoint, |event| event.record.position);
    }

    async fn make_indexes(&mut self) -> sqlx::Result<()> {
        for table in &self.tables {
            for statement in self.dialect.create(table, self.layout.set_of(table.name)).iter().skip(1) {
                self.connection.simple(statement).await?;
            }
        }
        Ok(())
    }

    /// Folds the last stretch under the head's lock and puts the new tables in force; `None` when there is more than a page to
    /// fold again.
    async fn switch(&mut self) -> Result<Option<Head>, Setback> {
        let mut head = self.connection.begin_with_head().await?;
        if self.dialect == Dialect::Postgres {
            // From here on others wait.
            let milliseconds = STATEMENT_TIMEOUT_SECONDS * 1000;
            self.connection.simple(&format!("SET LOCAL statement_timeout = {milliseconds}")).await?;
        }
        let events = self.next_events().await?;
        if events.len() >= PAGE_EVENTS {
            self.connection.rollback().await?;
            return Ok(None);
        }
        let events = self.open(events).await?;
        self.fold(&events).await?;
        head.layout.0.extend(self.layout.0.clone());
        let argument = head.encode().map_err(|error| sqlx::Error::Decode(error.into()))?;
        self.connection.run(self.dialect.set_head(), &argument).await?;
        self.connection.commit().await?;
        Ok(Some(head))
    }

    /// Nobody asks the old tables any more. One that cannot be dropped now is dropped after the next rebuild.
    async fn drop_old_sets(&mut self) {
        for table in &self.tables {
            for set in 1..self.layout.set_of(table.name) {
                let name = table_name(table, set);
                if let Err(error) = self.connection.simple(&format!("DROP TABLE IF EXISTS {name}")).await {
                    tracing::warn!(%error, name, "an old table could not be dropped");
                }
            }
        }
    }
}
