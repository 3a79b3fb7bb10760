//! The calls about one object, checked stretch by stretch.
//!
//! A stretch ends where no call with an answer was on its way. Whatever comes later comes after all of it, so the states that it
//! can lead to are all that has to be kept. In a stretch without an order the smallest part that has none is looked for.

use std::collections::VecDeque;

use crate::call::{Answer, Call, Object};
use crate::object::State;
use crate::search::{Open, Reached, TooWide, reach};
use crate::verdict::{Failure, GaveUp, Verdict, Violation};

/// Calls that were checked and are kept to tell, of a violation, what went before.
const KEPT_CALLS: usize = 64;

/// One object, what may have become of it, and the calls that are still to be checked.
#[derive(Debug)]
pub struct Course {
    object: Object,
    reached: Vec<Reached>,
    open: Vec<Open>,
    waiting: Vec<Call>,
    /// The last stretches, each with what the object can have been before it.
    past: VecDeque<(Vec<Reached>, Vec<Call>)>,
    verdict: Verdict,
}

impl Course {
    pub fn of(object: Object) -> Self {
        let first = Reached { state: State::first(object), used: Vec::new() };
        let verdict = Verdict { objects: 1, ..Verdict::default() };
        Self { object, reached: vec![first], open: Vec::new(), waiting: Vec::new(), past: VecDeque::new(), verdict }
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
            return Err(Failure::Violation(Box::new(self.violation(calls))));
        }
        self.past.push_back((std::mem::replace(&mut self.reached, reached), calls.to_vec()));
        while self.past.iter().map(|(_, calls)| calls.len()).sum::<usize>() > KEPT_CALLS {
            self.past.pop_front();
        }
        self.verdict.calls += calls.len();
        Ok(())
    }

    fn violation(&self, calls: &[Call]) -> Violation {
        let mut known: Vec<Call> = self.past.iter().flat_map(|(_, calls)| calls.clone()).collect();
        known.extend_from_slice(calls);
        let before = self.past.front().map_or(&self.reached, |(reached, _)| reached);
        let calls = self.smallest(before, &known);
        let before = before.iter().map(|reached| reached.state.to_string()).collect();
        Violation { object: self.object, before, calls }
    }

    fn gave_up(&self, calls: &[Call]) -> Failure {
        let unknown = self.open.iter().map(|open| open.begun.len()).sum();
        Failure::GaveUp(GaveUp { object: self.object, calls: calls.len(), unknown })
    }

    /// The shortest beginning that has no order, and of it the calls without which there would be one.
    fn smallest(&self, before: &[Reached], calls: &[Call]) -> Vec<Call> {
        let mut ends: Vec<u64> = calls.iter().filter_map(|call| call.ended_micros).collect();
        ends.sort_unstable();
        let enough = ends.partition_point(|end| !self.is_broken(before, &as_of(calls, *end)));
        let mut calls = as_of(calls, ends.get(enough).copied().unwrap_or(u64::MAX));
        for at in 0..calls.len() {
            let lost = without_end(&calls[at]);
            let told = std::mem::replace(&mut calls[at], lost);
            if !self.is_broken(before, &calls) {
                calls[at] = told;
            }
        }
        calls.retain(|call| call.ended_micros.is_some());
        let until = calls.iter().filter_map(|call| call.ended_micros).max().unwrap_or(0);
        let lost = self.lost_beside(&calls, until);
        calls.extend(lost);
        calls
    }

    /// The calls of unknown outcome that can have had a part in it.
    fn lost_beside(&self, calls: &[Call], until: u64) -> Vec<Call> {
        let first = State::first(self.object);
        let concerns =
            |open: &Open, call: &Call| first.order_matters((&open.op, &open.answer), (&call.op, &call.answer));
        let mut lost = Vec::new();
        for open in self.open.iter().filter(|open| calls.iter().any(|call| concerns(open, call))) {
            for (begun_micros, client) in open.begun.iter().copied().filter(|(begun, _)| *begun <= until) {
                let answer = Answer::Unknown;
                lost.push(Call { client, op: open.op.clone(), begun_micros, ended_micros: None, answer });
            }
        }
        lost
    }

    /// Whether these calls certainly have no order.
    fn is_broken(&self, before: &[Reached], calls: &[Call]) -> bool {
        let mut open = self.open.clone();
        for call in calls.iter().filter(|call| call.ended_micros.is_none()) {
            add_open(&mut open, call);
        }
        let known: Vec<&Call> = calls.iter().filter(|call| call.ended_micros.is_some()).collect();
        reach(before, &known, &open, &mut 0).is_ok_and(|reached| reached.is_empty())
    }
}

fn add_open(open: &mut Vec<Open>, call: &Call) {
    let kind = if let Some(kind) = open.iter().position(|kind| kind.op == call.op && kind.answer == call.answer) {
        kind
    } else {
        open.push(Open { op: call.op.clone(), answer: call.answer, begun: Vec::new() });
        open.len() - 1
    };
    let begun = &mut open[kind].begun;
    let at = begun.partition_point(|(other, _)| *other <= call.begun_micros);
    begun.insert(at, (call.begun_micros, call.client));
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

/// The same call, as if it were not known whether or when it had its effect.
fn without_end(call: &Call) -> Call {
    Call { ended_micros: None, ..call.clone() }
}

/// What was known of the calls at that moment.
fn as_of(calls: &[Call], micros: u64) -> Vec<Call> {
    let begun = calls.iter().filter(|call| call.begun_micros <= micros);
    begun.map(|call| if call.ended_micros > Some(micros) { without_end(call) } else { call.clone() }).collect()
}
