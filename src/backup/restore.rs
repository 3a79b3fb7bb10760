//! The way back: an empty database becomes the log that was copied, or stays empty.

use std::collections::HashSet;

use aggregates::{Event, InstanceId, KeyId, SetupEvent, UserId};
use projections::{TABLES, UserRow};
use serde::{Deserialize, Serialize};

use super::Place;
use super::file::{FileError, Header, Kind, Lines};
use crate::keys::{MasterKeyError, MasterKeySource, MasterKeys};
use crate::log::history::PAGE_EVENTS;
use crate::log::past::Past;
use crate::log::rebuild::Progress;
use crate::log::restore::{RestoreError, Restoring, settle};
use crate::log::verify::VerifyError;
use crate::log::{EventRecord, Head, KeyRow, Location, OpenError, Reader};

/// A backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{keys} is of another instance than {log}; take the keys that belong to this log")]
    OtherInstance { keys: String, log: String },
    #[error(
        "{keys} is older (position {of_keys}) than the log (position {of_log}): who came since would be lost; take the newest keys"
    )]
    OldKeys { keys: String, of_keys: i64, of_log: i64 },
    #[error(
        "{keys} and {log} end at the same position ({position}) with different events: they are of two logs that were one once; take the keys that \
         belong to this log"
    )]
    OtherLine { keys: String, log: String, position: i64 },
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the log is restored, but its read models cannot be compared with it: {0}")]
    Verify(#[from] VerifyError),
}

/// What was restored, and found equal to what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    pub instance_id: InstanceId,
    /// Of the last event.
    pub position: i64,
    /// Of the last event, 64 hex digits.
    pub leaf_hash: String,
    pub keys: usize,
    /// Keys that were left out: of persons whom this log erases, or does not know.
    pub keys_left_out: usize,
    /// Users of this log whose keys are gone: they were erased after it was copied.
    pub erased_since: Vec<UserId>,
    /// Whether the read models are equal to a fresh fold.
    pub equal: bool,
}

/// A backup that fits together, its keys read.
#[derive(Debug)]
pub struct Backup {
    log: Lines,
    keys: Vec<KeyRow>,
    keys_left_out: usize,
    of_keys: Header,
}

/// What of an event says whether a person has a key after it.
#[derive(Deserialize)]
struct Lifeline {
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
}

impl Backup {
    /// Opens the two files of a backup. The keys may be newer than the log, and should be the newest there are.
    ///
    /// # Errors
    /// When a file is missing or damaged, or they do not belong together.
    pub fn open(place: &Place) -> Result<Self, BackError> {
        let log = Lines::open(&place.log, Kind::Log)?;
        let mut lines = Lines::open(&place.keys, Kind::Keys)?;
        let mut keys: Vec<KeyRow> = Vec::new();
        while let Some(key) = lines.read()? {
            keys.push(key);
        }
        let (of_log, of_keys) = (log.header(), lines.header().clone());
        let (log_name, keys_name) = (place.log.display().to_string(), place.keys.display().to_string());
        if of_log.instance_id != of_keys.instance_id {
            return Err(BackError::OtherInstance { keys: keys_name, log: log_name });
        }
        if of_keys.position < of_log.position {
            let (of_keys, of_log) = (of_keys.position, of_log.position);
            return Err(BackError::OldKeys { keys: keys_name, of_keys, of_log });
        }
        if of_keys.position == of_log.position && of_keys.leaf_hash != of_log.leaf_hash {
            return Err(BackError::OtherLine { keys: keys_name, log: log_name, position: of_log.position });
        }
        // Before anything is written: a key that has been in a database, if only for a moment, leaves traces there.
        let (living, log) = living(log)?;
        let all = keys.len();
        keys.retain(|key| match key.id.parse() {
            Ok(KeyId::Person(person)) => living.contains(&person),
            _ => true,
        });
        let keys_left_out = all - keys.len();
        Ok(Self { log, keys, keys_left_out, of_keys })
    }

    /// Restores it into an empty database; all of it or nothing. `report` hears how far it has come. On SQLite the caller holds the
    /// right to write to the file.
    ///
    /// # Errors
    /// A [`BackError`] with one clear line; the database is as empty as it was.
    pub async fn restore(
        mut self,
        location: &Location,
        master_key: &MasterKeySource,
        report: &(dyn Fn(Progress) + Sync),
    ) -> Result<Restored, BackError> {
        let master_keys = MasterKeys::load(master_key, false)?;
        let mut restoring = Restoring::begin(location, master_keys, &self.of_keys.master_key, &self.keys).await?;
        let of_log = self.log.header().clone();
        let mut position = 0;
        loop {
            let page = self.page(position, &of_log)?;
            if page.is_empty() {
                break;
            }
            position += i64::try_from(page.len()).unwrap_or(i64::MAX);
            restoring.add(page).await?;
            report(Progress { position, head: of_log.position });
        }
        if position != of_log.position {
            let reason = format!("it holds {position} events, and its head says {}", of_log.position);
            return Err(self.log.damaged(reason).into());
        }
        let head = restoring.commit(of_log.recorded_at).await?;
        let (equal, erased_since) = compare(location, master_key, &head).await?;
        settle(location).await?;
        let Header { instance_id, position, leaf_hash, .. } = of_log;
        let (keys, keys_left_out) = (self.keys.len(), self.keys_left_out);
        Ok(Restored { instance_id, position, leaf_hash, keys, keys_left_out, erased_since, equal })
    }

    /// The events after a position; none after the last, and only if the file is whole.
    fn page(&mut self, after: i64, header: &Header) -> Result<Vec<EventRecord>, BackError> {
        let mut page = Vec::with_capacity(PAGE_EVENTS.into());
        while page.len() < PAGE_EVENTS.into()
            && let Some(event) = self.log.read::<EventRecord>()?
        {
            let expected = after + 1 + i64::try_from(page.len()).unwrap_or(i64::MAX);
            if let Some(reason) = what_is_wrong(&event, expected, header) {
                return Err(self.log.damaged(reason).into());
            }
            page.push(event);
        }
        Ok(page)
    }
}

/// The persons who are there when a log ends, and the log to be read anew. A line that is no event ends this; reading it anew says what
/// is wrong with it.
fn living(mut log: Lines) -> Result<(HashSet<UserId>, Lines), FileError> {
    let mut living = HashSet::new();
    while let Ok(Some(Lifeline { aggregate_type, aggregate_id, event_type })) = log.read() {
        if aggregate_type != "user" {
            continue;
        }
        let Ok(user) = aggregate_id.parse::<UserId>() else { continue };
        match event_type.as_str() {
            "UserErased" | "OwnerDiscarded" => living.remove(&user),
            _ => living.insert(user),
        };
    }
    Ok((living, log.begin_again()?))
}

/// What shows at once, with the line that it stands in. The rest is checked when the event goes in.
fn what_is_wrong(event: &EventRecord, expected: i64, header: &Header) -> Option<String> {
    if event.position != expected {
        return Some(format!("the event at position {expected} is missing"));
    }
    if !event.hash_holds() {
        return Some(format!("the event at position {expected} is damaged: its leaf hash is another"));
    }
    let is_foreign = expected == 1 && instance_of(event) != Some(header.instance_id);
    is_foreign.then(|| "the first event is of another instance than the header".to_owned())
}

fn instance_of(event: &EventRecord) -> Option<InstanceId> {
    match event.clone().decode().ok()?.event {
        Event::Setup(SetupEvent::InstanceCreated { instance_id }) => Some(instance_id),
        _ => None,
    }
}

/// Folds the restored log once more, and compares what is in force with that; finds who is there without a key.
async fn compare(
    location: &Location,
    master_key: &MasterKeySource,
    head: &Head,
) -> Result<(bool, Vec<UserId>), BackError> {
    let past = Past::open(location, master_key).await?;
    let live = TABLES.map(|table| table.name).into_iter().filter(|name| !head.layout.is_aside(name));
    let verified = past.verify(&live.collect::<Vec<_>>(), &|_| {}).await?;
    past.close().await;
    let reader = Reader::open(location).await.map_err(OpenError::from)?;
    let erased: Vec<UserRow> = reader.rows("WHERE t.address = ''", &[]).await.map_err(OpenError::from)?;
    reader.database().close().await;
    let erased_since = erased.into_iter().map(|user| user.id).collect();
    Ok((verified.differences.is_empty() && verified.position == head.position, erased_since))
}
