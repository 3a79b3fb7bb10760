//! Whether the state before an event allows it: asked of a log that is there already.
//!
//! An event is allowed when the command that it records, decided on the state before it, gives this very event. So each rule is
//! stated once, where commands are decided, and an event type that is added is asked for its command by the compiler.

use std::fmt::Display;

use uuid::Uuid;

use crate::{
    Actor, ApiToken, ApiTokenCommand, ApiTokenEvent, IdentityProvider, IdentityProviderCommand, IdentityProviderEvent,
    Session, SessionCommand, SessionEvent, SessionId, Setup, SetupCommand, SetupEvent, UnixSeconds, User, UserCommand,
    UserEvent, UserId,
};

/// What is known of an event besides its stream.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The user who did it, with the role they had, when one did.
    pub actor: Option<Actor>,
    /// The earliest moment at which it can have been decided. Rules about time only ever refuse what comes too late.
    pub now: UnixSeconds,
}

impl Circumstances {
    /// Who did it, where only a user may.
    fn user(&self) -> Result<Actor, NotAllowed> {
        self.actor.ok_or(NotAllowed::NeedsAUser)
    }
}

/// Why an event should not be where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// In the words of the rule that refuses the command.
    #[error("{0}")]
    Refused(String),
    #[error("it changes nothing: it was so already")]
    Repeated,
    #[error("the state before it leads to an event with other values")]
    Differs,
    #[error("only a user does this, by a session or an API token")]
    NeedsAUser,
}

/// Compares an event with what its command comes to.
fn judge<E: PartialEq, R: Display>(decided: Result<Option<E>, R>, event: &E) -> Result<(), NotAllowed> {
    match decided {
        Ok(Some(decided)) if decided == *event => Ok(()),
        Ok(Some(_)) => Err(NotAllowed::Differs),
        Ok(None) => Err(NotAllowed::Repeated),
        Err(refused) => Err(NotAllowed::Refused(refused.to_string())),
    }
}

impl Setup {
    /// Whether this state allows `event` to follow, decided at `now` or later.
    ///
    /// # Errors
    /// [`NotAllowed`] says why not.
    pub fn allows(&self, event: &SetupEvent, now: UnixSeconds) -> Result<(), NotAllowed> {
        let decided = match event.clone() {
            SetupEvent::InstanceCreated { instance_id } => self.decide(SetupCommand::CreateInstance { instance_id }),
            SetupEvent::BootstrapTokenIssued { token_hash, expires_at, owner } => {
                self.decide(SetupCommand::IssueBootstrapToken { token_hash, expires_at, owner })
            }
            // What was given is nowhere: the event itself says whether it was right.
            SetupEvent::VerificationFailed { .. } => self.verify(|_| false, SessionId(Uuid::nil()), now).map(Some),
            SetupEvent::BootstrapTokenVerified { session_id } => self.verify(|_| true, session_id, now).map(Some),
            SetupEvent::PreferencesSet { runtime_mode, remote_auth_mode } => {
                self.decide(SetupCommand::SetPreferences { runtime_mode, remote_auth_mode })
            }
            SetupEvent::SetupProviderAccepted { provider_version } => {
                self.decide(SetupCommand::AcceptProvider { provider_version })
            }
            SetupEvent::OwnerVerified { user_id } => self.decide(SetupCommand::VerifyOwner { user_id }),
            SetupEvent::SetupCompleted {} => self.decide(SetupCommand::Complete),
            SetupEvent::SetupRestarted {} => self.decide(SetupCommand::Restart),
        };
        judge(decided, event)
    }
}

impl Session {
    /// Whether this state allows `event` to follow. Who may is decided on other streams.
    ///
    /// # Errors
    /// [`NotAllowed`] says why not.
    pub fn allows(&self, event: &SessionEvent) -> Result<(), NotAllowed> {
        let command = match *event {
            SessionEvent::SetupSessionOpened { token_hash, opened_at: now, expires_at } => {
                SessionCommand::OpenSetup { token_hash, now, expires_at }
            }
            SessionEvent::SetupSessionExtended { extended_at: now, expires_at } => {
                SessionCommand::Slide { now, expires_at }
            }
            SessionEvent::SetupSessionEnded { reason } => SessionCommand::EndSetup { reason },
            SessionEvent::SessionOpened {
                user_id,
                token_hash,
                opened_at: now,
                expires_at,
                user_epoch,
                provider_epoch,
            } => SessionCommand::Open { user_id, token_hash, now, expires_at, user_epoch, provider_epoch },
            SessionEvent::SessionKept { user_epoch, provider_epoch } => {
                SessionCommand::Keep { user_epoch, provider_epoch }
            }
            SessionEvent::SessionSignedOut {} => SessionCommand::SignOut,
            SessionEvent::SessionRevoked {} => SessionCommand::Revoke,
            SessionEvent::SessionExpired {} => SessionCommand::Expire,
        };
        judge(self.decide(command), event)
    }
}

impl User {
    /// Whether this state of the user `user_id` allows `event` to follow.
    ///
    /// # Errors
    /// [`NotAllowed`] says why not.
    pub fn allows(&self, user_id: UserId, event: &UserEvent, circumstances: &Circumstances) -> Result<(), NotAllowed> {
        let command = match event.clone() {
            UserEvent::OwnerRegistered { address, identity, profile } => {
                UserCommand::RegisterOwner { address, identity, profile }
            }
            UserEvent::OwnerDiscarded { address, identity } => UserCommand::DiscardOwner { address, identity },
            UserEvent::UserInvited { address, role, invited_by: _ } => {
                UserCommand::Invite { actor: circumstances.user()?, address, role }
            }
            UserEvent::InvitationAccepted { identity, profile } => UserCommand::AcceptInvitation { identity, profile },
            UserEvent::ProfileChanged { profile } => UserCommand::ChangeProfile { profile },
            UserEvent::RoleChanged { role, changed_by: _ } => {
                UserCommand::ChangeRole { actor: circumstances.user()?, user_id, role }
            }
            UserEvent::UserDisabled { disabled_by: _ } => {
                UserCommand::Disable { actor: circumstances.user()?, user_id }
            }
            UserEvent::UserEnabled { enabled_by: _ } => UserCommand::Enable { actor: circumstances.user()?, user_id },
            UserEvent::UserErased { address, identity, erased_by: _ } => {
                UserCommand::Erase { actor: circumstances.actor, address, identity }
            }
            UserEvent::SessionsRevoked { revoked_by: _, kept } => {
                UserCommand::RevokeSessions { actor: circumstances.user()?, user_id, kept }
            }
            UserEvent::OwnerRecoveryOpened { subject, address, expires_at } => {
                UserCommand::OpenRecovery { subject, address, expires_at }
            }
            UserEvent::OwnerIdentityReplaced { identity, profile, released } => {
                UserCommand::ReplaceOwnerIdentity { identity, profile, released, now: circumstances.now }
            }
            UserEvent::IdentityUnlinked { released } => UserCommand::UnlinkIdentity { released },
        };
        judge(self.decide(command), event)
    }
}

impl ApiToken {
    /// Whether this state allows `event` to follow.
    ///
    /// # Errors
    /// [`NotAllowed`] says why not.
    pub fn allows(&self, event: &ApiTokenEvent, circumstances: &Circumstances) -> Result<(), NotAllowed> {
        let actor = circumstances.user()?;
        let command = match event.clone() {
            ApiTokenEvent::ApiTokenIssued {
                user_id: _,
                name,
                prefix,
                token_hash,
                role,
                issued_at: now,
                expires_at,
                token_epoch,
            } => ApiTokenCommand::Issue { actor, name, prefix, token_hash, role, now, expires_at, token_epoch },
            ApiTokenEvent::ApiTokenRevoked { revoked_by: _ } => ApiTokenCommand::Revoke { actor },
        };
        judge(self.decide(command), event)
    }
}

impl IdentityProvider {
    /// Whether this state allows `event` to follow. Who may is not decided here: setup, the operator and the owner may.
    ///
    /// # Errors
    /// [`NotAllowed`] says why not.
    pub fn allows(&self, event: &IdentityProviderEvent) -> Result<(), NotAllowed> {
        let command = match event.clone() {
            IdentityProviderEvent::ProviderConfigured {
                issuer_url,
                client_id,
                client_secret,
                version: _,
                session_epoch: _,
            } => IdentityProviderCommand::Configure { issuer_url, client_id, client_secret },
            IdentityProviderEvent::ProviderRemoved { version: _ } => IdentityProviderCommand::Remove,
            IdentityProviderEvent::SignInsRefused { reason, count } => {
                IdentityProviderCommand::CountRefusals { reason, count }
            }
        };
        judge(self.decide(command), event)
    }
}
