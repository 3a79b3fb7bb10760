//! The log writer: the one place of a process from which events get into the log.
//!
//! Why no reader ever skips an event (P1): positions are given out while `log_head` is locked, and the lock is held until the
//! commit is done. The next writer, on whichever node, gets the lock only then:
//!
//! ```text
//! node A   lock head(7) ── insert 8, 9 ── head := 9 ── COMMIT
//! node B        wait for the head ........................ lock head(9) ── insert 10 ── COMMIT
//! ```
//!
//! So whoever sees position 10 sees 8 and 9. The versions are checked in a statement of its own after the lock: in READ
//! COMMITTED each statement has its own snapshot, and one that had begun before the lock was granted would see the past.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use projections::{KeyedHasher, ReadModels};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::WriterHandle;
use super::connection::{WriteConnection, WriteTarget};
use super::group::{Dated, Group, GroupError, Outcome, blames_the_data};
use super::head::{Head, Layout};
use super::nodes::Nodes;
use super::unit::{AppendError, Appended, Unit};
use crate::clock::Clock;

/// Units that share one commit at most.
pub const GROUP_UNITS: usize = 64;
/// Units that may wait; one more is refused.
pub const QUEUED_UNITS: usize = 1024;
/// How long a commit whose answer was lost is looked up before its callers are told that the outcome is unknown.
pub const LOOK_UP_SECONDS: u64 = 30;

/// A unit on its way, and who waits for it.
pub(super) struct Job {
    /// The caller holds it too, and has the time to drop it.
    pub unit: Arc<Unit>,
    pub answer: oneshot::Sender<Answer>,
}

/// What a caller gets.
type Answer = Result<Appended, AppendError>;

fn with_rows(outcomes: Vec<Outcome>, rows: &Arc<ReadModels>) -> Vec<Answer> {
    let appended = |committed| Appended { committed, rows: Arc::clone(rows) };
    outcomes.into_iter().map(|outcome| outcome.map(appended)).collect()
}

/// Hears of each commit before its callers do.
pub trait CommitObserver: Send + Sync + 'static {
    /// `models` holds every row that the commit changed.
    fn committed(&self, models: &ReadModels, head: &Head);
}

pub(super) struct Writer {
    pub target: WriteTarget,
    pub connection: Option<WriteConnection>,
    pub hasher: KeyedHasher,
    pub clock: Clock,
    pub observer: Arc<dyn CommitObserver>,
    pub nodes: Option<Arc<Nodes>>,
    /// Position of the last event this process knows of.
    pub head: watch::Sender<i64>,
    /// Whoever else writes to the database from this process holds it meanwhile.
    pub gate: Arc<Mutex<()>>,
}

/// Read models that are not kept up, for whoever watches.
pub(super) fn count_aside(layout: &Layout) {
    let aside = layout.0.values().filter(|state| state.aside_since.is_some()).count();
    metrics::gauge!("authlog_read_models_aside").set(u32::try_from(aside).unwrap_or(u32::MAX));
}

impl Writer {
    /// Lets the writer work on a thread of its own. Whatever else the process computes, its next statement then waits for the
    /// scheduler of the operating system only, and not in line behind every caller that its last commit has woken up.
    pub(super) fn start(self, queue: mpsc::Receiver<Job>) -> io::Result<WriterHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, handle) = oneshot::channel();
        thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
            runtime.block_on(self.run(queue));
            let _ = ended.send(());
        })?;
        Ok(WriterHandle(handle))
    }

    /// Takes units until the queue is closed and empty.
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(GROUP_UNITS);
        while queue.recv_many(&mut jobs, GROUP_UNITS).await > 0 {
            self.write(std::mem::take(&mut jobs)).await;
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let gate = Arc::clone(&self.gate);
        let _writing = gate.lock().await;
        let units: Vec<&Unit> = jobs.iter().map(|job| &*job.unit).collect();
        let outcomes = match self.group(&units).await {
            Ok(outcomes) => outcomes,
            Err(GroupError::Store(error)) if blames_the_data(&error) => self.one_by_one(&units).await,
            Err(error) => self.settle(error, units.len()).await,
        };
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            // The caller may have hung up; what was committed stays committed.
            let _ = job.answer.send(outcome);
        }
    }

    /// A unit that the database itself refuses must not take its neighbours with it.
    async fn one_by_one(&mut self, units: &[&Unit]) -> Vec<Answer> {
        let mut outcomes = Vec::with_capacity(units.len());
        for unit in units {
            let outcome = match self.group(&[*unit]).await {
                Ok(outcome) => outcome,
                Err(GroupError::Store(error)) if blames_the_data(&error) => {
                    vec![Err(AppendError::Refused(error.to_string()))]
                }
                Err(error) => self.settle(error, 1).await,
            };
            outcomes.extend(outcome);
        }
        outcomes
    }

    async fn settle(&mut self, error: GroupError, units: usize) -> Vec<Answer> {
        match error {
            GroupError::Store(error) | GroupError::Audit(error) => {
                let error = Arc::new(error);
                tracing::error!(%error, units, "the database failed while events were written");
                vec![Err(AppendError::Store(error)); units]
            }
            GroupError::Superseded => {
                tracing::error!(units, "another release of authlog has taken over this database");
                vec![Err(AppendError::Superseded); units]
            }
            GroupError::CommitLost { position, unit, outcomes, models, head, error } => {
                tracing::warn!(%error, position, units, "the answer to a COMMIT was lost; looking the units up");
                let answer = match self.look_up(position, unit).await {
                    Some(true) => {
                        self.tell(&models, position - 1, &head);
                        return with_rows(outcomes, &models);
                    }
                    Some(false) => AppendError::Store(Arc::new(error)),
                    None => AppendError::Unknown,
                };
                outcomes.into_iter().map(|outcome| Err(outcome.err().unwrap_or_else(|| answer.clone()))).collect()
            }
        }
    }

    /// Whether the unit whose COMMIT answer was lost is in the log. Taking the head's lock waits until the server has finished
    /// with the transaction in question.
    async fn look_up(&mut self, position: i64, unit: uuid::Uuid) -> Option<bool> {
        let give_up = tokio::time::Instant::now() + Duration::from_secs(LOOK_UP_SECONDS);
        let mut pause = Duration::from_millis(20);
        while tokio::time::Instant::now() < give_up {
            match self.try_look_up(position, unit).await {
                Ok(found) => return Some(found),
                Err(error) => {
                    tracing::warn!(%error, position, "a commit whose answer was lost cannot be looked up yet");
                    self.connection = None;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        None
    }

    async fn try_look_up(&mut self, position: i64, unit: uuid::Uuid) -> sqlx::Result<bool> {
        let sql = format!("{} WHERE position = {position}", self.target.dialect().select_events());
        let (connection, _) = self.begun().await?;
        let rows = connection.texts(&sql, None).await?;
        if rows.iter().any(|row| row.contains(&unit.to_string())) {
            connection.rollback().await?;
            return Ok(true);
        }
        // A commit whose flush failed may lie whole in SQLite's write-ahead file, to be found after a crash. One that succeeds
        // takes its place there, if it changes anything.
        connection.simple("UPDATE log_head SET recorded_at = recorded_at + 1; COMMIT").await?;
        Ok(false)
    }

    /// Lets everybody know of a commit; `before` is the position it began after.
    fn tell(&self, models: &ReadModels, before: i64, head: &Head) {
        self.observer.committed(models, head);
        if let Some(nodes) = &self.nodes {
            nodes.told(before, head.position);
        }
        self.head.send_replace(head.position);
        count_aside(&head.layout);
    }

    /// The connection, with a transaction begun that holds the head.
    async fn begun(&mut self) -> sqlx::Result<(&mut WriteConnection, Head)> {
        let (connection, head) = self.target.begun_with_head(self.connection.take()).await?;
        Ok((self.connection.insert(connection), head))
    }

    /// Writes a group. When only the rows of the audit trail are refused, the group is written again without them: trying
    /// again costs nothing while all is well, where a savepoint would cost every group two round trips.
    async fn group(&mut self, units: &[&Unit]) -> Result<Vec<Answer>, GroupError> {
        match self.transaction(units, false).await {
            Err(GroupError::Audit(error)) => {
                tracing::error!(%error, "the audit trail is set aside until it is rebuilt");
                self.transaction(units, true).await
            }
            written => written,
        }
    }

    /// One transaction. After an error the connection is dropped: what state it is in is nobody's concern.
    async fn transaction(&mut self, units: &[&Unit], without_audit: bool) -> Result<Vec<Answer>, GroupError> {
        let dialect = self.target.dialect();
        let (hasher, clock) = (self.hasher.clone(), self.clock.clone());
        let (connection, head) = self.begun().await?;
        let (at_micros, before) = (clock.now_micros(), head.position);
        let units: Vec<Dated<'_>> = units.iter().map(|unit| Dated { unit, at_micros }).collect();
        match (Group { connection, head, dialect, hasher: &hasher, without_audit }).write(&units).await {
            Ok(written) => {
                if written.moved {
                    self.tell(&written.models, before, &written.head);
                }
                Ok(with_rows(written.outcomes, &written.models))
            }
            Err(error) => {
                self.connection = None;
                Err(error)
            }
        }
    }
}
