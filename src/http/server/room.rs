//! How many connections there may be, and what the next one gets when all room is taken: the place of a quiet one, or when all
//! of them work a place where only probes are answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::seats::{Seat, Seats};
use crate::http::RateKey;

pub(super) struct Room {
    all: Part,
    probes: Part,
    per_source: u32,
}

struct Part {
    places: Arc<Semaphore>,
    seats: Seats,
}

/// The place of one connection; given back when dropped.
pub(super) struct Place {
    pub(super) seat: Seat,
    /// Everything but probes is refused here.
    pub(super) probes_only: bool,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(connections: usize, probes: usize, per_source: u32) -> Self {
        Self { all: Part::new(connections), probes: Part::new(probes), per_source }
    }

    /// A place for one more connection of this source; none when it holds enough already. `None` is a source without a bound.
    ///
    /// It is to be called by one caller at a time, which then waits at most for a connection that was given up to close, or for
    /// probes to be answered.
    pub(super) async fn place(&self, source: Option<RateKey>) -> Option<Place> {
        // First of all: one that is refused costs nobody a place.
        if source.is_some_and(|source| self.all.seats.held_by(source) >= self.per_source) {
            return None;
        }
        let (part, probes_only) = if self.all.frees_one() { (&self.all, false) } else { (&self.probes, true) };
        if probes_only {
            part.frees_one();
        }
        // The semaphore is never closed, so the permit is always there.
        let permit = Arc::clone(&part.places).acquire_owned().await.ok()?;
        Some(Place { seat: part.seats.take(source), probes_only, _permit: permit })
    }
}

impl Part {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), seats: Seats::default() }
    }

    /// Whether a place is free, or a quiet connection is just being closed for it.
    fn frees_one(&self) -> bool {
        self.places.available_permits() > 0 || self.seats.give_up_a_quiet_one()
    }
}
