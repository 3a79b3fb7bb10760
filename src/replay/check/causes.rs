//! Who may do what at all, whatever the state is.

use aggregates::{ApiTokenEvent, Event, IdentityProviderEvent, SessionEvent, SetupEvent, UserEvent};
use projections::ActorRef;

/// What kind of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Whoever holds a session, or has just come back from the provider.
    User,
    ApiToken,
    SetupSession,
    Operator,
    System,
    Stranger,
}

impl From<ActorRef> for Cause {
    fn from(actor: ActorRef) -> Self {
        match actor {
            ActorRef::User(_) => Self::User,
            ActorRef::ApiToken { .. } => Self::ApiToken,
            ActorRef::SetupSession(_) => Self::SetupSession,
            ActorRef::Operator => Self::Operator,
            ActorRef::System => Self::System,
            ActorRef::Anonymous => Self::Stranger,
        }
    }
}

/// Who may cause an event.
pub(super) fn causes(event: &Event) -> &'static [Cause] {
    use Cause::{ApiToken, Operator, SetupSession, Stranger, System, User};
    match event {
        Event::Setup(event) => match event {
            SetupEvent::InstanceCreated { .. } => &[System],
            SetupEvent::BootstrapTokenIssued { .. } | SetupEvent::SetupRestarted {} => &[Operator],
            SetupEvent::VerificationFailed { .. } | SetupEvent::BootstrapTokenVerified { .. } => &[Stranger],
            SetupEvent::SetupProviderAccepted { .. } => &[SetupSession, Operator],
            SetupEvent::PreferencesSet { .. } | SetupEvent::OwnerVerified { .. } | SetupEvent::SetupCompleted {} => {
                &[SetupSession]
            }
        },
        Event::Session(event) => match event {
            SessionEvent::SetupSessionOpened { .. } => &[Stranger],
            SessionEvent::SetupSessionExtended { .. } => &[SetupSession],
            SessionEvent::SetupSessionEnded { .. } => &[Stranger, SetupSession, Operator],
            SessionEvent::SessionOpened { .. }
            | SessionEvent::SessionKept { .. }
            | SessionEvent::SessionSignedOut {}
            | SessionEvent::SessionRevoked {} => &[User],
            SessionEvent::SessionExpired {} => &[System],
        },
        Event::User(event) => match event {
            UserEvent::OwnerRegistered { .. } => &[SetupSession],
            UserEvent::OwnerDiscarded { .. } | UserEvent::OwnerRecoveryOpened { .. } => &[Operator],
            UserEvent::UserInvited { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::UserDisabled { .. }
            | UserEvent::UserEnabled { .. } => &[User, ApiToken],
            UserEvent::UserErased { .. } => &[User, Operator],
            UserEvent::SessionsRevoked { .. }
            | UserEvent::InvitationAccepted { .. }
            | UserEvent::ProfileChanged { .. }
            | UserEvent::OwnerIdentityReplaced { .. }
            | UserEvent::IdentityUnlinked { .. } => &[User],
        },
        Event::ApiToken(event) => match event {
            ApiTokenEvent::ApiTokenIssued { .. } | ApiTokenEvent::ApiTokenRevoked { .. } => &[User],
        },
        Event::IdentityProvider(event) => match event {
            IdentityProviderEvent::ProviderConfigured { .. } => &[SetupSession, User, Operator],
            IdentityProviderEvent::ProviderRemoved { .. } => &[Operator],
            IdentityProviderEvent::SignInsRefused { .. } => &[System],
        },
    }
}

/// Whether an event is part of a sign-in: the provider vouches for whoever does it, and no session yet.
pub(super) fn is_of_a_sign_in(event: &Event) -> bool {
    match event {
        Event::User(event) => match event {
            UserEvent::InvitationAccepted { .. }
            | UserEvent::ProfileChanged { .. }
            | UserEvent::OwnerIdentityReplaced { .. }
            | UserEvent::IdentityUnlinked { .. } => true,
            UserEvent::OwnerRegistered { .. }
            | UserEvent::OwnerDiscarded { .. }
            | UserEvent::UserInvited { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::UserDisabled { .. }
            | UserEvent::UserEnabled { .. }
            | UserEvent::UserErased { .. }
            | UserEvent::SessionsRevoked { .. }
            | UserEvent::OwnerRecoveryOpened { .. } => false,
        },
        Event::Session(event) => matches!(event, SessionEvent::SessionOpened { .. }),
        Event::Setup(_) | Event::ApiToken(_) | Event::IdentityProvider(_) => false,
    }
}
