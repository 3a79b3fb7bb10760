//! What one caller after the other would be told: the contract's objects, as machines that take one call at a time.
//!
//! Written from the contract. A machine answers which state a call with this answer leads to, if it may be answered so; and what
//! it does when it takes effect and nobody hears of it. It knows no time: runs are to be shorter than tokens and sessions live.

mod setup;
mod single_use;
mod unique;
mod user;

use std::fmt;

use crate::call::{Answer, Object, Op};

pub use user::Status;

/// What an object is after some of its calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Setup(setup::Setup),
    Unique(unique::Unique),
    Once(single_use::Once),
    User(user::User),
}

impl State {
    /// Before anything has happened.
    pub fn first(object: Object) -> Self {
        match object {
            Object::Setup => Self::Setup(setup::Setup::default()),
            Object::Address(_) => Self::Unique(unique::Unique { subject: false, holder: unique::Holder::Nobody }),
            Object::Subject(_) => Self::Unique(unique::Unique { subject: true, holder: unique::Holder::Nobody }),
            Object::State(_) => Self::Once(single_use::Once::default()),
            Object::User(_) => Self::User(user::User::default()),
        }
    }

    /// Where a call with this answer leads; `None` when it cannot be answered so here.
    pub fn step(&self, op: &Op, answer: &Answer) -> Option<Self> {
        if *answer == Answer::NotTried {
            return Some(self.clone());
        }
        match self {
            Self::Setup(setup) => setup.step(op, *answer).map(Self::Setup),
            Self::Unique(holder) => holder.step(op, *answer).map(Self::Unique),
            Self::Once(once) => once.step(op, *answer).map(Self::Once),
            Self::User(user) => user.step(op, *answer).map(Self::User),
        }
    }

    /// Where a call leads that takes effect here without its caller hearing of it; `None` when it changes nothing.
    pub fn unheard(&self, op: &Op) -> Option<Self> {
        let next = match self {
            Self::Setup(setup) => Self::Setup(setup.unheard(op)?),
            Self::Unique(holder) => Self::Unique(holder.unheard(op)?),
            Self::Once(_) => Self::Once(single_use::Once::unheard(op)?),
            Self::User(user) => Self::User(user.unheard(op)?),
        };
        (next != *self).then_some(next)
    }

    /// Whether a call with this answer changes nothing, wherever it is placed.
    pub fn is_read(&self, op: &Op, answer: &Answer) -> bool {
        match answer {
            Answer::Unknown
            | Answer::Done
            | Answer::Issued { .. }
            | Answer::Opened { .. }
            | Answer::Invited { .. }
            | Answer::InvalidToken => !op.changes(),
            // Whoever is refused has used up their `state`.
            Answer::UserNotFound => !matches!(self, Self::Once(_)),
            Answer::NotTried
            | Answer::Alive { .. }
            | Answer::Dead
            | Answer::TooManyAttempts
            | Answer::TokenConsumed
            | Answer::TokenExpired
            | Answer::NoBootstrapToken
            | Answer::AlreadyConfigured
            | Answer::InvalidState
            | Answer::AlreadyExists
            | Answer::NotFound => true,
        }
    }

    /// Whether it can matter which of two calls comes first. Only that it does not is relied on.
    pub fn order_matters(&self, one: (&Op, &Answer), other: (&Op, &Answer)) -> bool {
        match self {
            Self::User(_) => user::matters(one, other) || user::matters(other, one),
            Self::Setup(_) | Self::Unique(_) | Self::Once(_) => true,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(setup) => setup.fmt(f),
            Self::Unique(holder) => holder.fmt(f),
            Self::Once(once) => once.fmt(f),
            Self::User(user) => user.fmt(f),
        }
    }
}
