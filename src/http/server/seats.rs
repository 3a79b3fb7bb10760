//! Room for connections: how many each source holds, and which one is given up for the next when all room is taken.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::clock::boot_micros;
use crate::http::RateKey;

/// What a connection is doing.
#[derive(Debug, Default)]
pub(in crate::http) struct Activity {
    calls: AtomicU32,
    /// Of these calls, those that cannot go on before their caller has sent more of the body.
    waiting: AtomicU32,
    /// A call was answered.
    answered: AtomicBool,
    quiet_since_micros: AtomicU64,
    /// An answer without an end is on its way.
    streams: AtomicBool,
    given_up: CancellationToken,
}

impl Activity {
    fn new() -> Self {
        Self { quiet_since_micros: AtomicU64::new(boot_micros()), ..Self::default() }
    }

    /// A call has begun; it has been answered, or left, when what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Working {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    pub(in crate::http) fn streams(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    pub(super) fn waits_for_its_caller(&self, waits: bool) {
        if waits {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns when its room is wanted for another one.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// Since when nothing is to be done for it; `None` while it works, and when it was given up already.
    fn quiet_since(&self) -> Option<u64> {
        let works = self.calls.load(Ordering::Relaxed) > self.waiting.load(Ordering::Relaxed)
            || self.streams.load(Ordering::Relaxed);
        (!works && !self.given_up.is_cancelled()).then(|| self.quiet_since_micros.load(Ordering::Relaxed))
    }
}

/// A call that is being answered. That its answer is read takes no part in it.
pub(super) struct Working(Arc<Activity>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.answered.store(true, Ordering::Relaxed);
        self.0.quiet_since_micros.store(boot_micros(), Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections that are open.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, (Option<RateKey>, Arc<Activity>)>,
    held: HashMap<RateKey, u32>,
}

/// A connection's seat; given back when dropped.
pub(super) struct Seat {
    number: u64,
    source: Option<RateKey>,
    pub(super) activity: Arc<Activity>,
    all: Seats,
}

impl Seats {
    pub(super) fn held_by(&self, source: RateKey) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).held_by(Some(source))
    }

    /// A seat for one more connection of this source.
    pub(super) fn take(&self, source: Option<RateKey>) -> Seat {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = source {
            *taken.held.entry(source).or_default() += 1;
        }
        let (number, activity) = (taken.next, Arc::new(Activity::new()));
        taken.next += 1;
        taken.seats.insert(number, (source, Arc::clone(&activity)));
        drop(taken);
        Seat { number, source, activity, all: self.clone() }
    }

    /// Gives up a connection for which nothing is to be done, if there is one.
    ///
    /// First go those that never had an answer, the oldest before the others, because that costs nobody a call; then, of the
    /// source that holds the most, the one that has been quiet longest. Connections of proxies, which speak for many, come last.
    pub(super) fn give_up_a_quiet_one(&self) -> bool {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = taken.seats.values().filter_map(|(source, activity)| {
            let since = Reverse(activity.quiet_since()?);
            let answered = activity.answered.load(Ordering::Relaxed);
            let held = if answered { taken.held_by(*source) } else { 0 };
            Some(((source.is_some(), !answered, held, since), activity))
        });
        let given_up = quiet.max_by_key(|(weight, _)| *weight);
        if let Some((_, activity)) = given_up {
            activity.given_up.cancel();
        }
        given_up.is_some()
    }
}

impl Taken {
    fn held_by(&self, source: Option<RateKey>) -> u32 {
        source.and_then(|source| self.held.get(&source)).copied().unwrap_or(0)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.seats.remove(&self.number);
        let Some(source) = self.source else { return };
        match taken.held.get(&source).copied() {
            Some(held) if held > 1 => taken.held.insert(source, held - 1),
            _ => taken.held.remove(&source),
        };
    }
}
