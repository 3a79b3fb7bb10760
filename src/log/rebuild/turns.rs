//! Beside a service a rebuild works in small steps: it lets others write between them, and rests after each.

use std::time::Instant;

use tokio::sync::MutexGuard;

use super::Company;
use crate::log::connection::{Arguments, Statement, WriteConnection};

/// Rows that are written or deleted at once on SQLite, where others wait meanwhile: about a millisecond.
pub(super) const ROWS_IN_TURNS: usize = 50;
/// A rebuild rests so many times as long as it has worked.
const RESTS: u32 = 2;
/// SQLite's write-ahead file is moved into the database after so many turns, before the log writer would have to do it.
const TURNS_BETWEEN_CHECKPOINTS: u32 = 16;

pub(super) struct Turns<'a> {
    company: Company<'a>,
    taken: u32,
    /// Since when it has worked, without the waiting for others.
    working_since: Instant,
}

impl<'a> Turns<'a> {
    pub(super) fn begin(company: Company<'a>) -> Self {
        Self { company, taken: 0, working_since: Instant::now() }
    }

    /// Does a small piece of work, while no one else on SQLite can write; then rests.
    pub(super) async fn take<T, E: From<sqlx::Error>>(
        &mut self,
        connection: &mut WriteConnection,
        work: impl AsyncFnOnce(&mut WriteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let turn = self.turn().await;
        let done = work(connection).await?;
        drop(turn);
        self.taken += 1;
        if self.taken.is_multiple_of(TURNS_BETWEEN_CHECKPOINTS) {
            // Most of it while others write; then, in a turn, the little that they wrote meanwhile: a write-ahead file that has been
            // moved to its last page is begun anew.
            connection.move_write_ahead_pages().await?;
            let _turn = self.turn().await;
            connection.move_write_ahead_pages().await?;
        }
        tokio::time::sleep(self.working_since.elapsed() * RESTS).await;
        self.working_since = Instant::now();
        Ok(done)
    }

    async fn turn(&mut self) -> Option<MutexGuard<'a, ()>> {
        let asked_at = Instant::now();
        let turn = self.company.turn().await;
        self.working_since += asked_at.elapsed();
        turn
    }

    /// Statements as they fit into turns.
    pub(super) fn pieces(&self, statements: Vec<Statement>) -> Vec<Statement> {
        if self.company.gate.is_none() {
            return statements;
        }
        let mut pieces = Vec::new();
        for Statement { sql, arguments } in statements {
            match arguments {
                Arguments::Rows(rows) => pieces.extend(
                    rows.chunks(ROWS_IN_TURNS)
                        .map(|rows| Statement { sql: sql.clone(), arguments: Arguments::Rows(rows.to_vec()) }),
                ),
                other => pieces.push(Statement { sql, arguments: other }),
            }
        }
        pieces
    }
}
