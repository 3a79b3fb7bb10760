//! A unique key: an address, or a subject of the provider. One user has it.

use std::fmt;

use crate::call::{Answer, Key, Op};

/// Which kind of key it is, and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unique {
    /// A subject is held from the first sign-in on; an address from the invitation on, so whoever is erased has one.
    pub(super) subject: bool,
    pub(super) holder: Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    Nobody,
    User(Key),
    /// Somebody whose id no caller was told.
    Unheard,
}

impl Unique {
    pub(super) fn step(self, op: &Op, answer: Answer) -> Option<Self> {
        let held = match (op, answer) {
            (Op::Invite { .. }, Answer::Invited { user }) => {
                (self.holder == Holder::Nobody).then_some(Holder::User(user))
            }
            (Op::Invite { .. }, Answer::AlreadyExists) => (self.holder != Holder::Nobody).then_some(self.holder),
            (Op::SignIn { .. }, Answer::Opened { user: Some(user), .. }) => match self.holder {
                Holder::User(holder) if holder != user => None,
                Holder::User(_) | Holder::Nobody | Holder::Unheard => Some(Holder::User(user)),
            },
            (Op::SignIn { .. }, Answer::UserNotFound | Answer::InvalidState) => Some(self.holder),
            (Op::Erase { user, .. }, Answer::Done) => self.frees(*user).then_some(Holder::Nobody),
            (Op::Erase { user, .. }, Answer::NotFound) => (self.holder != Holder::User(*user)).then_some(self.holder),
            _ => None,
        };
        held.map(|holder| Self { holder, ..self })
    }

    pub(super) fn unheard(self, op: &Op) -> Option<Self> {
        let held = match op {
            Op::Invite { .. } => (self.holder == Holder::Nobody).then_some(Holder::Unheard),
            Op::SignIn { user, .. } => (self.holder == Holder::Nobody).then_some(Holder::User(*user)),
            Op::Erase { user, .. } => self.frees(*user).then_some(Holder::Nobody),
            _ => None,
        };
        held.map(|holder| Self { holder, ..self })
    }

    fn frees(self, user: Key) -> bool {
        match self.holder {
            Holder::User(holder) => holder == user,
            Holder::Unheard => true,
            Holder::Nobody => self.subject,
        }
    }
}

impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            Holder::Nobody => f.write_str("nobody has it"),
            Holder::User(user) => write!(f, "{user} has it"),
            Holder::Unheard => f.write_str("somebody has it"),
        }
    }
}
