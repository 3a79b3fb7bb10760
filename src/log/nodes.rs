//! Nodes that answer from memory while others write, and the wait for them.
//!
//! A node looks at the log's head again and again. It notes its clock, then, by one statement, raises the beat of its row in
//! `nodes` and reads the head; when its memory has forgotten everything that changed up to that head, it may answer from memory
//! until a lease after the time noted. Whoever changes what a memory may hold waits, after the commit, until every node has
//! folded that far or its lease must have run out:
//!
//! ```text
//! node A   note t ── beat, read head 7 ── forget ..7 ── answers from memory until t + lease ─┤ reads rows
//! node B            COMMIT 8 ── read nodes: A has folded 7 ── wait: A at 8, or 1.1 leases ────┴── answer "revoked"
//! ```
//!
//! Why A says yes to nothing that B has answered "revoked" to (P4): a memory that has not forgotten what 8 changed was folded to
//! a head that was read before 8 was committed. So `t` lies before the commit, and the lease ends before B answers. A node whose
//! row B could not see yet read its head in a later statement than the one that made the row, so after the commit.
//! `docs/nodes.md` goes through every step.
//!
//! Architecture invariant: memory is trusted only while [`Nodes::may_answer`]; nothing else makes a no of it, or an old yes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aggregates::StreamId;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::beside::Beside;
use super::connection::WriteConnection;
use super::database::Database;
use crate::clock::boot_micros;

/// No node may answer from memory longer than this after it has looked at the head.
pub const LONGEST_LEASE: Duration = Duration::from_secs(5);
/// A node looks at the head so many times in a lease.
pub const BEATS_IN_A_LEASE: u32 = 10;
/// While the log grows, a node looks again after this.
const PAUSE_AFTER_NEWS: Duration = Duration::from_millis(5);
/// Who waits for nodes looks at them so often.
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(3);
/// A node that is further behind forgets all it knows: that is cheaper than reading so many events.
pub const FORGETS_ALL_BEHIND: i64 = 10_000;
/// A node that cannot reach the database tries again after this.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

const REGISTER: &str = "INSERT INTO nodes (id, beat, position, lease_millis) \
     SELECT $1::json->>'id', 0, ($1::json->>'position')::bigint, ($1::json->>'lease_millis')::bigint";
const BEAT: &str = "UPDATE nodes SET beat = beat + 1, position = ($1::json->>'position')::bigint \
     WHERE id = $1::json->>'id' RETURNING (SELECT position FROM log_head)::text";
const RESIGN: &str = "DELETE FROM nodes WHERE id = $1::json->>'id'";
/// A node whose beat has not moved has no lease any more, and begins anew when it finds its row gone.
const LAPSE: &str = "DELETE FROM nodes USING json_to_recordset($1::json) AS silent(id text, beat bigint) \
     WHERE nodes.id = silent.id AND nodes.beat = silent.beat";
const MOVED: &str = "SELECT DISTINCT aggregate_type || '/' || aggregate_id FROM events \
     WHERE position > ($1::json->>'after')::bigint AND position <= ($1::json->>'until')::bigint";
/// Also when the time it is due lies further ahead than anybody can have put it: the server's clock was set back. What can have
/// been put is told by the clock of now, when the row's lock is held: whoever waited for it began before the one who was first.
const CLAIM: &str = "INSERT INTO chores AS chore (name, due_at) \
     SELECT $1::json->>'name', clock_timestamp() + ($1::json->>'millis')::bigint * interval '1 millisecond' \
     ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at \
     WHERE chore.due_at <= clock_timestamp() \
     OR chore.due_at > clock_timestamp() + ($1::json->>'millis')::bigint * interval '1 millisecond'";
const ALL: &str = "SELECT json_build_object('id', id, 'beat', beat, 'position', position, 'lease_millis', lease_millis)::text \
     FROM nodes";

/// What a node keeps in memory, as far as other nodes can change it.
pub trait NodeMemory: Send + Sync {
    /// Events were written to this stream.
    fn moved(&self, stream: &StreamId);
    /// More has changed than is worth looking at.
    fn forget_all(&self);
}

/// A row of the table.
#[derive(Clone, Debug, Deserialize)]
struct Node {
    id: String,
    beat: i64,
    /// How far it has folded.
    position: i64,
    lease_millis: u64,
}

impl Node {
    /// From the moment of a commit on, it has forgotten what it knew before after this at the latest, by any clock that is not
    /// a tenth slower than its own.
    fn forgets_after(&self) -> Duration {
        Duration::from_millis(self.lease_millis) * 11 / 10
    }
}

/// All rows, and when they began to be read.
#[derive(Debug)]
struct Look {
    begun: Instant,
    nodes: Vec<Node>,
}

/// Whose events a memory need not be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// This process wrote them, and its memory has heard of it.
    Told,
    /// They may be of any node.
    Unknown,
}

/// This process among those that write to one PostgreSQL database.
pub struct Nodes {
    database: Database,
    beside: Beside,
    /// The row of this process, while it has one.
    id: RwLock<Option<String>>,
    /// Memory may answer until then, by the clock of [`boot_micros`].
    until: AtomicU64,
    /// Memory has forgotten what changed up to this position.
    folded: AtomicI64,
    latest: Mutex<Option<Look>>,
}

impl Nodes {
    /// Memory must be empty, or as the log was at `position`.
    pub(super) fn new(database: Database, beside: Beside, position: i64) -> Self {
        Self {
            database,
            beside,
            id: RwLock::default(),
            until: AtomicU64::new(0),
            folded: AtomicI64::new(position),
            latest: Mutex::default(),
        }
    }

    /// Whether memory is as good as the rows at this moment. To be asked when a request has been read, and before memory is.
    pub fn may_answer(&self) -> bool {
        boot_micros() < self.until.load(Ordering::Acquire)
    }

    /// Memory has heard of a commit of this process that took the log from one position to another.
    pub(super) fn told(&self, before: i64, after: i64) {
        // What others wrote before it is still to be folded, if there is anything.
        let _ = self.folded.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Keeps the right to answer from memory until told to stop.
    pub async fn keep_lease(&self, lease: Duration, memory: &dyn NodeMemory, stop: CancellationToken) {
        let mut connection = None;
        let mut failing = false;
        let working = async {
            loop {
                let pause = match self.beat(&mut connection, lease, memory).await {
                    Ok(news) => {
                        failing = false;
                        if news { PAUSE_AFTER_NEWS } else { lease / BEATS_IN_A_LEASE }
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(%error, "the log's head cannot be read: sessions are not checked from memory");
                        }
                        connection = None;
                        PAUSE_AFTER_FAILURE
                    }
                };
                sleep(pause).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(working).await;
        self.until.store(0, Ordering::Release);
        self.resign().await;
    }

    /// Looks at the head once; answers whether the log has grown.
    async fn beat(
        &self,
        kept: &mut Option<WriteConnection>,
        lease: Duration,
        memory: &dyn NodeMemory,
    ) -> sqlx::Result<bool> {
        let connection = if let Some(connection) = kept.take() { connection } else { self.connect().await? };
        let connection = kept.insert(connection);
        let Some(id) = self.id() else {
            return self.register(connection, lease).await.map(|()| true);
        };
        // Before the statement begins, and so before it sees anything.
        let begun = boot_micros();
        let folded = self.folded.load(Ordering::Acquire);
        let argument = json!({ "id": id, "position": folded }).to_string();
        let head = connection.texts(BEAT, Some(&argument)).await?;
        let Some(head) = head.first().and_then(|head| head.parse::<i64>().ok()) else {
            tracing::info!("this node was given up by another one; it begins anew");
            self.until.store(0, Ordering::Release);
            self.set_id(None);
            return Ok(true);
        };
        self.fold(connection, memory, folded, head).await?;
        let lease = u64::try_from(lease.as_micros()).unwrap_or(0);
        self.until.store(begun.saturating_add(lease), Ordering::Release);
        Ok(head > folded)
    }

    async fn connect(&self) -> sqlx::Result<WriteConnection> {
        let mut connection = self.beside.target().connect().await?;
        // A beat that a crash of the server takes back makes others wait longer, never shorter.
        connection.simple("SET synchronous_commit = off").await?;
        Ok(connection)
    }

    /// Lets memory forget what changed between two positions.
    async fn fold(
        &self,
        connection: &mut WriteConnection,
        memory: &dyn NodeMemory,
        after: i64,
        until: i64,
    ) -> sqlx::Result<()> {
        // All of it was this process' own, and memory has heard of it.
        if self.folded.load(Ordering::Acquire) >= until {
            return Ok(());
        }
        if until - after > FORGETS_ALL_BEHIND {
            memory.forget_all();
        } else {
            let argument = json!({ "after": after, "until": until }).to_string();
            for stream in connection.texts(MOVED, Some(&argument)).await? {
                match stream.split_once('/').and_then(|(kind, id)| StreamId::of(kind, id).ok()) {
                    Some(stream) => memory.moved(&stream),
                    // A later release knows more kinds of streams.
                    None => memory.forget_all(),
                }
            }
        }
        self.folded.fetch_max(until, Ordering::AcqRel);
        Ok(())
    }

    /// Makes a row for this process. It gives no right yet: what was committed before others could see the row is only seen by
    /// the next statement.
    async fn register(&self, connection: &mut WriteConnection, lease: Duration) -> sqlx::Result<()> {
        let id = Uuid::now_v7().to_string();
        let position = self.folded.load(Ordering::Acquire);
        let lease_millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let argument = json!({ "id": id, "position": position, "lease_millis": lease_millis }).to_string();
        // A row that a crash of the server takes back would leave a node that nobody waits for.
        connection.simple("SET synchronous_commit = on").await?;
        connection.run(REGISTER, &argument).await?;
        connection.simple("SET synchronous_commit = off").await?;
        self.set_id(Some(id));
        Ok(())
    }

    /// Takes the row of this process away, so that nobody waits for it.
    async fn resign(&self) {
        let Some(id) = self.id() else { return };
        self.set_id(None);
        if let Err(error) = self.run(RESIGN, &json!({ "id": id }).to_string()).await {
            tracing::info!(%error, "the row of this node stays until somebody has waited for it");
        }
    }

    /// Returns when no node answers any more by what was true before `position`, which is committed.
    pub async fn folded_by_all(&self, position: i64, own: Own) {
        let committed = Instant::now();
        let skipped = if own == Own::Told { self.id() } else { None };
        let mut first = None;
        loop {
            let behind = match self.look().await {
                Ok(nodes) => {
                    nodes.into_iter().filter(|node| node.position < position && Some(&node.id) != skipped.as_ref())
                }
                Err(error) => {
                    tracing::warn!(%error, "nodes cannot be read; waiting until their leases have run out");
                    return tokio::time::sleep_until(committed + LONGEST_LEASE * 11 / 10).await;
                }
            };
            let behind: HashMap<String, Node> = behind.map(|node| (node.id.clone(), node)).collect();
            let (seen_at, first) = first.get_or_insert_with(|| (Instant::now(), behind.clone()));
            // Who registered since has looked at the head since.
            let awaited: Vec<&Node> = first.values().filter(|node| behind.contains_key(&node.id)).collect();
            let waited = seen_at.elapsed();
            if awaited.iter().all(|node| waited >= node.forgets_after()) {
                let silent = |node: &&&Node| behind.get(&node.id).is_some_and(|now| now.beat == node.beat);
                self.let_lapse(awaited.iter().filter(silent).copied().collect()).await;
                return;
            }
            sleep(PAUSE_BETWEEN_LOOKS).await;
        }
    }

    /// Whether this node is the one to do what one does for all, `every` so often. Asked by all, answered with yes once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_to_do(&self, chore: &str, every: Duration) -> sqlx::Result<bool> {
        let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        Ok(self.run(CLAIM, &json!({ "name": chore, "millis": millis }).to_string()).await? > 0)
    }

    /// So that nobody else waits for them.
    async fn let_lapse(&self, silent: Vec<&Node>) {
        if silent.is_empty() {
            return;
        }
        let rows: Vec<_> = silent.iter().map(|node| json!({ "id": node.id, "beat": node.beat })).collect();
        tracing::warn!(
            nodes = silent.len(),
            "nodes have not looked at the log for longer than their lease; giving them up"
        );
        if let Err(error) = self.run(LAPSE, &json!(rows).to_string()).await {
            tracing::warn!(%error, "they could not be given up; the next call waits for them again");
        }
    }

    /// All nodes, as they are now or a little later. Callers that ask at once share one answer.
    async fn look(&self) -> sqlx::Result<Vec<Node>> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some(look) = latest.as_ref().filter(|look| look.begun >= asked) {
            return Ok(look.nodes.clone());
        }
        let begun = Instant::now();
        let rows = self.database.texts(ALL, &[]).await?;
        let nodes: Result<Vec<Node>, _> = rows.iter().map(|row| serde_json::from_str(row)).collect();
        let nodes = nodes.map_err(|error| sqlx::Error::Decode(error.into()))?;
        *latest = Some(Look { begun, nodes: nodes.clone() });
        Ok(nodes)
    }

    async fn run(&self, sql: &str, argument: &str) -> sqlx::Result<u64> {
        let turn = self.beside.turn().await;
        turn.outside_of_a_transaction(async |connection| connection.run(sql, argument).await).await
    }

    fn id(&self) -> Option<String> {
        self.id.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_id(&self, id: Option<String>) {
        *self.id.write().unwrap_or_else(PoisonError::into_inner) = id;
    }
}
