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

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Log;
use super::database::{Arg, Database};
use super::keyring::{KeyRow, KeyringError};
use crate::keys::MasterKeyId;

/// The master key was not exchanged, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error("there is no next master key: `authlog keys rotate --prepare` makes one")]
    NoNextKey,
    #[error("a master key is being exchanged already; wait until that has ended")]
    Busy,
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
        let _only_one = self.rotating.try_lock().map_err(|_| RotateError::Busy)?;
        let next = self.keyring.next_master()?.ok_or(RotateError::NoNextKey)?;
        let argument = json!({ "master_key": next }).to_string();
        let turn = self.beside.turn().await;
        let put_in_force = async |connection: &mut super::connection::WriteConnection,
                                  dialect: super::dialect::Dialect| {
            connection.run(dialect.set_master_key(), &argument).await
        };
        turn.transaction(put_in_force).await?;
        self.keyring.use_master(&next)?;

        let counts = count_keys(&self.reader.database).await?;
        let of = counts.iter().filter(|count| count.master_key != next).map(|count| count.keys).sum();
        let mut rotation = Rotation { master_key: next, rewrapped: 0, of };
        let mut after = String::new();
        while let Some(last) = self.rewrap_some(&after, &mut rotation).await? {
            after = last;
            report(rotation.clone());
        }
        self.remains.note();
        Ok(rotation)
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
            rotation.rewrapped += turn
                .transaction_on_keys(async |connection, dialect, _| {
                    connection.run(dialect.rewrap_keys(), &argument).await
                })
                .await?;
        }
        Ok(last)
    }
}
