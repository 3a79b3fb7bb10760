//! Sessions: list, revoke, sign out.

use aggregates::{
    Actor, IdentityProvider, Role, Session, SessionCommand, SessionError, SessionId, SessionKind, StreamId,
    UnixSeconds, User, UserCommand, UserError, UserId,
};
use projections::{IdentityProviderRow, SessionRow, UserRow};

use super::authenticate::{Caller, forbidden};
use super::decision::{Decide, Decision};
use super::users::user_error;
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::log::Arg;

/// Sessions that a list shows at most, the newest first.
pub const LISTED_SESSIONS: i64 = 200;

/// A live session.
#[derive(Clone, Debug)]
pub struct ListedSession {
    pub row: SessionRow,
    pub user_id: UserId,
    pub last_seen_at: UnixSeconds,
    /// Whether it is the caller's own present one.
    pub current: bool,
}

fn no_session() -> ApiError {
    ApiError::new(ErrorCode::NotFound).with_message("There is no such session.")
}

impl Service {
    /// Live sessions of one user; without `user_id` the caller's own.
    ///
    /// # Errors
    /// `forbidden`, `store_error`.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        user_id: Option<UserId>,
    ) -> Result<Vec<ListedSession>, ApiError> {
        let own = caller.require_session()?;
        let user_id = user_id.unwrap_or(caller.user.id);
        if user_id != caller.user.id {
            caller.require_role(Role::Admin)?;
        }
        let rows = self.live_sessions(user_id).await?;
        let mut listed = Vec::with_capacity(rows.len());
        for row in rows {
            let seen = self.log.last_seen(&row.id.to_string()).await.map_err(store_error)?;
            let (last_seen_at, current) = (seen.unwrap_or(row.created_at), row.id == own);
            listed.push(ListedSession { row, user_id, last_seen_at, current });
        }
        Ok(listed)
    }

    /// What is true of a session that is alive, of the user `$1` at the time `$2`.
    fn live(&self) -> String {
        let (users, provider) = (self.log.read().table::<UserRow>(), self.log.read().table::<IdentityProviderRow>());
        format!(
            "WHERE t.user_id = $1 AND t.expired = 0 AND t.expires_at > $2 \
             AND t.user_epoch = (SELECT session_epoch FROM {users} WHERE id = t.user_id) \
             AND t.provider_epoch = (SELECT session_epoch FROM {provider})"
        )
    }

    /// The newest of a user's sessions, 200 at most.
    async fn live_sessions(&self, user_id: UserId) -> Result<Vec<SessionRow>, ApiError> {
        let clause = format!("{} ORDER BY t.created_at DESC, t.id DESC LIMIT $3", self.live());
        let args = [Arg::Text(user_id.to_string()), Arg::Integer(self.now().0), Arg::Integer(LISTED_SESSIONS)];
        self.log.read().rows(&clause, &args).await.map_err(store_error)
    }

    /// How many live sessions a user has besides the one given.
    async fn count_sessions_but(&self, kept: Option<SessionId>, user_id: UserId) -> Result<i64, ApiError> {
        let clause = format!("{} AND t.id <> $3", self.live());
        let kept = kept.map(|kept| kept.to_string()).unwrap_or_default();
        let args = [Arg::Text(user_id.to_string()), Arg::Integer(self.now().0), Arg::Text(kept)];
        self.log.read().count::<SessionRow>(&clause, &args).await.map_err(store_error)
    }

    /// Ends one session.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn revoke_session(
        &self,
        context: &CallContext,
        caller: &Caller,
        session: SessionId,
    ) -> Result<(), ApiError> {
        caller.require_session()?;
        self.run(context, RevokeSession { caller: caller.clone(), session }).await
    }

    /// Ends all sessions of a user; without `user_id` all of the caller's but the present one. Answers how many.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn revoke_sessions(
        &self,
        context: &CallContext,
        caller: &Caller,
        user_id: Option<UserId>,
    ) -> Result<i64, ApiError> {
        let own = caller.require_session()?;
        if user_id.is_some_and(|user_id| user_id != caller.user.id) {
            caller.require_role(Role::Admin)?;
        }
        let kept = if user_id.is_none() { Some(own) } else { None };
        let user_id = user_id.unwrap_or(caller.user.id);
        self.run(context, RevokeSessions { caller: caller.clone(), user_id, kept }).await
    }

    /// Signs out: ends the caller's own session.
    ///
    /// # Errors
    /// `forbidden` for an API token.
    pub async fn sign_out(&self, context: &CallContext, caller: &Caller) -> Result<(), ApiError> {
        let session = caller.require_session()?;
        self.run(context, SignOut { caller: caller.clone(), session }).await
    }
}

struct RevokeSession {
    caller: Caller,
    session: SessionId,
}

impl Decide for RevokeSession {
    type Answer = ();
    const COMMAND: &'static str = "revoke_session";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        let actor = decision.reauthenticate(&self.caller).await?;
        let mut session = decision.load::<Session>(StreamId::session(self.session)).await?;
        let (Some(SessionKind::User), Some(user_id)) = (session.aggregate.kind, session.aggregate.user_id) else {
            return Err(no_session());
        };
        may_end(decision, actor, user_id).await?;
        decision.handle(&mut session, SessionCommand::Revoke).await.map(drop).map_err(|error| match error {
            SessionError::Invalid | SessionError::Expired | SessionError::Exists => no_session(),
        })
    }
}

/// Whether the actor may end what belongs to that user, by the user's own stream.
///
/// To somebody who may not manage people, another's session does not exist.
pub(super) async fn may_end(decision: &mut Decision, actor: Actor, user_id: UserId) -> Result<(), ApiError> {
    if actor.user_id != user_id && !actor.role.manages() {
        return Err(forbidden("Your role does not permit this for other users."));
    }
    let user = decision.load::<User>(StreamId::user(user_id)).await?.aggregate;
    user.may_be_ended_by(actor, user_id).map_err(|error| user_error(&error))
}

struct RevokeSessions {
    caller: Caller,
    user_id: UserId,
    kept: Option<SessionId>,
}

impl Decide for RevokeSessions {
    type Answer = i64;
    const COMMAND: &'static str = "revoke_sessions";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<i64, ApiError> {
        let actor = decision.reauthenticate(&self.caller).await?;
        let mut user = decision.load::<User>(StreamId::user(self.user_id)).await?;
        let role = user.aggregate.existing_role();
        role.map_err(|_| user_error(&UserError::NotFound))?;
        let ended = service.count_sessions_but(self.kept, self.user_id).await?;
        if ended == 0 {
            user.aggregate.may_be_ended_by(actor, self.user_id).map_err(|error| user_error(&error))?;
            return Ok(0);
        }
        let command = UserCommand::RevokeSessions { actor, user_id: self.user_id, kept: self.kept };
        decision.handle(&mut user, command).await.map_err(|error| user_error(&error))?;
        if let Some(kept) = self.kept {
            let provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?.aggregate;
            keep_session(decision, kept, user.aggregate.session_epoch, provider.session_epoch).await?;
        }
        Ok(ended)
    }
}

/// Moves a session that stays to the epochs under which all others end.
pub(super) async fn keep_session(
    decision: &mut Decision,
    session: SessionId,
    user_epoch: u64,
    provider_epoch: u64,
) -> Result<(), ApiError> {
    let mut session = decision.load::<Session>(StreamId::session(session)).await?;
    let keep = SessionCommand::Keep { user_epoch, provider_epoch };
    decision.handle(&mut session, keep).await.map(drop).map_err(|_| super::authenticate::invalid_session())
}

struct SignOut {
    caller: Caller,
    session: SessionId,
}

impl Decide for SignOut {
    type Answer = ();
    const COMMAND: &'static str = "sign_out";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        decision.reauthenticate(&self.caller).await?;
        let mut session = decision.load::<Session>(StreamId::session(self.session)).await?;
        decision.handle(&mut session, SessionCommand::SignOut).await.map(drop).map_err(|_| no_session())
    }
}
