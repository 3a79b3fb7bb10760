//! `/v1/sessions...`.

use aggregates::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ErrorCode};
use crate::http::call::Call;
use crate::http::{Json, PathId, Query};
use crate::items::Session;
use crate::service::sessions::ListedSession;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhoseQuery {
    /// Whose sessions; one's own if it is left out.
    user_id: Option<String>,
}

impl WhoseQuery {
    pub(super) fn user(&self) -> Result<Option<UserId>, ApiError> {
        let parse = |text: &String| {
            text.parse::<UserId>()
                .map_err(|_| ApiError::new(ErrorCode::InvalidInput).with_message("`user_id` is a UUID."))
        };
        self.user_id.as_ref().map(parse).transpose()
    }
}

impl From<ListedSession> for Session {
    fn from(listed: ListedSession) -> Self {
        Self::of(listed.row, listed.user_id, listed.last_seen_at, listed.current)
    }
}

#[derive(Serialize, ToSchema)]
pub struct SessionsAnswer {
    sessions: Vec<Session>,
}

/// List live sessions
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", params(WhoseQuery), security(("bearer" = [])),
    responses((status = 200, body = SessionsAnswer))
)]
pub async fn list(call: Call, query: Result<Query<WhoseQuery>, ApiError>) -> Result<Json<SessionsAnswer>, ApiError> {
    let caller = call.caller().await?;
    caller.require_session()?;
    let user = query?.0.user()?;
    let sessions = call.service.list_sessions(&caller, user).await?;
    Ok(Json(SessionsAnswer { sessions: sessions.into_iter().map(Session::from).collect() }))
}

#[derive(Serialize, ToSchema)]
pub struct RevokedAnswer {
    revoked: bool,
}

/// End a session
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = RevokedAnswer))
)]
pub async fn revoke(call: Call, id: Result<PathId, ApiError>) -> Result<Json<RevokedAnswer>, ApiError> {
    let caller = call.caller().await?;
    caller.require_session()?;
    let session = SessionId(id?.0);
    call.service.revoke_session(&call.context, &caller, session).await?;
    Ok(Json(RevokedAnswer { revoked: true }))
}

#[derive(Serialize, ToSchema)]
pub struct RevokedCountAnswer {
    /// How many ended.
    revoked: i64,
}

/// End all sessions of a user, or all of one's own but the present one
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "sessions", params(WhoseQuery), security(("bearer" = [])),
    responses((status = 200, body = RevokedCountAnswer))
)]
pub async fn revoke_all(
    call: Call,
    query: Result<Query<WhoseQuery>, ApiError>,
) -> Result<Json<RevokedCountAnswer>, ApiError> {
    let caller = call.caller().await?;
    caller.require_session()?;
    let user = query?.0.user()?;
    let revoked = call.service.revoke_sessions(&call.context, &caller, user).await?;
    Ok(Json(RevokedCountAnswer { revoked }))
}
