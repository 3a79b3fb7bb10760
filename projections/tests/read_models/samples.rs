//! Short ways to write events.

use aggregates::{
    ApiTokenEvent, ApiTokenId, Event, IdentityProviderEvent, InstanceId, KeyId, LinkedIdentity, PinnedOwner, Profile,
    Protected, RemoteAuthMode, Role, RuntimeMode, SessionEnd, SessionEvent, SessionId, SetupEvent, StreamId, TokenHash,
    UnixSeconds, UserEvent, UserId,
};
use uuid::Uuid;

pub(crate) const ISSUER: &str = "https://id.example.com";

pub(crate) fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(0x1000 + n))
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId(Uuid::from_u128(0x2000 + n))
}

pub(crate) fn api_token(n: u128) -> ApiTokenId {
    ApiTokenId(Uuid::from_u128(0x3000 + n))
}

pub(crate) fn personal(n: u128, text: &str) -> Protected {
    Protected::of_person(user(n), text)
}

pub(crate) fn identity(n: u128, subject: &str) -> LinkedIdentity {
    LinkedIdentity { issuer: ISSUER.to_owned(), subject: personal(n, subject) }
}

pub(crate) fn profile(n: u128, name: &str) -> Profile {
    Profile { display_name: Some(personal(n, name)), picture: Some(personal(n, &format!("https://pic/{name}"))) }
}

pub(crate) fn owner_registered(n: u128, address: &str, subject: &str) -> UserEvent {
    UserEvent::OwnerRegistered {
        address: personal(n, address),
        identity: identity(n, subject),
        profile: profile(n, subject),
    }
}

pub(crate) fn invited(n: u128, address: &str) -> UserEvent {
    UserEvent::UserInvited { address: personal(n, address), role: Role::Developer, invited_by: user(1) }
}

pub(crate) fn accepted(n: u128, subject: &str) -> UserEvent {
    UserEvent::InvitationAccepted { identity: identity(n, subject), profile: profile(n, subject) }
}

pub(crate) fn session_opened(n: u128, of: u128) -> SessionEvent {
    SessionEvent::SessionOpened {
        user_id: user(of),
        token_hash: TokenHash::of(&format!("session {n}")),
        opened_at: UnixSeconds(100),
        expires_at: UnixSeconds(200),
        user_epoch: 3,
        provider_epoch: 4,
    }
}

pub(crate) fn setup_session_opened(n: u128) -> SessionEvent {
    SessionEvent::SetupSessionOpened {
        token_hash: TokenHash::of(&format!("session {n}")),
        opened_at: UnixSeconds(100),
        expires_at: UnixSeconds(200),
    }
}

pub(crate) fn token_issued(n: u128, of: u128) -> ApiTokenEvent {
    ApiTokenEvent::ApiTokenIssued {
        user_id: user(of),
        name: personal(of, "ci"),
        prefix: "alog_0123456".to_owned(),
        token_hash: TokenHash::of(&format!("token {n}")),
        role: Role::QaViewer,
        issued_at: UnixSeconds(100),
        expires_at: Some(UnixSeconds(300)),
        token_epoch: 5,
    }
}

pub(crate) fn instance_created() -> SetupEvent {
    SetupEvent::InstanceCreated { instance_id: InstanceId(Uuid::from_u128(1)) }
}

pub(crate) fn bootstrap_token_issued(owner: Option<PinnedOwner>) -> SetupEvent {
    SetupEvent::BootstrapTokenIssued { token_hash: TokenHash::of("bootstrap"), expires_at: UnixSeconds(900), owner }
}

pub(crate) fn provider_configured(version: u64, secret: Option<&str>) -> IdentityProviderEvent {
    IdentityProviderEvent::ProviderConfigured {
        issuer_url: ISSUER.to_owned(),
        client_id: "authlog".to_owned(),
        client_secret: secret.map(|sealed| Protected::Sealed { key: KeyId::Instance, sealed: sealed.to_owned() }),
        version,
        session_epoch: 2,
    }
}

/// One event of every type, with all optional values there.
pub(crate) fn one_of_each() -> Vec<(StreamId, Event)> {
    let pinned = PinnedOwner { user_id: user(1), address: personal(1, "secret-address") };
    let setup = [
        instance_created(),
        bootstrap_token_issued(Some(pinned)),
        SetupEvent::VerificationFailed { failures: 3 },
        SetupEvent::BootstrapTokenVerified { session_id: session(1) },
        SetupEvent::PreferencesSet { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc },
        SetupEvent::SetupProviderAccepted { provider_version: 6 },
        SetupEvent::OwnerVerified { user_id: user(1) },
        SetupEvent::SetupCompleted {},
        SetupEvent::SetupRestarted {},
    ];
    let sessions = [
        setup_session_opened(1),
        SessionEvent::SetupSessionExtended { extended_at: UnixSeconds(150), expires_at: UnixSeconds(250) },
        SessionEvent::SetupSessionEnded { reason: SessionEnd::Replaced },
        session_opened(2, 1),
        SessionEvent::SessionKept { user_epoch: 7, provider_epoch: 8 },
        SessionEvent::SessionSignedOut {},
        SessionEvent::SessionRevoked {},
        SessionEvent::SessionExpired {},
    ];
    let users = [
        owner_registered(1, "secret-address", "secret-subject"),
        UserEvent::OwnerDiscarded { address: personal(1, "secret-address"), identity: identity(1, "secret-subject") },
        invited(2, "secret-address"),
        accepted(2, "secret-subject"),
        UserEvent::ProfileChanged { profile: profile(2, "secret-name") },
        UserEvent::RoleChanged { role: Role::Admin, changed_by: user(1) },
        UserEvent::UserDisabled { disabled_by: user(1) },
        UserEvent::UserEnabled { enabled_by: user(1) },
        UserEvent::UserErased {
            address: personal(2, "secret-address"),
            identity: Some(identity(2, "secret-subject")),
            erased_by: Some(user(1)),
        },
        UserEvent::SessionsRevoked { revoked_by: Some(user(1)), kept: Some(session(2)) },
        UserEvent::OwnerRecoveryOpened {
            subject: Some(personal(1, "secret-subject")),
            address: None,
            expires_at: UnixSeconds(900),
        },
        UserEvent::OwnerIdentityReplaced {
            identity: identity(1, "secret-subject"),
            profile: profile(1, "secret-name"),
            released: Some(identity(1, "secret-old-subject")),
        },
        UserEvent::IdentityUnlinked { released: identity(2, "secret-subject") },
    ];
    let tokens = [token_issued(1, 2), ApiTokenEvent::ApiTokenRevoked { revoked_by: user(1) }];
    let provider = [
        provider_configured(6, Some("secret-sealed")),
        IdentityProviderEvent::ProviderRemoved { version: 7 },
        IdentityProviderEvent::SignInsRefused { reason: "user_not_found".to_owned(), count: 3 },
    ];
    (setup.into_iter().map(|event| (StreamId::setup(), event.into())))
        .chain(sessions.into_iter().map(|event| (StreamId::session(session(2)), event.into())))
        .chain(users.into_iter().map(|event| (StreamId::user(user(2)), event.into())))
        .chain(tokens.into_iter().map(|event| (StreamId::api_token(api_token(1)), event.into())))
        .chain(provider.into_iter().map(|event| (StreamId::identity_provider(), event.into())))
        .collect()
}
