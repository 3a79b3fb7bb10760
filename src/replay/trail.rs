//! The audit trail, folded from the log and not read from its read model: it is whole whatever state that is in.

use std::collections::{BTreeSet, HashMap};

use aggregates::{UnixSeconds, UserId};
use projections::{AuditRow, Key, KeyedHasher, ReadModels, Recorded};

use super::{ReplayError, State};
use crate::log::EventRecord;
use crate::log::history::{HistoryError, OpenedEvent};
use crate::log::past::Past;
use crate::service::audit::AuditEntry;

/// So many addresses of actors are kept before all are forgotten and looked up anew.
const KNOWN_ACTORS: usize = 10_000;

/// The entries of the events that follow the position `after`. No key is needed: entries hold no personal data.
///
/// # Errors
/// [`ReplayError::Missing`] where a position is left out; when an event cannot be read or folded.
pub fn entries(after: i64, records: &[EventRecord], hasher: &KeyedHasher) -> Result<Vec<AuditRow>, ReplayError> {
    let mut models = ReadModels::only(&["audit"]);
    for (record, position) in records.iter().zip(after + 1..) {
        if record.position != position {
            return Err(ReplayError::Missing { position, last: record.position });
        }
        let sealed = record.clone().decode().map_err(HistoryError::from)?;
        let recorded = Recorded {
            position,
            recorded_at_micros: record.recorded_at,
            stream: &sealed.stream,
            sequence: sealed.sequence,
            event: &sealed.event,
            metadata: &sealed.metadata,
        };
        models.fold(std::slice::from_ref(&recorded), hasher)?;
    }
    Ok(models.audit.upserts().into_iter().cloned().collect())
}

/// The trail from some position on, page by page, with the actors' present addresses.
pub struct Trail<'a> {
    past: &'a Past,
    after: i64,
    /// `None` for somebody who is gone.
    addresses: HashMap<UserId, Option<String>>,
}

impl<'a> Trail<'a> {
    /// The trail after a position.
    pub fn after(past: &'a Past, position: i64) -> Self {
        Self { past, after: position, addresses: HashMap::new() }
    }

    /// The position of the last entry that was given out.
    pub fn position(&self) -> i64 {
        self.after
    }

    /// The entries that follow; none where the log ends.
    ///
    /// # Errors
    /// When the log cannot be read or folded, or lacks a position.
    pub async fn next(&mut self) -> Result<Vec<AuditEntry>, ReplayError> {
        let records = self.past.records(self.after).await?;
        let rows = entries(self.after, &records, self.past.hasher())?;
        self.look_up_actors(&rows).await?;
        self.after = rows.last().map_or(self.after, |row| row.id);
        let with_actor = |row: AuditRow| {
            let actor_email = row.actor_id.and_then(|actor| self.addresses.get(&actor).cloned().flatten());
            AuditEntry { row, actor_email }
        };
        Ok(rows.into_iter().map(with_actor).collect())
    }

    async fn look_up_actors(&mut self, rows: &[AuditRow]) -> Result<(), ReplayError> {
        // Whoever has been erased since must not be named from memory.
        for row in rows.iter().filter(|row| row.resource_type == "user") {
            if let Some(user) = row.resource_id.as_ref().and_then(|id| id.parse().ok()) {
                self.addresses.remove(&user);
            }
        }
        if self.addresses.len() > KNOWN_ACTORS {
            self.addresses.clear();
        }
        let actors: BTreeSet<UserId> = rows.iter().filter_map(|row| row.actor_id).collect();
        let unknown: Vec<UserId> = actors.into_iter().filter(|actor| !self.addresses.contains_key(actor)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let events = self.past.users(&unknown).await?;
        let events: Vec<Recorded<'_>> = events.iter().map(OpenedEvent::recorded).collect();
        let mut state = State::of_users(UnixSeconds(0));
        state.fold(&events, self.past.hasher())?;
        for user in unknown {
            let row = state.models.users.get(&Key::Id(user.0));
            self.addresses.insert(user, row.map(|row| row.address.clone()));
        }
        Ok(())
    }
}
