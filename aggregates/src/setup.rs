//! First-run setup: from an empty log to `ready`, which is terminal.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::count::deserialize_count;
use crate::event::domain_event;
use crate::protected::present;
use crate::{InstanceId, Protected, ProtectedFields, SessionId, TokenHash, UnixSeconds, UserId};

/// After so many failed verifications a bootstrap token is locked for good.
pub const MAX_VERIFICATION_FAILURES: u8 = 5;

/// Where setup stands, as the contract names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetupState {
    #[default]
    Uninitialized,
    BootstrapPending,
    IdpConfigured,
    OwnerCreated,
    Ready,
}

impl SetupState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uninitialized => "uninitialized",
            Self::BootstrapPending => "bootstrap_pending",
            Self::IdpConfigured => "idp_configured",
            Self::OwnerCreated => "owner_created",
            Self::Ready => "ready",
        }
    }
}

/// Where the product runs; so far always beside its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeMode {
    Remote,
}

/// How people sign in; so far always through a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteAuthMode {
    Oidc,
}

/// The address that alone may become owner, with the id that owner will have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinnedOwner {
    pub user_id: UserId,
    pub address: Protected,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SetupEvent {
    /// The first event of every log.
    InstanceCreated {
        instance_id: InstanceId,
    },
    /// Replaces the token before it and its failure count.
    BootstrapTokenIssued {
        token_hash: TokenHash,
        expires_at: UnixSeconds,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<PinnedOwner>,
    },
    VerificationFailed {
        failures: u8,
    },
    /// The token is consumed; the session named is the setup session from now on.
    BootstrapTokenVerified {
        session_id: SessionId,
    },
    PreferencesSet {
        runtime_mode: RuntimeMode,
        remote_auth_mode: RemoteAuthMode,
    },
    SetupProviderAccepted {
        #[serde(deserialize_with = "deserialize_count")]
        provider_version: u64,
    },
    OwnerVerified {
        user_id: UserId,
    },
    SetupCompleted {},
    /// Back to `uninitialized`: token, provider and owner are discarded.
    SetupRestarted {},
}

domain_event!(SetupEvent {
    InstanceCreated => "1",
    BootstrapTokenIssued => "1",
    VerificationFailed => "1",
    BootstrapTokenVerified => "1",
    PreferencesSet => "1",
    SetupProviderAccepted => "1",
    OwnerVerified => "1",
    SetupCompleted => "1",
    SetupRestarted => "1",
});

impl ProtectedFields for SetupEvent {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        match self {
            Self::BootstrapTokenIssued { owner, .. } => {
                present([("owner.address", owner.as_mut().map(|o| &mut o.address))])
            }
            Self::InstanceCreated { .. }
            | Self::VerificationFailed { .. }
            | Self::BootstrapTokenVerified { .. }
            | Self::PreferencesSet { .. }
            | Self::SetupProviderAccepted { .. }
            | Self::OwnerVerified { .. }
            | Self::SetupCompleted {}
            | Self::SetupRestarted {} => Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum SetupCommand {
    CreateInstance {
        instance_id: InstanceId,
    },
    IssueBootstrapToken {
        token_hash: TokenHash,
        expires_at: UnixSeconds,
        owner: Option<PinnedOwner>,
    },
    /// A wrong token is not refused: it is answered with `VerificationFailed`, which the caller reports.
    VerifyBootstrapToken {
        token_hash: TokenHash,
        session_id: SessionId,
        now: UnixSeconds,
    },
    SetPreferences {
        runtime_mode: RuntimeMode,
        remote_auth_mode: RemoteAuthMode,
    },
    AcceptProvider {
        provider_version: u64,
    },
    VerifyOwner {
        user_id: UserId,
    },
    Complete,
    Restart,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error("setup is complete")]
    AlreadyConfigured,
    #[error("this is not possible while setup is {}", .0.as_str())]
    InvalidState(SetupState),
    #[error("no bootstrap token was issued")]
    NoBootstrapToken,
    #[error("the bootstrap token is locked after {MAX_VERIFICATION_FAILURES} failed verifications")]
    TooManyAttempts,
    #[error("the bootstrap token was used before")]
    TokenConsumed,
    #[error("the bootstrap token has expired")]
    TokenExpired,
    #[error("the instance exists already")]
    InstanceExists,
}

/// The present bootstrap token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapToken {
    pub token_hash: TokenHash,
    pub expires_at: UnixSeconds,
    pub failures: u8,
    pub consumed: bool,
    /// The user id that is kept for the pinned owner.
    pub pinned_owner: Option<UserId>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub instance_id: Option<InstanceId>,
    pub state: SetupState,
    pub token: Option<BootstrapToken>,
    /// The one setup session that may act; those before it were replaced.
    pub session: Option<SessionId>,
    pub preferences: Option<(RuntimeMode, RemoteAuthMode)>,
    /// The provider configuration that setup last accepted.
    pub provider_version: Option<u64>,
    pub owner: Option<UserId>,
}

impl Setup {
    fn not_ready(&self) -> Result<(), SetupError> {
        if self.state == SetupState::Ready { Err(SetupError::AlreadyConfigured) } else { Ok(()) }
    }

    /// Refuses unless setup is in one of `allowed`.
    ///
    /// # Errors
    /// [`SetupError::AlreadyConfigured`] when ready, else [`SetupError::InvalidState`].
    pub fn require(&self, allowed: &[SetupState]) -> Result<(), SetupError> {
        self.not_ready()?;
        if allowed.contains(&self.state) { Ok(()) } else { Err(SetupError::InvalidState(self.state)) }
    }

    /// The checks on a verification, in the contract's order, as far as they do not look at the token given.
    fn verifiable(&self, now: UnixSeconds) -> Result<&BootstrapToken, SetupError> {
        self.not_ready()?;
        let token = self.token.as_ref().ok_or(SetupError::NoBootstrapToken)?;
        if token.failures >= MAX_VERIFICATION_FAILURES {
            return Err(SetupError::TooManyAttempts);
        }
        if token.consumed {
            return Err(SetupError::TokenConsumed);
        }
        if token.expires_at <= now {
            return Err(SetupError::TokenExpired);
        }
        Ok(token)
    }

    pub(crate) fn verify(
        &self,
        is_right: impl FnOnce(&BootstrapToken) -> bool,
        session_id: SessionId,
        now: UnixSeconds,
    ) -> Result<SetupEvent, SetupError> {
        let token = self.verifiable(now)?;
        Ok(if is_right(token) {
            SetupEvent::BootstrapTokenVerified { session_id }
        } else {
            SetupEvent::VerificationFailed { failures: token.failures + 1 }
        })
    }

    pub(crate) fn decide(&self, command: SetupCommand) -> Result<Option<SetupEvent>, SetupError> {
        use SetupState::{BootstrapPending, IdpConfigured, OwnerCreated};
        let event = match command {
            SetupCommand::CreateInstance { instance_id } => {
                if self.instance_id.is_some() {
                    return Err(SetupError::InstanceExists);
                }
                SetupEvent::InstanceCreated { instance_id }
            }
            SetupCommand::IssueBootstrapToken { token_hash, expires_at, owner } => {
                self.not_ready()?;
                SetupEvent::BootstrapTokenIssued { token_hash, expires_at, owner }
            }
            SetupCommand::VerifyBootstrapToken { token_hash, session_id, now } => {
                self.verify(|token| token.token_hash == token_hash, session_id, now)?
            }
            SetupCommand::SetPreferences { runtime_mode, remote_auth_mode } => {
                self.not_ready()?;
                if self.preferences == Some((runtime_mode, remote_auth_mode)) {
                    return Ok(None);
                }
                SetupEvent::PreferencesSet { runtime_mode, remote_auth_mode }
            }
            SetupCommand::AcceptProvider { provider_version } => {
                self.require(&[BootstrapPending, IdpConfigured])?;
                if self.provider_version == Some(provider_version) {
                    return Ok(None);
                }
                SetupEvent::SetupProviderAccepted { provider_version }
            }
            SetupCommand::VerifyOwner { user_id } => {
                self.require(&[IdpConfigured])?;
                SetupEvent::OwnerVerified { user_id }
            }
            SetupCommand::Complete => {
                self.require(&[OwnerCreated])?;
                SetupEvent::SetupCompleted {}
            }
            SetupCommand::Restart => {
                self.not_ready()?;
                if self.state == SetupState::Uninitialized {
                    return Ok(None);
                }
                SetupEvent::SetupRestarted {}
            }
        };
        Ok(Some(event))
    }
}

impl Aggregate for Setup {
    const TYPE: &'static str = "setup";
    type Command = SetupCommand;
    type Event = SetupEvent;
    type Error = SetupError;
    type Services = ();

    async fn handle(&mut self, command: SetupCommand, (): &(), sink: &EventSink<Self>) -> Result<(), SetupError> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SetupEvent) {
        match event {
            SetupEvent::InstanceCreated { instance_id } => self.instance_id = Some(instance_id),
            SetupEvent::BootstrapTokenIssued { token_hash, expires_at, owner } => {
                let pinned_owner = owner.map(|owner| owner.user_id);
                self.token =
                    Some(BootstrapToken { token_hash, expires_at, failures: 0, consumed: false, pinned_owner });
                if self.state == SetupState::Uninitialized {
                    self.state = SetupState::BootstrapPending;
                }
            }
            SetupEvent::VerificationFailed { failures } => {
                if let Some(token) = &mut self.token {
                    token.failures = failures;
                }
            }
            SetupEvent::BootstrapTokenVerified { session_id } => {
                if let Some(token) = &mut self.token {
                    token.consumed = true;
                }
                self.session = Some(session_id);
            }
            SetupEvent::PreferencesSet { runtime_mode, remote_auth_mode } => {
                self.preferences = Some((runtime_mode, remote_auth_mode));
            }
            SetupEvent::SetupProviderAccepted { provider_version } => {
                self.provider_version = Some(provider_version);
                self.state = SetupState::IdpConfigured;
            }
            SetupEvent::OwnerVerified { user_id } => {
                self.owner = Some(user_id);
                self.state = SetupState::OwnerCreated;
            }
            SetupEvent::SetupCompleted {} => self.state = SetupState::Ready,
            SetupEvent::SetupRestarted {} => {
                *self = Self { instance_id: self.instance_id, session: self.session, ..Self::default() };
            }
        }
    }
}
