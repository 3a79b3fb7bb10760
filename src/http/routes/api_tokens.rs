//! `/v1/api-tokens...`.

use aggregates::{ApiTokenId, Role, UnixSeconds};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::users::grantable_role;
use super::{Ok as Done, secret};
use crate::error::{ApiError, ErrorCode};
use crate::http::call::Call;
use crate::http::{Json, PathId};
use crate::items::ApiToken;
use crate::service::api_tokens::{MAX_NAME_CHARACTERS, NewApiToken};

#[derive(Serialize, ToSchema)]
pub struct ApiTokensAnswer {
    tokens: Vec<ApiToken>,
    /// How many there are in all.
    total: i64,
}

/// List API tokens
#[utoipa::path(
    get, path = "/v1/api-tokens", tag = "API tokens", security(("bearer" = [])),
    responses((status = 200, body = ApiTokensAnswer))
)]
pub async fn list(call: Call) -> Result<Json<ApiTokensAnswer>, ApiError> {
    let caller = call.caller().await?;
    let (listed, total) = call.service.list_api_tokens(&caller).await?;
    let tokens = listed.into_iter().map(|token| ApiToken::of(token.row, token.last_used_at)).collect();
    Ok(Json(ApiTokensAnswer { tokens, total }))
}

#[derive(Deserialize, ToSchema)]
pub struct IssueBody {
    /// 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// `admin`, `developer` or `qa_viewer`, not higher than one's own.
    #[schema(pattern = "^(admin|developer|qa_viewer)$")]
    role: String,
    /// Unix seconds.
    #[serde(default)]
    expires_at: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub struct IssuedAnswer {
    #[serde(flatten)]
    shown: ApiToken,
    /// The token in clear, shown once.
    token: String,
}

/// Issue an API token
#[utoipa::path(
    post, path = "/v1/api-tokens", tag = "API tokens", request_body = IssueBody, security(("bearer" = [])),
    responses((status = 201, body = IssuedAnswer))
)]
pub async fn issue(call: Call, body: Result<Json<IssueBody>, ApiError>) -> Result<Response, ApiError> {
    let caller = call.caller().await?;
    caller.require_session()?;
    caller.require_role(Role::Developer)?;
    let (service, context) = (&call.service, &call.context);
    let Json(body) = body?;
    let length = body.name.chars().count();
    if length == 0 || length > MAX_NAME_CHARACTERS || body.name.chars().any(char::is_control) {
        return Err(ApiError::new(ErrorCode::InvalidInput)
            .with_message("`name` has 1 to 100 characters and no control characters."));
    }
    let role = grantable_role(&body.role)?;
    let token = NewApiToken { name: body.name, role, expires_at: body.expires_at.map(UnixSeconds) };
    let (row, clear) = service.issue_api_token(context, &caller, token).await?;
    let answer = IssuedAnswer { shown: ApiToken::of(row, None), token: clear };
    Ok((StatusCode::CREATED, secret(answer)).into_response())
}

/// Revoke an API token
#[utoipa::path(
    delete, path = "/v1/api-tokens/{id}", tag = "API tokens", params(("id" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = Done))
)]
pub async fn revoke(call: Call, id: Result<PathId, ApiError>) -> Result<Json<Done>, ApiError> {
    let caller = call.caller().await?;
    caller.require_session()?;
    let token = ApiTokenId(id?.0);
    call.service.revoke_api_token(&call.context, &caller, token).await?;
    Ok(Done::yes())
}
