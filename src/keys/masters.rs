//! The master keys that a process has at hand: the present one, and while one takes the place of another, the next.

use std::collections::BTreeMap;

use super::{MasterKey, MasterKeyError, MasterKeyId, MasterKeySource};

/// Master keys by id. What was found once stays known, whatever becomes of its file.
#[derive(Clone, Debug)]
pub struct MasterKeys {
    source: MasterKeySource,
    known: BTreeMap<MasterKeyId, MasterKey>,
    present: MasterKeyId,
    next: Option<MasterKeyId>,
}

impl MasterKeys {
    /// Reads the master key, or makes it if it is to be in a file, is missing, and `log_is_empty`; and the next one, if it is
    /// there.
    ///
    /// # Errors
    /// A [`MasterKeyError`] whose line says what to do.
    pub fn load(source: &MasterKeySource, log_is_empty: bool) -> Result<Self, MasterKeyError> {
        let present = MasterKey::load(source, log_is_empty)?;
        let mut keys = Self { source: source.clone(), known: BTreeMap::new(), present: present.id(), next: None };
        keys.known.insert(present.id(), present);
        keys.read_next()?;
        Ok(keys)
    }

    /// Looks again at what is there now.
    ///
    /// # Errors
    /// A [`MasterKeyError`]; what was known stays known.
    pub fn reload(&mut self) -> Result<(), MasterKeyError> {
        let present = MasterKey::load(&self.source, false)?;
        self.present = present.id();
        self.known.insert(present.id(), present);
        self.read_next()
    }

    fn read_next(&mut self) -> Result<(), MasterKeyError> {
        self.next = None;
        let source = self.source.next();
        if source.is_there() {
            let next = MasterKey::load(&source, false)?;
            self.next = Some(next.id()).filter(|id| *id != self.present);
            self.known.insert(next.id(), next);
        }
        Ok(())
    }

    pub fn get(&self, id: &MasterKeyId) -> Option<&MasterKey> {
        self.known.get(id)
    }

    /// The key in the place that the settings name.
    pub fn present(&self) -> &MasterKeyId {
        &self.present
    }

    /// The key that is to take its place, if one is prepared.
    pub fn next(&self) -> Option<&MasterKeyId> {
        self.next.as_ref()
    }

    pub fn source(&self) -> &MasterKeySource {
        &self.source
    }

    /// Where a master key is that is not at hand, and what to do with it.
    pub fn where_to_find(&self, wanted: &MasterKeyId) -> String {
        let (source, next) = (&self.source, self.source.next());
        if let Some(kept) = source.kept(wanted) {
            return format!(
                "it is kept in {kept}; copy that to where this log's master key is read from, {source}, and keep what is there now"
            );
        }
        match source {
            MasterKeySource::File(_) => format!(
                "the master key is not the one of this log; put back the file that belongs to it, or, if the master key was exchanged on \
                 another node, copy that node's to {next}"
            ),
            MasterKeySource::Environment(_) => format!(
                "the master key is not the one of this log; set {source} to the one that belongs to it, or, while it is being \
                 exchanged, {next} to the next one"
            ),
        }
    }
}
