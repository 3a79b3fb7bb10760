//! `/v1/users...`.

use aggregates::{EmailAddress, Role, UserId};
use axum::http::StatusCode;
use projections::UserRow;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::slice;
use crate::error::{ApiError, ErrorCode};
use crate::http::call::Call;
use crate::http::{Direction, Page, Sorting};
use crate::http::{Json, PathId, Query};
use crate::items::User;
use crate::service::erase::{Erased, Eraser};
use crate::service::users::{UserQuery, UserSort};

/// A search text has at most so many bytes.
pub const MAX_SEARCH_BYTES: usize = 256;

#[derive(Serialize, ToSchema)]
pub struct UserAnswer {
    user: User,
}

impl UserAnswer {
    fn of(row: UserRow) -> Json<Self> {
        Json(Self { user: row.into() })
    }
}

/// Who calls
#[utoipa::path(
    get, path = "/v1/users/me", tag = "users", security(("bearer" = [])), responses((status = 200, body = UserAnswer))
)]
pub async fn me(call: Call) -> Result<Json<UserAnswer>, ApiError> {
    let caller = call.caller().await?;
    Ok(UserAnswer::of((*caller.user).clone()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// A part of the address or the name.
    q: Option<String>,
}

/// By what users are listed.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    CreatedAt,
    Email,
    Role,
    Status,
}

#[derive(Serialize, ToSchema)]
pub struct UsersAnswer {
    users: Vec<User>,
    /// How many there are in all, on every page.
    total: i64,
}

/// List users
#[utoipa::path(
    get, path = "/v1/users", tag = "users", params(ListQuery, ("sort" = Option<Sort>, Query), ("direction" = Option<Direction>, Query), Page), security(("bearer" = [])),
    responses((status = 200, body = UsersAnswer))
)]
pub async fn list(
    call: Call,
    query: Result<Query<ListQuery>, ApiError>,
    sorting: Result<Query<Sorting<Sort>>, ApiError>,
    page: Result<Query<Page>, ApiError>,
) -> Result<Json<UsersAnswer>, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let Query(query) = query?;
    let (Query(sorting), Query(page)) = (sorting?, page?);
    let sort = match sorting.sort {
        Sort::CreatedAt => UserSort::CreatedAt,
        Sort::Email => UserSort::Email,
        Sort::Role => UserSort::Role,
        Sort::Status => UserSort::Status,
    };
    let query = UserQuery { q: search_text(query.q)?, sort, slice: slice(page, sorting.direction) };
    let (users, total) = call.service.list_users(&query).await?;
    Ok(Json(UsersAnswer { users: users.into_iter().map(User::from).collect(), total }))
}

/// A search text that fits; an empty one is none.
pub(super) fn search_text(q: Option<String>) -> Result<Option<String>, ApiError> {
    match q {
        Some(q) if q.len() > MAX_SEARCH_BYTES || q.contains('\0') => Err(ApiError::new(ErrorCode::InvalidInput)
            .with_message(format!("`q` has at most {MAX_SEARCH_BYTES} bytes, none of them zero."))),
        q => Ok(q.filter(|q| !q.is_empty())),
    }
}

#[derive(Deserialize, ToSchema)]
pub struct InviteBody {
    #[schema(format = Email)]
    email: String,
    /// `admin`, `developer` or `qa_viewer`.
    #[schema(pattern = "^(admin|developer|qa_viewer)$")]
    role: String,
}

/// A role that a caller may name: anything but owner.
pub(super) fn grantable_role(text: &str) -> Result<Role, ApiError> {
    let role = text.parse::<Role>().ok().filter(|role| *role != Role::Owner);
    role.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidInput).with_message("`role` is one of admin, developer, qa_viewer.")
    })
}

/// Invite somebody
#[utoipa::path(
    post, path = "/v1/users/invite", tag = "users", request_body = InviteBody, security(("bearer" = [])),
    responses((status = 201, body = UserAnswer))
)]
pub async fn invite(
    call: Call,
    body: Result<Json<InviteBody>, ApiError>,
) -> Result<(StatusCode, Json<UserAnswer>), ApiError> {
    let caller = call.caller().await?;
    caller.require_role(Role::Admin)?;
    let (service, context) = (&call.service, &call.context);
    let Json(body) = body?;
    let address = EmailAddress::parse(&body.email)
        .map_err(|error| ApiError::new(ErrorCode::InvalidInput).with_message(format!("`email`: {error}.")))?;
    let role = grantable_role(&body.role)?;
    let user = service.invite_user(context, &caller, address, role).await?;
    Ok((StatusCode::CREATED, UserAnswer::of(user)))
}

#[derive(Deserialize, ToSchema)]
pub struct RoleBody {
    /// `admin`, `developer` or `qa_viewer`.
    #[schema(pattern = "^(admin|developer|qa_viewer)$")]
    role: String,
}

/// Change somebody's role
#[utoipa::path(
    patch, path = "/v1/users/{id}/role", tag = "users", params(("id" = String, Path)), request_body = RoleBody,
    security(("bearer" = [])), responses((status = 200, body = UserAnswer))
)]
pub async fn change_role(
    call: Call,
    id: Result<PathId, ApiError>,
    body: Result<Json<RoleBody>, ApiError>,
) -> Result<Json<UserAnswer>, ApiError> {
    let caller = call.caller().await?;
    caller.require_role(Role::Admin)?;
    let user = UserId(id?.0);
    let (service, context) = (&call.service, &call.context);
    let role = grantable_role(&body?.0.role)?;
    Ok(UserAnswer::of(service.change_role(context, &caller, user, role).await?))
}

/// Any other parameter is refused: `?earse=true` must not look like an erasure that happened.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DisableQuery {
    /// Whether to erase them for good instead: the owner alone may.
    erase: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum DisableAnswer {
    Disabled(UserAnswer),
    Erased(ErasedAnswer),
}

#[derive(Serialize, ToSchema)]
pub struct ErasedAnswer {
    /// Always true.
    erased: bool,
    user_id: Uuid,
    /// Rows of sessions that are gone, those that had run out included.
    sessions: usize,
    api_tokens: usize,
}

/// Disable somebody: their sessions and API tokens end; or erase them
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path), DisableQuery), security(("bearer" = [])),
    responses((status = 200, body = DisableAnswer))
)]
pub async fn disable(
    call: Call,
    id: Result<PathId, ApiError>,
    query: Result<Query<DisableQuery>, ApiError>,
) -> Result<Json<DisableAnswer>, ApiError> {
    let caller = call.caller().await?;
    caller.require_role(Role::Admin)?;
    let user = UserId(id?.0);
    let Query(query) = query?;
    if query.erase != Some(true) {
        let row = call.service.disable_user(&call.context, &caller, user).await?;
        return Ok(Json(DisableAnswer::Disabled(UserAnswer { user: row.into() })));
    }
    caller.require_role(Role::Owner)?;
    let by = Eraser::Caller(Box::new(caller));
    let Erased { sessions, api_tokens, .. } = call.service.erase_user(&call.context, by, user).await?;
    Ok(Json(DisableAnswer::Erased(ErasedAnswer { erased: true, user_id: user.0, sessions, api_tokens })))
}

/// Enable somebody again, as they were
#[utoipa::path(
    post, path = "/v1/users/{id}/enable", tag = "users", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = UserAnswer))
)]
pub async fn enable(call: Call, id: Result<PathId, ApiError>) -> Result<Json<UserAnswer>, ApiError> {
    let caller = call.caller().await?;
    caller.require_role(Role::Admin)?;
    let user = UserId(id?.0);
    Ok(UserAnswer::of(call.service.enable_user(&call.context, &caller, user).await?))
}
