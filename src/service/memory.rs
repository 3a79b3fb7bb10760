//! Sessions, users and API tokens in memory.
//!
//! Read your writes (P4) holds because the log writer tells the memory of a commit before it answers whoever asked for it, and
//! because [`Nodes`](crate::log::Nodes) tells it of what other nodes commit, or takes its word away:
//!
//! ```text
//! writer    COMMIT ── memory forgets session S ── answer "revoked"
//! caller                                                    next call with S: not in memory, row read: gone
//! ```
//!
//! A row that is read while a commit changes it must not be kept as it was. So whoever misses first leaves a mark, then reads,
//! and keeps the row only if the mark is still there; a commit takes away marks as well as rows.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aggregates::{ApiTokenId, SessionId, StreamId, TokenHash, UserId};
use projections::{ApiTokenRow, IdentityProviderRow, ReadModels, SessionRow, UserRow};
use uuid::Uuid;

use crate::log::{CommitObserver, Head, NodeMemory};

/// Rows of one kind that are kept at most; then a shard forgets all of its own and reads anew.
pub const REMEMBERED_ROWS: usize = 16_384;
const SHARDS: usize = 32;

/// The row of a session or an API token, and when that was last used, in Unix seconds.
#[derive(Debug)]
pub struct Used<R> {
    pub row: R,
    pub last_seen: AtomicI64,
}

/// The rows that session checks need.
#[derive(Debug, Default)]
pub struct Memory {
    /// Which session a token is of never changes.
    pub session_ids: Shelf<TokenHash, SessionId>,
    pub sessions: Shelf<SessionId, Used<SessionRow>>,
    pub token_ids: Shelf<TokenHash, ApiTokenId>,
    pub tokens: Shelf<ApiTokenId, Used<ApiTokenRow>>,
    pub users: Shelf<UserId, UserRow>,
    pub provider: Shelf<(), IdentityProviderRow>,
}

#[derive(Debug)]
enum Slot<V> {
    /// Somebody reads the row; the number tells whose mark it is.
    Reading(u64),
    Row(Arc<V>),
}

/// Rows by key, in shards with a lock each.
#[derive(Debug)]
pub struct Shelf<K, V> {
    shards: Vec<RwLock<HashMap<K, Slot<V>>>>,
    hasher: RandomState,
    marks: AtomicU64,
}

/// The right to keep a row that is being read.
#[derive(Debug)]
pub struct Mark(u64);

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            marks: AtomicU64::new(0),
        }
    }
}

impl<K: Hash + Eq + Clone, V> Shelf<K, V> {
    #[expect(clippy::cast_possible_truncation, reason = "only the shard's number is wanted")]
    fn shard(&self, key: &K) -> &RwLock<HashMap<K, Slot<V>>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        match self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key) {
            Some(Slot::Row(row)) => Some(Arc::clone(row)),
            Some(Slot::Reading(_)) | None => None,
        }
    }

    /// To be called before the row is read.
    pub fn mark(&self, key: &K) -> Mark {
        let mark = self.marks.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= REMEMBERED_ROWS / SHARDS {
            shard.clear();
        }
        shard.insert(key.clone(), Slot::Reading(mark));
        Mark(mark)
    }

    /// Keeps the row that was read since, unless it changed or somebody else began to read it.
    pub fn keep(&self, key: &K, mark: &Mark, row: &Arc<V>) {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shard.get_mut(key)
            && matches!(slot, Slot::Reading(present) if *present == mark.0)
        {
            *slot = Slot::Row(Arc::clone(row));
        }
    }

    /// Takes back a mark when there was no row to keep, so that unknown keys take no room.
    pub fn drop_mark(&self, key: &K, mark: &Mark) {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if matches!(shard.get(key), Some(Slot::Reading(present)) if *present == mark.0) {
            shard.remove(key);
        }
    }

    pub fn forget(&self, key: &K) {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub fn forget_all(&self) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

impl Memory {
    /// Whether a row of this stream may be kept.
    pub fn may_hold(stream: &StreamId) -> bool {
        matches!(stream.aggregate_type, "session" | "user" | "api_token") || *stream == StreamId::identity_provider()
    }
}

impl CommitObserver for Memory {
    fn committed(&self, models: &ReadModels, _: &Head) {
        for row in models.sessions.upserts().into_iter().chain(models.sessions.deleted()) {
            self.sessions.forget(&row.id);
        }
        for row in models.api_tokens.upserts().into_iter().chain(models.api_tokens.deleted()) {
            self.tokens.forget(&row.id);
        }
        for row in models.users.upserts().into_iter().chain(models.users.deleted()) {
            self.users.forget(&row.id);
        }
        if !models.identity_provider.upserts().is_empty() {
            self.provider.forget(&());
        }
    }
}

/// What an event changes of these rows lies in the row of its own stream; that of a user or of the provider says so to sessions
/// and tokens by its epochs.
impl NodeMemory for Memory {
    fn moved(&self, stream: &StreamId) {
        let Ok(id) = stream.aggregate_id.parse::<Uuid>() else {
            self.provider.forget(&());
            return;
        };
        match stream.aggregate_type {
            "session" => self.sessions.forget(&SessionId(id)),
            "api_token" => self.tokens.forget(&ApiTokenId(id)),
            "user" => self.users.forget(&UserId(id)),
            _ => {}
        }
    }

    fn forget_all(&self) {
        self.sessions.forget_all();
        self.tokens.forget_all();
        self.users.forget_all();
        self.provider.forget_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn however_many_rows_are_read_so_many_are_remembered() {
        let shelf = Shelf::<usize, usize>::default();
        for number in 0..REMEMBERED_ROWS * 3 {
            let mark = shelf.mark(&number);
            shelf.keep(&number, &mark, &Arc::new(number));
        }
        let kept: usize = shelf.shards.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!(kept <= REMEMBERED_ROWS, "{kept}");
        assert_eq!(shelf.get(&(REMEMBERED_ROWS * 3 - 1)).as_deref(), Some(&(REMEMBERED_ROWS * 3 - 1)));
    }
}
