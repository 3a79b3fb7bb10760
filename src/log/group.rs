//! One transaction of the log writer: a group of units checked, inserted, folded and committed together.

use std::collections::HashMap;

use aggregates::StreamId;
use projections::{FoldError, KeyedHasher, ReadModels, Recorded};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::WriteConnection;
use super::dialect::Dialect;
use super::head::{Head, Layout};
use super::leaf::{LeafInput, leaf_hash};
use super::unit::{AppendError, Committed, Unit, UnitEvent};
use crate::clock::Clock;

/// The read model that may be set aside instead of refusing a unit.
pub(super) const AUDIT: &str = "audit";

pub(super) type Outcome = Result<Committed, AppendError>;

pub(super) struct Group<'a> {
    /// With a transaction begun.
    pub connection: &'a mut WriteConnection,
    pub dialect: Dialect,
    pub hasher: &'a KeyedHasher,
    /// Whether the audit trail is to be set aside, because the database refused its rows in the attempt before.
    pub without_audit: bool,
}

/// What became of a group.
pub(super) struct Written {
    /// One for each unit, in their order.
    pub outcomes: Vec<Outcome>,
    /// Every row that changed.
    pub models: ReadModels,
    pub head: Head,
    /// Whether anything was committed.
    pub moved: bool,
}

/// Why a group as a whole did not get through.
pub(super) enum GroupError {
    /// Nothing was committed.
    Store(sqlx::Error),
    /// Nothing was committed: the database refused the rows of the audit trail, and of nothing else.
    Audit(sqlx::Error),
    /// The COMMIT was sent and its answer did not come. If it happened, the event at `position` is of this unit.
    CommitLost { position: i64, unit: Uuid, outcomes: Vec<Outcome>, error: sqlx::Error },
}

impl From<sqlx::Error> for GroupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl From<serde_json::Error> for GroupError {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(sqlx::Error::Decode(error.into()))
    }
}

/// An event as the table takes it.
#[derive(Serialize)]
struct EventRow<'a> {
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: i64,
    event_type: &'a str,
    event_version: &'a str,
    payload: &'a str,
    metadata: &'a str,
    position: i64,
    recorded_at: i64,
    leaf_hash: String,
}

#[derive(Serialize)]
struct KeyRow<'a> {
    id: String,
    wrapped: &'a str,
}

/// A stream as the versions statement takes and gives it: type, id, version.
#[derive(Serialize, Deserialize)]
struct VersionRow {
    t: String,
    i: String,
    #[serde(default)]
    v: i64,
}

impl Group<'_> {
    pub(super) async fn write(mut self, units: &[&Unit], clock: &Clock) -> Result<Written, GroupError> {
        let mut head = self.lock_head().await?;
        let locked_at = head.position;
        head.recorded_at = head.recorded_at.max(clock.now_micros());
        if self.without_audit {
            set_audit_aside(&mut head);
        }
        let mut versions = self.versions(units).await?;
        let mut models = self.load_models(units, &head).await?;

        let mut outcomes = Vec::with_capacity(units.len());
        let mut taken = Vec::new();
        for unit in units {
            let outcome = take(unit, &mut versions, &mut models, &mut head, self.hasher);
            if outcome.is_ok() {
                taken.push(*unit);
            }
            outcomes.push(outcome);
        }
        let Some(first) = taken.first() else {
            self.connection.rollback().await?;
            return Ok(Written { outcomes, models, head, moved: false });
        };

        self.insert_events(&taken, locked_at, head.recorded_at).await?;
        self.change_keys(&taken).await?;
        store_rows(self.connection, self.dialect, &mut models, &head.layout).await?;
        self.connection.run(self.dialect.move_head(), &head.encode()?).await?;
        match self.connection.commit().await {
            Ok(()) => Ok(Written { outcomes, models, head, moved: true }),
            Err(error) => Err(GroupError::CommitLost { position: locked_at + 1, unit: first.id, outcomes, error }),
        }
    }

    async fn lock_head(&mut self) -> Result<Head, GroupError> {
        let rows = self.connection.texts(self.dialect.lock_head(), None).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Head::decode(row)?)
    }

    /// The present version of every stream that a unit of the group read.
    async fn versions(&mut self, units: &[&Unit]) -> Result<HashMap<StreamId, i64>, GroupError> {
        let mut versions: HashMap<StreamId, i64> =
            units.iter().flat_map(|unit| &unit.reads).map(|read| (read.stream.clone(), 0)).collect();
        let asked: Vec<VersionRow> = versions
            .keys()
            .map(|stream| VersionRow { t: stream.aggregate_type.to_owned(), i: stream.aggregate_id.clone(), v: 0 })
            .collect();
        let argument = serde_json::to_string(&asked)?;
        for row in self.connection.texts(self.dialect.versions(), Some(&argument)).await? {
            let row: VersionRow = serde_json::from_str(&row)?;
            let stream = StreamId::of(&row.t, &row.i).map_err(|error| sqlx::Error::Decode(error.into()))?;
            versions.insert(stream, row.v);
        }
        Ok(versions)
    }

    /// The rows that the group's events touch, as they are now.
    async fn load_models(&mut self, units: &[&Unit], head: &Head) -> Result<ReadModels, GroupError> {
        let mut models = ReadModels::default();
        for event in units.iter().flat_map(|unit| &unit.events) {
            models.need(&recorded(event, 0, head.recorded_at), self.hasher);
        }
        load_missing(self.connection, self.dialect, &mut models, &head.layout).await?;
        Ok(models)
    }

    async fn insert_events(&mut self, taken: &[&Unit], locked_at: i64, recorded_at: i64) -> Result<(), GroupError> {
        let events = taken.iter().flat_map(|unit| &unit.events);
        let rows: Vec<EventRow<'_>> =
            events.zip(locked_at + 1..).map(|(event, position)| event_row(event, position, recorded_at)).collect();
        self.connection.run(self.dialect.insert_events(), &serde_json::to_string(&rows)?).await?;
        Ok(())
    }

    async fn change_keys(&mut self, taken: &[&Unit]) -> Result<(), GroupError> {
        let made: Vec<KeyRow<'_>> = taken
            .iter()
            .flat_map(|unit| &unit.keys_made)
            .map(|(id, wrapped)| KeyRow { id: id.to_string(), wrapped })
            .collect();
        if !made.is_empty() {
            self.connection.run(self.dialect.insert_keys(), &serde_json::to_string(&made)?).await?;
        }
        let destroyed: Vec<String> =
            taken.iter().flat_map(|unit| &unit.keys_destroyed).map(ToString::to_string).collect();
        if !destroyed.is_empty() {
            self.connection.run(&self.dialect.delete_keys(), &serde_json::to_string(&destroyed)?).await?;
        }
        Ok(())
    }
}

/// Writes what the folds changed to the sets of tables that `layout` names, but for a model that is set aside.
pub(super) async fn store_rows(
    connection: &mut WriteConnection,
    dialect: Dialect,
    models: &mut ReadModels,
    layout: &Layout,
) -> Result<(), GroupError> {
    for rows in models.tables() {
        let table = rows.table();
        if layout.is_aside(table.name) {
            continue;
        }
        let set = layout.set_of(table.name);
        if let Some(keys) = rows.deletes_json() {
            connection.run(&dialect.delete_by_keys(table, set), &keys).await?;
        }
        if let Some(changed) = rows.upserts_json() {
            let written = connection.run(&dialect.upsert(table, set), &changed).await;
            written.map_err(|error| match table.name {
                AUDIT if blames_the_data(&error) => GroupError::Audit(error),
                _ => GroupError::Store(error),
            })?;
        }
    }
    Ok(())
}

/// From the next event on the audit trail is not kept up, until it is rebuilt.
fn set_audit_aside(head: &mut Head) {
    let next = head.position + 1;
    if let Some(state) = head.layout.0.get_mut(AUDIT) {
        state.aside_since.get_or_insert(next);
    }
}

/// Whether the database refused what it was given, rather than failed itself.
pub(super) fn blames_the_data(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.code() {
        // SQLSTATE classes 22 (data exception) and 23 (integrity constraint violation); SQLite's CONSTRAINT and MISMATCH.
        Some(code) if code.len() == 5 => code.starts_with("22") || code.starts_with("23"),
        Some(code) => code.parse::<i32>().is_ok_and(|code| matches!(code & 0xff, 19 | 20)),
        None => false,
    }
}

/// Checks one unit against what the group has come to, and folds it. A refused unit leaves no trace.
fn take(
    unit: &Unit,
    versions: &mut HashMap<StreamId, i64>,
    models: &mut ReadModels,
    head: &mut Head,
    hasher: &KeyedHasher,
) -> Outcome {
    if let Some(moved) = unit.reads.iter().find(|read| versions.get(&read.stream) != Some(&read.version)) {
        return Err(AppendError::Moved(moved.stream.clone()));
    }
    check_sequences(unit)?;
    let events: Vec<Recorded<'_>> = unit
        .events
        .iter()
        .zip(head.position + 1..)
        .map(|(event, position)| recorded(event, position, head.recorded_at))
        .collect();
    match models.fold(&events, hasher) {
        Ok(()) => {}
        Err(FoldError::Claimed(claim)) => return Err(AppendError::Claimed(claim)),
        Err(error @ FoldError::Audit { .. }) => {
            tracing::error!(%error, "the audit trail is set aside until it is rebuilt");
            set_audit_aside(head);
        }
        Err(error @ FoldError::Broken { .. }) => {
            tracing::error!(%error, unit = %unit.id, "a read model refuses a unit");
            return Err(AppendError::Refused(error.to_string()));
        }
    }
    for event in &unit.events {
        versions.insert(event.stream.clone(), event.sequence);
        head.position += 1;
    }
    Ok(Committed { position: head.position, recorded_at_micros: head.recorded_at })
}

/// A unit's events continue the streams it read, without a gap.
fn check_sequences(unit: &Unit) -> Result<(), AppendError> {
    let mut next: HashMap<&StreamId, i64> = unit.reads.iter().map(|read| (&read.stream, read.version + 1)).collect();
    for event in &unit.events {
        match next.get_mut(&event.stream) {
            Some(sequence) if *sequence == event.sequence => *sequence += 1,
            _ => {
                return Err(AppendError::Refused(format!(
                    "event {} of {} is out of step",
                    event.sequence, event.stream
                )));
            }
        }
    }
    Ok(())
}

pub(super) fn recorded(event: &UnitEvent, position: i64, recorded_at_micros: i64) -> Recorded<'_> {
    Recorded {
        position,
        recorded_at_micros,
        stream: &event.stream,
        sequence: event.sequence,
        event: &event.event,
        metadata: &event.metadata,
    }
}

fn event_row(event: &UnitEvent, position: i64, recorded_at: i64) -> EventRow<'_> {
    let leaf = leaf_hash(&LeafInput {
        position,
        aggregate_type: event.stream.aggregate_type,
        aggregate_id: &event.stream.aggregate_id,
        sequence: event.sequence,
        event_type: &event.stored.event_type,
        event_version: &event.stored.event_version,
        payload: &event.stored.payload,
        metadata: &event.stored.metadata,
        recorded_at,
    });
    EventRow {
        aggregate_type: event.stream.aggregate_type,
        aggregate_id: &event.stream.aggregate_id,
        sequence: event.sequence,
        event_type: &event.stored.event_type,
        event_version: &event.stored.event_version,
        payload: &event.stored.payload,
        metadata: &event.stored.metadata,
        position,
        recorded_at,
        leaf_hash: hex::encode(leaf),
    }
}

/// Reads every row that `models` needs and has not got.
pub(super) async fn load_missing(
    connection: &mut WriteConnection,
    dialect: Dialect,
    models: &mut ReadModels,
    layout: &Layout,
) -> Result<(), GroupError> {
    for rows in models.tables() {
        if !rows.has_missing() {
            continue;
        }
        let (table, keys) = (rows.table(), rows.missing_json());
        let sql = dialect.select_by_keys(table, layout.set_of(table.name));
        let found = connection.texts(&sql, Some(&keys)).await?;
        rows.supply_json(&found)?;
    }
    Ok(())
}
