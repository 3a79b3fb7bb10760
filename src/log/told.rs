//! Events as one person may read them: what is sealed for that person in clear, what is sealed for anybody else left out.

use std::collections::HashMap;

use aggregates::{Event, KeyId};
use serde_json::Value;

use super::EventRecord;
use super::history::HistoryError;
use crate::keys::Key;

/// An event as it is told to one person.
#[derive(Clone, Debug)]
pub struct Told {
    pub record: EventRecord,
    /// Lifted to its present version; protected values sealed.
    pub event: Event,
    /// As it is stored, but for protected values and hashes.
    pub payload: Value,
    /// The same.
    pub metadata: Value,
}

/// Opens what is sealed with one person's key; nothing is when that key is gone.
pub(super) fn tell(record: EventRecord, id: &KeyId, key: Option<&Key>) -> Result<Told, HistoryError> {
    let mut sealed = record.clone().decode()?;
    let texts = sealed.texts_for(id, key)?;
    let parse = |text: &str| serde_json::from_str(text).map_err(|error| record.unreadable(error.to_string()));
    let (mut payload, mut metadata): (Value, Value) = (parse(&record.payload)?, parse(&record.metadata)?);
    reveal(&mut payload, &texts);
    reveal(&mut metadata, &texts);
    Ok(Told { event: sealed.event, record, payload, metadata })
}

/// Puts clear texts in the place of sealed ones, and leaves out what stays sealed, and hashes: they say nothing to a person and
/// something to whoever would try tokens.
fn reveal(value: &mut Value, texts: &HashMap<String, Option<String>>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let stays_sealed = value.as_str().is_some_and(|text| matches!(texts.get(text), Some(None)));
                !stays_sealed && !name.ends_with("hash")
            });
            fields.values_mut().for_each(|value| reveal(value, texts));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| reveal(value, texts)),
        Value::String(text) => {
            if let Some(Some(clear)) = texts.get(text.as_str()) {
                text.clone_from(clear);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
