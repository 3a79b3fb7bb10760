//! A long-lived token for programs. It acts with the lower of its own role and its owner's present role, never as owner.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::count::deserialize_count;
use crate::event::domain_event;
use crate::protected::present;
use crate::{Actor, Credential, Protected, ProtectedFields, Role, TokenHash, UnixSeconds, User, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ApiTokenEvent {
    ApiTokenIssued {
        user_id: UserId,
        name: Protected,
        /// The token's first 12 characters, to recognise it by.
        prefix: String,
        token_hash: TokenHash,
        role: Role,
        issued_at: UnixSeconds,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<UnixSeconds>,
        #[serde(deserialize_with = "deserialize_count")]
        token_epoch: u64,
    },
    ApiTokenRevoked {
        revoked_by: UserId,
    },
}

domain_event!(ApiTokenEvent {
    ApiTokenIssued => "1",
    ApiTokenRevoked => "1",
});

impl ProtectedFields for ApiTokenEvent {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        match self {
            Self::ApiTokenIssued { name, .. } => present([("name", Some(name))]),
            Self::ApiTokenRevoked { .. } => Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum ApiTokenCommand {
    Issue {
        actor: Actor,
        name: Protected,
        prefix: String,
        token_hash: TokenHash,
        role: Role,
        now: UnixSeconds,
        expires_at: Option<UnixSeconds>,
        token_epoch: u64,
    },
    /// Whether the actor may is decided on the token owner's stream: [`crate::User::may_be_ended_by`].
    Revoke { actor: Actor },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiTokenError {
    #[error("the API token exists already")]
    Exists,
    #[error("there is no such API token")]
    NotFound,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("an API token's expiry lies in the future")]
    ExpiryInThePast,
    #[error("the API token is not known or was revoked")]
    Invalid,
    #[error("the API token has expired")]
    Expired,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiToken {
    pub user_id: Option<UserId>,
    pub role: Option<Role>,
    pub expires_at: Option<UnixSeconds>,
    pub token_epoch: u64,
    pub revoked: bool,
}

impl ApiToken {
    /// Whether this stream alone lets the token act at `now`.
    ///
    /// # Errors
    /// [`ApiTokenError::Invalid`] when it never was or was revoked, [`ApiTokenError::Expired`] when its time has run out.
    pub fn check(&self, now: UnixSeconds) -> Result<(), ApiTokenError> {
        if self.user_id.is_none() || self.revoked {
            return Err(ApiTokenError::Invalid);
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) { Err(ApiTokenError::Expired) } else { Ok(()) }
    }

    /// The role with which the token of `user` acts at `now`: the lower of its own and its user's, never owner.
    ///
    /// # Errors
    /// [`ApiTokenError::Expired`] when its time has run out, [`ApiTokenError::Invalid`] when its own stream or its user's has
    /// ended it.
    pub fn acting_role(&self, user: &User, now: UnixSeconds) -> Result<Role, ApiTokenError> {
        let users_role = user.acting_role().ok_or(ApiTokenError::Invalid)?;
        self.check(now)?;
        if self.token_epoch != user.token_epoch {
            return Err(ApiTokenError::Invalid);
        }
        Ok(self.role.ok_or(ApiTokenError::Invalid)?.as_api_token_of(users_role))
    }

    pub(crate) fn decide(&self, command: ApiTokenCommand) -> Result<Option<ApiTokenEvent>, ApiTokenError> {
        match command {
            ApiTokenCommand::Issue { actor, name, prefix, token_hash, role, now, expires_at, token_epoch } => {
                if self.user_id.is_some() {
                    return Err(ApiTokenError::Exists);
                }
                if matches!(actor.credential, Credential::ApiToken(_)) {
                    return Err(ApiTokenError::Forbidden("an API token cannot make another one"));
                }
                if actor.role < Role::Developer {
                    return Err(ApiTokenError::Forbidden("your role does not permit API tokens"));
                }
                if role > actor.role || role == Role::Owner {
                    return Err(ApiTokenError::Forbidden("an API token cannot have a higher role than you"));
                }
                if expires_at.is_some_and(|expires_at| expires_at <= now) {
                    return Err(ApiTokenError::ExpiryInThePast);
                }
                let user_id = actor.user_id;
                Ok(Some(ApiTokenEvent::ApiTokenIssued {
                    user_id,
                    name,
                    prefix,
                    token_hash,
                    role,
                    issued_at: now,
                    expires_at,
                    token_epoch,
                }))
            }
            ApiTokenCommand::Revoke { actor } => {
                if matches!(actor.credential, Credential::ApiToken(_)) {
                    return Err(ApiTokenError::Forbidden("an API token cannot end API tokens"));
                }
                self.user_id.ok_or(ApiTokenError::NotFound)?;
                if self.revoked {
                    return Ok(None);
                }
                Ok(Some(ApiTokenEvent::ApiTokenRevoked { revoked_by: actor.user_id }))
            }
        }
    }
}

impl Aggregate for ApiToken {
    const TYPE: &'static str = "api_token";
    type Command = ApiTokenCommand;
    type Event = ApiTokenEvent;
    type Error = ApiTokenError;
    type Services = ();

    async fn handle(&mut self, command: ApiTokenCommand, (): &(), sink: &EventSink<Self>) -> Result<(), ApiTokenError> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ApiTokenEvent) {
        match event {
            ApiTokenEvent::ApiTokenIssued { user_id, role, expires_at, token_epoch, .. } => {
                self.user_id = Some(user_id);
                self.role = Some(role);
                self.expires_at = expires_at;
                self.token_epoch = token_epoch;
            }
            ApiTokenEvent::ApiTokenRevoked { .. } => self.revoked = true,
        }
    }
}
