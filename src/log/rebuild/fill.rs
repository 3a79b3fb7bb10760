//! Filling new tables: the log is folded batch by batch, and while one batch is written the next is folded.
//!
//! ```text
//! read, open   page page page page page page page page page
//! fold             batch 1     batch 2     batch 3
//! write                        batch 1     batch 2     batch 3
//! ```
//!
//! A fold looks rows up that earlier events have made. Those of the batch that is being written are taken from it; all others are
//! in the tables as they were before it, and stay so meanwhile.

use std::collections::HashSet;

use aggregates::KeyId;
use projections::{FoldError, KeyedHasher, ReadModels, Table};

use super::super::connection::WriteConnection;
use super::super::dialect::Dialect;
use super::super::group::{Amount, RowStatements, blames_the_data, load_missing, row_statements};
use super::super::head::Layout;
use super::super::history::{EventSource, History, OpenedEvent, OpenedPage, PAGE_EVENTS, is_full};
use super::turns::Turns;
use super::{Pace, Progress, Rebuild, RebuildError, Setback};

/// Rows are written in one transaction when so many events have been folded: what a row went through meanwhile is written once.
const BATCH_EVENTS: i64 = 10_000;
/// The same beside a service.
const BATCH_EVENTS_IN_TURNS: i64 = PAGE_EVENTS as i64;

/// What events have made of the rows they touch.
struct Batch {
    models: ReadModels,
    /// Position of the last event.
    up_to: i64,
}

impl Rebuild<'_> {
    /// Folds what there is but for a last stretch, beside whoever writes more.
    pub(super) async fn catch_up(&mut self) -> Result<(), Setback> {
        let source = EventSource::open(self.target).await?;
        let history = History::read(source, self.keyring.clone(), self.checkpoint);
        let mut lookups = self.target.connect().await?;
        if self.company.gate.is_none() {
            lookups.keep_more_pages().await?;
        }
        let empty = self.empty_batch();
        let batch_events = match self.company.pace {
            Pace::Alone => BATCH_EVENTS,
            Pace::InTurns => BATCH_EVENTS_IN_TURNS,
        };
        let (dialect, hasher, layout, opened) = (self.dialect, self.hasher, &self.layout, &mut self.opened);
        let erased_rows = self.company.gate.is_none().then_some(&mut self.erased_rows);
        let mut folding =
            Folding { history, lookups, dialect, hasher, layout, opened, erased_rows, empty, batch_events };
        let mut folded = folding.next(&ReadModels::default()).await?;
        while let Some(mut batch) = folded {
            let statements = row_statements(dialect, &mut batch.models, layout, Amount::Many);
            folded = match self.company.pace {
                Pace::Alone => {
                    let writing = write_in_a_transaction(&mut self.connection, statements);
                    let (written, next) = tokio::join!(writing, folding.next(&batch.models));
                    written?;
                    next?
                }
                Pace::InTurns => {
                    write_in_turns(&mut self.turns, &mut self.connection, statements).await?;
                    folding.next(&ReadModels::default()).await?
                }
            };
            self.checkpoint = batch.up_to;
            (self.company.report)(Progress { position: batch.up_to, head: self.began_at.max(batch.up_to) });
        }
        folding.lookups.close().await;
        Ok(())
    }

    pub(super) fn empty_batch(&self) -> ReadModels {
        let live = self.tables.iter().map(|table| table.name).filter(|name| !self.layout.is_aside(name));
        ReadModels::only(&live.collect::<Vec<_>>())
    }
}

/// The log on its way into batches.
struct Folding<'a> {
    history: History,
    /// Reads rows that were written earlier.
    lookups: WriteConnection,
    dialect: Dialect,
    hasher: &'a KeyedHasher,
    layout: &'a Layout,
    opened: &'a mut HashSet<KeyId>,
    /// Where the rows of erased users are deleted later, once there is an index to find them by.
    erased_rows: Option<&'a mut Vec<(&'static Table, String)>>,
    empty: ReadModels,
    batch_events: i64,
}

impl Folding<'_> {
    /// The next batch; `None` when less than a page is left. `being_written` is the batch before it.
    async fn next(&mut self, being_written: &ReadModels) -> Result<Option<Batch>, Setback> {
        let mut batch: Option<Batch> = None;
        let mut events = 0;
        while events < self.batch_events
            && let Some(page) = self.history.next().await
        {
            let page = page?;
            let Some(last) = page.events.last().filter(|_| is_full(page.events.len())) else { break };
            notice_erasures(self.opened, &page)?;
            let batch = batch.get_or_insert_with(|| Batch { models: self.empty.clone(), up_to: 0 });
            for event in &page.events {
                batch.models.need(&event.recorded(), self.hasher);
            }
            batch.models.supply_from(being_written);
            if let Some(erased_rows) = &mut self.erased_rows {
                for rows in batch.models.tables() {
                    erased_rows.extend(rows.give_up_owners().map(|owners| (rows.table(), owners)));
                }
            }
            load_missing(&mut self.lookups, self.dialect, &mut batch.models, self.layout).await?;
            fold(&mut batch.models, &page.events, self.hasher)?;
            batch.up_to = last.position;
            events += i64::try_from(page.events.len()).unwrap_or(i64::MAX);
            // Whoever writes the batch before is polled by the same task.
            tokio::task::yield_now().await;
        }
        Ok(batch)
    }
}

/// A key must not go half-way: what earlier pages made of its values, a later event could no longer take away.
pub(super) fn notice_erasures(opened: &mut HashSet<KeyId>, page: &OpenedPage) -> Result<(), Setback> {
    if let Some(erased) = page.erased.iter().find(|id| opened.contains(id)) {
        return Err(Setback::Erased(erased.clone()));
    }
    opened.extend(page.opened.iter().cloned());
    Ok(())
}

/// Folds events into rows that have been loaded.
pub(super) fn fold(models: &mut ReadModels, events: &[OpenedEvent], hasher: &KeyedHasher) -> Result<(), Setback> {
    for event in events {
        models.fold(&[event.recorded()], hasher).map_err(|error| match error {
            FoldError::Audit { .. } => Setback::Audit(error.to_string()),
            FoldError::Claimed(_) | FoldError::Broken { .. } => Setback::Failed(RebuildError::Fold(error)),
        })?;
    }
    Ok(())
}

async fn write_in_a_transaction(connection: &mut WriteConnection, statements: RowStatements) -> Result<(), Setback> {
    connection.begin().await?;
    write(connection, statements).await?;
    connection.commit().await?;
    Ok(())
}

/// Nobody looks at the new tables yet: rows of one batch need not come at once.
async fn write_in_turns(
    turns: &mut Turns<'_>,
    connection: &mut WriteConnection,
    statements: RowStatements,
) -> Result<(), Setback> {
    let of_audit = turns.pieces(statements.audit).into_iter().map(|piece| (Vec::new(), vec![piece]));
    let of_others = turns.pieces(statements.rows).into_iter().map(|piece| (vec![piece], Vec::new()));
    for (rows, audit) in of_others.chain(of_audit).collect::<Vec<_>>() {
        let piece = RowStatements { rows, audit };
        turns.take(connection, async |connection| write_in_a_transaction(connection, piece).await).await?;
    }
    Ok(())
}

/// Writes rows into the new tables, within the transaction that is open.
pub(super) async fn write(connection: &mut WriteConnection, statements: RowStatements) -> Result<(), Setback> {
    connection.run_all(statements.rows).await?;
    let audit = connection.run_all(statements.audit).await;
    audit.map_err(|error| if blames_the_data(&error) { Setback::Audit(error.to_string()) } else { error.into() })
}
