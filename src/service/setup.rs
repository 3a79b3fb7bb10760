//! First-run setup: the bootstrap token, the setup session, the provider, the end.

use aggregates::{
    EmailAddress, IdentityProvider, IdentityProviderCommand, InstanceId, PinnedOwner, Protected, RemoteAuthMode,
    RuntimeMode, Session, SessionCommand, SessionEnd, SessionError, SessionId, SessionKind, Setup, SetupCommand,
    SetupError, SetupEvent, SetupState, StreamId, TokenHash, UnixSeconds, User, UserCommand, UserId,
};
use projections::{ActorRef, IdentityProviderRow, SessionRow, SetupRow, UserRow};
use uuid::Uuid;

use super::authenticate::{invalid_session, of_session, session_error, session_expired};
use super::decision::{Decide, Decision};
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::keys::random_bytes;

/// What anybody may know of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupStatus {
    pub instance_id: InstanceId,
    pub state: SetupState,
}

/// A new bearer token; shown once.
pub struct NewToken {
    pub token: String,
    pub expires_at: UnixSeconds,
}

/// Someone who holds a setup session, as far as the read models know; decisions look again.
#[derive(Clone, Debug)]
pub struct SetupCaller {
    pub session: SessionId,
}

/// What is known before setup is complete.
pub struct SetupSummary {
    pub instance_id: InstanceId,
    pub state: SetupState,
    pub issuer_url: Option<String>,
    pub client_id: Option<String>,
    pub has_client_secret: bool,
    pub owner_email: Option<String>,
}

/// 32 random bytes as 64 hex digits.
///
/// # Errors
/// `internal_error` when the operating system gives no random bytes.
pub(crate) fn random_token() -> Result<String, ApiError> {
    let bytes: [u8; 32] = random_bytes()
        .map_err(|error| ApiError::new(ErrorCode::InternalError).with_message("No random bytes.").caused_by(error))?;
    Ok(hex::encode(bytes))
}

pub(crate) fn setup_error(error: &SetupError) -> ApiError {
    let code = match error {
        SetupError::AlreadyConfigured => ErrorCode::AlreadyConfigured,
        SetupError::InvalidState(_) => ErrorCode::InvalidState,
        SetupError::NoBootstrapToken => ErrorCode::NoBootstrapToken,
        SetupError::TooManyAttempts => ErrorCode::TooManyAttempts,
        SetupError::TokenConsumed => ErrorCode::TokenConsumed,
        SetupError::TokenExpired => ErrorCode::TokenExpired,
        SetupError::InstanceExists => ErrorCode::InternalError,
    };
    ApiError::new(code).worded(error)
}

impl Service {
    /// The setup's row; it is there from the first event on.
    ///
    /// # Errors
    /// `store_error`.
    pub async fn setup_row(&self) -> Result<SetupRow, ApiError> {
        let row = self.log.read().row::<SetupRow>("", &[]).await.map_err(store_error)?;
        row.ok_or_else(|| ApiError::new(ErrorCode::InternalError).with_message("The instance has no setup."))
    }

    /// # Errors
    /// `store_error`.
    pub async fn setup_status(&self) -> Result<SetupStatus, ApiError> {
        let row = self.setup_row().await?;
        Ok(SetupStatus { instance_id: row.instance_id, state: row.state })
    }

    /// The checks of a setup call up to its body, in the contract's order. `token` is that of the Authorization header, if
    /// there was one.
    ///
    /// # Errors
    /// `already_configured`, `missing_auth`, `no_session`, `invalid_session`, `session_expired`, `invalid_state`.
    pub async fn setup_caller(&self, token: Option<&str>, allowed: &[SetupState]) -> Result<SetupCaller, ApiError> {
        let row = self.setup_row().await?;
        if row.state == SetupState::Ready {
            return Err(setup_error(&SetupError::AlreadyConfigured));
        }
        let token = token.ok_or_else(|| {
            ApiError::new(ErrorCode::MissingAuth)
                .with_message("This call needs a setup session: Authorization: Bearer TOKEN.")
        })?;
        if !row.session_ever_opened {
            return Err(ApiError::new(ErrorCode::NoSession)
                .with_message("No setup session has been opened; verify a bootstrap token."));
        }
        let hash = TokenHash::of(token).to_string();
        let session = self.log.read().row::<SessionRow>("WHERE t.token_hash = $1", &[hash.into()]).await;
        let session = session.map_err(session_error)?.ok_or_else(invalid_session)?;
        if row.session_id != Some(session.id) {
            return Err(invalid_session());
        }
        if session.expired || session.expires_at <= self.now() {
            return Err(session_expired());
        }
        if !allowed.is_empty() && !allowed.contains(&row.state) {
            return Err(setup_error(&SetupError::InvalidState(row.state)));
        }
        Ok(SetupCaller { session: session.id })
    }

    /// Issues a bootstrap token, in place of the one before it. `owner` alone may then become owner.
    ///
    /// # Errors
    /// `already_configured`.
    pub async fn issue_bootstrap_token(
        &self,
        context: &CallContext,
        ttl_seconds: i64,
        owner: Option<EmailAddress>,
    ) -> Result<NewToken, ApiError> {
        let token = random_token()?;
        let call = IssueBootstrapToken { token_hash: TokenHash::of(&token), ttl_seconds, owner };
        let expires_at = self.run(context, call).await?;
        Ok(NewToken { token, expires_at })
    }

    /// Opens a setup session for whoever holds the bootstrap token.
    ///
    /// # Errors
    /// The refusals of a verification, in the contract's order.
    pub async fn verify_bootstrap_token(&self, context: &CallContext, token: &str) -> Result<NewToken, ApiError> {
        let session_token = random_token()?;
        let call =
            VerifyBootstrapToken { given: TokenHash::of(token), session_token_hash: TokenHash::of(&session_token) };
        match self.run(context, call).await.map_err(of_session)? {
            Some(expires_at) => {
                // A request of an earlier setup session goes nowhere any more; its row would only lie there for a while.
                if let Err(error) = self.log.void_setup_requests().await {
                    tracing::warn!(%error, "requests of an earlier setup session could not be forgotten");
                }
                Ok(NewToken { token: session_token, expires_at })
            }
            None => Err(ApiError::new(ErrorCode::InvalidToken).with_message("The bootstrap token is wrong.")),
        }
    }

    /// Answers when the session now expires.
    ///
    /// # Errors
    /// As [`Service::setup_caller`].
    pub async fn set_preferences(
        &self,
        context: &CallContext,
        caller: &SetupCaller,
        runtime_mode: RuntimeMode,
        remote_auth_mode: RemoteAuthMode,
    ) -> Result<UnixSeconds, ApiError> {
        self.run(context, SetPreferences { session: caller.session, runtime_mode, remote_auth_mode }).await
    }

    /// Stores a provider that has been discovered; answers when the session now expires.
    ///
    /// # Errors
    /// As [`Service::setup_caller`].
    pub async fn configure_provider_in_setup(
        &self,
        context: &CallContext,
        caller: &SetupCaller,
        provider: NewProvider,
    ) -> Result<UnixSeconds, ApiError> {
        self.log.void_setup_requests().await.map_err(store_error)?;
        let expires_at =
            self.run(context, ConfigureProviderInSetup { session: Some(caller.session), provider }).await?;
        Ok(expires_at.unwrap_or_default())
    }

    /// What is known so far. An accepted call like any other: it slides the session.
    ///
    /// # Errors
    /// As [`Service::setup_caller`].
    pub async fn setup_summary(&self, context: &CallContext, caller: &SetupCaller) -> Result<SetupSummary, ApiError> {
        self.run(context, Slide { session: caller.session }).await?;
        let setup = self.setup_row().await?;
        let provider = self.log.read().row::<IdentityProviderRow>("", &[]).await.map_err(store_error)?;
        let owner = match setup.owner_id {
            Some(owner) => self.user(owner).await.map_err(store_error)?,
            None => None,
        };
        Ok(SetupSummary {
            instance_id: setup.instance_id,
            state: setup.state,
            issuer_url: provider.as_ref().and_then(|provider| provider.issuer_url.clone()),
            client_id: provider.as_ref().and_then(|provider| provider.client_id.clone()),
            has_client_secret: provider.is_some_and(|provider| provider.client_secret.is_some()),
            owner_email: owner.map(|owner| owner.address.clone()),
        })
    }

    /// Ends setup for good.
    ///
    /// # Errors
    /// As [`Service::setup_caller`].
    pub async fn complete_setup(&self, context: &CallContext, caller: &SetupCaller) -> Result<InstanceId, ApiError> {
        self.run(context, CompleteSetup { session: caller.session }).await
    }

    /// Back to `uninitialized`: provider and owner are discarded. Answers whether there was anything to discard.
    ///
    /// # Errors
    /// `already_configured`.
    pub async fn restart_setup(&self, context: &CallContext) -> Result<bool, ApiError> {
        self.run(context, RestartSetup).await
    }
}

impl Decision {
    /// The setup, for a call of the session given; what was checked on rows is checked again on the streams.
    pub(super) async fn setup_by_session(
        &mut self,
        session: SessionId,
    ) -> Result<(crate::log::Loaded<Setup>, crate::log::Loaded<Session>), ApiError> {
        self.acts(ActorRef::SetupSession(session));
        let setup = self.load::<Setup>(StreamId::setup()).await?;
        setup_not_ready(&setup.aggregate)?;
        if setup.aggregate.session != Some(session) {
            return Err(invalid_session());
        }
        let loaded = self.load::<Session>(StreamId::session(session)).await?;
        loaded.aggregate.check(SessionKind::Setup, self.now).map_err(|error| setup_session_error(&error))?;
        Ok((setup, loaded))
    }

    /// Slides a setup session; answers when it now expires.
    pub(super) async fn slide(
        &mut self,
        service: &Service,
        session: &mut crate::log::Loaded<Session>,
    ) -> Result<UnixSeconds, ApiError> {
        let expires_at = self.now.plus(service.settings.setup_session_ttl.get());
        let command = SessionCommand::Slide { now: self.now, expires_at };
        self.handle(session, command).await.map_err(|error| setup_session_error(&error))?;
        Ok(session.aggregate.expires_at)
    }

    /// Ends the setup session there is, if it has not ended.
    async fn end_setup_session(&mut self, session: Option<SessionId>, reason: SessionEnd) -> Result<(), ApiError> {
        let Some(session) = session else { return Ok(()) };
        let mut session = self.load::<Session>(StreamId::session(session)).await?;
        let ended = self.handle(&mut session, SessionCommand::EndSetup { reason }).await;
        ended.map(drop).map_err(|error| setup_session_error(&error))
    }
}

fn setup_not_ready(setup: &Setup) -> Result<(), ApiError> {
    if setup.state == SetupState::Ready { Err(setup_error(&SetupError::AlreadyConfigured)) } else { Ok(()) }
}

fn setup_session_error(error: &SessionError) -> ApiError {
    match error {
        SessionError::Expired => session_expired(),
        SessionError::Invalid | SessionError::Exists => invalid_session(),
    }
}

struct IssueBootstrapToken {
    token_hash: TokenHash,
    ttl_seconds: i64,
    owner: Option<EmailAddress>,
}

impl Decide for IssueBootstrapToken {
    type Answer = UnixSeconds;
    const COMMAND: &'static str = "issue_bootstrap_token";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<UnixSeconds, ApiError> {
        decision.acts(ActorRef::Operator);
        let mut setup = decision.load::<Setup>(StreamId::setup()).await?;
        let before = setup.aggregate.token.as_ref().and_then(|token| token.pinned_owner);
        if let Some(pinned) = before.filter(|pinned| setup.aggregate.owner != Some(*pinned)) {
            decision.destroy_person_key(pinned);
        }
        let owner = match &self.owner {
            Some(address) => {
                let user_id = UserId(Uuid::now_v7());
                decision.make_person_key(user_id)?;
                Some(PinnedOwner { user_id, address: Protected::of_person(user_id, address.as_str()) })
            }
            None => None,
        };
        let expires_at = decision.now.plus(self.ttl_seconds);
        let command = SetupCommand::IssueBootstrapToken { token_hash: self.token_hash, expires_at, owner };
        decision.handle(&mut setup, command).await.map_err(|error| setup_error(&error))?;
        Ok(expires_at)
    }
}

struct VerifyBootstrapToken {
    given: TokenHash,
    session_token_hash: TokenHash,
}

impl Decide for VerifyBootstrapToken {
    /// When the new session expires; `None` for a wrong token, which is written down.
    type Answer = Option<UnixSeconds>;
    const COMMAND: &'static str = "verify_bootstrap_token";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<Option<UnixSeconds>, ApiError> {
        let mut setup = decision.load::<Setup>(StreamId::setup()).await?;
        let before = setup.aggregate.session;
        let session_id = SessionId(Uuid::now_v7());
        let command = SetupCommand::VerifyBootstrapToken { token_hash: self.given, session_id, now: decision.now };
        let events = decision.handle(&mut setup, command).await.map_err(|error| setup_error(&error))?;
        if matches!(events.as_slice(), [SetupEvent::VerificationFailed { .. }]) {
            return Ok(None);
        }
        decision.end_setup_session(before, SessionEnd::Replaced).await?;
        let mut session = decision.load::<Session>(StreamId::session(session_id)).await?;
        let expires_at = decision.now.plus(service.settings.setup_session_ttl.get());
        let command = SessionCommand::OpenSetup { token_hash: self.session_token_hash, now: decision.now, expires_at };
        decision.handle(&mut session, command).await.map_err(|error| setup_session_error(&error))?;
        Ok(Some(expires_at))
    }
}

struct SetPreferences {
    session: SessionId,
    runtime_mode: RuntimeMode,
    remote_auth_mode: RemoteAuthMode,
}

impl Decide for SetPreferences {
    type Answer = UnixSeconds;
    const COMMAND: &'static str = "set_preferences";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<UnixSeconds, ApiError> {
        let (mut setup, mut session) = decision.setup_by_session(self.session).await?;
        let command =
            SetupCommand::SetPreferences { runtime_mode: self.runtime_mode, remote_auth_mode: self.remote_auth_mode };
        decision.handle(&mut setup, command).await.map_err(|error| setup_error(&error))?;
        decision.slide(service, &mut session).await
    }
}

/// A provider that has been discovered and may be stored.
#[derive(Clone, Debug)]
pub struct NewProvider {
    pub issuer_url: String,
    pub client_id: String,
    pub client_secret: Option<secrecy::SecretString>,
}

impl NewProvider {
    pub(super) fn command(&self) -> IdentityProviderCommand {
        use secrecy::ExposeSecret as _;
        IdentityProviderCommand::Configure {
            issuer_url: self.issuer_url.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.as_ref().map(|secret| Protected::of_instance(secret.expose_secret())),
        }
    }
}

/// Stores the provider while setup is under way; without a session it is the operator who asks.
pub(super) struct ConfigureProviderInSetup {
    pub session: Option<SessionId>,
    pub provider: NewProvider,
}

impl Decide for ConfigureProviderInSetup {
    type Answer = Option<UnixSeconds>;
    const COMMAND: &'static str = "configure_provider";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<Option<UnixSeconds>, ApiError> {
        let (mut setup, session) = if let Some(session) = self.session {
            let (setup, session) = decision.setup_by_session(session).await?;
            (setup, Some(session))
        } else {
            decision.acts(ActorRef::Operator);
            (decision.load::<Setup>(StreamId::setup()).await?, None)
        };
        let mut provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?;
        decision.handle(&mut provider, self.provider.command()).await.map_err(|error| {
            ApiError::new(ErrorCode::InternalError)
                .with_message("The provider could not be configured.")
                .caused_by(error)
        })?;
        let accepted = SetupCommand::AcceptProvider { provider_version: provider.aggregate.version };
        decision.handle(&mut setup, accepted).await.map_err(|error| setup_error(&error))?;
        match session {
            Some(mut session) => decision.slide(service, &mut session).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Slides the setup session and nothing else.
pub(super) struct Slide {
    pub session: SessionId,
}

impl Decide for Slide {
    type Answer = UnixSeconds;
    const COMMAND: &'static str = "slide_setup_session";
    const WAITS_WHEN_REPEATED: bool = false;

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<UnixSeconds, ApiError> {
        let (_, mut session) = decision.setup_by_session(self.session).await?;
        decision.slide(service, &mut session).await
    }
}

struct CompleteSetup {
    session: SessionId,
}

impl Decide for CompleteSetup {
    type Answer = InstanceId;
    const COMMAND: &'static str = "complete_setup";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<InstanceId, ApiError> {
        let (mut setup, mut session) = decision.setup_by_session(self.session).await?;
        decision.handle(&mut setup, SetupCommand::Complete).await.map_err(|error| setup_error(&error))?;
        let end = SessionCommand::EndSetup { reason: SessionEnd::SetupOver };
        decision.handle(&mut session, end).await.map_err(|error| setup_session_error(&error))?;
        setup
            .aggregate
            .instance_id
            .ok_or_else(|| ApiError::new(ErrorCode::InternalError).with_message("The instance has no id."))
    }
}

struct RestartSetup;

impl Decide for RestartSetup {
    type Answer = bool;
    const COMMAND: &'static str = "restart_setup";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<bool, ApiError> {
        decision.acts(ActorRef::Operator);
        let mut setup = decision.load::<Setup>(StreamId::setup()).await?;
        let before = setup.aggregate.clone();
        let events = decision.handle(&mut setup, SetupCommand::Restart).await.map_err(|error| setup_error(&error))?;
        if events.is_empty() {
            return Ok(false);
        }
        decision.end_setup_session(before.session, SessionEnd::SetupOver).await?;
        let mut provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?;
        // Refused when there is none: nothing to discard then.
        let _ = decision.handle(&mut provider, IdentityProviderCommand::Remove).await;
        let pinned = before.token.and_then(|token| token.pinned_owner);
        if let Some(owner) = before.owner {
            discard_owner(service, decision, owner).await?;
        }
        for person in pinned.into_iter().chain(before.owner).collect::<std::collections::BTreeSet<_>>() {
            decision.destroy_person_key(person);
        }
        Ok(true)
    }
}

async fn discard_owner(service: &Service, decision: &mut Decision, owner: UserId) -> Result<(), ApiError> {
    let mut user = decision.load::<User>(StreamId::user(owner)).await?;
    let row =
        service.log.read().row::<UserRow>("WHERE t.id = $1", &[owner.to_string().into()]).await.map_err(store_error)?;
    let row = row.ok_or_else(|| ApiError::new(ErrorCode::InternalError).with_message("The owner has no row."))?;
    let (Some(issuer), Some(subject)) = (row.issuer, row.subject) else {
        return Err(ApiError::new(ErrorCode::InternalError).with_message("The owner has no identity."));
    };
    let identity = aggregates::LinkedIdentity { issuer, subject: Protected::of_person(owner, subject) };
    let command = UserCommand::DiscardOwner { address: Protected::of_person(owner, row.address), identity };
    decision.handle(&mut user, command).await.map(drop).map_err(|error| {
        ApiError::new(ErrorCode::InternalError).with_message("The owner could not be discarded.").caused_by(error)
    })
}
