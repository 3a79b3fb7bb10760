//! Ridding the database of what was deleted.
//!
//! Tables that are not in force are dropped. On SQLite a deleted row is overwritten (`secure_delete`), and so is what moved rows
//! have left in the pages ([`pages`]). The write-ahead file still holds the pages as they were, until it is moved into the database
//! and cut to nothing. All this is done here, after every destroyed key and every rebuild. It has to wait for a rebuild that is going
//! on, whose tables may hold anybody, and for whoever still reads an older state, a backup for example; then it is tried again.

mod pages;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use super::Log;
use super::connection::{WriteConnection, WriteTarget};
use super::rebuild::{Company, drop_leftovers};
use super::sqlite::SqliteThread;

/// Whether the database may hold what was deleted. At first it may: nobody knows how the process before has ended.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    noted: Arc<AtomicBool>,
    /// Held by whoever wipes: an answer must not come before the work of another is done.
    wiping: Arc<Mutex<()>>,
    /// Held by whoever makes or drops sets of tables.
    sets: Arc<Mutex<()>>,
}

impl Default for Remains {
    fn default() -> Self {
        Self { noted: Arc::new(AtomicBool::new(true)), wiping: Arc::default(), sets: Arc::default() }
    }
}

impl Remains {
    pub(super) fn note(&self) {
        self.noted.store(true, Ordering::SeqCst);
    }

    /// Keeps sets of tables that are not in force from being dropped.
    pub(super) async fn keep_sets(&self) -> MutexGuard<'_, ()> {
        self.sets.lock().await
    }

    /// What is deleted from now on is noted anew.
    fn taken_up(&self) -> Option<TakenUp<'_>> {
        self.noted.swap(false, Ordering::SeqCst).then_some(TakenUp { remains: self, done: false })
    }
}

/// Remains that are being wiped. Unless that comes to its end they are noted again.
struct TakenUp<'a> {
    remains: &'a Remains,
    done: bool,
}

impl Drop for TakenUp<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.remains.note();
        }
    }
}

impl Log {
    /// Rids the database of what was deleted, if there is anything; answers whether nothing is left. What PostgreSQL itself keeps for
    /// a while is up to the server.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wipe_remains(&self) -> sqlx::Result<bool> {
        let _one_at_a_time = self.remains.wiping.lock().await;
        let Some(mut taken_up) = self.remains.taken_up() else { return Ok(true) };
        let dropped = self.drop_leftovers().await?;
        let emptied = match self.beside.target() {
            WriteTarget::Postgres(_) => true,
            WriteTarget::Sqlite(file) => {
                let thread = SqliteThread::open(file).await?;
                let overwritten = self.overwrite_room(&thread).await;
                thread.close().await;
                let overwritten = overwritten?;
                let turn = self.beside.turn().await;
                turn.outside_of_a_transaction(WriteConnection::empty_write_ahead_file).await? && overwritten
            }
        };
        taken_up.done = dropped && emptied;
        Ok(taken_up.done)
    }

    async fn drop_leftovers(&self) -> sqlx::Result<bool> {
        let Ok(_nobody_fills_any) = self.remains.sets.try_lock() else { return Ok(false) };
        drop_leftovers(Company::beside(self.beside.gate()), self.beside.target()).await
    }

    /// Overwrites what moved rows have left; answers whether it could.
    async fn overwrite_room(&self, thread: &SqliteThread) -> sqlx::Result<bool> {
        if !thread.call(pages::are_told_apart).await? {
            tracing::error!("the database is too large to be rid of what erased rows have left in it; VACUUM does it");
            return Ok(false);
        }
        for some in thread.call(pages::of_trees).await?.chunks(pages::PAGES_AT_ONCE) {
            let some = some.to_vec();
            let dirty = thread.call(move |connection| pages::with_remains(connection, &some)).await?;
            if !dirty.is_empty() {
                let _turn = match self.beside.gate() {
                    Some(gate) => Some(gate.lock().await),
                    None => None,
                };
                thread.call(move |connection| pages::overwrite(connection, &dirty)).await?;
            }
        }
        Ok(true)
    }
}
