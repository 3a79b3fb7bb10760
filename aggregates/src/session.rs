//! One session: of the person who sets the instance up, or of a user.
//!
//! A user session is alive while its own stream, its user's session epoch and the provider's session epoch say so; ending all
//! sessions of a user or of the instance is one event there, not one event a session.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::count::deserialize_count;
use crate::event::domain_event;
use crate::{IdentityProvider, Protected, ProtectedFields, Role, TokenHash, UnixSeconds, User, UserId};

/// Sliding a setup session writes an event at most so often.
const SLIDE_AT_MOST_EVERY_SECONDS: i64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    Setup,
    User,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// A newer setup session took its place.
    Replaced,
    /// Setup is complete, or was restarted.
    SetupOver,
    SignedOut,
    Revoked,
    Expired,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SessionEvent {
    SetupSessionOpened {
        token_hash: TokenHash,
        opened_at: UnixSeconds,
        expires_at: UnixSeconds,
    },
    SetupSessionExtended {
        extended_at: UnixSeconds,
        expires_at: UnixSeconds,
    },
    SetupSessionEnded {
        reason: SessionEnd,
    },
    SessionOpened {
        user_id: UserId,
        token_hash: TokenHash,
        opened_at: UnixSeconds,
        expires_at: UnixSeconds,
        #[serde(deserialize_with = "deserialize_count")]
        user_epoch: u64,
        #[serde(deserialize_with = "deserialize_count")]
        provider_epoch: u64,
    },
    /// The session stays although all others of its user or of the instance end: it moves to the new epochs.
    SessionKept {
        #[serde(deserialize_with = "deserialize_count")]
        user_epoch: u64,
        #[serde(deserialize_with = "deserialize_count")]
        provider_epoch: u64,
    },
    SessionSignedOut {},
    SessionRevoked {},
    SessionExpired {},
}

domain_event!(SessionEvent {
    SetupSessionOpened => "1",
    SetupSessionExtended => "1",
    SetupSessionEnded => "1",
    SessionOpened => "1",
    SessionKept => "1",
    SessionSignedOut => "1",
    SessionRevoked => "1",
    SessionExpired => "1",
});

impl ProtectedFields for SessionEvent {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        Vec::new()
    }
}

#[derive(Clone, Copy, Debug)]
pub enum SessionCommand {
    OpenSetup {
        token_hash: TokenHash,
        now: UnixSeconds,
        expires_at: UnixSeconds,
    },
    /// Extends a setup session; writes nothing when it was extended less than a minute ago.
    Slide {
        now: UnixSeconds,
        expires_at: UnixSeconds,
    },
    EndSetup {
        reason: SessionEnd,
    },
    Open {
        user_id: UserId,
        token_hash: TokenHash,
        now: UnixSeconds,
        expires_at: UnixSeconds,
        user_epoch: u64,
        provider_epoch: u64,
    },
    Keep {
        user_epoch: u64,
        provider_epoch: u64,
    },
    SignOut,
    Revoke,
    Expire,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the session exists already")]
    Exists,
    #[error("the session is not known or was ended")]
    Invalid,
    #[error("the session has expired")]
    Expired,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub kind: Option<SessionKind>,
    pub user_id: Option<UserId>,
    pub opened_at: UnixSeconds,
    pub extended_at: UnixSeconds,
    pub expires_at: UnixSeconds,
    pub user_epoch: u64,
    pub provider_epoch: u64,
    pub end: Option<SessionEnd>,
}

impl Session {
    /// Whether this stream alone lets the session act at `now`.
    ///
    /// # Errors
    /// [`SessionError::Invalid`] when it never began or was ended, [`SessionError::Expired`] when its time has run out.
    pub fn check(&self, kind: SessionKind, now: UnixSeconds) -> Result<(), SessionError> {
        if self.kind != Some(kind) {
            return Err(SessionError::Invalid);
        }
        match self.end {
            Some(SessionEnd::Expired) => Err(SessionError::Expired),
            Some(_) => Err(SessionError::Invalid),
            None if self.expires_at <= now => Err(SessionError::Expired),
            None => Ok(()),
        }
    }

    /// The role with which whoever holds this session of `user` acts at `now`.
    ///
    /// # Errors
    /// [`SessionError::Expired`] when its time has run out, [`SessionError::Invalid`] when its own stream, its user's or the
    /// provider's has ended it.
    pub fn acting_role(
        &self,
        user: &User,
        provider: &IdentityProvider,
        now: UnixSeconds,
    ) -> Result<Role, SessionError> {
        let role = user.acting_role().ok_or(SessionError::Invalid)?;
        self.check(SessionKind::User, now)?;
        if (self.user_epoch, self.provider_epoch) != (user.session_epoch, provider.session_epoch) {
            return Err(SessionError::Invalid);
        }
        Ok(role)
    }

    fn open(&self) -> Result<(), SessionError> {
        if self.kind.is_some() { Err(SessionError::Exists) } else { Ok(()) }
    }

    /// Ends a session that has not ended yet; ending it again changes nothing.
    fn ending(&self, kind: SessionKind, event: SessionEvent) -> Result<Option<SessionEvent>, SessionError> {
        match (self.kind, self.end) {
            (Some(own), None) if own == kind => Ok(Some(event)),
            (Some(own), Some(_)) if own == kind => Ok(None),
            _ => Err(SessionError::Invalid),
        }
    }

    pub(crate) fn decide(&self, command: SessionCommand) -> Result<Option<SessionEvent>, SessionError> {
        match command {
            SessionCommand::OpenSetup { token_hash, now, expires_at } => {
                self.open()?;
                Ok(Some(SessionEvent::SetupSessionOpened { token_hash, opened_at: now, expires_at }))
            }
            SessionCommand::Slide { now, expires_at } => {
                self.check(SessionKind::Setup, now)?;
                if now < self.extended_at.plus(SLIDE_AT_MOST_EVERY_SECONDS) || expires_at <= self.expires_at {
                    return Ok(None);
                }
                Ok(Some(SessionEvent::SetupSessionExtended { extended_at: now, expires_at }))
            }
            SessionCommand::EndSetup { reason } => {
                self.ending(SessionKind::Setup, SessionEvent::SetupSessionEnded { reason })
            }
            SessionCommand::Open { user_id, token_hash, now, expires_at, user_epoch, provider_epoch } => {
                self.open()?;
                Ok(Some(SessionEvent::SessionOpened {
                    user_id,
                    token_hash,
                    opened_at: now,
                    expires_at,
                    user_epoch,
                    provider_epoch,
                }))
            }
            SessionCommand::Keep { user_epoch, provider_epoch } => {
                if self.kind != Some(SessionKind::User) || self.end.is_some() {
                    return Err(SessionError::Invalid);
                }
                // Epochs only rise.
                let (user_epoch, provider_epoch) =
                    (user_epoch.max(self.user_epoch), provider_epoch.max(self.provider_epoch));
                if (user_epoch, provider_epoch) == (self.user_epoch, self.provider_epoch) {
                    return Ok(None);
                }
                Ok(Some(SessionEvent::SessionKept { user_epoch, provider_epoch }))
            }
            SessionCommand::SignOut => self.ending(SessionKind::User, SessionEvent::SessionSignedOut {}),
            SessionCommand::Revoke => self.ending(SessionKind::User, SessionEvent::SessionRevoked {}),
            SessionCommand::Expire => {
                self.ending(self.kind.ok_or(SessionError::Invalid)?, SessionEvent::SessionExpired {})
            }
        }
    }
}

impl Aggregate for Session {
    const TYPE: &'static str = "session";
    type Command = SessionCommand;
    type Event = SessionEvent;
    type Error = SessionError;
    type Services = ();

    async fn handle(&mut self, command: SessionCommand, (): &(), sink: &EventSink<Self>) -> Result<(), SessionError> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::SetupSessionOpened { opened_at, expires_at, .. } => {
                self.kind = Some(SessionKind::Setup);
                self.opened_at = opened_at;
                self.extended_at = opened_at;
                self.expires_at = expires_at;
            }
            SessionEvent::SetupSessionExtended { extended_at, expires_at } => {
                self.extended_at = extended_at;
                self.expires_at = expires_at;
            }
            SessionEvent::SetupSessionEnded { reason } => self.end = Some(reason),
            SessionEvent::SessionOpened { user_id, opened_at, expires_at, user_epoch, provider_epoch, .. } => {
                self.kind = Some(SessionKind::User);
                self.user_id = Some(user_id);
                self.opened_at = opened_at;
                self.extended_at = opened_at;
                self.expires_at = expires_at;
                self.user_epoch = user_epoch;
                self.provider_epoch = provider_epoch;
            }
            SessionEvent::SessionKept { user_epoch, provider_epoch } => {
                self.user_epoch = user_epoch;
                self.provider_epoch = provider_epoch;
            }
            SessionEvent::SessionSignedOut {} => self.end = Some(SessionEnd::SignedOut),
            SessionEvent::SessionRevoked {} => self.end = Some(SessionEnd::Revoked),
            SessionEvent::SessionExpired {} => self.end = Some(SessionEnd::Expired),
        }
    }
}
