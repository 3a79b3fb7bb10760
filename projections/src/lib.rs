//! What the log means. Each read model is a table and a fold: from an event to the rows it makes, changes or deletes.
//!
//! A batch of events is folded in memory, over the rows that it touches, and leaves as the few rows that really changed;
//! whoever stores them needs to know only [`Table`] and JSON.
//!
//! Architecture invariant: nothing here reads a clock, a random source, a file or the network, and nothing here knows SQL.
//! Architecture invariant: the same events give the same rows, however they are cut into units and pages (promise P6).
//! Architecture invariant: a fold reads only the rows of its own table, so that each can be rebuilt alone.
//! Architecture invariant: no token, key or client secret is in a row but as a hash or sealed.

mod api_tokens;
mod audit;
mod error;
mod hasher;
mod identity_provider;
mod read_models;
mod recorded;
mod rows;
mod sessions;
mod setup;
mod table;
mod text;
mod unique_keys;
mod users;
mod value;

pub use api_tokens::ApiTokenRow;
pub use audit::AuditRow;
pub use error::{ClaimKind, FoldError};
pub use hasher::KeyedHasher;
pub use identity_provider::IdentityProviderRow;
pub use read_models::{ReadModels, TABLES};
pub use recorded::{ActorRef, ActorRefError, Metadata, Recorded};
pub use rows::{AnyRows, Rows};
pub use sessions::{SessionRow, shows_caller};
pub use setup::SetupRow;
pub use table::{Column, ColumnKind, Index, Key, Row, Table};
pub use unique_keys::UniqueKeyRow;
pub use users::{RecoveryKind, UserRow};
pub use value::Value;
