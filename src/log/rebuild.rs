//! Rebuilding read models from the log alone (promise P6): state is disposable.
//!
//! Beside the live set of tables (`users_1`) a new one is filled (`users_2`), in batches of events, each batch one transaction.
//! When fewer than a page of events is missing, the last stretch is folded under the head's lock, and there the switch happens:
//! a change of `log_head.layout`, which every writer learns with the lock.
//!
//! ```text
//! rebuild   make users_2 ── batch ─ batch ─ batch ─ indexes ── lock head ── last stretch ── layout: 2 ── COMMIT ── drop users_1
//! writers                 users_1   users_1                                                        users_2
//! ```
//!
//! Nodes that serve meanwhile read and write the old set until the switch. How far a rebuild has come is not stored: one that is
//! cut off leaves the live set as it is, and the next one begins anew. What it has left is dropped at the next start, before the next
//! rebuild, and before an erasure is said to be whole.

mod fill;
mod leftovers;
mod turns;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aggregates::KeyId;
use projections::{FoldError, KeyedHasher, TABLES, Table};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::Location;
use super::connection::{STATEMENT_TIMEOUT_SECONDS, WriteConnection, WriteTarget};
use super::dialect::{Dialect, create_index};
use super::group::{AUDIT, Amount, load_missing, row_statements};
use super::head::{Head, Layout, TableState};
use super::history::{EventSource, HistoryError, is_full, open};
use super::keyring::Keyring;
pub(super) use leftovers::drop_leftovers;
use leftovers::{Sweep, leftovers};
use turns::Turns;

/// Names the right to rebuild among the advisory locks of a PostgreSQL database.
const TURN: i64 = 0x6175_7468_6c6f_6701;
/// How often a node asks whether another one has finished rebuilding.
const TURN_PAUSE: Duration = Duration::from_millis(100);
/// How long a command waits for that before it says who is at it: long enough for whoever only drops old tables.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// How often a node that cannot do without says whom it waits for.
const TURN_WORD_EVERY: Duration = Duration::from_secs(10);
/// A process that does not say a word for so long while it has the turn is frozen: PostgreSQL ends its connection then, and
/// the turn is free. A rebuild rests for less than a second.
const TURN_IDLE_SECONDS: u64 = 60;

/// A rebuild failed; the live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is no read model {0:?}; there are {list}", list = TABLES.map(|table| table.name).join(", "))]
    UnknownModel(String),
    #[error("a rebuild is going on already; wait until it has ended")]
    Busy,
    #[error("a rebuild is going on elsewhere ({0}); wait until it has ended, or end that process")]
    Elsewhere(String),
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("the log cannot be folded: {0}")]
    Fold(FoldError),
}

/// Whether there is somebody who would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nobody: as fast as it goes. On PostgreSQL other processes may be there all the same, which is looked up.
    Alone,
    /// A service: the rebuild works a third of the time, and on SQLite, where only one can write, lets it through every
    /// millisecond or two.
    InTurns,
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Position of the last event in the new tables.
    pub position: i64,
    /// Where the log ended when the rebuild began.
    pub head: i64,
}

/// Who is there besides a rebuild.
#[derive(Clone, Copy)]
pub(super) struct Company<'a> {
    pub pace: Pace,
    /// On SQLite beside a service: what its log writer takes turns by.
    pub gate: Option<&'a Mutex<()>>,
    /// Hears how far it has come.
    pub report: &'a (dyn Fn(Progress) + Sync),
    /// Hears of the new layout before anybody writes by it.
    pub switched: &'a (dyn Fn(&Layout) + Sync),
}

impl<'a> Company<'a> {
    pub(super) const NONE: Self = Self { pace: Pace::Alone, gate: None, report: &|_| {}, switched: &|_| {} };

    /// For whoever rebuilds nothing.
    pub(super) fn beside(gate: Option<&'a Mutex<()>>) -> Self {
        Self { pace: Pace::InTurns, gate, ..Self::NONE }
    }

    async fn turn(self) -> Option<MutexGuard<'a, ()>> {
        match self.gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        }
    }
}

/// Why a rebuild does not simply go on.
enum Setback {
    /// The audit trail refuses a page. It alone may be set aside.
    Audit(String),
    /// This key was there for an earlier page and is not there for this one: what the earlier page made of its values, a later
    /// event could no longer take away.
    Erased(KeyId),
    Failed(RebuildError),
}

impl<E: Into<RebuildError>> From<E> for Setback {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What came of a rebuild.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// At the switch.
    pub head: Head,
    /// Tables of before that could not be dropped nor emptied, because they are another role's.
    pub left: Vec<String>,
}

/// Folds the whole log into new tables for the read models named, switches to them and drops the old ones; the old ones may be
/// damaged or gone. On SQLite the caller holds the data directory's lock.
///
/// # Errors
/// A [`RebuildError`]; the read models are as they were then.
pub async fn rebuild(
    location: &Location,
    keyring: &Keyring,
    hasher: &KeyedHasher,
    names: &[&str],
) -> Result<Rebuilt, RebuildError> {
    rebuild_in(Company::NONE, &location.target()?, keyring, hasher, names).await
}

/// The same in company.
pub(super) async fn rebuild_in(
    company: Company<'_>,
    target: &WriteTarget,
    keyring: &Keyring,
    hasher: &KeyedHasher,
    names: &[&str],
) -> Result<Rebuilt, RebuildError> {
    if let Some(unknown) = names.iter().find(|name| TABLES.iter().all(|table| table.name != **name)) {
        return Err(RebuildError::UnknownModel((*unknown).to_owned()));
    }
    run(company, Some(TURN_PATIENCE), target, keyring, hasher, |_, table| names.contains(&table.name)).await
}

/// Rebuilds what [`is_outdated`]. Nodes that start together take turns, and the later ones find nothing left to do.
pub(super) async fn rebuild_outdated(
    target: &WriteTarget,
    keyring: &Keyring,
    hasher: &KeyedHasher,
) -> Result<Rebuilt, RebuildError> {
    run(Company::NONE, None, target, keyring, hasher, is_outdated).await
}

/// Whether a read model's table is not there or was filled by another version of its fold.
pub(super) fn is_outdated(layout: &Layout, table: &Table) -> bool {
    layout.0.get(table.name).is_none_or(|state| state.version != table.version)
}

/// The set of tables that comes after the live one.
pub(super) fn next_set(layout: &Layout, table: &Table) -> TableState {
    let set = layout.0.get(table.name).map_or(1, |state| state.set + 1);
    TableState { set, version: table.version, aside_since: None }
}

/// `patience` is how long to wait for another rebuild; without one as long as it takes.
async fn run(
    company: Company<'_>,
    patience: Option<Duration>,
    target: &WriteTarget,
    keyring: &Keyring,
    hasher: &KeyedHasher,
    selected: impl Fn(&Layout, &Table) -> bool,
) -> Result<Rebuilt, RebuildError> {
    let dialect = target.dialect();
    let mut connection = target.connect().await?;
    take_turn(&mut connection, patience).await?;
    let in_turns = company.pace == Pace::InTurns || connection.has_company().await?;
    let company = Company { pace: if in_turns { Pace::InTurns } else { Pace::Alone }, ..company };
    let head = read_head(&mut connection, dialect.read_head()).await?;
    let tables: Vec<&'static Table> = TABLES.into_iter().filter(|table| selected(&head.layout, table)).collect();
    if tables.is_empty() {
        connection.give_up_turn().await;
        connection.close().await;
        return Ok(Rebuilt { head, left: Vec::new() });
    }
    let new = tables.iter().map(|table| (table.name.to_owned(), next_set(&head.layout, table)));
    let layout = Layout(new.collect());
    let opened = HashSet::new();
    let began_at = head.position;
    let mut rebuild = Rebuild {
        company,
        target,
        connection,
        dialect,
        keyring,
        hasher,
        tables,
        live: head.layout,
        layout,
        began_at,
        checkpoint: 0,
        opened,
        erased_rows: Vec::new(),
        turns: Turns::begin(company),
    };
    let head = rebuild.until_done().await?;
    rebuild.live = head.layout.clone();
    // The switch is done: what cannot be dropped now is dropped the next time.
    let left = rebuild.sweep().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the old tables could not be dropped");
        Vec::new()
    });
    rebuild.connection.give_up_turn().await;
    rebuild.connection.close().await;
    Ok(Rebuilt { head, left })
}

/// Waits until no other node rebuilds. A rebuild may take longer than any statement of a server should.
async fn take_turn(connection: &mut WriteConnection, patience: Option<Duration>) -> Result<(), RebuildError> {
    if matches!(connection, WriteConnection::Sqlite(_)) {
        return Ok(());
    }
    connection.take_all_the_time().await?;
    connection.simple(&format!("SET idle_session_timeout = '{TURN_IDLE_SECONDS}s'")).await?;
    let (began_at, mut said) = (Instant::now(), None::<Instant>);
    while !try_turn(connection).await? {
        if patience.is_some_and(|patience| began_at.elapsed() >= patience) {
            return Err(RebuildError::Elsewhere(holder(connection).await?));
        }
        if patience.is_none() && said.is_none_or(|said| said.elapsed() >= TURN_WORD_EVERY) {
            said = Some(Instant::now());
            let holder = holder(connection).await?;
            tracing::warn!(%holder, "waiting for a rebuild that is going on elsewhere");
        }
        tokio::time::sleep(TURN_PAUSE).await;
    }
    Ok(())
}

/// Whether nobody else rebuilds, and nobody will before the connection gives its turn up or ends.
async fn try_turn(connection: &mut WriteConnection) -> sqlx::Result<bool> {
    match connection {
        WriteConnection::Sqlite(_) => Ok(true),
        WriteConnection::Postgres(..) => {
            Ok(connection.texts(&format!("SELECT pg_try_advisory_lock({TURN})::text"), None).await? == ["true"])
        }
    }
}

/// Who rebuilds, as PostgreSQL knows them.
async fn holder(connection: &mut WriteConnection) -> sqlx::Result<String> {
    let sql = format!(
        "SELECT concat(application_name, ', server process ', pid, ', from ', coalesce(host(client_addr), 'the same host')) \
           FROM pg_locks JOIN pg_stat_activity USING (pid) \
          WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pg_locks.database = pg_stat_activity.datid \
            AND datname = current_database() AND (classid::bigint << 32) | objid::bigint = {TURN}"
    );
    let holders = connection.texts(&sql, None).await?;
    Ok(holders.into_iter().next().unwrap_or_else(|| "by somebody who has just ended".to_owned()))
}

impl WriteConnection {
    /// At once, and not when the server notices that the connection has ended. An error means that it has.
    async fn give_up_turn(&mut self) {
        if matches!(self, Self::Postgres(..)) {
            let _ = self.texts(&format!("SELECT pg_advisory_unlock({TURN})::text"), None).await;
        }
    }
}

async fn read_head(connection: &mut WriteConnection, sql: &str) -> sqlx::Result<Head> {
    let rows = connection.texts(sql, None).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Head::decode(row).map_err(|error| sqlx::Error::Decode(error.into()))
}

struct Rebuild<'a> {
    company: Company<'a>,
    target: &'a WriteTarget,
    connection: WriteConnection,
    dialect: Dialect,
    keyring: &'a Keyring,
    hasher: &'a KeyedHasher,
    tables: Vec<&'static Table>,
    /// Of all tables that are in force.
    live: Layout,
    /// Of the new tables, and of no others.
    layout: Layout,
    /// The head when the rebuild began.
    began_at: i64,
    /// Position of the last event in the new tables.
    checkpoint: i64,
    /// The keys of persons that have opened something so far.
    opened: HashSet<KeyId>,
    /// Rows that erasures delete and that are still there: by table the users, a JSON array each time.
    erased_rows: Vec<(&'static Table, String)>,
    turns: Turns<'a>,
}

impl Rebuild<'_> {
    async fn until_done(&mut self) -> Result<Head, RebuildError> {
        self.start().await?;
        loop {
            match self.proceed().await {
                Ok(head) => return Ok(head),
                Err(Setback::Failed(error)) => return Err(error),
                Err(Setback::Audit(reason)) => {
                    tracing::error!(%reason, after = self.checkpoint, "the audit trail stays set aside");
                    self.roll_back().await;
                    if let Some(state) = self.layout.0.get_mut(AUDIT) {
                        state.aside_since = Some(self.checkpoint + 1);
                    }
                }
                Err(Setback::Erased(key)) => {
                    tracing::info!(%key, "somebody was erased meanwhile; the rebuild begins anew");
                    self.roll_back().await;
                    self.start().await?;
                }
            }
        }
    }

    /// Empty tables without indexes, in place of what a rebuild that was cut off may have left.
    async fn start(&mut self) -> sqlx::Result<()> {
        self.checkpoint = 0;
        self.opened.clear();
        self.erased_rows.clear();
        for state in self.layout.0.values_mut() {
            state.aside_since = None;
        }
        // Until the switch a crash costs nothing but the rebuild.
        self.flush_commits(false).await?;
        if self.company.gate.is_some() {
            self.connection.leave_write_ahead_pages().await?;
        } else {
            self.connection.keep_more_pages().await?;
        }
        self.sweep().await?;
        // Those that could only be emptied are another role's.
        let taken = leftovers(&mut self.connection, self.dialect.table_names(), &self.live).await?;
        for table in self.tables.clone() {
            let of_table = taken.iter().filter(|(taken, _)| taken.name == table.name).map(|(_, set)| set + 1);
            let set = of_table.fold(next_set(&self.live, table).set, i64::max);
            if let Some(state) = self.layout.0.get_mut(table.name) {
                state.set = set;
            }
            let _turn = self.company.turn().await;
            self.connection.simple(&self.dialect.create_table(table, set)).await?;
            // In turns all indexes grow with the rows: to make one of a million rows takes a second.
            let made = if self.company.gate.is_some() { table.indexes } else { &[] };
            for index in made {
                self.connection.simple(&create_index(table, set, index)).await?;
            }
        }
        Ok(())
    }

    /// Drops what is not in force; answers what could be neither dropped nor emptied.
    async fn sweep(&mut self) -> sqlx::Result<Vec<String>> {
        let Self { company, connection, turns, dialect, live, .. } = self;
        Sweep { company: *company, connection, turns }.all_but(dialect.table_names(), live).await
    }

    /// A setback may come in a transaction or outside of one, where there is nothing to take back.
    async fn roll_back(&mut self) {
        let _ = self.connection.rollback().await;
    }

    async fn proceed(&mut self) -> Result<Head, Setback> {
        loop {
            self.catch_up().await?;
            self.make_indexes().await?;
            if let Some(head) = self.switch().await? {
                return Ok(head);
            }
        }
    }

    /// What is done once all rows are there; in turns it has been done on the way.
    async fn make_indexes(&mut self) -> sqlx::Result<()> {
        if self.company.gate.is_some() {
            return Ok(());
        }
        if self.dialect == Dialect::Postgres && self.company.pace == Pace::InTurns {
            self.connection.simple("SET max_parallel_maintenance_workers = 0").await?;
        }
        for table in &self.tables {
            let set = self.layout.set_of(table.name);
            for index in table.indexes {
                self.connection.simple(&create_index(table, set, index)).await?;
            }
        }
        // By an index now, where each would have read the whole table before.
        for (table, owners) in std::mem::take(&mut self.erased_rows) {
            if let Some(delete) = self.dialect.delete_by_owners(table, self.layout.set_of(table.name)) {
                self.connection.run(&delete, &owners).await?;
            }
        }
        Ok(())
    }

    /// Folds the last stretch under the head's lock and puts the new tables in force; `None` when there is more than a page to
    /// fold again.
    async fn switch(&mut self) -> Result<Option<Head>, Setback> {
        self.flush_commits(true).await?;
        let _turn = self.company.turn().await;
        let mut head = self.connection.begin_with_head().await?;
        if self.dialect == Dialect::Postgres {
            // From here on others wait.
            let milliseconds = STATEMENT_TIMEOUT_SECONDS * 1000;
            self.connection.simple(&format!("SET LOCAL statement_timeout = {milliseconds}")).await?;
        }
        let mut source = EventSource::open(self.target).await?;
        let records = source.next_page(self.checkpoint).await?;
        if is_full(records.len()) {
            self.connection.rollback().await?;
            return Ok(None);
        }
        let end = records.last().map_or(self.checkpoint, |record| record.position);
        if end < head.position {
            return Err(HistoryError::Missing(end + 1).into());
        }
        let page = open(records, self.keyring).await?;
        fill::notice_erasures(&mut self.opened, &page)?;
        let mut batch = self.empty_batch();
        for event in &page.events {
            batch.need(&event.recorded(), self.hasher);
        }
        load_missing(&mut self.connection, self.dialect, &mut batch, &self.layout).await?;
        fill::fold(&mut batch, &page.events, self.hasher)?;
        let statements = row_statements(self.dialect, &mut batch, &self.layout, Amount::Few);
        fill::write(&mut self.connection, statements).await?;
        head.layout.0.extend(self.layout.0.clone());
        let argument = head.encode().map_err(|error| sqlx::Error::Decode(error.into()))?;
        self.connection.run(self.dialect.set_head(), &argument).await?;
        self.connection.commit().await?;
        (self.company.switched)(&head.layout);
        Ok(Some(head))
    }

    /// Whether the database waits for the disk at every commit.
    async fn flush_commits(&mut self, flush: bool) -> sqlx::Result<()> {
        let sql = match (self.dialect, flush) {
            (Dialect::Sqlite, true) => "PRAGMA synchronous = FULL",
            (Dialect::Sqlite, false) => "PRAGMA synchronous = NORMAL",
            (Dialect::Postgres, true) => "SET synchronous_commit = on",
            (Dialect::Postgres, false) => "SET synchronous_commit = off",
        };
        self.connection.simple(sql).await
    }
}
