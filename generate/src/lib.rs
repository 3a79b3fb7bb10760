//! Makes up the log of an instance that has run for months: set up, with people who are invited, sign in, sign out, are disabled
//! and erased, with refusals, API tokens and changes of the provider.
//!
//! One seed gives one story. Streams, ids, types, times and clear values are the same each time; keys, and so what is sealed and
//! the hashes over it, are not. A longer log begins with the shorter one of its seed.
//!
//! Architecture invariant: whatever is in such a log the aggregates have decided, and it is written as any unit is: sealed, checked,
//! hashed and folded by `authlog::log`.
//! Architecture invariant: nothing here reads the clock or a random source, but for how long the work took.

mod calendar;
mod chance;
mod deeds;
mod draft;
mod looks;
mod mix;
mod story;
mod world;

use std::collections::{BTreeMap, HashMap};

use aggregates::{KeyId, Role, Status, UnixSeconds};
use authlog::log::fill::{FillError, PastUnit};
use authlog::log::{CodecError, KeyringError, Reader};
use authlog::runtime::{self, RuntimeError};
use authlog::settings::Settings;
use projections::{SessionRow, UserRow};
use tokio::sync::mpsc;

use calendar::Moment;
use chance::Chance;
use draft::Keys;
use world::World;

pub use mix::{ALL, Deed, MIX};

/// A longer log would not end before today.
pub const MOST_EVENTS: i64 = 10_000_000;
/// The seed when none is given.
pub const DEFAULT_SEED: u64 = 1;
/// Events that are written in one transaction, and a few more: a unit stays whole.
const BATCH_EVENTS: usize = 4096;

/// Which log to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The log ends with the unit that the event of this position belongs to.
    pub events: i64,
    pub seed: u64,
}

/// What a log that was made up holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Made {
    pub events: i64,
    /// Of the first and the last event, in Unix seconds.
    pub from: UnixSeconds,
    pub to: UnixSeconds,
    /// Events by their type.
    pub types: BTreeMap<String, i64>,
    /// Users by their status.
    pub users: BTreeMap<&'static str, i64>,
    /// Sessions that had not run out or been ended when the log ends.
    pub sessions: i64,
}

/// A log was not made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("a log has 1 to {MOST_EVENTS} events, not {0}: a longer one would not end before today")]
    Events(i64),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error(transparent)]
    Seal(#[from] CodecError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error("{command} was refused: {reason}")]
    Refused { command: &'static str, reason: String },
    #[error("somebody who is not active was to act")]
    NobodyActs,
    #[error("whoever makes up events has stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl GenerateError {
    /// Whether there was a log already.
    pub fn is_not_empty(&self) -> bool {
        matches!(self, Self::Runtime(RuntimeError::Fill(FillError::NotEmpty(_))))
    }
}

/// Makes a log where the settings put one; `report` hears how many events it has and had before.
///
/// # Errors
/// One clear line; [`GenerateError::is_not_empty`] when there is a log, which stays as it is.
pub async fn generate(settings: &Settings, plan: Plan, report: impl Fn(i64, i64)) -> Result<Made, GenerateError> {
    if !(1..=MOST_EVENTS).contains(&plan.events) {
        return Err(GenerateError::Events(plan.events));
    }
    let mut chance = Chance::new(plan.seed);
    let beginning = world::beginning(&mut chance);
    let (mut filling, lock) = runtime::fill(settings, &beginning).await?;
    let present = HashMap::from([(KeyId::Instance, filling.instance_key().clone())]);
    let keys = Keys { keyring: filling.keyring().clone(), present };
    let world = World::new(chance, &beginning, keys).await?;
    let (sender, mut batches) = mpsc::channel(2);
    let deciding = tokio::spawn(live(world, plan.events - 1, sender));
    let mut made = Made {
        events: 1,
        from: Moment::beginning().seconds(),
        to: Moment::beginning().seconds(),
        types: BTreeMap::from([("InstanceCreated".to_owned(), 1)]),
        users: BTreeMap::new(),
        sessions: 0,
    };
    while let Some(batch) = batches.recv().await {
        filling.write(&batch).await?;
        let before = made.events;
        made.count(&batch);
        report(made.events, before);
    }
    deciding.await??;
    filling.end().await;
    made.look(&Reader::open(&runtime::location(settings)).await?).await?;
    drop(lock);
    Ok(made)
}

/// Lets the made-up instance live until it has written so many events.
async fn live(mut world: World, events: i64, batches: mpsc::Sender<Vec<PastUnit>>) -> Result<(), GenerateError> {
    world.set_up().await?;
    let mut left = usize::try_from(events).unwrap_or_default();
    let (mut batch, mut in_batch) = (Vec::new(), 0);
    while left > 0 {
        for past in world.take_units() {
            if left == 0 {
                break;
            }
            let events = past.unit.events.len();
            left = left.saturating_sub(events);
            in_batch += events;
            batch.push(past);
            if in_batch >= BATCH_EVENTS {
                in_batch = 0;
                if batches.send(std::mem::take(&mut batch)).await.is_err() {
                    // Whoever writes has failed, and says why.
                    return Ok(());
                }
            }
        }
        world.go_on().await?;
    }
    if !batch.is_empty() {
        let _ = batches.send(batch).await;
    }
    Ok(())
}

impl Made {
    fn count(&mut self, batch: &[PastUnit]) {
        for event in batch.iter().flat_map(|past| &past.unit.events) {
            self.events += 1;
            *self.types.entry(event.stored.event_type.clone()).or_default() += 1;
        }
        self.to = batch.last().map_or(self.to, |past| UnixSeconds(past.recorded_at_micros / 1_000_000));
    }

    /// Counts what the read models hold.
    async fn look(&mut self, reader: &Reader) -> Result<(), GenerateError> {
        for status in [Status::Invited, Status::Active, Status::Disabled] {
            let users = reader.count::<UserRow>("WHERE t.status = $1", &[status.as_str().into()]).await?;
            self.users.insert(status.as_str(), users);
        }
        let unexpired = "WHERE t.expired = 0 AND t.kind = 'user' AND t.expires_at > $1";
        self.sessions = reader.count::<SessionRow>(unexpired, &[self.to.0.into()]).await?;
        Ok(())
    }
}

/// The owner of a log that was made up, for whoever wants to act as that.
///
/// # Errors
/// When the database fails or there is no owner.
pub async fn owner(reader: &Reader) -> sqlx::Result<UserRow> {
    let owner = reader.row::<UserRow>("WHERE t.role = $1", &[Role::Owner.as_str().into()]).await?;
    owner.ok_or(sqlx::Error::RowNotFound)
}
