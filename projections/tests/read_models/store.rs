//! A log and a store in memory: the store knows tables and JSON, as a database would.

use std::collections::BTreeMap;

use aggregates::{Event, StreamId};
use projections::{ActorRef, ColumnKind, FoldError, KeyedHasher, Metadata, ReadModels, Recorded, TABLES, Table};
use serde_json::Value;
use uuid::Uuid;

pub(crate) const HASH_KEY: [u8; 32] = [7; 32];

pub(crate) fn hasher() -> KeyedHasher {
    KeyedHasher::new(&HASH_KEY)
}

/// When the event at `position` was recorded, in Unix seconds.
pub(crate) fn at(position: i64) -> i64 {
    1_700_000_000 + position * 10
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    position: i64,
    pub(crate) stream: StreamId,
    sequence: i64,
    pub(crate) event: Event,
    pub(crate) metadata: Metadata,
}

impl Entry {
    pub(crate) fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.position,
            recorded_at_micros: at(self.position) * 1_000_000 + 999_999,
            stream: &self.stream,
            sequence: self.sequence,
            event: &self.event,
            metadata: &self.metadata,
        }
    }
}

pub(crate) fn metadata(actor: ActorRef) -> Metadata {
    Metadata {
        actor,
        request_id: None,
        unit_id: Uuid::from_u128(9),
        command: "test".to_owned(),
        source_address: None,
        user_agent: None,
    }
}

/// Gives events their positions and sequences.
#[derive(Default)]
pub(crate) struct Log {
    position: i64,
    sequences: BTreeMap<StreamId, i64>,
}

impl Log {
    pub(crate) fn write(&mut self, stream: StreamId, event: impl Into<Event>) -> Entry {
        self.position += 1;
        let sequence = self.sequences.entry(stream.clone()).or_default();
        *sequence += 1;
        Entry {
            position: self.position,
            stream,
            sequence: *sequence,
            event: event.into(),
            metadata: metadata(ActorRef::System),
        }
    }
}

/// Table, key and row, the latter two in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Store(BTreeMap<&'static str, BTreeMap<String, String>>);

impl Store {
    /// What `units` make of an empty store, each in a batch of its own; all must be taken.
    pub(crate) fn of(units: &[&[Entry]]) -> Self {
        let mut store = Self::default();
        for unit in units {
            assert_eq!(store.take(unit), Ok(()));
        }
        store
    }

    /// A batch of one unit.
    pub(crate) fn take(&mut self, unit: &[Entry]) -> Result<(), FoldError> {
        self.take_batch(&[unit]).remove(0)
    }

    /// A batch of several units, as an appending transaction or a page of a rebuild takes it.
    pub(crate) fn take_batch(&mut self, units: &[&[Entry]]) -> Vec<Result<(), FoldError>> {
        self.take_with(ReadModels::new(), units)
    }

    pub(crate) fn take_with(&mut self, mut models: ReadModels, units: &[&[Entry]]) -> Vec<Result<(), FoldError>> {
        let hasher = hasher();
        for entry in units.iter().copied().flatten() {
            models.need(&entry.recorded(), &hasher);
        }
        self.load(&mut models);
        let mut outcomes = Vec::new();
        for unit in units {
            let unit: Vec<_> = unit.iter().map(Entry::recorded).collect();
            let before = changes(&mut models);
            let outcome = models.fold(&unit, &hasher);
            if matches!(outcome, Err(FoldError::Claimed(_) | FoldError::Broken { .. })) {
                assert_eq!(changes(&mut models), before, "a refused unit must leave nothing behind");
            }
            outcomes.push(outcome);
        }
        self.write(&mut models);
        outcomes
    }

    fn load(&self, models: &mut ReadModels) {
        for rows in models.tables() {
            let keys: Vec<Value> = serde_json::from_str(&rows.missing_json()).unwrap();
            assert_eq!(rows.has_missing(), !keys.is_empty());
            let stored = self.0.get(rows.table().name);
            let owner = if rows.misses_owners() { rows.table().owner } else { None };
            let named: Vec<String> = keys.iter().map(Value::to_string).collect();
            let is_wanted = |key: &String, row: &str| {
                let row: Value = serde_json::from_str(row).unwrap();
                named.contains(key) || owner.is_some_and(|owner| keys.contains(&row[owner]))
            };
            let stored = stored.into_iter().flatten();
            let found: Vec<&str> =
                stored.filter(|(key, row)| is_wanted(key, row)).map(|(_, row)| row.as_str()).collect();
            rows.supply_json(&format!("[{}]", found.join(","))).unwrap();
            assert_eq!(rows.missing_json(), "[]");
        }
    }

    fn write(&mut self, models: &mut ReadModels) {
        for rows in models.tables() {
            let table = rows.table();
            let stored = self.0.entry(table.name).or_default();
            for key in parsed(rows.deletes_json()) {
                assert!(stored.remove(&key.to_string()).is_some(), "{} has no {key} to delete", table.name);
            }
            for row in split(rows.inserts_json().as_ref()) {
                assert_eq!(stored.insert(checked(table, &row), row), None, "a row that is there was inserted");
            }
            for row in split(rows.updates_json().as_ref()) {
                let key = checked(table, &row);
                assert_ne!(stored.insert(key, row.clone()), Some(row), "an unchanged row was written");
            }
        }
    }

    pub(crate) fn table(&self, name: &str) -> Vec<Value> {
        assert!(TABLES.iter().any(|table| table.name == name));
        self.0.get(name).into_iter().flatten().map(|(_, row)| serde_json::from_str(row).unwrap()).collect()
    }

    /// The only row of a table.
    pub(crate) fn only(&self, name: &str) -> Value {
        let mut rows = self.table(name);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }
}

/// All that a batch would write.
pub(crate) fn changes(models: &mut ReadModels) -> Vec<[Option<String>; 3]> {
    models.tables().into_iter().map(|rows| [rows.inserts_json(), rows.updates_json(), rows.deletes_json()]).collect()
}

fn parsed(json: Option<String>) -> Vec<Value> {
    json.map(|json| serde_json::from_str(&json).unwrap()).unwrap_or_default()
}

fn split(rows: Option<&String>) -> Vec<String> {
    let rows: Vec<&serde_json::value::RawValue> =
        rows.map(|rows| serde_json::from_str(rows).unwrap()).unwrap_or_default();
    rows.into_iter().map(|row| row.get().to_owned()).collect()
}

/// A row has exactly the columns of its table, in their order and of their kind. Gives its key.
fn checked(table: &Table, text: &str) -> String {
    let row: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
    assert_eq!(row.len(), table.columns.len(), "{} {text}", table.name);
    let mut last = 0;
    for column in table.columns {
        let place = text.find(&format!("\"{}\":", column.name)).expect(column.name);
        assert!(place > last || last == 0, "{}.{} is out of order", table.name, column.name);
        last = place;
        let fits = match &row[column.name] {
            Value::Null => column.nullable,
            Value::String(text) => column.kind == ColumnKind::Text && !text.contains('\0'),
            Value::Number(number) => column.kind == ColumnKind::Integer && number.is_i64(),
            _ => false,
        };
        assert!(fits, "{}.{} cannot hold {}", table.name, column.name, row[column.name]);
    }
    row[table.key].to_string()
}
