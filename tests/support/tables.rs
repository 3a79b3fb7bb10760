//! What the database itself holds, read past the program: the rows of the log and of the read models.

use authlog::log::Location;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};

use super::TestDatabase;

/// An event with the texts that the table holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredEvent {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// 64 hex digits.
    pub leaf_hash: String,
}

impl StoredEvent {
    pub fn payload(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap()
    }

    pub fn metadata(&self) -> Value {
        serde_json::from_str(&self.metadata).unwrap()
    }

    /// As the crate that judges logs takes it.
    pub fn event(&self) -> history::log::Event {
        serde_json::from_value(self.printed()).unwrap()
    }

    /// As `authlog events --json` prints it.
    pub fn printed(&self) -> Value {
        serde_json::json!({
            "position": self.position,
            "stream": format!("{}/{}", self.aggregate_type, self.aggregate_id),
            "sequence": self.sequence,
            "type": self.event_type,
            "version": self.event_version,
            "recorded_at": self.recorded_at,
            "payload": self.payload(),
            "metadata": self.metadata(),
        })
    }
}

/// A connection of the test's own that reads.
enum Reader {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Reader {
    async fn open(database: &TestDatabase) -> Self {
        match &database.location {
            Location::Sqlite { file } => {
                let options = SqliteConnectOptions::new().filename(file).read_only(true);
                Self::Sqlite(options.connect().await.unwrap())
            }
            Location::Postgres { url } => Self::Postgres(PgConnection::connect(url.expose_secret()).await.unwrap()),
        }
    }

    async fn texts(&mut self, sqlite: &str, postgres: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sqlite).fetch_all(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(postgres).fetch_all(connection).await.unwrap(),
        }
    }
}

/// Rows of one text column, by a statement for each database.
pub async fn texts(database: &TestDatabase, sqlite: &str, postgres: &str) -> Vec<String> {
    Reader::open(database).await.texts(sqlite, postgres).await
}

/// The whole log, in order.
pub async fn log(database: &TestDatabase) -> Vec<StoredEvent> {
    let rows = texts(
        database,
        "SELECT json_object('position', position, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id, \
         'sequence', sequence, 'event_type', event_type, 'event_version', event_version, 'payload', payload, \
         'metadata', metadata, 'recorded_at', recorded_at, 'leaf_hash', lower(hex(leaf_hash))) \
         FROM events ORDER BY position",
        "SELECT json_build_object('position', position, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id, \
         'sequence', sequence, 'event_type', event_type, 'event_version', event_version, 'payload', payload::text, \
         'metadata', metadata::text, 'recorded_at', recorded_at, 'leaf_hash', encode(leaf_hash, 'hex'))::text \
         FROM events ORDER BY position",
    )
    .await;
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// The rows of a read model in the set of tables that is in force. SQL's NULL is left out.
pub async fn read_model(database: &TestDatabase, name: &str, columns: &[&str]) -> Vec<Value> {
    let layout = texts(database, "SELECT layout FROM log_head", "SELECT layout FROM log_head").await;
    let layout: Value = serde_json::from_str(&layout[0]).unwrap();
    let set = layout[name]["set"].as_i64().unwrap_or_else(|| panic!("no read model {name} in {layout}"));
    let pairs: Vec<String> = columns.iter().map(|column| format!("'{column}', {column}")).collect();
    let (pairs, table) = (pairs.join(", "), format!("{name}_{set}"));
    let rows = texts(
        database,
        &format!("SELECT json_object({pairs}) FROM {table}"),
        &format!("SELECT json_build_object({pairs})::text FROM {table}"),
    )
    .await;
    rows.iter()
        .map(|row| {
            let mut row: serde_json::Map<String, Value> = serde_json::from_str(row).unwrap();
            row.retain(|_, value| !value.is_null());
            Value::Object(row)
        })
        .collect()
}

/// Position and time of the log's head.
pub async fn head(database: &TestDatabase) -> (i64, i64) {
    let rows = texts(
        database,
        "SELECT json_array(position, recorded_at) FROM log_head",
        "SELECT json_build_array(position, recorded_at)::text FROM log_head",
    )
    .await;
    serde_json::from_str(&rows[0]).unwrap()
}
