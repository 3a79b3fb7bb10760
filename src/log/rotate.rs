//! Exchanging the master key while the service runs: every key is wrapped anew, none is changed.
//!
//! `log_head.master_key` says which master key wraps new keys. It is read with the head's lock by whoever writes a key, so from the
//! moment it changes no key comes that the old one wraps, and wrapping the rest anew has an end:
//!
//! ```text
//! node A    lock head (old) ─ insert key by old ─ COMMIT                  lock head (new) ─ refused ─ make the key again by new
//! rotation                                        head: new ── 500 keys ── 500 keys ── ... ── none is left
//! ```
//!
//! Both master keys are at hand until then. A key is wrapped anew where it is as it was read; one that has been destroyed
//! meanwhile stays destroyed. Cut off anywhere, both master keys together open every key, and going on begins where it was.
//!
//! Only one node exchanges the master key at a time, and only the present one gives way to the next: nodes that have prepared
//! different keys would else wrap by each other's, and each would end with keys it cannot open. It is done when no key is left that
//! another master key wraps, looked at with the head's lock; until then no file is moved.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Log;
use super::connection::WriteConnection;
use super::database::{Arg, Database};
use super::dialect::Dialect;
use super::keyring::{KeyRow, KeyringError};
use crate::keys::MasterKeyId;

/// Of the lock that whoever exchanges the master key holds on PostgreSQL.
pub const TURN: i64 = 0x6175_7468_6c6f_6702;

/// The master key was not exchanged, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error("there is no next master key: `authlog keys rotate --prepare` makes one")]
    NoNextKey,
    #[error("a master key is being exchanged already; wait until that has ended")]
    Busy,
    #[error("the master key {0} has been put in force elsewhere; see `authlog keys status`")]
    Elsewhere(MasterKeyId),
    #[error("keys are left that are not wrapped with the next master key; repeat the command")]
    Unfinished,
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
}

/// How far an exchange has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The master key that wraps new keys.
    pub master_key: MasterKeyId,
    /// Keys that have been wrapped anew.
    pub rewrapped: u64,
    /// Keys that were to be when it began.
    pub of: u64,
}

/// Keys of one kind that one master key wraps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCount {
    pub master_key: MasterKeyId,
    /// `person`, `strangers` or `instance`.
    pub kind: String,
    pub keys: u64,
}

/// How many keys there are.
///
/// # Errors
/// When the database fails.
pub async fn count_keys(database: &Database) -> sqlx::Result<Vec<KeyCount>> {
    let rows = database.texts(database.dialect().count_keys(), &[]).await?;
    rows.iter().map(|row| serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
}

impl Log {
    /// Wraps every key with the next master key. `report` hears how far it has come.
    ///
    /// # Errors
    /// A [`RotateError`]; what has been wrapped anew stays so.
    pub async fn rotate_master_key(&self, report: &(dyn Fn(Rotation) + Sync)) -> Result<Rotation, RotateError> {
        let _only_one_here = self.rotating.try_lock().map_err(|_| RotateError::Busy)?;
        let only_one = self.take_turn().await?;
        let rotated = self.rotate(report).await;
        if let Some(connection) = only_one {
            connection.close().await;
        }
        rotated
    }

    /// Held by one of all nodes. Should the connection be lost, what is read with the head's lock still keeps two apart.
    async fn take_turn(&self) -> Result<Option<WriteConnection>, RotateError> {
        let target = self.beside.target();
        if target.dialect() == Dialect::Sqlite {
            return Ok(None);
        }
        let mut connection = target.connect().await?;
        let taken = connection.texts(&format!("SELECT pg_try_advisory_lock({TURN})::text"), None).await?;
        if taken == ["true"] { Ok(Some(connection)) } else { Err(RotateError::Busy) }
    }

    async fn rotate(&self, report: &(dyn Fn(Rotation) + Sync)) -> Result<Rotation, RotateError> {
        let (present, next) = self.keyring.masters()?;
        let next = next.ok_or(RotateError::NoNextKey)?;
        let counts = count_keys(&self.reader.database).await?;
        // What cannot be wrapped anew is found before anything is changed.
        for count in &counts {
            self.keyring.master(&count.master_key)?;
        }
        self.put_in_force(&present, &next).await?;
        self.keyring.use_master(&next)?;

        let of = counts.iter().filter(|count| count.master_key != next).map(|count| count.keys).sum();
        let mut rotation = Rotation { master_key: next, rewrapped: 0, of };
        loop {
            let before = rotation.rewrapped;
            let mut after = String::new();
            while let Some(last) = self.rewrap_some(&after, &mut rotation).await? {
                after = last;
                report(rotation.clone());
            }
            if self.is_done(&rotation).await? {
                break;
            }
            if rotation.rewrapped == before {
                return Err(RotateError::Unfinished);
            }
        }
        self.remains.note();
        Ok(rotation)
    }

    /// From here on new keys are wrapped with `next`; only `present` gives way to it.
    async fn put_in_force(&self, present: &MasterKeyId, next: &MasterKeyId) -> Result<(), RotateError> {
        let argument = json!({ "master_key": next }).to_string();
        let turn = self.beside.turn().await;
        let in_force = turn.transaction_on_keys(async |connection, dialect, head| {
            if head.master_key == *present {
                connection.run(dialect.set_master_key(), &argument).await?;
                return Ok(next.clone());
            }
            Ok(head.master_key)
        });
        still_in_force(next, in_force.await?)
    }

    /// Whether no key is left that another master key wraps. None comes after that, for whoever writes one looks at the head.
    async fn is_done(&self, rotation: &Rotation) -> Result<bool, RotateError> {
        let argument = json!({ "after": "", "master_key": rotation.master_key }).to_string();
        let turn = self.beside.turn().await;
        let looked = turn.transaction_on_keys(async |connection, dialect, head| {
            let left = connection.texts(dialect.select_keys_of_others(), Some(&argument)).await?;
            Ok((head.master_key, left.is_empty()))
        });
        let (in_force, is_done) = looked.await?;
        still_in_force(&rotation.master_key, in_force)?;
        Ok(is_done)
    }

    /// Wraps the keys after an id anew, as many as one transaction should; answers the last id, `None` when there was none.
    async fn rewrap_some(&self, after: &str, rotation: &mut Rotation) -> Result<Option<String>, RotateError> {
        let argument = json!({ "after": after, "master_key": rotation.master_key }).to_string();
        let select = self.reader.database.dialect().select_keys_of_others();
        let rows = self.reader.database.texts(select, &[Arg::Text(argument)]).await?;
        let mut rewrapped = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in rows {
            let (id, old) = KeyRow::parse(&row)?;
            let new = self.keyring.rewrap(&id, &old, &rotation.master_key)?;
            rewrapped.push(json!({ "id": id.to_string(), "old": old, "new": new }));
            last = Some(id.to_string());
        }
        if last.is_some() {
            let argument = serde_json::Value::from(rewrapped).to_string();
            let turn = self.beside.turn().await;
            let written = turn.transaction_on_keys(async |connection, dialect, head| {
                if head.master_key != rotation.master_key {
                    return Ok((head.master_key, 0));
                }
                Ok((head.master_key, connection.run(dialect.rewrap_keys(), &argument).await?))
            });
            let (in_force, number) = written.await?;
            still_in_force(&rotation.master_key, in_force)?;
            rotation.rewrapped += number;
        }
        Ok(last)
    }
}

fn still_in_force(ours: &MasterKeyId, in_force: MasterKeyId) -> Result<(), RotateError> {
    if in_force == *ours { Ok(()) } else { Err(RotateError::Elsewhere(in_force)) }
}
