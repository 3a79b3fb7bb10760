//! Comparing read models with a fresh fold of the log, at one moment and without writing anything.
//!
//! Events and rows are read in one transaction that sees one moment, so the service goes on meanwhile. What is folded anew lives in
//! memory, but for the audit trail, which is compared page by page.

use std::collections::BTreeMap;

use projections::{AnyRows, AuditRow, FoldError, KeyedHasher, ReadModels, Row as _, Rows, TABLES, Table};
use serde_json::Value;

use super::dialect::{Dialect, table_name};
use super::head::Layout;
use super::history::{EventSource, HistoryError, is_full, open};
use super::keyring::Keyring;
use super::rebuild::Progress;

/// Differing rows that are named of each read model; more say nothing new.
pub const NAMED_DIFFERENCES: usize = 10;

/// A comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("the log cannot be folded: {0}")]
    Fold(#[from] FoldError),
    #[error("a row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct RowDifference {
    pub model: &'static str,
    pub key: String,
    /// As the table has it; `None` when it has no such row.
    pub live: Option<Value>,
    /// As the log says; `None` when there should be none.
    pub fresh: Option<Value>,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Position of the last event that counts.
    pub position: i64,
    /// The first of each read model, in the order of keys.
    pub differences: Vec<RowDifference>,
}

/// Compares the read models named with a fold of the whole log; `report` hears how far it has come.
pub(super) async fn verify(
    mut source: EventSource,
    keyring: &Keyring,
    hasher: &KeyedHasher,
    names: &[&str],
    report: &(dyn Fn(Progress) + Sync),
) -> Result<Verified, VerifyError> {
    source.begin_snapshot().await?;
    let dialect = source.dialect();
    let head = source.head().await?;
    let mut models = ReadModels::only(names);
    let audit = names.contains(&AuditRow::TABLE.name);
    let (mut position, mut differences) = (0, Vec::new());
    loop {
        let records = source.next_page(position).await?;
        let is_full = is_full(records.len());
        let page = open(records, keyring).await?;
        let events: Vec<_> = page.events.iter().map(|event| event.recorded()).collect();
        for event in &events {
            models.need(event, hasher);
        }
        for rows in models.tables() {
            rows.supply_json("[]")?;
        }
        for event in &events {
            models.fold(std::slice::from_ref(event), hasher)?;
        }
        let before = position;
        position = events.last().map_or(position, |event| event.position);
        if audit {
            let fresh = std::mem::take(&mut models.audit);
            let here = format!("WHERE t.id > {before} AND t.id <= {position}");
            differences.extend(compare(&mut source, dialect, &head.layout, &fresh, &here).await?);
        }
        report(Progress { position, head: head.position });
        if !is_full {
            break;
        }
    }
    if position < head.position {
        return Err(HistoryError::Missing(position + 1).into());
    }
    if audit {
        let beyond = format!("WHERE t.id > {position} OR t.id < 1");
        let none = Rows::<AuditRow>::default();
        differences.extend(compare(&mut source, dialect, &head.layout, &none, &beyond).await?);
    }
    for rows in models.tables() {
        let name = rows.table().name;
        if name != AuditRow::TABLE.name && names.contains(&name) {
            differences.extend(compare(&mut source, dialect, &head.layout, rows, "").await?);
        }
    }
    Ok(Verified { position, differences: first_of_each(differences) })
}

async fn compare(
    source: &mut EventSource,
    dialect: Dialect,
    layout: &Layout,
    fresh: &dyn AnyRows,
    clause: &str,
) -> Result<Vec<RowDifference>, VerifyError> {
    let table = fresh.table();
    let select = dialect.select_rows(table, &table_name(table, layout.set_of(table.name)));
    let live = source.texts(&format!("{select} {clause}")).await?;
    let live: Vec<Value> = live.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>()?;
    let fresh: Vec<Value> = match fresh.inserts_json() {
        Some(rows) => serde_json::from_str(&rows)?,
        None => Vec::new(),
    };
    let (live, mut fresh) = (by_key(table, live), by_key(table, fresh));
    let mut differences = Vec::new();
    for (key, live) in live {
        let fresh = fresh.remove(&key);
        if fresh.as_ref() != Some(&live) {
            differences.push(RowDifference { model: table.name, key, live: Some(live), fresh });
        }
    }
    let missing = fresh.into_iter();
    differences.extend(missing.map(|(key, row)| RowDifference {
        model: table.name,
        key,
        live: None,
        fresh: Some(row),
    }));
    Ok(differences)
}

fn by_key(table: &Table, rows: Vec<Value>) -> BTreeMap<String, Value> {
    let key = |row: &Value| match &row[table.key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

fn first_of_each(mut differences: Vec<RowDifference>) -> Vec<RowDifference> {
    differences.sort_by(|one, other| (one.model, &one.key).cmp(&(other.model, &other.key)));
    let mut kept = Vec::new();
    for table in TABLES {
        kept.extend(differences.extract_if(.., |found| found.model == table.name).take(NAMED_DIFFERENCES));
    }
    kept
}
