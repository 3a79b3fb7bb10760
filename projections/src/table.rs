//! How a read model's table looks, in words that every database understands.

use std::fmt;

use aggregates::UserId;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// There are no booleans: both databases give text and integers back in JSON the same way. A flag is 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    /// 64 bits, signed.
    Integer,
}

/// A column; its name is also the name of the field in a row's JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub nullable: bool,
    /// Whether its values tell something of a person, also as a hash: nothing of them may be left when the row is gone.
    pub personal: bool,
}

impl Column {
    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Text, nullable: false, personal: false }
    }

    pub(crate) const fn integer(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Integer, nullable: false, personal: false }
    }

    pub(crate) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    pub(crate) const fn personal(self) -> Self {
        Self { personal: true, ..self }
    }
}

/// An index besides the primary key; whoever makes it derives its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    pub columns: &'static [&'static str],
    pub unique: bool,
    /// Only rows of which this SQL is true stand in it.
    pub only: Option<&'static str>,
}

impl Index {
    pub(crate) const fn on(columns: &'static [&'static str]) -> Self {
        Self { columns, unique: false, only: None }
    }

    pub(crate) const fn only(self, condition: &'static str) -> Self {
        Self { only: Some(condition), ..self }
    }

    pub(crate) const fn unique(columns: &'static [&'static str]) -> Self {
        Self { columns, unique: true, only: None }
    }
}

/// One read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    /// Of the fold and the columns: a table filled by another version must be rebuilt.
    pub version: i64,
    /// In the order of the fields of a row's JSON object.
    pub columns: &'static [Column],
    /// The column of the primary key.
    pub key: &'static str,
    /// The column that names whose row it is, where all rows of a user can be needed at once.
    pub owner: Option<&'static str>,
    pub indexes: &'static [Index],
}

impl Table {
    pub fn is_personal(&self) -> bool {
        self.columns.iter().any(|column| column.personal)
    }

    /// Whether an index of this table is.
    pub fn is_personal_index(&self, index: &Index) -> bool {
        self.columns.iter().any(|column| column.personal && index.columns.contains(&column.name))
    }
}

/// The primary key of a row. All rows of a table use the same variant, and its order is that of the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The only row of a table, `instance`.
    Instance,
    Id(Uuid),
    Text(String),
    /// A position in the log.
    Position(i64),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance => f.write_str(aggregates::INSTANCE_STREAM),
            Self::Id(id) => id.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Position(position) => position.fmt(f),
        }
    }
}

/// A JSON string, or a number for a position: as the key column of a row's JSON object.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Position(position) => serializer.serialize_i64(*position),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Instance | Self::Id(_) => serializer.collect_str(self),
        }
    }
}

/// A row of a read model. It serializes to a JSON object with exactly the columns of its table, absent values as null.
pub trait Row: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    const TABLE: &'static Table;

    fn key(&self) -> Key;

    /// Whose row it is, in a table with the column [`Table::owner`].
    fn owner(&self) -> Option<UserId> {
        None
    }
}

/// A flag as 0 or 1.
pub(crate) mod bit {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn serialize<S: Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64((*flag).into())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        match i64::deserialize(deserializer)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(serde::de::Error::custom("a flag is 0 or 1")),
        }
    }
}
