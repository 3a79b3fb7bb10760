//! The data directory: who may write to it, and where things are in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory with the SQLite database, the master key, and the socket of the running server.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// The right to be the one process that writes to the directory; given back when dropped, also by `kill -9`.
#[derive(Debug)]
pub struct DataDirLock(#[expect(dead_code, reason = "holding it open holds the lock")] File);

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("the data directory {path} cannot be used: {source}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("there is a database in {path} already; name an empty data directory by --data-dir")]
    Occupied { path: PathBuf },
    #[error("another authlog is running on the data directory {path}; stop it, or give this one its own --data-dir")]
    Busy { path: PathBuf },
}

impl DataDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes the directory if it is not there, for its owner alone.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn create(&self) -> Result<(), DataDirError> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.0).map_err(|source| self.unusable(source))
    }

    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`DataDirError::Busy`] while another process holds it.
    pub fn lock(&self) -> Result<DataDirLock, DataDirError> {
        let path = self.0.join("authlog.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(path);
        let file = file.map_err(|source| self.unusable(source))?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock(file)),
            Err(TryLockError::WouldBlock) => Err(DataDirError::Busy { path: self.0.clone() }),
            Err(TryLockError::Error(source)) => Err(self.unusable(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database_file(&self) -> PathBuf {
        self.0.join("authlog.db")
    }

    pub fn master_key_file(&self) -> PathBuf {
        self.0.join("master.key")
    }

    /// Where a database is made that is to be [`DataDir::put_restored_in_place`] when it is whole.
    pub fn restored_file(&self) -> PathBuf {
        self.0.join("authlog.db.restored")
    }

    /// Removes what a restore that was cut off has left.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn discard_restored(&self) -> Result<(), DataDirError> {
        with_companions(&self.restored_file()).iter().try_for_each(|path| self.remove(path))
    }

    /// Puts a restored database, whose write-ahead file is empty, where there is none.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn put_restored_in_place(&self) -> Result<(), DataDirError> {
        let flushed = File::open(self.restored_file()).and_then(|file| file.sync_all());
        flushed.map_err(|source| self.unusable(source))?;
        // A write-ahead file of a database that is gone would be taken for this one's.
        for companion in &with_companions(&self.database_file())[1..] {
            self.remove(companion)?;
        }
        fs::rename(self.restored_file(), self.database_file()).map_err(|source| self.unusable(source))?;
        let flushed = File::open(&self.0).and_then(|folder| folder.sync_all());
        flushed.map_err(|source| self.unusable(source))?;
        self.discard_restored()
    }

    fn remove(&self, path: &Path) -> Result<(), DataDirError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.unusable(source)),
            _ => Ok(()),
        }
    }

    /// Where the running server listens for the command line.
    pub fn socket(&self) -> PathBuf {
        self.0.join("authlog.sock")
    }

    /// Makes the database file readable by its owner alone, before SQLite makes it with the process's own mask.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn create_database_file(&self) -> Result<(), DataDirError> {
        self.create_file(&self.database_file())
    }

    /// The same for the one that is being restored.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn create_restored_file(&self) -> Result<(), DataDirError> {
        self.discard_restored()?;
        self.create_file(&self.restored_file())
    }

    fn create_file(&self, path: &Path) -> Result<(), DataDirError> {
        let made = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path);
        made.map(drop).map_err(|source| self.unusable(source))
    }

    /// Whether there is a database in it.
    pub fn has_database(&self) -> bool {
        fs::metadata(self.database_file()).is_ok_and(|file| file.len() > 0)
    }

    fn unusable(&self, source: io::Error) -> DataDirError {
        DataDirError::Unusable { path: self.0.clone(), source }
    }
}

/// A database of SQLite, and the files that it may have beside it.
fn with_companions(database: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        path.into()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path().join("data"));
        data.create().unwrap();
        let first = data.lock().unwrap();
        assert!(matches!(data.lock(), Err(DataDirError::Busy { .. })));
        drop(first);
        data.lock().unwrap();
    }
}
