//! What the log alone tells: what was true at a moment of the past, the audit trail, what is held about a person.
//!
//! The folds are those of the read models, on rows that live in memory only: asking about the past needs no table and changes
//! none. What has been erased is erased in every past moment, too.
//!
//! Architecture invariant: nothing here writes, reads a read model's table, or reads the clock.

mod check;
mod diff;
mod moment;
mod person;
mod shown;
mod state;
mod trail;
mod why;

pub use check::{Checked, DECIDED_BEFORE_SECONDS, Finding, Reason, check};
pub use diff::{Change, Difference, differences};
pub use moment::{AsOf, Moment, Time};
pub use person::{Held, find_by_address, held};
pub use shown::{Item, OneStream, Shown};
pub use state::{ReplayError, State};
pub use trail::{Trail, entries};
pub use why::{Answer, Decider, Decides, Ending, Name, Subject, Why};
