//! The keys of persons, months and the instance: wrapped in the database, a bounded number of them unwrapped in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aggregates::{KeyId, KeyIdError};
use serde::{Deserialize, Serialize};

use super::codec::Keys;
use super::database::{Arg, Database};
use crate::keys::{Key, MasterKey, MasterKeyError, MasterKeyId, MasterKeys, OpenError};

/// So many unwrapped keys are kept in memory before all are forgotten and read anew.
const CACHED_KEYS: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(
        "the key {id} does not open with this master key; the master key is not the one of this log, or the key is damaged"
    )]
    Unwrap { id: KeyId, source: OpenError },
    #[error("the master key {wanted} is not at hand, only {known}: {remedy} (see `authlog keys status`)")]
    UnknownMaster { wanted: MasterKeyId, known: String, remedy: String },
    #[error(transparent)]
    Master(#[from] MasterKeyError),
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// A key as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    pub id: String,
    pub wrapped: String,
}

impl KeyRow {
    pub(super) fn parse(text: &str) -> sqlx::Result<(KeyId, String)> {
        let row: Self = serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let id = row.id.parse().map_err(|error: KeyIdError| sqlx::Error::Decode(error.into()))?;
        Ok((id, row.wrapped))
    }
}

/// Wraps, unwraps and finds keys.
#[derive(Clone, Debug)]
pub struct Keyring {
    masters: Arc<RwLock<Masters>>,
    database: Database,
    unwrapped: Arc<Mutex<HashMap<KeyId, Key>>>,
}

#[derive(Debug)]
struct Masters {
    keys: MasterKeys,
    /// The one that new keys are wrapped with.
    in_force: MasterKeyId,
}

impl Masters {
    /// Looks again at what is there when a key is not known: somebody may have put it there since.
    fn find(&mut self, id: &MasterKeyId) -> Result<MasterKey, KeyringError> {
        if self.keys.get(id).is_none() {
            self.keys.reload()?;
        }
        self.keys.get(id).cloned().ok_or_else(|| KeyringError::unknown_master(&self.keys, id))
    }
}

impl KeyringError {
    /// That of these master keys none is `wanted`, and where it is.
    pub fn unknown_master(keys: &MasterKeys, wanted: &MasterKeyId) -> Self {
        let known = [Some(keys.present()), keys.next()].into_iter().flatten();
        let known = known.map(MasterKeyId::as_str).collect::<Vec<_>>().join(" and ");
        Self::UnknownMaster { wanted: wanted.clone(), known, remedy: keys.where_to_find(wanted) }
    }
}

impl Keyring {
    pub fn new(keys: MasterKeys, database: Database) -> Self {
        let in_force = keys.present().clone();
        let masters = Arc::new(RwLock::new(Masters { keys, in_force }));
        Self { masters, database, unwrapped: Arc::default() }
    }

    /// A new key and the text that the database keeps of it, wrapped with the master key in force.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn make(&self, id: &KeyId) -> Result<(Key, String), KeyringError> {
        let key = Key::random()?;
        let mut masters = self.masters.write().unwrap_or_else(PoisonError::into_inner);
        let in_force = masters.in_force.clone();
        let wrapped = masters.find(&in_force)?.wrap(id, &key)?;
        Ok((key, wrapped))
    }

    /// The master key that new keys are wrapped with.
    pub fn in_force(&self) -> MasterKeyId {
        self.masters.read().unwrap_or_else(PoisonError::into_inner).in_force.clone()
    }

    /// Wraps new keys with this master key from now on.
    ///
    /// # Errors
    /// [`KeyringError::UnknownMaster`] when it is not at hand.
    pub fn use_master(&self, id: &MasterKeyId) -> Result<(), KeyringError> {
        let mut masters = self.masters.write().unwrap_or_else(PoisonError::into_inner);
        masters.find(id)?;
        masters.in_force = id.clone();
        Ok(())
    }

    /// The present master key, and the one that is to take its place if it is there by now.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn masters(&self) -> Result<(MasterKeyId, Option<MasterKeyId>), KeyringError> {
        let mut masters = self.masters.write().unwrap_or_else(PoisonError::into_inner);
        masters.keys.reload()?;
        Ok((masters.keys.present().clone(), masters.keys.next().cloned()))
    }

    pub(super) fn master(&self, id: &MasterKeyId) -> Result<MasterKey, KeyringError> {
        let known = self.masters.read().unwrap_or_else(PoisonError::into_inner).keys.get(id).cloned();
        match known {
            Some(master) => Ok(master),
            None => self.masters.write().unwrap_or_else(PoisonError::into_inner).find(id),
        }
    }

    pub(super) fn unwrap_key(&self, id: &KeyId, wrapped: &str) -> Result<Key, KeyringError> {
        let master = self.master(&MasterKeyId::of_wrapped(wrapped))?;
        master.unwrap_key(id, wrapped).map_err(|source| KeyringError::Unwrap { id: id.clone(), source })
    }

    /// Wraps a key anew, with this master key.
    pub(super) fn rewrap(&self, id: &KeyId, wrapped: &str, master: &MasterKeyId) -> Result<String, KeyringError> {
        let key = self.unwrap_key(id, wrapped)?;
        Ok(self.master(master)?.wrap(id, &key)?)
    }

    /// The keys with these ids; one that was destroyed is left out.
    ///
    /// # Errors
    /// When the database fails or a key does not open.
    pub async fn find(&self, ids: &[KeyId]) -> Result<Keys, KeyringError> {
        let mut found = Keys::new();
        let mut unknown = Vec::new();
        for id in ids {
            match self.cached(id) {
                Some(key) => drop(found.insert(id.clone(), key)),
                None => unknown.push(id.clone()),
            }
        }
        if !unknown.is_empty() {
            for (id, key) in self.read_all(&unknown).await? {
                self.remember(id.clone(), key.clone());
                found.insert(id, key);
            }
        }
        Ok(found)
    }

    /// Reads and unwraps one key from the database, past the memory.
    ///
    /// # Errors
    /// When the database fails or the key does not open.
    pub async fn read(&self, id: &KeyId) -> Result<Option<Key>, KeyringError> {
        Ok(self.read_all(std::slice::from_ref(id)).await?.remove(id))
    }

    /// The same for many at once; one that was destroyed is left out.
    ///
    /// # Errors
    /// When the database fails or a key does not open.
    pub async fn read_all(&self, ids: &[KeyId]) -> Result<Keys, KeyringError> {
        let asked = ids.iter().map(ToString::to_string).collect::<serde_json::Value>().to_string();
        let rows = self.database.texts(self.database.dialect().select_keys(), &[Arg::Text(asked)]).await?;
        let mut keys = Keys::with_capacity(rows.len());
        for row in rows {
            let (id, wrapped) = KeyRow::parse(&row)?;
            let key = self.unwrap_key(&id, &wrapped)?;
            keys.insert(id, key);
        }
        Ok(keys)
    }

    /// How often keys have been destroyed so far: what was read before counts for as long as this stays the same.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn destructions(&self) -> sqlx::Result<i64> {
        let rows = self.database.texts("SELECT CAST(key_destructions AS TEXT) FROM log_head", &[]).await?;
        rows.first().and_then(|number| number.parse().ok()).ok_or(sqlx::Error::RowNotFound)
    }

    /// Keeps a key in memory that has just been committed.
    pub fn remember(&self, id: KeyId, key: Key) {
        // The instance key is always read anew, so that damage to it is noticed when it is used.
        if id == KeyId::Instance {
            return;
        }
        let mut unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        if unwrapped.len() >= CACHED_KEYS {
            unwrapped.clear();
        }
        unwrapped.insert(id, key);
    }

    /// Forgets a key that has been destroyed.
    pub fn forget(&self, id: &KeyId) {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn cached(&self, id: &KeyId) -> Option<Key> {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aggregates::UserId;
    use uuid::Uuid;

    use super::*;
    use crate::keys::MasterKeySource;

    #[tokio::test]
    async fn however_many_keys_are_unwrapped_so_many_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let keys = MasterKeys::load(&MasterKeySource::File(folder.path().join("master.key")), true).unwrap();
        let keyring = Keyring::new(keys, Database::sqlite(&folder.path().join("authlog.db"), 1));
        let id = |number: usize| KeyId::Person(UserId(Uuid::from_u128(number as u128)));
        for number in 0..CACHED_KEYS * 2 + 7 {
            keyring.remember(id(number), Key::random().unwrap());
            assert!(keyring.unwrapped.lock().unwrap().len() <= CACHED_KEYS);
        }
        assert!(keyring.cached(&id(CACHED_KEYS * 2 + 6)).is_some());
    }
}
