//! Writing to tables that are not folded from the log: pending requests, keys of months, times of last use.
//!
//! Architecture invariant: nothing written here is a decision. Losing all of it loses no fact, only sign-ins under way.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::connection::{WriteConnection, WriteTarget};
use super::dialect::Dialect;
use super::head::Head;

/// One connection of its own. On SQLite it takes turns with the log writer by way of a gate instead of waiting busily.
#[derive(Clone)]
pub(super) struct Beside {
    target: Arc<WriteTarget>,
    gate: Arc<Mutex<()>>,
    connection: Arc<Mutex<Option<WriteConnection>>>,
}

/// The connection, and the right to write with it.
pub(super) struct Turn<'a> {
    slot: MutexGuard<'a, Option<WriteConnection>>,
    _gate: Option<MutexGuard<'a, ()>>,
    target: &'a WriteTarget,
}

impl Beside {
    pub(super) fn new(target: WriteTarget, gate: Arc<Mutex<()>>) -> Self {
        Self { target: Arc::new(target), gate, connection: Arc::default() }
    }

    /// Waits for the log writer to be between two groups: it lets everybody know of a commit before.
    pub(super) async fn settled(&self) {
        if let Some(gate) = self.gate() {
            drop(gate.lock().await);
        }
    }

    pub(super) fn target(&self) -> &WriteTarget {
        &self.target
    }

    /// What the log writer takes turns by, where only one may write.
    pub(super) fn gate(&self) -> Option<&Mutex<()>> {
        (self.target.dialect() == Dialect::Sqlite).then_some(&*self.gate)
    }

    pub(super) async fn turn(&self) -> Turn<'_> {
        let slot = self.connection.lock().await;
        let gate = match self.target.dialect() {
            Dialect::Sqlite => Some(self.gate.lock().await),
            Dialect::Postgres => None,
        };
        Turn { slot, _gate: gate, target: &self.target }
    }
}

impl Turn<'_> {
    /// Runs `work`, which must leave no transaction behind.
    pub(super) async fn outside_of_a_transaction<T>(
        mut self,
        work: impl AsyncFnOnce(&mut WriteConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let mut connection = match self.slot.take() {
            Some(connection) => connection,
            None => self.target.connect().await?,
        };
        let answer = work(&mut connection).await?;
        *self.slot = Some(connection);
        Ok(answer)
    }

    /// Runs `work` in a transaction. After an error the connection is dropped, and with it what was begun.
    pub(super) async fn transaction<T>(
        mut self,
        work: impl AsyncFnOnce(&mut WriteConnection, Dialect) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        // Taken out: should this future be dropped half-way, the connection goes with it.
        let mut connection = self.target.begun(self.slot.take()).await?;
        let answer = work(&mut connection, self.target.dialect()).await?;
        connection.commit().await?;
        *self.slot = Some(connection);
        Ok(answer)
    }

    /// The same for whoever writes keys: holding the log's head as the log writer does, so that of two who want the same keys
    /// neither waits for the other for ever.
    pub(super) async fn transaction_on_keys<T>(
        mut self,
        work: impl AsyncFnOnce(&mut WriteConnection, Dialect, Head) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let (mut connection, head) = self.target.begun_with_head(self.slot.take()).await?;
        let answer = work(&mut connection, self.target.dialect(), head).await?;
        connection.commit().await?;
        *self.slot = Some(connection);
        Ok(answer)
    }
}
