//! The files of an exchange of the master key: one process at a time makes, moves and renames them, and no file goes where it was
//! not seen to belong.
//!
//! The turn is a lock on a file beside the master key, held from the first look at the keys until the files are in order. Without it
//! one command would rename what another has put there since:
//!
//! ```text
//! command 1   wraps everything by K1 ────────────────────────────────────────────── renames .next: that is K2
//! command 2                           finds that done, K1 in its place ── ends
//! command 3                                                          makes K2 as .next
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{MasterKey, MasterKeyError, MasterKeyId, MasterKeySource};

const FILE_MODE: u32 = 0o600;

/// The right to make, move and rename the files of a master key; given back when dropped, also by `kill -9`.
#[derive(Debug)]
pub struct FilesTurn(#[expect(dead_code, reason = "holding it open holds the lock")] File);

/// What became of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// The key that wraps everything is in its place; the one before is kept here.
    Kept(PathBuf),
    /// It was there already.
    Already,
    /// The keys are in environment variables, which are not authlog's to set.
    ByHand,
}

/// The files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("another command is at work on {path}; wait until it has ended")]
    Busy { path: PathBuf },
    #[error(transparent)]
    Master(#[from] MasterKeyError),
    #[error(
        "the master key {in_force} wraps everything, and is neither in {present} nor in {next}; no file was moved (see `authlog keys status`)"
    )]
    NotHere { in_force: MasterKeyId, present: MasterKeySource, next: MasterKeySource },
    #[error("{path} holds another master key than its name says; move it away, and repeat this command")]
    Misnamed { path: PathBuf },
    #[error("the files of the master key {path} cannot be put in order: {source}")]
    Files { path: PathBuf, source: io::Error },
}

impl FilesTurn {
    /// Takes the turn, without waiting; `None` where the master key is in no file.
    ///
    /// # Errors
    /// [`ExchangeError::Busy`] while another process has it.
    pub fn take(source: &MasterKeySource) -> Result<Option<Self>, ExchangeError> {
        let MasterKeySource::File(path) = source else { return Ok(None) };
        let lock = MasterKeySource::lock_file(path);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&lock);
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ExchangeError::Master(MasterKeyError::Missing { path: path.clone() }),
            _ => ExchangeError::Files { path: lock, source },
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Err(ExchangeError::Busy { path: path.clone() }),
            Err(TryLockError::Error(source)) => Err(ExchangeError::Files { path: path.clone(), source }),
        }
    }
}

/// Puts the master key `in_force`, which wraps everything, in its place, and keeps the present one beside it. Whoever calls has the
/// turn. Each step leaves both keys, or the one that wraps everything, where a start looks for them.
///
/// # Errors
/// An [`ExchangeError`]; nothing was renamed then, or everything.
pub fn put_in_place(source: &MasterKeySource, in_force: &MasterKeyId) -> Result<Exchanged, ExchangeError> {
    let (MasterKeySource::File(present), MasterKeySource::File(next)) = (source, source.next()) else {
        return Ok(Exchanged::ByHand);
    };
    let replaced = MasterKey::load(source, false)?.id();
    if replaced == *in_force {
        return Ok(Exchanged::Already);
    }
    if !next.exists() || MasterKey::load(&source.next(), false)?.id() != *in_force {
        let (in_force, present, next) = (in_force.clone(), source.clone(), source.next());
        return Err(ExchangeError::NotHere { in_force, present, next });
    }
    let MasterKeySource::File(old) = source.old(&replaced) else { return Ok(Exchanged::ByHand) };
    let failed = |source| ExchangeError::Files { path: present.clone(), source };
    match fs::hard_link(present, &old) {
        // Cut off after this step before: then it is the same key.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if MasterKey::load(&MasterKeySource::File(old.clone()), false)?.id() != replaced {
                return Err(ExchangeError::Misnamed { path: old });
            }
        }
        linked => linked.map_err(failed)?,
    }
    fs::rename(next, present).and_then(|()| flush_folder_of(present)).map_err(failed)?;
    Ok(Exchanged::Kept(old))
}

fn flush_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A folder with a present and a next master key, and the ids of both.
    struct Prepared {
        source: MasterKeySource,
        present: MasterKeyId,
        next: MasterKeyId,
        folder: tempfile::TempDir,
    }

    impl Prepared {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let make = |name: &str| MasterKey::make(&folder.path().join(name)).unwrap().id();
            let (present, next) = (make("master.key"), make("master.key.next"));
            Self { source: MasterKeySource::File(folder.path().join("master.key")), present, next, folder }
        }

        /// What is in the files, by their names.
        fn files(&self) -> std::collections::BTreeMap<String, String> {
            let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap());
            entries
                .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
                .collect()
        }
    }

    fn id_of(source: &MasterKeySource) -> MasterKeyId {
        MasterKey::load(source, false).unwrap().id()
    }

    #[test]
    fn the_next_key_takes_the_place_of_the_present_one_which_is_kept() {
        let prepared = Prepared::new();
        let Exchanged::Kept(old) = put_in_place(&prepared.source, &prepared.next).unwrap() else { panic!() };
        assert_eq!(id_of(&prepared.source), prepared.next);
        assert_eq!(id_of(&MasterKeySource::File(old)), prepared.present);
        assert_eq!(prepared.files().len(), 2);
        assert_eq!(put_in_place(&prepared.source, &prepared.next).unwrap(), Exchanged::Already);
    }

    #[test]
    fn a_next_key_that_wraps_nothing_yet_never_takes_the_place_of_the_one_that_wraps_everything() {
        let prepared = Prepared::new();
        let in_force = prepared.next.clone();
        put_in_place(&prepared.source, &in_force).unwrap();
        let MasterKeySource::File(next) = prepared.source.next() else { panic!() };
        MasterKey::make(&next).unwrap();
        let before = prepared.files();
        assert_eq!(put_in_place(&prepared.source, &in_force).unwrap(), Exchanged::Already);
        assert_eq!(prepared.files(), before);
    }

    #[test]
    fn no_file_is_moved_when_the_key_that_wraps_everything_is_not_among_them() {
        let prepared = Prepared::new();
        let elsewhere = Prepared::new();
        let before = prepared.files();
        let refused = put_in_place(&prepared.source, &elsewhere.next);
        assert!(matches!(refused, Err(ExchangeError::NotHere { .. })), "{refused:?}");
        let MasterKeySource::File(next) = prepared.source.next() else { panic!() };
        fs::remove_file(next).unwrap();
        let refused = put_in_place(&prepared.source, &elsewhere.next);
        assert!(matches!(refused, Err(ExchangeError::NotHere { .. })), "{refused:?}");
        assert_eq!(prepared.files()["master.key"], before["master.key"]);
    }

    #[test]
    fn a_key_that_is_kept_nowhere_is_not_renamed_over() {
        let prepared = Prepared::new();
        let MasterKeySource::File(old) = prepared.source.old(&prepared.present) else { panic!() };
        MasterKey::make(&old).unwrap();
        let before = prepared.files();
        let refused = put_in_place(&prepared.source, &prepared.next);
        assert!(matches!(refused, Err(ExchangeError::Misnamed { .. })), "{refused:?}");
        assert_eq!(prepared.files(), before);
    }

    #[test]
    fn the_turn_is_one_process_s_alone_until_it_is_given_back() {
        let prepared = Prepared::new();
        let turn = FilesTurn::take(&prepared.source).unwrap();
        assert!(matches!(FilesTurn::take(&prepared.source), Err(ExchangeError::Busy { .. })));
        drop(turn);
        FilesTurn::take(&prepared.source).unwrap();
    }
}
