//! Whether a state allows an event that is there already.

mod cast;

use aggregates::{
    Actor, ApiToken, ApiTokenEvent, Circumstances, IdentityProvider, IdentityProviderEvent, NotAllowed, Role, Session,
    SessionEvent, Setup, SetupEvent, UnixSeconds, User, UserEvent,
};
use cast::{
    ANNA, BOB, INSTANCE, NOW, OWNER, SESSION, address_of, by_api_token, folded, hash, identity_of, profile_of,
    signed_in,
};

const THE_OWNER: Actor = signed_in(OWNER, Role::Owner);

fn by(actor: impl Into<Option<Actor>>) -> Circumstances {
    Circumstances { actor: actor.into(), now: NOW }
}

fn refused(words: &str) -> Result<(), NotAllowed> {
    Err(NotAllowed::Refused(words.to_owned()))
}

fn anna() -> User {
    let invited = UserEvent::UserInvited { address: address_of(ANNA), role: Role::Developer, invited_by: OWNER };
    folded(&[invited, UserEvent::InvitationAccepted { identity: identity_of(ANNA), profile: profile_of(ANNA) }])
}

#[test]
fn an_event_is_allowed_that_its_command_would_give() {
    let promoted = UserEvent::RoleChanged { role: Role::Admin, changed_by: OWNER };
    assert_eq!(anna().allows(ANNA, &promoted, &by(THE_OWNER)), Ok(()));
    let disabled = UserEvent::UserDisabled { disabled_by: OWNER };
    assert_eq!(anna().allows(ANNA, &disabled, &by(by_api_token(OWNER, Role::Admin))), Ok(()));
    let erased = UserEvent::UserErased { address: address_of(ANNA), identity: None, erased_by: None };
    assert_eq!(anna().allows(ANNA, &erased, &by(None)), Ok(()));
}

#[test]
fn an_event_is_not_allowed_that_its_command_would_not_give() {
    let promoted = UserEvent::RoleChanged { role: Role::Admin, changed_by: OWNER };
    assert_eq!(anna().allows(ANNA, &promoted, &by(None)), Err(NotAllowed::NeedsAUser));
    assert_eq!(anna().allows(ANNA, &promoted, &by(signed_in(BOB, Role::Owner))), Err(NotAllowed::Differs));
    let by_developer = by(signed_in(OWNER, Role::Developer));
    let no_role = refused("your role does not permit managing users");
    assert_eq!(anna().allows(ANNA, &promoted, &by_developer), no_role);
    let unchanged = UserEvent::RoleChanged { role: Role::Developer, changed_by: OWNER };
    assert_eq!(anna().allows(ANNA, &unchanged, &by(THE_OWNER)), Err(NotAllowed::Repeated));
    let enabled = UserEvent::UserEnabled { enabled_by: OWNER };
    assert_eq!(anna().allows(ANNA, &enabled, &by(THE_OWNER)), Err(NotAllowed::Repeated));
}

#[test]
fn a_failed_verification_counts_on_and_five_are_the_last() {
    let issued = |failures: u8| -> Setup {
        let issued = SetupEvent::BootstrapTokenIssued { token_hash: hash(1), expires_at: NOW.plus(60), owner: None };
        folded(&[
            SetupEvent::InstanceCreated { instance_id: INSTANCE },
            issued,
            SetupEvent::VerificationFailed { failures },
        ])
    };
    let failed = |failures| SetupEvent::VerificationFailed { failures };
    assert_eq!(issued(1).allows(&failed(2), NOW), Ok(()));
    assert_eq!(issued(1).allows(&failed(3), NOW), Err(NotAllowed::Differs));
    let locked = "the bootstrap token is locked after 5 failed verifications";
    assert_eq!(issued(5).allows(&failed(6), NOW), refused(locked));
    let verified = SetupEvent::BootstrapTokenVerified { session_id: SESSION };
    assert_eq!(issued(4).allows(&verified, NOW), Ok(()));
    assert_eq!(issued(5).allows(&verified, NOW), refused(locked));
    assert_eq!(issued(4).allows(&verified, NOW.plus(60)), refused("the bootstrap token has expired"));
}

#[test]
fn what_has_ended_ends_once() {
    let opened = |now: UnixSeconds| SessionEvent::SessionOpened {
        user_id: ANNA,
        token_hash: hash(1),
        opened_at: now,
        expires_at: now.plus(60),
        user_epoch: 0,
        provider_epoch: 0,
    };
    let revoked = SessionEvent::SessionRevoked {};
    assert_eq!(folded::<Session>(&[opened(NOW)]).allows(&revoked), Ok(()));
    assert_eq!(folded::<Session>(&[opened(NOW), revoked.clone()]).allows(&revoked), Err(NotAllowed::Repeated));
    assert_eq!(Session::default().allows(&revoked), refused("the session is not known or was ended"));
    let token = ApiToken { user_id: Some(ANNA), revoked: true, ..ApiToken::default() };
    let revoked = ApiTokenEvent::ApiTokenRevoked { revoked_by: OWNER };
    assert_eq!(token.allows(&revoked, &by(THE_OWNER)), Err(NotAllowed::Repeated));
}

#[test]
fn the_provider_counts_its_configurations() {
    let configured = |version, session_epoch| IdentityProviderEvent::ProviderConfigured {
        issuer_url: "https://id.example.com".to_owned(),
        client_id: "authlog".to_owned(),
        client_secret: None,
        version,
        session_epoch,
    };
    let provider = IdentityProvider::default();
    assert_eq!(provider.allows(&configured(1, 0)), Ok(()));
    assert_eq!(provider.allows(&configured(2, 0)), Err(NotAllowed::Differs));
    assert_eq!(provider.allows(&configured(1, 1)), Err(NotAllowed::Differs));
    let removed = IdentityProviderEvent::ProviderRemoved { version: 1 };
    assert_eq!(provider.allows(&removed), refused("no identity provider is configured"));
}
