//! A call, as its caller saw it.

use std::fmt;

use crate::object::Status;

/// Stands for a token, a session, a user, an address, a subject or a `state`: a caller's own number, or the hash of a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

impl Key {
    /// FNV-1a: the same text is the same key, and the text (which may be a token) is not kept.
    pub fn of(text: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Small numbers are those of tests; of a hash the upper half tells enough.
        if self.0 < 1 << 32 { write!(f, "{}", self.0) } else { write!(f, "{:08x}", self.0 >> 32) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Owner,
    Admin,
    Developer,
    QaViewer,
}

impl Role {
    /// As the contract writes it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "owner" => Some(Self::Owner),
            "admin" => Some(Self::Admin),
            "developer" => Some(Self::Developer),
            "qa_viewer" => Some(Self::QaViewer),
            _ => None,
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `authlog setup token`: [`Answer::Issued`].
    IssueToken,
    /// `POST /v1/setup/bootstrap-token/verify`, with a token that was once issued, or with a guess: [`Answer::Opened`].
    Verify { token: Option<Key> },
    /// Any setup call with a setup session that changes nothing in the order of setup, such as `GET /v1/setup/summary`.
    CheckSetup { session: Key },
    /// `POST /v1/setup/complete`: [`Answer::Done`].
    Complete { session: Key },
    /// `authlog setup restart`: [`Answer::Done`].
    Restart,

    /// `POST /v1/users/invite`: [`Answer::Invited`].
    Invite { address: Key, role: Role },
    /// A user that was there before the history began, such as the owner, or one whose invitation nobody was told of. Answered
    /// with [`Answer::Done`].
    Found { user: Key, role: Role, status: Status },
    /// `POST /v1/auth/oidc/callback` of somebody who should be `user`: [`Answer::Opened`].
    SignIn { user: Key, subject: Key, state: Key },
    /// `GET /v1/users/me` with a session of that user: [`Answer::Alive`] or [`Answer::Dead`].
    Check { user: Key, session: Key },
    /// `POST /v1/auth/logout`, or `DELETE /v1/sessions/{id}`: [`Answer::Done`].
    Revoke { user: Key, session: Key },
    /// `DELETE /v1/sessions?user_id=`: [`Answer::Done`].
    RevokeAll { user: Key, keep: Option<Key> },
    /// `DELETE /v1/users/{id}`: [`Answer::Done`].
    Disable { user: Key },
    /// `POST /v1/users/{id}/enable`: [`Answer::Done`].
    Enable { user: Key },
    /// `PATCH /v1/users/{id}/role`: [`Answer::Done`].
    ChangeRole { user: Key, role: Role },
    /// `DELETE /v1/users/{id}?erase=true`: [`Answer::Done`]. Frees the address, and the subject if there was one.
    Erase { user: Key, address: Key, subject: Option<Key> },
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The caller cannot know: it hung up, the connection was lost, a 5xx, a timeout. The call may take effect at any later
    /// moment, or never.
    Unknown,
    /// Success, with nothing in it that tells more.
    Done,
    /// Refused for a reason that does not lie in the object (the caller's own rights, a rate, `unavailable` before anything was
    /// tried); nothing has happened.
    NotTried,

    Issued {
        token: Key,
    },
    /// A setup session, or a session of `user`.
    Opened {
        user: Option<Key>,
        session: Key,
    },
    Invited {
        user: Key,
    },
    Alive {
        role: Role,
    },
    /// A session that is refused: `invalid_session`, `session_expired`, `no_session`.
    Dead,

    InvalidToken,
    TooManyAttempts,
    TokenConsumed,
    TokenExpired,
    NoBootstrapToken,
    AlreadyConfigured,
    /// `invalid_state`: of setup, or of a `state` that was used.
    InvalidState,
    AlreadyExists,
    /// `user_not_found` at a sign-in.
    UserNotFound,
    /// `not_found`.
    NotFound,
}

/// A call from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub client: u32,
    pub op: Op,
    /// Before anything was sent, on the one monotonic clock of the run.
    pub begun_micros: u64,
    /// After the answer was read; `None` when it is [`Answer::Unknown`].
    pub ended_micros: Option<u64>,
    pub answer: Answer,
}

/// What is checked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// Setup of the instance.
    Setup,
    /// Who has this address.
    Address(Key),
    /// Whom this subject of the provider signs in.
    Subject(Key),
    /// Whether this `state` was used.
    State(Key),
    /// A user with all their sessions.
    User(Key),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup => write!(f, "setup"),
            Self::Address(key) => write!(f, "address {key}"),
            Self::Subject(key) => write!(f, "subject {key}"),
            Self::State(key) => write!(f, "state {key}"),
            Self::User(key) => write!(f, "user {key}"),
        }
    }
}

impl Op {
    /// The objects that a call with this answer says something about.
    pub fn objects(&self, answer: &Answer) -> Vec<Object> {
        match *self {
            Self::IssueToken
            | Self::Verify { .. }
            | Self::CheckSetup { .. }
            | Self::Complete { .. }
            | Self::Restart => vec![Object::Setup],
            Self::Invite { address, .. } => match *answer {
                Answer::Invited { user } => vec![Object::Address(address), Object::User(user)],
                _ => vec![Object::Address(address)],
            },
            Self::SignIn { user, subject, state } => {
                let signed_in = match *answer {
                    Answer::Opened { user: Some(opened), .. } => opened,
                    _ => user,
                };
                vec![Object::State(state), Object::Subject(subject), Object::User(signed_in)]
            }
            Self::Found { user, .. }
            | Self::Check { user, .. }
            | Self::Revoke { user, .. }
            | Self::RevokeAll { user, .. }
            | Self::Disable { user }
            | Self::Enable { user }
            | Self::ChangeRole { user, .. } => vec![Object::User(user)],
            Self::Erase { user, address, subject } => {
                let mut objects = vec![Object::Address(address), Object::User(user)];
                objects.extend(subject.map(Object::Subject));
                objects
            }
        }
    }
}

impl Op {
    /// Whether a call like this can change anything.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::CheckSetup { .. } | Self::Check { .. })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verify { token: Some(token) } => write!(f, "Verify token {token}"),
            Self::Verify { token: None } => write!(f, "Verify a guess"),
            Self::CheckSetup { session } | Self::Complete { session } => write!(f, "{} {session}", self.name()),
            Self::Check { session, .. } | Self::Revoke { session, .. } => {
                write!(f, "{} session {session}", self.name())
            }
            Self::RevokeAll { keep: Some(keep), .. } => write!(f, "RevokeAll but {keep}"),
            Self::SignIn { user, subject, state } => write!(f, "SignIn {user} as {subject} by {state}"),
            Self::Invite { address, role } => write!(f, "Invite {address} as {role:?}"),
            Self::Found { role, .. } | Self::ChangeRole { role, .. } => write!(f, "{} {role:?}", self.name()),
            Self::Erase { user, .. } => write!(f, "Erase {user}"),
            Self::IssueToken | Self::Restart | Self::RevokeAll { .. } | Self::Disable { .. } | Self::Enable { .. } => {
                write!(f, "{}", self.name())
            }
        }
    }
}

impl Op {
    fn name(&self) -> &'static str {
        match self {
            Self::IssueToken => "IssueToken",
            Self::Verify { .. } => "Verify",
            Self::CheckSetup { .. } => "CheckSetup",
            Self::Complete { .. } => "Complete",
            Self::Restart => "Restart",
            Self::Invite { .. } => "Invite",
            Self::Found { .. } => "Found",
            Self::SignIn { .. } => "SignIn",
            Self::Check { .. } => "Check",
            Self::Revoke { .. } => "Revoke",
            Self::RevokeAll { .. } => "RevokeAll",
            Self::Disable { .. } => "Disable",
            Self::Enable { .. } => "Enable",
            Self::ChangeRole { .. } => "ChangeRole",
            Self::Erase { .. } => "Erase",
        }
    }
}
