//! Whether the log could have been written by the rules: every event that the state before it should not have allowed.
//!
//! What one stream allows, its aggregate says; what several say together, `world`; who may do what at all, `causes`. Memory
//! holds what is alive, not what has been: streams that have ended are forgotten.

mod causes;
mod world;

use std::collections::HashMap;

use aggregates::NotAllowed;
use projections::{ActorRef, FoldError, Recorded};
use serde::Serialize;

use super::ReplayError;
use crate::log::EventRecord;
use crate::log::inspect::{Damage, Inspected};
use crate::log::past::Past;
use crate::log::rebuild::Progress;
use world::World;

pub use world::DECIDED_BEFORE_SECONDS;

/// Streams of refused sign-ins, one a minute, whose sequence is remembered. They never end, and nobody goes back to an old one.
const REMEMBERED_MINUTES: usize = 60;

/// An event that should not be where it is, or not as it is.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub position: i64,
    /// Absent when it is about the log and not about one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(serialize_with = "words")]
    pub reason: Reason,
}

fn words<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("position {expected} should follow: there is a gap")]
    PositionGap { expected: i64 },
    #[error("another event has the same position")]
    PositionDoubled,
    #[error("the leaf hash is not that of the row")]
    LeafHash,
    #[error("it is recorded before the event at the position before it")]
    TimeRunsBackwards,
    #[error("it has the sequence {found}, and {expected} should follow")]
    Sequence { found: i64, expected: i64 },
    #[error("it has the sequence {0}, and its stream has ended or never began")]
    NoStream(i64),
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("there is no such stream")]
    Misplaced,
    #[error("{0} does not do this")]
    Cause(ActorRef),
    #[error("the setup session that did it was not alive")]
    SetupSessionNotAlive,
    #[error("no session of the user who did it was alive")]
    NoSessionAlive,
    #[error("the API token that did it was not alive")]
    ApiTokenNotAlive,
    #[error("the user who did it is not the one whom it is about")]
    SomebodyElse,
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error(transparent)]
    Claimed(#[from] FoldError),
    #[error("{0}")]
    Contradicts(&'static str),
    #[error("the log's head says that it ends at position {0}")]
    Head(i64),
    #[error("the log's head has another time than the last event")]
    HeadTime,
    #[error("the log has {0} events that share a position with another")]
    SharedPositions(i64),
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many events were looked at.
    pub events: i64,
    /// Position of the last one.
    pub position: i64,
    pub findings: u64,
}

/// Folds the whole log and tells `found` of each finding, in the order of positions; `report` hears how far it has come.
///
/// # Errors
/// When the database or a wrapped key cannot be read; what `found` fails with.
pub async fn check<E: From<ReplayError>>(
    past: &Past,
    found: &mut (dyn FnMut(Finding) -> Result<(), E> + Send),
    report: &(dyn Fn(Progress) + Sync),
) -> Result<Checked, E> {
    let mut inspection = past.inspect().await.map_err(ReplayError::from)?;
    let head = inspection.head().clone();
    let mut walk = Walk::default();
    while let Some(page) = inspection.next().await.map_err(ReplayError::from)? {
        for row in page {
            walk.row(row, past, found)?;
        }
        report(Progress { position: walk.position, head: head.position });
    }
    let rows = inspection.rows().await.map_err(ReplayError::from)?;
    let shared = (rows > walk.events).then(|| Reason::SharedPositions(rows - walk.events));
    let short = (head.position != walk.position).then_some(Reason::Head(head.position));
    let time = (short.is_none() && head.recorded_at != walk.recorded_at).then_some(Reason::HeadTime);
    for reason in [shared, short, time].into_iter().flatten() {
        walk.findings += 1;
        found(Finding { position: walk.position, stream: None, reason })?;
    }
    Ok(Checked { events: walk.events, position: walk.position, findings: walk.findings })
}

/// How far a check has come.
#[derive(Default)]
struct Walk {
    events: i64,
    findings: u64,
    position: i64,
    recorded_at: i64,
    sequences: HashMap<(String, String), i64>,
    /// The streams of refused sign-ins among them, the oldest first.
    minutes: Vec<(String, String)>,
    world: World,
}

impl Walk {
    fn row<E>(
        &mut self,
        row: Inspected,
        past: &Past,
        found: &mut (dyn FnMut(Finding) -> Result<(), E> + Send),
    ) -> Result<(), E> {
        let Inspected { record, hash_holds, opened } = row;
        let mut reasons = self.row_in_its_place(&record);
        if !hash_holds {
            reasons.push(Reason::LeafHash);
        }
        let is_new = self.sequence(&record, &mut reasons);
        match opened {
            Err(damage) => reasons.push(damage.into()),
            // What a stream that is not there would allow is not asked.
            Ok(_) if !is_new => {}
            Ok(opened) => {
                let recorded = Recorded {
                    position: record.position,
                    recorded_at_micros: record.recorded_at,
                    stream: &opened.stream,
                    sequence: record.sequence,
                    event: &opened.event,
                    metadata: &opened.metadata,
                };
                reasons.extend(self.world.judge(&recorded, past.hasher()).err());
                for ended in self.world.apply(&recorded) {
                    self.sequences.remove(&(ended.aggregate_type.to_owned(), ended.aggregate_id));
                }
            }
        }
        self.events += 1;
        for reason in reasons {
            self.findings += 1;
            let stream = Some(format!("{}/{}", record.aggregate_type, record.aggregate_id));
            found(Finding { position: record.position, stream, reason })?;
        }
        Ok(())
    }

    fn row_in_its_place(&mut self, record: &EventRecord) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if record.position == self.position {
            reasons.push(Reason::PositionDoubled);
        } else if record.position != self.position + 1 {
            reasons.push(Reason::PositionGap { expected: self.position + 1 });
        }
        if record.recorded_at < self.recorded_at {
            reasons.push(Reason::TimeRunsBackwards);
        }
        self.position = record.position;
        self.recorded_at = record.recorded_at;
        reasons
    }

    /// Whether the event belongs to a stream that goes on or begins.
    fn sequence(&mut self, record: &EventRecord, reasons: &mut Vec<Reason>) -> bool {
        let (key, found) = (key(record), record.sequence);
        match self.sequences.get_mut(&key) {
            Some(last) => {
                let expected = *last + 1;
                if found != expected {
                    reasons.push(Reason::Sequence { found, expected });
                }
                *last = found.max(*last);
                true
            }
            None if found == 1 => {
                self.remember(record, key);
                true
            }
            None => {
                reasons.push(Reason::NoStream(found));
                false
            }
        }
    }

    fn remember(&mut self, record: &EventRecord, key: (String, String)) {
        if record.event_type == "SignInsRefused" {
            self.minutes.push(key.clone());
            if self.minutes.len() > REMEMBERED_MINUTES {
                self.sequences.remove(&self.minutes.remove(0));
            }
        }
        self.sequences.insert(key, 1);
    }
}

fn key(record: &EventRecord) -> (String, String) {
    (record.aggregate_type.clone(), record.aggregate_id.clone())
}
