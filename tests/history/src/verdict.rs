//! What a check answers, in words for people.

use std::fmt;

use crate::call::{Call, Object};

/// What was checked, when nothing was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub objects: usize,
    /// Calls with an answer that were put in an order. One that is about two objects counts twice.
    pub calls: usize,
    /// Calls whose outcome nobody knows, and that could have changed something.
    pub unknown: usize,
    /// Places that the search has looked at where there was a choice.
    pub places: usize,
}

impl Verdict {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            objects: self.objects + other.objects,
            calls: self.calls + other.calls,
            unknown: self.unknown + other.unknown,
            places: self.places + other.places,
        }
    }
}

/// Why a history is no pass.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Violation(Box<Violation>),
    #[error("{0}")]
    GaveUp(GaveUp),
}

/// The calls about an object have no order that explains their answers.
#[derive(Clone, Debug)]
pub struct Violation {
    pub object: Object,
    /// What the object can have been before them, in words.
    pub before: Vec<String>,
    /// Calls that have no order together; without any one of those with an answer there would be one.
    pub calls: Vec<Call>,
}

/// The search has looked at more places than it may.
#[derive(Clone, Debug)]
pub struct GaveUp {
    pub object: Object,
    /// How many calls were in the stretch, and how many of unknown outcome might be among them.
    pub calls: usize,
    pub unknown: usize,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, calls, unknown } = self;
        write!(
            f,
            "gave up on {object}: {calls} calls at once and {unknown} of unknown outcome have too many orders; not a pass"
        )
    }
}

/// How wide the timeline is.
const COLUMNS: usize = 48;
/// States that are told at most.
const STATES: usize = 4;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: no order of these {} calls explains their answers", self.object, self.calls.len())?;
        for state in self.before.iter().take(STATES) {
            writeln!(f, "  before: {state}")?;
        }
        if self.before.len() > STATES {
            writeln!(f, "  before: or one of {} other states", self.before.len() - STATES)?;
        }
        let mut calls: Vec<&Call> = self.calls.iter().collect();
        calls.sort_by_key(|call| (call.client, call.begun_micros));
        let first = calls.iter().map(|call| call.begun_micros).min().unwrap_or(0);
        let last = calls.iter().filter_map(|call| call.ended_micros).chain(calls.iter().map(|c| c.begun_micros)).max();
        let micros_a_column = (last.unwrap_or(first) - first) / COLUMNS as u64 + 1;
        for call in calls {
            let column = |micros: u64| usize::try_from((micros - first) / micros_a_column).unwrap_or(COLUMNS);
            let begun = column(call.begun_micros);
            let bar = match call.ended_micros {
                Some(ended) => format!("{}|{}|", " ".repeat(begun), "-".repeat(column(ended) - begun)),
                None => format!("{}|{}>", " ".repeat(begun), "-".repeat(COLUMNS - begun)),
            };
            let (millis, micros) = ((call.begun_micros - first) / 1000, (call.begun_micros - first) % 1000);
            let (client, width) = (call.client, COLUMNS + 2);
            writeln!(
                f,
                "  client {client:<3} {millis:>5}.{micros:03} ms  {bar:<width$} {} -> {:?}",
                call.op, call.answer
            )?;
        }
        Ok(())
    }
}
