//! API tokens: list, issue, revoke.

use aggregates::{
    ApiToken, ApiTokenCommand, ApiTokenError, ApiTokenId, Protected, Role, StreamId, TokenHash, UnixSeconds, User,
};
use projections::{ApiTokenRow, Key, UserRow};
use uuid::Uuid;

use super::authenticate::{API_TOKEN_PREFIX, Caller, forbidden, invalid_session};
use super::decision::{Decide, Decision};
use super::sessions::may_end;
use super::setup::random_token;
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::log::Arg;

/// Characters of a token's name at most.
pub const MAX_NAME_CHARACTERS: usize = 100;
/// Characters of a token that stay visible, to recognise it by.
const PREFIX_CHARACTERS: usize = 12;
/// API tokens that a list shows at most, the newest first; `total` counts all.
pub const LISTED_TOKENS: i64 = 200;

/// An API token and when it was last used.
#[derive(Clone, Debug)]
pub struct ListedToken {
    pub row: ApiTokenRow,
    pub last_used_at: Option<UnixSeconds>,
}

/// What a new API token shall be.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    pub name: String,
    pub role: Role,
    pub expires_at: Option<UnixSeconds>,
}

fn api_token_error(error: &ApiTokenError) -> ApiError {
    let code = match error {
        ApiTokenError::NotFound | ApiTokenError::Invalid => ErrorCode::NotFound,
        ApiTokenError::Forbidden(_) => ErrorCode::Forbidden,
        ApiTokenError::ExpiryInThePast => ErrorCode::InvalidInput,
        ApiTokenError::Exists | ApiTokenError::Expired => ErrorCode::InternalError,
    };
    ApiError::new(code).worded(error)
}

impl Service {
    /// Tokens that work: all for owner and admin, a developer's own.
    ///
    /// # Errors
    /// `forbidden`, `store_error`.
    pub async fn list_api_tokens(&self, caller: &Caller) -> Result<(Vec<ListedToken>, i64), ApiError> {
        caller.require_session()?;
        caller.require_role(Role::Developer)?;
        let users = self.log.read().table::<UserRow>();
        let mut condition =
            format!("WHERE t.token_epoch = (SELECT token_epoch FROM {users} WHERE id = t.user_id) AND $1 > 0");
        let mut args = vec![Arg::Integer(LISTED_TOKENS)];
        if !caller.role.manages() {
            args.push(Arg::Text(caller.user.id.to_string()));
            condition.push_str(" AND t.user_id = $2");
        }
        let clause = format!("{condition} ORDER BY t.created_at DESC, t.id DESC LIMIT $1");
        let rows = self.log.read().rows::<ApiTokenRow>(&clause, &args).await.map_err(store_error)?;
        let total = self.log.read().count::<ApiTokenRow>(&condition, &args).await.map_err(store_error)?;
        let mut listed = Vec::with_capacity(rows.len());
        for row in rows {
            let last_used_at = self.log.last_seen(&row.id.to_string()).await.map_err(store_error)?;
            listed.push(ListedToken { row, last_used_at });
        }
        Ok((listed, total))
    }

    /// Issues a token; the answer holds it in clear, once.
    ///
    /// # Errors
    /// `forbidden`, `invalid_input`.
    pub async fn issue_api_token(
        &self,
        context: &CallContext,
        caller: &Caller,
        token: NewApiToken,
    ) -> Result<(ApiTokenRow, String), ApiError> {
        let clear = format!("{API_TOKEN_PREFIX}{}", random_token()?);
        let call = IssueApiToken {
            caller: caller.clone(),
            id: ApiTokenId(Uuid::now_v7()),
            prefix: clear.chars().take(PREFIX_CHARACTERS).collect(),
            token_hash: TokenHash::of(&clear),
            token,
        };
        let (id, rows) = self.run_for_rows(context, call).await?;
        let row = rows.and_then(|rows| rows.api_tokens.get(&Key::Id(id.0)).cloned());
        // It is gone already when its owner was erased in the same commit.
        let row = row.ok_or_else(invalid_session)?;
        Ok((row, clear))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn revoke_api_token(
        &self,
        context: &CallContext,
        caller: &Caller,
        token: ApiTokenId,
    ) -> Result<(), ApiError> {
        caller.require_session()?;
        self.run(context, RevokeApiToken { caller: caller.clone(), token }).await
    }
}

struct IssueApiToken {
    caller: Caller,
    id: ApiTokenId,
    prefix: String,
    token_hash: TokenHash,
    token: NewApiToken,
}

impl Decide for IssueApiToken {
    type Answer = ApiTokenId;
    const COMMAND: &'static str = "issue_api_token";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<ApiTokenId, ApiError> {
        let actor = decision.reauthenticate(&self.caller).await?;
        let owner = decision.load::<User>(StreamId::user(actor.user_id)).await?.aggregate;
        let mut token = decision.load::<ApiToken>(StreamId::api_token(self.id)).await?;
        let issue = ApiTokenCommand::Issue {
            actor,
            name: Protected::of_person(actor.user_id, self.token.name.clone()),
            prefix: self.prefix.clone(),
            token_hash: self.token_hash,
            role: self.token.role,
            now: decision.now,
            expires_at: self.token.expires_at,
            token_epoch: owner.token_epoch,
        };
        decision.handle(&mut token, issue).await.map_err(|error| api_token_error(&error))?;
        Ok(self.id)
    }
}

struct RevokeApiToken {
    caller: Caller,
    token: ApiTokenId,
}

impl Decide for RevokeApiToken {
    type Answer = ();
    const COMMAND: &'static str = "revoke_api_token";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        let actor = decision.reauthenticate(&self.caller).await?;
        let mut token = decision.load::<ApiToken>(StreamId::api_token(self.token)).await?;
        let user_id = token.aggregate.user_id.ok_or_else(|| api_token_error(&ApiTokenError::NotFound))?;
        if actor.user_id != user_id && !actor.role.manages() {
            return Err(forbidden("Your role does not permit this for other users' tokens."));
        }
        may_end(decision, actor, user_id).await?;
        let revoke = ApiTokenCommand::Revoke { actor };
        decision.handle(&mut token, revoke).await.map(drop).map_err(|error| api_token_error(&error))
    }
}
