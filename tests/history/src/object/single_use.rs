//! A `state`: used by one call, whatever follows.

use std::fmt;

use crate::call::{Answer, Op};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Once {
    used: bool,
}

impl Once {
    pub(super) fn step(self, op: &Op, answer: Answer) -> Option<Self> {
        let Op::SignIn { .. } = op else { return None };
        match answer {
            Answer::Opened { .. } | Answer::UserNotFound if !self.used => Some(Self { used: true }),
            Answer::InvalidState if self.used => Some(self),
            _ => None,
        }
    }

    pub(super) fn unheard(op: &Op) -> Option<Self> {
        matches!(op, Op::SignIn { .. }).then_some(Self { used: true })
    }
}

impl fmt::Display for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.used { "used" } else { "not used" })
    }
}
