//! The one row that orders the log and says where the read models live.

use std::collections::BTreeMap;

use projections::{TABLES, Table};
use serde::{Deserialize, Serialize};

use crate::keys::MasterKeyId;

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the last event, 0 in an empty log.
    pub position: i64,
    /// Microseconds since 1970; never runs backwards.
    pub recorded_at: i64,
    pub layout: Layout,
    /// The master key that new keys are wrapped with; none before the first event.
    pub master_key: MasterKeyId,
}

/// Which set of tables each read model lives in, by the model's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout(pub BTreeMap<String, TableState>);

/// The state of one read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The number in the tables' names.
    pub set: i64,
    /// The version of the fold that filled it.
    pub version: i64,
    /// The position from which on the model is not kept up, because an event could not be folded. Only the audit trail may be
    /// set aside; a rebuild mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside_since: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct HeadRow {
    position: i64,
    recorded_at: i64,
    layout: String,
    master_key: MasterKeyId,
}

impl Head {
    /// Reads the row as the dialect's statements give it.
    ///
    /// # Errors
    /// When the row was written by something else.
    pub fn decode(row: &str) -> Result<Self, serde_json::Error> {
        let row: HeadRow = serde_json::from_str(row)?;
        let HeadRow { position, recorded_at, layout, master_key } = row;
        Ok(Self { position, recorded_at, layout: serde_json::from_str(&layout)?, master_key })
    }

    /// The argument of the statement that moves the head.
    ///
    /// # Errors
    /// Never in practice: the types are plain.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        let layout = serde_json::to_string(&self.layout)?;
        let (position, recorded_at, master_key) = (self.position, self.recorded_at, self.master_key.clone());
        serde_json::to_string(&HeadRow { position, recorded_at, layout, master_key })
    }
}

impl Layout {
    /// The set that the model's tables are in.
    pub fn set_of(&self, name: &str) -> i64 {
        self.0.get(name).map_or(1, |state| state.set)
    }

    /// The models whose tables another version of their fold fills, or nobody.
    pub fn foreign(&self) -> impl Iterator<Item = &'static str> {
        let ours = |table: &&&Table| self.0.get(table.name).is_some_and(|state| state.version == table.version);
        TABLES.iter().filter(move |table| !ours(table)).map(|table| table.name)
    }

    /// Whether a later release of authlog has filled tables.
    pub fn is_of_later_release(&self) -> bool {
        let later = |table: &&Table| self.0.get(table.name).is_some_and(|state| state.version > table.version);
        TABLES.iter().any(later)
    }

    /// Whether a model lived in an earlier set of tables than `other` says.
    pub fn is_older_than(&self, other: &Self) -> bool {
        other.0.iter().any(|(name, state)| self.set_of(name) < state.set)
    }

    pub fn is_aside(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|state| state.aside_since.is_some())
    }
}
