//! Who calls: from a bearer token to a user with a role.
//!
//! A session is alive while its own row, its user's session epoch and the provider's session epoch say so; an API token while
//! its row and its user's token epoch do. Expiry is checked at every use.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aggregates::{
    Actor, ApiToken, ApiTokenError, Credential, IdentityProvider, Role, Session, SessionCommand, SessionError,
    SessionId, SessionKind, Status, StreamId, TokenHash, UnixSeconds, User, UserId,
};
use projections::{ActorRef, ApiTokenRow, IdentityProviderRow, SessionRow, UserRow};

use super::decision::{Decide, Decision};
use super::memory::{Memory, Shelf, Used};
use super::{CallContext, Service, overloaded};
use crate::error::{ApiError, ErrorCode};
use crate::log::{Arg, Overloaded};
use crate::settings::Seconds;

/// What API tokens begin with.
pub const API_TOKEN_PREFIX: &str = "alog_";
/// The last use of a session or token is written down at most so often; of a session that may end for being idle, at most ten
/// times in that time.
pub const LAST_SEEN_GRANULARITY_SECONDS: i64 = 60;

/// How exactly the last use of a session is known, where it ends after `idle` seconds without one.
fn granularity_seconds(idle: Option<i64>) -> i64 {
    idle.map_or(LAST_SEEN_GRANULARITY_SECONDS, |idle| (idle / 10).clamp(1, LAST_SEEN_GRANULARITY_SECONDS))
}

/// Whether finding out who holds a token is a use of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is written down, and puts off the end of an idle session.
    Noted,
    Passed,
}

/// Where the rows come from that a caller is checked by.
#[derive(Clone, Copy)]
enum Rows<'a> {
    /// What memory does not hold is read, and kept.
    Remembered(&'a Memory),
    Stored,
}

/// Why nobody holds a token.
enum Refusal {
    /// No row has its hash, and that was read just now.
    Unknown,
    /// By rows that memory may have held.
    Held(ApiError),
}

impl Refusal {
    fn into_error(self) -> ApiError {
        match self {
            Self::Unknown => invalid_session(),
            Self::Held(error) => error,
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Held(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Held(session_error(error))
    }
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: Arc<UserRow>,
    /// The role they act with.
    pub role: Role,
    pub credential: Credential,
    /// When the session was opened; `None` for an API token.
    pub session_opened_at: Option<UnixSeconds>,
}

impl Caller {
    /// Refuses callers below `role`.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn require_role(&self, role: Role) -> Result<(), ApiError> {
        if self.role >= role { Ok(()) } else { Err(forbidden("Your role does not permit this call.")) }
    }

    /// Refuses API tokens; answers the session.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn require_session(&self) -> Result<SessionId, ApiError> {
        match self.credential {
            Credential::Session(session) => Ok(session),
            Credential::ApiToken(_) => Err(forbidden("This call needs a session; an API token does not do.")),
        }
    }

    pub fn actor_ref(&self) -> ActorRef {
        match self.credential {
            Credential::Session(_) => ActorRef::User(self.user.id),
            Credential::ApiToken(token) => ActorRef::ApiToken { user: self.user.id, token },
        }
    }
}

pub(crate) fn forbidden(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::Forbidden).with_message(message)
}

pub(crate) fn invalid_session() -> ApiError {
    ApiError::new(ErrorCode::InvalidSession).with_message("The token is not known or was revoked.")
}

pub(crate) fn session_expired() -> ApiError {
    ApiError::new(ErrorCode::SessionExpired).with_message("The session has expired; sign in again.")
}

/// A database that failed while a session was opened or checked.
pub(crate) fn session_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    let error = error.into();
    if error.downcast_ref().is_some_and(Overloaded::is_cause_of) {
        return overloaded();
    }
    ApiError::new(ErrorCode::SessionError).with_message("The session could not be checked; try again.").caused_by(error)
}

/// A failure of the store by its own code where a session is opened or checked.
pub(super) fn of_session(error: ApiError) -> ApiError {
    if error.code() == ErrorCode::StoreError { session_error(error) } else { error }
}

impl Service {
    /// Finds out who holds this token.
    ///
    /// # Errors
    /// `invalid_session`, `session_expired`, `session_error`.
    pub async fn authenticate(&self, context: &CallContext, token: &str) -> Result<Caller, ApiError> {
        self.holder(context, token, Use::Noted).await
    }

    /// The same while a call is still being answered. That it goes on by itself is no use: a session stays idle.
    ///
    /// # Errors
    /// As [`Service::authenticate`].
    pub async fn authenticate_again(&self, context: &CallContext, token: &str) -> Result<Caller, ApiError> {
        self.holder(context, token, Use::Passed).await
    }

    async fn holder(&self, context: &CallContext, token: &str, used: Use) -> Result<Caller, ApiError> {
        let hash = TokenHash::of(token);
        let is_api_token = token.starts_with(API_TOKEN_PREFIX);
        let held_by = async |rows: Rows<'_>| {
            if is_api_token {
                self.holder_of_api_token(rows, hash, used).await
            } else {
                self.holder_of_session(rows, context, hash, used).await
            }
        };
        // What goes on by itself is told what others write as soon as it is committed, so it is checked by rows as new.
        let memory = self.memory().filter(|_| used == Use::Noted || self.log.nodes().is_none());
        match memory {
            None => held_by(Rows::Stored).await.map_err(Refusal::into_error),
            Some(memory) => match held_by(Rows::Remembered(memory)).await {
                // Where others write too, memory says yes and the rows say no.
                Err(Refusal::Held(_)) if self.log.nodes().is_some() => {
                    held_by(Rows::Stored).await.map_err(Refusal::into_error)
                }
                answer => answer.map_err(Refusal::into_error),
            },
        }
    }

    /// Memory, while it may answer.
    fn memory(&self) -> Option<&Memory> {
        self.log.nodes().is_none_or(|nodes| nodes.may_answer()).then_some(&*self.memory)
    }

    async fn holder_of_session(
        &self,
        rows: Rows<'_>,
        context: &CallContext,
        hash: TokenHash,
        used: Use,
    ) -> Result<Caller, Refusal> {
        let session = self.session_by_hash(rows, hash).await?.ok_or(Refusal::Unknown)?;
        let user_id = match (session.row.kind, session.row.user_id) {
            (SessionKind::User, Some(user_id)) => user_id,
            (SessionKind::User | SessionKind::Setup, _) => return Err(invalid_session().into()),
        };
        let user = self.user_by_id(rows, user_id).await?.ok_or_else(invalid_session)?;
        let provider_epoch = self.provider_epoch(rows).await?;
        let now = self.now();
        let row = &session.row;
        if !may_come_in(&user) || row.user_epoch != user.session_epoch || row.provider_epoch != provider_epoch {
            return Err(invalid_session().into());
        }
        if row.expired || row.expires_at <= now {
            return Err(session_expired().into());
        }
        let idle = self.settings.session_idle_ttl.map(Seconds::get);
        let granularity = granularity_seconds(idle);
        // It may have been used so much later than is known: never too early.
        if idle.is_some_and(|idle| now.0 - session.last_seen.load(Ordering::Relaxed) >= idle + granularity) {
            if matches!(rows, Rows::Stored) || self.log.nodes().is_none() {
                self.run(context, ExpireSession { session: row.id }).await.map_err(session_error)?;
            }
            return Err(session_expired().into());
        }
        if used == Use::Noted {
            self.note_use(&row.id.to_string(), &session.last_seen, now, granularity).await;
        }
        Ok(Caller {
            role: user.role,
            user,
            credential: Credential::Session(row.id),
            session_opened_at: Some(row.created_at),
        })
    }

    async fn holder_of_api_token(&self, rows: Rows<'_>, hash: TokenHash, used: Use) -> Result<Caller, Refusal> {
        let token = self.token_by_hash(rows, hash).await?.ok_or(Refusal::Unknown)?;
        let row = &token.row;
        let user = self.user_by_id(rows, row.user_id).await?.ok_or_else(invalid_session)?;
        if !may_come_in(&user) || row.token_epoch != user.token_epoch {
            return Err(invalid_session().into());
        }
        let now = self.now();
        if row.expires_at.is_some_and(|expires_at| expires_at <= now) {
            let expired = ApiError::new(ErrorCode::SessionExpired).with_message("The API token has expired.");
            return Err(expired.into());
        }
        if used == Use::Noted {
            self.note_use(&row.id.to_string(), &token.last_seen, now, LAST_SEEN_GRANULARITY_SECONDS).await;
        }
        let role = row.role.as_api_token_of(user.role);
        Ok(Caller { user, role, credential: Credential::ApiToken(row.id), session_opened_at: None })
    }

    async fn session_by_hash(&self, rows: Rows<'_>, hash: TokenHash) -> sqlx::Result<Option<Arc<Used<SessionRow>>>> {
        let read = async |clause: &str, arg: Arg| {
            let Some(row) = self.log.read().row::<SessionRow>(clause, &[arg]).await? else { return Ok(None) };
            let seen = self.log.last_seen(&row.id.to_string()).await?.unwrap_or(row.created_at);
            Ok(Some(Used { row, last_seen: AtomicI64::new(seen.0) }))
        };
        let Rows::Remembered(memory) = rows else {
            return Ok(read("WHERE t.token_hash = $1", hash.to_string().into()).await?.map(Arc::new));
        };
        let id = remembered(&memory.session_ids, hash, async || {
            let row = self.log.read().row::<SessionRow>("WHERE t.token_hash = $1", &[hash.to_string().into()]).await?;
            Ok(row.map(|row| row.id))
        });
        let Some(id) = id.await? else { return Ok(None) };
        remembered(&memory.sessions, *id, async || read("WHERE t.id = $1", id.to_string().into()).await).await
    }

    async fn token_by_hash(&self, rows: Rows<'_>, hash: TokenHash) -> sqlx::Result<Option<Arc<Used<ApiTokenRow>>>> {
        let read = async |clause: &str, arg: Arg| {
            let Some(row) = self.log.read().row::<ApiTokenRow>(clause, &[arg]).await? else { return Ok(None) };
            let seen = self.log.last_seen(&row.id.to_string()).await?.unwrap_or_default();
            Ok(Some(Used { row, last_seen: AtomicI64::new(seen.0) }))
        };
        let Rows::Remembered(memory) = rows else {
            return Ok(read("WHERE t.token_hash = $1", hash.to_string().into()).await?.map(Arc::new));
        };
        let id = remembered(&memory.token_ids, hash, async || {
            let row = self.log.read().row::<ApiTokenRow>("WHERE t.token_hash = $1", &[hash.to_string().into()]).await?;
            Ok(row.map(|row| row.id))
        });
        let Some(id) = id.await? else { return Ok(None) };
        remembered(&memory.tokens, *id, async || read("WHERE t.id = $1", id.to_string().into()).await).await
    }

    /// A user's row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: UserId) -> sqlx::Result<Option<Arc<UserRow>>> {
        self.user_by_id(self.memory().map_or(Rows::Stored, Rows::Remembered), id).await
    }

    async fn user_by_id(&self, rows: Rows<'_>, id: UserId) -> sqlx::Result<Option<Arc<UserRow>>> {
        let read = async || self.log.read().row::<UserRow>("WHERE t.id = $1", &[id.to_string().into()]).await;
        match rows {
            Rows::Remembered(memory) => remembered(&memory.users, id, read).await,
            Rows::Stored => Ok(read().await?.map(Arc::new)),
        }
    }

    async fn provider_epoch(&self, rows: Rows<'_>) -> sqlx::Result<u64> {
        let read = async || self.log.read().row::<IdentityProviderRow>("", &[]).await;
        let row = match rows {
            Rows::Remembered(memory) => remembered(&memory.provider, (), read).await?,
            Rows::Stored => read().await?.map(Arc::new),
        };
        Ok(row.map_or(0, |row| row.session_epoch))
    }

    async fn note_use(&self, id: &str, last_seen: &AtomicI64, now: UnixSeconds, granularity: i64) {
        let before = last_seen.load(Ordering::Relaxed);
        if now.0 - before < granularity {
            return;
        }
        // One of the calls that come at once writes it down.
        if last_seen.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && let Err(error) = self.log.note_last_seen(id, now).await
        {
            // Whoever only reads must not fail because nothing can be written. The next use is written down in its turn.
            tracing::warn!(%error, "the last use of a session or API token is not written down");
        }
    }
}

/// Whoever was erased after a log was copied is in it again, and stays outside: their key is gone.
fn may_come_in(user: &UserRow) -> bool {
    user.status == Status::Active && !user.is_without_key()
}

/// The row from memory; else from the database, and kept in memory unless a commit changed it meanwhile.
async fn remembered<K: std::hash::Hash + Eq + Clone, V>(
    shelf: &Shelf<K, V>,
    key: K,
    read: impl AsyncFnOnce() -> sqlx::Result<Option<V>>,
) -> sqlx::Result<Option<Arc<V>>> {
    if let Some(row) = shelf.get(&key) {
        return Ok(Some(row));
    }
    let mark = shelf.mark(&key);
    match read().await {
        Ok(Some(row)) => {
            let row = Arc::new(row);
            shelf.keep(&key, &mark, &row);
            Ok(Some(row))
        }
        Ok(None) => {
            shelf.drop_mark(&key, &mark);
            Ok(None)
        }
        Err(error) => {
            shelf.drop_mark(&key, &mark);
            Err(error)
        }
    }
}

impl Decision {
    /// Checks the caller again, on their streams: what they hold may have been taken from them since.
    ///
    /// # Errors
    /// `invalid_session`, `session_expired`.
    pub async fn reauthenticate(&mut self, caller: &Caller) -> Result<Actor, ApiError> {
        self.check_again(caller).await.map_err(of_session)
    }

    async fn check_again(&mut self, caller: &Caller) -> Result<Actor, ApiError> {
        self.acts(caller.actor_ref());
        let user = self.load::<User>(StreamId::user(caller.user.id)).await?.aggregate;
        let role = match caller.credential {
            Credential::Session(id) => {
                let session = self.load::<Session>(StreamId::session(id)).await?.aggregate;
                let provider = self.load::<IdentityProvider>(StreamId::identity_provider()).await?.aggregate;
                session.acting_role(&user, &provider, self.now).map_err(|error| match error {
                    SessionError::Expired => session_expired(),
                    SessionError::Invalid | SessionError::Exists => invalid_session(),
                })?
            }
            Credential::ApiToken(id) => {
                let token = self.load::<ApiToken>(StreamId::api_token(id)).await?.aggregate;
                token.acting_role(&user, self.now).map_err(|error| match error {
                    ApiTokenError::Expired => session_expired(),
                    _ => invalid_session(),
                })?
            }
        };
        Ok(Actor { user_id: caller.user.id, role, credential: caller.credential })
    }
}

/// Writes down that a session has run out.
pub struct ExpireSession {
    pub session: SessionId,
}

impl Decide for ExpireSession {
    type Answer = ();
    const COMMAND: &'static str = "expire_session";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        decision.acts(ActorRef::System);
        let mut session = decision.load::<Session>(StreamId::session(self.session)).await?;
        if let Some(user) = session.aggregate.user_id {
            // A session of somebody who has been erased meanwhile is not there any more.
            let user = decision.load::<User>(StreamId::user(user)).await?;
            if user.aggregate.existing_role().is_err() {
                return Ok(());
            }
        }
        let expired = decision.handle(&mut session, SessionCommand::Expire).await;
        // Somebody else has ended it already: as good.
        expired.map(drop).or(Ok(()))
    }
}

impl Service {
    /// Writes down which sessions have run out by their absolute time; answers how many. A session that nobody uses any more
    /// is refused without this: it only keeps the log complete.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_sessions(&self, limit: i64) -> Result<usize, ApiError> {
        let now = self.now();
        let clause = "WHERE t.expired = 0 AND t.expires_at <= $1 ORDER BY t.expires_at, t.id LIMIT $2";
        let rows: Vec<SessionRow> = self
            .log
            .read()
            .rows(clause, &[Arg::Integer(now.0), Arg::Integer(limit)])
            .await
            .map_err(super::store_error)?;
        for row in &rows {
            self.run(&CallContext::default(), ExpireSession { session: row.id }).await?;
        }
        Ok(rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::granularity_seconds;

    #[test]
    fn the_last_use_is_known_to_a_tenth_of_the_idle_time_or_a_minute() {
        let idle = [None, Some(3600), Some(600), Some(90), Some(1)];
        assert_eq!(idle.map(granularity_seconds), [60, 60, 60, 9, 1]);
    }
}
