//! Copies of a log and the way back.
//!
//! A backup is two files of JSON lines. `log.jsonl` holds every event as it is stored, personal data sealed. `keys.jsonl` holds the
//! wrapped keys as they were at that moment, and of it only the newest may be kept: an older one has the keys of people who have
//! been erased since. Each file is whole in itself, says which instance and which moment it is of, and ends with its own SHA-256.
//! They are the same from both databases, so a log can be moved from one to the other.
//!
//! Architecture invariant: nothing is opened to make a backup, so no master key is needed, and none is ever in it.

pub mod file;
pub mod restore;
pub mod take;

use std::path::{Path, PathBuf};

/// The file of the events in the folder of a backup.
const LOG_FILE: &str = "log.jsonl";
/// The file of the wrapped keys, unless another place is named for it.
const KEYS_FILE: &str = "keys.jsonl";

/// Where the two files of a backup are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub folder: PathBuf,
    pub log: PathBuf,
    pub keys: PathBuf,
}

impl Place {
    /// In a folder, the keys elsewhere when `keys` says so.
    pub fn new(folder: &Path, keys: Option<PathBuf>) -> Self {
        let keys = keys.unwrap_or_else(|| folder.join(KEYS_FILE));
        Self { folder: folder.to_owned(), log: folder.join(LOG_FILE), keys }
    }
}
