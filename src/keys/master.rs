//! The master key: where it is kept, how it wraps other keys.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aggregates::KeyId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Key, OpenError, hmac_sha256, length_prefixed};

const FILE_MODE: u32 = 0o600;

/// Where the master key comes from: a file with 64 hex digits, or an environment variable that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeySource {
    /// Made if it is missing and the log is empty.
    File(PathBuf),
    Environment(String),
}

impl MasterKeySource {
    /// Where the master key is that takes this one's place: the file of the same name with the ending `.next`, or the environment
    /// variable of the same name with the ending `_NEXT`.
    #[must_use]
    pub fn next(&self) -> Self {
        self.with_ending(".next", "_NEXT")
    }

    /// Where a master key of this id is kept once another has taken its place.
    #[must_use]
    pub fn old(&self, id: &MasterKeyId) -> Self {
        self.with_ending(&format!(".old-{id}"), "_OLD")
    }

    /// Where a master key is kept whose place another has taken, if it is there.
    #[must_use]
    pub fn kept(&self, id: &MasterKeyId) -> Option<Self> {
        let old = matches!(self, Self::File(_)).then(|| self.old(id))?;
        MasterKey::load(&old, false).is_ok_and(|key| key.id() == *id).then_some(old)
    }

    /// What whoever moves the file of a master key holds a lock on.
    pub(super) fn lock_file(path: &Path) -> PathBuf {
        with_ending(path, ".lock")
    }

    fn with_ending(&self, of_file: &str, of_variable: &str) -> Self {
        match self {
            Self::Environment(name) => Self::Environment(format!("{name}{of_variable}")),
            Self::File(path) => Self::File(with_ending(path, of_file)),
        }
    }

    /// Whether there is something, whatever it is.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Environment(name) => std::env::var_os(name).is_some(),
            Self::File(path) => path.exists(),
        }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

impl fmt::Display for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// Tells master keys apart without telling anything else about them: 16 hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MasterKeyId(String);

impl MasterKeyId {
    /// The master key that wrapped a key, as [`MasterKey::wrap`] writes it down.
    pub fn of_wrapped(wrapped: &str) -> Self {
        Self(wrapped.split_once(':').map_or(String::new(), |(id, _)| id.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Wraps the other keys and nothing else.
#[derive(Clone, Debug)]
pub struct MasterKey(Key);

#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error(
        "the master key file {path} is missing, and one is made only for a new log; put back the file that belongs to this log, or name its place by \
         the setting master_key_file (every node of one PostgreSQL database has the same key)"
    )]
    Missing { path: PathBuf },
    #[error("the environment variable {0}, which is to hold the master key, is not set")]
    NotSet(String),
    #[error("{source_name} does not hold a master key: 64 hex digits are expected")]
    Malformed { source_name: String },
    #[error("{path} can be read by others; set its mode to 0600")]
    Exposed { path: PathBuf },
    #[error("the master key file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl MasterKey {
    /// Reads the master key; makes it if it is to be in a file, is missing, and `log_is_empty`.
    ///
    /// # Errors
    /// A [`MasterKeyError`] whose line says what to do.
    pub fn load(source: &MasterKeySource, log_is_empty: bool) -> Result<Self, MasterKeyError> {
        match source {
            MasterKeySource::Environment(name) => {
                let text = std::env::var(name).map(Zeroizing::new).map_err(|_| MasterKeyError::NotSet(name.clone()))?;
                Self::parse(&text, &format!("the environment variable {name}"))
            }
            MasterKeySource::File(path) => match read_private(path) {
                Ok(text) => Self::parse(&text, &path.display().to_string()),
                Err(MasterKeyError::Missing { .. }) if log_is_empty => Self::make(path),
                Err(error) => Err(error),
            },
        }
    }

    pub fn id(&self) -> MasterKeyId {
        let hash = hmac_sha256(&self.0, &[b"authlog master key id 1"]);
        MasterKeyId(hex::encode(&hash[..8]))
    }

    fn parse(text: &str, source_name: &str) -> Result<Self, MasterKeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| MasterKeyError::Malformed { source_name: source_name.to_owned() })?;
        Ok(Self(Key::new(bytes)))
    }

    /// Makes a master key in a file; the one that is there already stands.
    ///
    /// # Errors
    /// A [`MasterKeyError`].
    pub fn make(path: &Path) -> Result<Self, MasterKeyError> {
        let key = Key::random().map_err(MasterKeyError::Random)?;
        let text = Zeroizing::new(format!("{}\n", hex::encode(key.bytes())));
        match write_private(path, text.as_bytes()) {
            Ok(()) => Ok(Self(key)),
            // Another node that starts at the same time was faster: its key stands.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::parse(&read_private(path)?, &path.display().to_string())
            }
            Err(source) => Err(MasterKeyError::File { path: path.to_owned(), source }),
        }
    }

    /// Wraps `key` under its id: this master key's id, a colon, and the sealed key.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn wrap(&self, id: &KeyId, key: &Key) -> Result<String, getrandom::Error> {
        Ok(format!("{}:{}", self.id(), self.0.seal(&wrap_context(id), key.bytes())?))
    }

    /// Unwraps what [`MasterKey::wrap`] made under the same id.
    ///
    /// # Errors
    /// [`OpenError`] with another master key, another id, or damage.
    pub fn unwrap_key(&self, id: &KeyId, wrapped: &str) -> Result<Key, OpenError> {
        let (_, sealed) = wrapped.split_once(':').ok_or(OpenError)?;
        let bytes = Zeroizing::new(self.0.open(&wrap_context(id), sealed)?);
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| OpenError)?;
        Ok(Key::new(bytes))
    }
}

fn wrap_context(id: &KeyId) -> Vec<u8> {
    length_prefixed(&[b"authlog wrapped key 1", id.to_string().as_bytes()])
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, MasterKeyError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => MasterKeyError::Missing { path: path.to_owned() },
        _ => MasterKeyError::File { path: path.to_owned(), source },
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Exposed { path: path.to_owned() });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

/// Writes the file beside its place, flushes it and links it into place, so that it is there whole or not at all and never
/// takes the place of another.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = path.with_extension(format!("{}.new", uuid::Uuid::now_v7().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn the_key_is_made_once_for_an_empty_log_and_then_read_again() {
        let folder = folder();
        let source = MasterKeySource::File(folder.path().join("master.key"));
        let made = MasterKey::load(&source, true).unwrap();
        let read = MasterKey::load(&source, false).unwrap();
        assert_eq!(made.0.bytes(), read.0.bytes());
        let mode = fs::metadata(folder.path().join("master.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_key_is_never_made_for_a_log_that_has_events() {
        let folder = folder();
        let source = MasterKeySource::File(folder.path().join("master.key"));
        assert!(matches!(MasterKey::load(&source, false), Err(MasterKeyError::Missing { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = folder();
        let path = folder.path().join("master.key");
        fs::write(&path, "00".repeat(32)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::load(&MasterKeySource::File(path), true), Err(MasterKeyError::Exposed { .. })));
    }

    #[test]
    fn a_wrapped_key_opens_only_under_its_own_id_and_master_key() {
        let master = MasterKey(Key::new([1; 32]));
        let wrapped = master.wrap(&KeyId::Instance, &Key::new([9; 32])).unwrap();
        assert_eq!(master.unwrap_key(&KeyId::Instance, &wrapped).unwrap().bytes(), &[9; 32]);
        assert!(master.unwrap_key(&KeyId::Strangers("2026-11".into()), &wrapped).is_err());
        assert!(MasterKey(Key::new([2; 32])).unwrap_key(&KeyId::Instance, &wrapped).is_err());
    }
}
