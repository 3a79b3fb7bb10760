//! A person with an account or an invitation.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::event::domain_event;
use crate::protected::present;
use crate::{Actor, Credential, Protected, ProtectedFields, Role, SessionId, Status, UnixSeconds, UserId};

/// Issuer and subject: who somebody is at a provider (OpenID Connect Core, section 5.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkedIdentity {
    pub issuer: String,
    pub subject: Protected,
}

/// What the provider says about a person besides who it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Protected>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Protected>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UserEvent {
    /// The one owner, made by setup.
    OwnerRegistered {
        address: Protected,
        identity: LinkedIdentity,
        profile: Profile,
    },
    /// Setup was restarted before it was complete: the owner it had made is gone, address and identity are free again.
    OwnerDiscarded {
        address: Protected,
        identity: LinkedIdentity,
    },
    UserInvited {
        address: Protected,
        role: Role,
        invited_by: UserId,
    },
    InvitationAccepted {
        identity: LinkedIdentity,
        profile: Profile,
    },
    ProfileChanged {
        profile: Profile,
    },
    RoleChanged {
        role: Role,
        changed_by: UserId,
    },
    /// Ends all sessions and API tokens of the user.
    UserDisabled {
        disabled_by: UserId,
    },
    UserEnabled {
        enabled_by: UserId,
    },
    /// The person is forgotten: their sessions and API tokens end, address and identity are free again, their key is destroyed
    /// with this event, and so is what it says of them.
    UserErased {
        address: Protected,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<LinkedIdentity>,
        /// Absent when somebody on the host did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        erased_by: Option<UserId>,
    },
    /// Ends all sessions of the user but `kept`, which moves to the new epoch by an event of its own.
    SessionsRevoked {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revoked_by: Option<UserId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<SessionId>,
    },
    /// Until `expires_at` the next sign-in with this subject, or with this verified address, becomes the owner's identity.
    OwnerRecoveryOpened {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<Protected>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<Protected>,
        expires_at: UnixSeconds,
    },
    /// Ends the owner's sessions and API tokens; `released` no longer signs in.
    OwnerIdentityReplaced {
        identity: LinkedIdentity,
        profile: Profile,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        released: Option<LinkedIdentity>,
    },
    /// The identity went to the owner by recovery: the account waits to be claimed again.
    IdentityUnlinked {
        released: LinkedIdentity,
    },
}

domain_event!(UserEvent {
    OwnerRegistered => "1",
    OwnerDiscarded => "1",
    UserInvited => "1",
    InvitationAccepted => "1",
    ProfileChanged => "1",
    RoleChanged => "1",
    UserDisabled => "1",
    UserEnabled => "1",
    UserErased => "1",
    SessionsRevoked => "1",
    OwnerRecoveryOpened => "1",
    OwnerIdentityReplaced => "1",
    IdentityUnlinked => "1",
});

impl ProtectedFields for UserEvent {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        match self {
            Self::OwnerRegistered { address, identity, profile } => present([
                ("address", Some(address)),
                ("identity.subject", Some(&mut identity.subject)),
                ("profile.display_name", profile.display_name.as_mut()),
                ("profile.picture", profile.picture.as_mut()),
            ]),
            Self::OwnerDiscarded { address, identity } => {
                present([("address", Some(address)), ("identity.subject", Some(&mut identity.subject))])
            }
            Self::UserErased { address, identity, .. } => present([
                ("address", Some(address)),
                ("identity.subject", identity.as_mut().map(|identity| &mut identity.subject)),
            ]),
            Self::UserInvited { address, .. } => present([("address", Some(address))]),
            Self::InvitationAccepted { identity, profile } => present([
                ("identity.subject", Some(&mut identity.subject)),
                ("profile.display_name", profile.display_name.as_mut()),
                ("profile.picture", profile.picture.as_mut()),
            ]),
            Self::ProfileChanged { profile } => present([
                ("profile.display_name", profile.display_name.as_mut()),
                ("profile.picture", profile.picture.as_mut()),
            ]),
            Self::OwnerRecoveryOpened { subject, address, .. } => {
                present([("subject", subject.as_mut()), ("address", address.as_mut())])
            }
            Self::OwnerIdentityReplaced { identity, profile, released } => present([
                ("identity.subject", Some(&mut identity.subject)),
                ("profile.display_name", profile.display_name.as_mut()),
                ("profile.picture", profile.picture.as_mut()),
                ("released.subject", released.as_mut().map(|released| &mut released.subject)),
            ]),
            Self::IdentityUnlinked { released } => present([("released.subject", Some(&mut released.subject))]),
            Self::RoleChanged { .. }
            | Self::UserDisabled { .. }
            | Self::UserEnabled { .. }
            | Self::SessionsRevoked { .. } => Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum UserCommand {
    RegisterOwner {
        address: Protected,
        identity: LinkedIdentity,
        profile: Profile,
    },
    DiscardOwner {
        address: Protected,
        identity: LinkedIdentity,
    },
    Invite {
        actor: Actor,
        address: Protected,
        role: Role,
    },
    AcceptInvitation {
        identity: LinkedIdentity,
        profile: Profile,
    },
    ChangeProfile {
        profile: Profile,
    },
    ChangeRole {
        actor: Actor,
        user_id: UserId,
        role: Role,
    },
    Disable {
        actor: Actor,
        user_id: UserId,
    },
    Enable {
        actor: Actor,
        user_id: UserId,
    },
    /// By the owner, or without an actor by somebody on the host.
    Erase {
        actor: Option<Actor>,
        address: Protected,
        identity: Option<LinkedIdentity>,
    },
    RevokeSessions {
        actor: Actor,
        user_id: UserId,
        kept: Option<SessionId>,
    },
    OpenRecovery {
        subject: Option<Protected>,
        address: Option<Protected>,
        expires_at: UnixSeconds,
    },
    ReplaceOwnerIdentity {
        identity: LinkedIdentity,
        profile: Profile,
        released: Option<LinkedIdentity>,
        now: UnixSeconds,
    },
    UnlinkIdentity {
        released: LinkedIdentity,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("the user exists already")]
    Exists,
    #[error("there is no such user")]
    NotFound,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("nobody is made owner by a call")]
    OwnerIsMadeBySetup,
    #[error("the account does not wait to be claimed")]
    NotInvited,
    #[error("no recovery of the owner is open")]
    NoRecovery,
}

/// An open recovery of the owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    pub expires_at: UnixSeconds,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub role: Option<Role>,
    /// Whether a provider's identity is linked; an account without one waits to be claimed.
    pub linked: bool,
    pub disabled: bool,
    /// Discarded or erased: there is no such user any more.
    pub gone: bool,
    /// Sessions and API tokens opened under an earlier epoch are dead.
    pub session_epoch: u64,
    pub token_epoch: u64,
    pub recovery: Option<Recovery>,
}

impl User {
    /// The status, or `None` for a stream that holds no account.
    pub fn status(&self) -> Option<Status> {
        self.role.filter(|_| !self.gone).map(|_| match (self.disabled, self.linked) {
            (true, _) => Status::Disabled,
            (false, true) => Status::Active,
            (false, false) => Status::Invited,
        })
    }

    /// The role of an account that exists.
    ///
    /// # Errors
    /// [`UserError::NotFound`] when there is none.
    pub fn existing_role(&self) -> Result<Role, UserError> {
        self.status().and(self.role).ok_or(UserError::NotFound)
    }

    /// The role with which an active user acts; nobody else acts at all.
    pub fn acting_role(&self) -> Option<Role> {
        self.role.filter(|_| self.status() == Some(Status::Active))
    }

    /// Whether `actor` may end a session or an API token of this user: their own always, else by rank; with an API token
    /// never. What the actor may do at all is checked before whether the user exists.
    ///
    /// # Errors
    /// [`UserError::Forbidden`], or [`UserError::NotFound`] for a user that does not exist.
    pub fn may_be_ended_by(&self, actor: Actor, user_id: UserId) -> Result<(), UserError> {
        if matches!(actor.credential, Credential::ApiToken(_)) {
            return Err(UserError::Forbidden("an API token cannot end sessions or API tokens"));
        }
        let own = actor.user_id == user_id;
        if !own {
            manager(actor)?;
        }
        let role = self.existing_role()?;
        if own || actor.role.outranks(role) {
            return Ok(());
        }
        Err(UserError::Forbidden("your role does not permit this for a user of that role"))
    }

    fn absent(&self) -> Result<(), UserError> {
        if self.role.is_some() { Err(UserError::Exists) } else { Ok(()) }
    }

    /// Nobody changes themselves or the owner, and only the owner an admin.
    fn managed_by(&self, actor: Actor, user_id: UserId) -> Result<Role, UserError> {
        manager(actor)?;
        let role = self.existing_role()?;
        if actor.user_id == user_id {
            return Err(UserError::Forbidden("nobody changes or disables themselves"));
        }
        if !actor.role.outranks(role) {
            return Err(UserError::Forbidden("your role does not permit changing a user of that role"));
        }
        Ok(role)
    }

    pub(crate) fn decide(&self, command: UserCommand) -> Result<Option<UserEvent>, UserError> {
        let event = match command {
            UserCommand::RegisterOwner { address, identity, profile } => {
                self.absent()?;
                UserEvent::OwnerRegistered { address, identity, profile }
            }
            UserCommand::DiscardOwner { address, identity } => {
                if self.existing_role()? != Role::Owner {
                    return Err(UserError::Forbidden("only an owner is discarded"));
                }
                UserEvent::OwnerDiscarded { address, identity }
            }
            UserCommand::Invite { actor, address, role } => {
                manager(actor)?;
                assignable(role)?;
                self.absent()?;
                grantable(actor, role)?;
                UserEvent::UserInvited { address, role, invited_by: actor.user_id }
            }
            UserCommand::AcceptInvitation { identity, profile } => {
                if self.status() != Some(Status::Invited) {
                    return Err(UserError::NotInvited);
                }
                UserEvent::InvitationAccepted { identity, profile }
            }
            UserCommand::ChangeProfile { profile } => {
                self.existing_role()?;
                UserEvent::ProfileChanged { profile }
            }
            UserCommand::ChangeRole { actor, user_id, role } => {
                manager(actor)?;
                assignable(role)?;
                let present = self.managed_by(actor, user_id)?;
                grantable(actor, role)?;
                if present == role {
                    return Ok(None);
                }
                UserEvent::RoleChanged { role, changed_by: actor.user_id }
            }
            UserCommand::Disable { actor, user_id } => {
                self.managed_by(actor, user_id)?;
                if self.disabled {
                    return Ok(None);
                }
                UserEvent::UserDisabled { disabled_by: actor.user_id }
            }
            UserCommand::Enable { actor, user_id } => {
                self.managed_by(actor, user_id)?;
                if !self.disabled {
                    return Ok(None);
                }
                UserEvent::UserEnabled { enabled_by: actor.user_id }
            }
            UserCommand::Erase { actor, address, identity } => {
                if actor.is_some_and(|actor| actor.role != Role::Owner) {
                    return Err(UserError::Forbidden("only the owner erases users"));
                }
                if self.existing_role()? == Role::Owner {
                    return Err(UserError::Forbidden("the owner is not erased: there is always one"));
                }
                UserEvent::UserErased { address, identity, erased_by: actor.map(|actor| actor.user_id) }
            }
            UserCommand::RevokeSessions { actor, user_id, kept } => {
                self.may_be_ended_by(actor, user_id)?;
                UserEvent::SessionsRevoked { revoked_by: Some(actor.user_id), kept }
            }
            UserCommand::OpenRecovery { subject, address, expires_at } => {
                if self.existing_role()? != Role::Owner {
                    return Err(UserError::Forbidden("only the owner is recovered"));
                }
                if subject.is_some() == address.is_some() {
                    return Err(UserError::Forbidden("a recovery names either a subject or an address"));
                }
                UserEvent::OwnerRecoveryOpened { subject, address, expires_at }
            }
            UserCommand::ReplaceOwnerIdentity { identity, profile, released, now } => {
                self.existing_role()?;
                if self.recovery.as_ref().is_none_or(|recovery| recovery.expires_at <= now) {
                    return Err(UserError::NoRecovery);
                }
                UserEvent::OwnerIdentityReplaced { identity, profile, released }
            }
            UserCommand::UnlinkIdentity { released } => {
                if self.existing_role()? == Role::Owner {
                    return Err(UserError::Forbidden("the owner's identity is replaced, never only unlinked"));
                }
                if !self.linked {
                    return Ok(None);
                }
                UserEvent::IdentityUnlinked { released }
            }
        };
        Ok(Some(event))
    }
}

/// Whether `actor` manages anybody at all: the first check, so that others do not learn who exists.
fn manager(actor: Actor) -> Result<(), UserError> {
    if actor.role.manages() { Ok(()) } else { Err(UserError::Forbidden("your role does not permit managing users")) }
}

/// Whether a call may name this role.
fn assignable(role: Role) -> Result<(), UserError> {
    if role == Role::Owner { Err(UserError::OwnerIsMadeBySetup) } else { Ok(()) }
}

/// Whether `actor` may give somebody this role.
fn grantable(actor: Actor, role: Role) -> Result<(), UserError> {
    if actor.role.outranks(role) {
        Ok(())
    } else {
        Err(UserError::Forbidden("your role does not permit giving that role"))
    }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserError;
    type Services = ();

    async fn handle(&mut self, command: UserCommand, (): &(), sink: &EventSink<Self>) -> Result<(), UserError> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::OwnerRegistered { .. } => {
                self.role = Some(Role::Owner);
                self.linked = true;
            }
            UserEvent::OwnerDiscarded { .. } | UserEvent::UserErased { .. } => {
                self.gone = true;
                self.linked = false;
                self.session_epoch += 1;
                self.token_epoch += 1;
            }
            UserEvent::UserInvited { role, .. } | UserEvent::RoleChanged { role, .. } => self.role = Some(role),
            UserEvent::InvitationAccepted { .. } => self.linked = true,
            UserEvent::ProfileChanged { .. } => {}
            UserEvent::UserDisabled { .. } => {
                self.disabled = true;
                self.session_epoch += 1;
                self.token_epoch += 1;
            }
            UserEvent::UserEnabled { .. } => self.disabled = false,
            UserEvent::SessionsRevoked { .. } => self.session_epoch += 1,
            UserEvent::OwnerRecoveryOpened { expires_at, .. } => self.recovery = Some(Recovery { expires_at }),
            UserEvent::OwnerIdentityReplaced { .. } => {
                self.recovery = None;
                self.linked = true;
                self.session_epoch += 1;
                self.token_epoch += 1;
            }
            UserEvent::IdentityUnlinked { .. } => {
                self.linked = false;
                self.session_epoch += 1;
                self.token_epoch += 1;
            }
        }
    }
}
