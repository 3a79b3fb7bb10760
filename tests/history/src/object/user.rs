//! A user with all of their sessions.

use std::collections::BTreeSet;
use std::fmt;

use crate::call::{Answer, Key, Op, Role};

/// As the contract names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Invited,
    Active,
    Disabled,
}

/// Nobody, at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    account: Option<Account>,
    alive: BTreeSet<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Account {
    role: Role,
    status: Status,
    /// Whether somebody has signed in as them: what they are again when they are enabled.
    linked: bool,
}

impl User {
    pub(super) fn step(&self, op: &Op, answer: Answer) -> Option<Self> {
        let Some(account) = self.account else { return self.began(op, answer) };
        let same = || self.clone();
        match (op, answer) {
            (Op::SignIn { .. }, Answer::Opened { session, .. }) => {
                let mut next = self.signed_in(account)?;
                next.alive.insert(session).then_some(next)
            }
            (Op::SignIn { .. }, Answer::UserNotFound) => (account.status == Status::Disabled).then(same),
            (Op::SignIn { .. }, Answer::InvalidState) => Some(same()),
            (Op::Check { session, .. }, Answer::Alive { role }) => {
                (self.alive.contains(session) && role == account.role).then(same)
            }
            (Op::Check { session, .. } | Op::Revoke { session, .. }, Answer::Dead | Answer::NotFound) => {
                (!self.alive.contains(session)).then(same)
            }
            (
                Op::Revoke { .. }
                | Op::RevokeAll { .. }
                | Op::Disable { .. }
                | Op::Enable { .. }
                | Op::ChangeRole { .. }
                | Op::Erase { .. },
                Answer::Done,
            ) => Some(self.changed(account, op)),
            _ => None,
        }
    }

    /// What can be answered while there is no such user.
    fn began(&self, op: &Op, answer: Answer) -> Option<Self> {
        let begun = |role, status, linked| {
            let account = Some(Account { role, status, linked });
            Some(Self { account, alive: BTreeSet::new() })
        };
        match (op, answer) {
            (Op::Invite { role, .. }, Answer::Invited { .. }) => begun(*role, Status::Invited, false),
            (Op::Found { role, status, .. }, Answer::Done) => begun(*role, *status, *status == Status::Active),
            (Op::SignIn { .. }, Answer::UserNotFound | Answer::InvalidState)
            | (Op::Check { .. } | Op::Revoke { .. }, Answer::Dead)
            | (
                Op::Revoke { .. }
                | Op::RevokeAll { .. }
                | Op::Disable { .. }
                | Op::Enable { .. }
                | Op::ChangeRole { .. }
                | Op::Erase { .. },
                Answer::NotFound,
            ) => Some(self.clone()),
            _ => None,
        }
    }

    pub(super) fn unheard(&self, op: &Op) -> Option<Self> {
        let account = self.account?;
        match op {
            // The session is there, and nobody has its token.
            Op::SignIn { .. } => self.signed_in(account),
            Op::Revoke { .. }
            | Op::RevokeAll { .. }
            | Op::Disable { .. }
            | Op::Enable { .. }
            | Op::ChangeRole { .. }
            | Op::Erase { .. } => Some(self.changed(account, op)),
            _ => None,
        }
    }

    fn signed_in(&self, account: Account) -> Option<Self> {
        let account = Account { status: Status::Active, linked: true, ..account };
        let may = self.account.is_some_and(|before| before.status != Status::Disabled);
        may.then(|| Self { account: Some(account), alive: self.alive.clone() })
    }

    fn changed(&self, account: Account, op: &Op) -> Self {
        let mut next = self.clone();
        match op {
            Op::Revoke { session, .. } => {
                next.alive.remove(session);
            }
            Op::RevokeAll { keep, .. } => next.alive.retain(|session| Some(*session) == *keep),
            Op::Disable { .. } => {
                next = Self { account: Some(Account { status: Status::Disabled, ..account }), alive: BTreeSet::new() };
            }
            Op::Enable { .. } => {
                let status = if account.linked { Status::Active } else { Status::Invited };
                next.account = Some(Account { status, ..account });
            }
            Op::ChangeRole { role, .. } => next.account = Some(Account { role: *role, ..account }),
            Op::Erase { .. } => next = Self::default(),
            _ => {}
        }
        next
    }
}

fn session_of(op: &Op, answer: &Answer) -> Option<Key> {
    match (op, answer) {
        (Op::Check { session, .. } | Op::Revoke { session, .. }, _)
        | (Op::SignIn { .. }, Answer::Opened { session, .. }) => Some(*session),
        _ => None,
    }
}

/// Whether what `one` does can make a difference to `other`.
pub(super) fn matters(one: (&Op, &Answer), other: (&Op, &Answer)) -> bool {
    let session = session_of(other.0, other.1);
    match one.0 {
        Op::Check { .. } => false,
        Op::Enable { .. } => {
            !matches!(other.0, Op::Check { .. } | Op::Revoke { .. } | Op::RevokeAll { .. } | Op::ChangeRole { .. })
        }
        Op::ChangeRole { .. } => matches!(other.0, Op::Check { .. } | Op::ChangeRole { .. }),
        Op::Revoke { session: revoked, .. } => session == Some(*revoked),
        Op::RevokeAll { keep, .. } => session.is_some() && session != *keep,
        Op::SignIn { .. } => session.is_some() && session == session_of(one.0, one.1),
        _ => true,
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(account) = self.account else { return f.write_str("no such user") };
        write!(f, "{:?} {:?}, alive: {:?}", account.status, account.role, self.alive)
    }
}
