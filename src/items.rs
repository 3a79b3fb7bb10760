//! Each thing as clients see it, whoever shows it: a call about the present, or a look at the past.
//!
//! Architecture invariant: the shapes of the contract for a user, a session, an API token, the provider and setup stand here
//! once; nothing here asks anybody.

use aggregates::{InstanceId, SetupState, UnixSeconds, UserId};
use projections::{ApiTokenRow, IdentityProviderRow, SessionRow, UserRow};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct User {
    id: Uuid,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// `owner`, `admin`, `developer` or `qa_viewer`.
    role: &'static str,
    /// `invited`, `active` or `disabled`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    /// Unix seconds.
    created_at: i64,
    /// Unix seconds.
    updated_at: i64,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id.0,
            email: row.address,
            display_name: row.display_name,
            role: row.role.as_str(),
            status: row.status.as_str(),
            avatar_url: row.picture,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Session {
    id: Uuid,
    user_id: Uuid,
    /// Unix seconds.
    created_at: i64,
    /// Unix seconds, to the minute.
    last_seen_at: i64,
    /// Unix seconds.
    expires_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

impl Session {
    pub fn of(row: SessionRow, user_id: UserId, last_seen_at: UnixSeconds, current: bool) -> Self {
        Self {
            id: row.id.0,
            user_id: user_id.0,
            created_at: row.created_at.0,
            last_seen_at: last_seen_at.0,
            expires_at: row.expires_at.0,
            ip: row.source_address,
            user_agent: row.user_agent,
            current,
        }
    }

    /// As the log alone tells it: when it was last seen is not there, so that is when it was opened. `None` for a setup
    /// session.
    pub fn as_recorded(row: SessionRow) -> Option<Self> {
        let (user_id, created_at) = (row.user_id?, row.created_at);
        Some(Self::of(row, user_id, created_at, false))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ApiToken {
    id: Uuid,
    name: String,
    /// The token's first 12 characters.
    prefix: String,
    role: &'static str,
    user_id: Uuid,
    /// Unix seconds.
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// Unix seconds, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<i64>,
}

impl ApiToken {
    pub fn of(row: ApiTokenRow, last_used_at: Option<UnixSeconds>) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            prefix: row.prefix,
            role: row.role.as_str(),
            user_id: row.user_id.0,
            created_at: row.created_at.0,
            expires_at: row.expires_at.map(|time| time.0),
            last_used_at: last_used_at.map(|time| time.0),
        }
    }
}

/// How far setup has come.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StatusAnswer {
    instance_id: Uuid,
    /// `uninitialized`, `bootstrap_pending`, `idp_configured`, `owner_created` or `ready`.
    state: &'static str,
    /// Whether the instance is not ready.
    setup_mode: bool,
    /// Whether the instance is ready.
    is_configured: bool,
    runtime_mode: &'static str,
    remote_auth_mode: &'static str,
}

impl StatusAnswer {
    pub fn of(instance_id: InstanceId, state: SetupState) -> Self {
        let ready = state == SetupState::Ready;
        Self {
            instance_id: instance_id.0,
            state: state.as_str(),
            setup_mode: !ready,
            is_configured: ready,
            runtime_mode: "remote",
            remote_auth_mode: "oidc",
        }
    }
}

/// The provider as it was configured; what it says of itself is not in the log.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ConfiguredProvider {
    issuer_url: String,
    client_id: String,
    has_client_secret: bool,
    /// Unix seconds.
    configured_at: i64,
}

impl ConfiguredProvider {
    /// `None` for one that was removed.
    pub fn of(row: &IdentityProviderRow) -> Option<Self> {
        Some(Self {
            issuer_url: row.issuer_url.clone()?,
            client_id: row.client_id.clone().unwrap_or_default(),
            has_client_secret: row.client_secret.is_some(),
            configured_at: row.configured_at.unwrap_or_default().0,
        })
    }
}
