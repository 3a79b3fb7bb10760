//! One transaction of the log writer: a group of units checked, inserted, folded and committed together.

use std::collections::HashMap;
use std::sync::Arc;

use aggregates::StreamId;
use projections::{FoldError, KeyedHasher, ReadModels, Recorded, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::EventRecord;
use super::connection::{Arguments, Statement, Unfinished, WriteConnection};
use super::dialect::{Dialect, EVENT_COLUMNS};
use super::head::{Head, Layout};
use super::leaf::{LeafInput, hex_digits, leaf_hash};
use super::reader::is_undefined_table;
use super::unit::{AppendError, Committed, Unit, UnitEvent};
use crate::keys::MasterKeyId;

/// The read model that may be set aside instead of refusing a unit.
pub(super) const AUDIT: &str = "audit";

pub(super) type Outcome = Result<Committed, AppendError>;

/// A unit and the time that it is recorded at, unless the log has come further already.
#[derive(Clone, Copy)]
pub(super) struct Dated<'a> {
    pub unit: &'a Unit,
    /// Microseconds since 1970.
    pub at_micros: i64,
}

pub(super) struct Group<'a> {
    /// With a transaction begun that holds the head.
    pub connection: &'a mut WriteConnection,
    pub head: Head,
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
    pub models: Arc<ReadModels>,
    pub head: Head,
    /// Whether anything was committed.
    pub moved: bool,
}

/// Why a group as a whole did not get through.
pub(super) enum GroupError {
    /// Nothing was committed.
    Store(sqlx::Error),
    /// Nothing was committed: the database refused the rows of the audit trail, and of nothing else, or its table is gone.
    Audit(sqlx::Error),
    /// Nothing was committed: the read models are those of another release, which this one must not write to.
    Superseded,
    /// The COMMIT was sent and its answer did not come. If it happened, the event at `position` is of this unit.
    CommitLost {
        position: i64,
        unit: Uuid,
        outcomes: Vec<Outcome>,
        models: Arc<ReadModels>,
        head: Head,
        error: sqlx::Error,
    },
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
    pub(super) async fn write(mut self, units: &[Dated<'_>]) -> Result<Written, GroupError> {
        if self.head.layout.foreign().next().is_some() {
            self.connection.rollback().await?;
            return Err(GroupError::Superseded);
        }
        let mut head = self.head.clone();
        if self.without_audit {
            set_audit_aside(&mut head.layout, self.head.position + 1);
        }
        let mut versions = self.versions(units).await?;
        let mut models = self.load_models(units, &head.layout).await?;

        let mut outcomes = Vec::with_capacity(units.len());
        let mut taken = Vec::new();
        for Dated { unit, at_micros } in units {
            head.recorded_at = head.recorded_at.max(*at_micros);
            let outcome = take(unit, &mut versions, &mut models, &mut head, self.head.position + 1, self.hasher);
            if outcome.is_ok() {
                taken.push(Dated { unit, at_micros: head.recorded_at });
            }
            outcomes.push(outcome);
        }
        let Some(first) = taken.first() else {
            self.connection.rollback().await?;
            return Ok(Written { outcomes, models: Arc::new(models), head, moved: false });
        };

        let mut statements = self.insertions(&taken)?;
        let RowStatements { rows, audit } = row_statements(self.dialect, &mut models, &head.layout, Amount::Few);
        statements.extend(rows);
        if head.layout != self.head.layout {
            statements.push(Statement::json(self.dialect.set_head(), head.encode()?));
        }
        self.connection.run_all(statements).await?;
        let models = Arc::new(models);
        match self.connection.finish(audit, head.position, head.recorded_at).await {
            Ok(()) => Ok(Written { outcomes, models, head, moved: true }),
            Err(Unfinished::Before(error)) if blames_the_data(&error) || is_undefined_table(&error) => {
                Err(GroupError::Audit(error))
            }
            Err(Unfinished::Before(error)) => Err(GroupError::Store(error)),
            Err(Unfinished::Committing(error)) if found_no_room(&error) => Err(GroupError::Store(error)),
            Err(Unfinished::Committing(error)) => {
                let position = self.head.position + 1;
                Err(GroupError::CommitLost { position, unit: first.unit.id, outcomes, models, head, error })
            }
        }
    }

    /// The present version of every stream that a unit of the group read.
    async fn versions(&mut self, units: &[Dated<'_>]) -> Result<HashMap<StreamId, i64>, GroupError> {
        let mut versions: HashMap<StreamId, i64> =
            units.iter().flat_map(|dated| &dated.unit.reads).map(|read| (read.stream.clone(), 0)).collect();
        let asked: Vec<VersionRow> = versions
            .keys()
            .map(|stream| VersionRow { t: stream.aggregate_type.to_owned(), i: stream.aggregate_id.clone(), v: 0 })
            .collect();
        let argument = serde_json::to_string(&asked)?;
        let answer = self.connection.text(self.dialect.versions(), &argument).await?;
        for row in serde_json::from_str::<Vec<VersionRow>>(&answer)? {
            let stream = StreamId::of(&row.t, &row.i).map_err(|error| sqlx::Error::Decode(error.into()))?;
            versions.insert(stream, row.v);
        }
        Ok(versions)
    }

    /// The rows that the group's events touch, as they are now.
    async fn load_models(&mut self, units: &[Dated<'_>], layout: &Layout) -> Result<ReadModels, GroupError> {
        let mut models = ReadModels::default();
        for Dated { unit, at_micros } in units {
            for event in &unit.events {
                models.need(&recorded(event, 0, *at_micros), self.hasher);
            }
        }
        load_missing(self.connection, self.dialect, &mut models, layout).await?;
        Ok(models)
    }

    /// The statements for events and keys.
    fn insertions(&self, taken: &[Dated<'_>]) -> Result<Vec<Statement>, serde_json::Error> {
        let events = taken.iter().flat_map(|dated| dated.unit.events.iter().map(|event| (dated.at_micros, event)));
        let events = events.zip(self.head.position + 1..);
        let rows: Vec<EventRow<'_>> =
            events.map(|((recorded_at, event), position)| EventRow::of(event, position, recorded_at)).collect();
        let mut statements = vec![insert_rows(self.dialect, &rows)];
        let made: Vec<KeyRow<'_>> = taken
            .iter()
            .flat_map(|dated| &dated.unit.keys_made)
            .map(|(id, wrapped)| KeyRow { id: id.to_string(), wrapped })
            .collect();
        if !made.is_empty() {
            statements.push(Statement::json(self.dialect.insert_keys(), serde_json::to_string(&made)?));
        }
        let destroyed: Vec<String> =
            taken.iter().flat_map(|dated| &dated.unit.keys_destroyed).map(ToString::to_string).collect();
        if !destroyed.is_empty() {
            statements.push(Statement::json(self.dialect.delete_keys(), serde_json::to_string(&destroyed)?));
        }
        Ok(statements)
    }
}

/// Inserts events as they were recorded.
pub(super) fn insert_events(dialect: Dialect, records: &[EventRecord]) -> Statement {
    let row = |record| EventRow { hashed: EventRecord::hashed(record), leaf_hash: record.leaf_hash.clone() };
    insert_rows(dialect, &records.iter().map(row).collect::<Vec<_>>())
}

fn insert_rows(dialect: Dialect, rows: &[EventRow<'_>]) -> Statement {
    let rows = rows.iter().map(EventRow::values).collect();
    let arguments = Arguments::rows(dialect, EVENT_COLUMNS, rows);
    Statement { sql: dialect.insert_events().to_owned(), arguments }
}

/// What the folds changed, as statements on the sets of tables that a layout names.
pub(super) struct RowStatements {
    pub rows: Vec<Statement>,
    /// Apart, because the audit trail may be set aside when the database refuses it.
    pub audit: Vec<Statement>,
}

/// How many rows are written at once, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Few,
    /// So many that PostgreSQL takes new ones by `COPY`, which costs a message more and less for each row.
    Many,
}

/// What the folds changed, but for a model that is set aside.
pub(super) fn row_statements(
    dialect: Dialect,
    models: &mut ReadModels,
    layout: &Layout,
    amount: Amount,
) -> RowStatements {
    let mut statements = RowStatements { rows: Vec::new(), audit: Vec::new() };
    for rows in models.tables() {
        let table = rows.table();
        if layout.is_aside(table.name) {
            continue;
        }
        let set = layout.set_of(table.name);
        let deletes = rows.deletes_json().map(|json| Statement::json(dialect.delete_by_keys(table, set), json));
        let rows_of = |sql, rows: Vec<Vec<Value>>| {
            let kinds = table.columns.iter().map(|column| column.kind);
            Statement { sql, arguments: Arguments::rows(dialect, kinds, rows) }
        };
        let copies = dialect == Dialect::Postgres && amount == Amount::Many;
        let inserts = some(rows.inserts()).map(|rows| {
            if copies {
                Statement { sql: Dialect::copy(table, set), arguments: Arguments::Copy(rows) }
            } else {
                rows_of(dialect.insert(table, set), rows)
            }
        });
        let updates = some(rows.updates()).map(|rows| rows_of(dialect.upsert(table, set), rows));
        let kind = if table.name == AUDIT { &mut statements.audit } else { &mut statements.rows };
        kind.extend([deletes, inserts, updates].into_iter().flatten());
    }
    statements
}

fn some(rows: Vec<Vec<Value>>) -> Option<Vec<Vec<Value>>> {
    (!rows.is_empty()).then_some(rows)
}

/// The audit trail is not kept up until it is rebuilt. What the group had for it is not written either, so it ends before the
/// whole group.
pub(super) fn set_audit_aside(layout: &mut Layout, group_begins: i64) {
    if let Some(state) = layout.0.get_mut(AUDIT) {
        state.aside_since.get_or_insert(group_begins);
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

/// Whether SQLite found no room while it committed. It writes what makes a commit of it last of all, and with that flushes it: what
/// found no room was not committed, and cannot be found after a crash. There is nothing to look up, which would only keep callers
/// waiting for room.
fn found_no_room(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| code == "13")
}

/// Checks one unit against what the group has come to, and folds it. A refused unit leaves no trace.
fn take(
    unit: &Unit,
    versions: &mut HashMap<StreamId, i64>,
    models: &mut ReadModels,
    head: &mut Head,
    group_begins: i64,
    hasher: &KeyedHasher,
) -> Outcome {
    if let Some(moved) = unit.reads.iter().find(|read| versions.get(&read.stream) != Some(&read.version)) {
        return Err(AppendError::Moved(moved.stream.clone()));
    }
    check_sequences(unit)?;
    let by_another = |wrapped: &str| MasterKeyId::of_wrapped(wrapped) != head.master_key;
    if unit.keys_made.iter().any(|(_, wrapped)| by_another(wrapped)) {
        return Err(AppendError::MasterKeyExchanged(head.master_key.clone()));
    }
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
            set_audit_aside(&mut head.layout, group_begins);
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

/// A unit's events continue the streams it read or begins, without a gap.
fn check_sequences(unit: &Unit) -> Result<(), AppendError> {
    let read = unit.reads.iter().map(|read| (&read.stream, read.version + 1));
    let mut next: HashMap<&StreamId, i64> = read.chain(unit.begun.iter().map(|stream| (stream, 1))).collect();
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

/// An event's row in the table of the log.
struct EventRow<'a> {
    hashed: LeafInput<'a>,
    leaf_hash: String,
}

impl<'a> EventRow<'a> {
    fn of(event: &'a UnitEvent, position: i64, recorded_at: i64) -> Self {
        let hashed = LeafInput {
            position,
            aggregate_type: event.stream.aggregate_type,
            aggregate_id: &event.stream.aggregate_id,
            sequence: event.sequence,
            event_type: &event.stored.event_type,
            event_version: &event.stored.event_version,
            payload: &event.stored.payload,
            metadata: &event.stored.metadata,
            recorded_at,
        };
        let leaf_hash = hex_digits(&leaf_hash(&hashed));
        Self { hashed, leaf_hash }
    }

    /// In the order of [`Dialect::insert_events`].
    fn values(&self) -> Vec<Value> {
        let text = |text: &str| Value::Text(text.to_owned());
        let row = &self.hashed;
        vec![
            text(row.aggregate_type),
            text(row.aggregate_id),
            Value::Integer(row.sequence),
            text(row.event_type),
            text(row.event_version),
            text(row.payload),
            text(row.metadata),
            Value::Integer(row.position),
            Value::Integer(row.recorded_at),
            text(&self.leaf_hash),
        ]
    }
}

/// Reads every row that `models` needs and has not got.
pub(super) async fn load_missing(
    connection: &mut WriteConnection,
    dialect: Dialect,
    models: &mut ReadModels,
    layout: &Layout,
) -> sqlx::Result<()> {
    for rows in models.tables() {
        if !rows.has_missing() {
            continue;
        }
        let (table, keys) = (rows.table(), rows.missing_json());
        let owner = if rows.misses_owners() { table.owner } else { None };
        let sql = dialect.select_by_keys(table, owner, layout.set_of(table.name));
        let found = connection.text(&sql, &keys).await?;
        rows.supply_json(&found).map_err(|error| sqlx::Error::Decode(error.into()))?;
    }
    Ok(())
}
