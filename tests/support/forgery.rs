//! Writing into the log past the program, as whoever owns the database can.

use authlog::log::leaf::{LeafInput, leaf_hash};
use serde_json::{Value, json};
use uuid::Uuid;

use super::TestDatabase;
use super::second_connection::SecondConnection;
use super::tables::{StoredEvent, log};

pub struct Forgery<'a> {
    database: &'a TestDatabase,
    connection: SecondConnection,
}

/// What is to be written at the end of the log.
pub struct Forged<'a> {
    pub stream: String,
    pub event_type: &'a str,
    pub payload: Value,
    pub actor: String,
}

impl<'a> Forgery<'a> {
    /// Takes the triggers away that keep the log as it is.
    pub async fn begin(database: &'a TestDatabase) -> Self {
        let mut connection = SecondConnection::open(database).await;
        match &connection {
            SecondConnection::Sqlite(_) => {
                for trigger in ["events_never_change", "events_never_vanish", "events_are_never_replaced"] {
                    connection.run(&format!("DROP TRIGGER IF EXISTS {trigger}")).await;
                }
            }
            SecondConnection::Postgres(_) => {
                connection.run("ALTER TABLE events DISABLE TRIGGER ALL").await;
            }
        }
        Self { database, connection }
    }

    /// Writes an event after the last one, with a unit of its own and a hash that holds; answers its position.
    pub async fn append(&mut self, forged: Forged<'_>, seconds_later: i64) -> i64 {
        let written = log(self.database).await;
        let last = written.last().unwrap();
        let (aggregate_type, aggregate_id) = forged.stream.split_once('/').unwrap();
        let same = |event: &&StoredEvent| event.aggregate_type == aggregate_type && event.aggregate_id == aggregate_id;
        let metadata = json!({ "actor": forged.actor, "unit_id": Uuid::now_v7(), "command": "forge" });
        let event = StoredEvent {
            position: last.position + 1,
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: aggregate_id.to_owned(),
            sequence: written.iter().filter(same).map(|event| event.sequence).max().unwrap_or(0) + 1,
            event_type: forged.event_type.to_owned(),
            event_version: "1".to_owned(),
            payload: json!({ forged.event_type: forged.payload }).to_string(),
            metadata: metadata.to_string(),
            recorded_at: last.recorded_at + seconds_later * 1_000_000 + 1,
            leaf_hash: String::new(),
        };
        self.insert(&event).await;
        self.move_head(&event).await;
        event.position
    }

    /// Changes an event, its hash included.
    pub async fn rewrite(&mut self, position: i64, change: impl FnOnce(&mut StoredEvent)) {
        let written = log(self.database).await;
        let mut event = written.iter().find(|event| event.position == position).unwrap().clone();
        change(&mut event);
        self.remove(position).await;
        self.insert(&event).await;
        if position == written.last().unwrap().position {
            self.move_head(&event).await;
        }
    }

    pub async fn remove(&mut self, position: i64) {
        self.run(&format!("DELETE FROM events WHERE position = {position}")).await;
    }

    pub async fn run(&mut self, sql: &str) {
        self.connection.run(sql).await;
    }

    async fn insert(&mut self, event: &StoredEvent) {
        let hash = hex::encode(leaf_hash(&LeafInput {
            position: event.position,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: &event.payload,
            metadata: &event.metadata,
            recorded_at: event.recorded_at,
        }));
        let hash = match &self.connection {
            SecondConnection::Sqlite(_) => format!("X'{hash}'"),
            SecondConnection::Postgres(_) => format!("'\\x{hash}'"),
        };
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let sql = format!(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
             position, recorded_at, leaf_hash) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {hash})",
            text(&event.aggregate_type),
            text(&event.aggregate_id),
            event.sequence,
            text(&event.event_type),
            text(&event.event_version),
            text(&event.payload),
            text(&event.metadata),
            event.position,
            event.recorded_at,
        );
        self.run(&sql).await;
    }

    async fn move_head(&mut self, last: &StoredEvent) {
        let (position, recorded_at) = (last.position, last.recorded_at);
        self.run(&format!("UPDATE log_head SET position = {position}, recorded_at = {recorded_at}")).await;
    }
}
