//! Looks for orders in which the calls of one stretch can have happened, one after the other.
//!
//! The search is that of Wing and Gong (1993) with Lowe's memory (2017), as in Knossos and Porcupine: place a call that no call
//! still to be placed must precede, move the object on, go on from there, and go nowhere twice. It finds *all* states that the
//! calls can lead to, not one, so that a long history is checked stretch by stretch and what is behind can be forgotten.
//! Four things keep it small, none of which loses an order:
//!
//! - A call that fits and that changes nothing anywhere is placed at once: whatever can follow with it open can follow without.
//! - So is one whose order against every call that could precede it does not matter; and if it does not fit, none will help it.
//! - Of calls that ask the same and are answered the same, the one that ends first is placed first.
//! - A call whose outcome nobody knows may be placed at any time or never. It is placed only before a call that it can make a
//!   difference to; equal ones count as one kind, of which so many are left.
//!
//! It is bounded all the same: after [`MOST_PLACES`] it gives up, which is not a pass.
//!
//! Why not a library: of those for Rust, `porcupine-rs` 0.3 is near, but counts time on the wall to stop, makes every call take
//! effect within its bounds (a lost answer has none), keeps no states to go on from, and brings criterion and regex along as
//! dependencies; `todc-utils` 0.1 has no bound and no open calls; `stateright` 0.31 searches without memory and brings a web server;
//! `lincheck` runs data structures inside loom. The search itself is shorter than what it would take to work around those.

use std::collections::HashSet;

use crate::call::{Answer, Call, Op};
use crate::object::State;

/// Places in a stretch that are looked at before the search gives up.
pub const MOST_PLACES: usize = 50_000;

/// Calls of one kind that may have their effect at any time since they began, or never.
#[derive(Clone, Debug)]
pub struct Open {
    pub op: Op,
    /// What they would have been answered, where that is known.
    pub answer: Answer,
    /// When each began, in order, and whose it is.
    pub begun: Vec<(u64, u32)>,
}

impl Open {
    /// How many of them had begun by then.
    fn begun_by(&self, micros: u64) -> usize {
        self.begun.partition_point(|(begun, _)| *begun <= micros)
    }

    /// Where one of them leads; `None` when it changes nothing.
    fn effect(&self, state: &State) -> Option<State> {
        match self.answer {
            Answer::Unknown => state.unheard(&self.op),
            answer => state.step(&self.op, &answer).filter(|next| next != state),
        }
    }
}

/// What may have become of the object: a state, and how many calls of each open kind have had their effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reached {
    pub state: State,
    pub used: Vec<u32>,
}

impl Reached {
    /// Whether whatever can follow the other can follow this one: it is in the same state, with no fewer calls left.
    fn covers(&self, other: &Self) -> bool {
        let used = |reached: &Self, kind: usize| reached.used.get(kind).copied().unwrap_or(0);
        self.state == other.state
            && (0..self.used.len().max(other.used.len())).all(|kind| used(self, kind) <= used(other, kind))
    }
}

/// The search has looked at too many places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooWide;

/// A place in the search.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// All calls before this index are placed,
    below: usize,
    /// and these behind it.
    beyond: Vec<usize>,
    at: Reached,
}

impl Place {
    fn is_placed(&self, call: usize) -> bool {
        call < self.below || self.beyond.binary_search(&call).is_ok()
    }

    fn place(&mut self, call: usize, state: State) {
        if let Err(at) = self.beyond.binary_search(&call) {
            self.beyond.insert(at, call);
        }
        let followed = self.beyond.iter().zip(self.below..).take_while(|(call, next)| **call == *next).count();
        self.beyond.drain(..followed);
        self.below += followed;
        self.at.state = state;
    }

    fn with(&self, call: usize, state: State) -> Self {
        let mut next = self.clone();
        next.place(call, state);
        next
    }

    fn with_open(&self, kind: usize, state: State) -> Self {
        let mut next = self.clone();
        next.at.used[kind] += 1;
        next.at.state = state;
        next
    }
}

/// All that the calls can lead to from any of the starts; nothing, when they have no order. `looked_at` counts the places.
///
/// `calls` are those with an answer, in the order in which they began.
pub fn reach(
    starts: &[Reached],
    calls: &[&Call],
    open: &[Open],
    looked_at: &mut usize,
) -> Result<Vec<Reached>, TooWide> {
    let mut search = Search { calls, open, seen: HashSet::new(), waiting: Vec::new(), ends: Vec::new() };
    for start in starts {
        let mut at = start.clone();
        at.used.resize(open.len(), 0);
        search.look_at(Place { below: 0, beyond: Vec::new(), at });
    }
    while let Some(place) = search.waiting.pop() {
        if search.seen.len() > MOST_PLACES {
            return Err(TooWide);
        }
        search.go_on(place);
    }
    *looked_at += search.seen.len();
    Ok(without_covered(search.ends))
}

fn without_covered(mut ends: Vec<Reached>) -> Vec<Reached> {
    ends.sort_by_key(|end| end.used.iter().sum::<u32>());
    let mut kept: Vec<Reached> = Vec::new();
    for end in ends {
        if !kept.iter().any(|other| other.covers(&end)) {
            kept.push(end);
        }
    }
    kept
}

struct Search<'a> {
    calls: &'a [&'a Call],
    open: &'a [Open],
    seen: HashSet<Place>,
    waiting: Vec<Place>,
    ends: Vec<Reached>,
}

impl Search<'_> {
    fn look_at(&mut self, place: Place) {
        if !self.seen.contains(&place) {
            self.seen.insert(place.clone());
            self.waiting.push(place);
        }
    }

    fn go_on(&mut self, mut place: Place) {
        loop {
            if place.below == self.calls.len() {
                self.ends.push(place.at);
                return;
            }
            let (next, first_end) = self.next(&place);
            match self.without_choice(&place, &next) {
                Some(Forced::Place(call, state)) => place.place(call, state),
                Some(Forced::Nothing) => return,
                None => {
                    self.branch(&place, &next, first_end);
                    return;
                }
            }
        }
    }

    /// The calls that may come next, for none that is left must precede them; and when the first of them ended.
    fn next(&self, place: &Place) -> (Vec<usize>, u64) {
        let (mut next, mut first_end) = (Vec::new(), u64::MAX);
        for call in (place.below..self.calls.len()).filter(|call| !place.is_placed(*call)) {
            if self.calls[call].begun_micros > first_end {
                break;
            }
            next.push(call);
            first_end = first_end.min(ended(self.calls[call]));
        }
        (next, first_end)
    }

    fn step(&self, place: &Place, call: usize) -> Option<State> {
        place.at.state.step(&self.calls[call].op, &self.calls[call].answer)
    }

    fn without_choice(&self, place: &Place, next: &[usize]) -> Option<Forced> {
        for call in next {
            let read = place.at.state.is_read(&self.calls[*call].op, &self.calls[*call].answer);
            if read && self.step(place, *call).is_some() {
                return Some(Forced::Place(*call, place.at.state.clone()));
            }
        }
        let alone = next.iter().find(|call| self.stands_alone(place, **call))?;
        Some(self.step(place, *alone).map_or(Forced::Nothing, |state| Forced::Place(*alone, state)))
    }

    /// Whether its order does not matter against anything that is left and could come before it.
    fn stands_alone(&self, place: &Place, call: usize) -> bool {
        let (own, until) = (self.calls[call], ended(self.calls[call]));
        let matters = |op: &Op, answer: &Answer| place.at.state.order_matters((&own.op, &own.answer), (op, answer));
        let left = (place.below..self.calls.len()).take_while(|other| self.calls[*other].begun_micros <= until);
        let mut left = left.filter(|other| *other != call && !place.is_placed(*other));
        !left.any(|other| matters(&self.calls[other].op, &self.calls[other].answer))
            && !self.open_left(place, until).any(|kind| matters(&self.open[kind].op, &self.open[kind].answer))
    }

    fn open_left(&self, place: &Place, until: u64) -> impl Iterator<Item = usize> {
        let left = move |kind: &usize| self.open[*kind].begun_by(until) > place.at.used[*kind] as usize;
        (0..self.open.len()).filter(left)
    }

    fn branch(&mut self, place: &Place, next: &[usize], first_end: u64) {
        let mut places = Vec::new();
        for call in next {
            let own = self.calls[*call];
            let same = |other: &&usize| self.calls[**other].op == own.op && self.calls[**other].answer == own.answer;
            let first = next.iter().filter(same).min_by_key(|other| (ended(self.calls[**other]), **other));
            if first == Some(call) {
                places.extend(self.step(place, *call).map(|state| place.with(*call, state)));
            }
        }
        for kind in self.relevant(place, next, first_end) {
            places.extend(self.open[kind].effect(&place.at.state).map(|state| place.with_open(kind, state)));
        }
        for place in places {
            self.look_at(place);
        }
    }

    /// The open kinds that can make a difference to a call that may come next, at once or through one another.
    fn relevant(&self, place: &Place, next: &[usize], first_end: u64) -> Vec<usize> {
        let mut concerned: Vec<(&Op, &Answer)> =
            next.iter().map(|call| (&self.calls[*call].op, &self.calls[*call].answer)).collect();
        let mut left: Vec<usize> = self.open_left(place, first_end).collect();
        let mut relevant = Vec::new();
        while let Some(at) = left.iter().position(|kind| {
            let op = (&self.open[*kind].op, &self.open[*kind].answer);
            concerned.iter().any(|other| place.at.state.order_matters(op, *other))
        }) {
            let kind = left.swap_remove(at);
            concerned.push((&self.open[kind].op, &self.open[kind].answer));
            relevant.push(kind);
        }
        relevant
    }
}

enum Forced {
    Place(usize, State),
    /// No order goes through here.
    Nothing,
}

fn ended(call: &Call) -> u64 {
    call.ended_micros.unwrap_or(u64::MAX)
}
