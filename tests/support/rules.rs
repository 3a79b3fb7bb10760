//! The log's own rules, on the log of a database: those of the crate `history`, and the hash of each row.

use history::log::model::Model;
use history::log::rules::broken_rules as broken;
use sha2::{Digest as _, Sha256};

use super::tables::{self, StoredEvent};
use super::{TestDatabase, model};

/// Reads the database's log and asserts every rule; answers the model at its end, which the read models agree with.
pub async fn assert_lawful(database: &TestDatabase) -> Model {
    let log = tables::log(database).await;
    let broken = broken_rules(&log);
    assert!(broken.is_empty(), "{} rules are broken:\n{}", broken.len(), broken.join("\n"));
    model::agrees_with(database).await
}

/// Every breach of a rule, each with the position where it was seen.
pub fn broken_rules(log: &[StoredEvent]) -> Vec<String> {
    let events: Vec<history::log::Event> = log.iter().map(StoredEvent::event).collect();
    let altered = log.iter().zip(&events).filter(|(stored, _)| stored.leaf_hash != leaf_hash(stored));
    let mut found: Vec<String> =
        altered.map(|(_, event)| format!("{event}: the leaf hash is that of the row")).collect();
    found.extend(broken(&events));
    found
}

/// The leaf hash as `src/log/leaf.rs` documents it, computed anew.
fn leaf_hash(event: &StoredEvent) -> String {
    let mut bytes = vec![0];
    let mut field = |field: &[u8]| {
        bytes.extend((field.len() as u64).to_be_bytes());
        bytes.extend(field);
    };
    field(&event.position.to_be_bytes());
    field(event.aggregate_type.as_bytes());
    field(event.aggregate_id.as_bytes());
    field(&event.sequence.to_be_bytes());
    for text in [&event.event_type, &event.event_version, &event.payload, &event.metadata] {
        field(text.as_bytes());
    }
    field(&event.recorded_at.to_be_bytes());
    hex::encode(Sha256::digest(bytes))
}
