//! Ridding the files of a SQLite database of what was deleted.
//!
//! The database file is overwritten where something is deleted (`secure_delete`). The write-ahead file still holds the pages as
//! they were, until it is moved into the database and cut to nothing: that is done here, after every destroyed key. It has to
//! wait for whoever still reads an older state, a backup for example; then it is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Log;
use super::connection::WriteConnection;

/// Whether the files may hold what was deleted. At first they may: nobody knows how the process before has ended.
#[derive(Clone, Debug)]
pub(super) struct Remains(Arc<AtomicBool>);

impl Default for Remains {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Remains {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Log {
    /// Rids the files of what was deleted, if there is anything; answers whether nothing is left. Always true on PostgreSQL, where
    /// it is up to the server.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wipe_remains(&self) -> sqlx::Result<bool> {
        if self.beside.gate().is_none() || !self.remains.0.load(Ordering::SeqCst) {
            return Ok(true);
        }
        let turn = self.beside.turn().await;
        // Nobody writes now, so what is deleted later is noted later.
        self.remains.0.store(false, Ordering::SeqCst);
        let outcome = turn.outside_of_a_transaction(WriteConnection::empty_write_ahead_file).await;
        if !matches!(outcome, Ok(true)) {
            self.remains.note();
        }
        outcome
    }
}
