//! The keys of persons, months and the instance: wrapped in the database, a bounded number of them unwrapped in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::KeyId;

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
        for id in ids {
            if found.contains_key(id) {
                continue;
            }
            let cached = self.cached(id);
            let key = match cached {
                Some(key) => Some(key),
                None => self.read(id).await?,
            };
            if let Some(key) = key {
                found.insert(id.clone(), key);
            }
        }
        Ok(found)
    }

    /// Reads and unwraps one key from the database, past the memory.
    ///
    /// # Errors
    /// When the database fails or the key does not open.
    pub async fn read(&self, id: &KeyId) -> Result<Option<Key>, KeyringError> {
        let args = [Arg::Text(id.to_string())];
        let rows = self.database.texts("SELECT wrapped FROM data_keys WHERE id = $1", &args).await?;
        let Some(wrapped) = rows.into_iter().next() else { return Ok(None) };
        let unwrapped = self.master.unwrap_key(id, &wrapped);
        let key = unwrapped.map_err(|source| KeyringError::Unwrap { id: id.clone(), source })?;
        self.remember(id.clone(), key.clone());
        Ok(Some(key))
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
