//! Setup of an instance: one token opens one session, and five failures lock it.

use std::fmt;

use crate::call::{Answer, Key, Op};

/// The failed verifications that a bootstrap token takes at most.
const FAILURES_A_TOKEN: u8 = 5;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Setup {
    ready: bool,
    token: Option<Token>,
    /// The present setup session.
    session: Option<Known>,
}

/// What callers were told of, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Known {
    Heard(Key),
    /// It is there, and no caller can name it.
    Unheard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token {
    key: Known,
    failures: u8,
    consumed: bool,
}

impl Token {
    fn issued(key: Known) -> Self {
        Self { key, failures: 0, consumed: false }
    }

    fn locked(self) -> bool {
        self.failures >= FAILURES_A_TOKEN
    }

    /// One more failure than before.
    fn failed(self) -> Self {
        Self { failures: self.failures + 1, ..self }
    }

    fn is(self, given: Option<Key>) -> bool {
        given.is_some_and(|given| self.key == Known::Heard(given))
    }
}

impl Setup {
    pub(super) fn step(self, op: &Op, answer: Answer) -> Option<Self> {
        if answer == Answer::AlreadyConfigured {
            return self.ready.then_some(self);
        }
        if self.ready {
            return None;
        }
        match *op {
            Op::IssueToken => match answer {
                Answer::Issued { token } => Some(self.with_token(Token::issued(Known::Heard(token)))),
                _ => None,
            },
            Op::Verify { token } => self.verified(token, answer),
            Op::CheckSetup { session } => match answer {
                Answer::Done | Answer::InvalidState => self.has(session).then_some(self),
                Answer::Dead => (!self.has(session)).then_some(self),
                _ => None,
            },
            Op::Complete { session } => match answer {
                Answer::Done => self.has(session).then_some(self.completed()),
                Answer::InvalidState => self.has(session).then_some(self),
                Answer::Dead => (!self.has(session)).then_some(self),
                _ => None,
            },
            Op::Restart => (answer == Answer::Done).then_some(Self::default()),
            _ => None,
        }
    }

    /// In the order of the contract: none issued, locked, consumed, expired, wrong.
    fn verified(self, given: Option<Key>, answer: Answer) -> Option<Self> {
        let Some(token) = self.token else {
            return (answer == Answer::NoBootstrapToken).then_some(self);
        };
        if token.locked() {
            return (answer == Answer::TooManyAttempts).then_some(self);
        }
        if token.consumed {
            return (answer == Answer::TokenConsumed).then_some(self);
        }
        match answer {
            Answer::TokenExpired => Some(self),
            Answer::InvalidToken => (!token.is(given)).then_some(self.with_token(token.failed())),
            Answer::Opened { session, .. } => token.is(given).then_some(self.opened(token, Known::Heard(session))),
            _ => None,
        }
    }

    pub(super) fn unheard(self, op: &Op) -> Option<Self> {
        if self.ready {
            return None;
        }
        match *op {
            Op::IssueToken => Some(self.with_token(Token::issued(Known::Unheard))),
            Op::Verify { token: given } => {
                let token = self.token.filter(|token| !token.locked() && !token.consumed)?;
                let right = token.is(given);
                Some(if right { self.opened(token, Known::Unheard) } else { self.with_token(token.failed()) })
            }
            Op::Complete { session } => self.has(session).then_some(self.completed()),
            Op::Restart => Some(Self::default()),
            _ => None,
        }
    }

    fn has(self, session: Key) -> bool {
        self.session == Some(Known::Heard(session))
    }

    fn with_token(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    fn opened(self, token: Token, session: Known) -> Self {
        Self { token: Some(Token { consumed: true, ..token }), session: Some(session), ..self }
    }

    fn completed(self) -> Self {
        Self { ready: true, session: None, ..self }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |known: Known| match known {
            Known::Heard(key) => key.to_string(),
            Known::Unheard => "that nobody was told".to_owned(),
        };
        if self.ready {
            return f.write_str("ready");
        }
        match self.token {
            None => f.write_str("no token")?,
            Some(token) if token.consumed => write!(f, "token {} consumed", known(token.key))?,
            Some(token) => write!(f, "token {} with {} failures", known(token.key), token.failures)?,
        }
        match self.session {
            None => f.write_str(", no session"),
            Some(session) => write!(f, ", session {}", known(session)),
        }
    }
}
