//! Making a backup beside whoever writes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aggregates::{Event, InstanceId, SetupEvent, UnixSeconds};
use serde::Serialize;

use super::Place;
use super::file::{Draft, FORMAT, FileError, Header, Kind, Lines, draft_of};
use crate::log::rebuild::Progress;
use crate::log::snapshot::Snapshot;
use crate::log::{EventRecord, Location, UnreadableEvent};

const DIRECTORY_MODE: u32 = 0o700;

/// A backup was not made; one that was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the database cannot be read: {0}")]
    Store(#[from] sqlx::Error),
    #[error("the log is empty; `authlog serve` writes its first event")]
    EmptyLog,
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} holds something else than a backup; name an empty or a new directory", .0.display())]
    NotABackup(PathBuf),
    #[error("{} is where the log goes, or on its way there; name another file for the keys", .0.display())]
    SamePlace(PathBuf),
    #[error("{} is of another instance; name another place for this backup", .0.display())]
    OtherInstance(PathBuf),
    #[error(
        "{} holds events up to position {position} that are not in this log, and would be lost; name another place for this backup", path.display()
    )]
    WouldLose { path: PathBuf, position: i64 },
    #[error("the log itself is damaged at position {0}: see `authlog replay --check`")]
    DamagedLog(i64),
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
}

/// What was backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub instance_id: InstanceId,
    /// Of the last event, and so the number of events.
    pub position: i64,
    /// Of the last event, 64 hex digits.
    pub leaf_hash: String,
    pub keys: u64,
    pub log_file: PathBuf,
    pub keys_file: PathBuf,
}

/// Writes a log and its wrapped keys, both as they are at one moment, and puts them in the place of the backup before. `report`
/// hears how far it has come.
///
/// # Errors
/// A [`TakeError`] with one clear line.
pub async fn take(
    location: &Location,
    place: &Place,
    now: UnixSeconds,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<Taken, TakeError> {
    prepare_folder(place)?;
    each_in_its_own_place(place)?;
    // Both places first: what is looked at below stays as it is, and no backup of an earlier moment comes after this one.
    let mut keys_draft = Draft::begin(&place.keys)?;
    let mut log_draft = Draft::begin(&place.log)?;
    let mut snapshot = Snapshot::begin(location).await?;
    let keys = snapshot.keys().await?;
    let header = header(&mut snapshot, now).await?;
    for (path, kind) in [(&place.log, Kind::Log), (&place.keys, Kind::Keys)] {
        may_be_replaced(path, kind, &header, &mut snapshot).await?;
    }

    let of_keys = Header { authlog_backup: Kind::Keys, lines: keys.len() as u64, ..header.clone() };
    keys_draft.write(&of_keys)?;
    for key in &keys {
        keys_draft.write(key)?;
    }
    keys_draft.finish()?;
    log_draft.write(&header)?;
    write_events(&mut snapshot, &mut log_draft, report).await?;
    log_draft.finish()?;
    // The keys first: keys that are newer than their log are what a restore can do with, and not the other way round.
    keys_draft.put_in_place()?;
    log_draft.put_in_place()?;
    let Header { instance_id, position, leaf_hash, .. } = header;
    let (log_file, keys_file) = (place.log.clone(), place.keys.clone());
    Ok(Taken { instance_id, position, leaf_hash, keys: of_keys.lines, log_file, keys_file })
}

async fn header(snapshot: &mut Snapshot, taken_at: UnixSeconds) -> Result<Header, TakeError> {
    let head = snapshot.head().clone();
    let (Some(first), Some(last)) = (event_at(snapshot, 1).await?, event_at(snapshot, head.position).await?) else {
        return Err(if head.position == 0 { TakeError::EmptyLog } else { TakeError::DamagedLog(1) });
    };
    let Event::Setup(SetupEvent::InstanceCreated { instance_id }) = first.decode()?.event else {
        return Err(TakeError::DamagedLog(1));
    };
    Ok(Header {
        authlog_backup: Kind::Log,
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        instance_id,
        position: head.position,
        leaf_hash: last.leaf_hash,
        recorded_at: head.recorded_at,
        master_key: head.master_key,
        lines: u64::try_from(head.position).unwrap_or_default(),
    })
}

async fn event_at(snapshot: &mut Snapshot, position: i64) -> sqlx::Result<Option<EventRecord>> {
    Ok(snapshot.events(position - 1).await?.into_iter().next().filter(|event| event.position == position))
}

/// Makes the folder; one that holds anything must hold a backup.
fn prepare_folder(place: &Place) -> Result<(), TakeError> {
    let folder = &place.folder;
    let failed = |source| TakeError::Folder { path: folder.clone(), source };
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(folder).map_err(failed)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.path());
    }
    let is_ours = |path: &PathBuf| {
        let finished = path.with_extension("");
        [path, &finished].into_iter().any(|path| *path == place.log || *path == place.keys)
    };
    let holds_backup = names.contains(&place.log) || names.contains(&place.keys);
    if holds_backup || names.iter().all(is_ours) { Ok(()) } else { Err(TakeError::NotABackup(folder.clone())) }
}

/// Neither file is the other, nor where the other is until it is whole. Whatever names their directories go by.
fn each_in_its_own_place(place: &Place) -> Result<(), TakeError> {
    let real = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(|source| TakeError::Folder { path: folder.to_owned(), source })?;
        Ok::<_, TakeError>(path.file_name().map_or(folder.clone(), |name| folder.join(name)))
    };
    let (log, keys) = (real(&place.log)?, real(&place.keys)?);
    let clash = log == keys || draft_of(&log) == keys || log == draft_of(&keys);
    if clash { Err(TakeError::SamePlace(place.keys.clone())) } else { Ok(()) }
}

/// Whether all that a file of an earlier backup holds is in this log, too.
async fn may_be_replaced(path: &Path, kind: Kind, ours: &Header, snapshot: &mut Snapshot) -> Result<(), TakeError> {
    let theirs = match Lines::open(path, kind) {
        Ok(lines) => lines.header().clone(),
        Err(FileError::Missing { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if theirs.instance_id != ours.instance_id {
        return Err(TakeError::OtherInstance(path.to_owned()));
    }
    let same = event_at(snapshot, theirs.position).await?;
    if same.is_none_or(|event| event.leaf_hash != theirs.leaf_hash) {
        return Err(TakeError::WouldLose { path: path.to_owned(), position: theirs.position });
    }
    Ok(())
}

async fn write_events(
    snapshot: &mut Snapshot,
    draft: &mut Draft,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<(), TakeError> {
    let head = snapshot.head().position;
    let mut position = 0;
    while position < head {
        let page = snapshot.events(position).await?;
        if page.is_empty() {
            return Err(TakeError::DamagedLog(position + 1));
        }
        for event in page {
            position += 1;
            if event.position != position || !event.hash_holds() {
                return Err(TakeError::DamagedLog(position));
            }
            draft.write(&event)?;
        }
        report(Progress { position, head });
    }
    Ok(())
}
