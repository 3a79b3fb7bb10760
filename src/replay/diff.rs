//! What differs between two moments.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::shown::{Item, Shown};

/// One thing that is not as it was.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Difference {
    #[serde(flatten)]
    pub item: Item,
    #[serde(flatten)]
    pub change: Change,
}

/// How it differs.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Appeared(Value),
    /// It is no longer there.
    Vanished(Value),
    /// Fields that changed: from what to what, null where there was nothing.
    Changed(BTreeMap<String, [Value; 2]>),
}

/// Everything that differs, in the order of kinds and ids.
pub fn differences(before: &Shown, after: &Shown) -> Vec<Difference> {
    let (before, after) = (before.items(), after.items());
    let mut found = Vec::new();
    for (item, value) in &before {
        let change = match after.get(item) {
            None => Some(Change::Vanished(value.clone())),
            Some(now) => changed_fields(value, now),
        };
        found.extend(change.map(|change| Difference { item: item.clone(), change }));
    }
    for (item, value) in after.iter().filter(|(item, _)| !before.contains_key(item)) {
        found.push(Difference { item: item.clone(), change: Change::Appeared((*value).clone()) });
    }
    found.sort_by(|one, other| one.item.cmp(&other.item));
    found
}

fn changed_fields(before: &Value, after: &Value) -> Option<Change> {
    let (before, after) = (before.as_object()?, after.as_object()?);
    let names = before.keys().chain(after.keys());
    let value = |of: &serde_json::Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let changed: BTreeMap<String, [Value; 2]> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| (name.clone(), [value(before, name), value(after, name)]))
        .collect();
    (!changed.is_empty()).then_some(Change::Changed(changed))
}
