//! What the players of one instance share: where its nodes are, who its provider is, what was acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use devidp::{DevIdp, Fault};
use history::{Object, Recorder};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::Failure;
use crate::tally::{Kind, Promise, Tally};

/// Tokens that have ended and are asked about again and again.
const REMEMBERED: usize = 400;

/// A call was told that this is in the log.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) request_id: String,
    pub(crate) event_type: &'static str,
    pub(crate) call: String,
}

/// A token that no node may accept any more.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) token: String,
    pub(crate) how: String,
}

pub(crate) struct World {
    pub(crate) tally: Arc<Tally>,
    pub(crate) provider: DevIdp,
    /// Changes with every fault of the provider, and what it is now.
    provider_fault: RwLock<(u64, Option<Fault>)>,
    /// Where each node is to be found, `None` while it is down.
    bases: RwLock<Vec<Option<String>>>,
    pub(crate) owner: OnceLock<String>,
    /// What finds the instance by the command line.
    pub(crate) program: std::path::PathBuf,
    pub(crate) flags: Vec<String>,
    pub(crate) acknowledged: Mutex<Vec<Acknowledged>>,
    ended: Mutex<VecDeque<Ended>>,
    /// Addresses and tokens that may not be in the log.
    pub(crate) secrets: Mutex<VecDeque<String>>,
    pub(crate) begun: Instant,
    notes: Mutex<BufWriter<File>>,
    people: AtomicU64,
    callers: AtomicU32,
    /// What callers were told, to be put in an order.
    pub(crate) recorder: Recorder,
    judged: AtomicUsize,
    /// On which the search for an order gave up.
    unjudged: Mutex<BTreeSet<Object>>,
    /// Whether the present round goes on.
    pub(crate) goes_on: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No section under these locks leaves half a change behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(
        tally: Arc<Tally>,
        folder: &Path,
        program: &Path,
        flags: Vec<String>,
        nodes: usize,
    ) -> Result<Self, Failure> {
        let options = devidp::Options { stall: std::time::Duration::from_secs(2), ..devidp::Options::default() };
        Ok(Self {
            tally,
            provider: DevIdp::start(options)?,
            provider_fault: RwLock::new((0, None)),
            bases: RwLock::new(vec![None; nodes]),
            owner: OnceLock::new(),
            program: program.to_owned(),
            flags,
            acknowledged: Mutex::default(),
            ended: Mutex::default(),
            secrets: Mutex::default(),
            begun: Instant::now(),
            notes: Mutex::new(BufWriter::new(File::create(folder.join("history.jsonl"))?)),
            people: AtomicU64::new(0),
            callers: AtomicU32::new(0),
            recorder: Recorder::new(),
            judged: AtomicUsize::new(0),
            unjudged: Mutex::default(),
            goes_on: watch::channel(false).0,
        })
    }

    pub(crate) fn goes_on(&self) -> bool {
        *self.goes_on.borrow()
    }

    pub(crate) fn nodes(&self) -> usize {
        self.bases.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn base(&self, node: usize) -> Option<String> {
        self.bases.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned().flatten()
    }

    pub(crate) fn set_base(&self, node: usize, base: Option<String>) {
        if let Some(place) = self.bases.write().unwrap_or_else(PoisonError::into_inner).get_mut(node) {
            *place = base;
        }
    }

    /// A number that nobody has had in this world.
    pub(crate) fn next_person(&self) -> u64 {
        self.people.fetch_add(1, Ordering::Relaxed)
    }

    /// So many calls of this world have an order by now.
    pub(crate) fn judged(&self, calls: usize) {
        let before = self.judged.fetch_max(calls, Ordering::Relaxed);
        self.tally.checked_many(Promise::Linearizable, calls.saturating_sub(before));
    }

    pub(crate) fn is_unjudged(&self, object: Object) -> bool {
        lock(&self.unjudged).contains(&object)
    }

    /// The search gave up on this object, and will not be asked about it again.
    pub(crate) fn leave_unjudged(&self, object: Object) {
        // Its calls are forgotten whatever the answer is, and it is the same one.
        let _known = self.recorder.retire(object);
        if lock(&self.unjudged).insert(object) {
            self.tally.gave_up();
        }
    }

    pub(crate) fn next_caller(&self) -> u32 {
        self.callers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn set_provider_fault(&self, fault: Option<Fault>) {
        let mut present = self.provider_fault.write().unwrap_or_else(PoisonError::into_inner);
        *present = (present.0 + 1, fault);
        match fault {
            Some(fault) => self.provider.set_fault(fault),
            None => self.provider.clear_fault(),
        }
    }

    /// Two equal answers say that the provider was all the time between as the answer says.
    pub(crate) fn provider_fault(&self) -> (u64, Option<Fault>) {
        *self.provider_fault.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acknowledge(&self, event_type: &'static str, request_id: &str, call: &str) {
        let (request_id, call) = (request_id.to_owned(), call.to_owned());
        lock(&self.acknowledged).push(Acknowledged { request_id, event_type, call });
    }

    pub(crate) fn has_ended(&self, token: &str, how: &str) {
        let mut ended = lock(&self.ended);
        if ended.len() == REMEMBERED {
            ended.pop_front();
        }
        ended.push_back(Ended { token: token.to_owned(), how: how.to_owned() });
    }

    /// One of those that have ended; `number` chooses.
    pub(crate) fn an_ended(&self, number: usize) -> Option<Ended> {
        let ended = lock(&self.ended);
        ended.get(number % ended.len().max(1)).cloned()
    }

    pub(crate) fn all_ended(&self) -> Vec<Ended> {
        lock(&self.ended).iter().cloned().collect()
    }

    pub(crate) fn keep_out_of_the_log(&self, secret: &str) {
        let mut secrets = lock(&self.secrets);
        if secrets.len() == REMEMBERED {
            secrets.pop_front();
        }
        secrets.push_back(secret.to_owned());
    }

    /// Microseconds since this world began.
    pub(crate) fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes a line into the history that is kept when a promise was broken.
    pub(crate) fn note(&self, what: &Value) {
        // What cannot be written is missed only by who looks for a reason; a full disk stops the nodes first.
        let _not_written = writeln!(lock(&self.notes), "{what}");
    }

    pub(crate) fn flush_notes(&self) {
        let _not_written = lock(&self.notes).flush();
    }

    pub(crate) fn fault(&self, kind: Kind, name: &'static str, what: &str) {
        self.tally.fault(kind, name);
        self.note(&json!({ "at": self.clock(), "fault": name, "of": what }));
    }
}
