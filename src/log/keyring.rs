//! The keys of persons, months and the instance: wrapped in the database, a bounded number of them unwrapped in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::{KeyId, KeyIdError};
use serde::Deserialize;

use super::codec::Keys;
use super::database::{Arg, Database};
use crate::keys::{Key, MasterKey, OpenError};

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
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

#[derive(Deserialize)]
struct KeyRow {
    id: String,
    wrapped: String,
}

/// Wraps, unwraps and finds keys.
#[derive(Clone, Debug)]
pub struct Keyring {
    master: Arc<MasterKey>,
    database: Database,
    unwrapped: Arc<Mutex<HashMap<KeyId, Key>>>,
}

impl Keyring {
    pub fn new(master: MasterKey, database: Database) -> Self {
        Self { master: Arc::new(master), database, unwrapped: Arc::default() }
    }

    /// A new key and the text that the database keeps of it.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn make(&self, id: &KeyId) -> Result<(Key, String), getrandom::Error> {
        let key = Key::random()?;
        let wrapped = self.master.wrap(id, &key)?;
        Ok((key, wrapped))
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
            let row: KeyRow = serde_json::from_str(&row).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let id: KeyId = row.id.parse().map_err(|error: KeyIdError| sqlx::Error::Decode(error.into()))?;
            match self.master.unwrap_key(&id, &row.wrapped) {
                Ok(key) => drop(keys.insert(id, key)),
                Err(source) => return Err(KeyringError::Unwrap { id, source }),
            }
        }
        Ok(keys)
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
