//! Judges what happened: the history of what callers were told, and the log that was left.
//!
//! [`check`] takes the calls of a run, each with the times at which it began and ended and what was answered, and asks whether
//! there is an order in which one caller after the other would have been told the same, an order that puts no call before one
//! that had ended when it began (linearizability). It knows nothing of authlog but the contract: the objects of [`object`] are
//! written from it and share no code with the service. A [`Recorder`] notes the calls while they are made.
//!
//! Nothing here makes calls, reads a clock but the recorder's own, or decides what a run should do.

pub mod call;
mod contract;
pub mod log;
pub mod object;
mod recorder;
mod search;
mod stretch;
mod verdict;

pub use call::{Answer, Call, Key, Object, Op, Role};
pub use object::Status;
pub use recorder::{Begun, Recorder};
pub use verdict::{Failure, GaveUp, Verdict, Violation};

/// Asks of each object by itself whether its calls can be put in an order, which together is the same as asking it of all
/// of them (Herlihy and Wing, 1990: linearizability is local).
///
/// # Errors
///
/// The first object whose calls cannot be, or for which the search gave up: that is no pass.
pub fn check(calls: &[Call]) -> Result<Verdict, Failure> {
    let recorder = Recorder::new();
    for call in calls {
        recorder.add(call);
    }
    recorder.finish()
}

/// The same of one object alone, whatever else the calls are about.
///
/// # Errors
///
/// As [`check`].
pub fn check_one(object: Object, calls: &[Call]) -> Result<Verdict, Failure> {
    let mut course = stretch::Course::of(object);
    for call in calls.iter().filter(|call| call.op.objects(&call.answer).contains(&object)) {
        course.add(call.clone());
    }
    course.check(u64::MAX)?;
    Ok(course.verdict())
}
