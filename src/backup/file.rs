//! A file of a backup: a header, lines of JSON, and a last line with the SHA-256 of everything before it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aggregates::{InstanceId, UnixSeconds};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::keys::MasterKeyId;

/// The form of the files that this release writes, and the latest that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of a line at most. An event is far smaller; a damaged file may have no line ends.
pub const LINE_BYTES: u64 = 1024 * 1024;
const FILE_MODE: u32 = 0o600;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Log,
    Keys,
}

/// The first line: of which instance and of which moment the file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub authlog_backup: Kind,
    pub format: u32,
    /// Of the authlog that wrote it.
    pub version: String,
    pub taken_at: UnixSeconds,
    pub instance_id: InstanceId,
    /// Of the log's last event at that moment.
    pub position: i64,
    /// Of that event, 64 hex digits.
    pub leaf_hash: String,
    /// Where the log's clock stood, in microseconds since 1970.
    pub recorded_at: i64,
    /// The master key that wrapped new keys.
    pub master_key: MasterKeyId,
    /// Lines between this one and the last.
    pub lines: u64,
}

#[derive(Serialize, Deserialize)]
struct Footer {
    sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} is missing", path.display())]
    Missing { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no {kind} of an authlog backup", path.display())]
    NoBackup { path: PathBuf, kind: &'static str },
    #[error("{} was written by a later release of authlog, {version}; use that one or a newer one", path.display())]
    LaterFormat { path: PathBuf, version: String },
    #[error("{} is damaged at line {line}: {reason}", path.display())]
    Damaged { path: PathBuf, line: u64, reason: String },
    #[error("another backup is being written to {}; wait until it has ended", path.display())]
    Busy { path: PathBuf },
    #[error("{} is a symbolic link, and what it points to would be left as it is; name the file itself", path.display())]
    Link { path: PathBuf },
    #[error("{} is not what a backup that was cut off has left: something else is in the way of this one", path.display())]
    NotADraft { path: PathBuf },
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Keys => "file of keys",
        }
    }
}

/// A file on its way: beside its place until it is whole and on the disk. Dropped before, it is gone.
#[derive(Debug)]
pub struct Draft {
    place: PathBuf,
    beside: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
    placed: bool,
}

impl Draft {
    /// Takes the right to put a file in this place: until it is put there, or given up, nobody else does.
    ///
    /// # Errors
    /// [`FileError::Busy`] while another process has it, or when the place is none for a file of ours.
    pub fn begin(path: &Path) -> Result<Self, FileError> {
        if fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink()) {
            return Err(FileError::Link { path: path.to_owned() });
        }
        let beside = draft_of(path);
        let file = lock_draft(&beside)?.ok_or_else(|| FileError::Busy { path: path.to_owned() })?;
        let out = BufWriter::new(file);
        Ok(Self { place: path.to_owned(), beside, out, hash: Sha256::new(), placed: false })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the file cannot be written, or nobody could read the line back.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        let mut text = serde_json::to_vec(line).map_err(|error| self.failed(error.into()))?;
        text.push(b'\n');
        if text.len() as u64 > LINE_BYTES {
            return Err(self.failed(io::ErrorKind::FileTooLarge.into()));
        }
        self.hash.update(&text);
        self.out.write_all(&text).map_err(|error| self.failed(error))
    }

    /// Ends the file and brings it to the disk. It is not in its place yet.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self) -> Result<(), FileError> {
        let sha256 = hex::encode(std::mem::take(&mut self.hash).finalize());
        self.write(&Footer { sha256 })?;
        let flushed = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        flushed.map_err(|error| self.failed(error))
    }

    /// Puts a finished file in its place, and its name on the disk.
    ///
    /// # Errors
    /// When that fails.
    pub fn put_in_place(mut self) -> Result<(), FileError> {
        fs::rename(&self.beside, &self.place).map_err(|error| self.failed(error))?;
        self.placed = true;
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flushed = File::open(folder).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Io { path: self.beside.clone(), source }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Where a file is until it is whole.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    let mut draft = OsString::from(path);
    draft.push(".part");
    draft.into()
}

/// An empty file that is this process's alone, in the place of what a killed one may have left; `None` while another has it. Whatever
/// else is there, a link to another file above all, is not written to.
fn lock_draft(draft: &Path) -> Result<Option<File>, FileError> {
    let failed = |source| FileError::Io { path: draft.to_owned(), source };
    let not_a_draft = || FileError::NotADraft { path: draft.to_owned() };
    loop {
        if fs::symlink_metadata(draft).is_ok_and(|there| !there.is_file()) {
            return Err(not_a_draft());
        }
        // What takes its place after this look is not followed, nor waited for.
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let mut open = OpenOptions::new();
        open.create(true).truncate(false).write(true).mode(FILE_MODE).custom_flags(flags);
        let file = open.open(draft).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let locked = file.metadata().map_err(failed)?;
        // Whoever had it may have put it in its place meanwhile: then this is a backup, and no draft.
        let is_draft = match fs::symlink_metadata(draft) {
            Ok(named) => named.ino() == locked.ino() && named.dev() == locked.dev(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if !is_draft {
            continue;
        }
        if !locked.is_file() || locked.nlink() != 1 || locked.uid() != geteuid().as_raw() {
            return Err(not_a_draft());
        }
        file.set_permissions(Permissions::from_mode(FILE_MODE)).and_then(|()| file.set_len(0)).map_err(failed)?;
        return Ok(Some(file));
    }
}

/// A file that is read line by line.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    header: Header,
    hash: Sha256,
    /// The number of the line that was read last.
    line: u64,
    /// Whether the last line was looked for.
    ended: bool,
}

impl Lines {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it is missing, something else, or of a later release.
    pub fn open(path: &Path, kind: Kind) -> Result<Self, FileError> {
        let path = path.to_owned();
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => FileError::Missing { path: path.clone() },
            _ => FileError::Io { path: path.clone(), source },
        })?;
        let mut reader = BufReader::new(file);
        let text = read_line(&mut reader).map_err(|source| FileError::Io { path: path.clone(), source })?;
        let header = text.as_deref().and_then(|text| serde_json::from_slice::<Header>(text).ok());
        let header = header.filter(|header| header.authlog_backup == kind);
        let (Some(header), Some(text)) = (header, text) else {
            return Err(FileError::NoBackup { path, kind: kind.as_str() });
        };
        if header.format > FORMAT {
            return Err(FileError::LaterFormat { path, version: header.version });
        }
        Ok(Self { path, reader, header, hash: Sha256::new_with_prefix(text), line: 1, ended: false })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The same file, to be read once more from its beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begin_again(self) -> Result<Self, FileError> {
        let Self { path, mut reader, header, .. } = self;
        let failed = |source| FileError::Io { path: path.clone(), source };
        reader.rewind().map_err(failed)?;
        let text = read_line(&mut reader).map_err(failed)?.unwrap_or_default();
        Ok(Self { path, reader, header, hash: Sha256::new_with_prefix(text), line: 1, ended: false })
    }

    /// The next line; `None` after the last, and only if the file is whole.
    ///
    /// # Errors
    /// [`FileError::Damaged`].
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FileError> {
        if self.line > self.header.lines {
            if !std::mem::replace(&mut self.ended, true) {
                self.end()?;
            }
            return Ok(None);
        }
        let text = self.text()?;
        let line = serde_json::from_slice(&text).map_err(|error| self.damaged(error.to_string()))?;
        self.hash.update(&text);
        Ok(Some(line))
    }

    /// What is wrong with the line that was read last, for whoever knows more of it.
    pub fn damaged(&self, reason: String) -> FileError {
        FileError::Damaged { path: self.path.clone(), line: self.line, reason }
    }

    fn end(&mut self) -> Result<(), FileError> {
        let text = self.text()?;
        let footer: Footer = serde_json::from_slice(&text).map_err(|error| self.damaged(error.to_string()))?;
        if footer.sha256 != hex::encode(std::mem::take(&mut self.hash).finalize()) {
            return Err(self.damaged("the file is not as it was written: its SHA-256 is another".to_owned()));
        }
        match self.reader.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(self.damaged("there is more behind it".to_owned())),
            Err(source) => Err(FileError::Io { path: self.path.clone(), source }),
        }
    }

    fn text(&mut self) -> Result<Vec<u8>, FileError> {
        let text = read_line(&mut self.reader).map_err(|source| FileError::Io { path: self.path.clone(), source })?;
        self.line += 1;
        text.ok_or_else(|| self.damaged("it ends too early, or the line is too long".to_owned()))
    }
}

/// A line with its end; `None` when there is no end within [`LINE_BYTES`].
fn read_line(reader: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    reader.take(LINE_BYTES).read_until(b'\n', &mut text)?;
    Ok(text.ends_with(b"\n").then_some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

    use super::*;

    fn header(lines: u64) -> Header {
        Header {
            authlog_backup: Kind::Keys,
            format: FORMAT,
            version: "1.2.3".to_owned(),
            taken_at: UnixSeconds(1),
            instance_id: InstanceId(Uuid::nil()),
            position: 7,
            leaf_hash: "00".repeat(32),
            recorded_at: 1,
            master_key: MasterKeyId::default(),
            lines,
        }
    }

    fn write(path: &Path, lines: &[&str]) {
        let mut draft = Draft::begin(path).unwrap();
        draft.write(&header(lines.len() as u64)).unwrap();
        for line in lines {
            draft.write(line).unwrap();
        }
        draft.finish().unwrap();
        draft.put_in_place().unwrap();
    }

    #[test]
    fn what_was_written_is_read_again_and_then_there_is_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        write(&path, &["a", "b\n"]);
        let mut lines = Lines::open(&path, Kind::Keys).unwrap();
        assert_eq!(lines.header(), &header(2));
        let mut read = Vec::new();
        while let Some(line) = lines.read::<String>().unwrap() {
            read.push(line);
        }
        assert_eq!(read, ["a", "b\n"]);
        assert_eq!(lines.read::<String>().unwrap(), None);
        assert!(matches!(Lines::open(&path, Kind::Log), Err(FileError::NoBackup { .. })));
    }

    #[test]
    fn a_line_that_is_too_long_is_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        let longest = "x".repeat(usize::try_from(LINE_BYTES).unwrap() - 3);
        write(&path, &[&longest]);
        assert_eq!(Lines::open(&path, Kind::Keys).unwrap().read::<String>().unwrap().unwrap(), longest);
        let mut draft = Draft::begin(&path).unwrap();
        assert!(draft.write(&format!("{longest}x")).is_err());
        drop(draft);
        let text = fs::read_to_string(&path).unwrap().replace("\"x", "\"xx");
        fs::write(&path, text).unwrap();
        let mut lines = Lines::open(&path, Kind::Keys).unwrap();
        assert!(matches!(lines.read::<String>(), Err(FileError::Damaged { line: 2, .. })));
    }

    #[test]
    fn what_was_read_is_read_once_more_from_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        write(&path, &["a", "b"]);
        let mut lines = Lines::open(&path, Kind::Keys).unwrap();
        assert_eq!(lines.read::<String>().unwrap().unwrap(), "a");
        // The file that is open, whatever has its name by now.
        write(&path, &["c"]);
        let mut lines = lines.begin_again().unwrap();
        let mut read = Vec::new();
        while let Some(line) = lines.read::<String>().unwrap() {
            read.push(line);
        }
        assert_eq!(read, ["a", "b"]);
    }

    #[test]
    fn a_draft_is_written_to_nothing_that_somebody_has_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("keys.jsonl"), folder.path().join("victim"));
        let draft = draft_of(&path);
        let planted: [fn(&Path, &Path) -> io::Result<()>; 3] = [
            |victim, draft| std::os::unix::fs::symlink(victim, draft),
            |victim, draft| fs::hard_link(victim, draft),
            |_, draft| fs::create_dir(draft),
        ];
        for plant in planted {
            fs::write(&victim, "something of somebody's").unwrap();
            fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
            plant(&victim, &draft).unwrap();
            let refused = Draft::begin(&path);
            assert!(matches!(refused, Err(FileError::NotADraft { .. })), "{refused:?}");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "something of somebody's");
            assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o644);
            fs::remove_file(&draft).or_else(|_| fs::remove_dir(&draft)).unwrap();
        }
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(matches!(Draft::begin(&path), Err(FileError::Link { .. })));
        assert!(!draft.exists());
    }

    #[test]
    fn a_draft_is_one_writers_alone_and_gone_when_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        write(&path, &["before"]);
        let draft = Draft::begin(&path).unwrap();
        assert!(matches!(Draft::begin(&path), Err(FileError::Busy { .. })));
        drop(draft);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Lines::open(&path, Kind::Keys).unwrap().read::<String>().unwrap().unwrap(), "before");
    }
}
