//! The calls about one object, checked stretch by stretch.
//!
//! A stretch ends where no call with an answer was on its way. Whatever comes later comes after all of it, so the states that it
//! can lead to are all that has to be kept. In a stretch without an order the smallest part that has none is looked for.

use crate::call::{Answer, Call, Object};
use crate::object::State;
use crate::search::{Open, Reached, TooWide, reach};
use crate::verdict::{Failure, GaveUp, Verdict, Violation};

/// One object, what may have become of it, and the calls that are still to be checked.
#[derive(Debug)]
pub struct Course {
    object: Object,
    reached: Vec<Reached>,
    open: Vec<Open>,
    waiting: Vec<Call>,
    verdict: Verdict,
}

impl Course {
    pub fn of(object: Object) -> Self {
        let first = Reached { state: State::first(object), used: Vec::new() };
        let verdict = Verdict { objects: 1, ..Verdict::default() };
        Self { object, reached: vec![first], open: Vec::new(), waiting: Vec::new(), verdict }
    }

    /// Whether nothing was checked yet.
    pub fn is_new(&self) -> bool {
        self.verdict.calls == 0
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Adds a call; one that began in a stretch that was checked already must be of unknown outcome.
    pub fn add(&mut self, call: Call) {
        if call.answer == Answer::Unknown {
            if !call.op.changes() {
                return;
            }
            self.verdict.unknown += 1;
            add_open(&mut self.open, &call);
        } else {
            self.waiting.push(call);
        }
    }

    /// Checks every stretch that had ended before `until`.
    pub fn check(&mut self, until: u64) -> Result<(), Failure> {
        self.waiting.sort_by_key(|call| call.begun_micros);
        let mut rest = std::mem::take(&mut self.waiting);
        let mut checked = Ok(());
        while let (Ok(()), Some(length)) = (&checked, first_stretch(&rest, until)) {
            checked = self.stretch(&rest[..length]);
            if checked.is_ok() {
                rest.drain(..length);
            }
        }
        self.waiting = rest;
        checked
    }

    fn stretch(&mut self, calls: &[Call]) -> Result<(), Failure> {
        let known: Vec<&Call> = calls.iter().collect();
        let found = reach(&self.reached, &known, &self.open, &mut self.verdict.places);
        let reached = found.map_err(|TooWide| self.gave_up(calls))?;
        if reached.is_empty() {
            let calls = self.smallest(calls);
            let before = self.reached.iter().map(|reached| reached.state.to_string()).collect();
            return Err(Failure::Violation(Box::new(Violation { object: self.object, before, calls })));
        }
        self.reached = reached;
        self.verdict.calls += calls.len();
        Ok(())
    }

    fn gave_up(&self, calls: &[Call]) -> Failure {
        let unknown = self.open.iter().map(|open| open.begun.len()).sum();
        Failure::GaveUp(GaveUp { object: self.object, calls: calls.len(), unknown })
    }

    /// The shortest beginning that has no order, and of it the calls without whose answers there would be one.
    fn smallest(&self, calls: &[Call]) -> Vec<Call> {
        let mut ends: Vec<u64> = calls.iter().filter_map(|call| call.ended_micros).collect();
        ends.sort_unstable();
        let enough = ends.partition_point(|end| !self.is_broken(&as_of(calls, *end)));
        let mut calls = as_of(calls, ends.get(enough).copied().unwrap_or(u64::MAX));
        for at in 0..calls.len() {
            let lost = unheard(&calls[at]);
            let told = std::mem::replace(&mut calls[at], lost);
            if !self.is_broken(&calls) {
                calls[at] = told;
            }
        }
        calls.retain(|call| call.answer != Answer::Unknown);
        // Calls of unknown outcome are shown where they can have had a part in it.
        let until = calls.iter().filter_map(|call| call.ended_micros).max().unwrap_or(0);
        let known = calls.clone();
        let concerns = |open: &Open| {
            let concerns = |call: &Call| {
                let state = &self.reached[0].state;
                state.order_matters((&open.op, &Answer::Unknown), (&call.op, &call.answer))
            };
            known.iter().any(concerns)
        };
        for open in self.open.iter().filter(|open| concerns(open)) {
            let begun = open.begun.iter().filter(|begun| **begun <= until);
            calls.extend(begun.map(|begun| Call {
                client: u32::MAX,
                op: open.op.clone(),
                begun_micros: *begun,
                ended_micros: None,
                answer: Answer::Unknown,
            }));
        }
        calls
    }

    /// Whether these calls certainly have no order.
    fn is_broken(&self, calls: &[Call]) -> bool {
        let mut open = self.open.clone();
        for call in calls.iter().filter(|call| call.answer == Answer::Unknown) {
            add_open(&mut open, call);
        }
        let known: Vec<&Call> = calls.iter().filter(|call| call.answer != Answer::Unknown).collect();
        reach(&self.reached, &known, &open, &mut 0).is_ok_and(|reached| reached.is_empty())
    }
}

fn add_open(open: &mut Vec<Open>, call: &Call) {
    let kind = if let Some(kind) = open.iter().position(|kind| kind.op == call.op) {
        kind
    } else {
        open.push(Open { op: call.op.clone(), begun: Vec::new() });
        open.len() - 1
    };
    let begun = &mut open[kind].begun;
    begun.insert(begun.partition_point(|other| *other <= call.begun_micros), call.begun_micros);
}

/// How many calls are in the first stretch, if it ended before `until`.
fn first_stretch(calls: &[Call], until: u64) -> Option<usize> {
    let mut quiet = 0;
    for (at, call) in calls.iter().enumerate() {
        if at > 0 && call.begun_micros > quiet {
            return (quiet < until).then_some(at);
        }
        quiet = quiet.max(call.ended_micros.unwrap_or(u64::MAX));
    }
    (!calls.is_empty() && quiet < until).then_some(calls.len())
}

fn unheard(call: &Call) -> Call {
    Call { ended_micros: None, answer: Answer::Unknown, ..call.clone() }
}

/// What was known of the calls at that moment.
fn as_of(calls: &[Call], micros: u64) -> Vec<Call> {
    let begun = calls.iter().filter(|call| call.begun_micros <= micros);
    begun.map(|call| if call.ended_micros > Some(micros) { unheard(call) } else { call.clone() }).collect()
}
