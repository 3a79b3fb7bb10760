//! The rows of one table that a batch has loaded or changed.
//!
//! A row goes through three steps: an event *needs* it, the store *supplies* it (or says that there is none), folds *put* or
//! *remove* it. What the store had stays beside what the folds made of it, so that only real changes are written, and every
//! change since [`Rows::begin`] can be taken back, so that one refused unit leaves its neighbours alone.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use aggregates::UserId;
use serde::Serialize;

use crate::value::{Object, values_of};
use crate::{FoldError, Key, Recorded, Row, Table, Value};

/// What is known of the row in the store.
#[derive(Clone, Debug)]
enum Stored<R> {
    Unknown,
    Absent,
    Present(R),
}

/// What the folds made of a row.
#[derive(Clone, Debug)]
enum Folded<R> {
    Untouched,
    Put(R),
    Removed,
}

/// What is known under one key.
#[derive(Clone, Debug)]
struct Entry<R> {
    stored: Stored<R>,
    folded: Folded<R>,
}

impl<R: Row> Entry<R> {
    fn untouched(stored: Stored<R>) -> Self {
        Self { stored, folded: Folded::Untouched }
    }

    fn now(&self) -> Option<&R> {
        match (&self.folded, &self.stored) {
            (Folded::Put(row), _) | (Folded::Untouched, Stored::Present(row)) => Some(row),
            (Folded::Removed, _) | (Folded::Untouched, Stored::Absent | Stored::Unknown) => None,
        }
    }

    /// The row, if the store has none.
    fn inserted(&self) -> Option<&R> {
        match self {
            Self { folded: Folded::Put(row), stored: Stored::Absent } => Some(row),
            _ => None,
        }
    }

    /// The row, if the store holds another, or may.
    fn updated(&self) -> Option<&R> {
        match self {
            Self { folded: Folded::Put(row), stored: Stored::Present(stored) } if row != stored => Some(row),
            Self { folded: Folded::Put(row), stored: Stored::Unknown } => Some(row),
            _ => None,
        }
    }

    /// Whether it is, or takes the place of, a row of one of these users.
    fn may_be_of(&self, owners: &BTreeSet<Key>) -> bool {
        let theirs = |row: &R| row.owner().is_some_and(|owner| owners.contains(&Key::Id(owner.0)));
        match &self.stored {
            Stored::Unknown => self.is_known(),
            Stored::Present(row) if theirs(row) => true,
            Stored::Absent | Stored::Present(_) => self.now().is_some_and(theirs),
        }
    }

    fn is_known(&self) -> bool {
        !matches!((&self.folded, &self.stored), (Folded::Untouched, Stored::Unknown))
    }
}

/// Rows of one table that a batch has loaded or changed.
#[derive(Clone, Debug)]
pub struct Rows<R: Row> {
    /// In key order, so that statements are deterministic and locks are taken in one order everywhere.
    entries: BTreeMap<Key, Entry<R>>,
    /// Needed and not yet supplied.
    missing: BTreeSet<Key>,
    /// Users all of whose rows are needed and not yet supplied.
    missing_of: BTreeSet<Key>,
    /// What each change since [`Rows::begin`] replaced, oldest first; `None` where there was no entry.
    undo: Vec<(Key, Option<Folded<R>>)>,
    selected: bool,
}

impl<R: Row> Default for Rows<R> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            missing: BTreeSet::new(),
            missing_of: BTreeSet::new(),
            undo: Vec::new(),
            selected: true,
        }
    }
}

impl<R: Row> Rows<R> {
    /// Rows that take part in folding only when `selected`.
    pub(crate) fn selected(selected: bool) -> Self {
        Self { selected, ..Self::default() }
    }

    pub(crate) fn is_selected(&self) -> bool {
        self.selected
    }

    /// Marks a row that an event of the batch touches. Needing it again changes nothing.
    pub fn need(&mut self, key: Key) {
        if !self.entries.contains_key(&key) {
            self.missing.insert(key.clone());
            self.entries.insert(key, Entry::untouched(Stored::Unknown));
        }
    }

    /// Marks a row that an event of the batch makes, being the first of its stream or the only one of its row: none is loaded.
    pub fn need_new(&mut self, key: Key) {
        self.entries.entry(key).or_insert(Entry::untouched(Stored::Absent));
    }

    /// Marks every row of a user that the store holds, however many. The table has an owner column.
    pub(crate) fn need_all_of(&mut self, user: UserId) {
        if self.selected {
            self.missing_of.insert(Key::Id(user.0));
        }
    }

    /// The keys that are needed and not yet supplied, in order.
    pub fn missing(&self) -> Vec<Key> {
        self.missing.iter().cloned().collect()
    }

    /// What the store holds under `key`. The first answer counts: folds may have built on it already.
    pub fn supply(&mut self, key: Key, row: Option<R>) {
        self.missing.remove(&key);
        self.settle(key, row);
    }

    fn settle(&mut self, key: Key, row: Option<R>) {
        let entry = self.entries.entry(key).or_insert(Entry::untouched(Stored::Unknown));
        if matches!(entry.stored, Stored::Unknown) {
            entry.stored = row.map_or(Stored::Absent, Stored::Present);
        }
    }

    /// What the store holds under all keys that are missing: those without a row have none.
    fn supply_missing(&mut self, rows: impl Iterator<Item = R>) {
        for row in rows {
            self.settle(row.key(), Some(row));
        }
        for key in std::mem::take(&mut self.missing) {
            self.settle(key, None);
        }
        self.missing_of.clear();
    }

    /// Takes what is needed from a batch before this one that may not be stored yet. Of a user all of whose rows are needed, its
    /// rows win over what the store still holds.
    pub(crate) fn supply_from(&mut self, earlier: &Self) {
        if !self.missing_of.is_empty() {
            let owners = std::mem::take(&mut self.missing_of);
            for (key, entry) in earlier.entries.iter().filter(|(_, entry)| entry.may_be_of(&owners)) {
                self.supply(key.clone(), entry.now().cloned());
            }
            self.missing_of = owners;
        }
        let found = |key: &&Key| earlier.entries.get(key).is_some_and(Entry::is_known);
        for key in self.missing.iter().filter(found).cloned().collect::<Vec<_>>() {
            let row = earlier.get(&key).cloned();
            self.supply(key, row);
        }
    }

    /// The row as it is after the folds so far; `None` when there is none or it has not been supplied.
    pub fn get(&self, key: &Key) -> Option<&R> {
        self.entries.get(key).and_then(Entry::now)
    }

    /// The row as it is after the folds so far.
    ///
    /// # Errors
    /// [`FoldError::Broken`] when nobody has said whether there is one.
    pub(crate) fn known(&self, event: &Recorded<'_>, key: &Key) -> Result<Option<&R>, FoldError> {
        match self.entries.get(key) {
            Some(entry) if entry.is_known() => Ok(entry.now()),
            _ => Err(Self::broken(event, "a row it needs was not loaded")),
        }
    }

    /// Makes a row or takes the place of the one with its key.
    pub fn put(&mut self, row: R) {
        self.fold(row.key(), Folded::Put(row));
    }

    /// Makes the row that an event makes, being the only one of its row; `false` when there is one.
    pub(crate) fn put_new(&mut self, row: R) -> bool {
        let key = row.key();
        let btree_map::Entry::Vacant(vacant) = self.entries.entry(key.clone()) else { return false };
        vacant.insert(Entry { stored: Stored::Absent, folded: Folded::Put(row) });
        self.undo.push((key, None));
        true
    }

    /// Deletes a row; one that is not there stays away.
    pub fn remove(&mut self, key: Key) {
        self.fold(key, Folded::Removed);
    }

    fn fold(&mut self, key: Key, folded: Folded<R>) {
        let replaced = if let Some(entry) = self.entries.get_mut(&key) {
            Some(std::mem::replace(&mut entry.folded, folded))
        } else {
            self.entries.insert(key.clone(), Entry { stored: Stored::Unknown, folded });
            None
        };
        self.undo.push((key, replaced));
    }

    /// Changes a row that must be there.
    pub(crate) fn change(
        &mut self,
        event: &Recorded<'_>,
        key: &Key,
        change: impl FnOnce(&mut R),
    ) -> Result<(), FoldError> {
        let mut row = self.existing(event, key)?.clone();
        change(&mut row);
        self.put(row);
        Ok(())
    }

    /// Deletes a row that must be there.
    pub(crate) fn delete(&mut self, event: &Recorded<'_>, key: Key) -> Result<(), FoldError> {
        self.existing(event, &key)?;
        self.remove(key);
        Ok(())
    }

    /// Deletes every row of a user.
    pub(crate) fn delete_all_of(&mut self, event: &Recorded<'_>, user: UserId) -> Result<(), FoldError> {
        if self.missing_of.contains(&Key::Id(user.0)) {
            return Err(Self::broken(event, "the rows of a user were not loaded"));
        }
        let is_theirs = |entry: &Entry<R>| entry.now().is_some_and(|row| row.owner() == Some(user));
        let theirs: Vec<Key> =
            self.entries.iter().filter(|(_, entry)| is_theirs(entry)).map(|(key, _)| key.clone()).collect();
        for key in theirs {
            self.remove(key);
        }
        Ok(())
    }

    fn existing(&self, event: &Recorded<'_>, key: &Key) -> Result<&R, FoldError> {
        self.known(event, key)?.ok_or_else(|| Self::broken(event, "the row it changes is not there"))
    }

    /// The refusal of an event by this table.
    pub(crate) fn broken(event: &Recorded<'_>, reason: &'static str) -> FoldError {
        FoldError::Broken { table: R::TABLE.name, position: event.position, reason }
    }

    /// What [`Rows::roll_back`] goes back to is now.
    pub(crate) fn begin(&mut self) {
        self.undo.clear();
    }

    /// Takes every change since [`Rows::begin`] back.
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, replaced)) = self.undo.pop() {
            match (replaced, self.entries.get_mut(&key)) {
                (Some(folded), Some(entry)) => entry.folded = folded,
                _ => drop(self.entries.remove(&key)),
            }
        }
    }

    /// The rows that are new or no longer what the store holds, in key order.
    pub fn upserts(&self) -> Vec<&R> {
        self.entries.values().filter_map(|entry| entry.inserted().or(entry.updated())).collect()
    }

    /// The rows that the store holds and that are gone, in key order.
    pub fn deleted(&self) -> Vec<&R> {
        let gone = |entry| match entry {
            &Entry { folded: Folded::Removed, stored: Stored::Present(ref row) } => Some(row),
            _ => None,
        };
        self.entries.values().filter_map(gone).collect()
    }

    /// The keys of the rows that the store holds, or may hold, and that are gone, in key order.
    pub fn deletes(&self) -> Vec<&Key> {
        let delete = |entry: &Entry<R>| {
            matches!((&entry.folded, &entry.stored), (Folded::Removed, Stored::Present(_) | Stored::Unknown))
        };
        self.entries.iter().filter(|(_, entry)| delete(entry)).map(|(key, _)| key).collect()
    }
}

/// [`Rows`] of whatever table, in JSON: how a store loads and writes them without knowing their types.
pub trait AnyRows: Send {
    fn table(&self) -> &'static Table;

    /// Whether a row is needed and not yet supplied.
    fn has_missing(&self) -> bool;

    /// Whether all rows of some user are needed: [`AnyRows::missing_json`] then names owners besides keys.
    fn misses_owners(&self) -> bool;

    /// The keys that are needed and not yet supplied: a JSON array of strings or, where the key is an integer, of numbers. And
    /// the users all of whose rows are; ids never coincide.
    fn missing_json(&self) -> String;

    /// Gives up the rows of users that are needed whole and not yet supplied; answers the users, a JSON array, `None` when there
    /// are none. Whoever asks must delete every row of theirs that the store holds: nothing comes for those rows any more.
    fn give_up_owners(&mut self) -> Option<String>;

    /// Takes the rows that the store holds under the keys and owners of [`AnyRows::missing_json`], a JSON array of objects of all
    /// columns. A missing key without a row has none, so all of them must come in one call.
    ///
    /// # Errors
    /// When a row is not one of this table; nothing has been taken then.
    fn supply_json(&mut self, rows: &str) -> Result<(), serde_json::Error>;

    /// The rows that the store has not, in key order, each with one value for each column of the table.
    fn inserts(&self) -> Vec<Vec<Value>>;

    /// The rows to update, or to insert where there are none after all, likewise.
    fn updates(&self) -> Vec<Vec<Value>>;

    /// [`AnyRows::inserts`] as a JSON array of objects of all columns; `None` when there are none.
    fn inserts_json(&self) -> Option<String> {
        objects_json(self.table(), &self.inserts())
    }

    /// [`AnyRows::updates`] as a JSON array of objects of all columns; `None` when there are none.
    fn updates_json(&self) -> Option<String> {
        objects_json(self.table(), &self.updates())
    }

    /// The keys of the rows to delete, a JSON array in key order; `None` when there are none.
    fn deletes_json(&self) -> Option<String>;
}

impl<R: Row> AnyRows for Rows<R> {
    fn table(&self) -> &'static Table {
        R::TABLE
    }

    fn has_missing(&self) -> bool {
        !self.missing.is_empty() || self.misses_owners()
    }

    fn misses_owners(&self) -> bool {
        !self.missing_of.is_empty()
    }

    fn give_up_owners(&mut self) -> Option<String> {
        let owners = std::mem::take(&mut self.missing_of);
        (!owners.is_empty()).then(|| json(&owners))
    }

    fn missing_json(&self) -> String {
        json(&self.missing.iter().chain(&self.missing_of).collect::<Vec<_>>())
    }

    fn supply_json(&mut self, rows: &str) -> Result<(), serde_json::Error> {
        let rows: Vec<R> = serde_json::from_str(rows)?;
        self.supply_missing(rows.into_iter());
        Ok(())
    }

    fn inserts(&self) -> Vec<Vec<Value>> {
        self.entries.values().filter_map(Entry::inserted).map(values_of).collect()
    }

    fn updates(&self) -> Vec<Vec<Value>> {
        self.entries.values().filter_map(Entry::updated).map(values_of).collect()
    }

    fn deletes_json(&self) -> Option<String> {
        let keys = self.deletes();
        (!keys.is_empty()).then(|| json(&keys))
    }
}

fn objects_json(table: &'static Table, rows: &[Vec<Value>]) -> Option<String> {
    let objects: Vec<Object<'_>> = rows.iter().map(|values| Object { table, values }).collect();
    (!objects.is_empty()).then(|| json(&objects))
}

#[expect(clippy::expect_used, reason = "keys and rows are made of strings and integers under fixed names")]
fn json(values: &impl Serialize) -> String {
    serde_json::to_string(values).expect("strings and integers are JSON")
}
