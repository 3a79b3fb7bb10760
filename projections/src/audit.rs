//! Read model `audit`: one entry an event, for people who ask what happened.
//!
//! Architecture invariant: an entry holds no personal data, no secret and no hash, so erasing a person need not touch it.
//! Architecture invariant: the matches here have no catch-all; an event without an entry does not compile.

use std::borrow::Cow;

use aggregates::{
    ApiTokenEvent, Event, INSTANCE_STREAM, IdentityProviderEvent, InstanceId, RemoteAuthMode, Role, RuntimeMode,
    SessionEnd, SessionEvent, SessionId, SetupEvent, UnixSeconds, UserEvent, UserId,
};
use serde::{Deserialize, Serialize};

use crate::{Column, FoldError, Index, Key, Recorded, RecoveryKind, Row, Rows, Table};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// The event's position.
    pub id: i64,
    pub actor_id: Option<UserId>,
    /// The event's type in snake case.
    pub action: Cow<'static, str>,
    /// The type of the aggregate.
    pub resource_type: Cow<'static, str>,
    /// The id of the aggregate, if there is more than one of its type.
    pub resource_id: Option<String>,
    /// A JSON object of the event's harmless facts, if it has any.
    pub details: Option<String>,
    pub created_at: UnixSeconds,
}

impl Row for AuditRow {
    const TABLE: &'static Table = &Table {
        name: "audit",
        version: 1,
        columns: &[
            Column::integer("id"),
            Column::text("actor_id").nullable(),
            Column::text("action"),
            Column::text("resource_type"),
            Column::text("resource_id").nullable(),
            Column::text("details").nullable(),
            Column::integer("created_at"),
        ],
        key: "id",
        owner: None,
        // Positions are in the order of time, so none for `created_at`; resource types are a handful.
        indexes: &[Index::on(&["actor_id", "id"]).only("actor_id IS NOT NULL"), Index::on(&["action", "id"])],
    };

    fn key(&self) -> Key {
        Key::Position(self.id)
    }
}

/// What an entry tells besides who, what and when.
#[derive(Default, PartialEq, Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<InstanceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<SessionEnd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<RecoveryKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_with: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_mode: Option<RuntimeMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_auth_mode: Option<RemoteAuthMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_client_secret: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<UnixSeconds>,
}

pub(crate) fn fold(rows: &mut Rows<AuditRow>, recorded: &Recorded<'_>) -> Result<(), FoldError> {
    let refused = |reason| FoldError::Audit { position: recorded.position, reason };
    let (action, details) = describe(recorded.event);
    let details = (details != Details::default())
        .then(|| serde_json::to_string(&details))
        .transpose()
        .map_err(|_| refused("its details are no JSON"))?;
    let stream = recorded.stream;
    let is_new = rows.put_new(AuditRow {
        id: recorded.position,
        actor_id: recorded.metadata.actor.user_id(),
        action: Cow::Borrowed(action),
        resource_type: Cow::Borrowed(stream.aggregate_type),
        resource_id: (stream.aggregate_id != INSTANCE_STREAM).then(|| stream.aggregate_id.clone()),
        details,
        created_at: recorded.recorded_at(),
    });
    if is_new { Ok(()) } else { Err(refused("there is an entry for that position")) }
}

fn describe(event: &Event) -> (&'static str, Details<'_>) {
    match event {
        Event::Setup(event) => describe_setup(event),
        Event::Session(event) => describe_session(event),
        Event::User(event) => describe_user(event),
        Event::ApiToken(event) => describe_api_token(event),
        Event::IdentityProvider(event) => describe_identity_provider(event),
    }
}

fn describe_setup(event: &SetupEvent) -> (&'static str, Details<'_>) {
    let none = Details::default();
    match event {
        SetupEvent::InstanceCreated { instance_id } => {
            ("instance_created", Details { instance_id: Some(*instance_id), ..none })
        }
        SetupEvent::BootstrapTokenIssued { expires_at, owner, .. } => {
            let user_id = owner.as_ref().map(|owner| owner.user_id);
            ("bootstrap_token_issued", Details { expires_at: Some(*expires_at), user_id, ..none })
        }
        SetupEvent::VerificationFailed { failures } => {
            ("verification_failed", Details { failures: Some(*failures), ..none })
        }
        SetupEvent::BootstrapTokenVerified { session_id } => {
            ("bootstrap_token_verified", Details { session_id: Some(*session_id), ..none })
        }
        SetupEvent::PreferencesSet { runtime_mode, remote_auth_mode } => (
            "preferences_set",
            Details { runtime_mode: Some(*runtime_mode), remote_auth_mode: Some(*remote_auth_mode), ..none },
        ),
        SetupEvent::SetupProviderAccepted { provider_version } => {
            ("setup_provider_accepted", Details { version: Some(*provider_version), ..none })
        }
        SetupEvent::OwnerVerified { user_id } => ("owner_verified", Details { user_id: Some(*user_id), ..none }),
        SetupEvent::SetupCompleted {} => ("setup_completed", none),
        SetupEvent::SetupRestarted {} => ("setup_restarted", none),
    }
}

fn describe_session(event: &SessionEvent) -> (&'static str, Details<'_>) {
    let none = Details::default();
    match event {
        SessionEvent::SetupSessionOpened { expires_at, .. } => {
            ("setup_session_opened", Details { expires_at: Some(*expires_at), ..none })
        }
        SessionEvent::SetupSessionExtended { expires_at, .. } => {
            ("setup_session_extended", Details { expires_at: Some(*expires_at), ..none })
        }
        SessionEvent::SetupSessionEnded { reason } => {
            ("setup_session_ended", Details { reason: Some(*reason), ..none })
        }
        SessionEvent::SessionOpened { user_id, expires_at, .. } => {
            ("session_opened", Details { user_id: Some(*user_id), expires_at: Some(*expires_at), ..none })
        }
        SessionEvent::SessionKept { .. } => ("session_kept", none),
        SessionEvent::SessionSignedOut {} => ("session_signed_out", none),
        SessionEvent::SessionRevoked {} => ("session_revoked", none),
        SessionEvent::SessionExpired {} => ("session_expired", none),
    }
}

fn describe_user(event: &UserEvent) -> (&'static str, Details<'_>) {
    let none = Details::default();
    match event {
        UserEvent::OwnerRegistered { identity, .. } => {
            ("owner_registered", Details { role: Some(Role::Owner), issuer_url: Some(&identity.issuer), ..none })
        }
        UserEvent::OwnerDiscarded { .. } => ("owner_discarded", none),
        UserEvent::UserInvited { role, .. } => ("user_invited", Details { role: Some(*role), ..none }),
        UserEvent::InvitationAccepted { identity, .. } => {
            ("invitation_accepted", Details { issuer_url: Some(&identity.issuer), ..none })
        }
        UserEvent::ProfileChanged { .. } => ("profile_changed", none),
        UserEvent::RoleChanged { role, .. } => ("role_changed", Details { role: Some(*role), ..none }),
        UserEvent::UserDisabled { .. } => ("user_disabled", none),
        UserEvent::UserEnabled { .. } => ("user_enabled", none),
        UserEvent::UserErased { .. } => ("user_erased", none),
        UserEvent::SessionsRevoked { kept, .. } => ("sessions_revoked", Details { session_id: *kept, ..none }),
        UserEvent::OwnerRecoveryOpened { subject, address, expires_at } => {
            let recovery = match (subject, address) {
                (Some(_), _) => Some(RecoveryKind::Subject),
                (None, Some(_)) => Some(RecoveryKind::Address),
                (None, None) => None,
            };
            ("owner_recovery_opened", Details { recovery, expires_at: Some(*expires_at), ..none })
        }
        UserEvent::OwnerIdentityReplaced { identity, .. } => {
            ("owner_identity_replaced", Details { issuer_url: Some(&identity.issuer), ..none })
        }
        UserEvent::IdentityUnlinked { released } => {
            ("identity_unlinked", Details { issuer_url: Some(&released.issuer), ..none })
        }
    }
}

fn describe_api_token(event: &ApiTokenEvent) -> (&'static str, Details<'_>) {
    match event {
        ApiTokenEvent::ApiTokenIssued { user_id, role, expires_at, .. } => (
            "api_token_issued",
            Details { user_id: Some(*user_id), role: Some(*role), expires_at: *expires_at, ..Details::default() },
        ),
        ApiTokenEvent::ApiTokenRevoked { .. } => ("api_token_revoked", Details::default()),
    }
}

fn describe_identity_provider(event: &IdentityProviderEvent) -> (&'static str, Details<'_>) {
    match event {
        IdentityProviderEvent::ProviderConfigured { issuer_url, client_id, client_secret, version, .. } => (
            "provider_configured",
            Details {
                issuer_url: Some(issuer_url),
                client_id: Some(client_id),
                has_client_secret: Some(client_secret.is_some()),
                version: Some(*version),
                ..Details::default()
            },
        ),
        IdentityProviderEvent::ProviderRemoved { version } => {
            ("provider_removed", Details { version: Some(*version), ..Details::default() })
        }
        IdentityProviderEvent::SignInsRefused { reason, count } => {
            ("sign_ins_refused", Details { refused_with: Some(reason), count: Some(*count), ..Details::default() })
        }
    }
}
